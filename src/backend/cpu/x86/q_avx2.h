/* backend/cpu/x86/q_avx2.h - quantized products in vectors of 256 bits: with AVX2 alone, or with
 * AVX-VNNI's dot products of bytes where VL2_Q_VNNI is defined. For q_avx2.c and q_avxvnni.c. */
#ifndef VL2_BACKEND_CPU_X86_Q_AVX2_H
#define VL2_BACKEND_CPU_X86_Q_AVX2_H

#include "backend/cpu/qunits.h"
#include "backend/cpu/x86/vec_avx2.h"
#include "backend/cpu/x86/x86.h"

enum { TILE = 4, COLUMNS = VL2_QPANEL / VL };

typedef __m256i vi;
VL2_QINLINE vi vi_set(int32_t a) { return _mm256_set1_epi32(a); }
VL2_QINLINE vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
VL2_QINLINE void vi_store(void *p, vi a) { _mm256_storeu_si256(p, a); }
VL2_QINLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
VL2_QINLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
VL2_QINLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
VL2_QINLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
VL2_QINLINE vi vi_right(vi a, int bits) { return _mm256_srli_epi32(a, bits); }
VL2_QINLINE vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
VL2_QINLINE vi vi_madd(vi a, vi b) { return _mm256_madd_epi16(a, b); }
VL2_QINLINE vf v_from(vi a) { return _mm256_cvtepi32_ps(a); }
VL2_QINLINE vi vi_low_32(vi a, vi b) { return _mm256_unpacklo_epi32(a, b); }
VL2_QINLINE vi vi_high_32(vi a, vi b) { return _mm256_unpackhi_epi32(a, b); }
VL2_QINLINE vi vi_low_64(vi a, vi b) { return _mm256_unpacklo_epi64(a, b); }
VL2_QINLINE vi vi_high_64(vi a, vi b) { return _mm256_unpackhi_epi64(a, b); }

VL2_QINLINE vi twice(const void *p) { /* the same 16 bytes in both halves */
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(p));
}
VL2_QINLINE vi two(const void *low, const void *high) { /* 16 bytes each */
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)),
                                   _mm_loadu_si128(high), 1);
}
VL2_QINLINE vi low_nibbles(vi raw) { return vi_and(raw, _mm256_set1_epi8(15)); }
VL2_QINLINE vi high_nibbles(vi raw) { return low_nibbles(_mm256_srli_epi16(raw, 4)); }

/* ---- dot products of bytes ---------------------------------------------------------------------- */

/* a + the sums of four products each of u (0 … 255, or 0 … 128) with x. */
VL2_QINLINE vi add_dots(vi a, vi u, vi x) {
#if defined(VL2_Q_VNNI)
    return vl2_dpbusd(a, u, x);
#else /* pairs of 128 x 127 are what 16 bits hold */
    return vi_add(a, vi_madd(_mm256_maddubs_epi16(u, x), _mm256_set1_epi16(1)));
#endif
}

/* The same of signed bytes q; with AVX-VNNI of q + 128. */
VL2_QINLINE vi dots_signed(vi q, vi x) {
#if defined(VL2_Q_VNNI)
    return vl2_dpbusd(vi_set(0), _mm256_xor_si256(q, _mm256_set1_epi8(-128)), x);
#else
    return add_dots(vi_set(0), _mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
#endif
}

/* ---- packing x -------------------------------------------------------------------------------- */

VL2_QINLINE uint32_t q_greatest(const float *x, size_t n) {
    vi most = vi_set(0);
    for (size_t i = 0; i < n; i += 8)
        most = _mm256_max_epi32(most, _mm256_and_si256(vi_load(x + i), vi_set(0x7fffffff)));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* To nearest even. */
VL2_QINLINE void q_round(int8_t *out, int16_t *sums, const float *x, size_t n, float inverse) {
    const vi order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (size_t i = 0; i < n; i += 32) {
        vi q[4];
        for (size_t j = 0; j < 4; j++)
            q[j] = _mm256_cvtps_epi32(v_mul(v_load(x + i + 8 * j), v_set(inverse)));
        const vi bytes =
            _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        const vi ordered = _mm256_permutevar8x32_epi32(bytes, order);
        _mm256_storeu_si256((vi *)(void *)(out + i), ordered);
        vi s = vi_madd(_mm256_maddubs_epi16(_mm256_set1_epi8(1), ordered), _mm256_set1_epi16(1));
        s = _mm256_hadd_epi32(s, s);
        s = _mm256_hadd_epi32(s, s);
        sums[i / 16] = (int16_t)_mm256_extract_epi32(s, 0);
        sums[i / 16 + 1] = (int16_t)_mm256_extract_epi32(s, 4);
    }
}

/* ---- blocks of 32, eight rows of weights at a time ----------------------------------------------- */

typedef struct
    narrow { /* of nibbles q[i] and q[i + 4] are the low and high ones of rows i, i + 4 */
    vi q[8];
    vf d, m;
} narrow;

/* float16 bits, one in each 32-bit lane; vl2_qunit_half's way. */
VL2_QINLINE vf halves_to_floats(vi bits) {
    const vi rest = _mm256_and_si256(bits, vi_set(0x7fff)), bias = vi_set(112 << 23);
    const vi special = _mm256_and_si256(_mm256_cmpgt_epi32(rest, vi_set(0x7bff)), bias);
    const vi v = vi_add(vi_add(_mm256_slli_epi32(rest, 13), bias), special);
    const vf scaled = v_mul(v_from(rest), v_set(0x1p-24f));
    const vf small = _mm256_castsi256_ps(_mm256_cmpgt_epi32(vi_set(0x400), rest));
    const vf size = _mm256_blendv_ps(_mm256_castsi256_ps(v), scaled, small);
    const vi sign = _mm256_slli_epi32(_mm256_xor_si256(bits, rest), 16);
    return _mm256_or_ps(size, _mm256_castsi256_ps(sign));
}

VL2_QINLINE void lanes_16(vi out[4], const vl2_qlanes *l, size_t at) {
    VL2_EACH(i, 4) out[i] = two(l->row[i] + at, l->row[i + 4] + at);
}

/* The 32 bits at the start of each row's bytes, or at their end (of 16). */
VL2_QINLINE vi lanes_first(const vi h[4]) {
    return vi_low_64(vi_low_32(h[0], h[1]), vi_low_32(h[2], h[3]));
}
VL2_QINLINE vi lanes_last(const vi h[4]) {
    return vi_high_64(vi_high_32(h[0], h[1]), vi_high_32(h[2], h[3]));
}

/* Bits of the four bytes of two rows as fifth bits of their low or high nibbles. */
VL2_QINLINE vi lane_fifths(vi q, const char *low, const char *high, int upper) {
    int32_t a, b;
    memcpy(&a, low, 4);
    memcpy(&b, high, 4);
    const vi both = _mm256_set_m128i(_mm_set1_epi32(b), _mm_set1_epi32(a));
    const vi which = _mm256_set_epi64x(0x0101010101010101, 0, 0x0101010101010101, 0);
    const vi bytes =
        _mm256_shuffle_epi8(both, _mm256_add_epi8(which, _mm256_set1_epi8(upper ? 2 : 0)));
    const vi bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const vi is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_or_si256(q, _mm256_and_si256(is_set, _mm256_set1_epi8(16)));
}

VL2_QINLINE void narrow_read(narrow *out, const vl2_qlanes *l, size_t at, const vl2_qkind kind) {
    vi head[4];
    lanes_16(head, l, at);
    const vi front = lanes_first(head); /* d, and m where the type has one */
    out->d = halves_to_floats(_mm256_and_si256(front, vi_set(0xffff)));
    out->m = halves_to_floats(_mm256_srli_epi32(front, 16));
    if ((vl2_qkind_bits(kind) == 8)) {
        VL2_EACH(i, 8) out->q[i] = vi_load(l->row[i] + at + 2);
        return;
    }
    const size_t qs = at + kind.bytes - 16;
    VL2_EACH(i, 4) {
        const vi raw = two(l->row[i] + qs, l->row[i + 4] + qs);
        out->q[i] = low_nibbles(raw);
        out->q[i + 4] = high_nibbles(raw);
        if (vl2_qkind_is_curved(kind)) {
            out->q[i] = _mm256_shuffle_epi8(twice(vl2_quant_nl), out->q[i]);
            out->q[i + 4] = _mm256_shuffle_epi8(twice(vl2_quant_nl), out->q[i + 4]);
        } else if (vl2_qkind_bits(kind) == 5) {
            const char *low = l->row[i] + qs - 4, *high = l->row[i + 4] + qs - 4;
            out->q[i] = lane_fifths(out->q[i], low, high, 0);
            out->q[i + 4] = lane_fifths(out->q[i + 4], low, high, 1);
        }
    }
}

/* Sums within 128 bits: of a's and b's in turn; of a pair of those. */
VL2_QINLINE vi add_pairs_32(vi a, vi b) { return vi_add(vi_low_32(a, b), vi_high_32(a, b)); }
VL2_QINLINE vi add_pairs_64(vi a, vi b) { return vi_add(vi_low_64(a, b), vi_high_64(a, b)); }
VL2_QINLINE vi add_four(const vi v[4]) {
    return add_pairs_64(add_pairs_32(v[0], v[1]), add_pairs_32(v[2], v[3]));
}
VL2_QINLINE vi gather_rows(const vi v[8]) {
    const vi a = add_four(v), b = add_four(v + 4);
    return vi_add(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* How much too large the weights of dots_signed and of q_dots are. */
VL2_QINLINE int q_left(const vl2_qkind kind) {
#if defined(VL2_Q_VNNI)
    return kind.offset;
#else
    return kind.offset == 128 ? 0 : kind.offset;
#endif
}

VL2_QINLINE vi narrow_dot(const narrow *w, const int8_t *x, int32_t sum, const vl2_qkind kind) {
    const vi left = vi_set(q_left(kind) * sum);
    vi dot[8];
    if ((vl2_qkind_bits(kind) == 8)) {
        const vi v = vi_load(x);
        VL2_EACH(i, 8) dot[i] = dots_signed(w->q[i], v);
        return vi_sub(gather_rows(dot), left);
    }
    const vi low = twice(x), high = twice(x + 16);
    VL2_EACH(i, 4) {
        if (vl2_qkind_is_curved(kind)) {
#if defined(VL2_Q_VNNI)
            dot[i] = vi_add(dots_signed(w->q[i], low), dots_signed(w->q[i + 4], high));
#else /* no value of the curve is -128 */
            dot[i] = vi_add(
                add_dots(vi_set(0), _mm256_abs_epi8(low), _mm256_sign_epi8(w->q[i], low)),
                add_dots(vi_set(0), _mm256_abs_epi8(high), _mm256_sign_epi8(w->q[i + 4], high)));
#endif
        } else {
#if defined(VL2_Q_VNNI)
            dot[i] = add_dots(add_dots(vi_set(0), w->q[i], low), w->q[i + 4], high);
#else
            const vi pairs = _mm256_add_epi16(_mm256_maddubs_epi16(w->q[i], low),
                                              _mm256_maddubs_epi16(w->q[i + 4], high));
            dot[i] = vi_madd(pairs, _mm256_set1_epi16(1));
#endif
        }
    }
    return vi_sub(add_four(dot), left);
}

/* ---- super-blocks ------------------------------------------------------------------------------- */

typedef struct
    super { /* a row's numbers as x has them; a scale for each 16-bit lane of a maddubs of q */
    vi q[8], scale[8];
    vi sums_by; /* Q6_K: what x's sums are multiplied by */
} super;
typedef struct super_scales { /* of each row's 8 sub-blocks, twice in 32 bits */
    int32_t of[8][VL];
} super_scales;
typedef struct super_x {
    const int8_t *x;
    const int16_t *sums;
} super_x;

VL2_QINLINE void super_set_scales(super_scales *out, const vi scale[2]) {
    VL2_EACH(i, 8) {
        const vi first =
            _mm256_setr_epi64x((long long)0x8004800480008000u, (long long)0x800c800c80088008u,
                               (long long)0x8004800480008000u, (long long)0x800c800c80088008u);
        const vi order = vi_add(first, vi_set(i % 4 << 16 | i % 4));
        vi_store(out->of[i], _mm256_shuffle_epi8(scale[i / 4], order));
    }
}

VL2_QINLINE void super_read_x(super_x *out, const int8_t *x, const int16_t *sums,
                              const vl2_qkind kind) {
    *out = (super_x){x, sums};
    (void)kind;
}

/* Bits of qh as higher bits of q: those at `from` of each byte, from bit 4 on. */
VL2_QINLINE vi with_bits(vi q, vi qh, int from, int which) {
    const vi bits = from < 4 ? _mm256_slli_epi16(qh, 4 - from) : _mm256_srli_epi16(qh, from - 4);
    return vi_or(q, vi_and(bits, _mm256_set1_epi8((char)which)));
}

/* The 16-bit lane `i` (of 8) of each half in all its lanes. */
VL2_QINLINE vi spread(vi a, int i) {
    return _mm256_shuffle_epi8(a, _mm256_set1_epi16((int16_t)(2 * i | (2 * i + 1) << 8)));
}

VL2_QINLINE void super_read_6(super *s, const char *block) {
    const vl2_q6_k *b = (const void *)block;
    VL2_EACH(h, 2) {
        const vi l0 = vi_load(b->ql + 64 * h), l1 = vi_load(b->ql + 64 * h + 32);
        const vi qh = vi_load(b->qh + 32 * h);
        s->q[4 * h] = with_bits(low_nibbles(l0), qh, 0, 0x30);
        s->q[4 * h + 1] = with_bits(low_nibbles(l1), qh, 2, 0x30);
        s->q[4 * h + 2] = with_bits(high_nibbles(l0), qh, 4, 0x30);
        s->q[4 * h + 3] = with_bits(high_nibbles(l1), qh, 6, 0x30);
    }
    const __m128i bytes = _mm_loadu_si128((const void *)b->scales);
    s->sums_by = _mm256_cvtepi8_epi16(bytes);
    /* scales 0 2 4 … of the low halves, 1 3 5 … of the high ones, as the 16-bit lanes of q have them */
    const vi parted = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(
        bytes, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)));
    VL2_EACH(i, 8) s->scale[i] = spread(parted, i);
}

VL2_QINLINE void super_read(super *s, const char *block, const super_scales *scales, size_t r,
                            const vl2_qkind kind) {
    if (!kind.has_min) {
        super_read_6(s, block);
        return;
    }
    const char *qs = block + kind.bytes - 128;
    VL2_EACH(g, 4) {
        const vi raw = vi_load(qs + 32 * g);
        s->q[2 * g] = low_nibbles(raw);
        s->q[2 * g + 1] = high_nibbles(raw);
    }
    if (vl2_qkind_bits(kind) == 5) {
        const vi qh = vi_load(qs - 32);
        VL2_EACH(i, 8) s->q[i] = with_bits(s->q[i], qh, i, 16);
    }
    VL2_EACH(i, 8) s->scale[i] = vi_set(scales->of[i][r]);
}

VL2_QINLINE vi super_dot(const super *s, const super_x *x, const vl2_qkind kind) {
    vi a = vi_set(0), b = vi_set(0);
    VL2_EACH(i, 4) {
        a = vi_add(
            a, vi_madd(_mm256_maddubs_epi16(s->q[2 * i], vi_load(x->x + 64 * i)), s->scale[2 * i]));
        b = vi_add(b, vi_madd(_mm256_maddubs_epi16(s->q[2 * i + 1], vi_load(x->x + 64 * i + 32)),
                              s->scale[2 * i + 1]));
    }
    a = vi_add(a, b);
    if (kind.has_min) return a;
    return vi_sub(a, _mm256_slli_epi32(vi_madd(s->sums_by, vi_load(x->sums)), 5));
}

#include "backend/cpu/x86/q_lanes.h"
#include "backend/cpu/x86/q_panels_avx2.h"

#endif
