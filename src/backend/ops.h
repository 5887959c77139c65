/* backend/ops.h - what a stage may ask of a machine: the one table of operations.
 *
 * All activations are float32, rows of `ld` floats apart. Weights are vl2_mat in whatever type the
 * file has; whether x is rounded to that type on the way (bf16 dot products) is the backend's
 * business, fixed by vl2_backend_options.compute. Whether a product runs as gemv or gemm, too.
 *
 * The contract that everything above rests on: **a row's result is a function of that row, the
 * weights and the compute mode alone** - bit for bit the same for any number of rows, sequences,
 * threads, and wherever the row stands. (Attention: of the row, its keys and the KV block borders.)
 *
 * Operations do not allocate and cannot fail; scratch they need is taken by vl2_backend_reserve. */
#ifndef VL2_BACKEND_OPS_H
#define VL2_BACKEND_OPS_H

#include "base/err.h"
#include "base/pool.h"
#include "model/dtype.h"

typedef struct vl2_backend vl2_backend;

typedef enum vl2_epilogue {
    VL2_EPI_NONE,      /* y = xw + b */
    VL2_EPI_ADD,       /* y += xw + b   (the residual stream) */
    VL2_EPI_GELU_TANH, /* y = gelu_tanh(xw + b) */
    VL2_EPI_GELU_ERF,
    VL2_EPI_SILU,
    VL2_EPI_RELU
} vl2_epilogue;

/* Some rows' expert: rows [first, first+n) of the grouped order use these weights. */
typedef struct vl2_group {
    const vl2_mat *w;  /* [Nout,K] */
    const vl2_mat *w2; /* second matrix of a gated product, else NULL */
    size_t first, n;
} vl2_group;

/* One product of several: grouped row i reads x row index[i] (index NULL: row i) and writes y row i as
 * `linear` and, where the groups have a second matrix, `gated` would. Groups may be empty; all have the
 * same N and K, and one type. */
typedef struct vl2_call {
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx;
    const uint32_t *index;
    const vl2_group *groups;
    size_t n_groups;
    const vl2_vec *b; /* or NULL */
    vl2_epilogue epilogue;
} vl2_call;
enum { VL2_CALLS = 4 }; /* in one loop at most; more are taken in portions */

/* Keys and values of some consecutive tokens, in place. Offsets and strides in elements. */
typedef struct vl2_kv_block {
    const void *k, *v; /* of the block's first token */
    size_t n;          /* tokens */
} vl2_kv_block;

/* One sequence's share of an attention call. */
typedef struct vl2_attn_seq {
    size_t row, n_rows;         /* query rows [row, row+n_rows) */
    size_t position;            /* of the first query row; key t is seen by queries at >= t */
    size_t first_key;           /* position of blocks[0]'s first token */
    const vl2_kv_block *blocks; /* consecutive */
    size_t n_blocks;
} vl2_attn_seq;

enum { VL2_HEAD_DIM_MAX = 1024 }; /* of k_dim and v_dim; whoever reads a config refuses more */

typedef struct vl2_attn {
    const float *q; /* [R, heads, k_dim], rows ldq apart */
    size_t ldq;
    float *out; /* [R, heads, v_dim], rows ldo apart */
    size_t ldo;
    vl2_dtype kv_type;      /* VL2_F32 or VL2_BF16 */
    size_t heads, kv_heads; /* query head h uses key head h / (heads / kv_heads) */
    size_t k_dim, v_dim;
    size_t k_token, v_token, k_head, v_head; /* strides between tokens, between key heads */
    float scale;
    bool causal;      /* false: every query sees all keys (the vision tower) */
    bool first, last; /* one call does both. Several calls, each with more keys (in order, cut at
                              block borders): the first starts, the last finishes `state` */
    float *state;     /* [R, heads, v_dim + 2] carried between calls; NULL when first && last */
    const vl2_attn_seq *seqs;
    size_t n_seqs;
} vl2_attn;

typedef struct vl2_ops {
    /* Weights as bytes with a scale for each output, made once for `linear` alone, which then rounds x to
     * bytes, too, with a scale for each row (more where a row has outliers). int8_bytes: the memory that
     * takes, 0 where rows are too long; to_int8 fills it (aligned to VL2_ALIGN) and makes *out a matrix
     * of type VL2_I8 over it. w: any type; no longer needed afterwards. */
    size_t (*int8_bytes)(const vl2_mat *w);
    void (*to_int8)(vl2_backend *be, vl2_mat *out, void *memory, const vl2_mat *w);
    /* y[M,N] = epilogue(x[M,K] w[N,K]^T + b[N]). exact: x is never rounded (routers). */
    void (*linear)(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                   const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue, bool exact);
    /* y[M,N] = act(x gate^T) * (x up^T), act SILU, GELU_* or RELU */
    void (*gated)(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                  const vl2_mat *gate, const vl2_mat *up, vl2_epilogue act);
    /* Some of these, none of which writes what another reads or writes, in one loop of all threads. */
    void (*products)(vl2_backend *be, const vl2_call *calls, size_t n);
    /* y[m,:] += sum over j (in order) of weight[m*k+j] * x[slot[m*k+j],:], then last[m,:] (or NULL, rows
     * like x's), width D */
    void (*combine)(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                    size_t k, const uint32_t *slot, const float *weight, const float *last,
                    size_t width);
    /* For each head h: y[m, h*N … ] = x[m, h*K …] times the rows [h*head_rows + first_row, + K) of w,
     * N = w->cols: the product with w itself, not its transpose (MLA's absorbed queries). */
    void (*heads_times)(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *x,
                        size_t ldx, size_t x_head, size_t m, size_t heads, size_t k,
                        const vl2_mat *w, size_t head_rows, size_t first_row);
    /* For each head h: y[m, h*y_head + n] = x[m, h*x_head …+K] . row (h*head_rows + first_row + n) of w,
     * n < n_out, K = w->cols (MLA's values after absorbed attention). x_head 0: all heads share x. */
    void (*heads_linear)(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *x,
                         size_t ldx, size_t x_head, size_t m, size_t heads, size_t n_out,
                         const vl2_mat *w, size_t head_rows, size_t first_row);
    void (*attention)(vl2_backend *be, const vl2_attn *attn);
    /* y = x * rsqrt(mean(x^2) + eps) * w */
    void (*rmsnorm)(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                    size_t width, const vl2_vec *w, float eps);
    void (*layernorm)(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                      size_t width, const vl2_vec *w, const vl2_vec *b, float eps);
    /* Rotates x[m, heads, 2*half] in place (heads `head` floats apart) by cos, sin [m, half]:
     * interleaved pairs (2i, 2i+1), else half-split pairs (i, i+half). */
    void (*rope)(vl2_backend *be, float *x, size_t ldx, size_t m, size_t heads, size_t head,
                 size_t half, const float *cos, const float *sin, bool interleaved);
    /* out[i,:] = row ids[i] of the table */
    void (*embed)(vl2_backend *be, float *out, size_t ldo, const vl2_mat *table, const int32_t *ids,
                  size_t n);
    /* Stores m rows of `width` floats as kv_type (VL2_F32 or VL2_BF16), one behind the other. */
    void (*store_kv)(vl2_backend *be, void *out, vl2_dtype kv_type, const float *x, size_t ldx,
                     size_t m, size_t width);
} vl2_ops;

typedef struct vl2_backend_options {
    int threads;           /* 0: one a core */
    const char *cpu_level; /* NULL: best */
    vl2_compute compute;
} vl2_backend_options;

struct vl2_backend { /* what stages see; the implementation has more behind it */
    const vl2_ops *ops;
    vl2_pool *pool;
    vl2_dtype kv_type; /* of KV caches under this compute mode: F32, or BF16 in auto */
    const char *level; /* the CPU level in use */
};

vl2_status vl2_backend_create(vl2_backend **out, const vl2_backend_options *options,
                              vl2_error *err);
void vl2_backend_free(vl2_backend *be);
/* Makes scratch enough for operations on up to max_rows rows of up to max_cols inputs. */
vl2_status vl2_backend_reserve(vl2_backend *be, size_t max_rows, size_t max_cols, vl2_error *err);
size_t vl2_backend_scratch(const vl2_backend *be, size_t max_rows,
                           size_t max_cols); /* bytes of that */
const char *const *
vl2_backend_levels(void); /* that this machine has, lowest first, NULL at the end */

#endif
