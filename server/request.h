/* server/request.h - the body of POST /v1/chat/completions -> a vl2_chat: docs/HTTP.md. */
#ifndef VL2_SERVER_REQUEST_H
#define VL2_SERVER_REQUEST_H

#include "base/json.h"
#include "server/job.h"

typedef struct vl2_request_limits {
    size_t max_images, max_tokens;
    vl2_sampling sampling; /* defaults, like the next four */
    const char *system;    /* NULL: no system message */
    const char *const *stop;
    size_t n_stop;
    bool skip_special;
    vl2_picture_options picture;
    vl2_budget *pictures; /* bytes of decoded ones, all requests together; NULL: no bound */
    bool allow_remote;
    /* Of a sockaddr: must nobody be sent there? vl2_media_address_is_private, but for tests. */
    bool (*is_private)(const void *address);
    const char *media_dir;
    const char *model_name;
    double remote_until; /* when fetching has to be done (vl2_now); 0: its own limit */
} vl2_request_limits;

typedef struct vl2_request_error {
    int http_status; /* 400, 404, 503 */
    char param[128]; /* "messages[1].content[0].image_url"; "" for none */
    vl2_error error;
} vl2_request_error;

/* A body as JSON, with a bound on the number of its values. */
vl2_status vl2_request_json(vl2_json_doc **out, const char *body, size_t size, vl2_error *err);
/* Reads everything but the prompt; pictures are decoded. On failure `why` is filled and `out` empty. */
vl2_status vl2_request_parse(vl2_chat *out, const char *body, size_t size,
                             const vl2_request_limits *limits, vl2_request_error *why);

#endif
