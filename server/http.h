/* server/http.h - connections: libmicrohttpd behind one door. One polling thread; it never computes. */
#ifndef VL2_SERVER_HTTP_H
#define VL2_SERVER_HTTP_H

#include "server/workers.h"

typedef struct vl2_http vl2_http;

vl2_status vl2_http_start(vl2_http **out, const vl2_serve_options *options,
                          vl2_scheduler *scheduler, vl2_workers *workers, vl2_metrics *metrics,
                          vl2_error *err);
unsigned vl2_http_port(const vl2_http *http);
void vl2_http_quiesce(vl2_http *http); /* accepts nobody any more; running requests go on */
void vl2_http_stop(vl2_http *http);

/* The page's files, made at build time (page.c). */
typedef struct vl2_page_file {
    const char *path, *type; /* "/", "text/html; charset=utf-8" */
    const unsigned char *data;
    size_t size;
    const char *etag;
} vl2_page_file;
const vl2_page_file *vl2_page_find(const char *path); /* NULL: none */

#endif
