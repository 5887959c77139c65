#include "server/http.h"

#include "base/mem.h"
#include "server/access.h"
#include "server/guard.h"
#include "server/reply.h"
#include "server/site.h"
#include "server/watch.h"

#include <netdb.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { LAST_WORDS_MS = 3000, CONNECTION_MEMORY = 64 << 10, IDLE_SECONDS = 60 };
static const size_t most_discarded = (size_t)1 << 30;

struct vl2_http {
    vl2_site site;
    const vl2_serve_options *options;
    vl2_scheduler *scheduler;
    vl2_workers *workers;
    vl2_metrics *metrics;
    vl2_watch *watch;
    vl2_budget bodies;
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
    vl2_visit visit;
    vl2_watched *watched;
    const vl2_page_file *file;
    vl2_job *job;     /* this side's hold */
    bool queued;      /* an answer is on its way */
    int refused;      /* the status of an answer that waits for the body's end */
    size_t discarded; /* bytes of a body that is refused */
    double began;
    char method[12], path[160]; /* as they came, for the log; cut */
} exchange;

/* ---- routes ---- */

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* The path behind the prefix under which a proxy serves us; with the prefix or without it. */
static const char *local_path(const vl2_http *http, const char *url) {
    size_t n = strlen(http->options->root_path);
    const char *path = vl2_guard_path(url);
    if (n && strncmp(path, http->options->root_path, n) == 0 && (path[n] == '/' || !path[n]))
        path += n;
    return *path ? path : "/";
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

static enum MHD_Result refuse(vl2_http *http, exchange *x, int status, const char *message) {
    bool later = status == 429 || status == 503;
    double seconds = later ? vl2_scheduler_retry_after(http->scheduler) : 0;
    if (x->route == ROUTE_CHAT || x->route == ROUTE_TOKENIZE)
        vl2_metrics_add(http->metrics,
                        status == 429 ? VL2_COUNT_REQUESTS_BUSY : VL2_COUNT_REQUESTS_BAD, 1);
    x->queued = true;
    return vl2_site_error(&http->site, &x->visit, status, message, seconds);
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

static enum MHD_Result begin_stream(const vl2_http *http, exchange *x) {
    vl2_job_hold(x->job);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, x->job, drop_job);
    if (!response) {
        vl2_job_drop(x->job);
        return MHD_NO;
    }
    vl2_site_headers(&http->site, response, "text/event-stream; charset=utf-8");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    enum MHD_Result result = MHD_queue_response(x->visit.connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

/* A connection that was resumed: the head is known, or it waits (again). */
static enum MHD_Result continue_job(const vl2_http *http, exchange *x) {
    vl2_job *job = x->job;
    pthread_mutex_lock(&job->mutex);
    int status = job->http_status;
    bool stream = status == 200 && job->streaming;
    bool ready = status && (stream || job->finished), gone = job->gone;
    if (!ready && !gone) {
        job->suspended = true;
        MHD_suspend_connection(x->visit.connection);
    }
    pthread_mutex_unlock(&job->mutex);
    if (gone && !ready) return MHD_NO;
    if (!ready) return MHD_YES;
    x->queued = true;
    if (stream) return begin_stream(http, x);
    double seconds = status == 503 ? vl2_scheduler_retry_after(http->scheduler) : 0;
    return vl2_site_answer(&http->site, &x->visit, status, "application/json",
                           job->out.data ? job->out.data : "", job->out.size, seconds);
}

/* Marks the job as this connection's, and suspends that before anybody can wake it. */
static void bind_job(exchange *x) {
    vl2_job *job = x->job;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->visit.connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    name_job(job);
    vl2_guard_client(job->client, sizeof job->client, x->visit.connection);
    pthread_mutex_lock(&job->mutex);
    job->connection = x->visit.connection;
    job->socket = info ? info->connect_fd : -1;
    job->suspended = true;
    MHD_suspend_connection(x->visit.connection);
    pthread_mutex_unlock(&job->mutex);
}

static enum MHD_Result submit(vl2_http *http, exchange *x) {
    vl2_job *job = x->job;
    bool chat = job->kind == VL2_JOB_CHAT;
    job->owner = vl2_guard_owner(http->options, x->visit.connection);
    vl2_entry entry = chat ? vl2_scheduler_enter(http->scheduler, job->owner) : VL2_ENTRY_OK;
    if (entry == VL2_ENTRY_FULL)
        return refuse(http, x, 429, "the queue is full; try again shortly");
    if (entry == VL2_ENTRY_CLOSED) return refuse(http, x, 503, "the server is stopping");
    bind_job(x);
    vl2_job_hold(job);
    vl2_watch_whole(http->watch, x->watched, job);
    if (vl2_workers_submit(http->workers, job)) return MHD_YES;
    if (chat) vl2_scheduler_leave(http->scheduler, job->owner);
    vl2_job_fail(job, 503, "server_error", NULL, "the server is stopping");
    vl2_job_drop(job);
    return MHD_YES;
}

/* ---- libmicrohttpd's calls ---- */

static enum MHD_Result begin_body(vl2_http *http, exchange *x) {
    const char *length =
        MHD_lookup_connection_value(x->visit.connection, MHD_HEADER_KIND, "Content-Length");
    if (length && strtoull(length, NULL, 10) > http->options->max_body)
        return refuse(http, x, 413, "the body is larger than this server takes");
    x->job =
        vl2_job_create(x->route == ROUTE_CHAT ? VL2_JOB_CHAT : VL2_JOB_TOKENIZE, http->options);
    if (!x->job) return refuse(http, x, 503, VL2_REPLY_NO_MEMORY);
    x->job->body.cap = http->options->max_body;
    x->job->bodies = &http->bodies;
    return MHD_YES;
}

/* The request's head is here: whatever can be refused is refused before the body is read. */
static enum MHD_Result begin(vl2_http *http, const char *url, const char *method,
                             const char *version, exchange *x) {
    int status;
    x->route = route_of(local_path(http, url), &x->file);
    const char *unclear = vl2_guard_framing(x->visit.connection, version);
    if (unclear) {
        x->visit.last = true;
        return refuse(http, x, 400, unclear);
    }
    bool post = x->route == ROUTE_CHAT || x->route == ROUTE_TOKENIZE;
    bool is_public = x->route == ROUTE_HEALTH || x->route == ROUTE_PAGE || x->route == ROUTE_NONE;
    if (is(method, "OPTIONS") && http->options->cors_origin) {
        x->queued = true;
        return vl2_site_preflight(&http->site, &x->visit);
    }
    const char *why = vl2_guard_check(&status, http->options, x->visit.connection, url, !is_public);
    if (why) return refuse(http, x, status, why);
    if (x->route == ROUTE_NONE) return refuse(http, x, 404, "there is nothing at this path");
    if (post ? !is(method, "POST") : !is(method, "GET") && !is(method, "HEAD"))
        return refuse(http, x, 405, post ? "use POST" : "use GET");
    return post ? begin_body(http, x) : MHD_YES; /* the others when their (empty) body was read */
}

/* A part of the body. One that is refused is read on, within reason, so that the client hears why. */
static enum MHD_Result take_body(vl2_http *http, exchange *x, const char *data, size_t size) {
    vl2_watch_body(http->watch, x->watched, size);
    vl2_job *job = x->job;
    if (x->queued || !job) return MHD_YES;
    if (!x->refused) {
        if (size > job->body.cap - job->body.size)
            x->refused = 413;
        else if (!vl2_budget_take(&http->bodies, size))
            x->refused = 503;
        else
            job->body_bytes += size;
        if (!x->refused && vl2_buf_add(&job->body, data, size, NULL) != VL2_OK) x->refused = 503;
        if (x->refused) vl2_job_free_body(job);
    }
    if (x->refused) x->discarded += size;
    return x->discarded > most_discarded ? MHD_NO : MHD_YES;
}

static enum MHD_Result respond(vl2_http *http, const char *url, exchange *x) {
    if (x->refused == 413) return refuse(http, x, 413, "the body is larger than this server takes");
    if (x->refused)
        return refuse(http, x, 503, "the bodies of other requests leave no memory; try again");
    if (!x->job) vl2_watch_answer(http->watch, x->watched, x->file ? x->file->size : 0);
    switch (x->route) {
    case ROUTE_CHAT:
    case ROUTE_TOKENIZE: return x->job->connection ? continue_job(http, x) : submit(http, x);
    case ROUTE_MODELS: return vl2_site_models(&http->site, &x->visit, local_path(http, url));
    case ROUTE_HEALTH: return vl2_site_health(&http->site, &x->visit);
    case ROUTE_METRICS: return vl2_site_metrics(&http->site, &x->visit);
    case ROUTE_PAGE:
        return is(vl2_guard_path(url), http->options->root_path)
                   ? vl2_site_to_prefix(&http->site, &x->visit)
                   : vl2_site_page(&http->site, &x->visit, x->file);
    case ROUTE_EXAMPLE: return vl2_site_example(&http->site, &x->visit, local_path(http, url));
    case ROUTE_NONE: break;
    }
    return MHD_NO;
}

static exchange *create_exchange(vl2_http *http, struct MHD_Connection *connection, const char *url,
                                 const char *method) {
    exchange *x = vl2_mem_calloc(1, sizeof *x);
    if (!x) return NULL;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    x->visit.connection = connection;
    x->watched = info ? info->socket_context : NULL;
    x->began = vl2_now();
    snprintf(x->method, sizeof x->method, "%s", method);
    snprintf(x->path, sizeof x->path, "%s", url);
    vl2_watch_body(http->watch, x->watched, 0);
    return x;
}

static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *size, void **state) {
    vl2_http *http = user;
    exchange *x = *state;
    if (!x) {
        x = create_exchange(http, connection, url, method);
        *state = x;
        return x ? begin(http, url, method, version, x) : MHD_NO;
    }
    if (*size) {
        enum MHD_Result result = take_body(http, x, data, *size);
        *size = 0;
        return result;
    }
    return x->queued ? MHD_YES : respond(http, url, x);
}

/* Whether a request without a job is worth a line: pages and probes that went well are not. */
static bool is_worth_a_line(const vl2_http *http, const exchange *x) {
    bool quiet = x->route == ROUTE_PAGE || x->route == ROUTE_EXAMPLE || x->route == ROUTE_HEALTH ||
                 x->route == ROUTE_METRICS;
    return http->options->log_all || !quiet || x->visit.status >= 400;
}

static void completed(void *user, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode how) {
    vl2_http *http = user;
    exchange *x = *state;
    (void)how;
    if (!x) return;
    vl2_watch_answered(http->watch, x->watched);
    bool bound = x->job && *x->job->client; /* then its last holder writes the line */
    if (!bound && is_worth_a_line(http, x)) {
        char client[48];
        vl2_guard_client(client, sizeof client, connection);
        vl2_access_visit(http->options, client, x->method, x->path, x->visit.status,
                         vl2_now() - x->began);
    }
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

static void connected(void *user, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode what) {
    vl2_http *http = user;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = info ? vl2_watch_add(http->watch, info->connect_fd) : NULL;
    } else {
        vl2_watch_remove(http->watch, *socket_context);
        *socket_context = NULL;
    }
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

static vl2_status listen_at(vl2_http *http, struct sockaddr_storage *address, vl2_error *err) {
    const vl2_serve_options *options = http->options;
    /* poll, not epoll: libmicrohttpd's edge-triggered reads miss an end that comes with data, and
     * such a connection would hold its place until it is timed out */
    unsigned flags = MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME;
    if (address->ss_family == AF_INET6) flags |= MHD_USE_IPv6;
    http->daemon = MHD_start_daemon(
        flags, (uint16_t)options->port, NULL, NULL, handle, http, MHD_OPTION_SOCK_ADDR,
        (struct sockaddr *)address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, completed, http,
        MHD_OPTION_NOTIFY_CONNECTION, connected, http, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
        MHD_OPTION_END);
    if (http->daemon) return VL2_OK;
    return vl2_fail(err, VL2_ERR_IO,
                    "cannot listen on %s port %u: it may be in use; choose another --port",
                    options->host, options->port);
}

vl2_status vl2_http_start(vl2_http **out, const vl2_serve_options *options, vl2_loader *loader,
                          vl2_scheduler *scheduler, vl2_workers *workers, vl2_metrics *metrics,
                          vl2_error *err) {
    struct sockaddr_storage address = {0};
    VL2_TRY(resolve(&address, options, err));
    vl2_http *http = vl2_mem_calloc(1, sizeof *http);
    if (!http) return vl2_fail_memory(err, "the HTTP server", sizeof *http);
    *http = (vl2_http){.site = {.options = options, .loader = loader, .metrics = metrics},
                       .options = options,
                       .scheduler = scheduler,
                       .workers = workers,
                       .metrics = metrics};
    http->bodies.max = options->body_memory;
    vl2_status status = vl2_watch_start(&http->watch, err);
    if (status == VL2_OK) status = listen_at(http, &address, err);
    if (status != VL2_OK) {
        vl2_watch_stop(http->watch);
        vl2_mem_free(http);
        return status;
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

size_t vl2_http_count(const vl2_http *http) { return http ? vl2_watch_count(http->watch) : 0; }

void vl2_http_stop(vl2_http *http) {
    if (!http) return;
    for (int ms = 0; ms < LAST_WORDS_MS && vl2_http_count(http); ms += 10) poll(NULL, 0, 10);
    MHD_stop_daemon(http->daemon);
    vl2_watch_stop(http->watch);
    vl2_mem_free(http);
}
