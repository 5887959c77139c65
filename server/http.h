/* server/http.h - connections: libmicrohttpd behind one door. One polling thread; it never computes. */
#ifndef VL2_SERVER_HTTP_H
#define VL2_SERVER_HTTP_H

#include "server/workers.h"

typedef struct vl2_http vl2_http;

vl2_status vl2_http_start(vl2_http **out, const vl2_serve_options *options, vl2_loader *loader,
                          vl2_scheduler *scheduler, vl2_workers *workers, vl2_metrics *metrics,
                          vl2_error *err);
unsigned vl2_http_port(const vl2_http *http);
void vl2_http_quiesce(vl2_http *http);       /* accepts nobody any more; running requests go on */
size_t vl2_http_count(const vl2_http *http); /* requests that are not answered yet */
void vl2_http_stop(vl2_http *http);          /* what was answered gets a moment to be sent */

#endif
