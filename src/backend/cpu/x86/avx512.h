/* backend/cpu/x86/avx512.h - AVX-512 intrinsics; or, for tests on machines without it, the same names
 * from SIMDe and, for those that some of its releases lack, from here: slow and simple. */
#ifndef VL2_BACKEND_CPU_X86_AVX512_H
#define VL2_BACKEND_CPU_X86_AVX512_H

#if !defined(VL2_EMULATE_AVX512)
#include <immintrin.h>
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#pragma GCC diagnostic pop

#include "model/dtype.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static inline __m256i emulated_narrow(__m512i a) {
    uint32_t wide[16];
    uint16_t narrow[16];
    memcpy(wide, &a, sizeof wide);
    for (int i = 0; i < 16; i++) narrow[i] = (uint16_t)wide[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)narrow);
}
static inline __m512i emulated_widen(__m256i a) {
    uint32_t wide[16];
    uint16_t narrow[16];
    memcpy(narrow, &a, sizeof narrow);
    for (int i = 0; i < 16; i++) wide[i] = narrow[i];
    return _mm512_loadu_si512(wide);
}
static inline __m512 emulated_half(__m256i a) {
    float wide[16];
    uint16_t narrow[16];
    memcpy(narrow, &a, sizeof narrow);
    for (int i = 0; i < 16; i++) wide[i] = vl2_f16_to_f32(narrow[i]);
    return _mm512_loadu_ps(wide);
}
static inline __m256 emulated_part(__m512 a, int i) {
    float all[16];
    memcpy(all, &a, sizeof all);
    return _mm256_loadu_ps(all + 8 * i);
}
static inline __m512i emulated_whole(__m512 a) {
    float all[16];
    int32_t whole[16];
    memcpy(all, &a, sizeof all);
    for (int i = 0; i < 16; i++) whole[i] = (int32_t)lrintf(all[i]);
    return _mm512_loadu_si512(whole);
}
static inline __m512 emulated_round(__m512 a) {
    float all[16];
    memcpy(all, &a, sizeof all);
    for (int i = 0; i < 16; i++) all[i] = rintf(all[i]);
    return _mm512_loadu_ps(all);
}
static inline __m512 emulated_load(unsigned mask, const float *p) {
    float all[16] = {0};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1u) all[i] = p[i];
    return _mm512_loadu_ps(all);
}
static inline void emulated_store(float *p, unsigned mask, __m512 a) {
    float all[16];
    memcpy(all, &a, sizeof all);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1u) p[i] = all[i];
}
static inline __m512 emulated_blend(unsigned mask, __m512 a, __m512 b) {
    float x[16], y[16];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 16; i++) x[i] = mask >> i & 1u ? y[i] : x[i];
    return _mm512_loadu_ps(x);
}
static inline __m512i emulated_blend_whole(unsigned mask, __m512i a, __m512i b) {
    return _mm512_castps_si512(
        emulated_blend(mask, _mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
}
static inline unsigned emulated_unordered(__m512 a) {
    float all[16];
    unsigned mask = 0;
    memcpy(all, &a, sizeof all);
    for (int i = 0; i < 16; i++) mask |= (unsigned)(all[i] != all[i]) << i;
    return mask;
}
static inline __m512 emulated_pick(__m512 a, __m512i index, __m512 b) {
    float from[32], to[16];
    int32_t i[16];
    memcpy(from, &a, 64);
    memcpy(from + 16, &b, 64);
    memcpy(i, &index, sizeof i);
    for (int j = 0; j < 16; j++) to[j] = from[i[j] & 31];
    return _mm512_loadu_ps(to);
}
static inline __m512 emulated_floats(__m512i a) {
    int32_t whole[16];
    float all[16];
    memcpy(whole, &a, sizeof whole);
    for (int i = 0; i < 16; i++) all[i] = (float)whole[i];
    return _mm512_loadu_ps(all);
}
static inline __m512i emulated_gather(__m512i offset, const char *from) {
    int32_t at[16], all[16];
    memcpy(at, &offset, sizeof at);
    for (int i = 0; i < 16; i++) memcpy(&all[i], from + at[i], sizeof all[i]);
    return _mm512_loadu_si512(all);
}
static inline __m128i emulated_low_bytes(__m512i a) {
    uint32_t wide[16];
    uint8_t narrow[16];
    memcpy(wide, &a, sizeof wide);
    for (int i = 0; i < 16; i++) narrow[i] = (uint8_t)wide[i];
    return _mm_loadu_si128((const __m128i *)(const void *)narrow);
}
static inline int32_t emulated_reduce(__m512i a, bool max) {
    int32_t all[16];
    memcpy(all, &a, sizeof all);
    uint32_t sum = 0;
    int32_t most = all[0];
    for (int i = 0; i < 16; i++) {
        sum += (uint32_t)all[i];
        if (all[i] > most) most = all[i];
    }
    return max ? most : (int32_t)sum;
}
/* Two quarters of a, two of b: a pair of bits each says which. */
static inline __m512i emulated_quarters(__m512i a, __m512i b, unsigned which) {
    char from[2][64], to[64];
    memcpy(from[0], &a, 64);
    memcpy(from[1], &b, 64);
    for (unsigned i = 0; i < 4; i++)
        memcpy(to + 16 * i, from[i / 2] + 16 * (which >> 2 * i & 3u), 16);
    return _mm512_loadu_si512(to);
}
static inline __m512i emulated_madd(__m512i a, __m512i b) {
    int16_t x[32], y[32];
    int32_t sum[16];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 16; i++) sum[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    return _mm512_loadu_si512(sum);
}
static inline __m256i emulated_add_bytes(__m256i other, unsigned mask, __m256i a, __m256i b) {
    uint8_t x[32], y[32], z[32];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    memcpy(z, &other, sizeof z);
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1u) z[i] = (uint8_t)(x[i] + y[i]);
    return _mm256_loadu_si256((const __m256i *)(const void *)z);
}
/* Of a NaN and a number the second, which SIMDe does not promise. */
static inline __m512 emulated_extreme(__m512 a, __m512 b, bool max) {
    float x[16], y[16];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 16; i++)
        if (max ? x[i] > y[i] : x[i] < y[i]) y[i] = x[i];
    return _mm512_loadu_ps(y);
}

#undef _mm512_cvtepi32_epi16
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtph_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_cvtps_epi32
#undef _mm512_roundscale_ps
#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_mask_blend_ps
#undef _mm512_mask_blend_epi32
#undef _mm512_cmp_ps_mask
#undef _mm512_permutexvar_ps
#undef _mm512_permutex2var_ps
#undef _mm512_max_ps
#undef _mm512_min_ps
#undef _mm512_cvtepi32_ps
#undef _mm512_i32gather_epi32
#undef _mm512_cvtepi32_epi8
#undef _mm512_reduce_add_epi32
#undef _mm512_reduce_max_epi32
#undef _mm512_shuffle_i64x2
#undef _mm512_madd_epi16
#undef _mm256_mask_add_epi8
#undef __mmask16
#undef __mmask64
#define _mm512_cvtepi32_epi16(a) emulated_narrow(a)
#define _mm512_cvtepu16_epi32(a) emulated_widen(a)
#define _mm512_cvtph_ps(a) emulated_half(a)
#define _mm512_extractf32x8_ps(a, i) emulated_part(a, i)
#define _mm512_cvtps_epi32(a) emulated_whole(a)
#define _mm512_roundscale_ps(a, how) emulated_round(a)
#define _mm512_maskz_loadu_ps(mask, p) emulated_load(mask, p)
#define _mm512_mask_storeu_ps(p, mask, a) emulated_store(p, mask, a)
#define _mm512_mask_blend_ps(mask, a, b) emulated_blend(mask, a, b)
#define _mm512_mask_blend_epi32(mask, a, b) emulated_blend_whole(mask, a, b)
#define _mm512_cmp_ps_mask(a, b, how) emulated_unordered(a)
#define _mm512_permutexvar_ps(index, a) emulated_pick(a, index, a)
#define _mm512_permutex2var_ps(a, index, b) emulated_pick(a, index, b)
#define _mm512_max_ps(a, b) emulated_extreme(a, b, true)
#define _mm512_min_ps(a, b) emulated_extreme(a, b, false)
#define _mm512_cvtepi32_ps(a) emulated_floats(a)
#define _mm512_i32gather_epi32(offset, from, scale) emulated_gather(offset, from)
#define _mm512_cvtepi32_epi8(a) emulated_low_bytes(a)
#define _mm512_reduce_add_epi32(a) emulated_reduce(a, false)
#define _mm512_reduce_max_epi32(a) emulated_reduce(a, true)
#define _mm512_shuffle_i64x2(a, b, which) emulated_quarters(a, b, which)
#define _mm512_madd_epi16(a, b) emulated_madd(a, b)
#define _mm256_mask_add_epi8(other, mask, a, b) emulated_add_bytes(other, mask, a, b)
#define __mmask16 uint16_t
#define __mmask64 uint64_t
#endif

#endif
