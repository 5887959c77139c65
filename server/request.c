#include "server/request.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "server/media.h"
#include "server/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_MESSAGES = 4096, MAX_PARTS = 4096, MAX_STOPS = 16, MAX_VALUES = 1 << 18 };
static const double remote_seconds = 20; /* for all pictures of a request together */

typedef struct reader { /* what every step of the reading needs */
    vl2_chat *chat;
    const vl2_request_limits *limits;
    vl2_request_error *why;
} reader;

static vl2_status refuse(reader *r, const char *param, vl2_status status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static vl2_status refuse(reader *r, const char *param, vl2_status status, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vl2_vfail(&r->why->error, status, fmt, args);
    va_end(args);
    snprintf(r->why->param, sizeof r->why->param, "%s", param);
    r->why->http_status = status == VL2_ERR_MEMORY ? 503 : 400;
    return status;
}

/* A JSON text may hold U+0000, so words are compared whole. */
static bool same(const char *text, size_t size, const char *word) {
    return text && strlen(word) == size && memcmp(text, word, size) == 0;
}

/* ---- messages ---- */

static vl2_status role_of(reader *r, vl2_role *out, const vl2_json *message, size_t i) {
    size_t size;
    char param[64];
    snprintf(param, sizeof param, "messages[%zu].role", i);
    const char *role = vl2_json_text(vl2_json_get(message, "role"), &size);
    if (!role)
        return refuse(r, param, VL2_ERR_ARGUMENT, "must be \"system\", \"user\" or \"assistant\"");
    static const struct {
        const char *name;
        vl2_role role;
    } roles[] = {{"user", VL2_ROLE_USER},
                 {"assistant", VL2_ROLE_ASSISTANT},
                 {"system", VL2_ROLE_SYSTEM},
                 {"developer", VL2_ROLE_SYSTEM}};
    for (size_t k = 0; k < sizeof roles / sizeof roles[0]; k++) {
        if (!same(role, size, roles[k].name)) continue;
        *out = roles[k].role;
        return VL2_OK;
    }
    return refuse(r, param, VL2_ERR_UNSUPPORTED,
                  "role \"%.32s\" is not supported; use system, user or assistant", role);
}

typedef struct message_text { /* a message in the making */
    vl2_buf text;
    size_t *image_at;
    vl2_picture **pictures;
    size_t n_pictures;
    bool has_images;
} message_text;

/* Opens a picture within what is left of the request's share of memory, and takes that share. */
static vl2_status open_picture(reader *r, vl2_picture **out, const char *param, const char *url,
                               size_t size) {
    vl2_chat *chat = r->chat;
    vl2_request_limits limits = *r->limits;
    vl2_error err = {0};
    if (chat->budget) {
        uint64_t left = (chat->budget->max - chat->picture_bytes) / 3;
        if (left < limits.picture.max_pixels) limits.picture.max_pixels = left ? left : 1;
    }
    vl2_status status = vl2_media_open(out, url, size, &limits, &err);
    if (status != VL2_OK) return refuse(r, param, status, "%s", err.text);
    size_t bytes = 3 * vl2_picture_width(*out) * vl2_picture_height(*out);
    if (!chat->budget || vl2_budget_take(chat->budget, bytes)) {
        chat->picture_bytes += chat->budget ? bytes : 0;
        return VL2_OK;
    }
    vl2_picture_free(*out);
    return refuse(r, param, VL2_ERR_MEMORY,
                  "the pictures of the requests inside leave no memory for this one; try again");
}

static vl2_status add_picture(reader *r, message_text *m, const char *param, const vl2_json *part) {
    size_t size;
    const vl2_json *image = vl2_json_get(part, "image_url");
    const char *url = vl2_json_text(image, &size);
    if (!url) url = vl2_json_text(vl2_json_get(image, "url"), &size);
    if (!url)
        return refuse(r, param, VL2_ERR_ARGUMENT,
                      "needs image_url: {\"url\": \"data:image/…;base64,…\"}");
    vl2_chat *chat = r->chat;
    if (chat->n_pictures >= r->limits->max_images)
        return refuse(r, param, VL2_ERR_LIMIT, "more than %zu pictures in one request",
                      r->limits->max_images);
    vl2_picture *picture = NULL;
    VL2_TRY(open_picture(r, &picture, param, url, size));
    m->image_at[m->n_pictures] = m->text.size;
    m->pictures[m->n_pictures++] = picture;
    chat->pictures[chat->n_pictures++] = picture;
    if (vl2_buf_add(&m->text, "<image>\n", 8, NULL) != VL2_OK)
        return refuse(r, param, VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    return VL2_OK;
}

static vl2_status add_text(reader *r, message_text *m, const char *param, const vl2_json *value) {
    size_t size;
    const char *text = vl2_json_text(value, &size);
    if (!text) return refuse(r, param, VL2_ERR_ARGUMENT, "must be a string");
    if (vl2_buf_add(&m->text, text, size, NULL) != VL2_OK)
        return refuse(r, param, VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    return VL2_OK;
}

static vl2_status add_part(reader *r, message_text *m, vl2_role role, const vl2_json *part,
                           size_t i, size_t j) {
    char param[96];
    size_t size;
    snprintf(param, sizeof param, "messages[%zu].content[%zu]", i, j);
    const char *type = vl2_json_text(vl2_json_get(part, "type"), &size);
    if (!type)
        return refuse(r, param, VL2_ERR_ARGUMENT,
                      "a content part needs a type, \"text\" or \"image_url\"");
    if (same(type, size, "text")) return add_text(r, m, param, vl2_json_get(part, "text"));
    if (!same(type, size, "image_url"))
        return refuse(r, param, VL2_ERR_UNSUPPORTED,
                      "type \"%.32s\" is not supported; use text or image_url", type);
    if (role != VL2_ROLE_USER)
        return refuse(r, param, VL2_ERR_ARGUMENT, "only a user's message can hold pictures");
    return add_picture(r, m, param, part);
}

static vl2_status read_content(reader *r, message_text *m, vl2_role role, const vl2_json *content,
                               size_t i) {
    char param[64];
    snprintf(param, sizeof param, "messages[%zu].content", i);
    vl2_json_kind kind = vl2_json_kind_of(content);
    if (kind == VL2_JSON_STRING) return add_text(r, m, param, content);
    if (kind == VL2_JSON_NULL && role == VL2_ROLE_ASSISTANT) return VL2_OK;
    if (kind != VL2_JSON_ARRAY)
        return refuse(r, param, VL2_ERR_ARGUMENT, "must be a string or a list of parts");
    size_t n = vl2_json_size(content);
    if (n > MAX_PARTS) return refuse(r, param, VL2_ERR_LIMIT, "more than %d parts", MAX_PARTS);
    m->image_at = vl2_mem_array(n, sizeof *m->image_at);
    m->pictures = vl2_mem_array(n, sizeof(vl2_picture *));
    if (!m->image_at || !m->pictures) return refuse(r, param, VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    for (size_t j = 0; j < n; j++) VL2_TRY(add_part(r, m, role, vl2_json_at(content, j), i, j));
    return VL2_OK;
}

/* The message takes over text, offsets and the array of pictures (the pictures stay the chat's). */
static void message_take(vl2_message *message, message_text *m, vl2_role role) {
    size_t size = 0;
    char *text = NULL;
    vl2_buf_detach(&m->text, &text, &size, NULL);
    *message = (vl2_message){.role = role,
                             .text = text,
                             .text_size = size,
                             .pictures = (const vl2_picture *const *)m->pictures,
                             .n_pictures = m->n_pictures,
                             .image_at = m->image_at};
}

static vl2_status read_message(reader *r, const vl2_json *value, size_t i) {
    vl2_role role = VL2_ROLE_USER;
    char param[64];
    snprintf(param, sizeof param, "messages[%zu]", i);
    if (vl2_json_kind_of(value) != VL2_JSON_OBJECT)
        return refuse(r, param, VL2_ERR_ARGUMENT, "must be an object with role and content");
    VL2_TRY(role_of(r, &role, value, i));
    message_text m = {0};
    vl2_status status = read_content(r, &m, role, vl2_json_get(value, "content"), i);
    if (status == VL2_OK &&
        !m.image_at) { /* a plain string: an "<image>" in it is plain text, too */
        m.image_at = vl2_mem_calloc(1, sizeof *m.image_at);
        if (!m.image_at) status = refuse(r, param, VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    }
    if (status == VL2_OK && !m.text.data && vl2_buf_add(&m.text, "", 0, NULL) != VL2_OK)
        status = refuse(r, param, VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    if (status == VL2_OK) {
        message_take(&r->chat->messages[r->chat->n_messages++], &m, role);
        return VL2_OK;
    }
    vl2_buf_free(&m.text);
    vl2_mem_free(m.image_at);
    vl2_mem_free(m.pictures);
    return status;
}

/* The server's own system message, where the request begins without one. */
static vl2_status add_system(reader *r, const vl2_json *first) {
    const char *text = r->limits->system;
    size_t size;
    const char *role = vl2_json_text(vl2_json_get(first, "role"), &size);
    if (!text || same(role, size, "system") || same(role, size, "developer")) return VL2_OK;
    vl2_message *message = &r->chat->messages[r->chat->n_messages++];
    *message = (vl2_message){.role = VL2_ROLE_SYSTEM,
                             .text = vl2_mem_strdup(text, strlen(text)),
                             .text_size = strlen(text),
                             .image_at = vl2_mem_calloc(1, sizeof *message->image_at)};
    if (message->text && message->image_at) return VL2_OK;
    return refuse(r, "messages", VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
}

static vl2_status read_messages(reader *r, const vl2_json *root) {
    const vl2_json *list = vl2_json_get(root, "messages");
    size_t n = vl2_json_size(list);
    if (vl2_json_kind_of(list) != VL2_JSON_ARRAY || !n)
        return refuse(r, "messages", VL2_ERR_ARGUMENT, "must be a list of at least one message");
    if (n > MAX_MESSAGES)
        return refuse(r, "messages", VL2_ERR_LIMIT, "more than %d messages", MAX_MESSAGES);
    r->chat->messages = vl2_mem_calloc(n + 1, sizeof *r->chat->messages);
    r->chat->pictures = vl2_mem_calloc(r->limits->max_images, sizeof(vl2_picture *));
    if (!r->chat->messages || !r->chat->pictures)
        return refuse(r, "messages", VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    VL2_TRY(add_system(r, vl2_json_at(list, 0)));
    for (size_t i = 0; i < n; i++) VL2_TRY(read_message(r, vl2_json_at(list, i), i));
    return VL2_OK;
}

/* ---- numbers and switches: absent and null both mean "not said" ---- */

static const vl2_json *said(const vl2_json *root, const char *key) {
    const vl2_json *value = vl2_json_get(root, key);
    return vl2_json_kind_of(value) == VL2_JSON_NULL ? NULL : value;
}

static vl2_status read_real(reader *r, const vl2_json *root, const char *key, float *out,
                            double min, double max) {
    const vl2_json *value = said(root, key);
    if (!value) return VL2_OK;
    vl2_json_kind kind = vl2_json_kind_of(value);
    double x = kind == VL2_JSON_INT || kind == VL2_JSON_REAL ? vl2_json_real(value) : NAN;
    if (!(x >= min && x <= max))
        return refuse(r, key, VL2_ERR_ARGUMENT, "must be a number from %g to %g", min, max);
    *out = (float)x;
    return VL2_OK;
}

static vl2_status read_size(reader *r, const vl2_json *root, const char *key, size_t *out,
                            size_t min, size_t max) {
    const vl2_json *value = said(root, key);
    if (!value) return VL2_OK;
    int64_t x = vl2_json_kind_of(value) == VL2_JSON_INT ? vl2_json_int(value) : -1;
    if (x < 0 || (uint64_t)x < min || (uint64_t)x > max)
        return refuse(r, key, VL2_ERR_ARGUMENT, "must be a whole number from %zu to %zu", min, max);
    *out = (size_t)x;
    return VL2_OK;
}

static vl2_status read_bool(reader *r, const vl2_json *root, const char *key, bool *out) {
    const vl2_json *value = said(root, key);
    if (!value) return VL2_OK;
    if (vl2_json_kind_of(value) != VL2_JSON_BOOL)
        return refuse(r, key, VL2_ERR_ARGUMENT, "must be true or false");
    *out = vl2_json_bool(value);
    return VL2_OK;
}

static vl2_status read_sampling(reader *r, const vl2_json *root) {
    vl2_sampling *s = &r->chat->sampling;
    *s = r->limits->sampling;
    VL2_TRY(read_real(r, root, "temperature", &s->temperature, 0, 2));
    VL2_TRY(read_real(r, root, "top_p", &s->top_p, 0, 1));
    VL2_TRY(read_real(r, root, "min_p", &s->min_p, 0, 1));
    VL2_TRY(read_real(r, root, "repetition_penalty", &s->repetition_penalty, 0.01, 10));
    VL2_TRY(read_real(r, root, "presence_penalty", &s->presence_penalty, -2, 2));
    VL2_TRY(read_real(r, root, "frequency_penalty", &s->frequency_penalty, -2, 2));
    size_t k = (size_t)s->top_k;
    VL2_TRY(read_size(r, root, "top_k", &k, 0, 1 << 20));
    s->top_k = (int)k;
    const vl2_json *seed = said(root, "seed");
    if (seed && vl2_json_kind_of(seed) != VL2_JSON_INT)
        return refuse(r, "seed", VL2_ERR_ARGUMENT, "must be a whole number");
    if (seed) s->seed = (uint64_t)vl2_json_int(seed);
    return VL2_OK;
}

static vl2_status add_stop(reader *r, const char *text, size_t size) {
    char *copy = vl2_mem_strdup(text, size);
    if (!copy) return refuse(r, "stop", VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    r->chat->stop[r->chat->n_stop++] = copy;
    return VL2_OK;
}

static vl2_status read_one_stop(reader *r, const vl2_json *value) {
    size_t size;
    const char *text = vl2_json_text(value, &size);
    if (!text || !size || size > 1024 || memchr(text, '\0', size))
        return refuse(r, "stop", VL2_ERR_ARGUMENT,
                      "must be a string or a list of strings, none empty, 1024 bytes at most, "
                      "without U+0000");
    return add_stop(r, text, size);
}

static vl2_status read_stop(reader *r, const vl2_json *root) {
    const vl2_json *stop = said(root, "stop");
    const vl2_request_limits *limits = r->limits;
    bool list = vl2_json_kind_of(stop) == VL2_JSON_ARRAY;
    size_t n = list ? vl2_json_size(stop) : stop ? 1 : limits->n_stop;
    if (!n) return VL2_OK;
    if (stop && n > MAX_STOPS)
        return refuse(r, "stop", VL2_ERR_LIMIT, "more than %d stop texts", MAX_STOPS);
    r->chat->stop = vl2_mem_calloc(n, sizeof *r->chat->stop);
    if (!r->chat->stop) return refuse(r, "stop", VL2_ERR_MEMORY, VL2_REPLY_NO_MEMORY);
    for (size_t i = 0; i < n; i++)
        VL2_TRY(!stop  ? add_stop(r, limits->stop[i], strlen(limits->stop[i]))
                : list ? read_one_stop(r, vl2_json_at(stop, i))
                       : read_one_stop(r, stop));
    return VL2_OK;
}

static vl2_status read_logprobs(reader *r, const vl2_json *root) {
    vl2_chat *chat = r->chat;
    VL2_TRY(read_bool(r, root, "logprobs", &chat->logprobs));
    VL2_TRY(read_size(r, root, "top_logprobs", &chat->top_logprobs, 0, VL2_JOB_MAX_TOP));
    if (chat->top_logprobs && !chat->logprobs)
        return refuse(r, "top_logprobs", VL2_ERR_ARGUMENT, "needs \"logprobs\": true");
    return VL2_OK;
}

/* Fields whose being ignored would change what the client gets: refused, unless they say nothing. */
static vl2_status refuse_unsupported(reader *r, const vl2_json *root) {
    static const char *const refused[] = {"tools",         "tool_choice",       "functions",
                                          "function_call", "logit_bias",        "audio",
                                          "prediction",    "web_search_options"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const vl2_json *value = said(root, refused[i]);
        size_t size;
        const char *text = vl2_json_text(value, &size);
        vl2_json_kind kind = vl2_json_kind_of(value);
        bool empty = (kind == VL2_JSON_ARRAY || kind == VL2_JSON_OBJECT) && !vl2_json_size(value);
        bool off = same(text, size, "none") || same(text, size, "auto") ||
                   (kind == VL2_JSON_BOOL && !vl2_json_bool(value));
        bool nothing = !value || empty || off;
        if (!nothing)
            return refuse(r, refused[i], VL2_ERR_UNSUPPORTED, "is not supported by this model");
    }
    size_t size;
    const vl2_json *format = said(root, "response_format");
    const char *type = vl2_json_text(vl2_json_get(format, "type"), &size);
    if (format && !same(type, size, "text"))
        return refuse(r, "response_format", VL2_ERR_UNSUPPORTED,
                      "type \"%.32s\" is not supported; only \"text\" is", type ? type : "?");
    return VL2_OK;
}

static vl2_status read_fields(reader *r, const vl2_json *root) {
    vl2_chat *chat = r->chat;
    VL2_TRY(refuse_unsupported(r, root));
    VL2_TRY(read_sampling(r, root));
    VL2_TRY(read_size(r, root, "max_tokens", &chat->max_tokens, 1, 1 << 24));
    VL2_TRY(read_size(r, root, "max_completion_tokens", &chat->max_tokens, 1, 1 << 24));
    if (!chat->max_tokens) chat->max_tokens = r->limits->max_tokens;
    chat->n = 1;
    VL2_TRY(read_size(r, root, "n", &chat->n, 1, VL2_JOB_MAX_CHOICES));
    VL2_TRY(read_bool(r, root, "stream", &chat->stream));
    chat->skip_special = r->limits->skip_special;
    VL2_TRY(read_bool(r, root, "skip_special_tokens", &chat->skip_special));
    const vl2_json *options = said(root, "stream_options");
    if (options && vl2_json_kind_of(options) != VL2_JSON_OBJECT)
        return refuse(r, "stream_options", VL2_ERR_ARGUMENT, "must be an object");
    if (read_bool(r, options, "include_usage", &chat->include_usage) != VL2_OK) {
        snprintf(r->why->param, sizeof r->why->param, "stream_options.include_usage");
        return VL2_ERR_ARGUMENT;
    }
    VL2_TRY(read_logprobs(r, root));
    return read_stop(r, root);
}

static vl2_status check_model(reader *r, const vl2_json *root) {
    size_t size;
    const vl2_json *model = said(root, "model");
    const char *name = vl2_json_text(model, &size);
    if (!model) return VL2_OK;
    if (!name) return refuse(r, "model", VL2_ERR_ARGUMENT, "must be a string");
    if (same(name, size, r->limits->model_name)) return VL2_OK;
    refuse(r, "model", VL2_ERR_ARGUMENT, "this server has no model \"%.64s\"; it has \"%s\"", name,
           r->limits->model_name);
    r->why->http_status = 404;
    return VL2_ERR_ARGUMENT;
}

/* A value takes some hundred bytes of memory and three of text: their number is bounded, too. */
vl2_status vl2_request_json(vl2_json_doc **out, const char *body, size_t size, vl2_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        char c = body[i];
        n += c == '[' || c == '{' || c == ',';
        if (c != '"') continue;
        for (i++; i < size && body[i] != '"'; i++) i += body[i] == '\\';
    }
    if (n > MAX_VALUES)
        return vl2_fail(err, VL2_ERR_LIMIT, "the request holds %zu values, expected at most %d", n,
                        MAX_VALUES);
    return vl2_json_parse(out, body, size, "the request", err);
}

vl2_status vl2_request_parse(vl2_chat *out, const char *body, size_t size,
                             const vl2_request_limits *limits, vl2_request_error *why) {
    vl2_chat chat = {.budget = limits->pictures};
    vl2_request_limits own = *limits;
    reader r = {.chat = &chat, .limits = &own, .why = why};
    vl2_json_doc *doc = NULL;
    vl2_error err = {0};
    memset(why, 0, sizeof *why);
    own.remote_until = vl2_now() + remote_seconds;
    vl2_status status = vl2_request_json(&doc, body, size, &err);
    if (status != VL2_OK) return refuse(&r, "", status, "%s", err.text);
    const vl2_json *root = vl2_json_root(doc);
    if (vl2_json_kind_of(root) != VL2_JSON_OBJECT) {
        status = refuse(&r, "", VL2_ERR_ARGUMENT, "the request must be a JSON object");
    } else {
        status = check_model(&r, root);
        if (status == VL2_OK) status = read_fields(&r, root);
        if (status == VL2_OK) status = read_messages(&r, root);
    }
    vl2_json_free(doc);
    if (status == VL2_OK)
        *out = chat;
    else
        vl2_chat_free(&chat);
    return status;
}
