#include "server/site.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "server/reply.h"

#include <stdio.h>
#include <string.h>

static const char json_type[] = "application/json";

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

void vl2_site_headers(const vl2_site *site, struct MHD_Response *response, const char *type) {
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (!site->options->cors_origin) return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", site->options->cors_origin);
    MHD_add_response_header(response, "Vary", "Origin");
}

static enum MHD_Result queue(vl2_visit *visit, int status, struct MHD_Response *response) {
    visit->status = status;
    enum MHD_Result result = MHD_queue_response(visit->connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result vl2_site_answer(const vl2_site *site, vl2_visit *visit, int status,
                                const char *type, const char *text, size_t size,
                                double retry_after) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (!response) return MHD_NO;
    vl2_site_headers(site, response, type);
    if (visit->last) MHD_add_response_header(response, "Connection", "close");
    if (status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (retry_after > 0) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%.0f", retry_after);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    return queue(visit, status, response);
}

static const char *error_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
    }
}

/* A text that was made; or, when there was no memory for it, a 503 that says so. */
static enum MHD_Result made(const vl2_site *site, vl2_visit *visit, int status, const char *type,
                            vl2_buf *text, vl2_status how, double retry_after) {
    static const char none[] = VL2_REPLY_NO_MEMORY_ERROR;
    enum MHD_Result result =
        how == VL2_OK
            ? vl2_site_answer(site, visit, status, type, text->data, text->size, retry_after)
            : vl2_site_answer(site, visit, 503, json_type, none, sizeof none - 1, 1);
    vl2_buf_free(text);
    return result;
}

enum MHD_Result vl2_site_error(const vl2_site *site, vl2_visit *visit, int status,
                               const char *message, double retry_after) {
    vl2_buf text = {0};
    vl2_status how = vl2_reply_error(&text, error_type(status), NULL, message, NULL);
    return made(site, visit, status, json_type, &text, how, retry_after);
}

enum MHD_Result vl2_site_preflight(const vl2_site *site, vl2_visit *visit) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    vl2_site_headers(site, response, "text/plain");
    MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    MHD_add_response_header(response, "Access-Control-Allow-Headers",
                            "Authorization, Content-Type");
    return queue(visit, 204, response);
}

/* ---- the model: what it is called and what it takes ---- */

static vl2_status add_sizes(vl2_buf *out, const vl2_info *info) {
    return vl2_buf_addf(
        out, NULL,
        ",\"context_length\":%zu,\"view_side\":%zu,\"tokens_per_view\":%zu,\"max_views\":%zu",
        info->ctx_tokens, info->view_side, info->tokens_per_view, info->max_views);
}

static vl2_status add_model(vl2_buf *out, const vl2_site *site) {
    const vl2_serve_options *o = site->options;
    vl2_info info;
    VL2_TRY(vl2_buf_addf(out, NULL, "{\"id\":"));
    VL2_TRY(vl2_json_quote(out, o->model_name, strlen(o->model_name), NULL));
    VL2_TRY(vl2_buf_addf(
        out, NULL,
        ",\"object\":\"model\",\"created\":0,\"owned_by\":\"vl2\","
        "\"input_modalities\":[\"text\",\"image\"],\"output_modalities\":[\"text\"],"
        "\"image_formats\":[\"jpeg\",\"png\",\"webp\",\"gif\",\"bmp\",\"pnm\",\"tiff\"],"
        "\"image_sources\":[\"data\"%s%s],"
        "\"max_images\":%zu,\"max_pixels\":%llu,\"max_body_bytes\":%zu,"
        "\"max_choices\":%d,\"default_max_tokens\":%zu,\"demo\":%s",
        o->allow_remote_images ? ",\"http\"" : "", o->media_dir ? ",\"file\"" : "", o->max_images,
        (unsigned long long)o->max_pixels, o->max_body, VL2_JOB_MAX_CHOICES, o->max_tokens,
        o->is_demo ? "true" : "false"));
    if (vl2_loader_info(site->loader, &info)) VL2_TRY(add_sizes(out, &info));
    return vl2_buf_add(out, "}", 1, NULL);
}

static vl2_status add_models(vl2_buf *out, const vl2_site *site) {
    VL2_TRY(vl2_buf_addf(out, NULL, "{\"object\":\"list\",\"data\":["));
    VL2_TRY(add_model(out, site));
    return vl2_buf_add(out, "]}", 2, NULL);
}

enum MHD_Result vl2_site_models(const vl2_site *site, vl2_visit *visit, const char *path) {
    vl2_buf text = {0};
    const char *name = path + strlen("/v1/models");
    if (*name && !is(name, "/")) {
        if (!is(name + 1, site->options->model_name))
            return vl2_site_error(site, visit, 404, "there is no such model; /v1/models lists it",
                                  0);
        return made(site, visit, 200, json_type, &text, add_model(&text, site), 0);
    }
    return made(site, visit, 200, json_type, &text, add_models(&text, site), 0);
}

enum MHD_Result vl2_site_health(const vl2_site *site, vl2_visit *visit) {
    bool ready = vl2_loader_is_ready(site->loader);
    const char *text = ready ? "{\"status\":\"ok\"}" : "{\"status\":\"loading\"}";
    return vl2_site_answer(site, visit, ready ? 200 : 503, json_type, text, strlen(text), 0);
}

enum MHD_Result vl2_site_metrics(const vl2_site *site, vl2_visit *visit) {
    vl2_buf text = {0};
    vl2_status how = vl2_metrics_write(&text, site->metrics, NULL);
    return made(site, visit, 200, "text/plain; version=0.0.4", &text, how, 0);
}

/* ---- the page ---- */

enum MHD_Result vl2_site_page(const vl2_site *site, vl2_visit *visit, const vl2_page_file *file) {
    const char *known =
        MHD_lookup_connection_value(visit->connection, MHD_HEADER_KIND, "If-None-Match");
    bool same = known && is(known, file->etag);
    (void)site;
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
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types dompurify");
    return queue(visit, same ? 304 : 200, response);
}

enum MHD_Result vl2_site_to_prefix(const vl2_site *site, vl2_visit *visit) {
    vl2_buf path = {0};
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_NO;
    if (response && vl2_buf_addf(&path, NULL, "%s/", site->options->root_path) == VL2_OK) {
        MHD_add_response_header(response, "Location", path.data);
        result = queue(visit, 308, response);
    } else if (response) {
        MHD_destroy_response(response);
    }
    vl2_buf_free(&path);
    return result;
}

/* A checkpoint may bring examples: examples.json and the pictures that it names, in examples/. */
enum MHD_Result vl2_site_example(const vl2_site *site, vl2_visit *visit, const char *path) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    const char *name = path + 1, *inner = is(path, "/examples.json") ? name : path + 10;
    char *file = NULL, *bytes = NULL;
    size_t size = 0;
    bool safe = *inner && *inner != '.' && inner[strspn(inner, allowed)] == '\0';
    bool found = safe && vl2_path_join(&file, site->options->model_path, name, NULL) == VL2_OK &&
                 vl2_file_read(&bytes, &size, file, (size_t)4 << 20, NULL) == VL2_OK;
    const char *type = strstr(inner, ".json")  ? json_type
                       : strstr(inner, ".png") ? "image/png"
                                               : "image/jpeg";
    enum MHD_Result result = found
                                 ? vl2_site_answer(site, visit, 200, type, bytes, size, 0)
                                 : vl2_site_error(site, visit, 404, "there is no such example", 0);
    vl2_mem_free(file);
    vl2_mem_free(bytes);
    return result;
}
