/* The engine thread. Jobs come in over a locked list; everything behind that is this thread's own. */
#include "server/scheduler.h"

#include "base/mem.h"
#include "server/cache.h"
#include "server/lane.h"
#include "server/reply.h"

#include <string.h>

struct vl2_scheduler {
    const vl2_serve_options *options;
    vl2_loader *loader;
    vl2_metrics *metrics;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the fields up to the line */
    pthread_cond_t wake;
    vl2_job *incoming, **incoming_end;
    uint64_t *owners; /* [inside] of the jobs that have a place: being parsed, waiting, running */
    size_t inside;
    bool closed, stopping;
    double per_job; /* seconds a job took lately, smoothed */
    /* ---- the engine thread's ---- */
    vl2_engine *engine; /* borrowed: every job inside holds it */
    size_t block;       /* KV tokens are given out in such blocks */
    vl2_batch *batch;
    vl2_step *steps;
    vl2_job **stepped; /* whose session steps[i] is, and which lane */
    size_t *stepped_lane;
    vl2_rows_cache *rows;
    vl2_prefix_cache *prefixes;
    vl2_job *waiting, **running;
    size_t n_running;
};

/* ---- what belongs to an engine: made for the first job after loading, gone before it goes ---- */

static size_t most_lanes(const vl2_scheduler *s) {
    return s->options->parallel * VL2_JOB_MAX_CHOICES + 1;
}

static size_t chunk_size(const vl2_scheduler *s, const vl2_engine *engine) {
    size_t n = s->options->chunk_tokens;
    return n ? n : vl2_engine_info(engine)->ctx_tokens;
}

static size_t most_rows(const vl2_scheduler *s, const vl2_engine *engine) {
    return chunk_size(s, engine) + s->options->parallel * VL2_JOB_MAX_CHOICES;
}

size_t vl2_scheduler_scratch(const vl2_scheduler *s, const vl2_engine *engine) {
    return vl2_batch_plan(engine, most_rows(s, engine), most_lanes(s));
}

static vl2_status set_up(vl2_scheduler *s, vl2_error *err) {
    if (s->batch) return VL2_OK;
    s->block = vl2_engine_info(s->engine)->kv_block_tokens;
    if (!s->rows) VL2_TRY(vl2_rows_cache_create(&s->rows, s->options->image_cache, err));
    if (!s->prefixes) VL2_TRY(vl2_prefix_cache_create(&s->prefixes, s->options->prefixes, err));
    return vl2_batch_create(&s->batch, s->engine, most_rows(s, s->engine), most_lanes(s), err);
}

static void take_down(vl2_scheduler *s) {
    vl2_prefix_cache_free(s->prefixes);
    vl2_rows_cache_free(s->rows);
    vl2_batch_free(s->batch);
    s->prefixes = NULL;
    s->rows = NULL;
    s->batch = NULL;
    s->engine = NULL;
}

/* Lets the weights go when nobody has needed them for long. */
static void rest(vl2_scheduler *s) {
    if (!vl2_loader_is_idle(s->loader)) return;
    take_down(s);
    vl2_loader_close(s->loader);
    if (s->options->say)
        s->options->say(s->options->user,
                        "idle: the weights were let go; the next request loads them again");
}

/* ---- places ---- */

static size_t places(const vl2_scheduler *s) { return s->options->queue + s->options->parallel; }

/* The mutex is held. */
static bool has_share(const vl2_scheduler *s, uint64_t owner) {
    size_t n = 0, share = (places(s) * 3 + 3) / 4;
    if (s->options->n_api_keys < 2) return true;
    for (size_t i = 0; i < s->inside; i++) n += s->owners[i] == owner;
    return n < share;
}

vl2_entry vl2_scheduler_enter(vl2_scheduler *s, uint64_t owner) {
    pthread_mutex_lock(&s->mutex);
    vl2_entry entry = s->closed                                      ? VL2_ENTRY_CLOSED
                      : s->inside < places(s) && has_share(s, owner) ? VL2_ENTRY_OK
                                                                     : VL2_ENTRY_FULL;
    if (entry == VL2_ENTRY_OK) s->owners[s->inside++] = owner;
    pthread_mutex_unlock(&s->mutex);
    return entry;
}

/* The mutex is held. */
static void leave_place(vl2_scheduler *s, uint64_t owner) {
    size_t i = 0;
    while (i < s->inside && s->owners[i] != owner) i++;
    if (i < s->inside) s->owners[i] = s->owners[--s->inside];
}

void vl2_scheduler_leave(vl2_scheduler *s, uint64_t owner) {
    pthread_mutex_lock(&s->mutex);
    leave_place(s, owner);
    pthread_mutex_unlock(&s->mutex);
}

void vl2_scheduler_submit(vl2_scheduler *s, vl2_job *job) {
    pthread_mutex_lock(&s->mutex);
    job->next = NULL;
    *s->incoming_end = job;
    s->incoming_end = &job->next;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

double vl2_scheduler_retry_after(vl2_scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    double seconds = s->per_job * (double)s->inside / (double)s->options->parallel;
    pthread_mutex_unlock(&s->mutex);
    return seconds < 1 ? 1 : seconds > 60 ? 60 : seconds;
}

size_t vl2_scheduler_load(vl2_scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    size_t inside = s->inside;
    pthread_mutex_unlock(&s->mutex);
    return inside;
}

/* ---- leaving ---- */

/* A finished lane's session is kept: the next turn of its conversation begins with it. */
static void keep_prefix(vl2_scheduler *s, vl2_job *job) {
    vl2_lane *lane = &job->lanes[0];
    if (!lane->session || !lane->finish || !s->prefixes) return;
    vl2_prefix_cache_put(s->prefixes, lane->session, job->prompt, job->keys,
                         (const int32_t *)(const void *)lane->ids.data, lane->n_tokens);
    lane->session = NULL;
}

static void account(vl2_scheduler *s, vl2_job *job, vl2_counter result) {
    job->ended = vl2_now();
    double took = job->ended - job->arrived;
    vl2_metrics_add(s->metrics, result, 1);
    vl2_metrics_add(s->metrics, VL2_COUNT_PROMPT_TOKENS, job->prompt_tokens);
    vl2_metrics_add(s->metrics, VL2_COUNT_CACHED_TOKENS, job->cached_tokens);
    vl2_metrics_add(s->metrics, VL2_COUNT_COMPLETION_TOKENS, job->n_tokens);
    vl2_metrics_time(s->metrics, VL2_TIME_REQUEST, took);
    pthread_mutex_lock(&s->mutex);
    s->per_job += 0.1 * (took - s->per_job);
    leave_place(s, job->owner);
    pthread_mutex_unlock(&s->mutex);
}

/* Ends a job that is in no list any more. What it computed with goes now, whatever the connection
 * still holds. */
static void end_job(vl2_scheduler *s, vl2_job *job, vl2_counter result) {
    if (result == VL2_COUNT_REQUESTS_OK) keep_prefix(s, job);
    job->result = result == VL2_COUNT_REQUESTS_OK     ? "ok"
                  : result == VL2_COUNT_REQUESTS_GONE ? "cancelled"
                                                      : "error";
    vl2_job_free_work(job);
    account(s, job, result);
    vl2_loader_give(s->loader);
    vl2_job_drop(job);
}

static void fail_job(vl2_scheduler *s, vl2_job *job, int http_status, const char *type,
                     const char *message) {
    vl2_job_fail(job, http_status, type, NULL, message);
    end_job(s, job, VL2_COUNT_REQUESTS_ERROR);
}

/* What failed for want of memory may go well later; all else is an error of `http_status`. */
static void fail_by(vl2_scheduler *s, vl2_job *job, const vl2_error *err, int http_status) {
    bool later =
        err->status == VL2_OK || err->status == VL2_ERR_MEMORY || err->status == VL2_ERR_KV_FULL;
    fail_job(s, job, later ? 503 : http_status,
             later || http_status >= 500 ? "server_error" : "invalid_request_error",
             *err->text ? err->text : VL2_REPLY_NO_MEMORY);
}

static bool expired(const vl2_scheduler *s, const vl2_job *job) {
    return s->options->request_seconds > 0 &&
           vl2_now() - job->arrived > s->options->request_seconds;
}

/* True when the job had to go; it is ended then. */
static bool must_leave(vl2_scheduler *s, vl2_job *job) {
    if (vl2_job_is_gone(job)) {
        end_job(s, job, VL2_COUNT_REQUESTS_GONE);
        return true;
    }
    if (expired(s, job)) {
        fail_job(s, job, 504, "timeout", "the request took longer than this server allows");
        return true;
    }
    return false;
}

static void leave(vl2_scheduler *s) {
    for (vl2_job **link = &s->waiting; *link;) {
        vl2_job *job = *link, *next = job->next;
        if (must_leave(s, job))
            *link = next;
        else
            link = &job->next;
    }
    for (size_t i = 0; i < s->n_running;) {
        if (must_leave(s, s->running[i])) {
            memmove(&s->running[i], &s->running[i + 1], (s->n_running - i - 1) * sizeof(vl2_job *));
            s->n_running--;
        } else {
            i++;
        }
    }
}

/* ---- joining ---- */

/* KV tokens that running jobs have been promised and do not hold yet. */
static size_t promised(const vl2_scheduler *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_running; i++) n += vl2_lane_promised(s->running[i], s->block);
    return n;
}

/* Kept prefixes that nobody uses go until there is room; `spared` stays. */
static bool make_room(vl2_scheduler *s, size_t need, const vl2_session *spared) {
    size_t outstanding = promised(s);
    while (vl2_kv_tokens_free(s->engine) < need + outstanding) {
        if (!vl2_prefix_cache_evict(s->prefixes, spared)) return false;
    }
    return true;
}

static size_t running_of(const vl2_scheduler *s, uint64_t owner) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_running; i++) n += s->running[i]->owner == owner;
    return n;
}

/* The first waiting job of the key that has the fewest places. */
static vl2_job **fairest(vl2_scheduler *s) {
    vl2_job **best = NULL;
    size_t fewest = SIZE_MAX;
    for (vl2_job **link = &s->waiting; *link; link = &(*link)->next) {
        size_t n = running_of(s, (*link)->owner);
        if (n < fewest) {
            fewest = n;
            best = link;
        }
    }
    return best;
}

/* Rows that are known already need no vision tower; true when none is left to be made. */
static bool use_known_rows(vl2_scheduler *s, vl2_job *job) {
    size_t n;
    bool all = true;
    const vl2_span *spans = vl2_prompt_spans(job->prompt, &n);
    for (size_t i = 0; i < n; i++) {
        if (spans[i].first_token + spans[i].n_tokens <= job->cached_tokens) continue;
        vl2_rows *rows = vl2_rows_cache_find(s->rows, &job->keys[i]);
        vl2_metrics_add(s->metrics, rows ? VL2_COUNT_ROWS_HIT : VL2_COUNT_ROWS_MISS, 1);
        all &= rows && vl2_prompt_set_rows(job->prompt, i, rows, NULL) == VL2_OK;
    }
    return all;
}

static void remember_rows(vl2_scheduler *s, vl2_job *job) {
    size_t n;
    vl2_prompt_spans(job->prompt, &n);
    for (size_t i = 0; i < n; i++) {
        vl2_rows *rows = vl2_prompt_rows(job->prompt, i);
        if (rows) vl2_rows_cache_put(s->rows, &job->keys[i], rows);
    }
    vl2_metrics_set(s->metrics, VL2_GAUGE_ROWS_BYTES, (double)vl2_rows_cache_bytes(s->rows));
}

/* *known: the tokens that a kept session (returned; NULL: none) saves; its last are computed anew,
 * since their logits are needed. */
static const vl2_session *find_prefix(vl2_scheduler *s, const vl2_job *job, size_t *known) {
    const vl2_session *from = vl2_prefix_cache_find(s->prefixes, job->prompt, job->keys, known);
    if (*known >= job->prompt_tokens) *known = job->prompt_tokens - 1;
    if (!from) *known = 0;
    return *known ? from : NULL;
}

static vl2_status admit(vl2_scheduler *s, vl2_job *job, const vl2_session *from, size_t known,
                        vl2_error *err) {
    job->cached_tokens = known;
    vl2_prompt_skip(job->prompt, known);
    job->encoded = use_known_rows(s, job);
    job->n_lanes = 1;
    VL2_TRY(vl2_lane_open(&job->lanes[0], s->engine, job, 0, from, known, err));
    VL2_TRY(vl2_session_feed_prompt(job->lanes[0].session, job->prompt, known, err));
    if (job->chat.stream) {
        vl2_job_head(job, 200);
        VL2_TRY(vl2_reply_begin(job, s->options->model_name));
    }
    return VL2_OK;
}

/* Gives `job` its place when there is KV for its prompt and longest answer. False: it must wait. */
static bool try_join(vl2_scheduler *s, vl2_job **link) {
    vl2_job *job = *link;
    vl2_error err = {0};
    size_t known = 0;
    const vl2_session *from = NULL;
    vl2_status status = set_up(s, &err);
    if (status == VL2_OK) {
        from = find_prefix(s, job, &known);
        if (!make_room(s, vl2_lane_need(job, known, s->block), from)) {
            known = 0; /* what it could have used has to go, too */
            from = NULL;
            if (!make_room(s, vl2_lane_need(job, 0, s->block), NULL)) return false;
        }
        status = admit(s, job, from, known, &err);
    }
    *link = job->next;
    if (status == VL2_OK)
        s->running[s->n_running++] = job;
    else
        fail_by(s, job, &err, 400);
    return true;
}

static void join(vl2_scheduler *s) {
    while (s->waiting && s->n_running < s->options->parallel) {
        if (!try_join(s, fairest(s))) return; /* it waits, and nobody overtakes it */
    }
}

/* ---- a step ---- */

static void remove_running(vl2_scheduler *s, vl2_job *job) {
    size_t i = 0;
    while (i < s->n_running && s->running[i] != job) i++;
    if (i == s->n_running) return;
    memmove(&s->running[i], &s->running[i + 1], (s->n_running - i - 1) * sizeof(vl2_job *));
    s->n_running--;
}

/* One bounded piece of a picture's way through the vision tower. */
static void encode_some(vl2_scheduler *s, vl2_job *job) {
    size_t left = 0;
    vl2_error err = {0};
    if (vl2_prompt_encode(job->prompt, s->engine, s->options->views_per_step, &left, &err) !=
        VL2_OK) {
        remove_running(s, job);
        fail_by(s, job, &err, 500);
        return;
    }
    vl2_metrics_add(s->metrics, VL2_COUNT_VIEW_STEPS, 1);
    job->encoded = left == 0;
    if (job->encoded) remember_rows(s, job);
}

/* The oldest job whose prompt is not in its cache yet. */
static vl2_job *slow_job(const vl2_scheduler *s) {
    for (size_t i = 0; i < s->n_running; i++) {
        if (!s->running[i]->prefilled) return s->running[i];
    }
    return NULL;
}

static void add_step(vl2_scheduler *s, size_t *n, vl2_job *job, size_t lane, size_t n_tokens) {
    s->steps[*n] = (vl2_step){.session = job->lanes[lane].session, .n_tokens = n_tokens};
    s->stepped[*n] = job;
    s->stepped_lane[*n] = lane;
    (*n)++;
}

/* Chunks end at fixed positions, so what others do cannot move them. */
static size_t chunk_of(const vl2_scheduler *s, const vl2_job *job) {
    const vl2_session *session = job->lanes[0].session;
    size_t at = vl2_session_length(session), pending = vl2_session_pending(session);
    size_t size = chunk_size(s, s->engine), n = size - at % size;
    return n < pending ? n : pending;
}

/* What this turn's step holds: a token of each running sequence and, unless this turn's slow work was
 * a picture's, a prefill chunk. */
static size_t plan(vl2_scheduler *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_running; i++) {
        vl2_job *job = s->running[i];
        for (size_t k = 0; k < job->n_lanes && job->prefilled; k++) {
            if (job->lanes[k].running) add_step(s, &n, job, k, 1);
        }
    }
    vl2_job *slow = slow_job(s);
    if (slow && !slow->encoded)
        encode_some(s, slow);
    else if (slow)
        add_step(s, &n, slow, 0, chunk_of(s, slow));
    return n;
}

static vl2_status begin_lanes(vl2_scheduler *s, vl2_job *job, vl2_error *err) {
    job->prefilled = true;
    for (size_t k = 1; k < job->chat.n; k++) {
        VL2_TRY(vl2_lane_open(&job->lanes[k], s->engine, job, k, job->lanes[0].session,
                              job->prompt_tokens, err));
        job->n_lanes = k + 1;
    }
    return VL2_OK;
}

static vl2_status speak(vl2_scheduler *s, vl2_job *job, size_t k, const float *logits,
                        vl2_error *err) {
    double now = vl2_now();
    if (!job->first_token) {
        job->first_token = now;
        vl2_metrics_time(s->metrics, VL2_TIME_FIRST_TOKEN, now - job->arrived);
    } else if (job->lanes[k].last_token > 0) {
        vl2_metrics_time(s->metrics, VL2_TIME_BETWEEN, now - job->lanes[k].last_token);
    }
    job->lanes[k].last_token = now;
    VL2_TRY(vl2_lane_next(&job->lanes[k], s->engine, job, logits, err));
    job->n_tokens++;
    if (!job->chat.stream) return VL2_OK;
    VL2_TRY(vl2_reply_text(job, s->options->model_name, k));
    return job->lanes[k].finish ? vl2_reply_lane_end(job, s->options->model_name, k) : VL2_OK;
}

/* After a step: the next token of this entry's lane, or of all lanes when the prompt has just ended. */
static vl2_status after(vl2_scheduler *s, vl2_job *job, size_t k, vl2_error *err) {
    const float *logits = vl2_session_logits(job->lanes[k].session);
    if (!logits) return VL2_OK; /* there is more of the prompt */
    if (job->prefilled) return speak(s, job, k, logits, err);
    VL2_TRY(begin_lanes(s, job, err));
    for (size_t i = 0; i < job->n_lanes; i++) VL2_TRY(speak(s, job, i, logits, err));
    return VL2_OK;
}

static bool all_finished(const vl2_job *job) {
    for (size_t k = 0; k < job->n_lanes; k++) {
        if (!job->lanes[k].finish) return false;
    }
    return true;
}

static void finish_job(vl2_scheduler *s, vl2_job *job) {
    const char *model = s->options->model_name;
    remove_running(s, job);
    if ((job->chat.stream ? vl2_reply_end(job, model) : vl2_reply_whole(job, model)) != VL2_OK) {
        fail_job(s, job, 503, "server_error", VL2_REPLY_NO_MEMORY);
        return;
    }
    vl2_job_head(job, 200);
    vl2_job_finish(job);
    end_job(s, job, VL2_COUNT_REQUESTS_OK);
}

static void fail_all(vl2_scheduler *s, int http_status, const char *message) {
    while (s->n_running)
        fail_job(s, s->running[--s->n_running], http_status, "server_error", message);
}

/* A step that does not fit is tried again with fewer kept prefixes, then with fewer jobs: the
 * youngest has to go. What was promised at their admission makes that a last resort. */
static vl2_status step_in_room(vl2_scheduler *s, size_t *n, vl2_error *err) {
    for (;;) {
        *n = plan(s);
        if (!*n) return VL2_OK;
        *err = (vl2_error){0};
        vl2_status status = vl2_batch_step(s->batch, s->steps, *n, err);
        while (status == VL2_ERR_KV_FULL && vl2_prefix_cache_evict(s->prefixes, NULL)) {
            *err = (vl2_error){0};
            status = vl2_batch_step(s->batch, s->steps, *n, err);
        }
        if (status != VL2_ERR_KV_FULL) return status;
        fail_job(s, s->running[--s->n_running], 503, "server_error",
                 "there was no room left for this request; try again");
    }
}

/* What each stepped sequence says next. */
static void speak_all(vl2_scheduler *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        vl2_error err = {0};
        vl2_job *job = s->stepped[i];
        bool last = i + 1 == n || s->stepped[i + 1] != job; /* a job's lanes stand together */
        if (after(s, job, s->stepped_lane[i], &err) != VL2_OK) {
            remove_running(s, job);
            fail_by(s, job, &err, 500);
            while (i + 1 < n && s->stepped[i + 1] == job) i++; /* the job is no more */
        } else if (last && job->prefilled && all_finished(job)) {
            finish_job(s, job);
        }
    }
}

static void step(vl2_scheduler *s) {
    size_t n = 0;
    vl2_error err = {0};
    if (step_in_room(s, &n, &err) != VL2_OK) {
        fail_all(s, err.status == VL2_ERR_MEMORY ? 503 : 500, err.text);
        return;
    }
    if (!n) return;
    vl2_metrics_add(s->metrics, VL2_COUNT_STEPS, 1);
    vl2_metrics_add(s->metrics, VL2_COUNT_STEP_SEQUENCES, n);
    vl2_metrics_set(s->metrics, VL2_GAUGE_SEQUENCES, (double)n);
    speak_all(s, n);
}

/* ---- the thread ---- */

static void take_incoming(vl2_scheduler *s) {
    vl2_job **end = &s->waiting;
    while (*end) end = &(*end)->next;
    *end = s->incoming;
    s->incoming = NULL;
    s->incoming_end = &s->incoming;
}

static void gauge(vl2_scheduler *s) {
    vl2_metrics_set(s->metrics, VL2_GAUGE_RUNNING, (double)s->n_running);
    vl2_metrics_set(s->metrics, VL2_GAUGE_WAITING, (double)(vl2_scheduler_load(s) - s->n_running));
    if (!s->batch) return;
    vl2_metrics_set(s->metrics, VL2_GAUGE_KV_FREE, (double)vl2_kv_tokens_free(s->engine));
    vl2_metrics_set(s->metrics, VL2_GAUGE_PREFIX_TOKENS,
                    (double)vl2_prefix_cache_tokens(s->prefixes));
}

/* Waits until there is work or the end; false at the end. */
static bool wait_for_work(vl2_scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    while (!s->incoming && !s->waiting && !s->n_running && !s->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&s->wake, &s->mutex, &until);
        pthread_mutex_unlock(&s->mutex);
        rest(s);
        gauge(s); /* who was refused before he came here has left since */
        pthread_mutex_lock(&s->mutex);
    }
    take_incoming(s);
    bool go = !s->stopping;
    pthread_mutex_unlock(&s->mutex);
    return go;
}

static void end_all(vl2_scheduler *s) {
    while (s->waiting) {
        vl2_job *job = s->waiting;
        s->waiting = job->next;
        fail_job(s, job, 503, "server_error", "the server is stopping");
    }
    fail_all(s, 503, "the server is stopping");
}

static void *work(void *user) {
    vl2_scheduler *s = user;
    while (wait_for_work(s)) {
        if (!s->engine && s->waiting) s->engine = s->waiting->engine;
        leave(s);
        join(s);
        step(s);
        gauge(s);
    }
    end_all(s);
    take_down(s);
    return NULL;
}

void vl2_scheduler_free(vl2_scheduler *s) {
    if (!s) return;
    vl2_mem_free(s->steps);
    vl2_mem_free(s->stepped);
    vl2_mem_free(s->stepped_lane);
    vl2_mem_free(s->running);
    vl2_mem_free(s->owners);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mutex);
    vl2_mem_free(s);
}

static vl2_status prepare(vl2_scheduler *s, vl2_error *err) {
    size_t lanes = most_lanes(s);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    s->incoming_end = &s->incoming;
    s->per_job = 1;
    s->steps = vl2_mem_calloc(lanes, sizeof *s->steps);
    s->stepped = vl2_mem_calloc(lanes, sizeof(vl2_job *));
    s->stepped_lane = vl2_mem_calloc(lanes, sizeof *s->stepped_lane);
    s->running = vl2_mem_calloc(s->options->parallel, sizeof(vl2_job *));
    s->owners = vl2_mem_calloc(places(s), sizeof *s->owners);
    if (!s->steps || !s->stepped || !s->stepped_lane || !s->running || !s->owners)
        return vl2_fail_memory(err, "the scheduler", lanes * sizeof *s->steps);
    return VL2_OK;
}

vl2_status vl2_scheduler_start(vl2_scheduler **out, const vl2_serve_options *options,
                               vl2_loader *loader, vl2_metrics *metrics, vl2_error *err) {
    vl2_scheduler *s = vl2_mem_calloc(1, sizeof *s);
    if (!s) return vl2_fail_memory(err, "the scheduler", sizeof *s);
    s->options = options;
    s->loader = loader;
    s->metrics = metrics;
    vl2_status status = prepare(s, err);
    if (status == VL2_OK && pthread_create(&s->thread, NULL, work, s) != 0)
        status = vl2_fail(err, VL2_ERR_MEMORY, "the engine thread could not be started");
    if (status != VL2_OK) {
        vl2_scheduler_free(s);
        return status;
    }
    *out = s;
    return VL2_OK;
}

void vl2_scheduler_close(vl2_scheduler *s) {
    if (!s) return;
    pthread_mutex_lock(&s->mutex);
    s->closed = true;
    pthread_mutex_unlock(&s->mutex);
}

void vl2_scheduler_stop(vl2_scheduler *s) {
    if (!s) return;
    pthread_mutex_lock(&s->mutex);
    s->closed = s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
}
