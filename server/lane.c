#include "server/lane.h"

#include "server/reply.h"

#include <string.h>

static size_t up(size_t n, size_t block) { return (n + block - 1) / block * block; }
static size_t down(size_t n, size_t block) { return n / block * block; }

/* Of one choice alone: the prompt and the longest answer. */
static size_t whole(const vl2_job *job, size_t block) {
    return up(job->prompt_tokens + job->chat.max_tokens, block);
}

/* Of each choice but the first, which shares the prompt's whole blocks. */
static size_t own(const vl2_job *job, size_t block) {
    return whole(job, block) - down(job->prompt_tokens, block);
}

size_t vl2_lane_need(const vl2_job *job, size_t known, size_t block) {
    return whole(job, block) - down(known, block) + (job->chat.n - 1) * own(job, block);
}

size_t vl2_lane_promised(const vl2_job *job, size_t block) {
    size_t n = 0;
    for (size_t k = 0; k < job->chat.n; k++) {
        if (k > 0 && k >= job->n_lanes) {
            n += own(job, block);
            continue;
        }
        const vl2_session *session = job->lanes[k].session;
        size_t has = session ? up(vl2_session_length(session), block) : 0;
        if (session && job->lanes[k].running && whole(job, block) > has)
            n += whole(job, block) - has;
    }
    return n;
}

size_t vl2_lane_room(size_t prompt_tokens, size_t n, size_t pool, size_t block) {
    size_t shared = down(prompt_tokens, block), each;
    pool = down(pool, block);
    if (pool < shared) return 0;
    each = shared + down((pool - shared) / n, block); /* tokens that one choice may hold */
    return each > prompt_tokens ? each - prompt_tokens : 0;
}

static vl2_status open_streams(vl2_lane *lane, const vl2_engine *engine, const vl2_chat *chat,
                               vl2_error *err) {
    const char *const *stop = (const char *const *)chat->stop;
    VL2_TRY(vl2_stream_create(&lane->stream, engine, chat->skip_special, stop, chat->n_stop, err));
    if (!chat->skip_special) return VL2_OK; /* the shown text has the boxes */
    return vl2_stream_create(&lane->raw_stream, engine, false, NULL, 0, err);
}

vl2_status vl2_lane_open(vl2_lane *lane, vl2_engine *engine, const vl2_job *job, size_t index,
                         const vl2_session *from, size_t known, vl2_error *err) {
    size_t n_ids;
    const int32_t *ids = vl2_prompt_ids(job->prompt, &n_ids);
    vl2_sampling sampling = job->chat.sampling;
    sampling.seed += index; /* choices differ; the first is what n = 1 would give */
    lane->running = true;
    if (from && known)
        VL2_TRY(vl2_session_fork(&lane->session, from, known, err));
    else
        VL2_TRY(vl2_session_create(&lane->session, engine, err));
    VL2_TRY(vl2_sampler_create(&lane->sampler, engine, &sampling, ids, n_ids, err));
    return open_streams(lane, engine, &job->chat, err);
}

static vl2_status note_logprobs(vl2_lane *lane, vl2_engine *engine, const vl2_chat *chat,
                                const float *logits, int32_t id, vl2_error *err) {
    vl2_logprob chosen, top[VL2_JOB_MAX_TOP];
    if (!chat->logprobs) return VL2_OK;
    vl2_logprobs(engine, logits, id, &chosen, top, chat->top_logprobs);
    return vl2_reply_logprob(&lane->logprobs, engine, &chosen, top, chat->top_logprobs, err);
}

static vl2_status add_text(vl2_buf *text, vl2_stream *stream, int32_t id, bool *stopped,
                           vl2_error *err) {
    const char *piece;
    size_t size;
    VL2_TRY(vl2_stream_push(stream, id, &piece, &size, stopped, err));
    return vl2_buf_add(text, piece, size, err);
}

static vl2_status finish(vl2_lane *lane, const char *how, bool stopped, vl2_error *err) {
    const char *piece;
    size_t size;
    lane->finish = how;
    lane->running = false;
    if (!stopped) {
        VL2_TRY(vl2_stream_finish(lane->stream, &piece, &size, err));
        VL2_TRY(vl2_buf_add(&lane->text, piece, size, err));
    }
    if (!lane->raw_stream) return VL2_OK;
    VL2_TRY(vl2_stream_finish(lane->raw_stream, &piece, &size, err));
    return vl2_buf_add(&lane->raw, piece, size, err);
}

vl2_status vl2_lane_next(vl2_lane *lane, vl2_engine *engine, const vl2_job *job,
                         const float *logits, vl2_error *err) {
    int32_t id;
    bool stopped = false, ignored = false;
    VL2_TRY(vl2_sampler_next(lane->sampler, logits, &id, err));
    VL2_TRY(vl2_buf_add(&lane->ids, &id, sizeof id, err));
    lane->n_tokens++;
    if (vl2_is_eos(engine, id)) return finish(lane, "stop", false, err);
    VL2_TRY(note_logprobs(lane, engine, &job->chat, logits, id, err));
    VL2_TRY(add_text(&lane->text, lane->stream, id, &stopped, err));
    if (lane->raw_stream) VL2_TRY(add_text(&lane->raw, lane->raw_stream, id, &ignored, err));
    if (stopped) return finish(lane, "stop", true, err);
    if (lane->n_tokens >= job->chat.max_tokens) return finish(lane, "length", false, err);
    return vl2_session_feed_token(lane->session, id, err);
}

void vl2_lane_close(vl2_lane *lane) {
    vl2_session_free(lane->session);
    vl2_sampler_free(lane->sampler);
    vl2_stream_free(lane->stream);
    vl2_stream_free(lane->raw_stream);
    lane->session = NULL;
    lane->sampler = NULL;
    lane->stream = NULL;
    lane->raw_stream = NULL;
    lane->running = false;
}
