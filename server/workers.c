#include "server/workers.h"

#include "base/json.h"
#include "base/mem.h"
#include "server/reply.h"
#include "server/request.h"

#include <stdio.h>

enum { THREADS = 2 };

struct vl2_workers {
    const vl2_serve_options *options;
    vl2_scheduler *scheduler;
    vl2_metrics *metrics;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    vl2_job *first, **end;
    bool stopping;
    pthread_t threads[THREADS];
    size_t n_threads;
};

static void refuse(vl2_workers *w, vl2_job *job, int http_status, const char *param,
                   const char *message) {
    vl2_metrics_add(w->metrics, VL2_COUNT_REQUESTS_BAD, 1);
    vl2_job_fail(job, http_status, http_status >= 500 ? "server_error" : "invalid_request_error",
                 param, message);
}

static vl2_request_limits limits_of(const vl2_serve_options *o) {
    vl2_request_limits limits = {.max_images = o->max_images,
                                 .max_tokens = o->max_tokens,
                                 .sampling = o->sampling,
                                 .allow_remote = o->allow_remote_images,
                                 .media_dir = o->media_dir,
                                 .model_name = o->model_name};
    vl2_picture_options_init(&limits.picture);
    limits.picture.max_pixels = o->max_pixels;
    limits.picture.max_file_bytes = o->max_body;
    return limits;
}

/* The context and the KV pool bound prompt and answer together; what is left bounds the answer. */
static bool fits(vl2_workers *w, vl2_job *job, const vl2_info *info) {
    size_t most = info->ctx_tokens < info->kv_tokens / job->chat.n ? info->ctx_tokens
                                                                   : info->kv_tokens / job->chat.n;
    char text[256];
    vl2_prompt_ids(job->prompt, &job->prompt_tokens);
    if (job->prompt_tokens < most) {
        size_t left = most - job->prompt_tokens;
        if (job->chat.max_tokens > left) job->chat.max_tokens = left;
        return true;
    }
    size_t image = vl2_prompt_image_tokens(job->prompt);
    snprintf(
        text, sizeof text,
        "the prompt is %zu tokens (text %zu, pictures %zu); the context holds %zu, and at least one must be left "
        "for the answer: send fewer pictures or turns",
        job->prompt_tokens, job->prompt_tokens - image, image, most);
    refuse(w, job, 400, "messages", text);
    return false;
}

static vl2_status build_prompt(vl2_workers *w, vl2_job *job, vl2_engine *engine, vl2_error *err) {
    vl2_prompt_options options;
    vl2_prompt_options_init(&options);
    options.plain_control = !w->options->trust_special_tokens;
    return vl2_prompt_build(&job->prompt, engine, job->chat.messages, job->chat.n_messages,
                            &options, err);
}

/* True when the job went on to the scheduler. */
static bool chat(vl2_workers *w, vl2_job *job) {
    vl2_request_limits limits = limits_of(w->options);
    vl2_request_error why;
    vl2_error err = {0};
    vl2_engine *engine;
    if (vl2_request_parse(&job->chat, job->body.data ? job->body.data : "", job->body.size, &limits,
                          &why) != VL2_OK) {
        refuse(w, job, why.http_status, why.param, why.error.text);
        return false;
    }
    vl2_buf_free(&job->body);
    if (vl2_scheduler_engine(w->scheduler, &engine, &err) != VL2_OK) {
        refuse(w, job, 503, NULL, "the model could not be loaded");
        return false;
    }
    bool ok = build_prompt(w, job, engine, &err) == VL2_OK;
    if (!ok)
        refuse(w, job, err.status == VL2_ERR_MEMORY ? 503 : 400, "messages", err.text);
    else
        ok = fits(w, job, vl2_engine_info(engine));
    if (ok) vl2_scheduler_submit(w->scheduler, job); /* its place keeps the engine */
    vl2_scheduler_release(w->scheduler);
    return ok;
}

static vl2_status write_ids(vl2_buf *out, const int32_t *ids, size_t n) {
    VL2_TRY(vl2_buf_addf(out, NULL, "{\"tokens\":["));
    for (size_t i = 0; i < n; i++) VL2_TRY(vl2_buf_addf(out, NULL, "%s%d", i ? "," : "", ids[i]));
    return vl2_buf_addf(out, NULL, "],\"count\":%zu}", n);
}

static vl2_status tokenize(vl2_workers *w, vl2_job *job, vl2_buf *out, vl2_error *err) {
    vl2_json_doc *doc = NULL;
    vl2_engine *engine;
    size_t size, n;
    int32_t *ids = NULL;
    VL2_TRY(vl2_json_parse(&doc, job->body.data ? job->body.data : "", job->body.size,
                           "the request", err));
    const vl2_json *root = vl2_json_root(doc);
    const char *text = vl2_json_text(vl2_json_get(root, "content"), &size);
    if (!text) text = vl2_json_text(vl2_json_get(root, "prompt"), &size);
    vl2_status status =
        text ? VL2_OK : vl2_fail(err, VL2_ERR_ARGUMENT, "needs \"content\", a string");
    if (status == VL2_OK && (status = vl2_scheduler_engine(w->scheduler, &engine, err)) == VL2_OK) {
        status = vl2_tokenize(&ids, &n, engine, text, size, err);
        vl2_scheduler_release(w->scheduler);
    }
    if (status == VL2_OK && (status = write_ids(out, ids, n)) != VL2_OK)
        vl2_fail_memory(err, "the list of ids", n * sizeof *ids);
    vl2_free(ids);
    vl2_json_free(doc);
    return status;
}

static void answer_tokenize(vl2_workers *w, vl2_job *job) {
    vl2_buf out = {0};
    vl2_error err = {0};
    if (tokenize(w, job, &out, &err) == VL2_OK) {
        vl2_job_send(job, out.data, out.size);
        vl2_job_head(job, 200);
        vl2_job_finish(job);
    } else {
        refuse(w, job, err.status == VL2_ERR_MEMORY ? 503 : 400, NULL, err.text);
    }
    vl2_buf_free(&out);
}

static void handle(vl2_workers *w, vl2_job *job) {
    bool is_chat = job->kind == VL2_JOB_CHAT;
    if (is_chat && chat(w, job)) return; /* the scheduler has it, place and hold */
    if (is_chat)
        vl2_scheduler_leave(w->scheduler);
    else
        answer_tokenize(w, job);
    vl2_job_drop(job);
}

static vl2_job *take(vl2_workers *w) {
    pthread_mutex_lock(&w->mutex);
    while (!w->first && !w->stopping) pthread_cond_wait(&w->wake, &w->mutex);
    vl2_job *job = w->first;
    if (job) {
        w->first = job->next;
        if (!w->first) w->end = &w->first;
    }
    pthread_mutex_unlock(&w->mutex);
    return job;
}

static void *work(void *user) {
    vl2_workers *w = user;
    vl2_job *job;
    while ((job = take(w))) handle(w, job);
    return NULL;
}

void vl2_workers_submit(vl2_workers *w, vl2_job *job) {
    pthread_mutex_lock(&w->mutex);
    job->next = NULL;
    *w->end = job;
    w->end = &job->next;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

vl2_status vl2_workers_start(vl2_workers **out, const vl2_serve_options *options,
                             vl2_scheduler *scheduler, vl2_metrics *metrics, vl2_error *err) {
    vl2_workers *w = vl2_mem_calloc(1, sizeof *w);
    if (!w) return vl2_fail_memory(err, "the workers", sizeof *w);
    w->options = options;
    w->scheduler = scheduler;
    w->metrics = metrics;
    w->end = &w->first;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    while (w->n_threads < THREADS && pthread_create(&w->threads[w->n_threads], NULL, work, w) == 0)
        w->n_threads++;
    if (!w->n_threads) {
        vl2_workers_stop(w);
        return vl2_fail(err, VL2_ERR_MEMORY, "no worker thread could be started");
    }
    *out = w;
    return VL2_OK;
}

void vl2_workers_stop(vl2_workers *w) {
    if (!w) return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    for (size_t i = 0; i < w->n_threads; i++) pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    vl2_mem_free(w);
}
