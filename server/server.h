/* server/server.h - `vl2 serve`: docs/SERVER.md is the design, docs/HTTP.md the API.
 *
 * server.c starts and stops; http.c owns connections; workers.c parses (request.c, media.c) and
 * builds prompts; scheduler.c is the engine thread; cache.c keeps picture rows and prefixes;
 * reply.c writes what goes out; metrics.c counts. */
#ifndef VL2_SERVER_H
#define VL2_SERVER_H

#include "base/err.h"

typedef struct vl2_serve_options {
    const char *model_path, *model_name; /* the name clients see */
    bool is_demo;                        /* the demo checkpoint: the page says what it knows */
    const char *host;                    /* "127.0.0.1" */
    unsigned port;                       /* 37914; 0: the system chooses one, and it is printed */
    const char *root_path;               /* "" or "/prefix", as a proxy passes it on */
    const char *api_key;                 /* NULL: none needed */
    const char *cors_origin;             /* NULL: off */
    const char *media_dir;               /* NULL: no file: pictures */
    bool allow_remote_images, trust_special_tokens, log_json, lazy_load;
    double idle_seconds;    /* weights are let go after so long without work; 0: never */
    double request_seconds; /* a request may take so long; 0: no limit */
    size_t max_connections, max_body, max_images, queue, parallel, image_cache, max_tokens;
    uint64_t max_pixels;
    size_t chunk_tokens;
    size_t views_per_step;
    vl2_engine_options engine;
    vl2_sampling sampling; /* what a request does not say */
    /* One line each, for people; called from one thread at a time. */
    void (*say)(void *user, const char *line);
    void *user;
} vl2_serve_options;

void vl2_serve_options_init(vl2_serve_options *options);
/* Loads the model, listens, and returns. `options` and its texts must outlive the server. */
typedef struct vl2_server vl2_server;
vl2_status vl2_server_start(vl2_server **out, const vl2_serve_options *options, vl2_error *err);
unsigned vl2_server_port(const vl2_server *server);
/* Ends it: no new requests; running ones finish within `grace_seconds` or end with an error event. */
void vl2_server_stop(vl2_server *server, double grace_seconds);

#endif
