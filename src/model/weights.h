/* model/weights.h - every weight of the model, bound once by one table: docs/MODEL.md §2.
 *
 * The table (weights.c) has a line per tensor: name pattern, shape in the letters of model/dims.h,
 * when it is required, where it goes. Matrices point into the mapping; vectors are widened copies. */
#ifndef VL2_MODEL_WEIGHTS_H
#define VL2_MODEL_WEIGHTS_H

#include "model/config.h"
#include "model/dtype.h"
#include "model/safetensors.h"

typedef struct vl2_linear { /* y = w x + b */
    vl2_mat w;
    vl2_vec b; /* maybe absent */
} vl2_linear;

typedef struct vl2_norm {
    vl2_vec w, b;
} vl2_norm; /* b absent in an RMSNorm */

typedef struct vl2_vision_block {
    vl2_norm norm1, norm2; /* [Dv] */
    vl2_linear qkv;        /* [3*Dv,Dv] */
    vl2_linear proj;       /* [Dv,Dv] */
    vl2_linear fc1, fc2;   /* [Fv,Dv], [Dv,Fv] */
} vl2_vision_block;

typedef struct vl2_vision_weights {
    vl2_linear patch;         /* [Dv,3*P*P], columns in the order channel, row, column */
    vl2_vec pos;              /* [G*G*Dv] */
    vl2_vision_block *blocks; /* [Lv] */
    vl2_norm norm;            /* [Dv]; absent without final_norm */
} vl2_vision_weights;

enum { VL2_MAX_PROJECTOR_LINEARS = 8 };

typedef struct vl2_projector_weights {
    vl2_linear layers[VL2_MAX_PROJECTOR_LINEARS]; /* [hidden,Dv*r*r] … [D,hidden] */
    vl2_linear pooling;                           /* [Dv,4*Dv], with token_pooling */
    vl2_vec newline, separator;                   /* [D] */
} vl2_projector_weights;

typedef struct vl2_mlp {
    vl2_mat gate, up, down;
} vl2_mlp; /* [F,D], [F,D], [D,F] */

typedef struct vl2_layer {
    vl2_norm input_norm, post_norm; /* [D] */
    /* MHA: q [H*Dh,D], k and v [Hk*Dh,D]. MLA: q [H*(Dn+Dr),D], or q_a [Cq,D], q_norm, q_b [H*(Dn+Dr),Cq] */
    vl2_linear q, k, v, q_a;
    vl2_mat q_b;
    vl2_norm q_norm;  /* [Cq] */
    vl2_linear kv_a;  /* [C+Dr,D] */
    vl2_norm kv_norm; /* [C] */
    vl2_mat kv_b;     /* [H*(Dn+Dvh),C]; or, where a file has its halves, absent, and */
    vl2_mat k_b, v_b; /* [H*C,Dn] (each head's keys transposed), [H*Dvh,C] */
    vl2_linear o;     /* [D,H*Dh] or [D,H*Dvh] */
    bool is_moe;
    vl2_mlp mlp;         /* dense */
    vl2_mat router;      /* [E,D] */
    vl2_vec router_bias; /* [E], noaux_tc */
    vl2_mlp *experts;    /* [E] */
    vl2_mlp shared;      /* [Fs,D] …; gate.data NULL: none */
} vl2_layer;

typedef struct vl2_weights {
    vl2_vision_weights vision;
    vl2_projector_weights projector;
    vl2_mat embed;                  /* [V,D] */
    vl2_layer *layers;              /* [L] */
    vl2_norm norm;                  /* [D] */
    vl2_mat head;                   /* [V,D]; the embedding when tied */
    void *owned;                    /* widened vectors and the arrays above */
    size_t owned_bytes;             /* of that */
    uint64_t parameters, activated; /* counts, of the tensors bound */
} vl2_weights;

/* `checkpoint` must outlive the weights. A missing or misshapen tensor is named, with file, found
 * and expected. */
vl2_status vl2_weights_bind(vl2_weights *out, const vl2_config *config,
                            const vl2_checkpoint *checkpoint, vl2_error *err);
/* Made-up weights of the configuration's shapes in type `type`, for timing only: values from a
 * counter, small, so that nothing overflows. Their memory belongs to the weights. */
vl2_status vl2_weights_dummy(vl2_weights *out, const vl2_config *config, vl2_dtype type,
                             vl2_error *err);
/* A tensor of a GGUF file that holds these weights. */
typedef struct vl2_weights_tensor {
    const char *name; /* for the time of the call */
    size_t rank, shape[4];
    size_t layer;       /* or block */
    bool vision;        /* of the vision half: tower, projector, newline, separator */
    const vl2_mat *mat; /* the first of n (experts), `step` bytes apart; or NULL, and */
    size_t n, step;
    const vl2_vec *vec;
} vl2_weights_tensor;
typedef vl2_status (*vl2_weights_fn)(void *context, const vl2_weights_tensor *tensor,
                                     vl2_error *err);
/* Calls fn for each tensor that the table has for this configuration. */
vl2_status vl2_weights_each(const vl2_weights *weights, const vl2_config *config, vl2_weights_fn fn,
                            void *context, vl2_error *err);
void vl2_weights_free(vl2_weights *weights);

#endif
