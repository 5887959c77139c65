/* A conversation as ids with the places of its pictures, and the pictures' rows as they are made. */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/abi.h"
#include "base/mem.h"
#include "image/views.h"
#include "prompt/template.h"

void vl2_prompt_options_init(vl2_prompt_options *options) {
    *options = (vl2_prompt_options){.struct_size = sizeof *options};
}

/* The picture of index `index` over the whole conversation. */
static const vl2_picture *picture_at(const vl2_message *messages, size_t n, size_t index) {
    for (size_t i = 0; i < n; i++) {
        if (index < messages[i].n_pictures) return messages[i].pictures[index];
        index -= messages[i].n_pictures;
    }
    return NULL;
}

static vl2_status take_spans(vl2_prompt *prompt, const vl2_template_result *built,
                             const vl2_message *messages, size_t n, vl2_error *err) {
    prompt->spans = vl2_mem_calloc(built->n_spans, sizeof *prompt->spans);
    prompt->rows = vl2_mem_calloc(built->n_spans, sizeof *prompt->rows);
    prompt->tiles = vl2_mem_calloc(built->n_spans, sizeof *prompt->tiles);
    if (!prompt->spans || !prompt->rows || !prompt->tiles) {
        return vl2_fail_memory(err, "a prompt's pictures", built->n_spans * sizeof *prompt->spans);
    }
    for (size_t i = 0; i < built->n_spans; i++) {
        const vl2_template_span *span = &built->spans[i];
        prompt->spans[i] = (vl2_span){
            .first_token = span->first_token,
            .n_tokens = span->n_tokens,
            .tiles_wide = span->tiles_wide,
            .tiles_high = span->tiles_high,
            .message = span->message,
            .picture = vl2_picture_retain(picture_at(messages, n, span->picture)),
        };
        prompt->image_tokens += span->n_tokens;
        prompt->n_spans = i + 1;
    }
    return VL2_OK;
}

/* An id past the embedding table can only come from a tokenizer that is not the model's. */
static vl2_status check_ids(const vl2_prompt *prompt, vl2_error *err) {
    size_t vocab = prompt->engine->config.lang.vocab;
    for (size_t i = 0; i < prompt->n_ids; i++) {
        if (prompt->ids[i] < 0 || (size_t)prompt->ids[i] >= vocab) {
            return vl2_fail(err, VL2_ERR_FORMAT,
                            "%s: token %zu of the prompt has the id %d, but the model's "
                            "embedding has %zu rows; the tokenizer is not this model's",
                            prompt->engine->name, i, (int)prompt->ids[i], vocab);
        }
    }
    return VL2_OK;
}

/* A model without a vision half sees no pictures. */
static vl2_status check_vision(const vl2_engine *engine, const vl2_message *messages, size_t n,
                               vl2_error *err) {
    for (size_t i = 0; i < n && !engine->config.has_vision; i++) {
        if (messages[i].n_pictures == 0) continue;
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "%s has no vision half: it answers texts alone; give the file that has it "
                        "with --mmproj (vl2_engine_options.mmproj)",
                        engine->name);
    }
    return VL2_OK;
}

vl2_status vl2_prompt_build(vl2_prompt **out, const vl2_engine *engine, const vl2_message *messages,
                            size_t n_messages, const vl2_prompt_options *options, vl2_error *err) {
    vl2_prompt_options given;
    vl2_prompt_options_init(&given);
    VL2_TRY(vl2_abi_copy(&given, sizeof given, options, "vl2_prompt_options", err));
    const vl2_tokenizer *tokenizer;
    VL2_TRY(vl2_engine_tokenizer(&tokenizer, engine, err));
    VL2_TRY(check_vision(engine, messages, n_messages, err));
    vl2_template_result built = {0};
    VL2_TRY(
        vl2_template_build(&built, &engine->config, tokenizer, messages, n_messages, &given, err));
    vl2_prompt *prompt = vl2_mem_calloc(1, sizeof *prompt);
    vl2_status status = prompt ? VL2_OK : vl2_fail_memory(err, "a prompt", sizeof *prompt);
    if (status == VL2_OK) {
        prompt->engine = engine;
        prompt->ids = built.ids.data;
        prompt->n_ids = built.ids.size;
        built.ids = (vl2_ids){0};
        status = take_spans(prompt, &built, messages, n_messages, err);
    }
    if (status == VL2_OK) status = check_ids(prompt, err);
    vl2_template_free(&built);
    if (status != VL2_OK) {
        vl2_prompt_free(prompt);
        return status;
    }
    *out = prompt;
    return VL2_OK;
}

void vl2_prompt_forget_rows(vl2_prompt *prompt) {
    vl2_rows_abandon(&prompt->now);
    prompt->n_skipped = 0;
    for (size_t i = 0; i < prompt->n_spans; i++) {
        vl2_rows_free(prompt->rows[i]);
        prompt->rows[i] = NULL;
    }
}

void vl2_prompt_free(vl2_prompt *prompt) {
    if (!prompt) return;
    vl2_prompt_forget_rows(prompt);
    for (size_t i = 0; i < prompt->n_spans; i++) {
        vl2_picture_free(prompt->spans[i].picture);
        vl2_mem_free(prompt->tiles[i]);
    }
    vl2_mem_free(prompt->spans);
    vl2_mem_free(prompt->rows);
    vl2_mem_free(prompt->tiles);
    vl2_mem_free(prompt->ids);
    vl2_mem_free(prompt);
}

const int32_t *vl2_prompt_ids(const vl2_prompt *prompt, size_t *n) {
    *n = prompt->n_ids;
    return prompt->ids;
}

size_t vl2_prompt_image_tokens(const vl2_prompt *prompt) { return prompt->image_tokens; }

const vl2_span *vl2_prompt_spans(const vl2_prompt *prompt, size_t *n) {
    *n = prompt->n_spans;
    return prompt->spans;
}

vl2_rows *vl2_prompt_rows(const vl2_prompt *prompt, size_t span) {
    return span < prompt->n_spans ? prompt->rows[span] : NULL;
}

/* Still to be encoded: no rows, and not wholly in a cached beginning. */
static bool is_missing(const vl2_prompt *prompt, size_t i) {
    const vl2_span *span = &prompt->spans[i];
    return !prompt->rows[i] && span->first_token + span->n_tokens > prompt->n_skipped;
}

/* The first span that is missing, or n_spans. */
static size_t first_missing(const vl2_prompt *prompt) {
    size_t i = 0;
    while (i < prompt->n_spans && !is_missing(prompt, i)) i++;
    return i;
}

void vl2_prompt_skip(vl2_prompt *prompt, size_t n_tokens) {
    size_t before = first_missing(prompt);
    prompt->n_skipped = n_tokens;
    if (first_missing(prompt) != before) vl2_rows_abandon(&prompt->now);
}

static void drop_tiles(vl2_prompt *prompt, size_t span) {
    vl2_mem_free(prompt->tiles[span]);
    prompt->tiles[span] = NULL;
}

vl2_status vl2_prompt_set_rows(vl2_prompt *prompt, size_t span, vl2_rows *rows, vl2_error *err) {
    if (span >= prompt->n_spans) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "picture %zu: the prompt has %zu", span,
                        prompt->n_spans);
    }
    size_t n = prompt->spans[span].n_tokens, width = prompt->engine->config.lang.hidden;
    if (!rows || rows->n != n || rows->width != width) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "picture %zu takes %zu rows of %zu numbers, but is given %zu of %zu: "
                        "another tiling or another model",
                        span, n, width, rows ? rows->n : 0, rows ? rows->width : 0);
    }
    if (first_missing(prompt) == span) vl2_rows_abandon(&prompt->now);
    vl2_rows_retain(rows);
    vl2_rows_free(prompt->rows[span]);
    prompt->rows[span] = rows;
    drop_tiles(prompt, span);
    return VL2_OK;
}

static size_t views_of(const vl2_span *span) { return 1 + span->tiles_wide * span->tiles_high; }

vl2_status vl2_prompt_cut(vl2_prompt *prompt, vl2_error *err) {
    const vl2_image_config *config = &prompt->engine->config.image;
    for (size_t i = 0; i < prompt->n_spans; i++) {
        const vl2_span *span = &prompt->spans[i];
        size_t views = views_of(span) * config->side * config->side;
        size_t pixels = vl2_picture_width(span->picture) * vl2_picture_height(span->picture);
        if (pixels / 4 <= views || prompt->tiles[i] || !is_missing(prompt, i)) continue;
        VL2_TRY(vl2_views_make(&prompt->tiles[i], config, span->picture, span->tiles_wide,
                               span->tiles_high, NULL, err));
    }
    return VL2_OK;
}

static size_t views_left(const vl2_prompt *prompt) {
    size_t left = 0;
    for (size_t i = 0; i < prompt->n_spans; i++) {
        if (is_missing(prompt, i)) left += views_of(&prompt->spans[i]);
    }
    return left - prompt->now.next;
}

/* Rows of the same picture under the same tiling, made before. */
static vl2_rows *made_before(const vl2_prompt *prompt, size_t span) {
    const vl2_span *wanted = &prompt->spans[span];
    for (size_t i = 0; i < span; i++) {
        const vl2_span *other = &prompt->spans[i];
        if (prompt->rows[i] && other->picture == wanted->picture &&
            other->tiles_wide == wanted->tiles_wide && other->tiles_high == wanted->tiles_high) {
            return prompt->rows[i];
        }
    }
    return NULL;
}

/* One view of the given span, which is the first without rows. */
static vl2_status encode_view(vl2_prompt *prompt, vl2_engine *engine, size_t i,
                              const vl2_encode_request *request, vl2_error *err) {
    const vl2_span *span = &prompt->spans[i];
    double start = vl2_engine_clock_ms();
    if (!prompt->now.rows) {
        VL2_TRY(vl2_rows_begin(&prompt->now, engine, span, &prompt->tiles[i], err));
        double end = vl2_engine_clock_ms();
        prompt->times.image_ms += end - start;
        start = end;
        if (request->on_tiles) {
            request->on_tiles(request->user, i, prompt->now.tiles, prompt->now.n_views);
        }
    }
    VL2_TRY(vl2_rows_next_view(&prompt->now, engine, span, request, err));
    prompt->times.vision_ms += vl2_engine_clock_ms() - start;
    if (prompt->now.next < prompt->now.n_views) return VL2_OK;
    prompt->rows[i] = vl2_rows_retain(prompt->now.rows);
    vl2_rows_abandon(&prompt->now);
    return VL2_OK;
}

vl2_status vl2_prompt_encode_views(vl2_prompt *prompt, vl2_engine *engine,
                                   const vl2_encode_request *request, size_t *left,
                                   vl2_error *err) {
    if (engine != prompt->engine) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "the prompt was built by another engine");
    }
    size_t done = 0, i;
    while ((i = first_missing(prompt)) < prompt->n_spans) {
        vl2_rows *known = request->tap ? NULL : made_before(prompt, i);
        if (known) {
            prompt->rows[i] = vl2_rows_retain(known);
            continue;
        }
        if (request->max_views && done == request->max_views) break;
        VL2_TRY(encode_view(prompt, engine, i, request, err));
        done++;
    }
    if (left) *left = views_left(prompt);
    return VL2_OK;
}

void vl2_prompt_set_poll(vl2_prompt *prompt, vl2_poll_fn poll, void *user) {
    prompt->poll = poll;
    prompt->poll_user = user;
}

vl2_status vl2_prompt_encode(vl2_prompt *prompt, vl2_engine *engine, size_t max_views, size_t *left,
                             vl2_error *err) {
    vl2_encode_request request = {
        .max_views = max_views, .poll = prompt->poll, .poll_user = prompt->poll_user};
    return vl2_prompt_encode_views(prompt, engine, &request, left, err);
}

/* "text 310, picture 1 2101, …": as many pictures as the line has room for. */
static void describe_parts(char *out, size_t size, const vl2_prompt *prompt) {
    enum { SHOWN = 8 };
    size_t used = (size_t)snprintf(out, size, "text %zu", prompt->n_ids - prompt->image_tokens);
    size_t rest = prompt->image_tokens;
    for (size_t i = 0; i < prompt->n_spans && i < SHOWN && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, ", picture %zu %zu", i + 1,
                                 prompt->spans[i].n_tokens);
        rest -= prompt->spans[i].n_tokens;
    }
    if (prompt->n_spans > SHOWN && used < size) {
        snprintf(out + used, size - used, ", %zu more pictures %zu", prompt->n_spans - SHOWN, rest);
    }
}

vl2_status vl2_prompt_fits(const vl2_prompt *prompt, size_t first, size_t used, vl2_error *err) {
    size_t room = prompt->engine->ctx_tokens;
    if (used <= room && prompt->n_ids - first <= room - used) return VL2_OK;
    char parts[320], before[64] = "";
    describe_parts(parts, sizeof parts, prompt);
    if (used > first) {
        snprintf(before, sizeof before, " after %zu others in the session", used - first);
    }
    return vl2_fail(err, VL2_ERR_CONTEXT,
                    "the prompt is %zu tokens%s (%s); the context holds %zu: use a larger one "
                    "(ctx_tokens, --ctx-size), fewer pictures or a shorter text",
                    prompt->n_ids, before, parts, room);
}

/* Picture rows are copied to their places; n tokens from `first` all lie in the span. */
static vl2_status embed_span(float *out, const vl2_prompt *prompt, size_t i, size_t first, size_t n,
                             vl2_error *err) {
    const vl2_rows *rows = prompt->rows[i];
    if (!rows) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "token %zu belongs to picture %zu, which is not encoded yet; call "
                        "vl2_prompt_encode first",
                        first, i + 1);
    }
    size_t from = first - prompt->spans[i].first_token;
    memcpy(out, rows->data + from * rows->width, n * rows->width * sizeof(float));
    return VL2_OK;
}

vl2_status vl2_prompt_embed(float *out, const vl2_prompt *prompt, vl2_engine *engine, size_t first,
                            size_t n, vl2_error *err) {
    size_t width = engine->config.lang.hidden, end = first + n, at = first, i = 0;
    while (at < end) {
        while (i < prompt->n_spans &&
               prompt->spans[i].first_token + prompt->spans[i].n_tokens <= at) {
            i++;
        }
        bool has_span = i < prompt->n_spans;
        bool in_span = has_span && prompt->spans[i].first_token <= at;
        size_t stop = !has_span ? end
                      : in_span ? prompt->spans[i].first_token + prompt->spans[i].n_tokens
                                : prompt->spans[i].first_token;
        if (stop > end) stop = end;
        float *rows = out + (at - first) * width;
        if (in_span) {
            VL2_TRY(embed_span(rows, prompt, i, at, stop - at, err));
        } else {
            engine->be->ops->embed(engine->be, rows, width, &engine->weights.embed,
                                   prompt->ids + at, stop - at);
        }
        at = stop;
    }
    return VL2_OK;
}
