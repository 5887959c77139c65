#include "base/json.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 64, SHOWN = 48 };

struct vl2_json_doc {
    json_t *root;
};

/* A vl2_json is jansson's value under another name. */
static const json_t *value_of(const vl2_json *json) { return (const json_t *)(const void *)json; }
static const vl2_json *handle_of(const json_t *value) {
    return (const vl2_json *)(const void *)value;
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* Skips a string from behind its opening quote to its closing one. */
static size_t skip_string(const char *text, size_t size, size_t at) {
    while (at < size && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    return at;
}

/* Nesting is checked before parsing, since the parser recurses. Broken texts it will refuse. */
static vl2_status check_depth(const char *text, size_t size, const char *name, vl2_error *err) {
    size_t depth = 0;
    for (size_t at = 0; at < size; at++) {
        char c = text[at];
        if (c == '"')
            at = skip_string(text, size, at + 1);
        else if (c == '[' || c == '{')
            depth++;
        else if ((c == ']' || c == '}') && depth > 0)
            depth--;
        if (depth > MAX_DEPTH)
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: nested deeper than %d levels at byte %zu",
                            name, MAX_DEPTH, at);
    }
    return VL2_OK;
}

/* The name in quotes before the colon that is nearest before `at`: the key whose value is broken. */
static const char *key_before(size_t *n, const char *text, size_t at) {
    while (at > 0 && text[at - 1] != ':') at--;
    while (at > 0 && text[at - 1] != '"') at--;
    size_t end = at > 0 ? at - 1 : 0, start = end;
    while (start > 0 && text[start - 1] != '"') start--;
    *n = start > 0 && end - start <= SHOWN ? end - start : 0;
    return text + start;
}

static vl2_status fail_parse(const json_error_t *error, const char *text, size_t size,
                             const char *name, vl2_error *err) {
    /* the parser has words for what is wrong with a text, and none when its memory ran out */
    if (!error->text[0] || json_error_code(error) == json_error_out_of_memory)
        return vl2_fail_memory(err, name, size);
    if (error->line < 0) return vl2_fail(err, VL2_ERR_FORMAT, "%s: %s", name, error->text);
    if (json_error_code(error) == json_error_numeric_overflow && error->position > 0) {
        size_t n, at = (size_t)error->position < size ? (size_t)error->position : size;
        const char *key = key_before(&n, text, at);
        if (n)
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: line %d, column %d: %s, behind \"%.*s\"",
                            name, error->line, error->column, error->text, (int)n, key);
    }
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: line %d, column %d: %s", name, error->line,
                    error->column, error->text);
}

vl2_status vl2_json_parse(vl2_json_doc **out, const char *text, size_t size, const char *name,
                          vl2_error *err) {
    if (size == 0) return vl2_fail(err, VL2_ERR_FORMAT, "%s: empty, expected JSON", name);
    VL2_TRY(check_depth(text, size, name, err));
    vl2_json_doc *doc = vl2_mem_alloc(sizeof *doc);
    if (!doc) return vl2_fail_memory(err, name, sizeof *doc);
    json_error_t error;
    doc->root =
        json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!doc->root) {
        vl2_mem_free(doc);
        return fail_parse(&error, text, size, name, err);
    }
    *out = doc;
    return VL2_OK;
}

vl2_status vl2_json_read(vl2_json_doc **out, const char *path, size_t max_bytes, vl2_error *err) {
    char *text;
    size_t size;
    VL2_TRY(vl2_file_read(&text, &size, path, max_bytes, err));
    vl2_status status = vl2_json_parse(out, text, size, path, err);
    vl2_mem_free(text);
    return status;
}

void vl2_json_free(vl2_json_doc *doc) {
    if (!doc) return;
    json_decref(doc->root);
    vl2_mem_free(doc);
}

const vl2_json *vl2_json_root(const vl2_json_doc *doc) { return handle_of(doc->root); }

/* ---- values ---------------------------------------------------------------------------------- */

vl2_json_kind vl2_json_kind_of(const vl2_json *value) {
    if (!value) return VL2_JSON_ABSENT;
    switch (json_typeof(value_of(value))) {
    case JSON_OBJECT: return VL2_JSON_OBJECT;
    case JSON_ARRAY: return VL2_JSON_ARRAY;
    case JSON_STRING: return VL2_JSON_STRING;
    case JSON_INTEGER: return VL2_JSON_INT;
    case JSON_REAL: return VL2_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return VL2_JSON_BOOL;
    case JSON_NULL: break;
    }
    return VL2_JSON_NULL;
}

const vl2_json *vl2_json_get(const vl2_json *object, const char *key) {
    return handle_of(json_object_get(value_of(object), key));
}

size_t vl2_json_size(const vl2_json *value) {
    const json_t *v = value_of(value);
    return json_is_array(v) ? json_array_size(v) : json_is_object(v) ? json_object_size(v) : 0;
}

const vl2_json *vl2_json_at(const vl2_json *array, size_t i) {
    return handle_of(json_array_get(value_of(array), i));
}

bool vl2_json_iterate(const vl2_json *object, void **iterator, const char **key,
                      const vl2_json **value) {
    union { /* jansson's iterators want an object that may change; none does here */
        const vl2_json *handle;
        json_t *object;
    } v = {.handle = object};
    if (!object) return false;
    *iterator = *iterator ? json_object_iter_next(v.object, *iterator) : json_object_iter(v.object);
    if (!*iterator) return false;
    *key = json_object_iter_key(*iterator);
    *value = handle_of(json_object_iter_value(*iterator));
    return true;
}

const char *vl2_json_text(const vl2_json *value, size_t *size) {
    const char *text = json_string_value(value_of(value));
    if (size) *size = text ? json_string_length(value_of(value)) : 0;
    return text;
}

int64_t vl2_json_int(const vl2_json *value) { return json_integer_value(value_of(value)); }
double vl2_json_real(const vl2_json *value) { return json_number_value(value_of(value)); }
bool vl2_json_bool(const vl2_json *value) { return json_is_true(value_of(value)); }

/* ---- typed reads ----------------------------------------------------------------------------- */

/* `value` in words for a message: short, and on one line. */
static const char *shown(char out[SHOWN], const vl2_json *value) {
    size_t size;
    const char *text;
    switch (vl2_json_kind_of(value)) {
    case VL2_JSON_ABSENT: snprintf(out, SHOWN, "absent"); break;
    case VL2_JSON_NULL: snprintf(out, SHOWN, "null"); break;
    case VL2_JSON_BOOL: snprintf(out, SHOWN, vl2_json_bool(value) ? "true" : "false"); break;
    case VL2_JSON_INT: snprintf(out, SHOWN, "%lld", (long long)vl2_json_int(value)); break;
    case VL2_JSON_REAL: snprintf(out, SHOWN, "%#.10g", vl2_json_real(value)); break;
    case VL2_JSON_STRING:
        text = vl2_json_text(value, &size);
        if (size > 32)
            snprintf(out, SHOWN, "\"%.*s…\"", (int)vl2_utf8_whole(text, 32), text);
        else
            snprintf(out, SHOWN, "\"%s\"", text);
        break;
    case VL2_JSON_ARRAY: snprintf(out, SHOWN, "a list of %zu", vl2_json_size(value)); break;
    case VL2_JSON_OBJECT: snprintf(out, SHOWN, "an object"); break;
    }
    return out;
}

/* The documents' own fields follow their name and a colon, deeper ones a dot. */
static const char *joint(const char *where) { return strstr(where, ": ") ? "." : ": "; }

vl2_status vl2_json_fail(const vl2_json *object, const char *where, const char *key,
                         const char *expected, vl2_error *err) {
    char found[SHOWN];
    return vl2_fail(err, VL2_ERR_FORMAT, "%s%s%s is %s, expected %s", where, joint(where), key,
                    shown(found, vl2_json_get(object, key)), expected);
}

vl2_status vl2_json_get_size(size_t *out, const vl2_json *object, const char *where,
                             const char *key, size_t absent, size_t min, size_t max,
                             vl2_error *err) {
    const vl2_json *value = vl2_json_get(object, key);
    if (!value) {
        *out = absent;
        return VL2_OK;
    }
    int64_t number = vl2_json_int(value);
    if (vl2_json_kind_of(value) != VL2_JSON_INT || number < 0 || (uint64_t)number < min ||
        (uint64_t)number > max) {
        char expected[80];
        snprintf(expected, sizeof expected, "a whole number from %zu to %zu", min, max);
        return vl2_json_fail(object, where, key, expected, err);
    }
    *out = (size_t)number;
    return VL2_OK;
}

vl2_status vl2_json_get_real(double *out, const vl2_json *object, const char *where,
                             const char *key, double absent, double min, double max,
                             vl2_error *err) {
    const vl2_json *value = vl2_json_get(object, key);
    if (!value) {
        *out = absent;
        return VL2_OK;
    }
    vl2_json_kind kind = vl2_json_kind_of(value);
    double number = vl2_json_real(value);
    if ((kind != VL2_JSON_INT && kind != VL2_JSON_REAL) || !(number >= min && number <= max)) {
        char expected[80];
        snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
        return vl2_json_fail(object, where, key, expected, err);
    }
    *out = number;
    return VL2_OK;
}

vl2_status vl2_json_get_bool(bool *out, const vl2_json *object, const char *where, const char *key,
                             bool absent, vl2_error *err) {
    const vl2_json *value = vl2_json_get(object, key);
    if (value && vl2_json_kind_of(value) != VL2_JSON_BOOL)
        return vl2_json_fail(object, where, key, "true or false", err);
    *out = value ? vl2_json_bool(value) : absent;
    return VL2_OK;
}

vl2_status vl2_json_get_text(const char **out, const vl2_json *object, const char *where,
                             const char *key, const char *absent, vl2_error *err) {
    const vl2_json *value = vl2_json_get(object, key);
    if (!value) {
        *out = absent;
        return VL2_OK;
    }
    size_t size;
    const char *text = vl2_json_text(value, &size);
    if (!text) return vl2_json_fail(object, where, key, "a string", err);
    if (strlen(text) != size)
        return vl2_json_fail(object, where, key, "a string without U+0000", err);
    *out = text;
    return VL2_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The escape of a byte that cannot stand in a JSON string as it is; NULL: it can. */
static const char *escape_of(char out[8], unsigned char byte) {
    switch (byte) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\b': return "\\b";
    case '\f': return "\\f";
    default: break;
    }
    if (byte >= 0x20 && byte != 0x7F) return NULL;
    snprintf(out, 8, "\\u%04x", byte);
    return out;
}

vl2_status vl2_json_quote(struct vl2_buf *out, const char *text, size_t size, vl2_error *err) {
    VL2_TRY(vl2_buf_add(out, "\"", 1, err));
    size_t from = 0, at = 0, n = 1;
    for (; at < size; at += n) {
        char room[8];
        unsigned char byte = (unsigned char)text[at];
        n = 1;
        const char *instead = byte < 0x80 ? escape_of(room, byte)
                              : vl2_utf8_next(text + at, size - at, &n) == UINT32_MAX
                                  ? "\xEF\xBF\xBD"
                                  : NULL;
        if (!instead) continue;
        VL2_TRY(vl2_buf_add(out, text + from, at - from, err));
        VL2_TRY(vl2_buf_add(out, instead, strlen(instead), err));
        from = at + n;
    }
    VL2_TRY(vl2_buf_add(out, text + from, size - from, err));
    return vl2_buf_add(out, "\"", 1, err);
}
