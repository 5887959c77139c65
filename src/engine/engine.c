#include "engine/engine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/abi.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/source.h"

enum {
    MAX_CONTEXT = 1 << 24, /* tokens: far over what any model was trained for */
    MAX_CONTEXTS = 1024,
    MAX_THREADS = 1024,
    MAX_CONFIG_BYTES = 1 << 24
};

void vl2_engine_options_init(vl2_engine_options *options) {
    *options = (vl2_engine_options){.struct_size = sizeof *options, .compute = VL2_COMPUTE_AUTO};
}

vl2_status vl2_engine_options_read(vl2_engine_options *out, const vl2_engine_options *options,
                                   vl2_error *err) {
    vl2_engine_options_init(out);
    VL2_TRY(vl2_abi_copy(out, sizeof *out, options, "vl2_engine_options", err));
    if (out->threads < 0 || out->threads > MAX_THREADS) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "threads is %d, expected 0 (all cores) to %d",
                        out->threads, MAX_THREADS);
    }
    if (out->compute != VL2_COMPUTE_AUTO && out->compute != VL2_COMPUTE_F32) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "compute is %d, expected auto or f32",
                        (int)out->compute);
    }
    if (out->vision != VL2_VISION_AUTO && out->vision != VL2_VISION_INT8) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "vision is %d, expected auto or int8",
                        (int)out->vision);
    }
    if (out->vision == VL2_VISION_INT8 && out->compute == VL2_COMPUTE_F32) {
        return vl2_fail(
            err, VL2_ERR_ARGUMENT,
            "vision int8 rounds to bytes and compute f32 rounds nothing: leave one out");
    }
    if (out->kv_contexts > MAX_CONTEXTS) {
        return vl2_fail(err, VL2_ERR_LIMIT, "kv_contexts is %zu, expected at most %d",
                        out->kv_contexts, MAX_CONTEXTS);
    }
    if (out->ctx_tokens > MAX_CONTEXT || out->kv_tokens > MAX_CONTEXT) {
        return vl2_fail(err, VL2_ERR_LIMIT,
                        "a context of %zu tokens is over the limit of %d (ctx_tokens, --ctx-size)",
                        out->ctx_tokens > MAX_CONTEXT ? out->ctx_tokens : out->kv_tokens,
                        MAX_CONTEXT);
    }
    return VL2_OK;
}

void vl2_engine_log(const vl2_engine *engine, const char *fmt, ...) {
    if (!engine->log) return;
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    engine->log(engine->log_user, line);
}

void vl2_engine_progress(const vl2_engine *engine, const char *stage, size_t done, size_t total) {
    if (engine->progress) engine->progress(engine->progress_user, stage, done, total);
}

double vl2_engine_clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

vl2_status vl2_engine_tokenizer(const vl2_tokenizer **out, const vl2_engine *engine,
                                vl2_error *err) {
    if (!engine->tokenizer) {
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "%s has made-up weights and no tokenizer: it takes ids, not texts",
                        engine->name);
    }
    *out = engine->tokenizer;
    return VL2_OK;
}

static size_t most_views(const vl2_image_config *image) {
    size_t most = 0;
    for (size_t i = 0; i < image->n_candidates; i++) {
        const vl2_resolution *r = &image->candidates[i];
        size_t views = 1 + r->width / image->side * (r->height / image->side);
        if (views > most) most = views;
    }
    return most;
}

static void fill_info(vl2_engine *engine, const vl2_engine_options *options) {
    const vl2_config *config = &engine->config;
    const vl2_language_config *lang = &config->lang;
    size_t value_bytes = vl2_dtype_of(engine->be->kv_type)->block_bytes;
    engine->info = (vl2_info){
        .name = engine->name,
        .architecture = "deepseek_vl_v2",
        .parameters = engine->weights.parameters,
        .activated_parameters = engine->weights.activated,
        .weight_bytes = engine->checkpoint ? vl2_checkpoint_bytes(engine->checkpoint)
                                           : engine->weights.owned_bytes,
        .vocab_size = lang->vocab,
        .hidden_size = lang->hidden,
        .layers = lang->layers,
        .experts = lang->experts,
        .experts_per_token = lang->experts_per_token,
        .max_positions = lang->max_positions,
        .ctx_tokens = engine->ctx_tokens,
        .kv_tokens = engine->kv_tokens,
        .kv_block_tokens = VL2_KV_BLOCK,
        .kv_bytes_per_token = vl2_config_kv_width(lang) * lang->layers * value_bytes,
        .view_side = config->vision.side,
        .tokens_per_view = config->projector.grid * config->projector.grid,
        .max_views = most_views(&config->image),
        .threads = vl2_pool_threads(engine->be->pool),
        .cpu_level = engine->be->level,
        .compute = options->compute == VL2_COMPUTE_F32 ? "f32" : "auto",
    };
}

/* A count in people's words: "3.37 B", "0.3 M". */
static void say_count(char *out, size_t size, uint64_t count) {
    bool billions = count >= 1000000000u;
    snprintf(out, size, "%.*f %c", billions ? 2 : 1, (double)count * (billions ? 1e-9 : 1e-6),
             billions ? 'B' : 'M');
}

static void log_start(const vl2_engine *engine) {
    const vl2_info *info = &engine->info;
    char all[32], activated[32];
    say_count(all, sizeof all, info->parameters);
    say_count(activated, sizeof activated, info->activated_parameters);
    vl2_engine_log(engine, "%s: %s parameters (%s activated), %.1f MB", info->name, all, activated,
                   (double)info->weight_bytes * 1e-6);
    vl2_engine_log(engine, "%d threads, CPU level %s, compute %s", info->threads, info->cpu_level,
                   info->compute);
    vl2_engine_log(engine, "context %zu tokens; KV cache %zu tokens, %zu bytes each",
                   info->ctx_tokens, info->kv_tokens, info->kv_bytes_per_token);
    if (info->ctx_tokens > info->max_positions) {
        vl2_engine_log(engine,
                       "warning: a context of %zu tokens is more than the %zu positions of the "
                       "model's config (max_position_embeddings); expect worse answers past them",
                       info->ctx_tokens, info->max_positions);
    }
}

/* The vision tower's weights as bytes, in memory of the engine's own. */
static vl2_status make_int8(vl2_engine *engine, vl2_error *err) {
    if (!engine->config.has_vision) return VL2_OK;
    const double begun = vl2_engine_clock_ms();
    const size_t layers = engine->config.vision.layers;
    const size_t bytes = vl2_int8_plan(engine->be, &engine->weights.vision, layers);
    engine->int8 = vl2_mem_map(bytes);
    if (!engine->int8) return vl2_fail_memory(err, "the vision tower's weights in int8", bytes);
    engine->int8_bytes = bytes;
    vl2_int8_make(engine->be, &engine->weights.vision, layers, engine->int8);
    vl2_engine_log(engine, "vision tower in int8: %.1f MB of weights, made in %.0f ms",
                   (double)bytes * 1e-6, vl2_engine_clock_ms() - begun);
    return VL2_OK;
}

vl2_status vl2_engine_start(vl2_engine *engine, const vl2_engine_options *options, const char *name,
                            vl2_error *err) {
    const vl2_language_config *lang = &engine->config.lang;
    engine->log = options->log;
    engine->log_user = options->log_user;
    engine->progress = options->progress;
    engine->progress_user = options->progress_user;
    engine->ctx_tokens = options->ctx_tokens ? options->ctx_tokens : lang->max_positions;
    const size_t contexts = options->kv_contexts ? options->kv_contexts : 1;
    engine->kv_tokens = options->kv_tokens ? options->kv_tokens : engine->ctx_tokens * contexts;
    engine->name = vl2_mem_strdup(name, strlen(name));
    if (!engine->name) return vl2_fail_memory(err, "the engine", strlen(name) + 1);
    vl2_backend_options be = {
        .threads = options->threads, .cpu_level = options->cpu_level, .compute = options->compute};
    VL2_TRY(vl2_backend_create(&engine->be, &be, err));
    VL2_TRY(vl2_kv_pool_create(&engine->kv, lang, engine->be->kv_type, engine->kv_tokens, err));
    fill_info(engine, options);
    return options->vision == VL2_VISION_INT8 ? make_int8(engine, err) : VL2_OK;
}

/* Asks for the files' pages, so that the first answer does not wait for each of them. */
static void page_in(const vl2_engine *engine) {
    uint64_t total = vl2_checkpoint_bytes(engine->checkpoint), done = 0;
    long page = sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < vl2_checkpoint_count(engine->checkpoint); i++) {
        const vl2_tensor *tensor = vl2_checkpoint_at(engine->checkpoint, i);
        size_t into = page > 0 ? (uintptr_t)tensor->data % (size_t)page : 0;
        vl2_map map = {.data = (const uint8_t *)tensor->data - into, .size = tensor->bytes + into};
        if (tensor->bytes) vl2_map_prefetch(&map, 0, map.size);
        done += tensor->bytes;
        vl2_engine_progress(engine, "loading", (size_t)done, (size_t)total);
    }
}

vl2_status vl2_engine_base_name(char **out, const char *path, vl2_error *err) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    if (end > 5 && memcmp(path + end - 5, ".gguf", 5) == 0) end -= 5;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    *out = start < end ? vl2_mem_strdup(path + start, end - start) : vl2_mem_strdup(path, end);
    return *out ? VL2_OK : vl2_fail_memory(err, "the engine's name", end + 1);
}

static vl2_status load(vl2_engine *engine, const char *path, const vl2_engine_options *options,
                       vl2_error *err) {
    vl2_source source = {0};
    vl2_status opened = vl2_source_open(&source, path, options->mmproj, err);
    engine->config = source.config;
    engine->checkpoint = source.checkpoint;
    engine->weights = source.weights;
    engine->tokenizer = source.tokenizer;
    VL2_TRY(opened);
    char *name = NULL;
    VL2_TRY(vl2_engine_base_name(&name, path, err));
    vl2_status status = vl2_engine_start(engine, options, name, err);
    vl2_mem_free(name);
    if (status != VL2_OK) return status;
    engine->info.is_demo = source.is_demo;
    page_in(engine);
    log_start(engine);
    return VL2_OK;
}

vl2_status vl2_engine_open(vl2_engine **out, const char *path, const vl2_engine_options *options,
                           vl2_error *err) {
    vl2_engine_options given;
    VL2_TRY(vl2_engine_options_read(&given, options, err));
    vl2_engine *engine = vl2_mem_calloc(1, sizeof *engine);
    if (!engine) return vl2_fail_memory(err, "the engine", sizeof *engine);
    vl2_status status = load(engine, path, &given, err);
    if (status != VL2_OK) {
        vl2_engine_close(engine);
        return status;
    }
    *out = engine;
    return VL2_OK;
}

void vl2_engine_close(vl2_engine *engine) {
    if (!engine) return;
    vl2_arena_free(&engine->views.arena);
    vl2_kv_pool_free(engine->kv);
    vl2_backend_free(engine->be);
    vl2_tokenizer_close(engine->tokenizer);
    vl2_weights_free(&engine->weights);
    if (engine->int8) vl2_mem_unmap(engine->int8, engine->int8_bytes);
    vl2_checkpoint_close(engine->checkpoint);
    vl2_mem_free(engine->name);
    vl2_mem_free(engine);
}

const vl2_info *vl2_engine_info(const vl2_engine *engine) { return &engine->info; }

const char *const *vl2_cpu_levels(void) { return vl2_backend_levels(); }

size_t vl2_kv_tokens_free(const vl2_engine *engine) {
    return vl2_kv_pool_free_blocks(engine->kv) * VL2_KV_BLOCK;
}

bool vl2_is_eos(const vl2_engine *engine, int32_t id) {
    return engine->tokenizer && id == vl2_tokenizer_special(engine->tokenizer)->eos;
}
