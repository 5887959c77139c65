/* backend/cpu/x86/bytes_rows.h - a row packed as bytes.h says, in vectors. Before it stand a vec_*.h and
 *
 *     vi, vi_set, vi_add, vi_sub, vi_max, vi_min, vi_abs, vi_madd, vi_and      of 32-bit numbers (madd: of 16)
 *     vi b_bits(vf), vi b_whole(vf), vf b_float(vi)     as they are; to nearest even; and back
 *     uint32_t b_top(vi), uint64_t b_total(vi)          the greatest lane; the sum of lanes
 *     void b_put(void *out, size_t i, vi q, vi zero)    elements i … of a packed row */
#ifndef VL2_BACKEND_CPU_X86_BYTES_ROWS_H
#define VL2_BACKEND_CPU_X86_BYTES_ROWS_H

#include "backend/cpu/kernels.h"

#include <math.h>

/* VL elements from i on; zeros behind the row. */
static inline vf b_load(const float *x, size_t i, size_t k) {
    if (i + VL <= k) return v_load(x + i);
    return i < k ? v_load_part(x + i, k - i) : v_set(0.0f);
}

static inline bool b_range(vl2_bytes_row *row, float *inverse, const float *x, size_t k) {
    vf least = v_set(0.0f), greatest = v_set(0.0f);
    vi bits = vi_set(0);
    for (size_t i = 0; i < k; i += VL) {
        const vf v = b_load(x, i, k);
        bits = vi_max(bits, vi_and(b_bits(v), vi_set(0x7fffffff)));
        least = v_min(v, least);
        greatest = v_max(v, greatest);
    }
    const float low = -v_greatest(v_sub(v_set(0.0f), least));
    const bool some = vl2_bytes_scale(&row->d, inverse, low, v_greatest(greatest), b_top(bits));
    row->zero = some ? (int32_t)lrintf(-low * *inverse) : 0;
    return some;
}

static bool b_pack(void *out, vl2_bytes_row *row, float *rest, const float *x, size_t k) {
    float scale;
    const bool some = b_range(row, &scale, x, k);
    const vi zero = vi_set(row->zero);
    const vf inverse = v_set(scale), d = v_set(row->d);
    vi squares = vi_set(0);
    for (size_t i = 0; i < vl2_bytes_up(k, VL2_BYTES_STEP); i += VL) {
        const vf v = b_load(x, i, some ? k : 0);
        const vi q =
            vi_min(vi_max(vi_add(b_whole(v_mul(v, inverse)), zero), vi_set(0)), vi_set(255));
        const vi steps = vi_sub(q, zero);
        const vf left = v_sub(v, v_mul(d, b_float(steps)));
        squares = vi_add(squares, vi_madd(vi_abs(steps), vi_abs(steps)));
        b_put(out, i, q, zero);
        if (i + VL <= k)
            v_store(rest + i, left);
        else if (i < k)
            v_store_part(rest + i, left, k - i);
    }
    return some && vl2_bytes_is_sparse(b_total(squares), k);
}

#endif
