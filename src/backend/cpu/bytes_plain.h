/* backend/cpu/bytes_plain.h - a row packed as bytes.h says, in plain C: for levels without their own. */
#ifndef VL2_BACKEND_CPU_BYTES_PLAIN_H
#define VL2_BACKEND_CPU_BYTES_PLAIN_H

#include "backend/cpu/bytes.h"

#include <math.h>
#include <string.h>

static inline bool vl2_bytes_pack_plain(void *out, vl2_bytes_row *row, float *rest, const float *x,
                                        size_t k) {
    uint8_t *q = out;
    float least = 0.0f, greatest = 0.0f, inverse;
    uint32_t bits = 0;
    uint64_t squares = 0;
    for (size_t i = 0; i < k; i++) {
        uint32_t size;
        memcpy(&size, &x[i], sizeof size);
        size &= 0x7fffffffu;
        bits = size > bits ? size : bits;
        least = x[i] < least ? x[i] : least;
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    const bool some = vl2_bytes_scale(&row->d, &inverse, least, greatest, bits);
    row->zero = some ? (int32_t)lrintf(-least * inverse) : 0;
    memset(q, row->zero, vl2_bytes_up(k, VL2_BYTES_STEP));
    if (!some) return false;
    for (size_t i = 0; i < k; i++) {
        int32_t whole = (int32_t)lrintf(x[i] * inverse) + row->zero;
        whole = whole < 0 ? 0 : whole > 255 ? 255 : whole;
        q[i] = (uint8_t)whole;
        squares += (uint64_t)((whole - row->zero) * (whole - row->zero));
        rest[i] = x[i] - row->d * (float)(whole - row->zero);
    }
    return vl2_bytes_is_sparse(squares, k);
}

#endif
