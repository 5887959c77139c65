#include "model/quant.h"

const int8_t vl2_quant_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};

/* Bit i of the four bytes at qh, as the fifth bit of a number. */
static int fifth(const uint8_t qh[4], int i) { return (qh[i / 8] >> i % 8 & 1) << 4; }

static void q8_0(float *out, const vl2_q8_0 *b) {
    float d = vl2_quant_half(b->d);
    for (int i = 0; i < 32; i++) out[i] = d * (float)b->q[i];
}

static void q4_0(float *out, const vl2_q4_0 *b) {
    float d = vl2_quant_half(b->d);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((b->qs[i] & 15) - 8);
        out[i + 16] = d * (float)((b->qs[i] >> 4) - 8);
    }
}

static void iq4_nl(float *out, const vl2_q4_0 *b) {
    float d = vl2_quant_half(b->d);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)vl2_quant_nl[b->qs[i] & 15];
        out[i + 16] = d * (float)vl2_quant_nl[b->qs[i] >> 4];
    }
}

static void q4_1(float *out, const vl2_q4_1 *b) {
    float d = vl2_quant_half(b->d), m = vl2_quant_half(b->m);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(b->qs[i] & 15) + m;
        out[i + 16] = d * (float)(b->qs[i] >> 4) + m;
    }
}

static void q5_0(float *out, const vl2_q5_0 *b) {
    float d = vl2_quant_half(b->d);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(((b->qs[i] & 15) | fifth(b->qh, i)) - 16);
        out[i + 16] = d * (float)((b->qs[i] >> 4 | fifth(b->qh, i + 16)) - 16);
    }
}

static void q5_1(float *out, const vl2_q5_1 *b) {
    float d = vl2_quant_half(b->d), m = vl2_quant_half(b->m);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((b->qs[i] & 15) | fifth(b->qh, i)) + m;
        out[i + 16] = d * (float)(b->qs[i] >> 4 | fifth(b->qh, i + 16)) + m;
    }
}

static void q4_k(float *out, const vl2_q4_k *b) {
    float d = vl2_quant_half(b->d), dmin = vl2_quant_half(b->dmin);
    uint8_t scale[8], min[8];
    vl2_quant_scales(scale, min, b->scales);
    for (int j = 0; j < VL2_QUANT_SUBS; j++) {
        float s = d * (float)scale[j], m = dmin * (float)min[j];
        for (int i = 0; i < 32; i++)
            out[32 * j + i] = s * (float)(b->qs[j / 2 * 32 + i] >> j % 2 * 4 & 15) - m;
    }
}

static void q5_k(float *out, const vl2_q5_k *b) {
    float d = vl2_quant_half(b->d), dmin = vl2_quant_half(b->dmin);
    uint8_t scale[8], min[8];
    vl2_quant_scales(scale, min, b->scales);
    for (int j = 0; j < VL2_QUANT_SUBS; j++) {
        float s = d * (float)scale[j], m = dmin * (float)min[j];
        for (int i = 0; i < 32; i++) {
            int low = b->qs[j / 2 * 32 + i] >> j % 2 * 4 & 15, high = (b->qh[i] >> j & 1) << 4;
            out[32 * j + i] = s * (float)(low | high) - m;
        }
    }
}

static void q6_k(float *out, const vl2_q6_k *b) {
    float d = vl2_quant_half(b->d);
    for (int i = 0; i < VL2_QUANT_SUPER; i++) {
        int half = i / 128, run = i / 32 % 4, at = i % 32;
        int low = b->ql[64 * half + run % 2 * 32 + at] >> run / 2 * 4 & 15;
        int high = (b->qh[32 * half + at] >> 2 * run & 3) << 4;
        out[i] = d * (float)b->scales[i / 16] * (float)((low | high) - 32);
    }
}

#define BLOCKS(name, type, size)                                                                   \
    for (size_t i = 0; i < n / (size); i++) name(out + i * (size), (const type *)row + i)

void vl2_quant_to_f32(float *out, const void *row, vl2_dtype type, size_t n) {
    if (type == VL2_Q8_0) BLOCKS(q8_0, vl2_q8_0, 32);
    if (type == VL2_Q4_0) BLOCKS(q4_0, vl2_q4_0, 32);
    if (type == VL2_IQ4_NL) BLOCKS(iq4_nl, vl2_q4_0, 32);
    if (type == VL2_Q4_1) BLOCKS(q4_1, vl2_q4_1, 32);
    if (type == VL2_Q5_0) BLOCKS(q5_0, vl2_q5_0, 32);
    if (type == VL2_Q5_1) BLOCKS(q5_1, vl2_q5_1, 32);
    if (type == VL2_Q4_K) BLOCKS(q4_k, vl2_q4_k, VL2_QUANT_SUPER);
    if (type == VL2_Q5_K) BLOCKS(q5_k, vl2_q5_k, VL2_QUANT_SUPER);
    if (type == VL2_Q6_K) BLOCKS(q6_k, vl2_q6_k, VL2_QUANT_SUPER);
}
