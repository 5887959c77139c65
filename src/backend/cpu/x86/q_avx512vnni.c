/* Products with quantized weights, AVX-512 with VNNI. Few rows read the file's blocks: super-blocks
 * row by row, blocks of 32 sixteen rows at a time, a lane each. Many rows use panels (q_tile.h). */
#include "backend/cpu/qunits.h"
#include "backend/cpu/x86/avx512.h"
#include "backend/cpu/x86/q_tiles.h"
#include "backend/cpu/x86/x86.h"

#include <math.h>

static __m512i load(const void *p) { return _mm512_loadu_si512(p); }

/* ---- packing x -------------------------------------------------------------------------------- */

static float pack_unit(int8_t *q, int16_t *sums, const float *x, size_t n) {
    __m512i most_bits = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 16)
        most_bits = _mm512_max_epi32(most_bits,
                                     _mm512_and_si512(load(x + i), _mm512_set1_epi32(0x7fffffff)));
    uint32_t bits = (uint32_t)_mm512_reduce_max_epi32(most_bits);
    float most;
    memcpy(&most, &bits, sizeof most);
    if (bits >= 0x7f800000u || most < 1e-30f) {
        memset(q, 0, n);
        memset(sums, 0, n / 16 * sizeof *sums);
        return bits >= 0x7f800000u ? NAN : 0.0f;
    }
    const __m512 inverse = _mm512_set1_ps(127.0f / most);
    for (size_t i = 0; i < n; i += 16) {
        __m512i wide = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
        _mm_storeu_si128((__m128i *)(void *)(q + i), _mm512_cvtepi32_epi8(wide));
        sums[i / 16] = (int16_t)_mm512_reduce_add_epi32(wide);
    }
    return most / 127.0f;
}

static void pack_x(void *out, const float *x, size_t k, size_t unit) {
    float *d = (float *)((char *)out + vl2_qx_scales(k));
    int16_t *sums = (int16_t *)((char *)out + vl2_qx_sums(k, unit));
    for (size_t i = 0; i < k; i += unit)
        d[i / unit] = pack_unit((int8_t *)out + i, sums + i / 16, x + i, unit);
}

static void pack_x_32(void *out, const float *x, size_t k) { pack_x(out, x, k, VL2_QUANT_BLOCK); }
static void pack_x_k(void *out, const float *x, size_t k) { pack_x(out, x, k, VL2_QUANT_SUPER); }

/* float16 bits, one in each 32-bit lane, as floats. The CPU's own conversion stops for a microcode
 * assist at each subnormal half - and scales of usual weights are subnormal. */
VL2_QINLINE __m512 halves_to_floats(__m512i bits) {
    const __m512i rest = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fff));
    const __m512i bias = _mm512_set1_epi32(112 << 23);
    __m512i v = _mm512_add_epi32(_mm512_slli_epi32(rest, 13), bias);
    const __mmask16 special = _mm512_cmpge_epi32_mask(rest, _mm512_set1_epi32(0x7c00));
    const __mmask16 small = _mm512_cmplt_epi32_mask(rest, _mm512_set1_epi32(0x400));
    v = _mm512_mask_add_epi32(v, special, v, bias);
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(rest), _mm512_set1_ps(0x1p-24f));
    v = _mm512_mask_mov_epi32(v, small, _mm512_castps_si512(scaled));
    const __m512i sign = _mm512_slli_epi32(_mm512_andnot_si512(rest, bits), 16);
    return _mm512_castsi512_ps(_mm512_or_si512(v, sign));
}

/* The same for the one or two at the bottom. */
VL2_QINLINE __m128 half_pairs(__m128i bits) {
    return _mm512_castps512_ps128(halves_to_floats(_mm512_castsi128_si512(bits)));
}

/* ---- super-blocks: one row of weights at a time ------------------------------------------------- */

/* A super-block in registers. `order` of q: as x has it, or for Q4_K and Q5_K sub-blocks 0 2, 1 3,
 * 4 6, 5 7. scales: [0…7] scale, [8…15] least value; Q6_K: [0…15] scale. */
typedef struct super {
    __m512i q[4], pairs[4]; /* pairs: the scale of each 16-bit lane of a maddubs of q */
    __m256i scale, min;     /* of 16 elements each */
    float d, m;
} super;

/* The index of the 16-bit scale that each lane of q[v] has. */
VL2_QINLINE __m512i scale_index(int low, int high) {
    return _mm512_inserti64x4(_mm512_set1_epi16((int16_t)low), _mm256_set1_epi16((int16_t)high), 1);
}

VL2_QINLINE void affine_scales(super *s, const void *d, const uint8_t packed[12]) {
    uint32_t a, b, c;
    memcpy(&a, packed, 4);
    memcpy(&b, packed + 4, 4);
    memcpy(&c, packed + 8, 4);
    uint64_t scale = (a & 0x3f3f3f3fu) | (uint64_t)((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u))
                                             << 32;
    uint64_t min = (b & 0x3f3f3f3fu) | (uint64_t)((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u))
                                           << 32;
    const __m256i both = _mm256_cvtepu8_epi16(_mm_set_epi64x((long long)min, (long long)scale));
    const __m512i wide = _mm512_castsi256_si512(both);
    s->pairs[0] = _mm512_permutexvar_epi16(scale_index(0, 2), wide);
    s->pairs[1] = _mm512_permutexvar_epi16(scale_index(1, 3), wide);
    s->pairs[2] = _mm512_permutexvar_epi16(scale_index(4, 6), wide);
    s->pairs[3] = _mm512_permutexvar_epi16(scale_index(5, 7), wide);
    s->min = _mm256_permutexvar_epi16(
        _mm256_setr_epi16(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15), both);
    uint32_t halves;
    memcpy(&halves, d, 4);
    const __m128 f = half_pairs(_mm_cvtepu16_epi32(_mm_cvtsi32_si128((int)halves)));
    s->d = _mm_cvtss_f32(f);
    s->m = -_mm_cvtss_f32(_mm_movehdup_ps(f));
}

VL2_QINLINE void super_q4_k(super *s, const void *block) {
    const vl2_q4_k *b = block;
    const __m512i nibble = _mm512_set1_epi8(15), first = load(b->qs), last = load(b->qs + 64);
    affine_scales(s, block, b->scales);
    s->q[0] = _mm512_and_si512(first, nibble);
    s->q[1] = _mm512_and_si512(_mm512_srli_epi16(first, 4), nibble);
    s->q[2] = _mm512_and_si512(last, nibble);
    s->q[3] = _mm512_and_si512(_mm512_srli_epi16(last, 4), nibble);
}

/* Bit `low` of each byte for the first 32, bit `high` for the others, as 16. */
VL2_QINLINE __m512i add_fifth(__m512i q, __m512i qh, int low, int high) {
    const __m512i bits = _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << low)),
                                            _mm256_set1_epi8((char)(1 << high)), 1);
    return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(qh, bits), q, _mm512_set1_epi8(16));
}

VL2_QINLINE void super_q5_k(super *s, const void *block) {
    const vl2_q5_k *b = block;
    const __m512i nibble = _mm512_set1_epi8(15), first = load(b->qs), last = load(b->qs + 64);
    const __m512i qh =
        _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)b->qh));
    affine_scales(s, block, b->scales);
    s->q[0] = add_fifth(_mm512_and_si512(first, nibble), qh, 0, 2);
    s->q[1] = add_fifth(_mm512_and_si512(_mm512_srli_epi16(first, 4), nibble), qh, 1, 3);
    s->q[2] = add_fifth(_mm512_and_si512(last, nibble), qh, 4, 6);
    s->q[3] = add_fifth(_mm512_and_si512(_mm512_srli_epi16(last, 4), nibble), qh, 5, 7);
}

VL2_QINLINE void super_q6_k(super *s, const void *block) {
    const vl2_q6_k *b = block;
    const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(0x30);
    const __m512i left = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
    const __m512i right = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    const __m512i lanes =
        _mm512_setr_epi32(0, 0, 0, 0, 0x10001, 0x10001, 0x10001, 0x10001, 0x20002, 0x20002, 0x20002,
                          0x20002, 0x30003, 0x30003, 0x30003, 0x30003);
    s->scale = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)b->scales));
    const __m512i wide = _mm512_castsi256_si512(s->scale);
    for (int h = 0; h < 2; h++) {
        const __m512i ql = load(b->ql + 64 * h);
        const __m512i qh = _mm512_broadcast_i64x4(
            _mm256_loadu_si256((const __m256i *)(const void *)(b->qh + 32 * h)));
        s->q[2 * h] = _mm512_or_si512(_mm512_and_si512(ql, nibble),
                                      _mm512_and_si512(_mm512_sllv_epi16(qh, left), upper));
        s->q[2 * h + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(ql, 4), nibble),
                                          _mm512_and_si512(_mm512_srlv_epi16(qh, right), upper));
    }
    for (int v = 0; v < 4; v++)
        s->pairs[v] = _mm512_permutexvar_epi16(
            _mm512_add_epi16(lanes, _mm512_set1_epi16((int16_t)(4 * v))), wide);
    uint16_t half;
    memcpy(&half, b->d, 2);
    s->d = _mm_cvtss_f32(half_pairs(_mm_cvtsi32_si128(half)));
}

/* Asks for what comes next of a matrix whose rows follow each other; past its end it does nothing. */
VL2_QINLINE void ask_for(const char *from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 64) _mm_prefetch(from + at, _MM_HINT_T0);
}

enum { AHEAD = 2304 }; /* bytes between the super-block in use and the one asked for */

typedef struct wide_kind {
    size_t bytes;
    bool affine; /* Q4_K, Q5_K; else Q6_K */
    void (*read)(super *s, const void *block);
} wide_kind;

VL2_QINLINE float super_term(const super *s, const int8_t *x, const int16_t *sums, float dx,
                             bool affine) {
    __m512i v[4], a = _mm512_setzero_si512();
    for (int i = 0; i < 4; i++) v[i] = load(x + 64 * i);
    if (affine) {
        for (int i = 0; i < 4; i += 2) {
            const __m512i even = _mm512_shuffle_i64x2(v[i], v[i + 1], 0x44);
            v[i + 1] = _mm512_shuffle_i64x2(v[i], v[i + 1], 0xee);
            v[i] = even;
        }
    }
    for (int i = 0; i < 4; i++)
        a = _mm512_dpwssd_epi32(a, _mm512_maddubs_epi16(s->q[i], v[i]), s->pairs[i]);
    const __m256i sum = _mm256_loadu_si256((const __m256i *)(const void *)sums);
    __m256i low = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    __m256i b = _mm256_madd_epi16(affine ? s->min : s->scale, sum);
    if (!affine) low = _mm256_sub_epi32(low, _mm256_slli_epi32(b, 5));
    __m256i h = _mm256_hadd_epi32(low, affine ? b : low); /* a a b b | a a b b */
    __m128i f = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    f = _mm_add_epi32(f, _mm_shuffle_epi32(f, _MM_SHUFFLE(2, 3, 0, 1)));
    const int32_t first = _mm_cvtsi128_si32(f), other = affine ? _mm_extract_epi32(f, 2) : 0;
    return vl2_qunit_term(s->d, affine ? s->m : 0, dx, first, other, affine);
}

VL2_QINLINE void super_direct(float *y, size_t ldy, const void *x, size_t m, const void *w,
                              size_t w_stride, size_t n, size_t k, const wide_kind kind) {
    const size_t row = vl2_qx_bytes(k, VL2_QUANT_SUPER), units = k / VL2_QUANT_SUPER;
    const char *d0 = (const char *)x + vl2_qx_scales(k);
    const char *s0 = (const char *)x + vl2_qx_sums(k, VL2_QUANT_SUPER);
    for (size_t j = 0; j < n; j++) {
        const char *block = (const char *)w + j * w_stride;
        float one = 0.0f;
        for (size_t i = 0; i < m; i++) y[i * ldy + j] = 0.0f;
        for (size_t u = 0; u < units; u++, block += kind.bytes) {
            super s;
            ask_for(block + AHEAD, kind.bytes);
            kind.read(&s, block);
            for (size_t i = 0; i < m; i++) {
                const float dx = ((const float *)(d0 + i * row))[u];
                const float t =
                    super_term(&s, (const int8_t *)x + i * row + 256 * u,
                               (const int16_t *)(s0 + i * row) + 16 * u, dx, kind.affine);
                if (m == 1)
                    one += t;
                else
                    y[i * ldy + j] += t;
            }
        }
        if (m == 1) y[j] = one;
    }
}

#define SUPER(name, block, affine)                                                                 \
    static void direct_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,        \
                              size_t w_stride, size_t n, size_t k) {                               \
        const wide_kind kind = {sizeof(block), affine, super_##name};                              \
        super_direct(y, ldy, x, m, w, w_stride, n, k, kind);                                       \
    }
SUPER(q4_k, vl2_q4_k, true)
SUPER(q5_k, vl2_q5_k, true)
SUPER(q6_k, vl2_q6_k, false)

/* ---- blocks of 32: sixteen rows of weights, each in a lane -------------------------------------- */

typedef struct lanes { /* where 16 rows are, and the float16 in front of their blocks */
    const char *row[VL2_QPANEL];
    const char *next; /* the rows behind them */
    __m512i offset;   /* of a row from row[0], bytes */
} lanes;

static lanes lanes_of(const void *w, size_t stride, size_t n) {
    lanes l;
    int32_t offset[VL2_QPANEL];
    for (size_t r = 0; r < VL2_QPANEL; r++) {
        const size_t at = (r < n ? r : n - 1) * stride;
        l.row[r] = (const char *)w + at;
        offset[r] = (int32_t)at;
    }
    l.offset = load(offset);
    l.next = (const char *)w + VL2_QPANEL * stride;
    return l;
}

VL2_QINLINE __m512 lane_scales(const lanes *l, size_t at) {
    const __m512i both = _mm512_i32gather_epi32(l->offset, l->row[0] + at, 1);
    return halves_to_floats(_mm512_and_si512(both, _mm512_set1_epi32(0xffff)));
}

VL2_QINLINE __m512i add_pairs_32(__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
VL2_QINLINE __m512i add_pairs_64(__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* v[i]: rows i and i + 4 (i < 4), i + 4 and i + 8 of the others, 8 lanes each -> a lane a row. */
VL2_QINLINE __m512i gather_eighths(const __m512i v[8]) {
    const __m512i a = add_pairs_64(add_pairs_32(v[0], v[1]), add_pairs_32(v[2], v[3]));
    const __m512i b = add_pairs_64(add_pairs_32(v[4], v[5]), add_pairs_32(v[6], v[7]));
    return _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
}

typedef struct narrow { /* a block of 16 rows: 8 or 4 registers */
    __m512i q[8];
} narrow;

VL2_QINLINE void read_bytes(narrow *out, const lanes *l, size_t at) {
    for (int i = 0; i < 8; i++) {
        const int r = i < 4 ? i : i + 4;
        const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)(l->row[r] + at + 2));
        const __m256i high =
            _mm256_loadu_si256((const __m256i *)(const void *)(l->row[r + 4] + at + 2));
        out->q[i] = _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1),
                                     _mm512_set1_epi8(-128));
    }
}

/* Register i: the nibbles of rows i, i + 4, i + 8, i + 12; low ones in q[i], high ones in q[i + 4]. */
VL2_QINLINE void read_nibbles(narrow *out, const lanes *l, size_t at, bool curved) {
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i table = nibble;
    if (curved)
        table = _mm512_xor_si512(
            _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)vl2_quant_nl)),
            _mm512_set1_epi8(-128));
    for (int i = 0; i < 4; i++) {
        __m512i raw = _mm512_castsi128_si512(
            _mm_loadu_si128((const __m128i *)(const void *)(l->row[i] + at + 2)));
        for (int part = 1; part < 4; part++)
            raw = _mm512_mask_broadcast_i32x4(
                raw, (__mmask16)(0xf << 4 * part),
                _mm_loadu_si128((const __m128i *)(const void *)(l->row[i + 4 * part] + at + 2)));
        out->q[i] = _mm512_and_si512(raw, nibble);
        out->q[i + 4] = _mm512_and_si512(_mm512_srli_epi16(raw, 4), nibble);
        if (!curved) continue;
        out->q[i] = _mm512_shuffle_epi8(table, out->q[i]);
        out->q[i + 4] = _mm512_shuffle_epi8(table, out->q[i + 4]);
    }
}

/* The whole numbers of 16 rows' block times x's. */
VL2_QINLINE __m512i dot_bytes(const narrow *w, const int8_t *x) {
    const __m512i v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)x));
    __m512i dot[8];
    for (int i = 0; i < 8; i++) dot[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w->q[i], v);
    return gather_eighths(dot);
}

VL2_QINLINE __m512i dot_nibbles(const narrow *w, const int8_t *x) {
    const __m512i low = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)x));
    const __m512i high =
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(x + 16)));
    __m512i dot[4];
    for (int i = 0; i < 4; i++) {
        dot[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w->q[i], low);
        dot[i] = _mm512_dpbusd_epi32(dot[i], w->q[i + 4], high);
    }
    return add_pairs_64(add_pairs_32(dot[0], dot[1]), add_pairs_32(dot[2], dot[3]));
}

typedef enum narrow_type { BYTES, EVEN, CURVED } narrow_type;
enum { ROWS = 4 }; /* of x at a time */

VL2_QINLINE void narrow_rows(__m512 acc[ROWS], const lanes *l, const char *x, size_t m, size_t k,
                             const narrow_type type) {
    const size_t row = vl2_qx_bytes(k, 32), bytes = type == BYTES ? 34 : 18;
    const int offset = type == EVEN ? 8 : 128;
    const size_t scales = vl2_qx_scales(k), sums = vl2_qx_sums(k, 32);
    for (size_t i = 0; i < ROWS; i++) acc[i] = _mm512_setzero_ps();
    for (size_t b = 0; b < k / 32; b++) {
        narrow w;
        ask_for(l->next + b * VL2_QPANEL * bytes, VL2_QPANEL * bytes);
        const __m512 d = lane_scales(l, b * bytes);
        if (type == BYTES)
            read_bytes(&w, l, b * bytes);
        else
            read_nibbles(&w, l, b * bytes, type == CURVED);
        for (size_t i = 0; i < ROWS; i++) {
            if (i >= m) break;
            const char *xi = x + i * row;
            const int8_t *q = (const int8_t *)xi + 32 * b;
            const int16_t *sum = (const int16_t *)(xi + sums) + 2 * b;
            const __m512i dot = type == BYTES ? dot_bytes(&w, q) : dot_nibbles(&w, q);
            const __m512i a = _mm512_sub_epi32(dot, _mm512_set1_epi32(offset * (sum[0] + sum[1])));
            const __m512 scale =
                _mm512_mul_ps(d, _mm512_set1_ps(((const float *)(xi + scales))[b]));
            acc[i] = _mm512_add_ps(acc[i], _mm512_mul_ps(scale, _mm512_cvtepi32_ps(a)));
        }
    }
}

VL2_QINLINE void narrow_direct(float *y, size_t ldy, const void *x, size_t m, const void *w,
                               size_t w_stride, size_t n, size_t k, const narrow_type type) {
    const size_t row = vl2_qx_bytes(k, 32);
    for (size_t j = 0; j < n; j += VL2_QPANEL) {
        const size_t some = n - j < VL2_QPANEL ? n - j : VL2_QPANEL;
        const lanes l = lanes_of((const char *)w + j * w_stride, w_stride, some);
        const __mmask16 mask = (__mmask16)(0xffffu >> (VL2_QPANEL - some));
        for (size_t i = 0; i < m; i += ROWS) {
            const size_t rows = m - i < ROWS ? m - i : ROWS;
            __m512 acc[ROWS];
            if (rows == 1)
                narrow_rows(acc, &l, (const char *)x + i * row, 1, k, type);
            else
                narrow_rows(acc, &l, (const char *)x + i * row, rows, k, type);
            for (size_t r = 0; r < rows; r++)
                _mm512_mask_storeu_ps(y + (i + r) * ldy + j, mask, acc[r]);
        }
    }
}

#define NARROW(name, type)                                                                         \
    static void direct_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,        \
                              size_t w_stride, size_t n, size_t k) {                               \
        narrow_direct(y, ldy, x, m, w, w_stride, n, k, type);                                      \
    }
NARROW(q8_0, BYTES)
NARROW(q4_0, EVEN)
NARROW(iq4_nl, CURVED)

/* ---- the table ------------------------------------------------------------------------------- */

#define TILES(type, name, unit, offset, has_min, block)                                            \
    static void pack_w_##name(vl2_qpanel *out, const void *w, size_t w_stride, size_t n,           \
                              size_t k) {                                                          \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        vl2_q_panels(out, w, w_stride, n, k, kind);                                                \
    }                                                                                              \
    static void packed_##name(float *y, size_t ldy, const void *x, size_t m, size_t k,             \
                              const vl2_qpanel *w, size_t k0, size_t kn) {                         \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        vl2_q_packed(y, ldy, x, m, k, w, k0, kn, kind);                                            \
    }
VL2_QKINDS(TILES)

void vl2_q_avx512vnni_fill(vl2_kernels *out) {
    vl2_qdot *q = out->quantized;
#define FILL(type, name, size, offset, has_min, block)                                             \
    q[type - VL2_Q8_0].pack_x = size == VL2_QUANT_BLOCK ? pack_x_32 : pack_x_k;                    \
    q[type - VL2_Q8_0].pack_w = pack_w_##name;                                                     \
    q[type - VL2_Q8_0].packed = packed_##name;
    VL2_QKINDS(FILL)
    q[VL2_Q8_0 - VL2_Q8_0].direct = direct_q8_0;
    q[VL2_Q4_0 - VL2_Q8_0].direct = direct_q4_0;
    q[VL2_IQ4_NL - VL2_Q8_0].direct = direct_iq4_nl;
    q[VL2_Q4_K - VL2_Q8_0].direct = direct_q4_k;
    q[VL2_Q5_K - VL2_Q8_0].direct = direct_q5_k;
    q[VL2_Q6_K - VL2_Q8_0].direct = direct_q6_k;
}
