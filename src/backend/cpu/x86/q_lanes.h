/* backend/cpu/x86/q_lanes.h - quantized products with an output in each lane: VL rows of weights as
 * the file has them, for few rows of x. Before it an instruction set's file includes its vec_*.h and
 * defines
 *
 *     vi, vi_set, vi_load, vi_store, vi_add, vi_sub, vi_and, vi_or, vi_right (by bits), vi_madd (of
 *     16-bit pairs), v_from
 *     vi_low_32, vi_high_32, vi_low_64, vi_high_64     unpack, within 128 bits
 *     lanes_16                 16 bytes of rows i, i + 4 …, for i < 4; lanes_last: of those the last
 *                              four in each row's lane
 *     gather_rows              the sums of each of VL vectors' lanes
 *     narrow, narrow_read, narrow_dot     a block of 32 of VL rows; its products with x's
 *     super, super_scales, super_read, super_x, super_dot     a super-block of a row; likewise
 */
#ifndef VL2_BACKEND_CPU_X86_Q_LANES_H
#define VL2_BACKEND_CPU_X86_Q_LANES_H

#include "backend/cpu/q_rows.h"

enum { FEW = 4 }; /* rows of x that share a unit of weights in registers */

/* ---- few rows of x ------------------------------------------------------------------------------ */

/* A unit of VL rows: qdot.h's a and b for each row of x, and the weights' two floats. */
typedef struct lanes_sums {
    vi a[FEW], b[FEW];
    vf d, m;
} lanes_sums;

/* m <= FEW packed rows of x: a unit's numbers, scale and sums of 16 of the first; `row` bytes to the
 * next one's. */
typedef struct lanes_x {
    const char *q, *d, *sums;
    size_t m, row;
} lanes_x;

VL2_QINLINE const int16_t *lanes_x_sums(const lanes_x *x, size_t i) {
    return (const int16_t *)(const void *)(x->sums + i * x->row);
}

/* Of n <= VL rows; lanes from n on see the last one again. */
static vl2_qlanes lanes_of(const char *w, size_t stride, size_t n) {
    vl2_qlanes l;
    for (size_t r = 0; r < VL; r++) {
        const size_t at = (r < n ? r : n - 1) * stride;
        l.row[r] = w + at;
        l.offset[r] = (int32_t)at;
    }
    l.next = w + VL * stride;
    return l;
}

/* Asks for memory that comes next, `bytes` of it, and for what is LATER bytes behind it into the second
 * cache (as measured, of 256 bits on a Zen 3, of 512 on a Sapphire Rapids); past the end of the weights
 * it does nothing. */
enum { LATER = VL == 8 ? 8 << 10 : 24 << 10, ASK_ROWS = 2 };
VL2_QINLINE void lanes_ask(const char *from, size_t bytes) {
#pragma GCC unroll 16
    for (size_t at = 0; at < bytes; at += 64) {
        _mm_prefetch(from + at, _MM_HINT_T0);
        _mm_prefetch(from + LATER + at, _MM_HINT_T1);
    }
}

VL2_QINLINE void lanes_32(lanes_sums *out, const vl2_qlanes *l, size_t at, const lanes_x *x,
                          const vl2_qkind kind) {
    narrow w;
    narrow_read(&w, l, at, kind);
    out->d = w.d;
    out->m = w.m;
    for (size_t i = 0; i < FEW; i++) {
        if (i >= x->m) break;
        const int16_t *s = lanes_x_sums(x, i);
        out->b[i] = vi_set(s[0] + s[1]);
        out->a[i] = narrow_dot(&w, (const int8_t *)x->q + i * x->row, s[0] + s[1], kind);
    }
}

/* Four words of VL rows: out[i] has word i of each row in the row's lane. */
VL2_QINLINE void turn_16(vi out[4], const vl2_qlanes *l, size_t at) {
    vi h[4];
    lanes_16(h, l, at);
    const vi t0 = vi_low_32(h[0], h[1]), t1 = vi_low_32(h[2], h[3]);
    const vi t2 = vi_high_32(h[0], h[1]), t3 = vi_high_32(h[2], h[3]);
    out[0] = vi_low_64(t0, t1);
    out[1] = vi_high_64(t0, t1);
    out[2] = vi_low_64(t2, t3);
    out[3] = vi_high_64(t2, t3);
}

/* The heads of VL super-blocks with least values, a lane a row: d and m, the 8 scales (a byte each),
 * and of the 8 least values words 0 2, 1 3, 4 6 and 5 7. */
VL2_QINLINE void affine_heads(lanes_sums *out, vi scale[2], vi min[4], const vl2_qlanes *l,
                              size_t at) {
    vi h[4];
    turn_16(h, l, at);
    const vi halves = h[0], a = h[1], b = h[2], c = h[3];
    out->d = halves_to_floats(vi_and(halves, vi_set(0xffff)));
    out->m = v_sub(v_set(-0.0f), halves_to_floats(vi_right(halves, 16)));
    const vi six = vi_set(0x3f3f3f3f), four = vi_set(0x0f0f0f0f), two = vi_set(0x30303030);
    scale[0] = vi_and(a, six);
    scale[1] = vi_or(vi_and(c, four), vi_and(vi_right(a, 2), two));
    const vi low = vi_and(b, six);
    const vi high = vi_or(vi_and(vi_right(c, 4), four), vi_and(vi_right(b, 2), two));
    const vi even = vi_set(0x00ff00ff);
    min[0] = vi_and(low, even);
    min[1] = vi_and(vi_right(low, 8), even);
    min[2] = vi_and(high, even);
    min[3] = vi_and(vi_right(high, 8), even);
}

/* The sum of least values times x's sums of 32. */
VL2_QINLINE vi affine_mins(const vi min[4], const int16_t *sums) {
    int32_t by[8]; /* 0 and 1, 4 and 5: pairs of those sums as min[0 … 3] have theirs */
    const __m256i s = _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(const void *)sums),
                                        _mm256_set1_epi16(1));
    const __m256i later = _mm256_slli_epi32(_mm256_shuffle_epi32(s, 0xee), 16);
    _mm256_storeu_si256((__m256i *)(void *)by, _mm256_blend_epi16(s, later, 0xaa));
    return vi_add(vi_add(vi_madd(min[0], vi_set(by[0])), vi_madd(min[1], vi_set(by[1]))),
                  vi_add(vi_madd(min[2], vi_set(by[4])), vi_madd(min[3], vi_set(by[5]))));
}

VL2_QINLINE void lanes_k(lanes_sums *out, const vl2_qlanes *l, size_t at, const lanes_x *x,
                         const vl2_qkind kind) {
    vi scale[2], min[4], dots[FEW][VL];
    super_scales scales;
    super_x xs[FEW];
    if (kind.has_min) {
        affine_heads(out, scale, min, l, at);
        super_set_scales(&scales, scale);
    } else {
        vi h[4];
        lanes_16(h, l, at + kind.bytes - 16); /* d is at the end */
        out->d = halves_to_floats(vi_right(lanes_last(h), 16));
        out->m = v_set(0.0f);
    }
    for (size_t i = 0; i < FEW; i++) {
        if (i >= x->m) break;
        super_read_x(&xs[i], (const int8_t *)x->q + i * x->row, lanes_x_sums(x, i), kind);
    }
    for (size_t r = 0; r < VL; r++) {
        super s;
        if (r % ASK_ROWS == 0) /* in small portions: all at once would hold up what follows */
            lanes_ask(l->next + at * VL + r * kind.bytes, ASK_ROWS * kind.bytes);
        super_read(&s, l->row[r] + at, &scales, r, kind);
        for (size_t i = 0; i < FEW; i++) {
            if (i >= x->m) break;
            dots[i][r] = super_dot(&s, &xs[i], kind);
        }
    }
    for (size_t i = 0; i < FEW; i++) {
        if (i >= x->m) break;
        out->a[i] = gather_rows(dots[i]);
        out->b[i] = kind.has_min ? affine_mins(min, lanes_x_sums(x, i)) : vi_set(0);
    }
}

VL2_QINLINE void lanes_rows(vf acc[FEW], const vl2_qlanes *l, const char *x, size_t m, size_t k,
                            const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit;
    lanes_x xs = {x, x + vl2_qx_scales(k), x + vl2_qx_sums(k, unit), m, vl2_qx_bytes(k, unit)};
    for (size_t i = 0; i < FEW; i++) acc[i] = v_set(0.0f);
    for (size_t u = 0; u < k / unit; u++) {
        const size_t at = u * kind.bytes;
        lanes_sums s;
        if (unit == VL2_QUANT_SUPER) {
            lanes_k(&s, l, at, &xs, kind);
        } else {
            lanes_ask(l->next + at * VL, VL * kind.bytes);
            lanes_32(&s, l, at, &xs, kind);
        }
        for (size_t i = 0; i < FEW; i++) {
            if (i >= m) break;
            const vf dx = v_set(*(const float *)(const void *)(xs.d + i * xs.row));
            vf t = v_mul(v_mul(s.d, dx), v_from(s.a[i]));
            if (kind.has_min) t = v_add(t, v_mul(v_mul(s.m, dx), v_from(s.b[i])));
            acc[i] = v_add(acc[i], t);
        }
        xs.q += unit;
        xs.d += sizeof(float);
        xs.sums += unit / 16 * sizeof(int16_t);
    }
}

VL2_QINLINE void q_lanes(float *y, size_t ldy, const void *x, size_t m, const void *w,
                         size_t w_stride, size_t n, size_t k, const vl2_qkind kind) {
    const size_t row = vl2_qx_bytes(k, (size_t)kind.unit);
    for (size_t j = 0; j < n; j += VL) {
        const size_t some = n - j < VL ? n - j : VL;
        const vl2_qlanes l = lanes_of((const char *)w + j * w_stride, w_stride, some);
        for (size_t i = 0; i < m; i += FEW) {
            const size_t rows = m - i < FEW ? m - i : FEW;
            const char *xi = (const char *)x + i * row;
            vf acc[FEW];
            if (rows == 1)
                lanes_rows(acc, &l, xi, 1, k, kind);
            else
                lanes_rows(acc, &l, xi, rows, k, kind);
            for (size_t r = 0; r < rows; r++) {
                if (some == VL)
                    v_store(y + (i + r) * ldy + j, acc[r]);
                else
                    v_store_part(y + (i + r) * ldy + j, acc[r], some);
            }
        }
    }
}

#define VL2_Q_LANES(type, name, unit, offset, has_min, block)                                      \
    static void direct_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,        \
                              size_t w_stride, size_t n, size_t k) {                               \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), NULL};                       \
        q_lanes(y, ldy, x, m, w, w_stride, n, k, kind);                                            \
    }

/* ---- the table ------------------------------------------------------------------------------- */

VL2_QKINDS(VL2_Q_LANES)

VL2_QINLINE void q_fill(vl2_kernels *out) {
#define FILL(type, name, size, offset, has_min, block)                                             \
    out->quantized[type - VL2_Q8_0] =                                                              \
        (vl2_qdot){.unit = size,                                                                   \
                   .pack_x = size == VL2_QUANT_BLOCK ? pack_x_32 : pack_x_k,                       \
                   .direct = direct_##name};
    VL2_QKINDS(FILL)
#undef FILL
}

/* ---- many rows of x, which each level meets with panels of its own ------------------------------- */

typedef struct q_rows { /* packed rows' parts, `row` bytes to the next one's */
    const char *q, *d, *sums;
    size_t row;
} q_rows;

static inline q_rows q_rows_of(const void *x, size_t k, size_t unit) {
    return (q_rows){.q = x,
                    .d = (const char *)x + vl2_qx_scales(k),
                    .sums = (const char *)x + vl2_qx_sums(k, unit),
                    .row = vl2_qx_bytes(k, unit)};
}

VL2_QINLINE vf q_scale(const q_rows *x, int r, size_t unit) {
    float d;
    memcpy(&d, x->d + (size_t)r * x->row + unit * sizeof d, sizeof d);
    return v_set(d);
}

/* A level's kernels of many rows, many_NAME, which pay for more than its FEW_ROWS. */
#define VL2_Q_SET_MANY(type, name, unit, offset, has_min, block)                                   \
    out->quantized[type - VL2_Q8_0].many = many_##name;                                            \
    out->quantized[type - VL2_Q8_0].few = FEW_ROWS;

#endif
