#include "server/server.h"

#include "base/mem.h"
#include "server/guard.h"
#include "server/http.h"
#include "server/media.h"

struct vl2_server {
    vl2_serve_options options;
    vl2_metrics *metrics;
    vl2_loader *loader;
    vl2_scheduler *scheduler;
    vl2_workers *workers;
    vl2_http *http;
    size_t scratch;
};

void vl2_serve_options_init(vl2_serve_options *o) {
    *o = (vl2_serve_options){.host = "127.0.0.1",
                             .port = 37914,
                             .root_path = "",
                             .max_connections = 256,
                             .max_body = (size_t)64 << 20,
                             .max_images = 16,
                             .queue = 64,
                             .parallel = 8,
                             .prefixes = 64,
                             .image_cache = (size_t)256 << 20,
                             .body_memory = (size_t)512 << 20,
                             .picture_memory = (size_t)1 << 30,
                             .max_tokens = 2048,
                             .max_pixels = 100000000,
                             .chunk_tokens = 512,
                             .views_per_step = 1,
                             .request_seconds = 600};
    vl2_engine_options_init(&o->engine);
    o->engine.kv_contexts = 4;
    vl2_sampling_init(&o->sampling);
}

bool vl2_server_is_local(const char *host) { return vl2_guard_is_loopback(host); }

/* Loads the model at once, while /health already answers. */
static vl2_status load(vl2_server *s, vl2_error *err) {
    vl2_engine *engine;
    vl2_status status = vl2_loader_take(s->loader, &engine, err);
    if (status != VL2_OK) {
        vl2_loader_give_up(s->loader);
        return status;
    }
    s->scratch = vl2_scheduler_scratch(s->scheduler, engine);
    vl2_loader_give(s->loader);
    return VL2_OK;
}

static vl2_status start(vl2_server *s, vl2_error *err) {
    const vl2_serve_options *o = &s->options;
    if (o->allow_remote_images) VL2_TRY(vl2_media_init(err));
    s->metrics = vl2_metrics_create();
    if (!s->metrics) return vl2_fail_memory(err, "the metrics", 0);
    VL2_TRY(vl2_loader_create(&s->loader, o, err));
    VL2_TRY(vl2_scheduler_start(&s->scheduler, o, s->loader, s->metrics, err));
    VL2_TRY(vl2_workers_start(&s->workers, o, s->loader, s->scheduler, s->metrics, err));
    VL2_TRY(vl2_http_start(&s->http, o, s->loader, s->scheduler, s->workers, s->metrics, err));
    return o->lazy_load ? VL2_OK : load(s, err);
}

vl2_status vl2_server_start(vl2_server **out, const vl2_serve_options *options, vl2_error *err) {
    vl2_server *s = vl2_mem_calloc(1, sizeof *s);
    if (!s) return vl2_fail_memory(err, "the server", sizeof *s);
    s->options = *options;
    vl2_status status = start(s, err);
    if (status != VL2_OK) {
        vl2_server_stop(s);
        return status;
    }
    *out = s;
    return VL2_OK;
}

unsigned vl2_server_port(const vl2_server *server) { return vl2_http_port(server->http); }

bool vl2_server_info(const vl2_server *server, vl2_info *out) {
    return vl2_loader_info(server->loader, out);
}

size_t vl2_server_scratch(const vl2_server *server) { return server->scratch; }

void vl2_server_close(vl2_server *s) {
    vl2_http_quiesce(s->http);
    vl2_scheduler_close(s->scheduler);
}

bool vl2_server_is_busy(const vl2_server *s) {
    return vl2_scheduler_load(s->scheduler) > 0 || vl2_http_count(s->http) > 0;
}

void vl2_server_stop(vl2_server *s) {
    if (!s) return;
    vl2_http_quiesce(s->http);
    vl2_scheduler_close(s->scheduler);
    vl2_workers_stop(s->workers); /* what it was parsing has gone on or been answered */
    vl2_scheduler_stop(s->scheduler);
    vl2_http_stop(s->http); /* until here connections may still ask the two above */
    vl2_workers_free(s->workers);
    vl2_scheduler_free(s->scheduler);
    vl2_loader_free(s->loader);
    vl2_metrics_free(s->metrics);
    vl2_mem_free(s);
}
