/* backend/cpu/peak_loops.h - loops of multiply-adds in registers; each returns the operations it did. */
#ifndef VL2_BACKEND_CPU_PEAK_LOOPS_H
#define VL2_BACKEND_CPU_PEAK_LOOPS_H

#include <stddef.h>

double vl2_peak_c_f32(size_t rounds);
double vl2_peak_c_int8(size_t rounds);
double vl2_peak_avx2_f32(size_t rounds);
double vl2_peak_avx2_int8(size_t rounds);
double vl2_peak_avx512_f32(size_t rounds);
double vl2_peak_avx512vnni_int8(size_t rounds);
double vl2_peak_avx512bf16_bf16(size_t rounds);
double vl2_peak_amx_bf16(size_t rounds);
double vl2_peak_amx_int8(size_t rounds);
double vl2_peak_neon_f32(size_t rounds);
double vl2_peak_neon_int8(size_t rounds);
double vl2_peak_dotprod_int8(size_t rounds);
double vl2_peak_i8mm_int8(size_t rounds);
double vl2_peak_bfdot_bf16(size_t rounds);

/* Twelve chains hide the latency of two units; what they end in must be wanted. (An asm inside the
 * loop would keep the chains in memory.) */
#define VL2_PEAK_CHAINS 12
#if defined(__aarch64__)
#define VL2_PEAK_KEEP(value) __asm__ volatile("" : "+w"(value))
#else
#define VL2_PEAK_KEEP(value) __asm__ volatile("" : "+x"(value))
#endif
/* What is at p may be something else from here on: a product of it cannot move out of the loop. */
#define VL2_PEAK_RELOAD(p) __asm__ volatile("" : "+r"(p))

#endif
