/* model/gguf_write.h - the head of a GGUF file, key by key and tensor by tensor; the data follows. */
#ifndef VL2_MODEL_GGUF_WRITE_H
#define VL2_MODEL_GGUF_WRITE_H

#include "base/buf.h"
#include "model/gguf.h"

typedef struct vl2_gguf_out { /* a head in the making; {0} is empty */
    vl2_buf keys, infos;
    size_t n_keys, n_tensors;
    uint64_t data; /* bytes of the tensors so far, each padded to the alignment */
} vl2_gguf_out;

vl2_status vl2_gguf_add_u32(vl2_gguf_out *out, const char *key, uint32_t value, vl2_error *err);
vl2_status vl2_gguf_add_f32(vl2_gguf_out *out, const char *key, float value, vl2_error *err);
vl2_status vl2_gguf_add_bool(vl2_gguf_out *out, const char *key, bool value, vl2_error *err);
vl2_status vl2_gguf_add_text(vl2_gguf_out *out, const char *key, const char *text, size_t size,
                             vl2_error *err);
/* The head of an array of n elements, which the caller appends: texts with vl2_gguf_add_element,
 * i32 as they are. */
vl2_status vl2_gguf_add_array(vl2_gguf_out *out, const char *key, vl2_gguf_type type, size_t n,
                              vl2_error *err);
vl2_status vl2_gguf_add_element(vl2_gguf_out *out, const char *text, size_t size, vl2_error *err);
/* A tensor that will follow the others, `bytes` of it; shape slowest first. */
vl2_status vl2_gguf_add_tensor(vl2_gguf_out *out, const char *name, vl2_dtype type,
                               const size_t *shape, size_t rank, size_t bytes, vl2_error *err);
/* All that stands before the data, padded. */
vl2_status vl2_gguf_head(vl2_buf *head, const vl2_gguf_out *out, vl2_error *err);
void vl2_gguf_out_free(vl2_gguf_out *out);
size_t vl2_gguf_padding(uint64_t bytes); /* up to the next multiple of the alignment */

#endif
