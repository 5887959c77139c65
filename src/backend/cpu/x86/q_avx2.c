/* Products with quantized weights, AVX2: a unit is taken apart once, then met by each row of x. */
#include "backend/cpu/qunits.h"
#include "backend/cpu/x86/x86.h"

#include <immintrin.h>
#include <math.h>

static __m256i load(const void *p) { return _mm256_loadu_si256(p); }

/* ---- packing x -------------------------------------------------------------------------------- */

static uint32_t greatest_bits(const float *x, size_t n) {
    const __m256i size = _mm256_set1_epi32(0x7fffffff);
    __m256i most = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 8)
        most = _mm256_max_epi32(most, _mm256_and_si256(load(x + i), size));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* 32 numbers, rounded to nearest even. */
static __m256i round_32(const float *x, __m256 inverse) {
    __m256i q[4];
    for (int i = 0; i < 4; i++)
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The sums of each 16 of 32 bytes. */
static void sum_32(int16_t *sums, __m256i q) {
    const __m256i ones = _mm256_set1_epi8(1), wide = _mm256_set1_epi16(1);
    __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, q), wide);
    s = _mm256_hadd_epi32(s, s);
    s = _mm256_hadd_epi32(s, s);
    sums[0] = (int16_t)_mm256_extract_epi32(s, 0);
    sums[1] = (int16_t)_mm256_extract_epi32(s, 4);
}

static float pack_unit(int8_t *q, int16_t *sums, const float *x, size_t n) {
    uint32_t bits = greatest_bits(x, n);
    float most;
    memcpy(&most, &bits, sizeof most);
    if (bits >= 0x7f800000u || most < 1e-30f) {
        memset(q, 0, n);
        memset(sums, 0, n / 16 * sizeof *sums);
        return bits >= 0x7f800000u ? NAN : 0.0f;
    }
    const __m256 inverse = _mm256_set1_ps(127.0f / most);
    for (size_t i = 0; i < n; i += 32) {
        __m256i bytes = round_32(x + i, inverse);
        _mm256_storeu_si256((__m256i *)(void *)(q + i), bytes);
        sum_32(sums + i / 16, bytes);
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

/* ---- products --------------------------------------------------------------------------------- */

static int sum_lanes(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(1, 0, 3, 2)));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(s);
}

/* Blocks of 32. Full bytes times bytes overflow 16 bits in pairs, unless signs change sides. */
VL2_QINLINE float term_32(const vl2_qunit *u, const int8_t *x, const int16_t *sums, float dx,
                          const vl2_qkind kind) {
    const int sum = sums[0] + sums[1];
    __m256i q = load(u->q), v = load(x), pairs;
    int a;
    if (kind.offset == 128) {
        q = _mm256_xor_si256(q, _mm256_set1_epi8(-128));
        pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(v, q));
        a = sum_lanes(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    } else {
        pairs = _mm256_maddubs_epi16(q, v);
        a = sum_lanes(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))) - kind.offset * sum;
    }
    return vl2_qunit_term(u->d, u->m, dx, a, sum, kind.has_min);
}

VL2_QINLINE float term_k(const vl2_qunit *u, const int8_t *x, const int16_t *sums, float dx,
                         const vl2_qkind kind) {
    const __m256i sum = load(sums);
    __m256i a = _mm256_setzero_si256(), b = a;
    for (int i = 0; i < 8; i++) {
        __m256i pairs = _mm256_maddubs_epi16(load(u->q + 32 * i), load(x + 32 * i));
        __m256i scale =
            _mm256_set_m128i(_mm_set1_epi16(u->scale[2 * i + 1]), _mm_set1_epi16(u->scale[2 * i]));
        a = _mm256_add_epi32(a, _mm256_madd_epi16(pairs, scale));
    }
    if (kind.has_min) b = _mm256_madd_epi16(load(u->min), sum);
    if (kind.offset) {
        __m256i shift = _mm256_madd_epi16(load(u->scale), sum);
        a = _mm256_sub_epi32(a, _mm256_mullo_epi32(shift, _mm256_set1_epi32(kind.offset)));
    }
    return vl2_qunit_term(u->d, u->m, dx, sum_lanes(a), kind.has_min ? sum_lanes(b) : 0,
                          kind.has_min);
}

VL2_QINLINE void direct(float *y, size_t ldy, const void *x, size_t m, const void *w,
                        size_t w_stride, size_t n, size_t k, const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit, row = vl2_qx_bytes(k, unit);
    vl2_qunit u;
    for (size_t j = 0; j < n; j++) {
        const char *block = (const char *)w + j * w_stride;
        for (size_t i = 0; i < m; i++) y[i * ldy + j] = 0.0f;
        for (size_t at = 0; at < k; at += unit, block += kind.bytes) {
            kind.unpack(&u, block);
            for (size_t i = 0; i < m; i++) {
                const char *xi = (const char *)x + i * row;
                const float dx = ((const float *)(xi + vl2_qx_scales(k)))[at / unit];
                const int16_t *sums = (const int16_t *)(xi + vl2_qx_sums(k, unit)) + at / 16;
                const int8_t *q = (const int8_t *)xi + at;
                y[i * ldy + j] += kind.unit == VL2_QUANT_SUPER ? term_k(&u, q, sums, dx, kind)
                                                               : term_32(&u, q, sums, dx, kind);
            }
        }
    }
}

#define DIRECT(type, name, unit, offset, has_min, block)                                           \
    static void direct_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,        \
                              size_t w_stride, size_t n, size_t k) {                               \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), vl2_qunit_##name};           \
        direct(y, ldy, x, m, w, w_stride, n, k, kind);                                             \
    }
VL2_QKINDS(DIRECT)

void vl2_q_avx2_fill(vl2_kernels *out) {
#define FILL(type, name, size, offset, has_min, block)                                             \
    out->quantized[type - VL2_Q8_0].pack_x = size == VL2_QUANT_BLOCK ? pack_x_32 : pack_x_k;       \
    out->quantized[type - VL2_Q8_0].direct = direct_##name;
    VL2_QKINDS(FILL)
}
