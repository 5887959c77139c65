/* vl2_dev.h but for traces and made-up engines: tokenizers alone, what is in a file, timing. */
#include "engine/engine.h"
#include "vl2/vl2_dev.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "prompt/tokenizer_gguf.h"
#include "image/views.h"
#include "model/resolution.h"

struct vl2_dev_tokenizer {
    vl2_tokenizer *tokenizer;
};

static vl2_status open_tokenizer(vl2_tokenizer **out, const char *path, vl2_error *err) {
    size_t size = strlen(path);
    if (size <= 5 || strcmp(path + size - 5, ".gguf") != 0 || vl2_file_is_folder(path))
        return vl2_tokenizer_open(out, path, NULL, NULL, err);
    vl2_checkpoint *checkpoint;
    VL2_TRY(vl2_checkpoint_open_gguf(&checkpoint, path, NULL, err));
    vl2_status status =
        vl2_tokenizer_gguf_open(out, vl2_checkpoint_keys(checkpoint), NULL, NULL, err);
    vl2_checkpoint_close(checkpoint);
    return status;
}

vl2_status vl2_dev_tokenizer_open(vl2_dev_tokenizer **out, const char *path, vl2_error *err) {
    vl2_dev_tokenizer *opened = vl2_mem_calloc(1, sizeof *opened);
    if (!opened) return vl2_fail_memory(err, "a tokenizer", sizeof *opened);
    vl2_status status = open_tokenizer(&opened->tokenizer, path, err);
    if (status != VL2_OK) {
        vl2_mem_free(opened);
        return status;
    }
    *out = opened;
    return VL2_OK;
}

void vl2_dev_tokenizer_close(vl2_dev_tokenizer *tokenizer) {
    if (!tokenizer) return;
    vl2_tokenizer_close(tokenizer->tokenizer);
    vl2_mem_free(tokenizer);
}

vl2_status vl2_dev_tokenize(int32_t **out, size_t *n, const vl2_dev_tokenizer *tokenizer,
                            const char *text, size_t size, vl2_error *err) {
    return vl2_text_encode(out, n, tokenizer->tokenizer, text, size, err);
}

vl2_status vl2_dev_detokenize(char **out, size_t *size, const vl2_dev_tokenizer *tokenizer,
                              const int32_t *ids, size_t n, bool skip_special, vl2_error *err) {
    return vl2_text_decode(out, size, tokenizer->tokenizer, ids, n, skip_special, err);
}

struct vl2_dev_checkpoint {
    vl2_checkpoint *checkpoint;
};

vl2_status vl2_dev_checkpoint_open(vl2_dev_checkpoint **out, const char *path, vl2_error *err) {
    vl2_dev_checkpoint *opened = vl2_mem_calloc(1, sizeof *opened);
    if (!opened) return vl2_fail_memory(err, "a checkpoint", sizeof *opened);
    size_t size = strlen(path);
    bool gguf = size > 5 && strcmp(path + size - 5, ".gguf") == 0;
    vl2_status status = vl2_file_is_folder(path) || gguf
                            ? vl2_checkpoint_open(&opened->checkpoint, path, err)
                            : vl2_checkpoint_open_file(&opened->checkpoint, path, err);
    if (status != VL2_OK) {
        vl2_mem_free(opened);
        return status;
    }
    *out = opened;
    return VL2_OK;
}

void vl2_dev_checkpoint_close(vl2_dev_checkpoint *checkpoint) {
    if (!checkpoint) return;
    vl2_checkpoint_close(checkpoint->checkpoint);
    vl2_mem_free(checkpoint);
}

size_t vl2_dev_checkpoint_count(const vl2_dev_checkpoint *checkpoint) {
    return vl2_checkpoint_count(checkpoint->checkpoint);
}

vl2_dev_tensor vl2_dev_checkpoint_at(const vl2_dev_checkpoint *checkpoint, size_t i) {
    const vl2_tensor *tensor = vl2_checkpoint_at(checkpoint->checkpoint, i);
    return (vl2_dev_tensor){.name = tensor->name,
                            .type = vl2_dtype_of(tensor->type)->name,
                            .file = vl2_checkpoint_file(checkpoint->checkpoint, tensor),
                            .rank = tensor->rank,
                            .shape = tensor->shape,
                            .bytes = tensor->bytes};
}

/* Bytes that any picture may have: a mixture that repeats late. */
static void fill_noise(uint8_t *out, size_t n) {
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = (uint8_t)(state >> 24);
    }
}

vl2_status vl2_dev_time_views(double *vision_ms, double *projector_ms, vl2_engine *engine, size_t n,
                              vl2_error *err) {
    const vl2_config *config = &engine->config;
    const vl2_view_scratch *scratch = &engine->views;
    size_t bytes = 3 * config->vision.side * config->vision.side;
    VL2_TRY(vl2_rows_scratch(engine, err));
    uint8_t *tile = vl2_mem_alloc(bytes);
    if (!tile) return vl2_fail_memory(err, "a view", bytes);
    fill_noise(tile, bytes);
    double vision = 0, projector = 0;
    for (size_t i = 0; i < n; i++) {
        double start = vl2_engine_clock_ms();
        (void)vl2_siglip_forward(engine->be, scratch->feat, tile, 1, config,
                                 &engine->weights.vision, &scratch->siglip, NULL, NULL, err);
        double middle = vl2_engine_clock_ms();
        vl2_projector_forward(engine->be, scratch->rows, scratch->feat, 1, config,
                              &engine->weights.projector, &scratch->projector);
        vision += middle - start;
        projector += vl2_engine_clock_ms() - middle;
    }
    vl2_mem_free(tile);
    *vision_ms = vision;
    *projector_ms = projector;
    return VL2_OK;
}

vl2_status vl2_dev_make_views(size_t *n_views, vl2_engine *engine, const vl2_picture *picture,
                              vl2_error *err) {
    const vl2_image_config *image = &engine->config.image;
    size_t wide, high;
    uint8_t *tiles = NULL;
    vl2_resolution_choose(&wide, &high, image, vl2_picture_width(picture),
                          vl2_picture_height(picture), true);
    VL2_TRY(vl2_views_make(&tiles, image, picture, wide, high, engine->be->pool, err));
    vl2_mem_free(tiles);
    *n_views = 1 + wide * high;
    return VL2_OK;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* One scratch serves steps, tower and projector: the largest of them. */
static size_t backend_bytes(const vl2_engine *engine, size_t chunk) {
    size_t rows, cols, some_rows, some_cols;
    vl2_decoder_extent(&rows, &cols, &engine->config, chunk);
    vl2_siglip_extent(&some_rows, &some_cols, &engine->config, 1);
    rows = larger(rows, some_rows);
    cols = larger(cols, some_cols);
    vl2_projector_extent(&some_rows, &some_cols, &engine->config, 1);
    return vl2_backend_scratch(engine->be, larger(rows, some_rows), larger(cols, some_cols));
}

vl2_dev_memory vl2_dev_memory_of(const vl2_engine *engine, size_t chunk_tokens) {
    const vl2_language_config *lang = &engine->config.lang;
    size_t rows = chunk_tokens ? chunk_tokens : engine->ctx_tokens;
    size_t blocks = engine->ctx_tokens / VL2_KV_BLOCK + 1;
    return (vl2_dev_memory){
        .weights_mapped = engine->checkpoint ? vl2_checkpoint_bytes(engine->checkpoint) : 0,
        .weights_copied = engine->weights.owned_bytes + engine->int8_bytes,
        .kv_pool = vl2_kv_pool_bytes(lang, engine->be->kv_type, engine->kv_tokens),
        .step_scratch = vl2_batch_plan(engine, rows, 1),
        .vision_scratch = vl2_rows_plan(&engine->config),
        .backend_scratch = backend_bytes(engine, rows),
        .session = lang->vocab * sizeof(float) + blocks * sizeof(uint32_t),
        .vocabulary = engine->tokenizer ? vl2_tokenizer_bytes(engine->tokenizer) : 0,
    };
}

vl2_status vl2_dev_sha256_file(uint8_t out[32], const char *path, vl2_error *err) {
    vl2_map map;
    VL2_TRY(vl2_map_open(&map, path, err));
    vl2_sha256 sum;
    vl2_sha256_init(&sum);
    vl2_sha256_add(&sum, map.data, map.size);
    vl2_sha256_end(&sum, out);
    vl2_map_close(&map);
    return VL2_OK;
}
