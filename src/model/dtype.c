#include "model/dtype.h"

#include "base/mem.h"
#include "model/quant.h"
#include "model/quantize.h"

#include <string.h>

static const vl2_dtype_traits traits[VL2_DTYPE_COUNT] = {
    [VL2_F32] = {"F32", 1, 4, true, 4},
    [VL2_F16] = {"F16", 1, 2, true, 2},
    [VL2_BF16] = {"BF16", 1, 2, true, 2},
    [VL2_I8] = {"I8", 1, 1, false, 1},
    [VL2_U8] = {"U8", 1, 1, false, 1},
    [VL2_I16] = {"I16", 1, 2, false, 2},
    [VL2_I32] = {"I32", 1, 4, false, 4},
    [VL2_I64] = {"I64", 1, 8, false, 8},
    [VL2_F64] = {"F64", 1, 8, false, 8},
    [VL2_BOOL] = {"BOOL", 1, 1, false, 1},
    [VL2_Q8_0] = {"Q8_0", VL2_QUANT_BLOCK, sizeof(vl2_q8_0), true, 1},
    [VL2_Q4_0] = {"Q4_0", VL2_QUANT_BLOCK, sizeof(vl2_q4_0), true, 1},
    [VL2_Q4_1] = {"Q4_1", VL2_QUANT_BLOCK, sizeof(vl2_q4_1), true, 1},
    [VL2_Q5_0] = {"Q5_0", VL2_QUANT_BLOCK, sizeof(vl2_q5_0), true, 1},
    [VL2_Q5_1] = {"Q5_1", VL2_QUANT_BLOCK, sizeof(vl2_q5_1), true, 1},
    [VL2_IQ4_NL] = {"IQ4_NL", VL2_QUANT_BLOCK, sizeof(vl2_q4_0), true, 1},
    [VL2_Q4_K] = {"Q4_K", VL2_QUANT_SUPER, sizeof(vl2_q4_k), true, 1},
    [VL2_Q5_K] = {"Q5_K", VL2_QUANT_SUPER, sizeof(vl2_q5_k), true, 1},
    [VL2_Q6_K] = {"Q6_K", VL2_QUANT_SUPER, sizeof(vl2_q6_k), true, 1}};

const vl2_dtype_traits *vl2_dtype_of(vl2_dtype type) { return &traits[type]; }

vl2_dtype vl2_dtype_by_name(const char *name, size_t size) {
    for (size_t i = 0; i < VL2_DTYPE_COUNT; i++) {
        if (strlen(traits[i].name) == size && memcmp(traits[i].name, name, size) == 0)
            return (vl2_dtype)i;
    }
    return VL2_DTYPE_COUNT;
}

bool vl2_dtype_row_bytes(size_t *out, vl2_dtype type, size_t n) {
    const vl2_dtype_traits *t = &traits[type];
    return n % t->block == 0 && vl2_mul(out, n / t->block, t->block_bytes);
}

static void f16_row(float *out, const uint16_t *row, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = vl2_f16_to_f32(row[i]);
}

static void bf16_row(float *out, const uint16_t *row, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = vl2_bf16_to_f32(row[i]);
}

void vl2_dtype_to_f32(float *out, const void *row, vl2_dtype type, size_t n) {
    switch (type) {
    case VL2_F32:
        if (n) memcpy(out, row, n * sizeof *out);
        break;
    case VL2_F16: f16_row(out, row, n); break;
    case VL2_BF16: bf16_row(out, row, n); break;
    case VL2_I8:
    case VL2_U8:
    case VL2_I16:
    case VL2_I32:
    case VL2_I64:
    case VL2_F64:
    case VL2_BOOL:
    case VL2_DTYPE_COUNT: break; /* never weights */
    case VL2_Q8_0:
    case VL2_Q4_0:
    case VL2_Q4_1:
    case VL2_Q5_0:
    case VL2_Q5_1:
    case VL2_IQ4_NL:
    case VL2_Q4_K:
    case VL2_Q5_K:
    case VL2_Q6_K: vl2_quant_to_f32(out, row, type, n); break;
    }
}

void vl2_dtype_to_f32_from(float *out, const void *row, vl2_dtype type, size_t first, size_t n) {
    const vl2_dtype_traits *t = &traits[type];
    float block[VL2_QUANT_SUPER];
    for (size_t done = 0; done < n;) {
        size_t at = first + done, into = at % t->block;
        const char *start = (const char *)row + at / t->block * t->block_bytes;
        size_t some = into == 0 ? (n - done) / t->block * t->block : 0;
        if (some > 0) { /* whole blocks */
            vl2_dtype_to_f32(out + done, start, type, some);
        } else {
            some = t->block - into < n - done ? t->block - into : n - done;
            vl2_dtype_to_f32(block, start, type, t->block);
            memcpy(out + done, block + into, some * sizeof *out);
        }
        done += some;
    }
}

void vl2_dtype_from_f32(void *row, const float *x, vl2_dtype type, size_t n) {
    uint16_t *bits = row;
    if (type == VL2_F32 && n) memcpy(row, x, n * sizeof *x);
    for (size_t i = 0; type == VL2_F16 && i < n; i++) bits[i] = vl2_f32_to_f16(x[i]);
    for (size_t i = 0; type == VL2_BF16 && i < n; i++) bits[i] = vl2_f32_to_bf16(x[i]);
    if (vl2_dtype_is_quantized(type)) vl2_quantize_row(row, x, NULL, type, n);
}

typedef union bits {
    uint32_t u;
    float f;
} bits;

float vl2_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    bits v = {.u = rest << 13};
    if (rest >= 0x7c00u)
        v.u += (255u - 31u) << 23; /* infinite, NaN */
    else if (rest >= 0x0400u)
        v.u += (127u - 15u) << 23;
    else
        v.f = (float)rest * 0x1p-24f; /* subnormal: exact */
    v.u |= sign;
    return v.f;
}

uint16_t vl2_f32_to_f16(float x) {
    bits v = {.f = x};
    uint32_t sign = v.u >> 16 & 0x8000u;
    v.u &= 0x7fffffffu;
    if (v.u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (v.u >> 13 & 0x3ffu));
    if (v.u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds past 65504 */
    if (v.u < 0x38800000u) { /* below 2^-14: the sum's last bit is worth 2^-24, so it rounds */
        v.f += 0.5f;
        return (uint16_t)(sign | (v.u - 0x3f000000u));
    }
    uint32_t odd = v.u >> 13 & 1u;
    v.u = v.u - ((127u - 15u) << 23) + 0xfffu + odd;
    return (uint16_t)(sign | v.u >> 13);
}
