/* server/site.h - answers that need no thought: errors, the model list, health, metrics, the page. */
#ifndef VL2_SERVER_SITE_H
#define VL2_SERVER_SITE_H

#include "server/loader.h"
#include "server/metrics.h"

#include <microhttpd.h>

typedef struct vl2_site {
    const vl2_serve_options *options;
    vl2_loader *loader;
    const vl2_metrics *metrics;
} vl2_site;

/* The page's files, made at build time (page.c). */
typedef struct vl2_page_file {
    const char *path, *type; /* "/", "text/html; charset=utf-8" */
    const unsigned char *data;
    size_t size;
    const char *etag;
} vl2_page_file;
const vl2_page_file *vl2_page_find(const char *path); /* NULL: none */

/* A request that is being answered; *status is set with the answer, for the log. */
typedef struct vl2_visit {
    struct MHD_Connection *connection;
    int status;
    bool last; /* the connection ends with the answer */
} vl2_visit;

void vl2_site_headers(const vl2_site *site, struct MHD_Response *response, const char *type);
/* With a Retry-After where `retry_after` is over 0. */
enum MHD_Result vl2_site_answer(const vl2_site *site, vl2_visit *visit, int status,
                                const char *type, const char *text, size_t size,
                                double retry_after);
enum MHD_Result vl2_site_error(const vl2_site *site, vl2_visit *visit, int status,
                               const char *message, double retry_after);
enum MHD_Result vl2_site_preflight(const vl2_site *site, vl2_visit *visit);
enum MHD_Result vl2_site_models(const vl2_site *site, vl2_visit *visit, const char *path);
enum MHD_Result vl2_site_health(const vl2_site *site, vl2_visit *visit);
enum MHD_Result vl2_site_metrics(const vl2_site *site, vl2_visit *visit);
enum MHD_Result vl2_site_page(const vl2_site *site, vl2_visit *visit, const vl2_page_file *file);
/* From the prefix itself to the prefix with a slash, which the page's addresses are relative to. */
enum MHD_Result vl2_site_to_prefix(const vl2_site *site, vl2_visit *visit);
enum MHD_Result vl2_site_example(const vl2_site *site, vl2_visit *visit, const char *path);

#endif
