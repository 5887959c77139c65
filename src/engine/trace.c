/* vl2_dev_trace: one conversation on the production path, with what the stages made written down. */
#include "engine/engine.h"
#include "vl2/vl2_dev.h"

#include <stdio.h>
#include <string.h>

#include "base/abi.h"
#include "base/mem.h"

enum { DEFAULT_GREEDY = 24, DEFAULT_CHUNK = 512, LAST_POSITIONS = 8, NAME_SIZE = 32, FIXED = 9 };

typedef struct trace {
    vl2_engine *engine;
    vl2_prompt *prompt;
    vl2_dev_trace_options options;
    size_t n_tokens, n_kept;      /* T, K */
    size_t n_views, span_view;    /* N; index of the first view of the span being encoded */
    size_t step_first, step_size; /* tokens of the step under way */
    int32_t *spatial_crop;        /* [images,2] */
    uint8_t *mask;                /* [T] */
    uint8_t *tiles;               /* [N,3,S,S] */
    float *vision;                /* [N,G*G,Dv] */
    float *projector;             /* [N,g*g,D] */
    float *inputs_embeds;         /* [T,D] */
    float *hidden;                /* [L+1,K,D] */
    float *logits;                /* [K,V] */
    int32_t *greedy_ids;          /* [options.greedy] */
    size_t n_greedy;
    char (*names)[NAME_SIZE]; /* [L+1] */
    vl2_tensor_plan *plan;    /* [FIXED + L+1] */
    size_t n_plan;
    vl2_session *session;
    vl2_batch *batch;
    vl2_sampler *sampler;
} trace;

void vl2_dev_trace_options_init(vl2_dev_trace_options *options) {
    *options = (vl2_dev_trace_options){
        .struct_size = sizeof *options, .greedy = DEFAULT_GREEDY, .chunk_tokens = DEFAULT_CHUNK};
}

/* *out: a * b * c zeroed elements. */
static vl2_status take(void *out, size_t element, size_t a, size_t b, size_t c, vl2_error *err) {
    size_t n;
    void *memory = NULL;
    if (vl2_mul(&n, a, b) && vl2_mul(&n, n, c)) memory = vl2_mem_calloc(n, element);
    if (!memory) return vl2_fail_memory(err, "a trace", a * b * c * element);
    memcpy(out, &memory, sizeof memory);
    return VL2_OK;
}

static vl2_status take_all(trace *t, vl2_error *err) {
    const vl2_config *config = &t->engine->config;
    const vl2_vision_config *vision = &config->vision;
    size_t width = config->lang.hidden, layers = config->lang.layers + 1;
    size_t projected = config->projector.grid * config->projector.grid;
    size_t n_spans = t->prompt->n_spans;
    VL2_TRY(take(&t->mask, 1, t->n_tokens, 1, 1, err));
    VL2_TRY(take(&t->spatial_crop, sizeof(int32_t), n_spans, 2, 1, err));
    VL2_TRY(take(&t->tiles, 1, t->n_views, 3, vision->side * vision->side, err));
    VL2_TRY(take(&t->vision, sizeof(float), t->n_views, vision->grid * vision->grid, vision->width,
                 err));
    VL2_TRY(take(&t->projector, sizeof(float), t->n_views, projected, width, err));
    VL2_TRY(take(&t->inputs_embeds, sizeof(float), t->n_tokens, width, 1, err));
    VL2_TRY(take(&t->hidden, sizeof(float), layers, t->n_kept, width, err));
    VL2_TRY(take(&t->logits, sizeof(float), t->n_kept, config->lang.vocab, 1, err));
    VL2_TRY(take(&t->greedy_ids, sizeof(int32_t), t->options.greedy, 1, 1, err));
    VL2_TRY(take(&t->names, NAME_SIZE, layers, 1, 1, err));
    return take(&t->plan, sizeof *t->plan, FIXED + layers, 1, 1, err);
}

static void drop_all(trace *t) {
    void *const all[] = {t->mask,       t->spatial_crop,  t->tiles,  t->vision,
                         t->projector,  t->inputs_embeds, t->hidden, t->logits,
                         t->greedy_ids, t->names,         t->plan};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) vl2_mem_free(all[i]);
    vl2_sampler_free(t->sampler);
    vl2_batch_free(t->batch);
    vl2_session_free(t->session);
}

/* The step's last n rows of a layer; those of the kept positions are kept. */
static void keep_hidden(trace *t, size_t layer, const float *rows, size_t n, size_t width) {
    size_t end = t->step_first + t->step_size, kept_from = t->n_tokens - t->n_kept;
    for (size_t i = 0; i < n; i++) {
        size_t position = end - n + i;
        if (position < kept_from) continue;
        float *out = t->hidden + (layer * t->n_kept + position - kept_from) * width;
        memcpy(out, rows + i * width, width * sizeof(float));
    }
}

static void on_rows(void *user, const char *name, size_t index, size_t first, const float *rows,
                    size_t n, size_t width) {
    trace *t = user;
    size_t count = n * width;
    if (strcmp(name, "vision") == 0) {
        memcpy(t->vision + (t->span_view + index) * count, rows, count * sizeof(float));
    } else if (strcmp(name, "projector") == 0) {
        memcpy(t->projector + (t->span_view + index) * count, rows, count * sizeof(float));
    } else if (strcmp(name, "inputs_embeds") == 0) {
        memcpy(t->inputs_embeds + (t->step_first + first) * width, rows, count * sizeof(float));
    } else if (strcmp(name, "hidden") == 0 && index <= t->engine->config.lang.layers) {
        keep_hidden(t, index, rows, n, width);
    }
}

static size_t views_before(const vl2_prompt *prompt, size_t span) {
    size_t views = 0;
    for (size_t i = 0; i < span; i++) {
        views += 1 + prompt->spans[i].tiles_wide * prompt->spans[i].tiles_high;
    }
    return views;
}

static void on_tiles(void *user, size_t span, const uint8_t *tiles, size_t n_views) {
    trace *t = user;
    size_t side = t->engine->config.vision.side, bytes = 3 * side * side;
    t->span_view = views_before(t->prompt, span);
    memcpy(t->tiles + t->span_view * bytes, tiles, n_views * bytes);
    t->spatial_crop[2 * span] = (int32_t)t->prompt->spans[span].tiles_wide;
    t->spatial_crop[2 * span + 1] = (int32_t)t->prompt->spans[span].tiles_high;
}

static vl2_status encode(trace *t, const vl2_tap *tap, vl2_error *err) {
    vl2_encode_request request = {.max_views = 1, .tap = tap, .on_tiles = on_tiles, .user = t};
    size_t left = t->n_views;
    vl2_prompt_forget_rows(t->prompt);
    while (left) {
        VL2_TRY(vl2_prompt_encode_views(t->prompt, t->engine, &request, &left, err));
        vl2_engine_progress(t->engine, "vision", t->n_views - left, t->n_views);
    }
    for (size_t i = 0; i < t->prompt->n_spans; i++) {
        const vl2_span *span = &t->prompt->spans[i];
        memset(t->mask + span->first_token, 1, span->n_tokens);
    }
    return VL2_OK;
}

static vl2_status prefill(trace *t, const vl2_tap *tap, vl2_error *err) {
    size_t chunk = t->options.chunk_tokens, kept_from = t->n_tokens - t->n_kept;
    if (!chunk || chunk > t->n_tokens) chunk = t->n_tokens;
    VL2_TRY(vl2_batch_create(&t->batch, t->engine, chunk, 1, err));
    VL2_TRY(vl2_session_create(&t->session, t->engine, err));
    VL2_TRY(vl2_session_feed_prompt(t->session, t->prompt, 0, err));
    for (size_t first = 0; first < t->n_tokens; first += t->step_size) {
        size_t n = t->n_tokens - first < chunk ? t->n_tokens - first : chunk;
        size_t from = first > kept_from ? first : kept_from;
        vl2_step_watch watch = {.tap = tap};
        if (from < first + n) {
            watch.n_out = first + n - from;
            watch.logits = t->logits + (from - kept_from) * t->engine->config.lang.vocab;
        }
        vl2_step step = {.session = t->session, .n_tokens = n};
        t->step_first = first;
        t->step_size = n;
        VL2_TRY(vl2_batch_run(t->batch, &step, 1, &watch, NULL, NULL, err));
        vl2_engine_progress(t->engine, "prefill", first + n, t->n_tokens);
    }
    return VL2_OK;
}

static vl2_status go_on(trace *t, vl2_error *err) {
    VL2_TRY(vl2_sampler_create(&t->sampler, t->engine, NULL, t->prompt->ids, t->n_tokens, err));
    while (t->n_greedy < t->options.greedy) {
        int32_t id;
        VL2_TRY(vl2_sampler_next(t->sampler, vl2_session_logits(t->session), &id, err));
        t->greedy_ids[t->n_greedy++] = id;
        if (vl2_is_eos(t->engine, id) || t->n_greedy == t->options.greedy) break;
        if (vl2_session_length(t->session) == t->engine->ctx_tokens) break;
        vl2_step step = {.session = t->session, .n_tokens = 1};
        VL2_TRY(vl2_session_feed_token(t->session, id, err));
        VL2_TRY(vl2_batch_step(t->batch, &step, 1, err));
    }
    return VL2_OK;
}

static void add(trace *t, const char *name, vl2_dtype type, const void *data, size_t rank,
                const size_t *shape) {
    vl2_tensor_plan *plan = &t->plan[t->n_plan++];
    *plan = (vl2_tensor_plan){.name = name, .type = type, .rank = rank, .data = data};
    memcpy(plan->shape, shape, rank * sizeof *shape);
}

/* The file's tensors; docs/PRODUCT's trace: what pictures give is absent without pictures. */
static void plan_file(trace *t) {
    const vl2_config *config = &t->engine->config;
    size_t side = config->vision.side, width = config->lang.hidden;
    size_t patches = config->vision.grid * config->vision.grid;
    size_t projected = config->projector.grid * config->projector.grid;
    add(t, "input_ids", VL2_I32, t->prompt->ids, 1, &t->n_tokens);
    add(t, "images_seq_mask", VL2_U8, t->mask, 1, &t->n_tokens);
    if (t->n_views) {
        add(t, "spatial_crop", VL2_I32, t->spatial_crop, 2, (size_t[]){t->prompt->n_spans, 2});
        add(t, "tiles", VL2_U8, t->tiles, 4, (size_t[]){t->n_views, 3, side, side});
        add(t, "vision", VL2_F32, t->vision, 3,
            (size_t[]){t->n_views, patches, config->vision.width});
        add(t, "projector", VL2_F32, t->projector, 3, (size_t[]){t->n_views, projected, width});
    } else {
        add(t, "tiles", VL2_U8, t->tiles, 4, (size_t[]){0, 3, 1, 1});
    }
    add(t, "inputs_embeds", VL2_F32, t->inputs_embeds, 2, (size_t[]){t->n_tokens, width});
    for (size_t i = 0; i <= config->lang.layers; i++) {
        snprintf(t->names[i], NAME_SIZE, "hidden.%zu", i);
        add(t, t->names[i], VL2_F32, t->hidden + i * t->n_kept * width, 2,
            (size_t[]){t->n_kept, width});
    }
    add(t, "logits", VL2_F32, t->logits, 2, (size_t[]){t->n_kept, config->lang.vocab});
    add(t, "greedy_ids", VL2_I32, t->greedy_ids, 1, &t->n_greedy);
}

static vl2_status run_all(trace *t, vl2_error *err) {
    VL2_TRY(vl2_prompt_fits(t->prompt, 0, 0, err));
    t->n_tokens = t->prompt->n_ids;
    t->n_views = views_before(t->prompt, t->prompt->n_spans);
    t->n_kept =
        t->options.all_positions || t->n_tokens < LAST_POSITIONS ? t->n_tokens : LAST_POSITIONS;
    size_t room = t->engine->ctx_tokens - t->n_tokens + 1;
    if (t->options.greedy > room) t->options.greedy = room;
    VL2_TRY(take_all(t, err));
    vl2_tap tap = {.fn = on_rows, .user = t};
    VL2_TRY(encode(t, &tap, err));
    VL2_TRY(prefill(t, &tap, err));
    return go_on(t, err);
}

vl2_status vl2_dev_trace(const char *out_path, vl2_engine *engine, vl2_prompt *prompt,
                         const vl2_dev_trace_options *options, vl2_error *err) {
    trace t = {.engine = engine, .prompt = prompt};
    vl2_dev_trace_options_init(&t.options);
    VL2_TRY(vl2_abi_copy(&t.options, sizeof t.options, options, "vl2_dev_trace_options", err));
    vl2_status status = run_all(&t, err);
    if (status == VL2_OK) {
        plan_file(&t);
        status = vl2_safetensors_write(out_path, t.plan, t.n_plan, err);
    }
    drop_all(&t);
    return status;
}
