#include "server/workers.h"

#include "base/json.h"
#include "base/mem.h"
#include "server/cache.h"
#include "server/lane.h"
#include "server/media.h"
#include "server/reply.h"
#include "server/request.h"

#include <stdio.h>

enum { THREADS = 2, MAX_TOKEN_BYTES = 256, MAX_TOKENIZE = 4 << 20 };

struct vl2_workers {
    const vl2_serve_options *options;
    vl2_loader *loader;
    vl2_scheduler *scheduler;
    vl2_metrics *metrics;
    vl2_budget pictures;
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
    job->result = "refused";
    job->ended = vl2_now();
    vl2_job_fail(job, http_status, http_status >= 500 ? "server_error" : "invalid_request_error",
                 param, message);
}

static vl2_request_limits limits_of(vl2_workers *w) {
    const vl2_serve_options *o = w->options;
    vl2_request_limits limits = {.max_images = o->max_images,
                                 .max_tokens = o->max_tokens,
                                 .sampling = o->sampling,
                                 .system = o->system,
                                 .stop = o->stop,
                                 .n_stop = o->n_stop,
                                 .skip_special = o->skip_special,
                                 .pictures = &w->pictures,
                                 .allow_remote = o->allow_remote_images,
                                 .is_private = vl2_media_address_is_private,
                                 .media_dir = o->media_dir,
                                 .model_name = o->model_name};
    vl2_picture_options_init(&limits.picture);
    limits.picture.max_pixels = o->max_pixels;
    limits.picture.max_file_bytes = o->max_body;
    return limits;
}

/* The context and the KV pool bound prompt and answer together; what is left bounds the answer. */
static bool fits(vl2_workers *w, vl2_job *job, const vl2_info *info) {
    char text[256];
    vl2_prompt_ids(job->prompt, &job->prompt_tokens);
    size_t left = info->ctx_tokens > job->prompt_tokens ? info->ctx_tokens - job->prompt_tokens : 0;
    size_t room =
        vl2_lane_room(job->prompt_tokens, job->chat.n, info->kv_tokens, info->kv_block_tokens);
    if (room < left) left = room;
    if (left) {
        if (job->chat.max_tokens > left) job->chat.max_tokens = left;
        return true;
    }
    size_t image = vl2_prompt_image_tokens(job->prompt);
    size_t most = info->ctx_tokens < info->kv_tokens ? info->ctx_tokens : info->kv_tokens;
    snprintf(
        text, sizeof text,
        "the prompt is %zu tokens (text %zu, pictures %zu); the context holds %zu for %zu choice(s), "
        "and at least one must be left for the answer: send fewer pictures or turns",
        job->prompt_tokens, job->prompt_tokens - image, image, most, job->chat.n);
    refuse(w, job, 400, "messages", text);
    return false;
}

static vl2_status build_prompt(vl2_workers *w, vl2_job *job, vl2_error *err) {
    vl2_prompt_options options;
    size_t n = 0;
    vl2_prompt_options_init(&options);
    options.plain_control = !w->options->trust_special_tokens;
    VL2_TRY(vl2_prompt_build(&job->prompt, job->engine, job->chat.messages, job->chat.n_messages,
                             &options, err));
    const vl2_span *spans = vl2_prompt_spans(job->prompt, &n);
    job->keys = vl2_mem_array(n, sizeof *job->keys);
    if (!job->keys) return vl2_fail_memory(err, "the pictures' keys", n * sizeof *job->keys);
    for (size_t i = 0; i < n; i++) vl2_picture_key_of(&job->keys[i], &spans[i]);
    return VL2_OK;
}

/* A text that cannot fit, whatever its tokens are, need not be cut into them first. */
static bool is_hopeless(vl2_workers *w, vl2_job *job, const vl2_info *info) {
    size_t bytes = 0, most = info->ctx_tokens * MAX_TOKEN_BYTES;
    char text[160];
    for (size_t i = 0; i < job->chat.n_messages; i++) bytes += job->chat.messages[i].text_size;
    if (bytes <= most) return false;
    snprintf(text, sizeof text,
             "%zu bytes of text are far over what the context holds, %zu tokens: send less", bytes,
             info->ctx_tokens);
    refuse(w, job, 400, "messages", text);
    return true;
}

/* What the engine thread need not do: a picture of 100 million pixels would hold up every stream. */
static bool cut(vl2_workers *w, vl2_job *job) {
    vl2_error err = {0};
    if (vl2_prompt_cut(job->prompt, &err) == VL2_OK) return true;
    refuse(w, job, err.status == VL2_ERR_MEMORY ? 503 : 400, "messages", err.text);
    return false;
}

/* With the engine held: true when the job went on to the scheduler, which then holds it. */
static bool prepare(vl2_workers *w, vl2_job *job) {
    vl2_error err = {0};
    const vl2_info *info = vl2_engine_info(job->engine);
    if (is_hopeless(w, job, info)) return false;
    if (build_prompt(w, job, &err) != VL2_OK) {
        refuse(w, job, err.status == VL2_ERR_MEMORY ? 503 : 400, "messages", err.text);
        return false;
    }
    if (!fits(w, job, info) || !cut(w, job)) return false;
    vl2_job_accept(job);
    vl2_scheduler_submit(w->scheduler, job);
    return true;
}

/* Why it failed is for whoever runs the server: it names files of this machine. */
static vl2_status take_engine(vl2_workers *w, vl2_engine **out, vl2_error *err) {
    vl2_error why = {0};
    if (vl2_loader_take(w->loader, out, &why) == VL2_OK) return VL2_OK;
    if (w->options->say) w->options->say(w->options->user, why.text);
    return vl2_fail(err, VL2_ERR_MEMORY, "the model could not be loaded; try again later");
}

static bool chat(vl2_workers *w, vl2_job *job) {
    vl2_request_limits limits = limits_of(w);
    vl2_request_error why;
    vl2_error err = {0};
    vl2_status status = vl2_request_parse(&job->chat, job->body.data ? job->body.data : "",
                                          job->body.size, &limits, &why);
    vl2_job_free_body(job);
    if (status != VL2_OK) {
        refuse(w, job, why.http_status, why.param, why.error.text);
        return false;
    }
    if (take_engine(w, &job->engine, &err) != VL2_OK) {
        refuse(w, job, 503, NULL, err.text);
        return false;
    }
    if (prepare(w, job)) return true;
    vl2_loader_give(w->loader);
    return false;
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
    VL2_TRY(vl2_request_json(&doc, job->body.data ? job->body.data : "", job->body.size, err));
    const vl2_json *root = vl2_json_root(doc);
    const char *text = vl2_json_text(vl2_json_get(root, "content"), &size);
    if (!text) text = vl2_json_text(vl2_json_get(root, "prompt"), &size);
    vl2_status status =
        text ? VL2_OK : vl2_fail(err, VL2_ERR_ARGUMENT, "needs \"content\", a string");
    if (status == VL2_OK && size > MAX_TOKENIZE)
        status = vl2_fail(err, VL2_ERR_LIMIT, "content is %zu bytes, expected at most %d", size,
                          MAX_TOKENIZE);
    if (status == VL2_OK && (status = take_engine(w, &engine, err)) == VL2_OK) {
        status = vl2_tokenize(&ids, &n, engine, text, size, err);
        vl2_loader_give(w->loader);
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
    vl2_status status = tokenize(w, job, &out, &err);
    vl2_job_free_body(job);
    if (status == VL2_OK) {
        job->result = "ok";
        job->ended = vl2_now();
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
        vl2_scheduler_leave(w->scheduler, job->owner);
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

bool vl2_workers_submit(vl2_workers *w, vl2_job *job) {
    pthread_mutex_lock(&w->mutex);
    bool open = !w->stopping;
    if (open) {
        job->next = NULL;
        *w->end = job;
        w->end = &job->next;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->mutex);
    return open;
}

vl2_status vl2_workers_start(vl2_workers **out, const vl2_serve_options *options,
                             vl2_loader *loader, vl2_scheduler *scheduler, vl2_metrics *metrics,
                             vl2_error *err) {
    vl2_workers *w = vl2_mem_calloc(1, sizeof *w);
    if (!w) return vl2_fail_memory(err, "the workers", sizeof *w);
    w->options = options;
    w->loader = loader;
    w->scheduler = scheduler;
    w->pictures.max = options->picture_memory;
    w->metrics = metrics;
    w->end = &w->first;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    while (w->n_threads < THREADS && pthread_create(&w->threads[w->n_threads], NULL, work, w) == 0)
        w->n_threads++;
    if (!w->n_threads) {
        vl2_workers_free(w);
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
}

void vl2_workers_free(vl2_workers *w) {
    if (!w) return;
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    vl2_mem_free(w);
}
