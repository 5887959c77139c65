/* model/gguf.h - the file format of ggml's family: keys with values, then tensors.
 *
 * Little-endian: magic, version, counts; keys; tensor infos (name, sizes fastest first, type,
 * offset); data, aligned. Everything is checked at the door: counts, lengths, types, that names are
 * there once, that data lies in the file and no two tensors share it. docs/QUANTIZATION.md lists the
 * keys that this library reads and writes. */
#ifndef VL2_MODEL_GGUF_H
#define VL2_MODEL_GGUF_H

#include "model/safetensors.h"

enum { VL2_GGUF_ALIGN = 32 }; /* bytes between tensors, unless a key says otherwise */

typedef enum vl2_gguf_type { /* of a value, as the file numbers them */
                             VL2_GGUF_U8,
                             VL2_GGUF_I8,
                             VL2_GGUF_U16,
                             VL2_GGUF_I16,
                             VL2_GGUF_U32,
                             VL2_GGUF_I32,
                             VL2_GGUF_F32,
                             VL2_GGUF_BOOL,
                             VL2_GGUF_TEXT,
                             VL2_GGUF_ARRAY,
                             VL2_GGUF_U64,
                             VL2_GGUF_I64,
                             VL2_GGUF_F64,
                             VL2_GGUF_TYPES
} vl2_gguf_type;

typedef struct vl2_gguf_value {
    const char *key;
    vl2_gguf_type type; /* of the elements, for an array */
    bool is_array;
    size_t n;            /* elements; 1 for what is no array */
    const uint8_t *data; /* in the file: numbers, or texts with their lengths */
    size_t bytes;
} vl2_gguf_value;

typedef struct vl2_gguf {   /* a file's keys; {0} is empty */
    vl2_gguf_value *values; /* [n], by key */
    size_t n;
    char *names;
    const char *file; /* leads messages; borrowed */
} vl2_gguf;

/* Keys and tensors of a file's bytes, which must outlive both. `name` leads messages and must
 * outlive the keys. Tensors: shapes slowest first, in the order of their data. */
vl2_status vl2_gguf_parse(vl2_gguf *keys, vl2_safetensors_list *tensors, const void *bytes,
                          size_t size, const char *name, vl2_error *err);
void vl2_gguf_free(vl2_gguf *keys);
bool vl2_gguf_is(const void *bytes, size_t size); /* the magic number is there */

/* NULL: no such key (or `keys` is NULL). */
const vl2_gguf_value *vl2_gguf_find(const vl2_gguf *keys, const char *key);
/* Typed reads; the key's absence gives *out = absent. Another type or range is an error that names
 * file and key. */
vl2_status vl2_gguf_size(size_t *out, const vl2_gguf *keys, const char *key, size_t absent,
                         vl2_error *err);
vl2_status vl2_gguf_real(double *out, const vl2_gguf *keys, const char *key, double absent,
                         vl2_error *err);
vl2_status vl2_gguf_flag(bool *out, const vl2_gguf *keys, const char *key, bool absent,
                         vl2_error *err);
/* *out = NULL where the key is absent; not NUL-terminated, in the file. */
vl2_status vl2_gguf_text(const char **out, size_t *size, const vl2_gguf *keys, const char *key,
                         vl2_error *err);
/* The texts of an array one after the other: *at = 0 to begin. The array was checked. */
const char *vl2_gguf_next_text(const vl2_gguf_value *array, size_t *at, size_t *size);

#endif
