/* vl2 tokenize, vl2 detokenize: ids of a text, and back; with a model or a tokenizer alone. */
#include "commands.h"
#include "conversation.h"
#include "jsonl.h"
#include "models.h"
#include "terminal.h"
#include "vl2/vl2_dev.h"

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 30 };

/* Text -> a line of ids: "1 2 3", or "[1, 2, 3]". */
static vl2_status put_ids(vl2_buf *out, const int32_t *ids, size_t n, bool json, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "%s", json ? "[" : ""));
    for (size_t i = 0; i < n; i++) {
        const char *between = i ? (json ? ", " : " ") : "";
        VL2_TRY(vl2_buf_addf(out, err, "%s%" PRId32, between, ids[i]));
    }
    return vl2_buf_addf(out, err, "%s\n", json ? "]" : "");
}

static vl2_status tokenize(vl2_buf *out, const vl2_dev_tokenizer *tokenizer, const char *text,
                           size_t size, bool json, vl2_error *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    VL2_TRY(vl2_dev_tokenize(&ids, &n, tokenizer, text, size, err));
    vl2_status status = put_ids(out, ids, n, json, err);
    vl2_free(ids);
    return status;
}

static vl2_status detokenize(vl2_buf *out, const vl2_dev_tokenizer *tokenizer, const int32_t *ids,
                             size_t n, bool json, vl2_error *err) {
    char *text = NULL;
    size_t size = 0;
    VL2_TRY(vl2_dev_detokenize(&text, &size, tokenizer, ids, n, false, err));
    vl2_status status =
        json ? vl2_json_quote(out, text, size, err) : vl2_buf_add(out, text, size, err);
    vl2_free(text);
    VL2_TRY(status);
    return vl2_buf_addf(out, err, "\n");
}

/* ---- what comes in --------------------------------------------------------------------------------- */

typedef struct id_list {
    int32_t *ids;
    size_t n, room;
} id_list;

static vl2_status add_id(id_list *list, int64_t id, const char *where, vl2_error *err) {
    if (id < 0 || id > INT32_MAX) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: %" PRId64 " is no id", where, id);
    }
    if (list->n == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        int32_t *ids = vl2_mem_grow(list->ids, room, sizeof *ids);
        if (!ids) return vl2_fail_memory(err, "ids", room * sizeof *ids);
        list->ids = ids;
        list->room = room;
    }
    list->ids[list->n++] = (int32_t)id;
    return VL2_OK;
}

/* Ids separated by white space or commas, in brackets or not. */
static vl2_status read_ids(id_list *list, const char *text, const char *where, vl2_error *err) {
    static const char *const BETWEEN = " \t\r\n,[]";
    for (text += strspn(text, BETWEEN); *text; text += strspn(text, BETWEEN)) {
        char *end = NULL;
        errno = 0;
        long long id = strtoll(text, &end, 10);
        if (end == text || errno || (*end && !strchr(BETWEEN, *end))) {
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: \"%.*s\" is no id", where,
                            (int)strcspn(text, BETWEEN), text);
        }
        VL2_TRY(add_id(list, id, where, err));
        text = end;
    }
    return VL2_OK;
}

static vl2_status read_array(id_list *list, const vl2_json *array, const char *where,
                             vl2_error *err) {
    if (vl2_json_kind_of(array) != VL2_JSON_ARRAY) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: expected a JSON array of ids", where);
    }
    list->n = 0;
    for (size_t i = 0; i < vl2_json_size(array); i++) {
        const vl2_json *id = vl2_json_at(array, i);
        if (vl2_json_kind_of(id) != VL2_JSON_INT) {
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: element %zu is no id", where, i);
        }
        VL2_TRY(add_id(list, vl2_json_int(id), where, err));
    }
    return VL2_OK;
}

/* ---- a line at a time ------------------------------------------------------------------------------ */

typedef struct lines {
    const vl2_dev_tokenizer *tokenizer;
    bool back; /* ids -> text */
    id_list ids;
    vl2_buf out;
} lines;

static vl2_status one_line(lines *l, const char *line, size_t size, const char *where,
                           vl2_error *err) {
    vl2_json_doc *doc = NULL;
    size_t length = 0;
    vl2_status status = VL2_OK;
    VL2_TRY(vl2_json_parse(&doc, line, size, where, err));
    const vl2_json *value = vl2_json_root(doc);
    if (l->back) {
        VL2_GOTO(done, status, read_array(&l->ids, value, where, err));
        status = detokenize(&l->out, l->tokenizer, l->ids.ids, l->ids.n, true, err);
    } else {
        const char *text = vl2_json_text(value, &length);
        if (!text) {
            status = vl2_fail(err, VL2_ERR_FORMAT, "%s: expected a JSON string", where);
            goto done;
        }
        status = tokenize(&l->out, l->tokenizer, text, length, true, err);
    }
done:
    vl2_json_free(doc);
    return status;
}

static vl2_status all_lines(const vl2_dev_tokenizer *tokenizer, bool back, vl2_error *err) {
    lines l = {.tokenizer = tokenizer, .back = back};
    char *line = NULL, where[64];
    size_t room = 0, size = 0, number = 0;
    vl2_status status = VL2_OK;
    while (status == VL2_OK && cli_jsonl_next(stdin, &line, &room, &size, "standard input", err)) {
        snprintf(where, sizeof where, "standard input, line %zu", ++number);
        vl2_buf_clear(&l.out);
        status = one_line(&l, line, size, where, err);
        if (status == VL2_OK && fwrite(l.out.data, 1, l.out.size, stdout) != l.out.size) {
            status = vl2_fail(err, VL2_ERR_IO, "standard output: %s", strerror(errno));
        }
    }
    free(line);
    vl2_mem_free(l.ids.ids);
    vl2_buf_free(&l.out);
    return status == VL2_OK ? err->status : status;
}

/* ---- all at once ------------------------------------------------------------------------------------ */

static vl2_status one_text(const vl2_dev_tokenizer *tokenizer, const cli_options *o, bool back,
                           vl2_error *err) {
    char *piped = NULL;
    size_t size = 0;
    id_list ids = {0};
    vl2_buf out = {0};
    vl2_status status = VL2_OK;
    const char *where = o->arguments.n ? "the ids" : "standard input";
    if (!o->arguments.n) {
        VL2_TRY(cli_conversation_stdin(&piped, &size, MAX_TEXT, err));
    }
    if (!back) {
        const char *text = piped ? piped : o->arguments.items[0];
        if (!piped) size = strlen(text);
        VL2_GOTO(done, status, tokenize(&out, tokenizer, text, size, false, err));
    } else {
        for (size_t i = 0; i < o->arguments.n; i++) {
            VL2_GOTO(done, status, read_ids(&ids, o->arguments.items[i], where, err));
        }
        if (piped) VL2_GOTO(done, status, read_ids(&ids, piped, where, err));
        VL2_GOTO(done, status, detokenize(&out, tokenizer, ids.ids, ids.n, false, err));
    }
    status = cli_terminal_write(out.data, out.size, err);
done:
    vl2_mem_free(piped);
    vl2_mem_free(ids.ids);
    vl2_buf_free(&out);
    return status;
}

static int work(cli_options *o, const char *name, bool back) {
    vl2_dev_tokenizer *tokenizer = NULL;
    char *path = NULL;
    vl2_error err = {0};
    if (o->jsonl && o->arguments.n) {
        return cli_main_usage(name, "--jsonl reads stdin; leave out the argument");
    }
    vl2_status status = cli_models_find(&path, o->model, &err);
    if (status == VL2_OK) status = vl2_dev_tokenizer_open(&tokenizer, path, &err);
    if (status == VL2_OK) {
        status = o->jsonl ? all_lines(tokenizer, back, &err) : one_text(tokenizer, o, back, &err);
    }
    vl2_dev_tokenizer_close(tokenizer);
    vl2_mem_free(path);
    return status == VL2_OK ? 0 : cli_main_fail(name, &err);
}

int cli_tokenize_main(cli_options *options) { return work(options, "tokenize", false); }
int cli_detokenize_main(cli_options *options) { return work(options, "detokenize", true); }
