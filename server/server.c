#include "server/server.h"

#include "base/mem.h"
#include "server/http.h"

struct vl2_server {
    vl2_serve_options options;
    vl2_metrics *metrics;
    vl2_scheduler *scheduler;
    vl2_workers *workers;
    vl2_http *http;
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
                             .image_cache = (size_t)256 << 20,
                             .max_tokens = 2048,
                             .max_pixels = 100000000,
                             .chunk_tokens = 512,
                             .views_per_step = 1,
                             .request_seconds = 600};
    vl2_engine_options_init(&o->engine);
    vl2_sampling_init(&o->sampling);
}

static vl2_status start(vl2_server *s, vl2_error *err) {
    s->metrics = vl2_metrics_create();
    if (!s->metrics) return vl2_fail_memory(err, "the metrics", 0);
    VL2_TRY(vl2_scheduler_start(&s->scheduler, &s->options, s->metrics, err));
    VL2_TRY(vl2_workers_start(&s->workers, &s->options, s->scheduler, s->metrics, err));
    return vl2_http_start(&s->http, &s->options, s->scheduler, s->workers, s->metrics, err);
}

vl2_status vl2_server_start(vl2_server **out, const vl2_serve_options *options, vl2_error *err) {
    vl2_server *s = vl2_mem_calloc(1, sizeof *s);
    if (!s) return vl2_fail_memory(err, "the server", sizeof *s);
    s->options = *options;
    vl2_status status = start(s, err);
    if (status != VL2_OK) {
        vl2_server_stop(s, 0);
        return status;
    }
    *out = s;
    return VL2_OK;
}

unsigned vl2_server_port(const vl2_server *server) { return vl2_http_port(server->http); }

void vl2_server_stop(vl2_server *s, double grace_seconds) {
    if (!s) return;
    vl2_http_quiesce(s->http);
    vl2_workers_stop(s->workers); /* what it was parsing has gone on or been answered */
    vl2_scheduler_stop(s->scheduler, grace_seconds);
    vl2_http_stop(s->http);
    vl2_metrics_free(s->metrics);
    vl2_mem_free(s);
}
