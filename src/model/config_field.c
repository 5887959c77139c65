#include "model/config_parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* Between a `where` and a key, as base/json.h has it. */
static const char *joint(const vl2_config_field_group *group) {
    return strstr(group->where, ": ") ? "." : ": ";
}

vl2_status vl2_config_field_open(vl2_config_field_group *out, char *where, size_t where_size,
                                 const vl2_config_field_group *parent, const char *key,
                                 vl2_error *err) {
    const vl2_json *object = vl2_json_get(parent->object, key);
    if (object && vl2_json_kind_of(object) != VL2_JSON_OBJECT)
        return vl2_json_fail(parent->object, parent->where, key, "an object", err);
    snprintf(where, where_size, "%s%s%s", parent->where, joint(parent), key);
    *out = (vl2_config_field_group){object, where};
    return VL2_OK;
}

vl2_status vl2_config_field_one(size_t *out, const vl2_config_field_group *group, const char *key,
                                size_t absent, size_t min, size_t max, vl2_error *err) {
    return vl2_json_get_size(out, group->object, group->where, key, absent, min, max, err);
}

vl2_status vl2_config_field_sizes(void *part, const vl2_config_field_group *group,
                                  const vl2_config_field_size *fields, size_t n, vl2_error *err) {
    for (size_t i = 0; i < n; i++) {
        size_t value;
        VL2_TRY(vl2_config_field_one(&value, group, fields[i].key, fields[i].absent, fields[i].min,
                                     fields[i].max, err));
        memcpy((char *)part + fields[i].offset, &value, sizeof value);
    }
    return VL2_OK;
}

static bool is_null(const vl2_config_field_group *group, const char *key) {
    return vl2_json_kind_of(vl2_json_get(group->object, key)) == VL2_JSON_NULL;
}

vl2_status vl2_config_field_or_null(size_t *out, const vl2_config_field_group *group,
                                    const char *key, size_t absent, size_t min, size_t max,
                                    vl2_error *err) {
    if (!is_null(group, key)) return vl2_config_field_one(out, group, key, absent, min, max, err);
    *out = 0;
    return VL2_OK;
}

vl2_status vl2_config_field_real(double *out, const vl2_config_field_group *group, const char *key,
                                 double absent, double min, double max, vl2_error *err) {
    return vl2_json_get_real(out, group->object, group->where, key, absent, min, max, err);
}

vl2_status vl2_config_field_flag(bool *out, const vl2_config_field_group *group, const char *key,
                                 bool absent, vl2_error *err) {
    if (!is_null(group, key))
        return vl2_json_get_bool(out, group->object, group->where, key, absent, err);
    *out = false;
    return VL2_OK;
}

/* "a, b or c" */
static void list_words(char *out, size_t size, const vl2_config_field_word *words, size_t n) {
    size_t used = 0;
    for (size_t i = 0; i < n && used < size; i++) {
        const char *before = i == 0 ? "" : i + 1 == n ? " or " : ", ";
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", before, words[i].word);
    }
}

vl2_status vl2_config_field_choice(int *out, const vl2_config_field_group *group, const char *key,
                                   const char *absent, const vl2_config_field_word *words, size_t n,
                                   vl2_error *err) {
    char expected[240] = "";
    list_words(expected, sizeof expected, words, n);
    const vl2_json *value = vl2_json_get(group->object, key);
    if (value ? vl2_json_kind_of(value) != VL2_JSON_STRING : !absent)
        return vl2_json_fail(group->object, group->where, key, expected, err);
    const char *word;
    VL2_TRY(vl2_json_get_text(&word, group->object, group->where, key, absent, err));
    for (size_t i = 0; i < n; i++) {
        if (strcmp(words[i].word, word) != 0) continue;
        *out = words[i].value;
        return VL2_OK;
    }
    return vl2_config_field_fail(group, key, VL2_ERR_UNSUPPORTED, err,
                                 "\"%.40s\" is not supported, expected %s", word, expected);
}

vl2_status vl2_config_field_fail(const vl2_config_field_group *group, const char *key,
                                 vl2_status status, vl2_error *err, const char *fmt, ...) {
    char message[360];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return vl2_fail(err, status, "%s%s%s: %s", group->where, joint(group), key, message);
}
