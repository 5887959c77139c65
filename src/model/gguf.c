#include "model/gguf.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 20,
    MAX_KEY = 65535,       /* bytes */
    MAX_TENSOR_NAME = 255, /* bytes; ggml's own limit is 63 */
    MAX_SIZES = 4,
    MAX_ALIGN = 1 << 20,
    MIN_INFO = 8 + 1 + 4 + 8 + 4 + 8, /* bytes of a tensor's info, and of a key's, at least */
    MIN_KEY = 8 + 1 + 4 + 1
};
#define MAX_SIDE ((uint64_t)1 << 40)

static const char MAGIC[4] = {'G', 'G', 'U', 'F'};

/* ggml's numbers of types. Those without a type of ours are refused by name. */
typedef struct type_line {
    uint32_t id;
    const char *name;
    vl2_dtype type;
} type_line;

static const type_line TYPES[] = {
    {0, "F32", VL2_F32},
    {1, "F16", VL2_F16},
    {2, "Q4_0", VL2_Q4_0},
    {3, "Q4_1", VL2_Q4_1},
    {6, "Q5_0", VL2_Q5_0},
    {7, "Q5_1", VL2_Q5_1},
    {8, "Q8_0", VL2_Q8_0},
    {12, "Q4_K", VL2_Q4_K},
    {13, "Q5_K", VL2_Q5_K},
    {14, "Q6_K", VL2_Q6_K},
    {20, "IQ4_NL", VL2_IQ4_NL},
    {24, "I8", VL2_I8},
    {25, "I16", VL2_I16},
    {26, "I32", VL2_I32},
    {27, "I64", VL2_I64},
    {28, "F64", VL2_F64},
    {30, "BF16", VL2_BF16},
    {9, "Q8_1", VL2_DTYPE_COUNT},
    {10, "Q2_K", VL2_DTYPE_COUNT},
    {11, "Q3_K", VL2_DTYPE_COUNT},
    {15, "Q8_K", VL2_DTYPE_COUNT},
    {16, "IQ2_XXS", VL2_DTYPE_COUNT},
    {17, "IQ2_XS", VL2_DTYPE_COUNT},
    {18, "IQ3_XXS", VL2_DTYPE_COUNT},
    {19, "IQ1_S", VL2_DTYPE_COUNT},
    {21, "IQ3_S", VL2_DTYPE_COUNT},
    {22, "IQ2_S", VL2_DTYPE_COUNT},
    {23, "IQ4_XS", VL2_DTYPE_COUNT},
    {29, "IQ1_M", VL2_DTYPE_COUNT},
    {34, "TQ1_0", VL2_DTYPE_COUNT},
    {35, "TQ2_0", VL2_DTYPE_COUNT},
    {39, "MXFP4", VL2_DTYPE_COUNT},
};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES };

/* Bytes of a value's elements; a text and an array have none of their own. */
static const uint8_t WIDTH[VL2_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* ---- reading bytes ----------------------------------------------------------------------------- */

typedef struct cursor {
    const uint8_t *bytes;
    size_t size, at;
    const char *name;
    vl2_error *err;
} cursor;

static uint64_t number(const uint8_t *bytes, size_t width) {
    uint64_t x = 0;
    for (size_t i = 0; i < width; i++) x |= (uint64_t)bytes[i] << 8 * i;
    return x;
}

static vl2_status fail_short(const cursor *c, const char *what) {
    return vl2_fail(c->err, VL2_ERR_FORMAT,
                    "%s: the file ends at byte %zu, within %s; fetch it again", c->name, c->size,
                    what);
}

static vl2_status take(const uint8_t **out, cursor *c, uint64_t bytes, const char *what) {
    if (bytes > c->size - c->at) return fail_short(c, what);
    *out = c->bytes + c->at;
    c->at += (size_t)bytes;
    return VL2_OK;
}

static vl2_status take_number(uint64_t *out, cursor *c, size_t width, const char *what) {
    const uint8_t *bytes;
    VL2_TRY(take(&bytes, c, width, what));
    *out = number(bytes, width);
    return VL2_OK;
}

/* A text of 1 … most bytes, copied to *to (which moves behind its NUL). */
static vl2_status take_name(const char **out, cursor *c, char **to, size_t most, const char *what) {
    uint64_t size;
    const uint8_t *bytes;
    VL2_TRY(take_number(&size, c, 8, what));
    if (size < 1 || size > most)
        return vl2_fail(c->err, VL2_ERR_FORMAT,
                        "%s: byte %zu: %s has %llu bytes, expected 1 to %zu", c->name, c->at - 8,
                        what, (unsigned long long)size, most);
    VL2_TRY(take(&bytes, c, size, what));
    if (memchr(bytes, 0, (size_t)size) || vl2_utf8_valid((const char *)bytes, (size_t)size) != size)
        return vl2_fail(c->err, VL2_ERR_FORMAT, "%s: byte %zu: %s is no UTF-8 text", c->name,
                        c->at - (size_t)size, what);
    memcpy(*to, bytes, (size_t)size);
    (*to)[size] = '\0';
    *out = *to;
    *to += size + 1;
    return VL2_OK;
}

/* ---- keys ------------------------------------------------------------------------------------- */

static vl2_status skip_texts(cursor *c, size_t n, const char *key) {
    for (size_t i = 0; i < n; i++) {
        uint64_t size;
        const uint8_t *bytes;
        VL2_TRY(take_number(&size, c, 8, key));
        VL2_TRY(take(&bytes, c, size, key));
    }
    return VL2_OK;
}

static vl2_status fail_type(const cursor *c, const char *key, uint64_t type) {
    return vl2_fail(c->err, VL2_ERR_FORMAT,
                    "%s: key %s has a value of type %llu, expected 0 to %d%s", c->name, key,
                    (unsigned long long)type, VL2_GGUF_TYPES - 1,
                    type == VL2_GGUF_ARRAY ? ", and no array within an array" : "");
}

static vl2_status read_value(vl2_gguf_value *v, cursor *c, char **names) {
    uint64_t type, n = 1, bytes;
    VL2_TRY(take_name(&v->key, c, names, MAX_KEY, "a key"));
    VL2_TRY(take_number(&type, c, 4, v->key));
    v->is_array = type == VL2_GGUF_ARRAY;
    if (v->is_array) {
        VL2_TRY(take_number(&type, c, 4, v->key));
        VL2_TRY(take_number(&n, c, 8, v->key));
    }
    if (type >= VL2_GGUF_TYPES || type == VL2_GGUF_ARRAY) return fail_type(c, v->key, type);
    v->type = (vl2_gguf_type)type;
    size_t least = type == VL2_GGUF_TEXT ? 8 : WIDTH[type];
    if (n > (c->size - c->at) / least) return fail_short(c, v->key);
    v->n = (size_t)n;
    v->data = c->bytes + c->at;
    if (type == VL2_GGUF_TEXT) {
        VL2_TRY(skip_texts(c, v->n, v->key));
    } else {
        const uint8_t *data;
        bytes = n * WIDTH[type];
        VL2_TRY(take(&data, c, bytes, v->key));
    }
    v->bytes = (size_t)(c->bytes + c->at - v->data);
    return VL2_OK;
}

static int by_key(const void *left, const void *right) {
    const vl2_gguf_value *a = left, *b = right;
    return strcmp(a->key, b->key);
}

static vl2_status read_keys(vl2_gguf *keys, cursor *c, size_t n, char **names) {
    keys->values = vl2_mem_calloc(n ? n : 1, sizeof *keys->values);
    if (!keys->values) return vl2_fail_memory(c->err, c->name, n * sizeof *keys->values);
    for (; keys->n < n; keys->n++) VL2_TRY(read_value(&keys->values[keys->n], c, names));
    qsort(keys->values, n, sizeof *keys->values, by_key);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(keys->values[i - 1].key, keys->values[i].key) != 0) continue;
        return vl2_fail(c->err, VL2_ERR_FORMAT, "%s: key %s is there twice", c->name,
                        keys->values[i].key);
    }
    return VL2_OK;
}

/* ---- tensors ---------------------------------------------------------------------------------- */

static vl2_status read_type(vl2_tensor *t, const cursor *c, uint64_t id) {
    const char *name = NULL;
    for (int i = 0; i < N_TYPES; i++) {
        if (TYPES[i].id != id) continue;
        t->type = TYPES[i].type;
        name = TYPES[i].name;
        if (t->type != VL2_DTYPE_COUNT) return VL2_OK;
    }
    return vl2_fail(c->err, VL2_ERR_UNSUPPORTED,
                    "%s: tensor %s has type %s (%llu), expected F32, F16, BF16, Q8_0, Q6_K, Q5_K, "
                    "Q4_K, Q5_0, Q5_1, Q4_0, Q4_1 or IQ4_NL; requantize the model",
                    c->name, t->name, name ? name : "unknown", (unsigned long long)id);
}

/* Sizes as the file has them, fastest first, turned round; bytes of all. */
static vl2_status read_sizes(vl2_tensor *t, cursor *c, const uint64_t sizes[MAX_SIZES]) {
    size_t bytes, rows = 1;
    for (size_t i = 0; i < t->rank; i++) {
        if (sizes[i] < 1 || sizes[i] > MAX_SIDE)
            return vl2_fail(c->err, VL2_ERR_FORMAT,
                            "%s: tensor %s has a size of %llu, expected 1 to 2^40", c->name,
                            t->name, (unsigned long long)sizes[i]);
        t->shape[t->rank - 1 - i] = (size_t)sizes[i];
    }
    const vl2_dtype_traits *traits = vl2_dtype_of(t->type);
    if (sizes[0] % traits->block != 0)
        return vl2_fail(c->err, VL2_ERR_FORMAT,
                        "%s: tensor %s has rows of %llu, expected a multiple of %zu for %s",
                        c->name, t->name, (unsigned long long)sizes[0], traits->block,
                        traits->name);
    bool fits = vl2_dtype_row_bytes(&bytes, t->type, (size_t)sizes[0]);
    for (size_t i = 1; i < t->rank; i++) fits = fits && vl2_mul(&rows, rows, (size_t)sizes[i]);
    if (!fits || !vl2_mul(&t->bytes, bytes, rows))
        return vl2_fail(c->err, VL2_ERR_FORMAT, "%s: tensor %s is larger than any memory", c->name,
                        t->name);
    return VL2_OK;
}

static vl2_status read_info(vl2_tensor *t, uint64_t *offset, cursor *c, char **names) {
    uint64_t rank, type, sizes[MAX_SIZES];
    VL2_TRY(take_name(&t->name, c, names, MAX_TENSOR_NAME, "a tensor's name"));
    VL2_TRY(take_number(&rank, c, 4, t->name));
    if (rank < 1 || rank > MAX_SIZES)
        return vl2_fail(c->err, VL2_ERR_FORMAT, "%s: tensor %s has %llu sizes, expected 1 to %d",
                        c->name, t->name, (unsigned long long)rank, MAX_SIZES);
    t->rank = (size_t)rank;
    for (size_t i = 0; i < t->rank; i++) VL2_TRY(take_number(&sizes[i], c, 8, t->name));
    VL2_TRY(take_number(&type, c, 4, t->name));
    VL2_TRY(read_type(t, c, type));
    VL2_TRY(read_sizes(t, c, sizes));
    return take_number(offset, c, 8, t->name);
}

static int by_data(const void *left, const void *right) {
    const vl2_tensor *a = left, *b = right;
    return a->data < b->data ? -1 : (a->data > b->data ? 1 : 0);
}

/* Where the data is: behind the infos, at the next multiple of the alignment. */
static vl2_status place(vl2_safetensors_list *list, const uint64_t *offsets, cursor *c,
                        size_t alignment) {
    size_t start = (c->at + alignment - 1) / alignment * alignment;
    size_t room = start < c->size ? c->size - start : 0;
    for (size_t i = 0; i < list->n; i++) {
        vl2_tensor *t = &list->tensors[i];
        if (offsets[i] % alignment != 0)
            return vl2_fail(c->err, VL2_ERR_FORMAT,
                            "%s: tensor %s lies at offset %llu, expected a multiple of %zu",
                            c->name, t->name, (unsigned long long)offsets[i], alignment);
        if (offsets[i] > room || t->bytes > room - offsets[i])
            return vl2_fail(c->err, VL2_ERR_FORMAT,
                            "%s: tensor %s ends at byte %llu of the data, which has %zu; fetch the "
                            "file again",
                            c->name, t->name, (unsigned long long)(offsets[i] + t->bytes), room);
        t->data = c->bytes + start + offsets[i];
    }
    qsort(list->tensors, list->n, sizeof *list->tensors, by_data);
    for (size_t i = 1; i < list->n; i++) {
        const vl2_tensor *a = &list->tensors[i - 1], *b = &list->tensors[i];
        if ((const uint8_t *)a->data + a->bytes > (const uint8_t *)b->data)
            return vl2_fail(c->err, VL2_ERR_FORMAT, "%s: tensors %s and %s share data", c->name,
                            a->name, b->name);
    }
    return VL2_OK;
}

static vl2_status read_alignment(size_t *out, const vl2_gguf *keys, vl2_error *err) {
    VL2_TRY(vl2_gguf_size(out, keys, "general.alignment", VL2_GGUF_ALIGN, err));
    if (*out % 8 == 0 && *out > 0 && *out <= MAX_ALIGN) return VL2_OK;
    return vl2_fail(err, VL2_ERR_FORMAT,
                    "%s: general.alignment is %zu, expected a multiple of 8 up to %d", keys->file,
                    *out, MAX_ALIGN);
}

static vl2_status read_tensors(vl2_safetensors_list *list, vl2_gguf *keys, cursor *c, size_t n,
                               char **names) {
    size_t alignment;
    list->tensors = vl2_mem_calloc(n ? n : 1, sizeof *list->tensors);
    uint64_t *offsets = vl2_mem_calloc(n ? n : 1, sizeof *offsets);
    vl2_status status = VL2_OK;
    if (!list->tensors || !offsets)
        status = vl2_fail_memory(c->err, c->name, n * sizeof *list->tensors);
    for (; status == VL2_OK && list->n < n; list->n++)
        status = read_info(&list->tensors[list->n], &offsets[list->n], c, names);
    if (status == VL2_OK) status = read_alignment(&alignment, keys, c->err);
    if (status == VL2_OK) status = place(list, offsets, c, alignment);
    vl2_mem_free(offsets);
    return status;
}

/* ---- the file --------------------------------------------------------------------------------- */

bool vl2_gguf_is(const void *bytes, size_t size) {
    return size >= sizeof MAGIC && memcmp(bytes, MAGIC, sizeof MAGIC) == 0;
}

static vl2_status read_counts(cursor *c, uint64_t *n_tensors, uint64_t *n_keys) {
    uint64_t version;
    if (!vl2_gguf_is(c->bytes, c->size))
        return vl2_fail(c->err, VL2_ERR_FORMAT, "%s: no GGUF file: it does not begin with \"GGUF\"",
                        c->name);
    c->at = sizeof MAGIC;
    VL2_TRY(take_number(&version, c, 4, "the version"));
    if (version != 3 && version != 2)
        return vl2_fail(c->err, VL2_ERR_UNSUPPORTED, "%s: GGUF version %llu%s, expected 2 or 3",
                        c->name, (unsigned long long)version,
                        version >> 24 ? " (a big-endian file)" : "");
    VL2_TRY(take_number(n_tensors, c, 8, "the counts"));
    VL2_TRY(take_number(n_keys, c, 8, "the counts"));
    if (*n_tensors > MAX_TENSORS || *n_keys > MAX_KEYS)
        return vl2_fail(c->err, VL2_ERR_LIMIT,
                        "%s: %llu tensors and %llu keys, expected up to %d and %d", c->name,
                        (unsigned long long)*n_tensors, (unsigned long long)*n_keys, MAX_TENSORS,
                        MAX_KEYS);
    if (*n_tensors * MIN_INFO + *n_keys * MIN_KEY > c->size) return fail_short(c, "its head");
    return VL2_OK;
}

/* Names are copied to where the keys' names end; no name is longer than the file's bytes for it. */
static vl2_status parse(vl2_gguf *keys, vl2_safetensors_list *tensors, cursor *c) {
    uint64_t n_tensors, n_keys;
    VL2_TRY(read_counts(c, &n_tensors, &n_keys));
    cursor measure = *c;
    size_t key_room = 0, tensor_room = 0;
    char *scratch = vl2_mem_alloc(MAX_KEY + 1), *to;
    if (!scratch) return vl2_fail_memory(c->err, c->name, MAX_KEY + 1);
    vl2_status status = VL2_OK;
    for (uint64_t i = 0; i < n_keys && status == VL2_OK; i++) {
        vl2_gguf_value v;
        to = scratch;
        status = read_value(&v, &measure, &to);
        if (status == VL2_OK) key_room += (size_t)(to - scratch);
    }
    for (uint64_t i = 0; i < n_tensors && status == VL2_OK; i++) {
        vl2_tensor t = {0};
        uint64_t offset;
        to = scratch;
        status = read_info(&t, &offset, &measure, &to);
        if (status == VL2_OK) tensor_room += (size_t)(to - scratch);
    }
    vl2_mem_free(scratch);
    VL2_TRY(status);
    char *key_names = keys->names = vl2_mem_alloc(key_room);
    char *tensor_names = tensors->names = vl2_mem_alloc(tensor_room);
    if (!key_names || !tensor_names)
        return vl2_fail_memory(c->err, c->name, key_room + tensor_room);
    VL2_TRY(read_keys(keys, c, (size_t)n_keys, &key_names));
    return read_tensors(tensors, keys, c, (size_t)n_tensors, &tensor_names);
}

vl2_status vl2_gguf_parse(vl2_gguf *keys, vl2_safetensors_list *tensors, const void *bytes,
                          size_t size, const char *name, vl2_error *err) {
    vl2_gguf read = {.file = name};
    vl2_safetensors_list list = {0};
    cursor c = {bytes, size, 0, name, err};
    vl2_status status = parse(&read, &list, &c);
    if (status != VL2_OK) {
        vl2_gguf_free(&read);
        vl2_safetensors_free(&list);
        return status;
    }
    *keys = read;
    *tensors = list;
    return VL2_OK;
}

void vl2_gguf_free(vl2_gguf *keys) {
    vl2_mem_free(keys->values);
    vl2_mem_free(keys->names);
    *keys = (vl2_gguf){0};
}

/* ---- questions -------------------------------------------------------------------------------- */

const vl2_gguf_value *vl2_gguf_find(const vl2_gguf *keys, const char *key) {
    const vl2_gguf_value wanted = {.key = key};
    if (!keys || keys->n == 0) return NULL;
    return bsearch(&wanted, keys->values, keys->n, sizeof *keys->values, by_key);
}

static vl2_status fail_value(const vl2_gguf *keys, const char *key, const char *expected,
                             vl2_error *err) {
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: key %s is not %s", keys->file, key, expected);
}

/* A whole number, of any integer type; some files have one a layer: they must be the same. */
static bool whole(uint64_t *out, const vl2_gguf_value *v) {
    static const bool is_signed[VL2_GGUF_TYPES] = {
        [VL2_GGUF_I8] = true, [VL2_GGUF_I16] = true, [VL2_GGUF_I32] = true, [VL2_GGUF_I64] = true};
    if (v->type == VL2_GGUF_F32 || v->type == VL2_GGUF_F64 || v->type == VL2_GGUF_BOOL ||
        v->type == VL2_GGUF_TEXT || v->n == 0)
        return false;
    size_t width = WIDTH[v->type];
    for (size_t i = 0; i < v->n; i++) {
        uint64_t x = number(v->data + i * width, width);
        if (is_signed[v->type] && x >> (8 * width - 1)) return false; /* negative */
        if (i > 0 && x != *out) return false;
        *out = x;
    }
    return true;
}

vl2_status vl2_gguf_size(size_t *out, const vl2_gguf *keys, const char *key, size_t absent,
                         vl2_error *err) {
    const vl2_gguf_value *v = vl2_gguf_find(keys, key);
    uint64_t x = absent;
    if (v && (!whole(&x, v) || x > (uint64_t)1 << 53))
        return fail_value(keys, key, "a whole number from 0 on", err);
    *out = (size_t)x;
    return VL2_OK;
}

vl2_status vl2_gguf_real(double *out, const vl2_gguf *keys, const char *key, double absent,
                         vl2_error *err) {
    const vl2_gguf_value *v = vl2_gguf_find(keys, key);
    uint64_t x;
    *out = absent;
    if (!v) return VL2_OK;
    if (v->is_array) return fail_value(keys, key, "a number", err);
    if (v->type == VL2_GGUF_F32) {
        uint32_t bits = (uint32_t)number(v->data, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        *out = (double)f;
    } else if (v->type == VL2_GGUF_F64) {
        uint64_t bits = number(v->data, 8);
        memcpy(out, &bits, sizeof bits);
    } else if (whole(&x, v)) {
        *out = (double)x;
    } else {
        return fail_value(keys, key, "a number", err);
    }
    if (*out - *out != 0) return fail_value(keys, key, "a finite number", err);
    return VL2_OK;
}

vl2_status vl2_gguf_flag(bool *out, const vl2_gguf *keys, const char *key, bool absent,
                         vl2_error *err) {
    const vl2_gguf_value *v = vl2_gguf_find(keys, key);
    *out = absent;
    if (!v) return VL2_OK;
    if (v->type != VL2_GGUF_BOOL || v->is_array || v->data[0] > 1)
        return fail_value(keys, key, "true or false", err);
    *out = v->data[0] == 1;
    return VL2_OK;
}

const char *vl2_gguf_next_text(const vl2_gguf_value *array, size_t *at, size_t *size) {
    *size = (size_t)number(array->data + *at, 8);
    const char *text = (const char *)array->data + *at + 8;
    *at += 8 + *size;
    return text;
}

vl2_status vl2_gguf_text(const char **out, size_t *size, const vl2_gguf *keys, const char *key,
                         vl2_error *err) {
    const vl2_gguf_value *v = vl2_gguf_find(keys, key);
    size_t at = 0;
    *out = NULL;
    *size = 0;
    if (!v) return VL2_OK;
    if (v->type != VL2_GGUF_TEXT || v->is_array) return fail_value(keys, key, "a text", err);
    *out = vl2_gguf_next_text(v, &at, size);
    if (vl2_utf8_valid(*out, *size) != *size) return fail_value(keys, key, "UTF-8", err);
    return VL2_OK;
}
