#include "model/quantize.h"

#include "model/quantize_levels.h"

bool vl2_quantize_can(vl2_dtype type) {
    return vl2_dtype_is_quantized(type) && type != VL2_Q4_1 && type != VL2_Q5_1;
}

void vl2_quantize_row(void *row, const float *x, const float *w, vl2_dtype type, size_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        vl2_quantize_avx2_row(row, x, w, type, n);
        return;
    }
#endif
    vl2_quantize_plain_row(row, x, w, type, n);
}
