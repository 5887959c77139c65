/* One step of many sessions: their next rows gathered, run through the decoder, and only then are
 * the sessions moved on. Allocates nothing. */
#include "engine/engine.h"

#include <string.h>

#include "base/mem.h"

struct vl2_batch {
    vl2_engine *engine;
    vl2_decoder *decoder;
    vl2_decoder_seq *seqs; /* [max_sessions] */
    size_t max_rows, max_sessions;
    vl2_poll_fn poll; /* of vl2_batch_step; maybe NULL */
    void *poll_user;
};

size_t vl2_batch_plan(const vl2_engine *engine, size_t max_rows, size_t max_sessions) {
    return sizeof(vl2_batch) + max_sessions * sizeof(vl2_decoder_seq) +
           vl2_decoder_plan(&engine->config, max_rows, max_sessions, engine->ctx_tokens);
}

vl2_status vl2_batch_create(vl2_batch **out, vl2_engine *engine, size_t max_rows,
                            size_t max_sessions, vl2_error *err) {
    if (!max_rows || !max_sessions) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "a batch of %zu rows and %zu sessions: expected at least one of each",
                        max_rows, max_sessions);
    }
    vl2_batch *batch = vl2_mem_calloc(1, sizeof *batch);
    if (!batch) return vl2_fail_memory(err, "a batch", sizeof *batch);
    *batch = (vl2_batch){.engine = engine, .max_rows = max_rows, .max_sessions = max_sessions};
    batch->seqs = vl2_mem_calloc(max_sessions, sizeof *batch->seqs);
    vl2_status status =
        batch->seqs ? VL2_OK : vl2_fail_memory(err, "a batch", max_sessions * sizeof *batch->seqs);
    if (status == VL2_OK) {
        status = vl2_decoder_create(&batch->decoder, engine->be, &engine->config, &engine->weights,
                                    max_rows, max_sessions, engine->ctx_tokens, err);
    }
    if (status != VL2_OK) {
        vl2_batch_free(batch);
        return status;
    }
    *out = batch;
    return VL2_OK;
}

void vl2_batch_set_poll(vl2_batch *batch, vl2_poll_fn poll, void *user) {
    batch->poll = poll;
    batch->poll_user = user;
}

void vl2_batch_free(vl2_batch *batch) {
    if (!batch) return;
    vl2_decoder_free(batch->decoder);
    vl2_mem_free(batch->seqs);
    vl2_mem_free(batch);
}

static vl2_status check(const vl2_batch *batch, const vl2_step *steps, size_t n, vl2_error *err) {
    if (!n || n > batch->max_sessions) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "a step of %zu sessions: the batch takes 1 to %zu",
                        n, batch->max_sessions);
    }
    size_t rows = 0;
    for (size_t i = 0; i < n; i++) {
        const vl2_session *session = steps[i].session;
        if (session->engine != batch->engine) {
            return vl2_fail(err, VL2_ERR_ARGUMENT, "session %zu of the step is another engine's",
                            i);
        }
        if (!steps[i].n_tokens || steps[i].n_tokens > session->pending) {
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "session %zu of the step: %zu tokens asked for, %zu are queued", i,
                            steps[i].n_tokens, session->pending);
        }
        for (size_t j = 0; j < i; j++) {
            if (steps[j].session == session) {
                return vl2_fail(err, VL2_ERR_ARGUMENT, "sessions %zu and %zu of a step are one", j,
                                i);
            }
        }
        if (!vl2_add(&rows, rows, steps[i].n_tokens) || rows > batch->max_rows) {
            return vl2_fail(err, VL2_ERR_ARGUMENT, "a step of over %zu tokens, the batch's size",
                            batch->max_rows);
        }
    }
    return VL2_OK;
}

/* Rows of the session's next n tokens. The queue stays as it is. */
static vl2_status gather(float *x, const vl2_session *session, size_t n, vl2_error *err) {
    vl2_engine *engine = session->engine;
    size_t width = engine->config.lang.hidden;
    for (size_t f = session->head; n > 0; f++) {
        const vl2_feed *feed = &session->queue[f];
        size_t take = feed->end - feed->next < n ? feed->end - feed->next : n;
        if (feed->prompt) {
            VL2_TRY(vl2_prompt_embed(x, feed->prompt, engine, feed->next, take, err));
        } else {
            engine->be->ops->embed(engine->be, x, width, &engine->weights.embed, &feed->id, 1);
        }
        x += take * width;
        n -= take;
    }
    return VL2_OK;
}

/* Room in the caches, and the input rows. */
static vl2_status prepare(vl2_batch *batch, const vl2_step *steps, size_t n,
                          const vl2_step_watch *watch, vl2_error *err) {
    float *x = vl2_decoder_input(batch->decoder);
    size_t width = batch->engine->config.lang.hidden, row = 0;
    for (size_t i = 0; i < n; i++) {
        vl2_session *session = steps[i].session;
        VL2_TRY(vl2_kv_seq_reserve(&session->kv, steps[i].n_tokens, err));
        VL2_TRY(gather(x + row * width, session, steps[i].n_tokens, err));
        batch->seqs[i] = (vl2_decoder_seq){
            .kv = &session->kv,
            .row = row,
            .n_rows = steps[i].n_tokens,
            .rope_length = session->rope_length,
            .n_out = steps[i].n_tokens == session->pending ? 1 : 0,
            .logits = session->logits,
        };
        row += steps[i].n_tokens;
    }
    if (watch) {
        vl2_tap_show(watch->tap, "inputs_embeds", 0, 0, x, row, width);
        batch->seqs[0].n_out = watch->n_out;
        batch->seqs[0].logits = watch->logits;
    }
    return VL2_OK;
}

static void advance(vl2_session *session, size_t n) {
    session->kv.length += n;
    session->pending -= n;
    session->has_logits = session->pending == 0;
    while (n > 0) {
        vl2_feed *feed = &session->queue[session->head];
        size_t take = feed->end - feed->next < n ? feed->end - feed->next : n;
        feed->next += take;
        n -= take;
        if (feed->next == feed->end) session->head++;
    }
}

vl2_status vl2_batch_run(vl2_batch *batch, const vl2_step *steps, size_t n_steps,
                         const vl2_step_watch *watch, int (*poll)(void *user), void *user,
                         vl2_error *err) {
    VL2_TRY(check(batch, steps, n_steps, err));
    vl2_status status = prepare(batch, steps, n_steps, watch, err);
    if (status == VL2_OK) {
        status = vl2_decoder_step(batch->decoder, batch->seqs, n_steps, watch ? watch->tap : NULL,
                                  poll, user, err);
    }
    for (size_t i = 0; i < n_steps; i++) {
        vl2_session *session = steps[i].session;
        if (status == VL2_OK) {
            advance(session, steps[i].n_tokens);
        } else { /* blocks taken for this step go back */
            vl2_kv_seq_truncate(&session->kv, session->kv.length);
        }
    }
    if (status != VL2_OK || !watch) return status;
    vl2_session *session = steps[0].session;
    if (session->has_logits && watch->n_out) {
        size_t vocab = batch->engine->config.lang.vocab;
        memcpy(session->logits, watch->logits + (watch->n_out - 1) * vocab,
               vocab * sizeof *session->logits);
    }
    return VL2_OK;
}

vl2_status vl2_batch_step(vl2_batch *batch, const vl2_step *steps, size_t n_steps, vl2_error *err) {
    return vl2_batch_run(batch, steps, n_steps, NULL, batch->poll, batch->poll_user, err);
}
