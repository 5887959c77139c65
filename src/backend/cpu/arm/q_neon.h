/* backend/cpu/arm/q_neon.h - quantized products in vectors of 128 bits: with NEON alone, or with its
 * dot products of bytes where VL2_Q_DOTPROD is defined. For q_neon.c and q_dotprod.c. */
#ifndef VL2_BACKEND_CPU_ARM_Q_NEON_H
#define VL2_BACKEND_CPU_ARM_Q_NEON_H

#include "backend/cpu/arm/arm.h"
#include "backend/cpu/qunits.h"

#include <arm_neon.h>

/* ---- packing x -------------------------------------------------------------------------------- */

VL2_QINLINE uint32_t q_greatest(const float *x, size_t n) {
    uint32x4_t most = vdupq_n_u32(0);
    for (size_t i = 0; i < n; i += 4) {
        const uint32x4_t bits = vreinterpretq_u32_f32(vld1q_f32(x + i));
        most = vmaxq_u32(most, vandq_u32(bits, vdupq_n_u32(0x7fffffffu)));
    }
    return vmaxvq_u32(most);
}

/* To nearest even. */
VL2_QINLINE int16x8_t round_8(const float *x, float inverse) {
    const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), inverse));
    const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4), inverse));
    return vcombine_s16(vqmovn_s32(low), vqmovn_s32(high));
}

VL2_QINLINE void q_round(int8_t *q, int16_t *sums, const float *x, size_t n, float inverse) {
    for (size_t i = 0; i < n; i += 16) {
        const int16x8_t low = round_8(x + i, inverse), high = round_8(x + i + 8, inverse);
        vst1q_s8(q + i, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
        sums[i / 16] = vaddvq_s16(vaddq_s16(low, high));
    }
}

/* ---- products --------------------------------------------------------------------------------- */

/* a + the products of 16 bytes, in four sums. Two products of 128 x 127 are what 16 bits hold. */
VL2_QINLINE int32x4_t add_dots(int32x4_t a, int8x16_t q, int8x16_t x) {
#if defined(VL2_Q_DOTPROD)
    return vdotq_s32(a, q, x);
#else
    return vpadalq_s16(
        a, vmlal_s8(vmull_s8(vget_low_s8(q), vget_low_s8(x)), vget_high_s8(q), vget_high_s8(x)));
#endif
}

/* Signed weights: those of 0 … 255 lose 128, which is their offset. */
VL2_QINLINE int8x16_t weights_16(const uint8_t *q, const vl2_qkind kind) {
    const uint8x16_t raw = vld1q_u8(q);
    return vreinterpretq_s8_u8(kind.offset == 128 ? veorq_u8(raw, vdupq_n_u8(0x80)) : raw);
}

/* The sum of 16 products of 16-bit numbers. */
VL2_QINLINE int32_t dot_sums(const int16_t *a, const int16_t *b) {
    int32x4_t s = vdupq_n_s32(0);
    for (int i = 0; i < 16; i += 4) s = vmlal_s16(s, vld1_s16(a + i), vld1_s16(b + i));
    return vaddvq_s32(s);
}

VL2_QINLINE float q_term(const vl2_qunit *u, const int8_t *x, const int16_t *sums, float dx,
                         const vl2_qkind kind) {
    const int left = kind.offset == 128 ? 0 : kind.offset;
    int32x4_t a = vdupq_n_s32(0);
    if (kind.unit == VL2_QUANT_BLOCK) {
        const int32_t sum = sums[0] + sums[1];
        for (int i = 0; i < 32; i += 16)
            a = add_dots(a, weights_16(u->q + i, kind), vld1q_s8(x + i));
        return vl2_qunit_term(u->d, u->m, dx, vaddvq_s32(a) - left * sum, sum, kind.has_min);
    }
    for (int s = 0; s < 16; s++) {
        const int32x4_t dots =
            add_dots(vdupq_n_s32(0), weights_16(u->q + 16 * s, kind), vld1q_s8(x + 16 * s));
        a = vmlaq_n_s32(a, dots, u->scale[s]);
    }
    const int32_t whole = vaddvq_s32(a) - (left ? left * dot_sums(u->scale, sums) : 0);
    return vl2_qunit_term(u->d, u->m, dx, whole, kind.has_min ? dot_sums(u->min, sums) : 0,
                          kind.has_min);
}

#include "backend/cpu/q_direct.h"

#endif
