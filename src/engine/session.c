/* One timeline of tokens: its KV cache, and the queue of what is still to be processed. */
#include "engine/engine.h"
#include "vl2/vl2_dev.h"

#include <string.h>

#include "base/mem.h"

enum { QUEUE_ROOM = 8 }; /* feeds before the queue has to grow */

static vl2_status create(vl2_session **out, vl2_engine *engine, vl2_error *err) {
    size_t vocab = engine->config.lang.vocab;
    vl2_session *session = vl2_mem_calloc(1, sizeof *session);
    if (!session) return vl2_fail_memory(err, "a session", sizeof *session);
    session->engine = engine;
    session->room = QUEUE_ROOM;
    session->queue = vl2_mem_array(session->room, sizeof *session->queue);
    session->logits = vl2_mem_array(vocab, sizeof *session->logits);
    if (!session->queue || !session->logits) {
        vl2_session_free(session);
        return vl2_fail_memory(err, "a session", vocab * sizeof(float));
    }
    *out = session;
    return VL2_OK;
}

vl2_status vl2_session_create(vl2_session **out, vl2_engine *engine, vl2_error *err) {
    vl2_session *session;
    VL2_TRY(create(&session, engine, err));
    vl2_status status = vl2_kv_seq_create(&session->kv, engine->kv, engine->ctx_tokens, err);
    if (status != VL2_OK) {
        vl2_session_free(session);
        return status;
    }
    *out = session;
    return VL2_OK;
}

vl2_status vl2_session_fork(vl2_session **out, const vl2_session *from, size_t n_tokens,
                            vl2_error *err) {
    if (n_tokens > from->kv.length) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "fork of %zu tokens: the session holds %zu",
                        n_tokens, from->kv.length);
    }
    vl2_session *session;
    VL2_TRY(create(&session, from->engine, err));
    vl2_status status = vl2_kv_seq_fork(&session->kv, &from->kv, n_tokens, err);
    if (status != VL2_OK) {
        vl2_session_free(session);
        return status;
    }
    session->rope_length = from->rope_length;
    *out = session;
    return VL2_OK;
}

void vl2_session_free(vl2_session *session) {
    if (!session) return;
    if (session->kv.pool) vl2_kv_seq_free(&session->kv);
    vl2_mem_free(session->queue);
    vl2_mem_free(session->logits);
    vl2_mem_free(session);
}

/* Appends to the queue; grows it only when more feeds wait than ever before. */
static vl2_status push(vl2_session *session, const vl2_feed *feeds, size_t n, vl2_error *err) {
    if (session->head == session->tail) session->head = session->tail = 0;
    size_t waiting = session->tail - session->head, room;
    if (n > session->room - session->tail && session->head) {
        memmove(session->queue, session->queue + session->head, waiting * sizeof *feeds);
        session->head = 0;
        session->tail = waiting;
    }
    if (n > session->room - session->tail) {
        vl2_feed *grown = NULL;
        if (vl2_add(&room, session->room, n) && vl2_mul(&room, room, 2)) {
            grown = vl2_mem_grow(session->queue, room, sizeof *feeds);
        }
        if (!grown) return vl2_fail_memory(err, "a session's queue", n * sizeof *feeds);
        session->queue = grown;
        session->room = room;
    }
    memcpy(session->queue + session->tail, feeds, n * sizeof *feeds);
    session->tail += n;
    for (size_t i = 0; i < n; i++) session->pending += feeds[i].end - feeds[i].next;
    session->has_logits = false;
    return VL2_OK;
}

static size_t used(const vl2_session *session) { return session->kv.length + session->pending; }

vl2_status vl2_session_feed_prompt(vl2_session *session, const vl2_prompt *prompt,
                                   size_t first_token, vl2_error *err) {
    if (prompt->engine != session->engine) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "the prompt was built by another engine");
    }
    if (first_token >= prompt->n_ids) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "first_token is %zu: the prompt has %zu tokens, at least one must be fed",
                        first_token, prompt->n_ids);
    }
    VL2_TRY(vl2_prompt_fits(prompt, first_token, used(session), err));
    vl2_feed feed = {.prompt = prompt, .next = first_token, .end = prompt->n_ids};
    VL2_TRY(push(session, &feed, 1, err));
    if (prompt->n_ids > session->rope_length) session->rope_length = prompt->n_ids;
    return VL2_OK;
}

static vl2_status check_id(const vl2_session *session, int32_t id, vl2_error *err) {
    size_t vocab = session->engine->config.lang.vocab;
    if (id >= 0 && (size_t)id < vocab) return VL2_OK;
    return vl2_fail(err, VL2_ERR_ARGUMENT, "token id %d: expected 0 to %zu", (int)id, vocab - 1);
}

static vl2_status check_room(const vl2_session *session, size_t n, vl2_error *err) {
    size_t room = session->engine->ctx_tokens;
    if (used(session) <= room && n <= room - used(session)) return VL2_OK;
    return vl2_fail(err, VL2_ERR_CONTEXT,
                    "%zu more tokens after %zu: the context holds %zu; use a larger one "
                    "(ctx_tokens, --ctx-size)",
                    n, used(session), room);
}

vl2_status vl2_session_feed_token(vl2_session *session, int32_t id, vl2_error *err) {
    VL2_TRY(check_id(session, id, err));
    VL2_TRY(check_room(session, 1, err));
    vl2_feed feed = {.next = 0, .end = 1, .id = id};
    return push(session, &feed, 1, err);
}

vl2_status vl2_dev_feed_ids(vl2_session *session, const int32_t *ids, size_t n, vl2_error *err) {
    for (size_t i = 0; i < n; i++) VL2_TRY(check_id(session, ids[i], err));
    VL2_TRY(check_room(session, n, err));
    vl2_feed *feeds = vl2_mem_array(n, sizeof *feeds);
    if (!feeds) return vl2_fail_memory(err, "a session's queue", n * sizeof *feeds);
    for (size_t i = 0; i < n; i++) feeds[i] = (vl2_feed){.end = 1, .id = ids[i]};
    vl2_status status = push(session, feeds, n, err);
    vl2_mem_free(feeds);
    if (status == VL2_OK && n > session->rope_length) session->rope_length = n;
    return status;
}

size_t vl2_session_length(const vl2_session *session) { return session->kv.length; }

size_t vl2_session_pending(const vl2_session *session) { return session->pending; }

vl2_status vl2_session_truncate(vl2_session *session, size_t n_tokens, vl2_error *err) {
    if (n_tokens > session->kv.length) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "truncation to %zu tokens: the session holds %zu",
                        n_tokens, session->kv.length);
    }
    vl2_kv_seq_truncate(&session->kv, n_tokens);
    session->head = session->tail = 0;
    session->pending = 0;
    session->has_logits = false;
    return VL2_OK;
}

const float *vl2_session_logits(const vl2_session *session) {
    return session->has_logits ? session->logits : NULL;
}
