#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/gguf.h"
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 4096, MAX_INDEX_BYTES = 100000000 };

typedef struct shard {
    char *path;
    vl2_map map; /* none for bytes in memory */
    vl2_safetensors_list list;
    bool is_gguf;
    vl2_gguf keys; /* of a GGUF file */
} shard;

struct vl2_checkpoint {
    char *name;
    shard *shards;
    size_t n_shards;
    const vl2_tensor **sorted; /* by name */
    size_t n_tensors;
    uint64_t bytes;
    size_t mmproj; /* the shard that holds a vision half of its own; 0: none */
};

/* ---- life -------------------------------------------------------------------------------------- */

static vl2_status checkpoint_create(vl2_checkpoint **out, const char *name, size_t n_shards,
                                    vl2_error *err) {
    vl2_checkpoint *c = vl2_mem_calloc(1, sizeof *c);
    if (c) {
        c->name = vl2_mem_strdup(name, strlen(name));
        c->shards = vl2_mem_calloc(n_shards, sizeof *c->shards);
        c->n_shards = n_shards;
    }
    if (!c || !c->name || !c->shards) {
        if (c) c->n_shards = 0;
        vl2_checkpoint_close(c);
        return vl2_fail_memory(err, name, n_shards * sizeof *c->shards);
    }
    *out = c;
    return VL2_OK;
}

void vl2_checkpoint_close(vl2_checkpoint *checkpoint) {
    if (!checkpoint) return;
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        shard *s = &checkpoint->shards[i];
        vl2_safetensors_free(&s->list);
        vl2_gguf_free(&s->keys);
        vl2_map_close(&s->map);
        vl2_mem_free(s->path);
    }
    vl2_mem_free(checkpoint->shards);
    vl2_mem_free(checkpoint->sorted);
    vl2_mem_free(checkpoint->name);
    vl2_mem_free(checkpoint);
}

/* ---- names ------------------------------------------------------------------------------------- */

static int by_name(const void *left, const void *right) {
    const vl2_tensor *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

/* Sorts all shards' tensors by name; the same name in two of them is an error. */
static vl2_status sort_names(vl2_checkpoint *c, vl2_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_shards; i++) n += c->shards[i].list.n;
    c->sorted = vl2_mem_array(n, sizeof *c->sorted);
    if (!c->sorted) return vl2_fail_memory(err, c->name, n * sizeof *c->sorted);
    for (size_t i = 0; i < c->n_shards; i++) {
        vl2_safetensors_list *list = &c->shards[i].list;
        for (size_t j = 0; j < list->n; j++) {
            list->tensors[j].shard = i;
            c->bytes += list->tensors[j].bytes;
            c->sorted[c->n_tensors++] = &list->tensors[j];
        }
    }
    qsort(c->sorted, n, sizeof *c->sorted, by_name);
    for (size_t i = 1; i < n; i++) {
        const vl2_tensor *a = c->sorted[i - 1], *b = c->sorted[i];
        if (strcmp(a->name, b->name) == 0)
            return vl2_fail(err, VL2_ERR_FORMAT, "tensor %s is both in %s and in %s", a->name,
                            vl2_checkpoint_file(c, a), vl2_checkpoint_file(c, b));
    }
    return VL2_OK;
}

/* ---- one file ---------------------------------------------------------------------------------- */

/* Takes `path`, also on failure. */
static vl2_status open_shard(shard *out, char *path, vl2_error *err) {
    out->path = path;
    VL2_TRY(vl2_map_open(&out->map, path, err));
    out->is_gguf = vl2_gguf_is(out->map.data, out->map.size);
    if (out->is_gguf)
        return vl2_gguf_parse(&out->keys, &out->list, out->map.data, out->map.size, path, err);
    return vl2_safetensors_parse(&out->list, out->map.data, out->map.size, path, err);
}

static vl2_status open_single(vl2_checkpoint *c, const char *path, vl2_error *err) {
    char *copy = vl2_mem_strdup(path, strlen(path));
    if (!copy) return vl2_fail_memory(err, path, strlen(path) + 1);
    VL2_TRY(open_shard(&c->shards[0], copy, err));
    return sort_names(c, err);
}

static vl2_status open_named(vl2_checkpoint **out, const char *name, const char *path,
                             vl2_error *err) {
    vl2_checkpoint *c;
    VL2_TRY(checkpoint_create(&c, name, 1, err));
    vl2_status status = open_single(c, path, err);
    if (status == VL2_OK)
        *out = c;
    else
        vl2_checkpoint_close(c);
    return status;
}

vl2_status vl2_checkpoint_open_file(vl2_checkpoint **out, const char *path, vl2_error *err) {
    return open_named(out, path, path, err);
}

static vl2_status open_bytes(vl2_checkpoint *c, const void *bytes, size_t size, vl2_error *err) {
    shard *s = &c->shards[0];
    s->path = vl2_mem_strdup(c->name, strlen(c->name));
    if (!s->path) return vl2_fail_memory(err, c->name, strlen(c->name) + 1);
    s->is_gguf = vl2_gguf_is(bytes, size);
    if (s->is_gguf)
        VL2_TRY(vl2_gguf_parse(&s->keys, &s->list, bytes, size, s->path, err));
    else
        VL2_TRY(vl2_safetensors_parse(&s->list, bytes, size, c->name, err));
    return sort_names(c, err);
}

vl2_status vl2_checkpoint_open_memory(vl2_checkpoint **out, const void *bytes, size_t size,
                                      const char *name, vl2_error *err) {
    vl2_checkpoint *c;
    VL2_TRY(checkpoint_create(&c, name, 1, err));
    vl2_status status = open_bytes(c, bytes, size, err);
    if (status == VL2_OK)
        *out = c;
    else
        vl2_checkpoint_close(c);
    return status;
}

/* ---- shards with an index ---------------------------------------------------------------------- */

typedef struct index_file {
    const char *path;
    const vl2_json *weight_map; /* tensor -> file name */
    const char **files;         /* each once, sorted */
    size_t n_files;
} index_file;

/* A shard lies beside its index, and nowhere else. */
static vl2_status check_shard_name(const char *name, size_t size, const char *tensor,
                                   const char *index, vl2_error *err) {
    if (!name)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: weight_map.%s is no file name", index, tensor);
    if (size == 0 || strlen(name) != size || strchr(name, '/') || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return vl2_fail(
            err, VL2_ERR_FORMAT,
            "%s: weight_map.%s is \"%s\", expected the name of a file in the same folder", index,
            tensor, name);
    return VL2_OK;
}

static int by_text(const void *left, const void *right) {
    const char *const *a = left, *const *b = right;
    return strcmp(*a, *b);
}

/* All file names of the map, sorted, each once. */
static vl2_status list_files(index_file *index, vl2_error *err) {
    void *iterator = NULL;
    const char *tensor;
    const vl2_json *value;
    size_t n = 0, size, unique = 0;
    index->files = vl2_mem_array(vl2_json_size(index->weight_map), sizeof *index->files);
    if (!index->files) return vl2_fail_memory(err, index->path, vl2_json_size(index->weight_map));
    while (vl2_json_iterate(index->weight_map, &iterator, &tensor, &value)) {
        const char *file = vl2_json_text(value, &size);
        VL2_TRY(check_shard_name(file, size, tensor, index->path, err));
        index->files[n++] = file;
    }
    qsort(index->files, n, sizeof *index->files, by_text);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(index->files[i], index->files[unique - 1]) != 0)
            index->files[unique++] = index->files[i];
    }
    index->n_files = unique;
    if (unique < 1 || unique > MAX_SHARDS)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: weight_map names %zu files, expected 1 to %d",
                        index->path, unique, MAX_SHARDS);
    return VL2_OK;
}

static vl2_status open_files(vl2_checkpoint *c, const index_file *index, vl2_error *err) {
    for (size_t i = 0; i < index->n_files; i++) {
        char *path;
        VL2_TRY(vl2_path_join(&path, c->name, index->files[i], err));
        c->shards[i].path = path;
        if (!vl2_file_exists(path))
            return vl2_fail(err, VL2_ERR_IO, "%s is missing, and %s names it", path, index->path);
        VL2_TRY(open_shard(&c->shards[i], path, err));
    }
    return sort_names(c, err);
}

/* What the index promises must be where it says. */
static vl2_status check_promises(const vl2_checkpoint *c, const index_file *index, vl2_error *err) {
    void *iterator = NULL;
    const char *tensor;
    const vl2_json *value;
    while (vl2_json_iterate(index->weight_map, &iterator, &tensor, &value)) {
        const char *file = vl2_json_text(value, NULL);
        const vl2_tensor *found = vl2_checkpoint_find(c, tensor);
        if (!found || strcmp(index->files[found->shard], file) != 0)
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: tensor %s is not in %s, where it should be",
                            index->path, tensor, file);
    }
    return VL2_OK;
}

static vl2_status open_indexed(vl2_checkpoint **out, const char *folder, index_file *index,
                               vl2_error *err) {
    vl2_checkpoint *c;
    if (vl2_json_kind_of(index->weight_map) != VL2_JSON_OBJECT)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: weight_map is no object", index->path);
    VL2_TRY(list_files(index, err));
    VL2_TRY(checkpoint_create(&c, folder, index->n_files, err));
    vl2_status status = open_files(c, index, err);
    if (status == VL2_OK) status = check_promises(c, index, err);
    if (status == VL2_OK)
        *out = c;
    else
        vl2_checkpoint_close(c);
    return status;
}

static vl2_status open_index(vl2_checkpoint **out, const char *folder, const char *path,
                             vl2_error *err) {
    vl2_json_doc *doc;
    VL2_TRY(vl2_json_read(&doc, path, MAX_INDEX_BYTES, err));
    index_file index = {.path = path, .weight_map = vl2_json_get(vl2_json_root(doc), "weight_map")};
    vl2_status status = open_indexed(out, folder, &index, err);
    vl2_mem_free(index.files);
    vl2_json_free(doc);
    return status;
}

static vl2_status fail_no_weights(const char *folder, vl2_error *err) {
    if (!vl2_file_exists(folder))
        return vl2_fail(err, VL2_ERR_IO, "%s does not exist, expected a checkpoint's folder",
                        folder);
    if (!vl2_file_is_folder(folder))
        return vl2_fail(err, VL2_ERR_IO, "%s is no folder, expected a checkpoint's", folder);
    return vl2_fail(err, VL2_ERR_IO,
                    "%s has neither model.safetensors.index.json nor model.safetensors", folder);
}

vl2_status vl2_checkpoint_open(vl2_checkpoint **out, const char *folder, vl2_error *err) {
    size_t length = strlen(folder);
    if (length > 5 && strcmp(folder + length - 5, ".gguf") == 0 && !vl2_file_is_folder(folder))
        return vl2_checkpoint_open_gguf(out, folder, NULL, err);
    char *index = NULL, *single = NULL;
    vl2_status status;
    VL2_GOTO(done, status, vl2_path_join(&index, folder, "model.safetensors.index.json", err));
    VL2_GOTO(done, status, vl2_path_join(&single, folder, "model.safetensors", err));
    if (vl2_file_exists(index))
        status = open_index(out, folder, index, err);
    else if (vl2_file_exists(single))
        status = open_named(out, folder, single, err);
    else
        status = fail_no_weights(folder, err);
done:
    vl2_mem_free(index);
    vl2_mem_free(single);
    return status;
}

/* ---- GGUF: one file or parts, and maybe a vision half ------------------------------------------- */

/* How many files a model is split into, by its first part's or any part's keys. */
static vl2_status read_parts(size_t *out, const char *path, vl2_error *err) {
    shard first = {0};
    vl2_map map;
    VL2_TRY(vl2_map_open(&map, path, err));
    vl2_status status = vl2_gguf_parse(&first.keys, &first.list, map.data, map.size, path, err);
    if (status == VL2_OK) status = vl2_gguf_size(out, &first.keys, "split.count", 1, err);
    if (status == VL2_OK && *out > MAX_SHARDS)
        status = vl2_fail(err, VL2_ERR_LIMIT, "%s: split.count is %zu, expected up to %d", path,
                          *out, MAX_SHARDS);
    vl2_gguf_free(&first.keys);
    vl2_safetensors_free(&first.list);
    vl2_map_close(&map);
    if (status == VL2_OK && *out == 0) *out = 1;
    return status;
}

/* *out = the path of part i (from 0) of n: "<stem>-00001-of-00003.gguf". */
static vl2_status part_path(char **out, const char *path, size_t i, size_t n, vl2_error *err) {
    enum { SUFFIX = sizeof "-00001-of-00003.gguf" - 1 };
    char suffix[64];
    size_t size = strlen(path);
    vl2_buf text = {0};
    snprintf(suffix, sizeof suffix, "-of-%05zu.gguf", n);
    if (size < SUFFIX || strcmp(path + size - strlen(suffix), suffix) != 0)
        return vl2_fail(err, VL2_ERR_FORMAT,
                        "%s is one of %zu parts, expected a name that ends in -00001%s", path, n,
                        suffix);
    VL2_TRY(vl2_buf_add(&text, path, size - SUFFIX, err));
    vl2_status status = vl2_buf_addf(&text, err, "-%05zu%s", i + 1, suffix);
    if (status == VL2_OK) status = vl2_buf_detach(&text, out, NULL, err);
    vl2_buf_free(&text);
    return status;
}

static vl2_status open_part(vl2_checkpoint *c, size_t i, char *path, vl2_error *err) {
    VL2_TRY(open_shard(&c->shards[i], path, err));
    if (c->shards[i].is_gguf) return VL2_OK;
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: no GGUF file: it does not begin with \"GGUF\"", path);
}

static vl2_status open_parts(vl2_checkpoint *c, const char *path, size_t n, const char *mmproj,
                             vl2_error *err) {
    for (size_t i = 0; i < n; i++) {
        char *part;
        if (n > 1)
            VL2_TRY(part_path(&part, path, i, n, err));
        else if (!(part = vl2_mem_strdup(path, strlen(path))))
            return vl2_fail_memory(err, path, strlen(path) + 1);
        VL2_TRY(open_part(c, i, part, err));
    }
    if (mmproj) {
        char *copy = vl2_mem_strdup(mmproj, strlen(mmproj));
        if (!copy) return vl2_fail_memory(err, mmproj, strlen(mmproj) + 1);
        c->mmproj = n;
        VL2_TRY(open_part(c, n, copy, err));
    }
    return sort_names(c, err);
}

vl2_status vl2_checkpoint_open_gguf(vl2_checkpoint **out, const char *path, const char *mmproj,
                                    vl2_error *err) {
    size_t n;
    vl2_checkpoint *c;
    VL2_TRY(read_parts(&n, path, err));
    VL2_TRY(checkpoint_create(&c, path, n + (mmproj != NULL), err));
    vl2_status status = open_parts(c, path, n, mmproj, err);
    if (status == VL2_OK)
        *out = c;
    else
        vl2_checkpoint_close(c);
    return status;
}

const vl2_gguf *vl2_checkpoint_keys(const vl2_checkpoint *checkpoint) {
    return checkpoint->shards[0].is_gguf ? &checkpoint->shards[0].keys : NULL;
}

const vl2_gguf *vl2_checkpoint_mmproj_keys(const vl2_checkpoint *checkpoint) {
    return checkpoint->mmproj ? &checkpoint->shards[checkpoint->mmproj].keys : NULL;
}

/* ---- questions --------------------------------------------------------------------------------- */

size_t vl2_checkpoint_count(const vl2_checkpoint *checkpoint) { return checkpoint->n_tensors; }

const vl2_tensor *vl2_checkpoint_at(const vl2_checkpoint *checkpoint, size_t i) {
    return checkpoint->sorted[i];
}

const vl2_tensor *vl2_checkpoint_find(const vl2_checkpoint *checkpoint, const char *name) {
    size_t low = 0, high = checkpoint->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(checkpoint->sorted[middle]->name, name);
        if (order == 0) return checkpoint->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const char *vl2_checkpoint_file(const vl2_checkpoint *checkpoint, const vl2_tensor *tensor) {
    return checkpoint->shards[tensor->shard].path;
}

const char *vl2_checkpoint_name(const vl2_checkpoint *checkpoint) { return checkpoint->name; }
uint64_t vl2_checkpoint_bytes(const vl2_checkpoint *checkpoint) { return checkpoint->bytes; }
