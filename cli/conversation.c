#include "conversation.h"

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "clock.h"
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_MESSAGES = 65536, MAX_FILE = 256 << 20 };

static const char TAG[] = "<image>";

/* ---- building -------------------------------------------------------------------------------- */

static void free_message(cli_message *m) {
    for (size_t i = 0; i < m->n_pictures; i++) {
        vl2_picture_free(m->pictures[i]);
        vl2_mem_free(m->paths[i]);
    }
    vl2_mem_free(m->pictures);
    vl2_mem_free(m->paths);
    vl2_mem_free(m->text);
}

void cli_conversation_remove(cli_conversation *c, size_t first, size_t n) {
    for (size_t i = first; i < first + n; i++) free_message(&c->messages[i]);
    memmove(&c->messages[first], &c->messages[first + n], (c->n - first - n) * sizeof *c->messages);
    c->n -= n;
}

void cli_conversation_free(cli_conversation *c) {
    if (c->n) cli_conversation_remove(c, 0, c->n);
    vl2_mem_free(c->messages);
    c->messages = NULL;
}

vl2_status cli_conversation_add(cli_conversation *c, vl2_role role, const char *text, size_t size,
                                vl2_error *err) {
    if (c->n >= MAX_MESSAGES) {
        return vl2_fail(err, VL2_ERR_LIMIT, "more than %d messages", MAX_MESSAGES);
    }
    cli_message *grown = vl2_mem_grow(c->messages, c->n + 1, sizeof *grown);
    if (!grown) return vl2_fail_memory(err, "a message", sizeof *grown);
    c->messages = grown;
    char *copy = vl2_mem_strdup(text, size);
    if (!copy) return vl2_fail_memory(err, "a message", size);
    c->messages[c->n++] = (cli_message){.role = role, .text = copy, .size = size};
    return VL2_OK;
}

vl2_status cli_conversation_add_system(cli_conversation *c, const char *text, vl2_error *err) {
    if (!text) return VL2_OK;
    if (c->n && c->messages[0].role == VL2_ROLE_SYSTEM) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "--system: the conversation has a system message already");
    }
    VL2_TRY(cli_conversation_add(c, VL2_ROLE_SYSTEM, text, strlen(text), err));
    cli_message last = c->messages[c->n - 1];
    memmove(&c->messages[1], &c->messages[0], (c->n - 1) * sizeof *c->messages);
    c->messages[0] = last;
    return VL2_OK;
}

vl2_status cli_conversation_stdin(char **out, size_t *size, size_t max_bytes, vl2_error *err) {
    vl2_buf buf = {.cap = max_bytes + 1};
    vl2_status status = VL2_OK;
    for (;;) {
        char block[65536];
        ssize_t n = read(STDIN_FILENO, block, sizeof block);
        if (n == 0) break;
        if (n < 0) {
            status = vl2_fail(err, errno == EINTR ? VL2_ERR_CANCELLED : VL2_ERR_IO,
                              "standard input: %s", strerror(errno));
            break;
        }
        if (buf.size + (size_t)n > max_bytes) {
            status = vl2_fail(err, VL2_ERR_LIMIT, "standard input: over %zu bytes", max_bytes);
            break;
        }
        VL2_GOTO(done, status, vl2_buf_add(&buf, block, (size_t)n, err));
    }
    if (status == VL2_OK) status = vl2_buf_add(&buf, "", 0, err);
    if (status == VL2_OK) status = vl2_buf_detach(&buf, out, size, err);
done:
    vl2_buf_free(&buf);
    return status;
}

static vl2_status open_picture(const vl2_picture **out, const vl2_picture_options *options,
                               const char *path, vl2_error *err) {
    char *bytes = NULL;
    size_t size = 0;
    vl2_picture *picture = NULL;
    if (strcmp(path, "-")) {
        VL2_TRY(vl2_picture_open(&picture, path, options, err));
    } else {
        VL2_TRY(cli_conversation_stdin(&bytes, &size, MAX_FILE, err));
        vl2_status status =
            vl2_picture_decode(&picture, bytes, size, "standard input", options, err);
        vl2_mem_free(bytes);
        VL2_TRY(status);
    }
    *out = picture;
    return VL2_OK;
}

/* A path that still works from another folder, for /save; the path itself where there is none. */
static char *lasting_path(const char *path) {
    char whole[PATH_MAX];
    const char *best = strcmp(path, "-") && realpath(path, whole) ? whole : path;
    return vl2_mem_strdup(best, strlen(best));
}

vl2_status cli_conversation_add_picture(cli_conversation *c, const char *path, vl2_error *err) {
    cli_message *m = &c->messages[c->n - 1];
    const vl2_picture_options *options =
        c->picture_options.struct_size ? &c->picture_options : NULL;
    const vl2_picture **pictures = vl2_mem_grow(m->pictures, m->n_pictures + 1, sizeof *pictures);
    if (pictures) m->pictures = pictures;
    char **paths = vl2_mem_grow(m->paths, m->n_pictures + 1, sizeof *paths);
    if (paths) m->paths = paths;
    if (!pictures || !paths) return vl2_fail_memory(err, "a picture's place", sizeof *paths);
    char *lasting = lasting_path(path);
    if (!lasting) return vl2_fail_memory(err, "a path", strlen(path));
    double begun = cli_clock_ms();
    vl2_status status = open_picture(&m->pictures[m->n_pictures], options, path, err);
    c->picture_ms += cli_clock_ms() - begun;
    if (status != VL2_OK) {
        vl2_mem_free(lasting);
        return status;
    }
    m->paths[m->n_pictures++] = lasting;
    return VL2_OK;
}

/* ---- from JSON --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    vl2_role role;
} ROLES[] = {
    {"user", VL2_ROLE_USER},           {"<|User|>", VL2_ROLE_USER},
    {"assistant", VL2_ROLE_ASSISTANT}, {"<|Assistant|>", VL2_ROLE_ASSISTANT},
    {"system", VL2_ROLE_SYSTEM},       {"deepseekapi-sys", VL2_ROLE_SYSTEM},
};

static vl2_status role_of(vl2_role *out, const char *name, const char *where, vl2_error *err) {
    for (size_t i = 0; i < sizeof ROLES / sizeof *ROLES; i++) {
        if (!strcmp(name, ROLES[i].name)) {
            *out = ROLES[i].role;
            return VL2_OK;
        }
    }
    return vl2_fail(err, VL2_ERR_FORMAT,
                    "%s: role \"%s\" is none of user, assistant, system, <|User|>, <|Assistant|>",
                    where, name);
}

/* A key that nobody reads may be a misspelt one whose picture would be left out silently. */
static vl2_status known_keys(const vl2_json *message, const char *where, vl2_error *err) {
    static const char *const KEYS[] = {"role", "content", "images"};
    void *iterator = NULL;
    const char *key = NULL;
    const vl2_json *value = NULL;
    while (vl2_json_iterate(message, &iterator, &key, &value)) {
        if (!strcmp(key, KEYS[0]) || !strcmp(key, KEYS[1]) || !strcmp(key, KEYS[2])) continue;
        const char *near = cli_options_nearest(key, KEYS, 3);
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: unknown key \"%s\"%s%s%s", where, key,
                        near ? "; did you mean \"" : "; a message has role, content and images",
                        near ? near : "", near ? "\"?" : "");
    }
    return VL2_OK;
}

static vl2_status parse_images(cli_conversation *out, const vl2_json *images, const char *where,
                               const char *folder, vl2_error *err) {
    vl2_json_kind kind = vl2_json_kind_of(images);
    if (kind == VL2_JSON_ABSENT) return VL2_OK;
    if (kind != VL2_JSON_ARRAY) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: \"images\" must be an array of paths", where);
    }
    for (size_t i = 0; i < vl2_json_size(images); i++) {
        size_t size = 0;
        const char *path = vl2_json_text(vl2_json_at(images, i), &size);
        char *whole = NULL;
        if (!path || strlen(path) != size) {
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: images[%zu] must be a path", where, i);
        }
        VL2_TRY(vl2_path_join(&whole, folder, path, err));
        vl2_status status = cli_conversation_add_picture(out, whole, err);
        vl2_mem_free(whole);
        VL2_TRY(status);
    }
    return VL2_OK;
}

static vl2_status parse_message(cli_conversation *out, const vl2_json *message, const char *where,
                                const char *folder, vl2_error *err) {
    const char *role_name = NULL;
    vl2_role role = VL2_ROLE_USER;
    size_t size = 0;
    if (vl2_json_kind_of(message) != VL2_JSON_OBJECT) {
        return vl2_fail(err, VL2_ERR_FORMAT,
                        "%s: a message must be an object with role and content", where);
    }
    VL2_TRY(known_keys(message, where, err));
    VL2_TRY(vl2_json_get_text(&role_name, message, where, "role", NULL, err));
    if (!role_name) return vl2_fail(err, VL2_ERR_FORMAT, "%s: \"role\" is missing", where);
    VL2_TRY(role_of(&role, role_name, where, err));
    const char *text = vl2_json_text(vl2_json_get(message, "content"), &size);
    if (!text) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: \"content\" must be a string%s", where,
                        vl2_json_get(message, "content") ? "" : ", and is missing");
    }
    VL2_TRY(cli_conversation_add(out, role, text, size, err));
    return parse_images(out, vl2_json_get(message, "images"), where, folder, err);
}

vl2_status cli_conversation_parse(cli_conversation *out, const vl2_json *messages,
                                  const char *where, const char *folder, vl2_error *err) {
    if (vl2_json_kind_of(messages) != VL2_JSON_ARRAY || vl2_json_size(messages) == 0) {
        return vl2_fail(err, VL2_ERR_FORMAT,
                        "%s: expected an array of messages {\"role\", \"content\", \"images\"}",
                        where);
    }
    for (size_t i = 0; i < vl2_json_size(messages); i++) {
        char place[256];
        snprintf(place, sizeof place, "%.200s: message %zu", where, i);
        VL2_TRY(parse_message(out, vl2_json_at(messages, i), place, folder, err));
    }
    return VL2_OK;
}

vl2_status cli_conversation_read(cli_conversation *out, const char *path, vl2_error *err) {
    vl2_json_doc *doc = NULL;
    char *folder = NULL, *text = NULL;
    size_t size = 0;
    vl2_status status = VL2_OK;
    if (!strcmp(path, "-")) {
        path = "standard input";
        VL2_GOTO(done, status, cli_conversation_stdin(&text, &size, MAX_FILE, err));
        VL2_GOTO(done, status, vl2_json_parse(&doc, text, size, path, err));
        status = cli_conversation_parse(out, vl2_json_root(doc), path, ".", err);
    } else {
        VL2_GOTO(done, status, vl2_path_folder(&folder, path, err));
        VL2_GOTO(done, status, vl2_json_read(&doc, path, MAX_FILE, err));
        status = cli_conversation_parse(out, vl2_json_root(doc), path, folder, err);
    }
done:
    vl2_json_free(doc);
    vl2_mem_free(folder);
    vl2_mem_free(text);
    return status;
}

/* ---- use ----------------------------------------------------------------------------------------- */

vl2_status cli_conversation_prompt(vl2_prompt **out, const cli_conversation *c,
                                   const vl2_engine *engine, bool add_image_tags, vl2_error *err) {
    vl2_prompt_options options;
    vl2_prompt_options_init(&options);
    options.add_image_tags = add_image_tags;
    vl2_message *messages = vl2_mem_calloc(c->n + 1, sizeof *messages);
    if (!messages) return vl2_fail_memory(err, "messages", c->n * sizeof *messages);
    for (size_t i = 0; i < c->n; i++) {
        const cli_message *m = &c->messages[i];
        messages[i].role = m->role;
        messages[i].text = m->text;
        messages[i].text_size = m->size;
        messages[i].pictures = m->pictures;
        messages[i].n_pictures = m->n_pictures;
    }
    vl2_status status = vl2_prompt_build(out, engine, messages, c->n, &options, err);
    vl2_mem_free(messages);
    return status;
}

const vl2_picture *cli_conversation_last_picture(const cli_conversation *c, size_t *index) {
    const vl2_picture *last = NULL;
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const cli_message *m = &c->messages[i];
        if (m->n_pictures) last = m->pictures[m->n_pictures - 1];
        n += m->n_pictures;
    }
    if (last && index) *index = n - 1;
    return last;
}

static size_t count_tags(const char *text) {
    size_t n = 0;
    for (; (text = strstr(text, TAG)) != NULL; text += sizeof TAG - 1) n++;
    return n;
}

/* The text with a tag for each picture, as `run --conversation` wants it: missing ones in front, one a
 * line; of surplus ones the first go. */
static vl2_status write_text(vl2_buf *out, const cli_message *m, vl2_error *err) {
    vl2_buf text = {0};
    const char *start = m->text ? m->text : "", *rest = start;
    size_t tags = m->role == VL2_ROLE_USER ? count_tags(rest) : m->n_pictures;
    vl2_status status = VL2_OK;
    for (size_t n = tags; n < m->n_pictures && status == VL2_OK; n++) {
        status = vl2_buf_addf(&text, err, "%s\n", TAG);
    }
    for (; tags > m->n_pictures && status == VL2_OK; tags--) {
        const char *tag = strstr(rest, TAG);
        status = vl2_buf_add(&text, rest, (size_t)(tag - rest), err);
        rest = tag + sizeof TAG - 1;
    }
    if (status == VL2_OK) status = vl2_buf_add(&text, rest, m->size - (size_t)(rest - start), err);
    if (status == VL2_OK) status = vl2_json_quote(out, text.data, text.size, err);
    vl2_buf_free(&text);
    return status;
}

vl2_status cli_conversation_write(vl2_buf *out, const cli_conversation *c, vl2_error *err) {
    static const char *const NAMES[] = {
        [VL2_ROLE_USER] = "user", [VL2_ROLE_ASSISTANT] = "assistant", [VL2_ROLE_SYSTEM] = "system"};
    VL2_TRY(vl2_buf_addf(out, err, "["));
    for (size_t i = 0; i < c->n; i++) {
        const cli_message *m = &c->messages[i];
        VL2_TRY(vl2_buf_addf(out, err, "%s\n  {\"role\": \"%s\", \"content\": ", i ? "," : "",
                             NAMES[m->role]));
        VL2_TRY(write_text(out, m, err));
        for (size_t k = 0; k < m->n_pictures; k++) {
            VL2_TRY(vl2_buf_addf(out, err, k ? ", " : ", \"images\": ["));
            VL2_TRY(vl2_json_quote(out, m->paths[k], strlen(m->paths[k]), err));
        }
        VL2_TRY(vl2_buf_addf(out, err, m->n_pictures ? "]}" : "}"));
    }
    return vl2_buf_addf(out, err, "\n]\n");
}
