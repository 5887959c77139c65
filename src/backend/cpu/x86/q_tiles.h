/* backend/cpu/x86/q_tiles.h - many rows times panels of 16 outputs; for q_avx512vnni.c alone. */
#ifndef VL2_BACKEND_CPU_X86_Q_TILES_H
#define VL2_BACKEND_CPU_X86_Q_TILES_H

#include "backend/cpu/qunits.h"
#include "backend/cpu/x86/avx512.h"

/* ---- panels ----------------------------------------------------------------------------------- */

/* 16 rows of 16 groups of 4 bytes -> 16 groups of 16 rows. Rows `stride` bytes apart. */
static inline void vl2_q_transpose(uint8_t *out, const uint8_t *rows, size_t stride) {
    __m512i a[16], b[16];
    for (size_t i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(rows + i * stride);
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16;
         i += 4) { /* a[i + c]: columns 4p + c of rows i…i+3, p the 128-bit part */
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int c = 0; c < 4; c++) {
        const __m512i even = _mm512_shuffle_i32x4(a[c], a[c + 4], 0x88);
        const __m512i odd = _mm512_shuffle_i32x4(a[c], a[c + 4], 0xdd);
        const __m512i even2 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0x88);
        const __m512i odd2 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0xdd);
        _mm512_storeu_si512(out + 64 * c, _mm512_shuffle_i32x4(even, even2, 0x88));
        _mm512_storeu_si512(out + 64 * (c + 4), _mm512_shuffle_i32x4(odd, odd2, 0x88));
        _mm512_storeu_si512(out + 64 * (c + 8), _mm512_shuffle_i32x4(even, even2, 0xdd));
        _mm512_storeu_si512(out + 64 * (c + 12), _mm512_shuffle_i32x4(odd, odd2, 0xdd));
    }
}

/* One panel of `elements` <= 256; rows from n on are the last one again. */
VL2_QINLINE void vl2_q_panel(vl2_qpanel *out, const char *w, size_t w_stride, size_t n,
                             size_t elements, const vl2_qkind kind) {
    _Alignas(64) uint8_t q[VL2_QPANEL][VL2_QUNIT_MAX];
    const size_t unit = (size_t)kind.unit, units = elements / unit;
    for (size_t j = 0; j < VL2_QPANEL; j++) {
        const char *row = w + (j < n ? j : n - 1) * w_stride;
        for (size_t u = 0; u < units; u++) {
            vl2_qunit one;
            kind.unpack(&one, row + u * kind.bytes);
            memcpy(q[j] + u * unit, one.q, unit);
            out->d[u][j] = one.d;
            if (kind.has_min) out->m[u][j] = one.m;
            for (size_t s = 0; unit == VL2_QUANT_SUPER && s < 16; s++) {
                out->scale[s][j] = one.scale[s];
                if (kind.has_min) out->min[s][j] = one.min[s];
            }
        }
    }
    for (size_t part = 0; part * 64 < elements; part++)
        vl2_q_transpose(out->q[16 * part][0], q[0] + 64 * part, VL2_QUNIT_MAX);
}

VL2_QINLINE void vl2_q_panels(vl2_qpanel *out, const void *w, size_t w_stride, size_t n, size_t k,
                              const vl2_qkind kind) {
    for (size_t at = 0; at < k; at += VL2_QUNIT_MAX, out++)
        vl2_q_panel(out, (const char *)w + at / (size_t)kind.unit * kind.bytes, w_stride, n,
                    k - at < VL2_QUNIT_MAX ? k - at : VL2_QUNIT_MAX, kind);
}

/* ---- tiles: R rows of x by the 16 outputs of a panel -------------------------------------------- */

typedef struct vl2_q_rows { /* a packed row's parts, `row` bytes to the next one's */
    const char *q, *d, *sums;
    size_t row;
} vl2_q_rows;

/* Adds x's 4 * steps numbers times the panel's, as whole numbers. */
VL2_QINLINE void vl2_q_dots(__m512i *acc, const int R, const char *x, size_t row, const uint8_t *w,
                            int steps) {
    for (int s = 0; s < steps; s++) {
        const __m512i v = _mm512_load_si512(w + 64 * s);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            int32_t four;
            memcpy(&four, x + (size_t)r * row + 4 * s, 4);
            acc[r] = _mm512_dpbusd_epi32(acc[r], v, _mm512_set1_epi32(four));
        }
    }
}

VL2_QINLINE int32_t vl2_q_sum(const vl2_q_rows *x, size_t r, size_t at) {
    int16_t sum;
    memcpy(&sum, x->sums + r * x->row + at * sizeof sum, sizeof sum);
    return sum;
}
VL2_QINLINE float vl2_q_scale(const vl2_q_rows *x, size_t r, size_t at) {
    float d;
    memcpy(&d, x->d + r * x->row + at * sizeof d, sizeof d);
    return d;
}

/* Blocks of 32: `blocks` of them from x's block b0 on. */
VL2_QINLINE void vl2_q_tile_32(__m512 *y, const int R, const vl2_q_rows *x, const vl2_qpanel *w,
                               size_t b0, size_t blocks, const vl2_qkind kind) {
    for (size_t b = 0; b < blocks; b++) {
        const __m512 d = _mm512_load_ps(w->d[b]);
        __m512i acc[12];
        int32_t sum[12];
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            sum[r] =
                vl2_q_sum(x, (size_t)r, 2 * (b0 + b)) + vl2_q_sum(x, (size_t)r, 2 * (b0 + b) + 1);
            acc[r] = _mm512_set1_epi32(-kind.offset * sum[r]);
        }
        vl2_q_dots(acc, R, x->q + 32 * (b0 + b), x->row, w->q[8 * b][0], 8);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            const __m512 dx = _mm512_set1_ps(vl2_q_scale(x, (size_t)r, b0 + b));
            __m512 t = _mm512_mul_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(acc[r]));
            if (kind.has_min)
                t = _mm512_add_ps(t, _mm512_mul_ps(_mm512_mul_ps(_mm512_load_ps(w->m[b]), dx),
                                                   _mm512_set1_ps((float)sum[r])));
            y[r] = _mm512_add_ps(y[r], t);
        }
    }
}

/* The integer a of a super-block; sub-blocks of `sub` elements share a scale. */
VL2_QINLINE void vl2_q_super(__m512i *a, const int R, const vl2_q_rows *x, const vl2_qpanel *w,
                             size_t u, const vl2_qkind kind) {
    const size_t sub = kind.has_min ? 32 : 16;
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) a[r] = _mm512_setzero_si512();
    for (size_t s = 0; s < VL2_QUANT_SUPER / sub; s++) {
        const __m512i scale = _mm512_load_si512(w->scale[s * sub / 16]);
        __m512i acc[12];
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
            acc[r] = kind.offset
                         ? _mm512_set1_epi32(-kind.offset * vl2_q_sum(x, (size_t)r, 16 * u + s))
                         : _mm512_setzero_si512();
        vl2_q_dots(acc, R, x->q + VL2_QUANT_SUPER * u + sub * s, x->row, w->q[sub / 4 * s][0],
                   (int)sub / 4);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
            a[r] = _mm512_add_epi32(a[r], _mm512_mullo_epi32(acc[r], scale));
    }
}

VL2_QINLINE void vl2_q_tile_k(__m512 *y, const int R, const vl2_q_rows *x, const vl2_qpanel *w,
                              size_t u, const vl2_qkind kind) {
    const __m512 d = _mm512_load_ps(w->d[0]), m = _mm512_load_ps(w->m[0]);
    __m512i a[12];
    vl2_q_super(a, R, x, w, u, kind);
    for (int r = 0; r < R; r++) {
        const __m512 dx = _mm512_set1_ps(vl2_q_scale(x, (size_t)r, u));
        __m512 t = _mm512_mul_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(a[r]));
        if (kind.has_min) {
            __m512i b = _mm512_setzero_si512();
            for (size_t s = 0; s < 16; s += 2)
                b = _mm512_add_epi32(
                    b,
                    _mm512_mullo_epi32(_mm512_load_si512(w->min[s]),
                                       _mm512_set1_epi32(vl2_q_sum(x, (size_t)r, 16 * u + s) +
                                                         vl2_q_sum(x, (size_t)r, 16 * u + s + 1))));
            t = _mm512_add_ps(t, _mm512_mul_ps(_mm512_mul_ps(m, dx), _mm512_cvtepi32_ps(b)));
        }
        y[r] = _mm512_add_ps(y[r], t);
    }
}

VL2_QINLINE void vl2_q_tile(float *y, size_t ldy, const int R, const vl2_q_rows *x,
                            const vl2_qpanel *w, size_t k0, size_t kn, const vl2_qkind kind) {
    __m512 acc[12];
    for (int r = 0; r < R; r++)
        acc[r] = k0 ? _mm512_loadu_ps(y + (size_t)r * ldy) : _mm512_setzero_ps();
    for (size_t at = 0; at < kn; at += VL2_QUNIT_MAX, w++) {
        const size_t some = kn - at < VL2_QUNIT_MAX ? kn - at : VL2_QUNIT_MAX;
        if (kind.unit == VL2_QUANT_SUPER)
            vl2_q_tile_k(acc, R, x, w, (k0 + at) / VL2_QUANT_SUPER, kind);
        else
            vl2_q_tile_32(acc, R, x, w, (k0 + at) / 32, some / 32, kind);
    }
    for (int r = 0; r < R; r++) _mm512_storeu_ps(y + (size_t)r * ldy, acc[r]);
}

VL2_QINLINE void vl2_q_packed(float *y, size_t ldy, const void *x, size_t m, size_t k,
                              const vl2_qpanel *w, size_t k0, size_t kn, const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit;
    vl2_q_rows rows = {.row = vl2_qx_bytes(k, unit)};
    for (size_t i = 0; i < m;) {
        rows.q = (const char *)x + i * rows.row;
        rows.d = rows.q + vl2_qx_scales(k);
        rows.sums = rows.q + vl2_qx_sums(k, unit);
        float *out = y + i * ldy;
        if (m - i >= 12) {
            vl2_q_tile(out, ldy, 12, &rows, w, k0, kn, kind);
            i += 12;
        } else if (m - i >= 6) {
            vl2_q_tile(out, ldy, 6, &rows, w, k0, kn, kind);
            i += 6;
        } else if (m - i >= 3) {
            vl2_q_tile(out, ldy, 3, &rows, w, k0, kn, kind);
            i += 3;
        } else {
            vl2_q_tile(out, ldy, 1, &rows, w, k0, kn, kind);
            i += 1;
        }
    }
}

#endif
