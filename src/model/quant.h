/* model/quant.h - the quantized blocks of GGUF files, byte for byte as they are stored.
 *
 * A row of a matrix is a run of blocks. Two families: blocks of 32 elements with a scale of their
 * own (and, in the _1 types, a least value), and super-blocks of 256 ("_K") whose 8 or 16 sub-blocks
 * have small whole-number scales. Numbers d and m are float16, little-endian; all members are bytes,
 * so a block may stand at any address. docs/QUANTIZATION.md tells what each type costs and keeps. */
#ifndef VL2_MODEL_QUANT_H
#define VL2_MODEL_QUANT_H

#include "model/dtype.h"

enum {
    VL2_QUANT_BLOCK = 32,
    VL2_QUANT_SUPER = 256,
    VL2_QUANT_SUBS = VL2_QUANT_SUPER / 32 /* sub-blocks of Q4_K and Q5_K */
};

typedef struct vl2_q8_0 { /* d * q */
    uint8_t d[2];
    int8_t q[32];
} vl2_q8_0;

/* Nibbles: element i < 16 is the low half of qs[i], element 16 + i the high one. */
typedef struct vl2_q4_0 { /* d * (q - 8); IQ4_NL: d * vl2_quant_nl[q] */
    uint8_t d[2];
    uint8_t qs[16];
} vl2_q4_0;

typedef struct vl2_q4_1 { /* d * q + m */
    uint8_t d[2], m[2];
    uint8_t qs[16];
} vl2_q4_1;

typedef struct vl2_q5_0 { /* d * (q - 16); bit i of qh is element i's fifth */
    uint8_t d[2];
    uint8_t qh[4];
    uint8_t qs[16];
} vl2_q5_0;

typedef struct vl2_q5_1 { /* d * q + m */
    uint8_t d[2], m[2];
    uint8_t qh[4];
    uint8_t qs[16];
} vl2_q5_1;

/* Sub-block j of 32 has a 6-bit scale and least value: d * scale_j * q - dmin * min_j. Of the 64
 * elements 64g …, the low nibbles of qs[32g …] are the first 32, the high ones the others. */
typedef struct vl2_q4_k {
    uint8_t d[2], dmin[2];
    uint8_t scales[12]; /* vl2_quant_scales */
    uint8_t qs[128];
} vl2_q4_k;

typedef struct vl2_q5_k { /* bit j of qh[i] is the fifth of element i of sub-block j */
    uint8_t d[2], dmin[2];
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} vl2_q5_k;

/* Sub-block j of 16 has an 8-bit scale: d * scale_j * (q - 32). Each half of 128 elements is four
 * runs of 32: the low nibbles of ql[0…32) and ql[32…64), then their high nibbles; run r's upper two
 * bits are bits 2r and 2r+1 of qh. */
typedef struct vl2_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint8_t d[2];
} vl2_q6_k;

extern const int8_t vl2_quant_nl[16]; /* IQ4_NL's values, ascending */

static inline float vl2_quant_half(const uint8_t bytes[2]) {
    return vl2_f16_to_f32((uint16_t)(bytes[0] | bytes[1] << 8));
}
static inline void vl2_quant_set_half(uint8_t bytes[2], float x) {
    uint16_t bits = vl2_f32_to_f16(x);
    bytes[0] = (uint8_t)bits;
    bytes[1] = (uint8_t)(bits >> 8);
}

/* The 6-bit scales and least values of Q4_K and Q5_K: 0…3 in the low bits of bytes 0…3 and 4…7; of
 * 4…7 the low nibbles in bytes 8…11, their upper two bits above those of 0…3. */
static inline void vl2_quant_scales(uint8_t scale[8], uint8_t min[8], const uint8_t packed[12]) {
    for (int j = 0; j < 4; j++) {
        scale[j] = packed[j] & 63;
        min[j] = packed[j + 4] & 63;
        scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        min[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

/* out[0…n) = a row of blocks, n in whole blocks. */
void vl2_quant_to_f32(float *out, const void *row, vl2_dtype type, size_t n);

#endif
