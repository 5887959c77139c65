/* server/request.h - the body of POST /v1/chat/completions -> a vl2_chat: docs/HTTP.md. */
#ifndef VL2_SERVER_REQUEST_H
#define VL2_SERVER_REQUEST_H

#include "server/job.h"

typedef struct vl2_request_limits {
    size_t max_images, max_tokens;
    vl2_sampling sampling; /* defaults */
    vl2_picture_options picture;
    bool allow_remote;
    const char *media_dir;
    const char *model_name;
} vl2_request_limits;

typedef struct vl2_request_error {
    int http_status; /* 400, 413, 422 … */
    char param[128]; /* "messages[1].content[0].image_url"; "" for none */
    vl2_error error;
} vl2_request_error;

/* Reads everything but the prompt; pictures are decoded. On failure `why` is filled and `out` empty. */
vl2_status vl2_request_parse(vl2_chat *out, const char *body, size_t size,
                             const vl2_request_limits *limits, vl2_request_error *why);

#endif
