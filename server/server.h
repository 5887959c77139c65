/* server/server.h - `vl2 serve`: docs/SERVER.md is the design, docs/HTTP.md the API.
 *
 * server.c starts and stops; http.c owns connections, watch.c their patience, guard.c says who may
 * ask, site.c answers what needs no thought; workers.c parses (request.c, media.c) and builds
 * prompts; loader.c has the engine; scheduler.c is the engine thread, cache.c keeps picture rows and
 * prefixes for it; reply.c writes what goes out; metrics.c counts; access.c logs. */
#ifndef VL2_SERVER_H
#define VL2_SERVER_H

#include "base/err.h"

typedef struct vl2_serve_options {
    const char *model_path, *model_name; /* the name clients see */
    bool is_demo;                        /* the demo checkpoint: the page says what it knows */
    const char *host;                    /* "127.0.0.1" */
    unsigned port;                       /* 37914; 0: the system chooses one, and it is printed */
    const char *root_path;               /* "" or "/prefix", as a proxy passes it on */
    const char *const *api_keys;         /* [n_api_keys]; none: everybody may ask */
    size_t n_api_keys;
    const char *const *host_names; /* [n_host_names] names besides localhost that we go by */
    size_t n_host_names;
    const char *cors_origin; /* NULL: off */
    const char *media_dir;   /* NULL: no file: pictures */
    bool allow_remote_images, trust_special_tokens, log_json, log_all, lazy_load;
    double idle_seconds;    /* weights are let go after so long without work; 0: never */
    double request_seconds; /* a request may take so long; 0: no limit */
    size_t max_connections, max_body, max_images, queue, parallel, max_tokens;
    size_t image_cache;    /* bytes */
    size_t prefixes;       /* finished sequences that are kept; 0: none */
    size_t body_memory;    /* bytes of bodies that are being received and read, all together */
    size_t picture_memory; /* bytes of decoded pictures, all requests together */
    uint64_t max_pixels;
    size_t chunk_tokens; /* of a prompt, computed at once; 0: all of them */
    size_t views_per_step;
    vl2_engine_options engine;
    /* What a request does not say. */
    vl2_sampling sampling;
    const char *system;      /* NULL: no system message */
    const char *const *stop; /* [n_stop] */
    size_t n_stop;
    bool skip_special;
    /* One line each, for people; called from any thread. */
    void (*say)(void *user, const char *line);
    void *user;
} vl2_serve_options;

void vl2_serve_options_init(vl2_serve_options *options);
/* Does listening at `host` reach this machine only? */
bool vl2_server_is_local(const char *host);
/* Listens, loads the model unless that is to be lazy (/health says "loading" meanwhile), and
 * returns. `options` and its texts must outlive the server. */
typedef struct vl2_server vl2_server;
vl2_status vl2_server_start(vl2_server **out, const vl2_serve_options *options, vl2_error *err);
unsigned vl2_server_port(const vl2_server *server);
bool vl2_server_info(const vl2_server *server, vl2_info *out); /* false: not loaded yet */
/* Bytes that a step's scratch takes with these options. */
size_t vl2_server_scratch(const vl2_server *server);
/* Takes no new requests from now on; those inside go on. */
void vl2_server_close(vl2_server *server);
bool vl2_server_is_busy(const vl2_server *server); /* is anybody inside? */
/* Ends it; who is still inside gets an error as the last event. */
void vl2_server_stop(vl2_server *server);

#endif
