/* base/json.h - JSON, strictly: jansson behind one door, and getters which name what they miss.
 *
 * A vl2_json is a value together with the words that lead to it ("config.json:
 * language_config.hidden_size"), so that every message can say where and what. Numbers are range-
 * checked; duplicate keys, invalid UTF-8, depth over 64 and trailing text are errors. */
#ifndef VL2_BASE_JSON_H
#define VL2_BASE_JSON_H

#include "base/err.h"

typedef struct vl2_json vl2_json; /* opaque: borrowed from its document */
typedef struct vl2_json_doc vl2_json_doc;

typedef enum vl2_json_kind {
    VL2_JSON_ABSENT,
    VL2_JSON_NULL,
    VL2_JSON_BOOL,
    VL2_JSON_INT,
    VL2_JSON_REAL,
    VL2_JSON_STRING,
    VL2_JSON_ARRAY,
    VL2_JSON_OBJECT
} vl2_json_kind;

/* `name` leads all messages: a path or "request". */
vl2_status vl2_json_parse(vl2_json_doc **out, const char *text, size_t size, const char *name,
                          vl2_error *err);
vl2_status vl2_json_read(vl2_json_doc **out, const char *path, size_t max_bytes, vl2_error *err);
void vl2_json_free(vl2_json_doc *doc);
const vl2_json *vl2_json_root(const vl2_json_doc *doc);

/* Values are handles into the jansson tree; "where" texts are made only for messages, from the
 * document's name, `parent` words and key, so these take the containing object and a key. */
vl2_json_kind vl2_json_kind_of(const vl2_json *value); /* NULL: ABSENT */
const vl2_json *vl2_json_get(const vl2_json *object,
                             const char *key); /* NULL: absent (or no object) */
size_t vl2_json_size(const vl2_json *value);   /* of array or object, else 0 */
const vl2_json *vl2_json_at(const vl2_json *array, size_t i);
bool vl2_json_iterate(const vl2_json *object, void **iterator, const char **key,
                      const vl2_json **value);
/* start with *iterator = NULL; false at the end */
const char *vl2_json_text(const vl2_json *value, size_t *size); /* NULL if it is no string */
int64_t vl2_json_int(const vl2_json *value); /* of an INT; a REAL that is whole is no INT */
double vl2_json_real(const vl2_json *value); /* of INT or REAL */
bool vl2_json_bool(const vl2_json *value);

/* Typed reads of object[key] with a default when the key is absent. `where` is what stands before
 * the key in messages ("config.json: language_config"). A null counts as wrong unless said. */
vl2_status vl2_json_get_size(size_t *out, const vl2_json *object, const char *where,
                             const char *key, size_t absent, size_t min, size_t max,
                             vl2_error *err);
vl2_status vl2_json_get_real(double *out, const vl2_json *object, const char *where,
                             const char *key, double absent, double min, double max,
                             vl2_error *err);
vl2_status vl2_json_get_bool(bool *out, const vl2_json *object, const char *where, const char *key,
                             bool absent, vl2_error *err);
/* *out is borrowed from the document; `absent` may be NULL. A string with U+0000 inside is refused. */
vl2_status vl2_json_get_text(const char **out, const vl2_json *object, const char *where,
                             const char *key, const char *absent, vl2_error *err);

/* The message of those reads for object[key]: "… is <what it is>, expected <expected>". A `where`
 * that is a name alone is followed by ": ", a longer one by ".". */
vl2_status vl2_json_fail(const vl2_json *object, const char *where, const char *key,
                         const char *expected, vl2_error *err);

/* Writing: appends `text` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
struct vl2_buf;
vl2_status vl2_json_quote(struct vl2_buf *out, const char *text, size_t size, vl2_error *err);

#endif
