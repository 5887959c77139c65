#define _GNU_SOURCE /* POLLRDHUP */
#include "server/job.h"

#include "base/mem.h"
#include "server/access.h"
#include "server/lane.h"
#include "server/reply.h"

#include <microhttpd.h>
#include <poll.h>
#include <string.h>
#include <time.h>

enum { MAX_UNSENT = 1 << 20 }; /* bytes a reader may lag behind before its job is cancelled */

double vl2_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

vl2_job *vl2_job_create(vl2_job_kind kind, const vl2_serve_options *options) {
    vl2_job *job = vl2_mem_calloc(1, sizeof *job);
    if (!job) return NULL;
    if (pthread_mutex_init(&job->mutex, NULL) != 0) {
        vl2_mem_free(job);
        return NULL;
    }
    atomic_init(&job->holders, 1);
    job->options = options;
    job->kind = kind;
    job->socket = -1;
    job->created = (int64_t)time(NULL);
    job->arrived = job->last_sent = vl2_now();
    return job;
}

void vl2_chat_free(vl2_chat *chat) {
    for (size_t i = 0; i < chat->n_messages; i++) {
        vl2_mem_free((void *)(uintptr_t)chat->messages[i].text);
        vl2_mem_free((void *)(uintptr_t)chat->messages[i].pictures);
        vl2_mem_free((void *)(uintptr_t)chat->messages[i].image_at);
    }
    for (size_t i = 0; i < chat->n_pictures; i++) vl2_picture_free(chat->pictures[i]);
    for (size_t i = 0; i < chat->n_stop; i++) vl2_mem_free(chat->stop[i]);
    vl2_mem_free(chat->messages);
    vl2_mem_free(chat->pictures);
    vl2_mem_free(chat->stop);
    if (chat->budget) vl2_budget_give(chat->budget, chat->picture_bytes);
    memset(chat, 0, sizeof *chat);
}

static void lane_free(vl2_lane *lane) {
    vl2_lane_close(lane);
    vl2_buf_free(&lane->text);
    vl2_buf_free(&lane->raw);
    vl2_buf_free(&lane->logprobs);
    vl2_buf_free(&lane->ids);
}

void vl2_job_hold(vl2_job *job) { atomic_fetch_add(&job->holders, 1); }

void vl2_job_free_body(vl2_job *job) {
    vl2_buf_free(&job->body);
    if (job->bodies) vl2_budget_give(job->bodies, job->body_bytes);
    job->body_bytes = 0;
}

void vl2_job_free_work(vl2_job *job) {
    for (size_t i = 0; i < VL2_JOB_MAX_CHOICES; i++) vl2_lane_close(&job->lanes[i]);
    vl2_prompt_free(job->prompt);
    job->prompt = NULL;
    vl2_chat_free(&job->chat);
}

void vl2_job_drop(vl2_job *job) {
    if (!job || atomic_fetch_sub(&job->holders, 1) != 1) return;
    vl2_access_job(job);
    for (size_t i = 0; i < VL2_JOB_MAX_CHOICES; i++) lane_free(&job->lanes[i]);
    vl2_job_free_work(job);
    vl2_job_free_body(job);
    vl2_mem_free(job->keys);
    vl2_buf_free(&job->out);
    pthread_mutex_destroy(&job->mutex);
    vl2_mem_free(job);
}

/* ---- the mutex is held ---- */

static void wake(vl2_job *job) {
    if (!job->suspended || !job->connection) return;
    job->suspended = false;
    MHD_resume_connection(job->connection);
}

static void append(vl2_job *job, const char *data, size_t size) {
    if (job->gone || job->finished) return;
    if (job->taken) { /* what was sent makes room */
        memmove(job->out.data, job->out.data + job->taken, job->out.size - job->taken);
        job->out.size -= job->taken;
        job->taken = 0;
    }
    if ((job->streaming && job->out.size + size > MAX_UNSENT) ||
        vl2_buf_add(&job->out, data, size, NULL) != VL2_OK)
        job->gone = true;
    job->last_sent = vl2_now();
}

/* ---- the mutex is free ---- */

void vl2_job_accept(vl2_job *job) {
    pthread_mutex_lock(&job->mutex);
    job->streaming = job->chat.stream;
    pthread_mutex_unlock(&job->mutex);
}

void vl2_job_send(vl2_job *job, const char *data, size_t size) {
    pthread_mutex_lock(&job->mutex);
    append(job, data, size);
    wake(job);
    pthread_mutex_unlock(&job->mutex);
}

void vl2_job_head(vl2_job *job, int http_status) {
    pthread_mutex_lock(&job->mutex);
    if (!job->http_status) job->http_status = http_status;
    wake(job);
    pthread_mutex_unlock(&job->mutex);
}

void vl2_job_finish(vl2_job *job) {
    pthread_mutex_lock(&job->mutex);
    job->finished = true;
    wake(job);
    pthread_mutex_unlock(&job->mutex);
}

void vl2_job_keep_alive(vl2_job *job, double after) {
    static const char comment[] = ": working\n\n";
    pthread_mutex_lock(&job->mutex);
    if (job->streaming && !job->finished && vl2_now() - job->last_sent > after) {
        if (!job->http_status) job->http_status = 200; /* a stream now, whatever comes */
        append(job, comment, sizeof comment - 1);
        wake(job);
    }
    pthread_mutex_unlock(&job->mutex);
}

bool vl2_job_is_over(vl2_job *job, size_t *unsent) {
    pthread_mutex_lock(&job->mutex);
    bool over = job->finished || job->gone;
    *unsent = job->out.size - job->taken;
    pthread_mutex_unlock(&job->mutex);
    return over;
}

bool vl2_job_is_gone(vl2_job *job) {
    pthread_mutex_lock(&job->mutex);
    if (!job->gone && job->socket >= 0) {
        struct pollfd p = {.fd = job->socket, .events = POLLRDHUP};
        if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL))) {
            job->gone = true;
            wake(job);
        }
    }
    bool gone = job->gone;
    pthread_mutex_unlock(&job->mutex);
    return gone;
}

void vl2_job_fail(vl2_job *job, int http_status, const char *type, const char *param,
                  const char *message) {
    static const char data[] = "data: ", end[] = "\n\ndata: [DONE]\n\n";
    vl2_buf made = {0};
    bool ok = vl2_reply_error(&made, type, param, message, NULL) == VL2_OK;
    const char *text = ok ? made.data : VL2_REPLY_NO_MEMORY_ERROR;
    pthread_mutex_lock(&job->mutex);
    bool begun = job->http_status != 0; /* then this is a stream's last event but one */
    if (begun) append(job, data, sizeof data - 1);
    append(job, text, strlen(text));
    if (begun) append(job, end, sizeof end - 1);
    if (!begun) job->http_status = ok ? http_status : 503;
    job->finished = true;
    wake(job);
    pthread_mutex_unlock(&job->mutex);
    vl2_buf_free(&made);
}
