/* backend/cpu/qunits.h - a unit of quantized weights taken apart: whole numbers and their scales.
 *
 * Inlined into plain C and NEON, whose compilers make vectors of these loops; x86's kernels take blocks
 * apart by themselves. */
#ifndef VL2_BACKEND_CPU_QUNITS_H
#define VL2_BACKEND_CPU_QUNITS_H

#include "backend/cpu/qdot.h"
#include "backend/cpu/unroll.h"

#include <string.h>

typedef struct vl2_qunit {
    _Alignas(64) uint8_t q[VL2_QUNIT_MAX];
    int16_t scale[16], min[16]; /* of 16 elements; blocks of 32 have none */
    float d, m;
} vl2_qunit;

/* How a type's q are meant: value = d * scale * (q - offset) + m * min. */
typedef struct vl2_qkind {
    int unit, offset;
    bool has_min;
    size_t bytes; /* of a unit in the file */
    void (*unpack)(vl2_qunit *u, const void *block);
} vl2_qkind;

/* Emulated they are slow in any case: compiled once for all types, or compilers take minutes. */
#if defined(VL2_EMULATE_AVX512)
#define VL2_QINLINE static __attribute__((unused, noinline))
#else
#define VL2_QINLINE static inline __attribute__((always_inline))
#endif

/* Bits of a weight as the file has it, without its part of the scales. */
VL2_QINLINE int vl2_qkind_bits(const vl2_qkind kind) {
    const int scales = kind.unit == VL2_QUANT_SUPER ? 16 : kind.has_min ? 4 : 2;
    return ((int)kind.bytes - scales) * 8 / kind.unit;
}
/* IQ4_NL: nibbles choose among vl2_quant_nl. */
VL2_QINLINE bool vl2_qkind_is_curved(const vl2_qkind kind) {
    return kind.offset == 128 && vl2_qkind_bits(kind) == 4;
}

/* Some rows of weights side by side, an output in each lane of a vector. */
typedef struct vl2_qlanes {
    const char *row[VL2_QPANEL];
    const char *next;           /* the rows behind them */
    int32_t offset[VL2_QPANEL]; /* from row[0], bytes */
} vl2_qlanes;

/* Branch by branch and inline; not by F16C, which stops at each subnormal half for an assist. */
VL2_QINLINE float vl2_qunit_half(const uint8_t bytes[2]) {
    const uint32_t half = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8, rest = half & 0x7fffu;
    uint32_t bits = (rest << 13) + (112u << 23) + (rest >= 0x7c00u ? 112u << 23 : 0);
    const float small = (float)(int32_t)rest * 0x1p-24f;
    if (rest < 0x400u) memcpy(&bits, &small, sizeof bits);
    bits |= (half & 0x8000u) << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

VL2_QINLINE void vl2_qunit_nibbles(uint8_t q[32], const uint8_t qs[16]) {
    for (int i = 0; i < 16; i++) q[i] = qs[i] & 15;
    for (int i = 0; i < 16; i++) q[i + 16] = qs[i] >> 4;
}

VL2_QINLINE void vl2_qunit_fifths(uint8_t q[32], const uint8_t qh[4]) {
    uint32_t bits =
        (uint32_t)qh[0] | (uint32_t)qh[1] << 8 | (uint32_t)qh[2] << 16 | (uint32_t)qh[3] << 24;
    for (int i = 0; i < 32; i++) q[i] |= (uint8_t)((bits >> i & 1) << 4);
}

VL2_QINLINE void vl2_qunit_q8_0(vl2_qunit *u, const void *block) {
    const vl2_q8_0 *b = block;
    u->d = vl2_qunit_half(b->d);
    for (int i = 0; i < 32; i++) u->q[i] = (uint8_t)b->q[i] ^ 0x80;
}

VL2_QINLINE void vl2_qunit_q4_0(vl2_qunit *u, const void *block) {
    const vl2_q4_0 *b = block;
    u->d = vl2_qunit_half(b->d);
    vl2_qunit_nibbles(u->q, b->qs);
}

VL2_QINLINE void vl2_qunit_iq4_nl(vl2_qunit *u, const void *block) {
    vl2_qunit_q4_0(u, block);
    for (int i = 0; i < 32; i++) u->q[i] = (uint8_t)(vl2_quant_nl[u->q[i]] + 128);
}

VL2_QINLINE void vl2_qunit_q4_1(vl2_qunit *u, const void *block) {
    const vl2_q4_1 *b = block;
    u->d = vl2_qunit_half(b->d);
    u->m = vl2_qunit_half(b->m);
    vl2_qunit_nibbles(u->q, b->qs);
}

VL2_QINLINE void vl2_qunit_q5_0(vl2_qunit *u, const void *block) {
    const vl2_q5_0 *b = block;
    u->d = vl2_qunit_half(b->d);
    vl2_qunit_nibbles(u->q, b->qs);
    vl2_qunit_fifths(u->q, b->qh);
}

VL2_QINLINE void vl2_qunit_q5_1(vl2_qunit *u, const void *block) {
    const vl2_q5_1 *b = block;
    u->d = vl2_qunit_half(b->d);
    u->m = vl2_qunit_half(b->m);
    vl2_qunit_nibbles(u->q, b->qs);
    vl2_qunit_fifths(u->q, b->qh);
}

VL2_QINLINE void vl2_qunit_affine(vl2_qunit *u, const uint8_t d[2], const uint8_t dmin[2],
                                  const uint8_t packed[12]) {
    uint8_t scale[8], min[8];
    vl2_quant_scales(scale, min, packed);
    for (int j = 0; j < 16; j++) {
        u->scale[j] = scale[j / 2];
        u->min[j] = min[j / 2];
    }
    u->d = vl2_qunit_half(d);
    u->m = -vl2_qunit_half(dmin);
}

VL2_QINLINE void vl2_qunit_q4_k(vl2_qunit *u, const void *block) {
    const vl2_q4_k *b = block;
    vl2_qunit_affine(u, b->d, b->dmin, b->scales);
    for (int g = 0; g < 4; g++) {
        for (int i = 0; i < 32; i++) u->q[64 * g + i] = b->qs[32 * g + i] & 15;
        for (int i = 0; i < 32; i++) u->q[64 * g + 32 + i] = b->qs[32 * g + i] >> 4;
    }
}

VL2_QINLINE void vl2_qunit_q5_k(vl2_qunit *u, const void *block) {
    const vl2_q5_k *b = block;
    vl2_qunit_affine(u, b->d, b->dmin, b->scales);
    for (int g = 0; g < 4; g++) {
        for (int i = 0; i < 32; i++) {
            u->q[64 * g + i] = (uint8_t)((b->qs[32 * g + i] & 15) | (b->qh[i] >> 2 * g & 1) << 4);
            u->q[64 * g + 32 + i] =
                (uint8_t)(b->qs[32 * g + i] >> 4 | (b->qh[i] >> (2 * g + 1) & 1) << 4);
        }
    }
}

VL2_QINLINE void vl2_qunit_q6_k(vl2_qunit *u, const void *block) {
    const vl2_q6_k *b = block;
    for (int h = 0; h < 2; h++) {
        uint8_t *q = u->q + 128 * h;
        const uint8_t *ql = b->ql + 64 * h, *qh = b->qh + 32 * h;
        for (int i = 0; i < 32; i++) {
            q[i] = (uint8_t)((ql[i] & 15) | (qh[i] & 3) << 4);
            q[i + 32] = (uint8_t)((ql[i + 32] & 15) | (qh[i] >> 2 & 3) << 4);
            q[i + 64] = (uint8_t)(ql[i] >> 4 | (qh[i] >> 4 & 3) << 4);
            q[i + 96] = (uint8_t)(ql[i + 32] >> 4 | (qh[i] >> 6) << 4);
        }
    }
    for (int j = 0; j < 16; j++) u->scale[j] = b->scales[j];
    u->d = vl2_qunit_half(b->d);
    u->m = 0;
}

/* A line a type: X(enum, name, unit, offset, has_min, struct). */
#define VL2_QKINDS_32(X)                                                                           \
    X(VL2_Q8_0, q8_0, 32, 128, false, vl2_q8_0)                                                    \
    X(VL2_Q4_0, q4_0, 32, 8, false, vl2_q4_0)                                                      \
    X(VL2_Q4_1, q4_1, 32, 0, true, vl2_q4_1)                                                       \
    X(VL2_Q5_0, q5_0, 32, 16, false, vl2_q5_0)                                                     \
    X(VL2_Q5_1, q5_1, 32, 0, true, vl2_q5_1)                                                       \
    X(VL2_IQ4_NL, iq4_nl, 32, 128, false, vl2_q4_0)
#define VL2_QKINDS_K(X)                                                                            \
    X(VL2_Q4_K, q4_k, 256, 0, true, vl2_q4_k)                                                      \
    X(VL2_Q5_K, q5_k, 256, 0, true, vl2_q5_k)                                                      \
    X(VL2_Q6_K, q6_k, 256, 32, false, vl2_q6_k)
#define VL2_QKINDS(X) VL2_QKINDS_32(X) VL2_QKINDS_K(X)

/* t of qdot.h, from a unit's two integers. */
VL2_QINLINE float vl2_qunit_term(float d, float m, float dx, int32_t a, int32_t b, bool has_min) {
    float t = (d * dx) * (float)a;
    return has_min ? t + (m * dx) * (float)b : t;
}

#endif
