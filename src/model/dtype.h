/* model/dtype.h - number formats of weights, and the matrix that stages and backends pass around. */
#ifndef VL2_MODEL_DTYPE_H
#define VL2_MODEL_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum vl2_dtype { /* all that a file's tensor can be */
                         VL2_F32,
                         VL2_F16,
                         VL2_BF16,
                         VL2_I8,
                         VL2_U8,
                         VL2_I16,
                         VL2_I32,
                         VL2_I64,
                         VL2_F64,
                         VL2_BOOL,
                         VL2_Q8_0, /* GGUF's quantized blocks, from here on: model/quant.h */
                         VL2_Q4_0,
                         VL2_Q4_1,
                         VL2_Q5_0,
                         VL2_Q5_1,
                         VL2_IQ4_NL,
                         VL2_Q4_K,
                         VL2_Q5_K,
                         VL2_Q6_K,
                         VL2_DTYPE_COUNT
} vl2_dtype;

typedef struct vl2_dtype_traits {
    const char *name; /* as safetensors or GGUF writes it: "BF16", "Q4_K" */
    size_t block;     /* elements of a block, 1 for plain types */
    size_t block_bytes;
    bool is_weight; /* can stand in a vl2_mat */
    size_t align;   /* bytes: what readers of the type rely on */
} vl2_dtype_traits;

const vl2_dtype_traits *vl2_dtype_of(vl2_dtype type);
/* VL2_DTYPE_COUNT for an unknown name. */
vl2_dtype vl2_dtype_by_name(const char *name, size_t size);
/* VL2_DTYPE_COUNT counts as quantized, too. */
static inline bool vl2_dtype_is_quantized(vl2_dtype type) { return type >= VL2_Q8_0; }
/* Bytes of a row of n elements; false on overflow or when the block does not divide n. */
bool vl2_dtype_row_bytes(size_t *out, vl2_dtype type, size_t n);
/* out[i] = element i of a row of weights, as f32 (exact for all plain types); n in whole blocks. */
void vl2_dtype_to_f32(float *out, const void *row, vl2_dtype type, size_t n);
/* The same for elements [first, first + n) of a row, wherever blocks begin. */
void vl2_dtype_to_f32_from(float *out, const void *row, vl2_dtype type, size_t first, size_t n);
/* A row of n floats as `type`, a weight's: rounded to nearest, or by model/quantize.h's search. */
void vl2_dtype_from_f32(void *row, const float *x, vl2_dtype type, size_t n);

/* A weight matrix [rows = outputs, cols = inputs]: rows `stride` bytes apart. Memory belongs to the
 * mapping; data may be aligned to its element only. */
typedef struct vl2_mat {
    const void *data; /* NULL: absent */
    vl2_dtype type;
    size_t rows, cols;
    size_t stride;
} vl2_mat;

/* A small vector, widened to float32 when it was bound (norms, biases). */
typedef struct vl2_vec {
    const float *data; /* NULL: absent */
    size_t size;
} vl2_vec;

static inline float vl2_bf16_to_f32(uint16_t bits) {
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)bits << 16};
    return v.f;
}
/* Round to nearest even; NaN stays NaN. */
static inline uint16_t vl2_f32_to_bf16(float x) {
    union {
        float f;
        uint32_t u;
    } v = {x};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((v.u >> 16) | 0x40u);
    return (uint16_t)((v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16);
}
float vl2_f16_to_f32(uint16_t bits);
uint16_t vl2_f32_to_f16(float x);

#endif
