/* Products of many rows with quantized weights, NEON with matrix products of bytes: one instruction is two
 * rows of x by two outputs, eight elements deep. A panel has its offsets taken off and lies as those want
 * it, [k/8, outputs, 8]. Few rows are left to the dot products of q_dotprod.c. */
#include "backend/cpu/arm/arm.h"
#include "backend/cpu/qunits.h"

#include <arm_neon.h>

enum {
    ROWS = 4, /* of x in a tile */
    SOME = 8, /* outputs in a tile */
    DEEP = 8, /* elements of an instruction */
    LINE = VL2_QPANEL * DEEP,
    ROW_PAIRS = ROWS / 2,
    PAIRS = SOME / 2
};

/* ---- panels ----------------------------------------------------------------------------------- */

static const int8_t *panel_q(const vl2_qpanel *w) { return (const int8_t *)w->q; }

/* One panel of `elements` <= 256; rows from n on are the last one again. */
VL2_QINLINE void q_panel(vl2_qpanel *out, const char *w, size_t w_stride, size_t n, size_t elements,
                         const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit, subs = kind.has_min ? 8 : 16;
    uint8_t *q = out->q[0][0];
    for (size_t j = 0; j < VL2_QPANEL; j++) {
        const char *row = w + (j < n ? j : n - 1) * w_stride;
        for (size_t u = 0; u < elements / unit; u++) {
            vl2_qunit one;
            kind.unpack(&one, row + u * kind.bytes);
            for (size_t i = 0; i < unit; i += DEEP)
                vst1_u8(q + (u * unit + i) / DEEP * LINE + j * DEEP,
                        vsub_u8(vld1_u8(one.q + i), vdup_n_u8((uint8_t)kind.offset)));
            out->d[u][j] = one.d;
            if (kind.has_min) out->m[u][j] = one.m;
            if (unit < VL2_QUANT_SUPER) continue;
            for (size_t s = 0; s < subs; s++) {
                out->scale[s][j] = one.scale[s * 16 / subs];
                if (kind.has_min) out->min[s][j] = one.min[s * 16 / subs];
            }
        }
    }
}

VL2_QINLINE void q_panels(vl2_qpanel *out, const void *w, size_t w_stride, size_t n, size_t k,
                          const vl2_qkind kind) {
    for (size_t at = 0; at < k; at += VL2_QUNIT_MAX, out++)
        q_panel(out, (const char *)w + at / (size_t)kind.unit * kind.bytes, w_stride, n,
                k - at < VL2_QUNIT_MAX ? k - at : VL2_QUNIT_MAX, kind);
}

/* ---- tiles: ROWS rows of x by SOME outputs, two by two in a vector ------------------------------ */

typedef struct q_rows { /* the parts of a packed row */
    const int8_t *q[ROWS];
    const float *d[ROWS];
    const int16_t *sums[ROWS];
} q_rows;

/* a + the products of DEEP * steps elements. */
VL2_QINLINE void add_products(int32x4_t a[ROW_PAIRS][PAIRS], const q_rows *x, size_t at,
                              const int8_t *w, const int steps) {
    for (int s = 0; s < steps; s++, at += DEEP, w += LINE) {
        int8x16_t v[ROW_PAIRS];
        VL2_EACH(p, ROW_PAIRS)
        v[p] = vcombine_s8(vld1_s8(x->q[2 * p] + at), vld1_s8(x->q[2 * p + 1] + at));
        VL2_EACH(c, PAIRS) {
            const int8x16_t two = vld1q_s8(w + 2 * DEEP * c);
            VL2_EACH(p, ROW_PAIRS) a[p][c] = vmmlaq_s32(a[p][c], v[p], two);
        }
    }
}

VL2_QINLINE float32x4_t of_outputs(const float *two) {
    return vcombine_f32(vld1_f32(two), vld1_f32(two));
}
VL2_QINLINE int32x4_t of_outputs_whole(const int32_t *two) {
    return vcombine_s32(vld1_s32(two), vld1_s32(two));
}
VL2_QINLINE float32x4_t of_rows(float first, float second) {
    return vcombine_f32(vdup_n_f32(first), vdup_n_f32(second));
}
VL2_QINLINE int32_t sum_of_32(const int16_t *sums, size_t b) {
    return sums[2 * b] + sums[2 * b + 1];
}
VL2_QINLINE int32x4_t of_sums(const q_rows *x, int p, size_t b) {
    return vcombine_s32(vdup_n_s32(sum_of_32(x->sums[2 * p], b)),
                        vdup_n_s32(sum_of_32(x->sums[2 * p + 1], b)));
}

/* y + t of qdot.h, for unit u of the panel and of x from dx on. */
VL2_QINLINE void add_terms(float32x4_t y[ROW_PAIRS][PAIRS], int32x4_t a[ROW_PAIRS][PAIRS],
                           int32x4_t b[ROW_PAIRS][PAIRS], const q_rows *x, const float *d,
                           const float *m, size_t u, const vl2_qkind kind) {
    VL2_EACH(p, ROW_PAIRS) {
        const float32x4_t dx = of_rows(x->d[2 * p][u], x->d[2 * p + 1][u]);
        VL2_EACH(c, PAIRS) {
            float32x4_t t = vmulq_f32(vmulq_f32(of_outputs(d + 2 * c), dx), vcvtq_f32_s32(a[p][c]));
            if (kind.has_min)
                t = vaddq_f32(
                    t, vmulq_f32(vmulq_f32(of_outputs(m + 2 * c), dx), vcvtq_f32_s32(b[p][c])));
            y[p][c] = vaddq_f32(y[p][c], t);
        }
    }
}

/* Blocks of 32: `blocks` of them, x's block b0 first; outputs `from` … of the panel. */
VL2_QINLINE void tile_32(float32x4_t y[ROW_PAIRS][PAIRS], const q_rows *x, const vl2_qpanel *w,
                         size_t from, size_t b0, size_t blocks, const vl2_qkind kind) {
    for (size_t i = 0; i < blocks; i++) {
        int32x4_t a[ROW_PAIRS][PAIRS], b[ROW_PAIRS][PAIRS];
        VL2_EACH(p, ROW_PAIRS) VL2_EACH(c, PAIRS) {
            a[p][c] = vdupq_n_s32(0);
            b[p][c] = of_sums(x, p, b0 + i);
        }
        add_products(a, x, 32 * (b0 + i), panel_q(w) + 32 / DEEP * i * LINE + from * DEEP,
                     32 / DEEP);
        add_terms(y, a, b, x, w->d[i] + from, w->m[i] + from, b0 + i, kind);
    }
}

/* A super-block, x's unit u. */
VL2_QINLINE void tile_k(float32x4_t y[ROW_PAIRS][PAIRS], const q_rows *x, const vl2_qpanel *w,
                        size_t from, size_t u, const vl2_qkind kind) {
    const size_t sub = kind.has_min ? 32 : 16;
    int32x4_t a[ROW_PAIRS][PAIRS], b[ROW_PAIRS][PAIRS];
    VL2_EACH(p, ROW_PAIRS) VL2_EACH(c, PAIRS) a[p][c] = b[p][c] = vdupq_n_s32(0);
    for (size_t s = 0; s < VL2_QUANT_SUPER / sub; s++) {
        int32x4_t dots[ROW_PAIRS][PAIRS];
        VL2_EACH(p, ROW_PAIRS) VL2_EACH(c, PAIRS) dots[p][c] = vdupq_n_s32(0);
        add_products(dots, x, VL2_QUANT_SUPER * u + sub * s,
                     panel_q(w) + sub / DEEP * s * LINE + from * DEEP, (int)(sub / DEEP));
        VL2_EACH(c, PAIRS) {
            const int32x4_t scale = of_outputs_whole(w->scale[s] + from + 2 * c);
            VL2_EACH(p, ROW_PAIRS) a[p][c] = vmlaq_s32(a[p][c], dots[p][c], scale);
        }
    }
    for (size_t s = 0; kind.has_min && s < 8; s++) VL2_EACH(p, ROW_PAIRS) {
            const int32x4_t sums = of_sums(x, p, 8 * u + s);
            VL2_EACH(c, PAIRS)
            b[p][c] = vmlaq_s32(b[p][c], of_outputs_whole(w->min[s] + from + 2 * c), sums);
        }
    add_terms(y, a, b, x, w->d[0] + from, w->m[0] + from, u, kind);
}

/* Outputs `from` … of a panel; y: a row of results for each row of x. */
VL2_QINLINE void q_tile(float *const y[ROWS], const q_rows *x, const vl2_qpanel *w, size_t from,
                        size_t k0, size_t kn, const vl2_qkind kind) {
    float32x4_t sums[ROW_PAIRS][PAIRS];
    VL2_EACH(p, ROW_PAIRS)
    VL2_EACH(c, PAIRS)
    sums[p][c] =
        k0 ? vcombine_f32(vld1_f32(y[2 * p] + from + 2 * c), vld1_f32(y[2 * p + 1] + from + 2 * c))
           : vdupq_n_f32(0.0f);
    for (size_t at = 0; at < kn; at += VL2_QUNIT_MAX, w++) {
        const size_t some = kn - at < VL2_QUNIT_MAX ? kn - at : VL2_QUNIT_MAX;
        if (kind.unit == VL2_QUANT_SUPER)
            tile_k(sums, x, w, from, (k0 + at) / VL2_QUANT_SUPER, kind);
        else
            tile_32(sums, x, w, from, (k0 + at) / 32, some / 32, kind);
    }
    VL2_EACH(p, ROW_PAIRS) VL2_EACH(c, PAIRS) {
        vst1_f32(y[2 * p] + from + 2 * c, vget_low_f32(sums[p][c]));
        vst1_f32(y[2 * p + 1] + from + 2 * c, vget_high_f32(sums[p][c]));
    }
}

/* Where fewer rows are left than a tile has, the last one is computed again. */
VL2_QINLINE void q_tiles(float *y, size_t ldy, const void *x, size_t m, size_t k,
                         const vl2_qpanel *w, size_t k0, size_t kn, const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit, row = vl2_qx_bytes(k, unit);
    for (size_t i = 0; i < m; i += ROWS) {
        q_rows rows;
        float *out[ROWS];
        for (size_t r = 0; r < ROWS; r++) {
            const size_t at = i + r < m ? i + r : m - 1;
            const char *packed = (const char *)x + at * row;
            rows.q[r] = (const int8_t *)packed;
            rows.d[r] = (const float *)(const void *)(packed + vl2_qx_scales(k));
            rows.sums[r] = (const int16_t *)(const void *)(packed + vl2_qx_sums(k, unit));
            out[r] = y + at * ldy;
        }
        for (size_t from = 0; from < VL2_QPANEL; from += SOME)
            q_tile(out, &rows, w, from, k0, kn, kind);
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

#define VL2_Q_TILES(type, name, unit, offset, has_min, block)                                      \
    static void pack_w_##name(vl2_qpanel *out, const void *w, size_t w_stride, size_t n,           \
                              size_t k) {                                                          \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        q_panels(out, w, w_stride, n, k, kind);                                                    \
    }                                                                                              \
    static void packed_##name(float *y, size_t ldy, const void *x, size_t m, size_t k,             \
                              const vl2_qpanel *w, size_t k0, size_t kn) {                         \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        q_tiles(y, ldy, x, m, k, w, k0, kn, kind);                                                 \
    }
VL2_QKINDS(VL2_Q_TILES)

void vl2_q_i8mm_fill(vl2_kernels *out) {
#define FILL(type, name, size, offset, has_min, block)                                             \
    out->quantized[type - VL2_Q8_0].pack_w = pack_w_##name;                                        \
    out->quantized[type - VL2_Q8_0].packed = packed_##name;
    VL2_QKINDS(FILL)
#undef FILL
}
