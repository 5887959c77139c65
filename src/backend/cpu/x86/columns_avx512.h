/* backend/cpu/x86/columns_avx512.h - rows of x rounded to bf16 and turned: up to 16 of them side by side as
 * columns, a line for each pair of elements of k. What tiles and attention multiply with. */
#ifndef VL2_BACKEND_CPU_X86_COLUMNS_AVX512_H
#define VL2_BACKEND_CPU_X86_COLUMNS_AVX512_H

#include "backend/cpu/x86/vec_avx512.h"

enum {
    STEP = 32, /* elements of k, of which a line of tiles has room for */
    SIDE = 16  /* columns */
};

#define INLINE static inline __attribute__((always_inline))

INLINE size_t up(size_t n, size_t step) { return (n + step - 1) / step * step; }
INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* 32 floats as bf16, in their order. */
INLINE __m512 narrow(__m512 a, __m512 b) {
#if defined(VL2_EMULATE_AVX512)
    uint16_t bits[STEP];
    v_store_bf16(bits, a);
    v_store_bf16(bits + 16, b);
    return _mm512_loadu_ps(bits);
#else
    return (__m512)_mm512_cvtne2ps_pbh(b, a);
#endif
}

INLINE __m512 narrow_step(const float *row, size_t left) {
    if (left >= STEP) return narrow(v_load(row), v_load(row + 16));
    if (left <= 16) return narrow(v_load_part(row, left), _mm512_setzero_ps());
    return narrow(v_load(row), v_load_part(row + 16, left - 16));
}

/* [k/2, m] pairs */
static void pack_columns(void *out, const float *const *rows, size_t m, size_t k) {
    float *to = out;
    for (size_t i = 0; i < k; i += STEP, to += SIDE * m) {
        __m512 a[SIDE];
        for (size_t r = 0; r < SIDE; r++)
            a[r] = r < m ? narrow_step(rows[r] + i, k - i) : _mm512_setzero_ps();
        if (m == 1) {
            v_store(to, a[0]);
            continue;
        }
        v_transpose(a);
        for (size_t p = 0; p < SIDE; p++) {
            if (m == SIDE)
                v_store(to + p * SIDE, a[p]);
            else
                v_store_part(to + p * m, a[p], m);
        }
    }
}

#endif
