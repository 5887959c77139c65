#include "model/safetensors.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH_BYTES = 8,               /* in front of the header */
    MAX_HEADER = 100 * 1000 * 1000, /* bytes, as the format's own library bounds it */
    MAX_NAME_BYTES = 4096
};

static const char metadata_key[] = "__metadata__";

typedef struct parse { /* a file on its way to a list */
    vl2_safetensors_list *out;
    const uint8_t *bytes, *data;
    size_t size, data_size, names_used;
    const char *path;
    vl2_error *err;
} parse;

/* ---- one tensor of a header ---------------------------------------------------------------------- */

typedef struct entry { /* where messages point */
    const char *path, *name;
    vl2_error *err;
} entry;

static vl2_status read_type(vl2_tensor *tensor, const vl2_json *value, const entry *e) {
    size_t size;
    const char *type = vl2_json_text(vl2_json_get(value, "dtype"), &size);
    if (!type)
        return vl2_fail(e->err, VL2_ERR_FORMAT, "%s: tensor %s has no dtype", e->path, e->name);
    tensor->type = vl2_dtype_by_name(type, size);
    if (!vl2_dtype_is_quantized(tensor->type)) return VL2_OK; /* nor unknown */
    return vl2_fail(
        e->err, VL2_ERR_UNSUPPORTED,
        "%s: tensor %s has dtype \"%.32s\", expected F32, F16 or BF16 for weights, or a "
        "plain type of integers",
        e->path, e->name, type);
}

static vl2_status read_shape(vl2_tensor *tensor, const vl2_json *value, size_t *bytes,
                             const entry *e) {
    const vl2_json *shape = vl2_json_get(value, "shape");
    tensor->rank = vl2_json_size(shape);
    if (vl2_json_kind_of(shape) != VL2_JSON_ARRAY || tensor->rank > VL2_MAX_RANK)
        return vl2_fail(e->err, VL2_ERR_FORMAT,
                        "%s: tensor %s: shape must be a list of at most %d numbers", e->path,
                        e->name, VL2_MAX_RANK);
    *bytes = vl2_dtype_of(tensor->type)->block_bytes;
    for (size_t i = 0; i < tensor->rank; i++) {
        const vl2_json *dim = vl2_json_at(shape, i);
        int64_t n = vl2_json_kind_of(dim) == VL2_JSON_INT ? vl2_json_int(dim) : -1;
        if (n < 0 || !vl2_mul(bytes, *bytes, (size_t)n))
            return vl2_fail(
                e->err, VL2_ERR_FORMAT,
                "%s: tensor %s: dimension %zu of its shape is no whole number that fits", e->path,
                e->name, i);
        tensor->shape[i] = (size_t)n;
    }
    return VL2_OK;
}

static vl2_status read_range(vl2_tensor *tensor, const vl2_json *value, const parse *p,
                             size_t bytes, const entry *e) {
    const vl2_json *offsets = vl2_json_get(value, "data_offsets");
    const vl2_json *from = vl2_json_at(offsets, 0), *to = vl2_json_at(offsets, 1);
    int64_t begin = vl2_json_kind_of(from) == VL2_JSON_INT ? vl2_json_int(from) : -1;
    int64_t end = vl2_json_kind_of(to) == VL2_JSON_INT ? vl2_json_int(to) : -1;
    char shape[VL2_SHAPE_TEXT];
    if (vl2_json_size(offsets) != 2 || begin < 0 || end < begin)
        return vl2_fail(e->err, VL2_ERR_FORMAT,
                        "%s: tensor %s: data_offsets must be two growing numbers", e->path,
                        e->name);
    if ((uint64_t)end > p->data_size)
        return vl2_fail(
            e->err, VL2_ERR_FORMAT,
            "%s: tensor %s ends at byte %lld of %zu bytes of data: the file is cut short; fetch it again",
            e->path, e->name, (long long)end, p->data_size);
    if ((uint64_t)(end - begin) != bytes)
        return vl2_fail(e->err, VL2_ERR_FORMAT,
                        "%s: tensor %s has %lld bytes, expected %zu for %s of %s", e->path, e->name,
                        (long long)(end - begin), bytes, vl2_dtype_of(tensor->type)->name,
                        vl2_safetensors_shape(shape, tensor->shape, tensor->rank));
    tensor->data = p->data + (size_t)begin;
    tensor->bytes = bytes;
    return VL2_OK;
}

static vl2_status read_tensor(parse *p, const char *name, const vl2_json *value) {
    entry e = {p->path, name, p->err};
    vl2_tensor tensor = {0};
    size_t bytes, size = strlen(name) + 1;
    if (vl2_json_kind_of(value) != VL2_JSON_OBJECT || size > MAX_NAME_BYTES)
        return vl2_fail(p->err, VL2_ERR_FORMAT, "%s: the header's entry %.64s describes no tensor",
                        p->path, name);
    VL2_TRY(read_type(&tensor, value, &e));
    VL2_TRY(read_shape(&tensor, value, &bytes, &e));
    VL2_TRY(read_range(&tensor, value, p, bytes, &e));
    tensor.name = memcpy(p->out->names + p->names_used, name, size);
    p->names_used += size;
    p->out->tensors[p->out->n++] = tensor;
    return VL2_OK;
}

/* ---- a file -------------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b) {
    const vl2_tensor *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

/* The format allows neither overlaps nor holes, so that a file means one thing only. */
static vl2_status check_layout(const parse *p) {
    const vl2_safetensors_list *list = p->out;
    const uint8_t *at = p->data;
    if (list->n) qsort(list->tensors, list->n, sizeof *list->tensors, by_place);
    for (size_t i = 0; i < list->n; i++) {
        const vl2_tensor *tensor = &list->tensors[i];
        if (tensor->data != at)
            return vl2_fail(p->err, VL2_ERR_FORMAT, "%s: tensor %s %s", p->path, tensor->name,
                            (const uint8_t *)tensor->data < at
                                ? "overlaps the one before it"
                                : "has bytes in front of it that belong to no tensor");
        at += tensor->bytes;
    }
    if (at == p->data + p->data_size) return VL2_OK;
    return vl2_fail(p->err, VL2_ERR_FORMAT, "%s: %zu bytes at its end belong to no tensor", p->path,
                    (size_t)(p->data + p->data_size - at));
}

/* Room for all tensors and their names, counted first. */
static vl2_status make_room(parse *p, const vl2_json *root) {
    const vl2_json *value;
    const char *name;
    void *iterator = NULL;
    size_t n = 0, names = 0;
    while (vl2_json_iterate(root, &iterator, &name, &value)) {
        n++;
        names += strlen(name) + 1;
    }
    p->out->tensors = vl2_mem_array(n, sizeof *p->out->tensors);
    p->out->names = vl2_mem_alloc(names);
    if (p->out->tensors && p->out->names) return VL2_OK;
    return vl2_fail_memory(p->err, "the list of tensors", n * sizeof *p->out->tensors + names);
}

/* Texts about the file, which nothing here reads. */
static vl2_status check_metadata(const parse *p, const vl2_json *metadata) {
    const vl2_json *value;
    const char *key;
    void *iterator = NULL;
    if (metadata && vl2_json_kind_of(metadata) != VL2_JSON_OBJECT)
        return vl2_fail(p->err, VL2_ERR_FORMAT, "%s: %s is no object", p->path, metadata_key);
    while (vl2_json_iterate(metadata, &iterator, &key, &value)) {
        if (vl2_json_kind_of(value) != VL2_JSON_STRING)
            return vl2_fail(p->err, VL2_ERR_FORMAT, "%s: %s.%s is no string", p->path, metadata_key,
                            key);
    }
    return VL2_OK;
}

static vl2_status read_header(parse *p, const vl2_json *root) {
    const vl2_json *value;
    const char *name;
    void *iterator = NULL;
    if (vl2_json_kind_of(root) != VL2_JSON_OBJECT)
        return vl2_fail(p->err, VL2_ERR_FORMAT, "%s: the header is no JSON object", p->path);
    VL2_TRY(check_metadata(p, vl2_json_get(root, metadata_key)));
    VL2_TRY(make_room(p, root));
    while (vl2_json_iterate(root, &iterator, &name, &value)) {
        if (strcmp(name, metadata_key) == 0) continue;
        VL2_TRY(read_tensor(p, name, value));
    }
    return check_layout(p);
}

static vl2_status find_header(parse *p, size_t *length) {
    static const char pointer[] = "version https://git-lfs";
    uint64_t n = 0;
    if (p->size >= sizeof pointer - 1 && memcmp(p->bytes, pointer, sizeof pointer - 1) == 0)
        return vl2_fail(p->err, VL2_ERR_FORMAT,
                        "%s is a Git LFS pointer, not the weights: fetch them with git lfs pull",
                        p->path);
    if (p->size < LENGTH_BYTES)
        return vl2_fail(p->err, VL2_ERR_FORMAT, "%s: %zu bytes are no safetensors file", p->path,
                        p->size);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) n = n << 8 | p->bytes[i];
    if (n > MAX_HEADER)
        return vl2_fail(p->err, VL2_ERR_FORMAT,
                        "%s: a header of %llu bytes; this is no safetensors file", p->path,
                        (unsigned long long)n);
    if (n > p->size - LENGTH_BYTES)
        return vl2_fail(
            p->err, VL2_ERR_FORMAT,
            "%s: the header says %llu bytes, the file has %zu: it is cut short; fetch it again",
            p->path, (unsigned long long)n, p->size);
    *length = (size_t)n;
    p->data = p->bytes + LENGTH_BYTES + n;
    p->data_size = p->size - LENGTH_BYTES - (size_t)n;
    return VL2_OK;
}

vl2_status vl2_safetensors_parse(vl2_safetensors_list *out, const void *bytes, size_t size,
                                 const char *name, vl2_error *err) {
    vl2_safetensors_list list = {0};
    parse p = {.out = &list, .bytes = bytes, .size = size, .path = name, .err = err};
    size_t length;
    vl2_json_doc *header = NULL;
    VL2_TRY(find_header(&p, &length));
    VL2_TRY(vl2_json_parse(&header, (const char *)p.bytes + LENGTH_BYTES, length, name, err));
    vl2_status status = read_header(&p, vl2_json_root(header));
    vl2_json_free(header);
    if (status == VL2_OK)
        *out = list;
    else
        vl2_safetensors_free(&list);
    return status;
}

void vl2_safetensors_free(vl2_safetensors_list *list) {
    vl2_mem_free(list->tensors);
    vl2_mem_free(list->names);
    *list = (vl2_safetensors_list){0};
}

const char *vl2_safetensors_shape(char out[VL2_SHAPE_TEXT], const size_t *shape, size_t rank) {
    size_t n = (size_t)snprintf(out, VL2_SHAPE_TEXT, "[");
    for (size_t i = 0; i < rank && n < VL2_SHAPE_TEXT; i++)
        n += (size_t)snprintf(out + n, VL2_SHAPE_TEXT - n, "%s%zu", i ? ", " : "", shape[i]);
    if (n < VL2_SHAPE_TEXT) snprintf(out + n, VL2_SHAPE_TEXT - n, "]");
    return out;
}

/* ---- writing ------------------------------------------------------------------------------------- */

static vl2_status plan_bytes(size_t *out, const vl2_tensor_plan *tensor, vl2_error *err) {
    bool fits = tensor->rank <= VL2_MAX_RANK;
    *out = vl2_dtype_of(tensor->type)->block_bytes;
    for (size_t i = 0; fits && i < tensor->rank; i++) fits = vl2_mul(out, *out, tensor->shape[i]);
    if (fits) return VL2_OK;
    return vl2_fail(err, VL2_ERR_LIMIT, "tensor %s is too large", tensor->name);
}

static size_t width_of(const vl2_tensor_plan *tensor) {
    return vl2_dtype_of(tensor->type)->block_bytes;
}

/* Does a's data stand before b's? The widest type comes first, so that all of it is aligned. */
static bool stands_before(const vl2_tensor_plan *a, const vl2_tensor_plan *b) {
    return width_of(a) != width_of(b) ? width_of(a) > width_of(b) : a < b;
}

static vl2_status find_place(size_t *offset, size_t *bytes, const vl2_tensor_plan *tensors,
                             size_t n, size_t i, vl2_error *err) {
    *offset = 0;
    VL2_TRY(plan_bytes(bytes, &tensors[i], err));
    for (size_t j = 0; j < n; j++) {
        size_t other;
        if (!stands_before(&tensors[j], &tensors[i])) continue;
        VL2_TRY(plan_bytes(&other, &tensors[j], err));
        *offset += other;
    }
    return VL2_OK;
}

static vl2_status describe(vl2_buf *header, const vl2_tensor_plan *tensors, size_t n, size_t i,
                           vl2_error *err) {
    const vl2_tensor_plan *tensor = &tensors[i];
    size_t bytes, offset;
    VL2_TRY(find_place(&offset, &bytes, tensors, n, i, err));
    VL2_TRY(vl2_buf_addf(header, err, "%s", i ? "," : ""));
    VL2_TRY(vl2_json_quote(header, tensor->name, strlen(tensor->name), err));
    VL2_TRY(vl2_buf_addf(header, err, ":{\"dtype\":\"%s\",\"shape\":[",
                         vl2_dtype_of(tensor->type)->name));
    for (size_t d = 0; d < tensor->rank; d++)
        VL2_TRY(vl2_buf_addf(header, err, "%s%zu", d ? "," : "", tensor->shape[d]));
    return vl2_buf_addf(header, err, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
}

static vl2_status build_header(vl2_buf *header, const vl2_tensor_plan *tensors, size_t n,
                               vl2_error *err) {
    VL2_TRY(vl2_buf_addf(header, err, "{"));
    for (size_t i = 0; i < n; i++) VL2_TRY(describe(header, tensors, n, i, err));
    VL2_TRY(vl2_buf_addf(header, err, "}"));
    while (header->size % 8) VL2_TRY(vl2_buf_add(header, " ", 1, err)); /* data begins aligned */
    return VL2_OK;
}

static vl2_status write_data(vl2_writer *writer, const vl2_tensor_plan *tensors, size_t n,
                             vl2_error *err) {
    for (size_t width = 8; width; width /= 2) {
        for (size_t i = 0; i < n; i++) {
            size_t bytes;
            if (width_of(&tensors[i]) != width) continue;
            VL2_TRY(plan_bytes(&bytes, &tensors[i], err));
            if (bytes) VL2_TRY(vl2_writer_add(writer, tensors[i].data, bytes, err));
        }
    }
    return VL2_OK;
}

static vl2_status write_all(vl2_writer *writer, const vl2_buf *header,
                            const vl2_tensor_plan *tensors, size_t n, vl2_error *err) {
    uint8_t length[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++) length[i] = (uint8_t)((uint64_t)header->size >> (8 * i));
    VL2_TRY(vl2_writer_add(writer, length, sizeof length, err));
    VL2_TRY(vl2_writer_add(writer, header->data, header->size, err));
    VL2_TRY(write_data(writer, tensors, n, err));
    return vl2_writer_commit(writer, err);
}

vl2_status vl2_safetensors_write(const char *path, const vl2_tensor_plan *tensors, size_t n,
                                 vl2_error *err) {
    vl2_buf header = {0};
    vl2_writer writer;
    vl2_status status = build_header(&header, tensors, n, err);
    if (status == VL2_OK && (status = vl2_writer_open(&writer, path, err)) == VL2_OK)
        status = write_all(&writer, &header, tensors, n, err);
    vl2_buf_free(&header);
    return status;
}
