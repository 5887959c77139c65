/* A GGUF file's head: keys and tensor infos, in the order in which they are added. */
#include "base/mem.h"
#include "model/gguf_write.h"

#include <string.h>

static vl2_status put(vl2_buf *to, uint64_t value, size_t width, vl2_error *err) {
    uint8_t bytes[8];
    for (size_t i = 0; i < width; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    return vl2_buf_add(to, bytes, width, err);
}

static vl2_status put_text(vl2_buf *to, const char *text, size_t size, vl2_error *err) {
    VL2_TRY(put(to, size, 8, err));
    return vl2_buf_add(to, text, size, err);
}

static vl2_status put_key(vl2_gguf_out *out, const char *key, vl2_gguf_type type, vl2_error *err) {
    VL2_TRY(put_text(&out->keys, key, strlen(key), err));
    VL2_TRY(put(&out->keys, type, 4, err));
    out->n_keys++;
    return VL2_OK;
}

vl2_status vl2_gguf_add_u32(vl2_gguf_out *out, const char *key, uint32_t value, vl2_error *err) {
    VL2_TRY(put_key(out, key, VL2_GGUF_U32, err));
    return put(&out->keys, value, 4, err);
}

vl2_status vl2_gguf_add_f32(vl2_gguf_out *out, const char *key, float value, vl2_error *err) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    VL2_TRY(put_key(out, key, VL2_GGUF_F32, err));
    return put(&out->keys, bits, 4, err);
}

vl2_status vl2_gguf_add_bool(vl2_gguf_out *out, const char *key, bool value, vl2_error *err) {
    VL2_TRY(put_key(out, key, VL2_GGUF_BOOL, err));
    return put(&out->keys, value, 1, err);
}

vl2_status vl2_gguf_add_text(vl2_gguf_out *out, const char *key, const char *text, size_t size,
                             vl2_error *err) {
    VL2_TRY(put_key(out, key, VL2_GGUF_TEXT, err));
    return put_text(&out->keys, text, size, err);
}

vl2_status vl2_gguf_add_array(vl2_gguf_out *out, const char *key, vl2_gguf_type type, size_t n,
                              vl2_error *err) {
    VL2_TRY(put_key(out, key, VL2_GGUF_ARRAY, err));
    VL2_TRY(put(&out->keys, type, 4, err));
    return put(&out->keys, n, 8, err);
}

vl2_status vl2_gguf_add_element(vl2_gguf_out *out, const char *text, size_t size, vl2_error *err) {
    return put_text(&out->keys, text, size, err);
}

/* ggml's number of a type that can be written. */
static uint32_t type_number(vl2_dtype type) {
    static const uint8_t numbers[VL2_DTYPE_COUNT] = {
        [VL2_F16] = 1,     [VL2_BF16] = 30, [VL2_I8] = 24,   [VL2_I16] = 25,
        [VL2_I32] = 26,    [VL2_I64] = 27,  [VL2_F64] = 28,  [VL2_Q8_0] = 8,
        [VL2_Q4_0] = 2,    [VL2_Q4_1] = 3,  [VL2_Q5_0] = 6,  [VL2_Q5_1] = 7,
        [VL2_IQ4_NL] = 20, [VL2_Q4_K] = 12, [VL2_Q5_K] = 13, [VL2_Q6_K] = 14};
    return numbers[type];
}

size_t vl2_gguf_padding(uint64_t bytes) {
    return (size_t)((VL2_GGUF_ALIGN - bytes % VL2_GGUF_ALIGN) % VL2_GGUF_ALIGN);
}

vl2_status vl2_gguf_add_tensor(vl2_gguf_out *out, const char *name, vl2_dtype type,
                               const size_t *shape, size_t rank, size_t bytes, vl2_error *err) {
    vl2_buf *to = &out->infos;
    VL2_TRY(put_text(to, name, strlen(name), err));
    VL2_TRY(put(to, rank, 4, err));
    for (size_t i = rank; i > 0; i--) VL2_TRY(put(to, shape[i - 1], 8, err));
    VL2_TRY(put(to, type_number(type), 4, err));
    VL2_TRY(put(to, out->data, 8, err));
    out->data += bytes + vl2_gguf_padding(bytes);
    out->n_tensors++;
    return VL2_OK;
}

vl2_status vl2_gguf_head(vl2_buf *head, const vl2_gguf_out *out, vl2_error *err) {
    static const uint8_t zeros[VL2_GGUF_ALIGN] = {0};
    VL2_TRY(vl2_buf_add(head, "GGUF", 4, err));
    VL2_TRY(put(head, 3, 4, err));
    VL2_TRY(put(head, out->n_tensors, 8, err));
    VL2_TRY(put(head, out->n_keys, 8, err));
    VL2_TRY(vl2_buf_add(head, out->keys.data, out->keys.size, err));
    VL2_TRY(vl2_buf_add(head, out->infos.data, out->infos.size, err));
    return vl2_buf_add(head, zeros, vl2_gguf_padding(head->size), err);
}

void vl2_gguf_out_free(vl2_gguf_out *out) {
    vl2_buf_free(&out->keys);
    vl2_buf_free(&out->infos);
    *out = (vl2_gguf_out){0};
}
