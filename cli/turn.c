#include "turn.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "progress.h"
#include "terminal.h"

#include <string.h>

void cli_turn_options(vl2_generate_options *out, const cli_options *options) {
    vl2_generate_options_init(out);
    out->sampling.temperature = (float)options->temperature;
    out->sampling.top_k = (int)options->top_k;
    out->sampling.top_p = (float)options->top_p;
    out->sampling.min_p = (float)options->min_p;
    out->sampling.repetition_penalty = (float)options->repetition_penalty;
    out->sampling.presence_penalty = (float)options->presence_penalty;
    out->sampling.frequency_penalty = (float)options->frequency_penalty;
    out->sampling.seed = options->seed;
    out->max_tokens = options->max_tokens;
    out->chunk_tokens = options->chunk_size;
    out->stop = options->stop.items;
    out->n_stop = options->stop.n;
    out->skip_special_tokens = options->skip_special_tokens;
    out->poll = cli_terminal_poll;
    if (!options->quiet) out->progress = cli_progress_stage;
}

vl2_status cli_turn_start(cli_turn *out, vl2_engine *engine, const vl2_prompt *prompt,
                          const vl2_generate_options *options, vl2_error *err) {
    size_t n = 0, room = vl2_engine_info(engine)->ctx_tokens;
    const int32_t *ids = vl2_prompt_ids(prompt, &n);
    *out = (cli_turn){.engine = engine};
    /* the last token of an answer needs no place in the cache */
    room = n <= room ? room - n + 1 : 1;
    out->max_tokens = options->max_tokens < room ? options->max_tokens : room;
    out->usage.prompt_tokens = n;
    out->usage.image_tokens = vl2_prompt_image_tokens(prompt);
    out->ids = vl2_mem_array(out->max_tokens + 1, sizeof *out->ids);
    vl2_status status = VL2_OK;
    if (!out->ids) status = vl2_fail_memory(err, "an answer's ids", out->max_tokens);
    if (status == VL2_OK) {
        status = vl2_sampler_create(&out->sampler, engine, &options->sampling, ids, n, err);
    }
    if (status == VL2_OK) {
        status = vl2_stream_create(&out->stream, engine, options->skip_special_tokens,
                                   options->stop, options->n_stop, err);
    }
    if (status != VL2_OK) cli_turn_free(out);
    return status;
}

vl2_status cli_turn_take(cli_turn *t, vl2_session *session, vl2_error *err) {
    int32_t id = 0;
    const char *text = NULL;
    size_t size = 0;
    bool stopped = false;
    VL2_TRY(vl2_sampler_next(t->sampler, vl2_session_logits(session), &id, err));
    t->usage.completion_tokens++;
    if (vl2_is_eos(t->engine, id)) {
        t->done = true;
        t->finish = VL2_FINISH_STOP;
        return VL2_OK;
    }
    t->ids[t->n_ids++] = id;
    VL2_TRY(vl2_stream_push(t->stream, id, &text, &size, &stopped, err));
    VL2_TRY(vl2_buf_add(&t->text, text, size, err));
    if (stopped || t->n_ids == t->max_tokens) {
        t->done = true;
        t->finish = stopped ? VL2_FINISH_STOP : VL2_FINISH_LENGTH;
        return VL2_OK;
    }
    return vl2_session_feed_token(session, id, err);
}

const char *cli_turn_news(cli_turn *t, size_t *size) {
    const char *text = t->text.data;
    size_t n = t->text.size;
    *size = 0;
    if (!text) return "";
    vl2_utf8_strip(&text, &n);
    size_t first = (size_t)(text - t->text.data), end = first + n;
    size_t from = t->shown > first ? t->shown : first;
    if (end <= from) return "";
    t->shown = end;
    *size = end - from;
    return t->text.data + from;
}

vl2_status cli_turn_finish(cli_turn *t, vl2_error *err) {
    const char *text = NULL;
    size_t size = 0;
    VL2_TRY(vl2_stream_finish(t->stream, &text, &size, err));
    VL2_TRY(vl2_buf_add(&t->text, text, size, err));
    const char *first = t->text.data;
    size = t->text.size;
    if (!first) return VL2_OK;
    vl2_utf8_strip(&first, &size);
    t->text.size = (size_t)(first - t->text.data) + size;
    t->text.data[t->text.size] = 0;
    return VL2_OK;
}

const char *cli_turn_text(const cli_turn *t) {
    const char *text = t->text.data;
    size_t size = t->text.size;
    if (!text) return "";
    vl2_utf8_strip(&text, &size);
    return text;
}

vl2_status cli_turn_boxes(vl2_box **out, size_t *n, const cli_turn *t, size_t image,
                          const vl2_picture *picture, vl2_error *err) {
    char *text = NULL;
    size_t size = 0;
    VL2_TRY(vl2_detokenize(&text, &size, t->engine, t->ids, t->n_ids, false, err));
    vl2_status status = vl2_boxes_parse(out, n, text, size, image, vl2_picture_width(picture),
                                        vl2_picture_height(picture), err);
    vl2_free(text);
    return status;
}

void cli_turn_free(cli_turn *t) {
    vl2_sampler_free(t->sampler);
    vl2_stream_free(t->stream);
    vl2_mem_free(t->ids);
    vl2_buf_free(&t->text);
    *t = (cli_turn){0};
}
