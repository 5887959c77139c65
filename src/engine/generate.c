/* From a prompt to an answer: pictures view by view, the prompt in chunks, then token by token. */
#include "engine/engine.h"

#include "base/abi.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/answer.h"
#include "sample/sampler.h"

enum { DEFAULT_TOKENS = 512, DEFAULT_CHUNK = 512 };

typedef struct run {
    vl2_engine *engine;
    vl2_prompt *prompt;
    vl2_generate_options options;
    size_t max_ids; /* the context's room counted in */
    vl2_answer *answer;
    vl2_session *session;
    vl2_batch *batch;
    vl2_sampler *sampler;
    vl2_stream *stream;
    size_t shown; /* bytes of the answer's text that on_text has had */
} run;

void vl2_generate_options_init(vl2_generate_options *options) {
    *options = (vl2_generate_options){.struct_size = sizeof *options,
                                      .max_tokens = DEFAULT_TOKENS,
                                      .chunk_tokens = DEFAULT_CHUNK};
    vl2_sampling_init(&options->sampling);
}

vl2_status vl2_sampler_create(vl2_sampler **out, const vl2_engine *engine,
                              const vl2_sampling *sampling, const int32_t *prompt_ids,
                              size_t n_prompt_ids, vl2_error *err) {
    vl2_sampling given;
    vl2_sampling_init(&given);
    VL2_TRY(vl2_abi_copy(&given, sizeof given, sampling, "vl2_sampling", err));
    return vl2_sampler_make(out, engine->config.lang.vocab, &given, prompt_ids, n_prompt_ids, err);
}

void vl2_logprobs(const vl2_engine *engine, const float *logits, int32_t id, vl2_logprob *chosen,
                  vl2_logprob *top, size_t n_top) {
    vl2_logprobs_of(logits, engine->config.lang.vocab, id, chosen, top, n_top);
}

static void show_progress(const run *r, const char *stage, size_t done, size_t total) {
    if (r->options.progress) {
        r->options.progress(r->options.user, stage, done, total);
    } else {
        vl2_engine_progress(r->engine, stage, done, total);
    }
}

/* ERR_CANCELLED is how the stages below say that poll asked for the end. */
static vl2_status ask(const run *r) {
    return r->options.poll && r->options.poll(r->options.user) ? VL2_ERR_CANCELLED : VL2_OK;
}

static vl2_status encode(run *r, vl2_error *err) {
    size_t left = 0, total = 0, done = 0;
    const vl2_encode_request one_view = {
        .max_views = 1, .poll = r->options.poll, .poll_user = r->options.user};
    for (size_t i = 0; i < r->prompt->n_spans; i++) {
        const vl2_span *span = &r->prompt->spans[i];
        if (!r->prompt->rows[i]) total += 1 + span->tiles_wide * span->tiles_high;
    }
    if (!total) return VL2_OK;
    do {
        VL2_TRY(vl2_prompt_encode_views(r->prompt, r->engine, &one_view, &left, err));
        done = total - left;
        show_progress(r, "vision", done, total);
    } while (left);
    return VL2_OK;
}

static vl2_status step(run *r, size_t n, vl2_error *err) {
    vl2_step one = {.session = r->session, .n_tokens = n};
    return vl2_batch_run(r->batch, &one, 1, NULL, r->options.poll, r->options.user, err);
}

static vl2_status prefill(run *r, vl2_error *err) {
    size_t total = r->prompt->n_ids, chunk = r->options.chunk_tokens;
    if (!chunk || chunk > total) chunk = total;
    VL2_TRY(vl2_batch_create(&r->batch, r->engine, chunk, 1, err));
    VL2_TRY(vl2_session_create(&r->session, r->engine, err));
    VL2_TRY(vl2_session_feed_prompt(r->session, r->prompt, 0, err));
    double start = vl2_engine_clock_ms();
    while (vl2_session_pending(r->session)) {
        size_t left = vl2_session_pending(r->session);
        VL2_TRY(ask(r));
        VL2_TRY(step(r, left < chunk ? left : chunk, err));
        show_progress(r, "prefill", vl2_session_length(r->session), total);
    }
    vl2_timings *timings = &r->answer->timings;
    timings->prefill_ms = vl2_engine_clock_ms() - start;
    if (timings->prefill_ms > 0) {
        timings->prefill_tokens_per_s = (double)total / timings->prefill_ms * 1e3;
    }
    return VL2_OK;
}

/* Text that may be shown: white space at either end waits until something follows it. */
static vl2_status show(run *r, const char *text, size_t size, vl2_error *err) {
    vl2_buf *all = &r->answer->text;
    VL2_TRY(vl2_buf_add(all, text, size, err));
    const char *start = all->data;
    size_t length = all->size;
    vl2_utf8_strip(&start, &length);
    size_t first = (size_t)(start - all->data), end = first + length;
    if (r->shown < first) r->shown = first;
    if (!length || end <= r->shown || !r->options.on_text) return VL2_OK;
    size_t from = r->shown;
    r->shown = end;
    if (!r->options.on_text(r->options.user, all->data + from, end - from)) return VL2_OK;
    r->options.on_text = NULL; /* who asked for the end is not told more */
    return VL2_ERR_CANCELLED;
}

/* The next id, its text, and whether the answer ends with it. */
static vl2_status take_token(run *r, int32_t *id, bool *ended, vl2_error *err) {
    vl2_answer *answer = r->answer;
    const char *text;
    size_t size;
    VL2_TRY(vl2_sampler_next(r->sampler, vl2_session_logits(r->session), id, err));
    answer->usage.completion_tokens++;
    if (vl2_is_eos(r->engine, *id)) {
        *ended = true;
        return VL2_OK;
    }
    answer->ids[answer->n_ids++] = *id;
    VL2_TRY(vl2_stream_push(r->stream, *id, &text, &size, ended, err));
    return show(r, text, size, err);
}

static vl2_status decode(run *r, vl2_error *err) {
    bool ended = false;
    int32_t id;
    while (r->answer->n_ids < r->max_ids) {
        VL2_TRY(take_token(r, &id, &ended, err));
        show_progress(r, "decode", r->answer->usage.completion_tokens, r->max_ids);
        if (ended) {
            r->answer->finish = VL2_FINISH_STOP;
            return VL2_OK;
        }
        if (r->answer->n_ids == r->max_ids) break;
        VL2_TRY(ask(r));
        VL2_TRY(vl2_session_feed_token(r->session, id, err));
        VL2_TRY(step(r, 1, err));
    }
    r->answer->finish = VL2_FINISH_LENGTH;
    return VL2_OK;
}

static vl2_status decode_timed(run *r, vl2_error *err) {
    vl2_timings *timings = &r->answer->timings;
    double start = vl2_engine_clock_ms();
    vl2_status status = decode(r, err);
    timings->decode_ms = vl2_engine_clock_ms() - start;
    size_t steps = vl2_session_length(r->session) - r->prompt->n_ids;
    if (timings->decode_ms > 0) {
        timings->decode_tokens_per_s = (double)steps / timings->decode_ms * 1e3;
    }
    return status;
}

static vl2_status start(run *r, vl2_error *err) {
    const vl2_generate_options *options = &r->options;
    VL2_TRY(vl2_prompt_fits(r->prompt, 0, 0, err));
    /* the last token of an answer needs no place in the cache */
    size_t room = r->engine->ctx_tokens - r->prompt->n_ids + 1;
    r->max_ids = options->max_tokens < room ? options->max_tokens : room;
    VL2_TRY(vl2_answer_create(&r->answer, r->max_ids, err));
    r->answer->usage =
        (vl2_usage){.prompt_tokens = r->prompt->n_ids, .image_tokens = r->prompt->image_tokens};
    VL2_TRY(vl2_sampler_create(&r->sampler, r->engine, &options->sampling, r->prompt->ids,
                               r->prompt->n_ids, err));
    return vl2_stream_create(&r->stream, r->engine, options->skip_special_tokens, options->stop,
                             options->n_stop, err);
}

static vl2_status finish(run *r, vl2_error *err) {
    const char *text;
    size_t size;
    VL2_TRY(vl2_stream_finish(r->stream, &text, &size, err));
    vl2_status status = show(r, text, size, err);
    if (status == VL2_ERR_CANCELLED) r->answer->finish = VL2_FINISH_CANCELLED;
    if (status != VL2_OK && status != VL2_ERR_CANCELLED) return status;
    VL2_TRY(vl2_answer_strip(r->answer, err));
    r->answer->timings.image_ms = r->prompt->times.image_ms;
    r->answer->timings.vision_ms = r->prompt->times.vision_ms;
    return vl2_answer_find_boxes(r->answer, r->engine, r->prompt, err);
}

/* A cancelled answer is an answer: what was said stays. */
static vl2_status run_all(run *r, vl2_error *err) {
    vl2_error local = {0};
    VL2_TRY(start(r, err));
    vl2_status status = encode(r, &local);
    if (status == VL2_OK) status = prefill(r, &local);
    if (status == VL2_OK) status = decode_timed(r, &local);
    if (status == VL2_ERR_CANCELLED) {
        r->answer->finish = VL2_FINISH_CANCELLED;
    } else if (status != VL2_OK) {
        return vl2_fail(err, status, "%s", local.text);
    }
    return finish(r, err);
}

vl2_status vl2_generate(vl2_answer **out, vl2_engine *engine, vl2_prompt *prompt,
                        const vl2_generate_options *options, vl2_error *err) {
    run r = {.engine = engine, .prompt = prompt};
    vl2_generate_options_init(&r.options);
    VL2_TRY(vl2_abi_copy(&r.options, sizeof r.options, options, "vl2_generate_options", err));
    if (prompt->engine != engine) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "the prompt was built by another engine");
    }
    vl2_status status = run_all(&r, err);
    vl2_stream_free(r.stream);
    vl2_sampler_free(r.sampler);
    vl2_batch_free(r.batch);
    vl2_session_free(r.session);
    if (status != VL2_OK) {
        vl2_answer_free(r.answer);
        return status;
    }
    *out = r.answer;
    return VL2_OK;
}
