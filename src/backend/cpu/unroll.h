/* backend/cpu/unroll.h - VL2_EACH: a short loop whose rounds are all written out, so that arrays of vectors
 * stay in registers. gcc and clang each ignore the other's word for it. Stand-ins of instructions are slow in
 * any case, and compilers take minutes over them written out. */
#ifndef VL2_BACKEND_CPU_UNROLL_H
#define VL2_BACKEND_CPU_UNROLL_H

#if defined(VL2_EMULATE_AVX512)
#define VL2_EACH(i, n) for (int i = 0; i < (n); i++)
#elif defined(__clang__)
#define VL2_EACH(i, n) _Pragma("clang loop unroll(full)") for (int i = 0; i < (n); i++)
#else
#define VL2_EACH(i, n) _Pragma("GCC unroll 24") for (int i = 0; i < (n); i++)
#endif

#endif
