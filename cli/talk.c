#include "talk.h"

#include "base/err.h"
#include "base/mem.h"
#include "clock.h"
#include "progress.h"
#include "terminal.h"

#include <string.h>

vl2_status cli_talk_start(cli_talk *out, vl2_engine *engine, size_t chunk_size, vl2_error *err) {
    size_t ctx = vl2_engine_info(engine)->ctx_tokens;
    *out = (cli_talk){.engine = engine};
    out->chunk = chunk_size && chunk_size < ctx ? chunk_size : ctx;
    out->cached = vl2_mem_array(ctx + 1, sizeof *out->cached);
    if (!out->cached) return vl2_fail_memory(err, "the ids of a conversation", ctx);
    VL2_TRY(vl2_batch_create(&out->steps, engine, out->chunk, 1, err));
    vl2_batch_set_poll(out->steps, cli_terminal_poll, NULL);
    return vl2_session_create(&out->session, engine, err);
}

void cli_talk_free(cli_talk *t) {
    vl2_session_free(t->session);
    vl2_batch_free(t->steps);
    vl2_prompt_free(t->prompt);
    vl2_mem_free(t->cached);
    *t = (cli_talk){0};
}

/* ---- what the context holds ------------------------------------------------------------------------ */

/* Takes the oldest turn away: a user's message and what was answered. false: only one is left. */
static bool drop_oldest(cli_conversation *c) {
    size_t first = c->n && c->messages[0].role == VL2_ROLE_SYSTEM ? 1 : 0, end = first + 1;
    while (end < c->n && c->messages[end].role != VL2_ROLE_USER) end++;
    if (end >= c->n) return false;
    cli_conversation_remove(c, first, end - first);
    return true;
}

/* The prompt of as many turns as fit with room for an answer. */
static vl2_status fitting_prompt(vl2_prompt **out, cli_talk *t, cli_conversation *c,
                                 size_t max_tokens, vl2_error *err) {
    size_t ctx = vl2_engine_info(t->engine)->ctx_tokens, n = 0;
    size_t answer = max_tokens < ctx / 4 ? max_tokens : ctx / 4;
    t->dropped = 0;
    for (;;) {
        VL2_TRY(cli_conversation_prompt(out, c, t->engine, true, err));
        vl2_prompt_ids(*out, &n);
        if (n + answer <= ctx || !drop_oldest(c)) return VL2_OK;
        t->dropped++;
        vl2_prompt_free(*out);
    }
}

/* ---- what is there already ------------------------------------------------------------------------- */

static bool same_span(const vl2_span *a, const vl2_span *b) {
    return a->picture == b->picture && a->tiles_wide == b->tiles_wide &&
           a->tiles_high == b->tiles_high;
}

static vl2_status take_over_rows(vl2_prompt *prompt, const vl2_prompt *before, vl2_error *err) {
    size_t n = 0, n_before = 0;
    const vl2_span *spans = vl2_prompt_spans(prompt, &n);
    const vl2_span *old = vl2_prompt_spans(before, &n_before);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n_before; k++) {
            vl2_rows *rows = vl2_prompt_rows(before, k);
            if (!rows || !same_span(&spans[i], &old[k])) continue;
            VL2_TRY(vl2_prompt_set_rows(prompt, i, rows, err));
            break;
        }
    }
    return VL2_OK;
}

/* How many of the prompt's tokens the session's cache has. The last token is always computed anew,
 * for its logits. */
static size_t common_tokens(const cli_talk *t, const vl2_prompt *prompt) {
    size_t n = 0, n_spans = 0, n_before = 0, common = 0;
    const int32_t *ids = vl2_prompt_ids(prompt, &n);
    const vl2_span *spans = vl2_prompt_spans(prompt, &n_spans), *before = NULL;
    if (t->prompt) before = vl2_prompt_spans(t->prompt, &n_before);
    while (common < n - 1 && common < t->n_cached && ids[common] == t->cached[common]) common++;
    for (size_t i = 0; i < n_spans && spans[i].first_token < common; i++) {
        bool same = i < n_before && same_span(&spans[i], &before[i]) &&
                    spans[i].first_token == before[i].first_token;
        if (!same) common = spans[i].first_token;
    }
    return common;
}

static vl2_status feed(cli_talk *t, vl2_prompt *prompt, vl2_error *err) {
    size_t n = 0, common = common_tokens(t, prompt);
    const int32_t *ids = vl2_prompt_ids(prompt, &n);
    vl2_prompt_skip(prompt, common);
    t->n_cached = common;
    VL2_TRY(vl2_session_truncate(t->session, common, err));
    VL2_TRY(vl2_session_feed_prompt(t->session, prompt, common, err));
    memcpy(t->cached + common, ids + common, (n - common) * sizeof *ids);
    t->computed = n - common;
    t->reused = common;
    return VL2_OK;
}

/* ---- computing --------------------------------------------------------------------------------------- */

static size_t missing_views(const vl2_prompt *prompt, size_t skipped) {
    size_t n = 0, views = 0;
    const vl2_span *spans = vl2_prompt_spans(prompt, &n);
    for (size_t i = 0; i < n; i++) {
        bool cached = spans[i].first_token + spans[i].n_tokens <= skipped;
        if (!cached && !vl2_prompt_rows(prompt, i)) {
            views += 1 + spans[i].tiles_wide * spans[i].tiles_high;
        }
    }
    return views;
}

static vl2_status encode(cli_talk *t, vl2_prompt *prompt, vl2_error *err) {
    size_t total = missing_views(prompt, t->reused), left = total;
    vl2_prompt_set_poll(prompt, cli_terminal_poll, NULL);
    while (left && !cli_terminal_interrupted()) {
        VL2_TRY(vl2_prompt_encode(prompt, t->engine, 1, &left, err));
        cli_progress_show("pictures", total - left, total, "views");
    }
    return VL2_OK;
}

static vl2_status step(cli_talk *t, size_t n, vl2_error *err) {
    vl2_step one = {.session = t->session, .n_tokens = n};
    return vl2_batch_step(t->steps, &one, 1, err);
}

static vl2_status prefill(cli_talk *t, vl2_error *err) {
    double begun = cli_clock_ms();
    size_t pending = vl2_session_pending(t->session);
    while (pending && !cli_terminal_interrupted()) {
        VL2_TRY(step(t, pending < t->chunk ? pending : t->chunk, err));
        pending = vl2_session_pending(t->session);
        cli_progress_show("prompt", t->computed - pending, t->computed, "tokens");
    }
    t->prefill_ms = cli_clock_ms() - begun;
    return VL2_OK;
}

static vl2_status say_news(cli_turn *turn, const vl2_generate_options *options) {
    size_t size = 0;
    const char *text = cli_turn_news(turn, &size);
    bool end = size && options->on_text && options->on_text(options->user, text, size);
    return end ? VL2_ERR_CANCELLED : VL2_OK;
}

static vl2_status decode(cli_turn *turn, cli_talk *t, const vl2_generate_options *options,
                         vl2_error *err) {
    double begun = cli_clock_ms();
    vl2_status status = VL2_OK;
    vl2_error stop = {0};
    while (!turn->done && !cli_terminal_interrupted() && status == VL2_OK) {
        size_t before = turn->n_ids;
        VL2_TRY(cli_turn_take(turn, t->session, err));
        status = say_news(turn, options);
        if (turn->done || status != VL2_OK) break;
        if (turn->n_ids > before) t->cached[vl2_session_length(t->session)] = turn->ids[before];
        status = step(t, 1, &stop);
    }
    if (status != VL2_OK && status != VL2_ERR_CANCELLED)
        return vl2_fail(err, status, "%s", stop.text);
    if (!turn->done) turn->finish = VL2_FINISH_CANCELLED;
    VL2_TRY(cli_turn_finish(turn, err));
    t->decode_ms = cli_clock_ms() - begun;
    status = say_news(turn, options);
    return status == VL2_ERR_CANCELLED ? VL2_OK : status;
}

static vl2_status compute(cli_turn *turn, cli_talk *t, vl2_prompt *prompt,
                          const vl2_generate_options *options, vl2_error *err) {
    vl2_error stop = {0}; /* a Ctrl-C is no error: what was said is kept */
    vl2_status status = encode(t, prompt, &stop);
    if (status == VL2_OK && !cli_terminal_interrupted()) status = prefill(t, &stop);
    if (status != VL2_OK && status != VL2_ERR_CANCELLED)
        return vl2_fail(err, status, "%s", stop.text);
    return decode(turn, t, options, err);
}

vl2_status cli_talk_answer(cli_turn *turn, cli_talk *t, cli_conversation *c,
                           const vl2_generate_options *options, vl2_error *err) {
    vl2_prompt *prompt = NULL;
    VL2_TRY(fitting_prompt(&prompt, t, c, options->max_tokens, err));
    vl2_status status = t->prompt ? take_over_rows(prompt, t->prompt, err) : VL2_OK;
    if (status == VL2_OK) status = feed(t, prompt, err);
    vl2_prompt_free(t->prompt);
    t->prompt = prompt; /* the session's queue refers to it */
    VL2_TRY(status);
    VL2_TRY(cli_turn_start(turn, t->engine, prompt, options, err));
    status = compute(turn, t, prompt, options, err);
    cli_progress_hide();
    size_t length = vl2_session_length(t->session);
    t->n_cached = length;
    vl2_error ignored = {0}; /* what an interrupted answer left in the queue goes */
    vl2_status emptied = vl2_session_truncate(t->session, length, &ignored);
    if (emptied != VL2_OK) t->n_cached = 0;
    if (status != VL2_OK) cli_turn_free(turn);
    return status;
}
