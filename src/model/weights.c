#include "model/weights.h"

#include "base/arena.h"
#include "base/mem.h"
#include "model/gguf.h"
#include "model/quant.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- the table --------------------------------------------------------------------------------- */

/* Sizes of shapes, in the letters of model/dims.h. A list of them ends with END. */
typedef enum dim {
    END,
    ONE,
    THREE,
    P,    /* patch side */
    GG,   /* G*G */
    Dv,   /* vision width */
    Dv3,  /* 3*Dv */
    Dv4,  /* 4*Dv */
    Fv,   /* vision MLP */
    Pin,  /* inputs of the projector's Linear that is bound now */
    Pout, /* its outputs */
    D,    /* language width */
    V,    /* vocabulary */
    HDh,  /* H*Dh */
    HkDh, /* Hk*Dh */
    HDq,  /* H*(Dn+Dr) */
    Cq,   /* q_lora_rank */
    C,    /* kv_lora_rank */
    CDr,  /* C+Dr */
    HDkv, /* H*(Dn+Dvh) */
    HDvh, /* H*Dvh */
    F,    /* dense MLP */
    Fe,   /* expert */
    Fs,   /* shared expert */
    E,    /* experts */
    H,    /* heads */
    Dn,   /* nope dims of a head */
    Dvh,  /* value dims of a head */
    DIM_COUNT
} dim;

typedef enum scope {
    MODEL,
    BLOCK,
    PROJECTOR,
    LAYER,
    EXPERT
} scope; /* a line is bound once for each */

typedef enum kind {
    MATRIX, /* vl2_mat, in place; its columns are all dims but the first */
    STACK,  /* the same, its rows all dims but the last */
    VECTOR, /* vl2_vec, widened */
    NORM    /* a VECTOR that scales: made-up weights have 1 there */
} kind;

enum { /* when a tensor is required: all of a line's words must hold */
       ALWAYS = 0,
       FINAL_NORM = 1 << 0,
       POOLING = 1 << 1,
       SEQUENTIAL = 1 << 2, /* projector layers have numbers */
       SINGLE = 1 << 3,
       UNTIED = 1 << 4,
       MHA = 1 << 5,
       MLA = 1 << 6,
       BIAS = 1 << 7,
       Q_LORA = 1 << 8,
       Q_FULL = 1 << 9,
       DENSE = 1 << 10,
       MOE = 1 << 11,
       SHARED = 1 << 12,
       NOAUX = 1 << 13,
       VISION = 1 << 14,
       WHOLE_KV = 1 << 15, /* kv_b as published, or */
       SPLIT_KV = 1 << 16  /* its halves, each as the absorbed form wants it */
};

enum { MAX_DIMS = 4 };

typedef struct line {
    const char *name; /* each '#' is an index: of the block or layer, then of the expert */
    const char *gguf; /* in a GGUF file; experts lie there in one tensor [E,…] a layer */
    scope scope;
    kind what;
    int when;
    size_t offset; /* into the scope's struct */
    dim dims[MAX_DIMS + 1];
} line;

#define AT(type, field) offsetof(type, field)
#define VB(field) offsetof(vl2_vision_block, field)
#define LL(field) offsetof(vl2_layer, field)
#define W(field) offsetof(vl2_weights, field)

#define BLOCK_NAME "vision.blocks.#."
#define LAYER_NAME "language.model.layers.#."
#define BLOCK_GGUF "v.blk.#."
#define LAYER_GGUF "blk.#."
#define EXPERT_NAME LAYER_NAME "mlp.experts.#."

/* clang-format off */
static const line table[] = {
    {"vision.patch_embed.proj.weight", "v.patch_embd.weight",
     MODEL, MATRIX, VISION, W(vision.patch.w), {Dv, THREE, P, P}},
    {"vision.patch_embed.proj.bias", "v.patch_embd.bias",
     MODEL, VECTOR, VISION, W(vision.patch.b), {Dv}},
    {"vision.pos_embed", "v.position_embd.weight",
     MODEL, VECTOR, VISION, W(vision.pos), {ONE, GG, Dv}},
    {"vision.norm.weight", "v.post_ln.weight",
     MODEL, NORM, VISION | FINAL_NORM, W(vision.norm.w), {Dv}},
    {"vision.norm.bias", "v.post_ln.bias",
     MODEL, VECTOR, VISION | FINAL_NORM, W(vision.norm.b), {Dv}},
    {"projector.token_pooling_layer.weight", "mm.pooling.weight",
     MODEL, MATRIX, VISION | POOLING, W(projector.pooling.w), {Dv, Dv4}},
    {"projector.token_pooling_layer.bias", "mm.pooling.bias",
     MODEL, VECTOR, VISION | POOLING, W(projector.pooling.b), {Dv}},
    {"image_newline", "v.image_newline",
     MODEL, VECTOR, VISION, W(projector.newline), {D}},
    {"view_seperator", "v.view_seperator",
     MODEL, VECTOR, VISION, W(projector.separator), {D}},
    {"language.model.embed_tokens.weight", "token_embd.weight",
     MODEL, MATRIX, ALWAYS, W(embed), {V, D}},
    {"language.model.norm.weight", "output_norm.weight",
     MODEL, NORM, ALWAYS, W(norm.w), {D}},
    {"language.lm_head.weight", "output.weight",
     MODEL, MATRIX, UNTIED, W(head), {V, D}},

    {BLOCK_NAME "norm1.weight", BLOCK_GGUF "ln1.weight",
     BLOCK, NORM, ALWAYS, VB(norm1.w), {Dv}},
    {BLOCK_NAME "norm1.bias", BLOCK_GGUF "ln1.bias",
     BLOCK, VECTOR, ALWAYS, VB(norm1.b), {Dv}},
    {BLOCK_NAME "attn.qkv.weight", BLOCK_GGUF "attn_qkv.weight",
     BLOCK, MATRIX, ALWAYS, VB(qkv.w), {Dv3, Dv}},
    {BLOCK_NAME "attn.qkv.bias", BLOCK_GGUF "attn_qkv.bias",
     BLOCK, VECTOR, ALWAYS, VB(qkv.b), {Dv3}},
    {BLOCK_NAME "attn.proj.weight", BLOCK_GGUF "attn_out.weight",
     BLOCK, MATRIX, ALWAYS, VB(proj.w), {Dv, Dv}},
    {BLOCK_NAME "attn.proj.bias", BLOCK_GGUF "attn_out.bias",
     BLOCK, VECTOR, ALWAYS, VB(proj.b), {Dv}},
    {BLOCK_NAME "norm2.weight", BLOCK_GGUF "ln2.weight",
     BLOCK, NORM, ALWAYS, VB(norm2.w), {Dv}},
    {BLOCK_NAME "norm2.bias", BLOCK_GGUF "ln2.bias",
     BLOCK, VECTOR, ALWAYS, VB(norm2.b), {Dv}},
    {BLOCK_NAME "mlp.fc1.weight", BLOCK_GGUF "ffn_up.weight",
     BLOCK, MATRIX, ALWAYS, VB(fc1.w), {Fv, Dv}},
    {BLOCK_NAME "mlp.fc1.bias", BLOCK_GGUF "ffn_up.bias",
     BLOCK, VECTOR, ALWAYS, VB(fc1.b), {Fv}},
    {BLOCK_NAME "mlp.fc2.weight", BLOCK_GGUF "ffn_down.weight",
     BLOCK, MATRIX, ALWAYS, VB(fc2.w), {Dv, Fv}},
    {BLOCK_NAME "mlp.fc2.bias", BLOCK_GGUF "ffn_down.bias",
     BLOCK, VECTOR, ALWAYS, VB(fc2.b), {Dv}},

    {"projector.layers.#.weight", "mm.#.weight",
     PROJECTOR, MATRIX, SEQUENTIAL, AT(vl2_linear, w), {Pout, Pin}},
    {"projector.layers.#.bias", "mm.#.bias",
     PROJECTOR, VECTOR, SEQUENTIAL, AT(vl2_linear, b), {Pout}},
    {"projector.layers.weight", "mm.fc.weight",
     PROJECTOR, MATRIX, SINGLE, AT(vl2_linear, w), {Pout, Pin}},
    {"projector.layers.bias", "mm.fc.bias",
     PROJECTOR, VECTOR, SINGLE, AT(vl2_linear, b), {Pout}},

    {LAYER_NAME "input_layernorm.weight", LAYER_GGUF "attn_norm.weight",
     LAYER, NORM, ALWAYS, LL(input_norm.w), {D}},
    {LAYER_NAME "post_attention_layernorm.weight", LAYER_GGUF "ffn_norm.weight",
     LAYER, NORM, ALWAYS, LL(post_norm.w), {D}},
    {LAYER_NAME "self_attn.q_proj.weight", LAYER_GGUF "attn_q.weight",
     LAYER, MATRIX, MHA, LL(q.w), {HDh, D}},
    {LAYER_NAME "self_attn.q_proj.bias", LAYER_GGUF "attn_q.bias",
     LAYER, VECTOR, MHA | BIAS, LL(q.b), {HDh}},
    {LAYER_NAME "self_attn.k_proj.weight", LAYER_GGUF "attn_k.weight",
     LAYER, MATRIX, MHA, LL(k.w), {HkDh, D}},
    {LAYER_NAME "self_attn.k_proj.bias", LAYER_GGUF "attn_k.bias",
     LAYER, VECTOR, MHA | BIAS, LL(k.b), {HkDh}},
    {LAYER_NAME "self_attn.v_proj.weight", LAYER_GGUF "attn_v.weight",
     LAYER, MATRIX, MHA, LL(v.w), {HkDh, D}},
    {LAYER_NAME "self_attn.v_proj.bias", LAYER_GGUF "attn_v.bias",
     LAYER, VECTOR, MHA | BIAS, LL(v.b), {HkDh}},
    {LAYER_NAME "self_attn.o_proj.weight", LAYER_GGUF "attn_output.weight",
     LAYER, MATRIX, MHA, LL(o.w), {D, HDh}},
    {LAYER_NAME "self_attn.o_proj.bias", LAYER_GGUF "attn_output.bias",
     LAYER, VECTOR, BIAS, LL(o.b), {D}},
    {LAYER_NAME "self_attn.q_proj.weight", LAYER_GGUF "attn_q.weight",
     LAYER, MATRIX, MLA | Q_FULL, LL(q.w), {HDq, D}},
    {LAYER_NAME "self_attn.q_a_proj.weight", LAYER_GGUF "attn_q_a.weight",
     LAYER, MATRIX, MLA | Q_LORA, LL(q_a.w), {Cq, D}},
    {LAYER_NAME "self_attn.q_a_proj.bias", LAYER_GGUF "attn_q_a.bias",
     LAYER, VECTOR, MLA | Q_LORA | BIAS, LL(q_a.b), {Cq}},
    {LAYER_NAME "self_attn.q_a_layernorm.weight", LAYER_GGUF "attn_q_a_norm.weight",
     LAYER, NORM, MLA | Q_LORA, LL(q_norm.w), {Cq}},
    {LAYER_NAME "self_attn.q_b_proj.weight", LAYER_GGUF "attn_q_b.weight",
     LAYER, MATRIX, MLA | Q_LORA, LL(q_b), {HDq, Cq}},
    {LAYER_NAME "self_attn.kv_a_proj_with_mqa.weight", LAYER_GGUF "attn_kv_a_mqa.weight",
     LAYER, MATRIX, MLA, LL(kv_a.w), {CDr, D}},
    {LAYER_NAME "self_attn.kv_a_proj_with_mqa.bias", LAYER_GGUF "attn_kv_a_mqa.bias",
     LAYER, VECTOR, MLA | BIAS, LL(kv_a.b), {CDr}},
    {LAYER_NAME "self_attn.kv_a_layernorm.weight", LAYER_GGUF "attn_kv_a_norm.weight",
     LAYER, NORM, MLA, LL(kv_norm.w), {C}},
    {LAYER_NAME "self_attn.kv_b_proj.weight", LAYER_GGUF "attn_kv_b.weight",
     LAYER, MATRIX, MLA | WHOLE_KV, LL(kv_b), {HDkv, C}},
    {NULL, LAYER_GGUF "attn_k_b.weight",
     LAYER, STACK, MLA | SPLIT_KV, LL(k_b), {H, C, Dn}},
    {NULL, LAYER_GGUF "attn_v_b.weight",
     LAYER, STACK, MLA | SPLIT_KV, LL(v_b), {H, Dvh, C}},
    {LAYER_NAME "self_attn.o_proj.weight", LAYER_GGUF "attn_output.weight",
     LAYER, MATRIX, MLA, LL(o.w), {D, HDvh}},
    {LAYER_NAME "mlp.gate_proj.weight", LAYER_GGUF "ffn_gate.weight",
     LAYER, MATRIX, DENSE, LL(mlp.gate), {F, D}},
    {LAYER_NAME "mlp.up_proj.weight", LAYER_GGUF "ffn_up.weight",
     LAYER, MATRIX, DENSE, LL(mlp.up), {F, D}},
    {LAYER_NAME "mlp.down_proj.weight", LAYER_GGUF "ffn_down.weight",
     LAYER, MATRIX, DENSE, LL(mlp.down), {D, F}},
    {LAYER_NAME "mlp.gate.weight", LAYER_GGUF "ffn_gate_inp.weight",
     LAYER, MATRIX, MOE, LL(router), {E, D}},
    {LAYER_NAME "mlp.gate.e_score_correction_bias", LAYER_GGUF "exp_probs_b.bias",
     LAYER, VECTOR, MOE | NOAUX, LL(router_bias), {E}},
    {LAYER_NAME "mlp.shared_experts.gate_proj.weight", LAYER_GGUF "ffn_gate_shexp.weight",
     LAYER, MATRIX, MOE | SHARED, LL(shared.gate), {Fs, D}},
    {LAYER_NAME "mlp.shared_experts.up_proj.weight", LAYER_GGUF "ffn_up_shexp.weight",
     LAYER, MATRIX, MOE | SHARED, LL(shared.up), {Fs, D}},
    {LAYER_NAME "mlp.shared_experts.down_proj.weight", LAYER_GGUF "ffn_down_shexp.weight",
     LAYER, MATRIX, MOE | SHARED, LL(shared.down), {D, Fs}},

    {EXPERT_NAME "gate_proj.weight", LAYER_GGUF "ffn_gate_exps.weight",
     EXPERT, MATRIX, ALWAYS, AT(vl2_mlp, gate), {Fe, D}},
    {EXPERT_NAME "up_proj.weight", LAYER_GGUF "ffn_up_exps.weight",
     EXPERT, MATRIX, ALWAYS, AT(vl2_mlp, up), {Fe, D}},
    {EXPERT_NAME "down_proj.weight", LAYER_GGUF "ffn_down_exps.weight",
     EXPERT, MATRIX, ALWAYS, AT(vl2_mlp, down), {D, Fe}},
};
/* clang-format on */

/* ---- memory of the weights' own ---------------------------------------------------------------- */

typedef struct chunk {
    _Alignas(VL2_ALIGN) struct chunk *next;
    _Alignas(VL2_ALIGN) char data[VL2_ALIGN]; /* and what follows */
} chunk;

typedef struct owned {
    chunk *chunks;
    size_t bytes;      /* of them */
    vl2_arena made_up; /* matrices of a dummy */
} owned;

static void *own(owned *o, size_t n, size_t bytes, vl2_error *err) {
    size_t size;
    chunk *c = NULL;
    if (vl2_mul(&size, n, bytes) && vl2_add(&size, size, sizeof *c)) c = vl2_mem_aligned(size);
    if (!c) {
        vl2_fail_memory(err, "weights", n * bytes);
        return NULL;
    }
    memset(c, 0, size);
    c->next = o->chunks;
    o->chunks = c;
    o->bytes += size;
    return c->data;
}

static void own_nothing(owned *o) {
    while (o->chunks) {
        chunk *next = o->chunks->next;
        vl2_mem_free(o->chunks);
        o->chunks = next;
    }
    vl2_arena_free(&o->made_up);
    vl2_mem_free(o);
}

/* ---- binding one tensor ------------------------------------------------------------------------ */

enum { PATTERN = 65521 /* a prime, so that no two rows of a made-up matrix are alike */ };

typedef struct binder {
    vl2_weights *out;
    owned *owned;
    const vl2_config *config;
    const vl2_checkpoint *checkpoint; /* NULL: the weights are made up */
    bool gguf;
    size_t dims[DIM_COUNT];
    int holds;                          /* words of `when` that hold now */
    size_t index[2];                    /* of the scope: block or layer, expert */
    vl2_dtype type;                     /* of made-up matrices */
    uint8_t *patterns[VL2_DTYPE_COUNT]; /* [PATTERN] blocks of each type in use */
    vl2_error *err;
} binder;

typedef struct shape {
    size_t rank, sizes[MAX_DIMS];
    size_t elements;
} shape;

enum { NAME_SIZE = 96 };

static void name_of(char out[NAME_SIZE], const char *pattern, const size_t index[2]) {
    size_t used = 0, i = 0;
    for (const char *c = pattern; *c && used + 1 < NAME_SIZE; c++) {
        if (*c != '#')
            out[used++] = *c;
        else
            used += (size_t)snprintf(out + used, NAME_SIZE - used, "%zu", index[i++]);
    }
    out[used < NAME_SIZE ? used : NAME_SIZE - 1] = '\0';
}

static shape shape_of(const line *l, const size_t dims[DIM_COUNT]) {
    shape s = {.elements = 1};
    for (; l->dims[s.rank] != END; s.rank++) {
        s.sizes[s.rank] = dims[l->dims[s.rank]];
        s.elements *= s.sizes[s.rank]; /* config.h bounds them */
    }
    return s;
}

/* Sizes of 1 in front say nothing: some formats have them, some not. */
static bool same_shape(const vl2_tensor *tensor, const shape *s) {
    const size_t *a = tensor->shape, *b = s->sizes;
    size_t na = tensor->rank, nb = s->rank;
    for (; na > 1 && *a == 1; na--) a++;
    for (; nb > 1 && *b == 1; nb--) b++;
    return na == nb && memcmp(a, b, na * sizeof *a) == 0;
}

static vl2_status check_tensor(const binder *b, const vl2_tensor *tensor, const char *name,
                               const shape *s) {
    char expected[VL2_SHAPE_TEXT], found[VL2_SHAPE_TEXT];
    vl2_safetensors_shape(expected, s->sizes, s->rank);
    if (!tensor)
        return vl2_fail(b->err, VL2_ERR_FORMAT, "%s: tensor %s is missing, expected %s",
                        vl2_checkpoint_name(b->checkpoint), name, expected);
    const char *file = vl2_checkpoint_file(b->checkpoint, tensor);
    if (!vl2_dtype_of(tensor->type)->is_weight)
        return vl2_fail(
            b->err, VL2_ERR_UNSUPPORTED,
            "%s: tensor %s is %s, expected F32, F16 or BF16, or a quantized type of GGUF", file,
            name, vl2_dtype_of(tensor->type)->name);
    if (!same_shape(tensor, s))
        return vl2_fail(b->err, VL2_ERR_FORMAT, "%s: tensor %s is %s, expected %s", file, name,
                        vl2_safetensors_shape(found, tensor->shape, tensor->rank), expected);
    return VL2_OK;
}

/* A file may lay its data at any byte; numbers are read at multiples of their size. */
static vl2_status aligned_data(const void **out, binder *b, const vl2_tensor *tensor) {
    *out = tensor->data;
    if ((uintptr_t)tensor->data % vl2_dtype_of(tensor->type)->align == 0) return VL2_OK;
    void *copy = own(b->owned, tensor->bytes, 1, b->err);
    if (!copy) return VL2_ERR_MEMORY;
    memcpy(copy, tensor->data, tensor->bytes);
    *out = copy;
    return VL2_OK;
}

static vl2_status bind_matrix(vl2_mat *out, binder *b, const vl2_tensor *tensor, kind what,
                              const shape *s) {
    size_t rows = what == STACK ? s->elements / s->sizes[s->rank - 1] : s->sizes[0];
    size_t cols = rows ? s->elements / rows : 0;
    vl2_mat mat = {.type = tensor->type, .rows = rows, .cols = cols};
    VL2_TRY(aligned_data(&mat.data, b, tensor));
    if (!vl2_dtype_row_bytes(&mat.stride, mat.type, cols))
        return vl2_fail(b->err, VL2_ERR_UNSUPPORTED,
                        "%s: tensor %s is %s, whose blocks do not divide rows of %zu",
                        vl2_checkpoint_file(b->checkpoint, tensor), tensor->name,
                        vl2_dtype_of(mat.type)->name, cols);
    *out = mat;
    return VL2_OK;
}

static vl2_status bind_vector(vl2_vec *out, binder *b, const vl2_tensor *tensor, const shape *s) {
    const void *data;
    VL2_TRY(aligned_data(&data, b, tensor));
    float *values = own(b->owned, s->elements, sizeof *values, b->err);
    if (!values) return VL2_ERR_MEMORY;
    vl2_dtype_to_f32(values, data, tensor->type, s->elements);
    for (size_t i = 0; i < s->elements; i++) {
        if (isfinite(values[i])) continue;
        return vl2_fail(b->err, VL2_ERR_FORMAT, "%s: tensor %s has %s at element %zu",
                        vl2_checkpoint_file(b->checkpoint, tensor), tensor->name,
                        isnan(values[i]) ? "NaN" : "infinity", i);
    }
    *out = (vl2_vec){.data = values, .size = s->elements};
    return VL2_OK;
}

/* ---- made-up tensors --------------------------------------------------------------------------- */

/* Value i of the pattern: some number within ±0.02. */
static float made_up_value(size_t i) {
    uint64_t z = (uint64_t)i * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9u;
    return ((float)(z >> 40) * 0x1p-24f - 0.5f) * 0.04f;
}

/* PATTERN blocks of made-up values, rounded to the type; at the first use of one. */
static vl2_status find_pattern(const uint8_t **out, binder *b, vl2_dtype type) {
    const vl2_dtype_traits *t = vl2_dtype_of(type);
    uint8_t *made = b->patterns[type];
    if (!made) {
        float block[VL2_QUANT_SUPER];
        made = b->patterns[type] = own(b->owned, PATTERN, t->block_bytes, b->err);
        if (!made) return VL2_ERR_MEMORY;
        for (size_t i = 0; i < PATTERN; i++) {
            for (size_t j = 0; j < t->block; j++) block[j] = made_up_value(i * t->block + j);
            vl2_dtype_from_f32(made + i * t->block_bytes, block, type, t->block);
        }
    }
    *out = made;
    return VL2_OK;
}

/* Repeats the pattern over `blocks`, from another place for each matrix. */
static vl2_status fill_matrix(uint8_t *out, binder *b, vl2_dtype type, size_t blocks) {
    const uint8_t *pattern;
    size_t width = vl2_dtype_of(type)->block_bytes;
    size_t phase = (size_t)(b->out->parameters % PATTERN);
    VL2_TRY(find_pattern(&pattern, b, type));
    while (blocks > 0) {
        size_t n = PATTERN - phase < blocks ? PATTERN - phase : blocks;
        memcpy(out, pattern + phase * width, n * width);
        out += n * width;
        blocks -= n;
        phase = 0;
    }
    return VL2_OK;
}

/* As `vl2 quantize` would: the vision half and routers are not quantized, rows that blocks do not
 * divide take smaller blocks. */
static vl2_dtype made_up_type(const binder *b, const line *l, size_t cols) {
    vl2_dtype type = b->type;
    if (!vl2_dtype_is_quantized(type)) return type;
    bool plain = l->scope == BLOCK || l->scope == PROJECTOR || (l->when & VISION) ||
                 (l->scope == LAYER && l->offset == LL(router));
    if (!plain && cols % vl2_dtype_of(type)->block == 0) return type;
    if (!plain && cols % VL2_QUANT_BLOCK == 0) return type == VL2_Q4_K ? VL2_IQ4_NL : VL2_Q8_0;
    return VL2_BF16;
}

/* While the arena measures, the matrix has no data yet. */
static vl2_status make_matrix(vl2_mat *out, binder *b, const line *l, const shape *s) {
    size_t rows = l->what == STACK ? s->elements / s->sizes[s->rank - 1] : s->sizes[0];
    size_t cols = rows ? s->elements / rows : 0;
    vl2_mat mat = {.type = made_up_type(b, l, cols), .rows = rows, .cols = cols};
    const vl2_dtype_traits *t = vl2_dtype_of(mat.type);
    mat.stride = cols / t->block * t->block_bytes;
    uint8_t *data = vl2_arena_array(&b->owned->made_up, rows, mat.stride);
    if (data) VL2_TRY(fill_matrix(data, b, mat.type, s->elements / t->block));
    mat.data = data;
    *out = mat;
    return VL2_OK;
}

static vl2_status make_vector(vl2_vec *out, binder *b, kind what, const shape *s) {
    float *values = own(b->owned, s->elements, sizeof *values, b->err);
    if (!values) return VL2_ERR_MEMORY;
    for (size_t i = 0; i < s->elements; i++)
        values[i] = what == NORM ? 1.0f : made_up_value(i % PATTERN);
    *out = (vl2_vec){.data = values, .size = s->elements};
    return VL2_OK;
}

/* ---- binding scopes ---------------------------------------------------------------------------- */

/* What a token touches: its own experts, and no embedding but its own row. */
static bool is_activated(const binder *b, const line *l) {
    if (l->scope == EXPERT) return b->index[1] < b->config->lang.experts_per_token;
    return l->offset != W(embed) || l->scope != MODEL || b->config->lang.tie_embeddings;
}

/* Expert j's part of a GGUF file's tensor of all a layer's experts. */
static vl2_status slice_experts(vl2_tensor *out, const binder *b, const vl2_tensor *all,
                                const char *name, const shape *s) {
    shape stack = {.rank = s->rank + 1, .elements = s->elements};
    stack.sizes[0] = b->config->lang.experts;
    memcpy(stack.sizes + 1, s->sizes, s->rank * sizeof *s->sizes);
    VL2_TRY(check_tensor(b, all, name, &stack));
    *out = *all;
    out->rank = s->rank;
    memcpy(out->shape, s->sizes, s->rank * sizeof *s->sizes);
    out->bytes = all->bytes / stack.sizes[0];
    out->data = (const char *)all->data + b->index[1] * out->bytes;
    return VL2_OK;
}

static vl2_status find_tensor(vl2_tensor *out, const binder *b, const line *l, const shape *s) {
    char name[NAME_SIZE];
    name_of(name, b->gguf ? l->gguf : l->name, b->index);
    const vl2_tensor *found = vl2_checkpoint_find(b->checkpoint, name);
    if (b->gguf && l->scope == EXPERT) return slice_experts(out, b, found, name, s);
    VL2_TRY(check_tensor(b, found, name, s));
    *out = *found;
    return VL2_OK;
}

static vl2_status bind_line(binder *b, const line *l, void *target) {
    shape s = shape_of(l, b->dims);
    void *field = (char *)target + l->offset;
    bool is_matrix = l->what == MATRIX || l->what == STACK;
    vl2_status status;
    if (!b->checkpoint) {
        status = is_matrix ? make_matrix(field, b, l, &s) : make_vector(field, b, l->what, &s);
    } else {
        vl2_tensor tensor;
        VL2_TRY(find_tensor(&tensor, b, l, &s));
        status = is_matrix ? bind_matrix(field, b, &tensor, l->what, &s)
                           : bind_vector(field, b, &tensor, &s);
    }
    b->out->parameters += s.elements;
    if (is_activated(b, l)) b->out->activated += s.elements;
    return status;
}

static vl2_status bind_scope(binder *b, scope which, void *target, size_t i, size_t j) {
    b->index[0] = i;
    b->index[1] = j;
    for (size_t at = 0; at < sizeof table / sizeof *table; at++) {
        const line *l = &table[at];
        if (l->scope == which && (l->when & ~b->holds) == 0) VL2_TRY(bind_line(b, l, target));
    }
    return VL2_OK;
}

static vl2_status bind_projector(binder *b) {
    const vl2_projector_config *p = &b->config->projector;
    for (size_t i = 0; i < p->linears; i++) {
        b->dims[Pin] = i == 0 ? p->input * p->ratio * p->ratio : p->hidden;
        b->dims[Pout] = i + 1 == p->linears ? p->output : p->hidden;
        /* a Sequential, whose odd numbers are the activations */
        VL2_TRY(bind_scope(b, PROJECTOR, &b->out->projector.layers[i], 2 * i, 0));
    }
    return VL2_OK;
}

static vl2_status bind_blocks(binder *b) {
    size_t n = b->config->vision.layers;
    vl2_vision_block *blocks = own(b->owned, n, sizeof *blocks, b->err);
    if (!blocks) return VL2_ERR_MEMORY;
    b->out->vision.blocks = blocks;
    for (size_t i = 0; i < n; i++) VL2_TRY(bind_scope(b, BLOCK, &blocks[i], i, 0));
    return VL2_OK;
}

static vl2_status widen(vl2_mat *mat, binder *b) {
    if (mat->type == VL2_F32) return VL2_OK;
    float *values = own(b->owned, mat->rows * mat->cols, sizeof *values, b->err);
    if (!values) return VL2_ERR_MEMORY;
    for (size_t i = 0; i < mat->rows; i++) {
        vl2_dtype_to_f32(values + i * mat->cols, (const char *)mat->data + i * mat->stride,
                         mat->type, mat->cols);
    }
    mat->data = values;
    mat->type = VL2_F32;
    mat->stride = mat->cols * sizeof *values;
    return VL2_OK;
}

/* Gate and up, and all experts of a layer, go through one product, which reads one type. Where a
 * file mixes types, those matrices are widened: exact, and rare. */
static vl2_status settle_types(binder *b, vl2_mlp *mlps, size_t n) {
    bool inner = false, outer = false;
    for (size_t i = 0; i < n; i++) {
        inner |= mlps[i].gate.type != mlps->gate.type || mlps[i].up.type != mlps->gate.type;
        outer |= mlps[i].down.type != mlps->down.type;
    }
    for (size_t i = 0; i < n; i++) {
        if (inner) VL2_TRY(widen(&mlps[i].gate, b));
        if (inner) VL2_TRY(widen(&mlps[i].up, b));
        if (outer) VL2_TRY(widen(&mlps[i].down, b));
    }
    return VL2_OK;
}

static vl2_status bind_experts(binder *b, vl2_layer *layer, size_t i) {
    size_t n = b->config->lang.experts;
    layer->experts = own(b->owned, n, sizeof *layer->experts, b->err);
    if (!layer->experts) return VL2_ERR_MEMORY;
    for (size_t j = 0; j < n; j++) VL2_TRY(bind_scope(b, EXPERT, &layer->experts[j], i, j));
    return settle_types(b, layer->experts, n);
}

static vl2_status bind_layers(binder *b) {
    const vl2_language_config *lang = &b->config->lang;
    vl2_layer *layers = own(b->owned, lang->layers, sizeof *layers, b->err);
    if (!layers) return VL2_ERR_MEMORY;
    b->out->layers = layers;
    for (size_t i = 0; i < lang->layers; i++) {
        layers[i].is_moe = vl2_config_is_moe(lang, i);
        b->holds = (b->holds & ~(MOE | DENSE)) | (layers[i].is_moe ? MOE : DENSE);
        VL2_TRY(bind_scope(b, LAYER, &layers[i], i, 0));
        VL2_TRY(settle_types(b, &layers[i].mlp, 1));
        VL2_TRY(settle_types(b, &layers[i].shared, 1));
        if (!layers[i].is_moe) continue;
        if (vl2_dtype_is_quantized(layers[i].router.type)) VL2_TRY(widen(&layers[i].router, b));
        VL2_TRY(bind_experts(b, &layers[i], i));
    }
    return VL2_OK;
}

static vl2_status bind_all(binder *b) {
    VL2_TRY(bind_scope(b, MODEL, b->out, 0, 0));
    if (b->config->has_vision) {
        VL2_TRY(bind_blocks(b));
        VL2_TRY(bind_projector(b));
    }
    VL2_TRY(bind_layers(b));
    if (b->config->lang.tie_embeddings) b->out->head = b->out->embed;
    return VL2_OK;
}

static void measure(size_t dims[DIM_COUNT], const vl2_config *config) {
    const vl2_vision_config *v = &config->vision;
    const vl2_language_config *l = &config->lang;
    dims[ONE] = 1;
    dims[THREE] = 3;
    dims[P] = v->patch;
    dims[GG] = v->grid * v->grid;
    dims[Dv] = v->width;
    dims[Dv3] = 3 * v->width;
    dims[Dv4] = 4 * v->width;
    dims[Fv] = v->mlp_width;
    dims[D] = l->hidden;
    dims[V] = l->vocab;
    dims[HDh] = l->heads * l->head_dim;
    dims[HkDh] = l->kv_heads * l->head_dim;
    dims[HDq] = l->heads * (l->nope_dim + l->rope_dim);
    dims[Cq] = l->q_lora;
    dims[C] = l->kv_lora;
    dims[CDr] = l->kv_lora + l->rope_dim;
    dims[HDkv] = l->heads * (l->nope_dim + l->v_dim);
    dims[HDvh] = l->heads * l->v_dim;
    dims[F] = l->dense_width;
    dims[Fe] = l->expert_width;
    dims[Fs] = l->shared_width;
    dims[E] = l->experts;
    dims[H] = l->heads;
    dims[Dn] = l->nope_dim;
    dims[Dvh] = l->v_dim;
}

static int words_that_hold(const vl2_config *config) {
    const vl2_language_config *l = &config->lang;
    bool linear = config->projector.type == VL2_PROJECTOR_LINEAR;
    return (config->has_vision ? VISION : 0) | (config->vision.final_norm ? FINAL_NORM : 0) |
           (config->projector.token_pooling ? POOLING : 0) | (linear ? SINGLE : SEQUENTIAL) |
           (l->tie_embeddings ? 0 : UNTIED) | (l->use_mla ? MLA : MHA) |
           (l->attention_bias ? BIAS : 0) | (l->q_lora ? Q_LORA : Q_FULL) |
           (l->shared_width ? SHARED : 0) | (l->router == VL2_ROUTER_NOAUX_TC ? NOAUX : 0);
}

/* ---- the table, for writers --------------------------------------------------------------------- */

typedef struct walk {
    const vl2_config *config;
    size_t dims[DIM_COUNT];
    int holds;
    size_t index[2];
    vl2_weights_fn fn;
    void *context;
    vl2_error *err;
} walk;

static vl2_status walk_line(const walk *w, const line *l, const void *target) {
    char name[NAME_SIZE];
    shape s = shape_of(l, w->dims);
    const void *field = (const char *)target + l->offset;
    bool is_matrix = l->what == MATRIX || l->what == STACK;
    vl2_weights_tensor t = {.name = name,
                            .layer = w->index[0],
                            .vision =
                                (l->when & VISION) || l->scope == BLOCK || l->scope == PROJECTOR,
                            .mat = is_matrix ? field : NULL,
                            .vec = is_matrix ? NULL : field,
                            .n = 1};
    name_of(name, l->gguf, w->index);
    if (l->scope == EXPERT) {
        t.n = w->config->lang.experts;
        t.step = sizeof(vl2_mlp);
        t.shape[t.rank++] = t.n;
    }
    for (size_t i = 0; i < s.rank; i++) t.shape[t.rank++] = s.sizes[i];
    return w->fn(w->context, &t, w->err);
}

static vl2_status walk_scope(walk *w, scope which, const void *target, size_t i) {
    w->index[0] = i;
    for (size_t at = 0; at < sizeof table / sizeof *table; at++) {
        const line *l = &table[at];
        if (l->scope == which && (l->when & ~w->holds) == 0) VL2_TRY(walk_line(w, l, target));
    }
    return VL2_OK;
}

static vl2_status walk_vision(walk *w, const vl2_weights *weights) {
    const vl2_projector_config *p = &w->config->projector;
    for (size_t i = 0; i < w->config->vision.layers; i++)
        VL2_TRY(walk_scope(w, BLOCK, &weights->vision.blocks[i], i));
    for (size_t i = 0; i < p->linears; i++) {
        w->dims[Pin] = weights->projector.layers[i].w.cols;
        w->dims[Pout] = weights->projector.layers[i].w.rows;
        VL2_TRY(walk_scope(w, PROJECTOR, &weights->projector.layers[i], 2 * i));
    }
    return VL2_OK;
}

vl2_status vl2_weights_each(const vl2_weights *weights, const vl2_config *config, vl2_weights_fn fn,
                            void *context, vl2_error *err) {
    walk w = {.config = config,
              .holds = words_that_hold(config),
              .fn = fn,
              .context = context,
              .err = err};
    measure(w.dims, config);
    w.holds |= weights->layers[0].k_b.data ? SPLIT_KV : WHOLE_KV;
    VL2_TRY(walk_scope(&w, MODEL, weights, 0));
    if (config->has_vision) VL2_TRY(walk_vision(&w, weights));
    for (size_t i = 0; i < config->lang.layers; i++) {
        const vl2_layer *layer = &weights->layers[i];
        w.holds = (w.holds & ~(MOE | DENSE)) | (layer->is_moe ? MOE : DENSE);
        VL2_TRY(walk_scope(&w, LAYER, layer, i));
        if (layer->is_moe) VL2_TRY(walk_scope(&w, EXPERT, layer->experts, i));
    }
    return VL2_OK;
}

/* ---- all of it --------------------------------------------------------------------------------- */

/* Binds into *out, which owns what it needs; on failure *out is empty. */
static vl2_status bind_into(vl2_weights *out, binder *b, size_t made_up_bytes) {
    *out = (vl2_weights){0};
    b->out = out;
    b->owned = vl2_mem_calloc(1, sizeof *b->owned);
    if (!b->owned) return vl2_fail_memory(b->err, "weights", sizeof *b->owned);
    out->owned = b->owned;
    vl2_status status = VL2_OK;
    if (made_up_bytes)
        status = vl2_arena_take(&b->owned->made_up, made_up_bytes, "made-up weights", b->err);
    if (status == VL2_OK) status = bind_all(b);
    out->owned_bytes = b->owned->bytes + b->owned->made_up.size;
    if (status != VL2_OK) vl2_weights_free(out);
    return status;
}

vl2_status vl2_weights_bind(vl2_weights *out, const vl2_config *config,
                            const vl2_checkpoint *checkpoint, vl2_error *err) {
    binder b = {.config = config,
                .checkpoint = checkpoint,
                .gguf = vl2_checkpoint_keys(checkpoint) != NULL,
                .holds = words_that_hold(config),
                .err = err};
    vl2_weights weights;
    measure(b.dims, config);
    bool split = b.gguf && vl2_checkpoint_find(checkpoint, "blk.0.attn_k_b.weight");
    b.holds |= split ? SPLIT_KV : WHOLE_KV;
    VL2_TRY(bind_into(&weights, &b, 0));
    *out = weights;
    return VL2_OK;
}

/* The same binding twice: the first only measures. */
static vl2_status make_up(vl2_weights *out, binder *b) {
    VL2_TRY(bind_into(out, b, 0));
    size_t bytes = b->owned->made_up.used;
    vl2_weights_free(out);
    memset(b->patterns, 0, sizeof b->patterns); /* of the binding that is gone */
    return bind_into(out, b, bytes);
}

vl2_status vl2_weights_dummy(vl2_weights *out, const vl2_config *config, vl2_dtype type,
                             vl2_error *err) {
    if (!vl2_dtype_of(type)->is_weight)
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "made-up weights in %s, expected F32, F16 or BF16, or a quantized type",
                        vl2_dtype_of(type)->name);
    binder b = {.config = config,
                .holds =
                    words_that_hold(config) | (vl2_dtype_is_quantized(type) ? SPLIT_KV : WHOLE_KV),
                .type = type,
                .err = err};
    measure(b.dims, config);
    return make_up(out, &b);
}

void vl2_weights_free(vl2_weights *weights) {
    if (weights->owned) own_nothing(weights->owned);
    *weights = (vl2_weights){0};
}
