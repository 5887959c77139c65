#include "engine/source.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/gguf_config.h"
#include "prompt/tokenizer_gguf.h"

enum { MAX_CONFIG_BYTES = 1 << 24 };

/* …/models/demo, with or without slashes at its end. */
static bool is_demo_path(const char *path) {
    static const char demo[] = "models/demo";
    size_t size = strlen(path), n = sizeof demo - 1;
    while (size > 1 && path[size - 1] == '/') size--;
    return size >= n && memcmp(path + size - n, demo, n) == 0 &&
           (size == n || path[size - n - 1] == '/');
}

static vl2_status read_demo_mark(bool *out, const char *folder, vl2_error *err) {
    char *path = NULL;
    vl2_json_doc *doc = NULL;
    vl2_status status;
    VL2_GOTO(done, status, vl2_path_join(&path, folder, "config.json", err));
    VL2_GOTO(done, status, vl2_json_read(&doc, path, MAX_CONFIG_BYTES, err));
    status =
        vl2_json_get_bool(out, vl2_json_root(doc), path, "vl2_demo", is_demo_path(folder), err);
done:
    vl2_json_free(doc);
    vl2_mem_free(path);
    return status;
}

static const char *pad_of(const vl2_config *config) {
    return config->image.pad_token[0] ? config->image.pad_token : NULL;
}

static vl2_status open_folder(vl2_source *out, const char *path, vl2_error *err) {
    vl2_config *config = &out->config;
    if (!vl2_file_is_folder(path))
        return vl2_fail(err, VL2_ERR_IO,
                        "%s: %s; expected the folder of a checkpoint, with config.json, or a .gguf "
                        "file",
                        path, vl2_file_exists(path) ? "is a file" : "no such folder");
    VL2_TRY(vl2_config_read(config, path, err));
    VL2_TRY(vl2_checkpoint_open(&out->checkpoint, path, err));
    VL2_TRY(vl2_weights_bind(&out->weights, config, out->checkpoint, err));
    VL2_TRY(
        vl2_tokenizer_open(&out->tokenizer, path, config->image.image_token, pad_of(config), err));
    return read_demo_mark(&out->is_demo, path, err);
}

static vl2_status open_gguf(vl2_source *out, const char *path, const char *mmproj, vl2_error *err) {
    vl2_config *config = &out->config;
    VL2_TRY(vl2_checkpoint_open_gguf(&out->checkpoint, path, mmproj, err));
    const vl2_gguf *keys = vl2_checkpoint_keys(out->checkpoint);
    VL2_TRY(vl2_gguf_config_read(config, out->checkpoint, err));
    VL2_TRY(vl2_weights_bind(&out->weights, config, out->checkpoint, err));
    VL2_TRY(vl2_tokenizer_gguf_open(&out->tokenizer, keys, config->image.image_token,
                                    pad_of(config), err));
    return vl2_gguf_flag(&out->is_demo, keys, "vl2.demo", false, err);
}

vl2_status vl2_source_open(vl2_source *out, const char *path, const char *mmproj, vl2_error *err) {
    if (!path || !*path) return vl2_fail(err, VL2_ERR_ARGUMENT, "the model's path is empty");
    size_t size = strlen(path);
    bool gguf = size > 5 && strcmp(path + size - 5, ".gguf") == 0 && !vl2_file_is_folder(path);
    if (gguf) return open_gguf(out, path, mmproj, err);
    if (mmproj)
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "%s: a vision half is given beside a model that is no .gguf file", mmproj);
    return open_folder(out, path, err);
}

void vl2_source_close(vl2_source *source) {
    vl2_tokenizer_close(source->tokenizer);
    vl2_weights_free(&source->weights);
    vl2_checkpoint_close(source->checkpoint);
    *source = (vl2_source){0};
}
