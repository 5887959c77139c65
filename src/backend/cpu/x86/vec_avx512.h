/* backend/cpu/x86/vec_avx512.h - sixteen floats, for rows_vec.h. */
#ifndef VL2_BACKEND_CPU_X86_VEC_AVX512_H
#define VL2_BACKEND_CPU_X86_VEC_AVX512_H

#include "backend/cpu/kernels.h"

#include "backend/cpu/x86/avx512.h"

enum { VL = 16 };
typedef __m512 vf;

static inline vf v_set(float a) { return _mm512_set1_ps(a); }
static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
/* Of a NaN and a number: b. */
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf v_abs(vf a) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)));
}
static inline vf v_round(vf a) { return _mm512_roundscale_ps(a, 0); }
/* 2^a for whole a in -126 … 127 */
static inline vf v_exp2_whole(vf a) {
    __m512i n = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(n, 23));
}
static inline float v_sum(vf a) {
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline float v_greatest(vf a) {
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline __mmask16 v_mask(size_t n) { return (__mmask16)((1u << n) - 1u); }
/* The first n < VL lanes; zeros behind. */
static inline vf v_load_part(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps(v_mask(n), p);
}
static inline void v_store_part(float *p, vf a, size_t n) {
    _mm512_mask_storeu_ps(p, v_mask(n), a);
}
/* a in the first n lanes, b behind */
static inline vf v_keep(vf a, vf b, size_t n) { return _mm512_mask_blend_ps(v_mask(n), b, a); }
/* lanes 0 1 2 … -> 1 0 3 2 … */
static inline vf v_swap_pairs(vf a) {
    const __m512i lanes = _mm512_setr_epi32(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return _mm512_permutexvar_ps(lanes, a);
}
/* From c0 … at p: c0 c0 c1 c1 …, VL/2 values read. */
static inline vf v_load_twice(const float *p) {
    const __m512i lanes = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
/* a - b in even lanes, a + b in odd ones */
static inline vf v_sub_add(vf a, vf b) {
    return _mm512_mask_blend_ps(0x5555, _mm512_add_ps(a, b), _mm512_sub_ps(a, b));
}
/* VL floats as bf16, to nearest even; NaN stays NaN. */
static inline void v_store_bf16(uint16_t *p, vf a) {
    __m512i u = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    r = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), r, quiet);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16)));
}
static inline vf v_load_bf16(const uint16_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
/* rows a[0 … 15] become columns: interleaving rows i and i+8 four times */
static inline void v_transpose(vf a[16]) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    for (int pass = 0; pass < 4; pass++) {
        vf b[16];
        for (int i = 0; i < 8; i++) {
            b[2 * i] = _mm512_permutex2var_ps(a[i], low, a[i + 8]);
            b[2 * i + 1] = _mm512_permutex2var_ps(a[i], high, a[i + 8]);
        }
        for (int i = 0; i < 16; i++) a[i] = b[i];
    }
}

#endif
