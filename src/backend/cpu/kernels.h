/* backend/cpu/kernels.h - the table of kernels: pure functions that a CPU level fills in.
 *
 * vl2_kernels_select sets every pointer to plain C (ref/, the specification), then goes up the
 * ladder: each level of the machine, up to the one asked for, replaces what it does better. Kernels
 * take no memory, start no thread and keep nothing. What the table promises, for every level:
 *
 *   - an output is one chain of sums whose order depends on k alone (vl2_dot_block cuts long k), so
 *     `packed` and `direct` give the same bits for any m, n and place in a tile;
 *   - a kernel of rows sees one row; what stands beside it does not matter. */
#ifndef VL2_BACKEND_CPU_KERNELS_H
#define VL2_BACKEND_CPU_KERNELS_H

#include "backend/cpu/bytes.h"
#include "backend/cpu/qdot.h"
#include "backend/ops.h"

enum {
    VL2_ATTN_KEYS = 64, /* keys of an attention block: its sums' borders, and the rows of a panel */
    VL2_ATTN_ROWS = 12, /* query rows that share one pass over a block */
    VL2_OUTER_STEP = 16, /* floats: n of `outer` is a multiple */
    VL2_WEIGHT_TYPES = VL2_BF16 + 1
};

/* Dot products y[i,j] = x_i . w_j of one weight type with activations in one packed form. A packed
 * row holds one block of k elements, zeros up to a multiple of `step`. */
typedef struct vl2_dot {
    size_t step;             /* elements; a power of two, at most 64 */
    size_t block;            /* k of a block at most (vl2_dot_block) */
    size_t x_bytes, w_bytes; /* of an element in a packed row */
    void (*pack_x)(void *out, const float *x, size_t k);
    void (*pack_w)(void *out, const void *w, size_t k);
    /* y[i * ldy + j] = sum, or += sum with `add`; x [m, kp] and w [n, kp] packed, kp = k padded */
    void (*packed)(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n, size_t k,
                   bool add);
    /* The same with w as the file has it, rows `w_stride` bytes apart, aligned to its elements. */
    void (*direct)(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                   size_t n, size_t k, bool add);
} vl2_dot;

/* How k is cut: blocks of this many elements (a multiple of 64), the last one shorter. */
static inline size_t vl2_dot_block(const vl2_dot *dot, size_t k) {
    size_t blocks = (k + dot->block - 1) / dot->block;
    if (blocks <= 1) return k;
    return ((k + blocks - 1) / blocks + 63) / 64 * 64;
}
static inline size_t vl2_dot_padded(const vl2_dot *dot, size_t k) {
    return (k + dot->step - 1) / dot->step * dot->step;
}

/* The same products by tiles, and those of qdot.h for many rows: rows of x are prepared VL2_TILE_ROWS at
 * a time, weights stay as the file has them. A block of m <= VL2_TILE_ROWS prepared rows takes m *
 * row_bytes(k), and blocks of one product lie one behind the other, all but the last full. */
enum {
    VL2_TILE_ROWS = 16,
    VL2_TILE_RUN = 2 * VL2_TILE_ROWS,
    VL2_TILE_MOST = 512, /* prepared rows of a call at most */
    VL2_TILE_SCRATCH = 112 << 10
};
typedef struct vl2_tiles {
    size_t (*row_bytes)(size_t k);
    void (*pack)(void *out, const float *const *rows, size_t m, size_t k);
    /* y[i * ldy + j] = x_i . w_j for m prepared rows, best a multiple of VL2_TILE_RUN; w as for
     * `direct`. On its way it fetches next_bytes from `next` (or NULL) into the cache, or as many rows
     * like its last ones. scratch: VL2_TILE_SCRATCH bytes, aligned to 64. */
    void (*product)(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                    size_t n, size_t k, const void *next, size_t next_bytes, void *scratch);
} vl2_tiles;

/* Attention in bf16, by tiles or by lanes: m <= VL2_TILE_RUN query rows, as columns, over one block of
 * keys. Sums, scores and results are float32; columns from m on are of no use. A query is a column that
 * sees nothing of its neighbours. */
enum { VL2_ATTEND_STEP = 32, VL2_ATTEND_SIDE = 16 }; /* k and keys, and v, are padded to these */
#define VL2_ATTEND_NOTHING (-1e30f)                  /* the max of no keys */
typedef struct vl2_attend_block {
    const void *q; /* prepared as for a product */
    size_t m;
    const void *k; /* bf16 [n, k_dim padded], rows k_stride bytes apart */
    size_t k_stride;
    const void *v; /* bf16 [v_dim padded, n padded] */
    size_t n, k_dim, v_dim;
    const int32_t *seen; /* [VL2_TILE_RUN] how many of the keys each query sees */
    float scale;         /* > 0 */
    float *s;            /* scratch [n padded, VL2_TILE_RUN] */
    void *p;             /* scratch [n padded / 2, VL2_TILE_RUN] pairs */
    float *o;            /* [v_dim padded, VL2_TILE_RUN] = sum of exp(score - max) v */
    float *max, *sum;    /* [VL2_TILE_RUN] */
    /* Of `alone`: */
    size_t v_stride;             /* v is [n, v_dim] as the cache has it, rows so many bytes apart */
    const void *next_k, *next_v; /* to be fetched: next_bytes of both (or 0) */
    size_t next_bytes;
    float *turned; /* scratch [n padded, v_dim] bf16 */
    void *tail; /* tiles: scratch [VL2_ATTEND_STEP, k_dim] bf16, where n is no multiple of that */
} vl2_attend_block;

typedef struct vl2_attend {
    /* m <= VL2_TILE_ROWS query rows of k elements, rounded and turned: m * 2 * (k padded) bytes */
    void (*queries)(void *out, const float *const *rows, size_t m, size_t k);
    /* bf16 [n padded, k padded], zeros behind; rows of F32 or BF16 */
    void (*keys)(void *out, const void *rows, size_t stride, vl2_dtype type, size_t n, size_t k);
    /* bf16 [v padded, n padded] = the rows' transpose */
    void (*values)(void *out, const void *rows, size_t stride, vl2_dtype type, size_t n, size_t v);
    void (*block)(const vl2_attend_block *b); /* keys padded with zeros if n is not */
    /* The same bits for one query, from a cache in bf16 whose k_dim and v_dim need no padding:
     * o [v_dim], max and sum one value each, k and v as the cache has them. */
    void (*alone)(const vl2_attend_block *b);
    void (*merge_alone)(float *o, float *max, float *sum, const float *p, float p_max, float p_sum,
                        size_t v_dim);
    /* o, max, sum of some blocks and p … of the next -> of both */
    void (*merge)(float *o, float *max, float *sum, const float *p, const float *p_max,
                  const float *p_sum, size_t m, size_t v_dim);
    /* out[i][j] = o[j][i] / sum[i]; zeros where the sum is */
    void (*finish)(float *const *out, const float *o, const float *sum, size_t m, size_t v_dim);
} vl2_attend;

typedef struct vl2_kernels {
    const char *level;
    vl2_dot exact[VL2_WEIGHT_TYPES]; /* float32 activations and sums */
    vl2_dot fast[VL2_WEIGHT_TYPES];  /* in auto: activations may be rounded to the weights' type */
    vl2_tiles tiles[VL2_WEIGHT_TYPES]; /* instead of `fast` where `product` is set */
    vl2_qdot quantized[VL2_Q_TYPES];   /* by type - VL2_Q8_0; in f32 such weights are widened */
    vl2_tiles q_tiles[VL2_Q_TYPES];    /* of these for many rows, where `product` is set */

    vl2_bytes bytes; /* of weights made bytes at load */

    vl2_attend attend; /* in auto, where set */

    /* c[i * ldc + j] = sum over l of a[i][l] b[l * ldb + j], i < m, j < n: one chain over l.
     * n is a multiple of VL2_OUTER_STEP. */
    void (*outer)(float *c, size_t ldc, const float *const *a, size_t m, const float *b, size_t ldb,
                  size_t n, size_t k);
    /* out[0…n) = row, widened */
    void (*widen[VL2_WEIGHT_TYPES])(float *out, const void *row, size_t n);
    /* out[j * VL2_ATTN_KEYS + i] = element j of row i, for i < n <= VL2_ATTN_KEYS (zeros above), j < k */
    void (*transpose[VL2_WEIGHT_TYPES])(float *out, const void *rows, size_t stride, size_t n,
                                        size_t k);
    /* What `outer` makes of transposed keys and of widened values, bit for bit, for one query row and
     * without either: s[i] = q . row i (i < n <= VL2_ATTN_KEYS; s has room for all of them), and
     * o[j] = sum over i of p[i] row i[j] (j < k). On their way they ask for the n * k elements from `next`
     * (or NULL) on, which whoever calls will read soon. */
    void (*scores[VL2_WEIGHT_TYPES])(float *s, const float *q, const void *rows, size_t stride,
                                     size_t n, size_t k, const void *next);
    void (*weighted[VL2_WEIGHT_TYPES])(float *o, const float *p, const void *rows, size_t stride,
                                       size_t n, size_t k, const void *next);
    /* s[i] = exp(scale * s[i] - *max), i < n (n > 0), zeros up to VL2_ATTN_KEYS; *max = the greatest
     * scale * s[i], *sum = the sum of the new s. scale > 0. */
    void (*softmax)(float *s, size_t n, float scale, float *max, float *sum);
    void (*blend)(float *o, const float *p, size_t n, float a, float b); /* o = o * a + p * b */
    void (*scale)(float *out, const float *x, size_t n, float a);        /* out = x * a */
    void (*axpy)(float *y, const float *x, size_t n, float a);           /* y += x * a */

    /* y = epilogue(s + b); b may be NULL. By vl2_epilogue. */
    void (*finish[VL2_EPI_RELU + 1])(float *y, const float *s, const float *b, size_t n);
    /* y = act(g) * u; only the four activations are set. */
    void (*gate[VL2_EPI_RELU + 1])(float *y, const float *g, const float *u, size_t n);

    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);
    void (*layernorm)(float *y, const float *x, const float *w, const float *b, size_t n,
                      float eps); /* b may be NULL */
    /* One head: pairs (2i, 2i+1), or (i, i+half). */
    void (*rope_pairs)(float *x, const float *cos, const float *sin, size_t half);
    void (*rope_halves)(float *x, const float *cos, const float *sin, size_t half);
    void (*to_bf16)(uint16_t *out, const float *x, size_t n); /* to nearest even */
} vl2_kernels;

/* Fills *out for `level` (NULL: the best there is); false if this machine has no such level. */
bool vl2_kernels_select(vl2_kernels *out, const char *level);
const char *const *vl2_kernels_levels(void); /* lowest first, NULL at the end */

/* What each level's files fill in; call only where features.h says that the CPU can run it. */
void vl2_dot_c_fill(vl2_kernels *out);
void vl2_rows_c_fill(vl2_kernels *out);
void vl2_q_c_fill(vl2_kernels *out);
void vl2_bytes_c_fill(vl2_kernels *out);

#endif
