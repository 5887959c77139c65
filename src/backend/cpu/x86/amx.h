/* backend/cpu/x86/amx.h - AMX tiles; or, for tests on machines without them, the same in plain C.
 *
 * Eight tiles of up to 16 rows of 64 bytes. Every use is a statement that the compiler may not move
 * memory accesses across (its own intrinsics say nothing of the memory that they read and write).
 * vl2_tile_config is set before and released after, within a kernel. */
#ifndef VL2_BACKEND_CPU_X86_AMX_H
#define VL2_BACKEND_CPU_X86_AMX_H

#include "model/dtype.h"

#include <string.h>

enum { TILE_LINE = 64, TILE_COUNT = 8 };

typedef struct vl2_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; /* of a row */
    uint8_t rows[16];
} vl2_tile_config;

static inline void tile_shape(vl2_tile_config *c, int tile, size_t rows, size_t bytes) {
    c->rows[tile] = (uint8_t)rows;
    c->bytes[tile] = (uint16_t)bytes;
}

#if !defined(VL2_EMULATE_AVX512)
#define TILE_CONFIG(c) __asm__ volatile("ldtilecfg %0" ::"m"(*(c)) : "memory")
#define TILE_RELEASE() __asm__ volatile("tilerelease" ::: "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::: "memory")
#define TILE_LOAD(t, p, stride)                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"((const void *)(p)),                     \
                     "r"((size_t)(stride))                                                         \
                     : "memory")
#define TILE_STORE(t, p, stride)                                                                   \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"((void *)(p)), "r"((size_t)(stride)) \
                     : "memory")
/* c += a b over pairs of bf16: c [rows of a, columns of b] */
#define TILE_DOT(c, a, b)                                                                          \
    __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")
/* The same over fours of bytes, as whole numbers: both signed, or those of a not. */
#define TILE_DOT_SIGNED(c, a, b)                                                                   \
    __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")
#define TILE_DOT_UNSIGNED(c, a, b)                                                                 \
    __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")
#else
static _Thread_local struct {
    vl2_tile_config config;
    unsigned char data[TILE_COUNT][16][TILE_LINE];
} emulated;

static inline float emulated_flush(float x) {
    return x > -1.17549435e-38f && x < 1.17549435e-38f ? 0.0f : x;
}
static inline void emulated_load_tile(int t, const void *p, size_t stride) {
    for (size_t r = 0; r < emulated.config.rows[t]; r++)
        memcpy(emulated.data[t][r], (const char *)p + r * stride, emulated.config.bytes[t]);
}
static inline void emulated_store_tile(int t, void *p, size_t stride) {
    for (size_t r = 0; r < emulated.config.rows[t]; r++)
        memcpy((char *)p + r * stride, emulated.data[t][r], emulated.config.bytes[t]);
}
/* Even and odd elements have a sum of their own, from zero; denormals count as zeros. */
static inline float emulated_sum(const unsigned char *a, int b, size_t column, size_t pairs) {
    float sum[2] = {0.0f, 0.0f};
    for (size_t k = 0; k < pairs; k++)
        for (size_t i = 0; i < 2; i++) {
            uint16_t x, y;
            memcpy(&x, a + 4 * k + 2 * i, sizeof x);
            memcpy(&y, emulated.data[b][k] + 4 * column + 2 * i, sizeof y);
            float product = emulated_flush(vl2_bf16_to_f32(x)) * emulated_flush(vl2_bf16_to_f32(y));
            sum[i] =
                emulated_flush(sum[i] + product); /* exact: a product of two bf16 has 16 bits */
        }
    return emulated_flush(sum[0] + sum[1]);
}
static inline void emulated_dot(int c, int a, int b) {
    for (size_t r = 0; r < emulated.config.rows[a]; r++)
        for (size_t j = 0; j < emulated.config.bytes[b] / 4u; j++) {
            float old;
            memcpy(&old, emulated.data[c][r] + 4 * j, sizeof old);
            old = emulated_flush(
                old + emulated_sum(emulated.data[a][r], b, j, emulated.config.bytes[a] / 4u));
            memcpy(emulated.data[c][r] + 4 * j, &old, sizeof old);
        }
}
static inline void emulated_dot_bytes(int c, int a, int b, bool is_signed) {
    for (size_t r = 0; r < emulated.config.rows[a]; r++)
        for (size_t j = 0; j < emulated.config.bytes[b] / 4u; j++) {
            int32_t sum;
            memcpy(&sum, emulated.data[c][r] + 4 * j, sizeof sum);
            for (size_t k = 0; k < emulated.config.bytes[a]; k++) {
                const int x = emulated.data[a][r][k];
                sum += (is_signed ? (int8_t)x : x) * (int8_t)emulated.data[b][k / 4][4 * j + k % 4];
            }
            memcpy(emulated.data[c][r] + 4 * j, &sum, sizeof sum);
        }
}
#define TILE_CONFIG(c) (emulated.config = *(c))
#define TILE_RELEASE() memset(&emulated.config, 0, sizeof emulated.config)
#define TILE_ZERO(t) memset(emulated.data[t], 0, sizeof emulated.data[t])
#define TILE_LOAD(t, p, stride) emulated_load_tile(t, p, stride)
#define TILE_STORE(t, p, stride) emulated_store_tile(t, p, stride)
#define TILE_DOT(c, a, b) emulated_dot(c, a, b)
#define TILE_DOT_SIGNED(c, a, b) emulated_dot_bytes(c, a, b, true)
#define TILE_DOT_UNSIGNED(c, a, b) emulated_dot_bytes(c, a, b, false)
#endif

#endif
