/* backend/cpu/arm/vec_neon.h - four floats, for rows_vec.h. */
#ifndef VL2_BACKEND_CPU_ARM_VEC_NEON_H
#define VL2_BACKEND_CPU_ARM_VEC_NEON_H

#include "backend/cpu/kernels.h"

#include <arm_neon.h>
#include <string.h>

enum { VL = 4 };
typedef float32x4_t vf;

static inline vf v_set(float a) { return vdupq_n_f32(a); }
static inline vf v_load(const float *p) { return vld1q_f32(p); }
static inline void v_store(float *p, vf a) { vst1q_f32(p, a); }
static inline vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
/* Of a NaN and a number: b. */
static inline vf v_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline vf v_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static inline vf v_abs(vf a) { return vabsq_f32(a); }
static inline vf v_round(vf a) { return vrndnq_f32(a); }
/* 2^a for whole a in -126 … 127 */
static inline vf v_exp2_whole(vf a) {
    int32x4_t n = vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(n, 23));
}
static inline float v_sum(vf a) { return vaddvq_f32(a); }
static inline float v_greatest(vf a) { return vmaxvq_f32(a); }
/* The first n < VL lanes; zeros behind. */
static inline vf v_load_part(const float *p, size_t n) {
    float all[4] = {0};
    memcpy(all, p, n * sizeof *p);
    return vld1q_f32(all);
}
static inline void v_store_part(float *p, vf a, size_t n) {
    float all[4];
    vst1q_f32(all, a);
    memcpy(p, all, n * sizeof *p);
}
/* a in the first n lanes, b behind */
static inline vf v_keep(vf a, vf b, size_t n) {
    static const uint32_t LANES[4] = {0, 1, 2, 3};
    return vbslq_f32(vcltq_u32(vld1q_u32(LANES), vdupq_n_u32((uint32_t)n)), a, b);
}
/* lanes 0 1 2 3 -> 1 0 3 2 */
static inline vf v_swap_pairs(vf a) { return vrev64q_f32(a); }
/* From c0 c1 at p: c0 c0 c1 c1. */
static inline vf v_load_twice(const float *p) {
    float32x2_t x = vld1_f32(p);
    return vcombine_f32(vdup_lane_f32(x, 0), vdup_lane_f32(x, 1));
}
/* a - b in even lanes, a + b in odd ones */
static inline vf v_sub_add(vf a, vf b) {
    return vtrn2q_f32(vrev64q_f32(vsubq_f32(a, b)), vaddq_f32(a, b));
}
/* VL floats as bf16, to nearest even; NaN stays NaN. */
static inline void v_store_bf16(uint16_t *p, vf a) {
    uint32x4_t u = vreinterpretq_u32_f32(a);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    uint32x4_t r = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
    r = vbslq_u32(vceqq_f32(a, a), r, quiet);
    vst1_u16(p, vshrn_n_u32(r, 16));
}
static inline vf v_load_bf16(const uint16_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
/* rows a[0 … 3] become columns */
static inline void v_transpose(vf a[4]) {
    float32x4x2_t p = vtrnq_f32(a[0], a[1]), q = vtrnq_f32(a[2], a[3]);
    a[0] = vcombine_f32(vget_low_f32(p.val[0]), vget_low_f32(q.val[0]));
    a[1] = vcombine_f32(vget_low_f32(p.val[1]), vget_low_f32(q.val[1]));
    a[2] = vcombine_f32(vget_high_f32(p.val[0]), vget_high_f32(q.val[0]));
    a[3] = vcombine_f32(vget_high_f32(p.val[1]), vget_high_f32(q.val[1]));
}

#endif
