#include "server/http.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "server/reply.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

struct vl2_http {
    const vl2_serve_options *options;
    vl2_scheduler *scheduler;
    vl2_workers *workers;
    vl2_metrics *metrics;
    struct MHD_Daemon *daemon;
};

typedef enum route {
    ROUTE_CHAT,
    ROUTE_TOKENIZE,
    ROUTE_MODELS,
    ROUTE_HEALTH,
    ROUTE_METRICS,
    ROUTE_PAGE,
    ROUTE_EXAMPLE,
    ROUTE_NONE
} route;

typedef struct exchange { /* one request of a connection */
    route route;
    const vl2_page_file *file;
    vl2_job *job; /* this side's hold */
    bool queued;  /* an answer is on its way */
} exchange;

/* ---- answers ---- */

static void add_headers(const vl2_http *http, struct MHD_Response *response, const char *type) {
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (http->options->cors_origin) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin",
                                http->options->cors_origin);
        MHD_add_response_header(response, "Vary", "Origin");
    }
}

static enum MHD_Result answer(const vl2_http *http, struct MHD_Connection *connection, int status,
                              const char *type, const char *text, size_t size) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (!response) return MHD_NO;
    add_headers(http, response, type);
    if (status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 429) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%.0f", vl2_scheduler_retry_after(http->scheduler));
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_error(const vl2_http *http, struct MHD_Connection *connection,
                                    int status, const char *type, const char *message) {
    vl2_buf text = {0};
    vl2_reply_error(&text, type, NULL, message, NULL);
    enum MHD_Result result =
        answer(http, connection, status, "application/json", text.data ? text.data : "", text.size);
    vl2_buf_free(&text);
    return result;
}

/* ---- routes ---- */

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* The path behind the prefix under which a proxy serves us; with the prefix or without it. */
static const char *local_path(const vl2_http *http, const char *url) {
    size_t n = strlen(http->options->root_path);
    if (n && strncmp(url, http->options->root_path, n) == 0 && (url[n] == '/' || !url[n])) url += n;
    return *url ? url : "/";
}

static route route_of(const char *path, const vl2_page_file **file) {
    *file = NULL;
    if (is(path, "/v1/chat/completions")) return ROUTE_CHAT;
    if (is(path, "/tokenize")) return ROUTE_TOKENIZE;
    if (is(path, "/v1/models") || strncmp(path, "/v1/models/", 11) == 0) return ROUTE_MODELS;
    if (is(path, "/health")) return ROUTE_HEALTH;
    if (is(path, "/metrics")) return ROUTE_METRICS;
    if (is(path, "/examples.json") || strncmp(path, "/examples/", 10) == 0) return ROUTE_EXAMPLE;
    *file = vl2_page_find(path);
    return *file ? ROUTE_PAGE : ROUTE_NONE;
}

/* Equal or not in a time that depends on the lengths alone. */
static bool same_secret(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    unsigned different = n != m;
    for (size_t i = 0; i < n; i++)
        different |= (unsigned)(unsigned char)a[i] ^ (unsigned char)(m ? b[i % m] : 0);
    return different == 0;
}

static const char *bearer(struct MHD_Connection *connection) {
    const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    return header && strncmp(header, "Bearer ", 7) == 0 ? header + 7 : "";
}

static bool may(const vl2_http *http, struct MHD_Connection *connection, route where) {
    if (!http->options->api_key || where == ROUTE_HEALTH || where == ROUTE_PAGE ||
        where == ROUTE_NONE)
        return true;
    return same_secret(bearer(connection), http->options->api_key);
}

static uint64_t owner_of(struct MHD_Connection *connection) { /* FNV-1a of who asks */
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = bearer(connection); *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, info->client_addr, sizeof v4);
        hash = (hash ^ v4.sin_addr.s_addr) * 0x100000001b3u;
    }
    return hash;
}

/* ---- small answers, made on the spot ---- */

static enum MHD_Result models(const vl2_http *http, struct MHD_Connection *connection) {
    vl2_buf text = {0};
    const char *name = http->options->model_name;
    vl2_buf_addf(&text, NULL, "{\"object\":\"list\",\"data\":[{\"id\":");
    vl2_json_quote(&text, name, strlen(name), NULL);
    vl2_buf_addf(
        &text, NULL,
        ",\"object\":\"model\",\"created\":0,\"owned_by\":\"vl2\",\"input_modalities\":[\"text\",\"image\"],"
        "\"output_modalities\":[\"text\"],\"max_images\":%zu,\"max_completion_tokens\":%zu,\"demo\":%s}]}",
        http->options->max_images, http->options->max_tokens,
        http->options->is_demo ? "true" : "false");
    enum MHD_Result result =
        answer(http, connection, 200, "application/json", text.data ? text.data : "", text.size);
    vl2_buf_free(&text);
    return result;
}

static enum MHD_Result health(const vl2_http *http, struct MHD_Connection *connection) {
    bool ready = vl2_scheduler_is_ready(http->scheduler);
    const char *text = ready ? "{\"status\":\"ok\"}" : "{\"status\":\"loading\"}";
    return answer(http, connection, ready ? 200 : 503, "application/json", text, strlen(text));
}

static enum MHD_Result metrics(const vl2_http *http, struct MHD_Connection *connection) {
    vl2_buf text = {0};
    vl2_metrics_write(&text, http->metrics, NULL);
    enum MHD_Result result = answer(http, connection, 200, "text/plain; version=0.0.4",
                                    text.data ? text.data : "", text.size);
    vl2_buf_free(&text);
    return result;
}

static enum MHD_Result page(struct MHD_Connection *connection, const vl2_page_file *file) {
    const char *known = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "If-None-Match");
    bool same = known && is(known, file->etag);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        same ? 0 : file->size, (void *)(uintptr_t)file->data, MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", file->type);
    MHD_add_response_header(response, "ETag", file->etag);
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(
        response, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'");
    enum MHD_Result result = MHD_queue_response(connection, same ? 304 : 200, response);
    MHD_destroy_response(response);
    return result;
}

/* A checkpoint may bring examples: examples.json and the pictures that it names, in examples/. */
static enum MHD_Result example(const vl2_http *http, struct MHD_Connection *connection,
                               const char *path) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    const char *name = path + 1, *inner = is(path, "/examples.json") ? name : path + 10;
    char *file = NULL, *bytes = NULL;
    size_t size = 0;
    bool safe = *inner && *inner != '.' && inner[strspn(inner, allowed)] == '\0';
    bool found = safe && vl2_path_join(&file, http->options->model_path, name, NULL) == VL2_OK &&
                 vl2_file_read(&bytes, &size, file, (size_t)4 << 20, NULL) == VL2_OK;
    const char *type = strstr(inner, ".json")  ? "application/json"
                       : strstr(inner, ".png") ? "image/png"
                                               : "image/jpeg";
    enum MHD_Result result = found ? answer(http, connection, 200, type, bytes, size)
                                   : answer_error(http, connection, 404, "invalid_request_error",
                                                  "there is no such example");
    vl2_mem_free(file);
    vl2_mem_free(bytes);
    return result;
}

/* ---- jobs ---- */

static void name_job(vl2_job *job) {
    unsigned char random[12] = {0};
    if (getrandom(random, sizeof random, 0) < 0) memcpy(random, &job->arrived, sizeof job->arrived);
    size_t n = (size_t)snprintf(job->id, sizeof job->id, "chatcmpl-");
    for (size_t i = 0; i < sizeof random; i++)
        n += (size_t)snprintf(job->id + n, sizeof job->id - n, "%02x", random[i]);
}

static ssize_t read_stream(void *user, uint64_t position, char *out, size_t room) {
    vl2_job *job = user;
    (void)position;
    pthread_mutex_lock(&job->mutex);
    size_t have = job->out.size - job->taken;
    ssize_t n = (ssize_t)(have < room ? have : room);
    if (n) {
        memcpy(out, job->out.data + job->taken, (size_t)n);
        job->taken += (size_t)n;
    } else if (job->finished || job->gone) {
        n = job->gone && !job->finished ? MHD_CONTENT_READER_END_WITH_ERROR
                                        : MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        job->suspended = true;
        MHD_suspend_connection(job->connection);
    }
    pthread_mutex_unlock(&job->mutex);
    return n;
}

static void drop_job(void *user) { vl2_job_drop(user); }

static enum MHD_Result begin_stream(const vl2_http *http, struct MHD_Connection *connection,
                                    vl2_job *job) {
    vl2_job_hold(job);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, job, drop_job);
    if (!response) {
        vl2_job_drop(job);
        return MHD_NO;
    }
    add_headers(http, response, "text/event-stream; charset=utf-8");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

/* A connection that was resumed, or never had to wait: the head is known, or it waits (again). */
static enum MHD_Result continue_job(const vl2_http *http, struct MHD_Connection *connection,
                                    exchange *x) {
    vl2_job *job = x->job;
    pthread_mutex_lock(&job->mutex);
    int status = job->http_status;
    bool stream = status == 200 && job->kind == VL2_JOB_CHAT && job->chat.stream;
    bool ready = status && (stream || job->finished), gone = job->gone;
    if (!ready && !gone) {
        job->suspended = true;
        MHD_suspend_connection(connection);
    }
    pthread_mutex_unlock(&job->mutex);
    if (gone && !ready) return MHD_NO;
    if (!ready) return MHD_YES;
    x->queued = true;
    if (stream) return begin_stream(http, connection, job);
    return answer(http, connection, status, "application/json", job->out.data ? job->out.data : "",
                  job->out.size);
}

static enum MHD_Result submit(vl2_http *http, struct MHD_Connection *connection, exchange *x) {
    vl2_job *job = x->job;
    if (job->kind == VL2_JOB_CHAT && !vl2_scheduler_enter(http->scheduler)) {
        vl2_metrics_add(http->metrics, VL2_COUNT_REQUESTS_BUSY, 1);
        x->queued = true;
        return answer_error(http, connection, 429, "rate_limit_error",
                            "the queue is full; try again shortly");
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    job->connection = connection;
    job->socket = info ? info->connect_fd : -1;
    job->owner = owner_of(connection);
    name_job(job);
    vl2_job_hold(job);
    pthread_mutex_lock(&job->mutex); /* suspended before anybody can wake it */
    job->suspended = true;
    MHD_suspend_connection(connection);
    pthread_mutex_unlock(&job->mutex);
    vl2_workers_submit(http->workers, job);
    return MHD_YES;
}

/* ---- libmicrohttpd's calls ---- */

static enum MHD_Result begin(vl2_http *http, struct MHD_Connection *connection, const char *url,
                             const char *method, exchange *x) {
    const char *path = local_path(http, url);
    x->route = route_of(path, &x->file);
    bool post = x->route == ROUTE_CHAT || x->route == ROUTE_TOKENIZE;
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    x->queued = true; /* unless it is a POST that goes on */
    if (is(method, "OPTIONS") && http->options->cors_origin) {
        struct MHD_Response *response =
            MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
        if (!response) return MHD_NO;
        add_headers(http, response, "text/plain");
        MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        MHD_add_response_header(response, "Access-Control-Allow-Headers",
                                "Authorization, Content-Type");
        enum MHD_Result result = MHD_queue_response(connection, 204, response);
        MHD_destroy_response(response);
        return result;
    }
    if (x->route == ROUTE_NONE)
        return answer_error(http, connection, 404, "invalid_request_error",
                            "there is nothing at this path");
    if (!may(http, connection, x->route))
        return answer_error(http, connection, 401, "authentication_error",
                            "the API key is missing or wrong");
    if (post ? !is(method, "POST") : !is(method, "GET") && !is(method, "HEAD"))
        return answer_error(http, connection, 405, "invalid_request_error",
                            post ? "use POST" : "use GET");
    if (!post) {
        x->queued = false; /* answered when the (empty) body has been read */
        return MHD_YES;
    }
    if (length && strtoull(length, NULL, 10) > http->options->max_body)
        return answer_error(http, connection, 413, "invalid_request_error",
                            "the body is larger than this server takes");
    x->job = vl2_job_create(x->route == ROUTE_CHAT ? VL2_JOB_CHAT : VL2_JOB_TOKENIZE);
    if (!x->job) return MHD_NO;
    x->job->body.cap = http->options->max_body;
    x->queued = false;
    return MHD_YES;
}

static enum MHD_Result respond(vl2_http *http, struct MHD_Connection *connection, const char *url,
                               exchange *x) {
    switch (x->route) {
    case ROUTE_CHAT:
    case ROUTE_TOKENIZE:
        return x->job->connection ? continue_job(http, connection, x) : submit(http, connection, x);
    case ROUTE_MODELS: return models(http, connection);
    case ROUTE_HEALTH: return health(http, connection);
    case ROUTE_METRICS: return metrics(http, connection);
    case ROUTE_PAGE: return page(connection, x->file);
    case ROUTE_EXAMPLE: return example(http, connection, local_path(http, url));
    case ROUTE_NONE: break;
    }
    return MHD_NO;
}

static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state) {
    vl2_http *http = user;
    exchange *x = *state;
    (void)version;
    if (!x) {
        x = vl2_mem_calloc(1, sizeof *x);
        if (!x) return MHD_NO;
        *state = x;
        return begin(http, connection, url, method, x);
    }
    if (*size) {
        /* Over the limit in a body without a length, or out of memory: the connection ends. */
        if (x->job && vl2_buf_add(&x->job->body, data, *size, NULL) != VL2_OK) return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    return x->queued ? MHD_YES : respond(http, connection, url, x);
}

static void completed(void *user, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode how) {
    exchange *x = *state;
    (void)user, (void)connection, (void)how;
    if (!x) return;
    if (x->job) {
        pthread_mutex_lock(&x->job->mutex);
        x->job->connection = NULL;
        x->job->socket = -1;
        if (!x->job->finished) x->job->gone = true;
        pthread_mutex_unlock(&x->job->mutex);
        vl2_job_drop(x->job);
    }
    vl2_mem_free(x);
    *state = NULL;
}

/* ---- start and stop ---- */

static vl2_status resolve(struct sockaddr_storage *out, const vl2_serve_options *options,
                          vl2_error *err) {
    char port[16];
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    snprintf(port, sizeof port, "%u", options->port);
    if (getaddrinfo(options->host, port, &hints, &found) != 0 || !found)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "--host %s is no address of this machine",
                        options->host);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return VL2_OK;
}

vl2_status vl2_http_start(vl2_http **out, const vl2_serve_options *options,
                          vl2_scheduler *scheduler, vl2_workers *workers, vl2_metrics *metrics_,
                          vl2_error *err) {
    struct sockaddr_storage address = {0};
    VL2_TRY(resolve(&address, options, err));
    vl2_http *http = vl2_mem_calloc(1, sizeof *http);
    if (!http) return vl2_fail_memory(err, "the HTTP server", sizeof *http);
    *http = (vl2_http){
        .options = options, .scheduler = scheduler, .workers = workers, .metrics = metrics_};
    unsigned flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME;
    if (address.ss_family == AF_INET6) flags |= MHD_USE_IPv6;
    http->daemon =
        MHD_start_daemon(flags, (uint16_t)options->port, NULL, NULL, handle, http,
                         MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->max_connections,
                         MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_NOTIFY_COMPLETED, completed,
                         http, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
    if (!http->daemon) {
        vl2_mem_free(http);
        return vl2_fail(err, VL2_ERR_IO,
                        "cannot listen on %s port %u: it may be in use; choose another --port",
                        options->host, options->port);
    }
    *out = http;
    return VL2_OK;
}

unsigned vl2_http_port(const vl2_http *http) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);
    return info ? info->port : http->options->port;
}

void vl2_http_quiesce(vl2_http *http) {
    MHD_socket fd = http ? MHD_quiesce_daemon(http->daemon) : MHD_INVALID_SOCKET;
    if (fd != MHD_INVALID_SOCKET) close(fd);
}

void vl2_http_stop(vl2_http *http) {
    if (!http) return;
    MHD_stop_daemon(http->daemon);
    vl2_mem_free(http);
}
