/* Products with quantized weights, AVX-512 with VNNI: q_lanes.h in vectors of 512 bits, and q_spans.h. */
#include "backend/cpu/qunits.h"
#include "backend/cpu/x86/halves_avx512.h"
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/x86/x86.h"

typedef __m512i vi;
VL2_QINLINE vi vi_set(int32_t a) { return _mm512_set1_epi32(a); }
VL2_QINLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
VL2_QINLINE void vi_store(void *p, vi a) { _mm512_storeu_si512(p, a); }
VL2_QINLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
VL2_QINLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
VL2_QINLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
VL2_QINLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
VL2_QINLINE vi vi_right(vi a, unsigned bits) { return _mm512_srli_epi32(a, bits); }
VL2_QINLINE vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
VL2_QINLINE vi vi_madd(vi a, vi b) { return _mm512_madd_epi16(a, b); }
VL2_QINLINE vf v_from(vi a) { return _mm512_cvtepi32_ps(a); }
VL2_QINLINE vi vi_low_32(vi a, vi b) { return _mm512_unpacklo_epi32(a, b); }
VL2_QINLINE vi vi_high_32(vi a, vi b) { return _mm512_unpackhi_epi32(a, b); }
VL2_QINLINE vi vi_low_64(vi a, vi b) { return _mm512_unpacklo_epi64(a, b); }
VL2_QINLINE vi vi_high_64(vi a, vi b) { return _mm512_unpackhi_epi64(a, b); }

VL2_QINLINE vi fours(const void *p) { /* the same 16 bytes in all quarters */
    return _mm512_broadcast_i32x4(_mm_loadu_si128(p));
}
VL2_QINLINE vi halves(const void *p) { /* the same 32 bytes in both halves */
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(p));
}
VL2_QINLINE vi two(const void *low, const void *high) { /* 32 bytes each */
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(low)),
                              _mm256_loadu_si256(high), 1);
}
VL2_QINLINE vi low_nibbles(vi raw) { return vi_and(raw, _mm512_set1_epi8(15)); }
VL2_QINLINE vi high_nibbles(vi raw) { return low_nibbles(_mm512_srli_epi16(raw, 4)); }
VL2_QINLINE vi add_dots(vi a, vi u, vi x) { return _mm512_dpbusd_epi32(a, u, x); }

/* ---- packing x -------------------------------------------------------------------------------- */

VL2_QINLINE uint32_t q_greatest(const float *x, size_t n) {
    vi most = vi_set(0);
    for (size_t i = 0; i < n; i += VL)
        most = _mm512_max_epi32(most, vi_and(vi_load(x + i), vi_set(0x7fffffff)));
    return (uint32_t)_mm512_reduce_max_epi32(most);
}

/* To nearest even. */
VL2_QINLINE void q_round(int8_t *q, int16_t *sums, const float *x, size_t n, float inverse) {
    for (size_t i = 0; i < n; i += VL) {
        const vi wide = _mm512_cvtps_epi32(v_mul(v_load(x + i), v_set(inverse)));
        _mm_storeu_si128((__m128i *)(void *)(q + i), _mm512_cvtepi32_epi8(wide));
        sums[i / VL] = (int16_t)_mm512_reduce_add_epi32(wide);
    }
}

/* ---- sixteen rows, a lane each ------------------------------------------------------------------ */

/* 16 bytes of rows r, r + 4, r + 8 and r + 12. */
VL2_QINLINE vi quarters(const vl2_qlanes *l, size_t r, size_t at) {
    vi v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(l->row[r] + at)));
    for (size_t part = 1; part < 4; part++)
        v = _mm512_mask_broadcast_i32x4(v, (__mmask16)(0xf << 4 * part),
                                        _mm_loadu_si128((const void *)(l->row[r + 4 * part] + at)));
    return v;
}
VL2_QINLINE void lanes_16(vi out[4], const vl2_qlanes *l, size_t at) {
    VL2_EACH(i, 4) out[i] = quarters(l, (size_t)i, at);
}

/* The last 32 bits of each row's 16 bytes. */
VL2_QINLINE vi lanes_last(const vi h[4]) {
    return vi_high_64(vi_high_32(h[0], h[1]), vi_high_32(h[2], h[3]));
}

/* Sums within 128 bits: of a's and b's in turn; of a pair of those. */
VL2_QINLINE vi add_pairs_32(vi a, vi b) { return vi_add(vi_low_32(a, b), vi_high_32(a, b)); }
VL2_QINLINE vi add_pairs_64(vi a, vi b) { return vi_add(vi_low_64(a, b), vi_high_64(a, b)); }
VL2_QINLINE vi add_four(const vi v[4]) {
    return add_pairs_64(add_pairs_32(v[0], v[1]), add_pairs_32(v[2], v[3]));
}
/* Quarters of a and b, added in twos. */
VL2_QINLINE vi add_quarters(vi a, vi b) {
    return vi_add(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
}
VL2_QINLINE vi gather_rows(const vi v[16]) {
    return add_quarters(add_quarters(add_four(v), add_four(v + 4)),
                        add_quarters(add_four(v + 8), add_four(v + 12)));
}

/* ---- blocks of 32 ------------------------------------------------------------------------------- */

/* Bytes: q[i] is rows i and i + 4 (i < 4), i + 4 and i + 8 of the others. Nibbles: q[i] and q[i + 4] are
 * the low and high ones of rows i, i + 4, i + 8, i + 12. */
typedef struct narrow {
    vi q[8];
    vf d, m;
} narrow;

/* The fifth bits of a register of low or high nibbles. */
VL2_QINLINE vi lane_fifths(vi q, const vl2_qlanes *l, size_t r, size_t at, bool upper) {
    uint64_t bits = 0;
    for (size_t part = 0; part < 4; part++) {
        uint16_t some;
        memcpy(&some, l->row[r + 4 * part] + at + 2 * upper, sizeof some);
        bits |= (uint64_t)some << 16 * part;
    }
    return _mm512_mask_add_epi8(q, (__mmask64)bits, q, _mm512_set1_epi8(16));
}

VL2_QINLINE void narrow_read(narrow *out, const vl2_qlanes *l, size_t at, const vl2_qkind kind) {
    const vi front = /* d, and m where the type has one */
        _mm512_i32gather_epi32(vi_load(l->offset), l->row[0] + at, 1);
    out->d = halves_to_floats(vi_and(front, vi_set(0xffff)));
    out->m = halves_to_floats(vi_right(front, 16));
    const vi flip = _mm512_set1_epi8(-128);
    if (vl2_qkind_bits(kind) == 8) {
        VL2_EACH(i, 8) {
            const int r = i < 4 ? i : i + 4;
            out->q[i] = _mm512_xor_si512(two(l->row[r] + at + 2, l->row[r + 4] + at + 2), flip);
        }
        return;
    }
    const size_t qs = at + kind.bytes - 16;
    VL2_EACH(i, 4) {
        const vi raw = quarters(l, (size_t)i, qs);
        out->q[i] = low_nibbles(raw);
        out->q[i + 4] = high_nibbles(raw);
        if (vl2_qkind_is_curved(kind)) {
            const vi table = _mm512_xor_si512(fours(vl2_quant_nl), flip);
            out->q[i] = _mm512_shuffle_epi8(table, out->q[i]);
            out->q[i + 4] = _mm512_shuffle_epi8(table, out->q[i + 4]);
        } else if (vl2_qkind_bits(kind) == 5) {
            out->q[i] = lane_fifths(out->q[i], l, (size_t)i, qs - 4, false);
            out->q[i + 4] = lane_fifths(out->q[i + 4], l, (size_t)i, qs - 4, true);
        }
    }
}

VL2_QINLINE vi narrow_dot(const narrow *w, const int8_t *x, int32_t sum, const vl2_qkind kind) {
    const vi left = vi_set(kind.offset * sum), none = vi_set(0);
    vi dot[8];
    if (vl2_qkind_bits(kind) == 8) {
        const vi v = halves(x);
        VL2_EACH(i, 8) dot[i] = add_dots(none, w->q[i], v);
        return vi_sub(add_quarters(add_four(dot), add_four(dot + 4)), left);
    }
    const vi low = fours(x), high = fours(x + 16);
    VL2_EACH(i, 4) dot[i] = add_dots(add_dots(none, w->q[i], low), w->q[i + 4], high);
    return vi_sub(add_four(dot), left);
}

/* ---- super-blocks ------------------------------------------------------------------------------- */

/* A row's numbers in four registers: Q6_K's as x has them, of Q4_K and Q5_K sub-blocks 0 2, 1 3, 4 6 and
 * 5 7. Sums of four products fit 16 bits, so two registers' sums are packed into one, and scale[0 … 1]
 * has a scale for each of those. */
typedef struct super {
    vi q[4], scale[2];
} super;
typedef struct super_scales { /* of sub-blocks 0 … 3 and 4 … 7 of each row, a byte each */
    int32_t of[2][VL];
} super_scales;
typedef struct super_x {
    vi x[4], less[4]; /* less: what the sums begin with, for the offset */
} super_x;

VL2_QINLINE void super_set_scales(super_scales *out, const vi scale[2]) {
    vi_store(out->of[0], scale[0]);
    vi_store(out->of[1], scale[1]);
}

VL2_QINLINE void super_read_x(super_x *out, const int8_t *x, const int16_t *sums,
                              const vl2_qkind kind) {
    (void)sums;
    VL2_EACH(i, 4) {
        out->x[i] = kind.has_min ? two(x + 64 * i - 32 * (i % 2), x + 64 * i + 64 - 32 * (i % 2))
                                 : vi_load(x + 64 * i);
        const vi by = _mm512_set1_epi8((char)kind.offset);
        out->less[i] = vi_sub(vi_set(0), add_dots(vi_set(0), by, out->x[i]));
    }
}

/* Bits of two halves, moved to bit 4 (or, for Q6_K, to bits 4 and 5). */
VL2_QINLINE vi move_left(vi a, int low, int high) {
    const vi by =
        _mm512_inserti64x4(_mm512_set1_epi16((int16_t)low), _mm256_set1_epi16((int16_t)high), 1);
    return _mm512_sllv_epi16(a, by);
}
VL2_QINLINE vi move_right(vi a, int low, int high) {
    const vi by =
        _mm512_inserti64x4(_mm512_set1_epi16((int16_t)low), _mm256_set1_epi16((int16_t)high), 1);
    return _mm512_srlv_epi16(a, by);
}
VL2_QINLINE vi with_bits(vi q, vi bits, int which) { /* q | (bits & which) */
    return _mm512_ternarylogic_epi32(q, bits, _mm512_set1_epi8((char)which), 0xf8);
}

VL2_QINLINE void super_read_6(super *s, const char *block) {
    const vl2_q6_k *b = (const void *)block;
    VL2_EACH(h, 2) {
        const vi ql = vi_load(b->ql + 64 * h), qh = halves(b->qh + 32 * h);
        s->q[2 * h] = with_bits(low_nibbles(ql), move_left(qh, 4, 2), 0x30);
        s->q[2 * h + 1] = with_bits(high_nibbles(ql), move_right(qh, 0, 2), 0x30);
    }
    const vi scales = fours(b->scales); /* into upper bytes, for the sign */
    const vi order =
        _mm512_set_epi32(0x07800780, 0x07800780, 0x03800380, 0x03800380, 0x06800680, 0x06800680,
                         0x02800280, 0x02800280, 0x05800580, 0x05800580, 0x01800180, 0x01800180,
                         0x04800480, 0x04800480, 0x00800080, 0x00800080);
    const vi later = vi_add(order, vi_set(0x08000800));
    s->scale[0] = _mm512_srai_epi16(_mm512_shuffle_epi8(scales, order), 8);
    s->scale[1] = _mm512_srai_epi16(_mm512_shuffle_epi8(scales, later), 8);
}

VL2_QINLINE void super_read(super *s, const char *block, const super_scales *scales, size_t r,
                            const vl2_qkind kind) {
    if (!kind.has_min) {
        super_read_6(s, block);
        return;
    }
    const char *qs = block + kind.bytes - 128;
    const vi first = vi_load(qs), last = vi_load(qs + 64);
    s->q[0] = low_nibbles(first);
    s->q[1] = high_nibbles(first);
    s->q[2] = low_nibbles(last);
    s->q[3] = high_nibbles(last);
    if (vl2_qkind_bits(kind) == 5) {
        const vi qh = halves(qs - 32);
        s->q[0] = with_bits(s->q[0], move_left(qh, 4, 2), 16);
        s->q[1] = with_bits(s->q[1], move_left(qh, 3, 1), 16);
        s->q[2] = with_bits(s->q[2], move_right(qh, 0, 2), 16);
        s->q[3] = with_bits(s->q[3], move_right(qh, 1, 3), 16);
    }
    const __m256i zero_two =
        _mm256_setr_epi32((int)0x80008000u, (int)0x80008000u, (int)0x80018001u, (int)0x80018001u,
                          (int)0x80008000u, (int)0x80008000u, (int)0x80018001u, (int)0x80018001u);
    const vi order =
        _mm512_inserti64x4(_mm512_castsi256_si512(zero_two),
                           _mm256_add_epi32(zero_two, _mm256_set1_epi32(0x00020002)), 1);
    VL2_EACH(i, 2) s->scale[i] = _mm512_shuffle_epi8(vi_set(scales->of[i][r]), order);
}

VL2_QINLINE vi super_dot(const super *s, const super_x *x, const vl2_qkind kind) {
    vi sums[4];
    VL2_EACH(i, 4)
    sums[i] = add_dots(kind.offset ? x->less[i] : vi_set(0), s->q[i], x->x[i]);
    const vi a = vi_madd(_mm512_packs_epi32(sums[0], sums[1]), s->scale[0]);
    return _mm512_dpwssd_epi32(a, _mm512_packs_epi32(sums[2], sums[3]), s->scale[1]);
}

#include "backend/cpu/x86/q_lanes.h"

#include "backend/cpu/x86/q_spans.h"

void vl2_q_avx512vnni_fill(vl2_kernels *out) {
    q_fill(out);
    VL2_QKINDS(VL2_Q_SET_MANY)
}
