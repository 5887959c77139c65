/* model/config_parts.h - the parts of config.json and processor_config.json, and how fields are read.
 *
 * Bounds: every number of a configuration is bounded here so that the sizes computed from them
 * later (tokens * layers * widths, views * patches * widths, experts * widths) fit 63 bits. */
#ifndef VL2_MODEL_CONFIG_PARTS_H
#define VL2_MODEL_CONFIG_PARTS_H

#include "base/json.h"
#include "model/config.h"

enum {
    VL2_MAX_WIDTH = 1 << 20,     /* features of a row, anywhere in the model */
    VL2_MAX_LAYERS = 4096,       /* of tower or decoder */
    VL2_MAX_HEADS = 65536,       /* of a layer */
    VL2_MAX_EXPERTS = 65536,     /* of a layer */
    VL2_MAX_VOCAB = 1 << 24,     /* tokens */
    VL2_MAX_POSITIONS = 1 << 26, /* tokens of a sequence */
    VL2_MAX_SIDE = 1 << 14,      /* pixels of a view */
    VL2_MAX_GRID = 1 << 10,      /* patches a side */
    VL2_MAX_RATIO = 64           /* of downsampling */
};

/* An object whose fields are read: `where` leads the messages. A NULL object has no fields. */
typedef struct vl2_config_field_group {
    const vl2_json *object;
    const char *where;
} vl2_config_field_group;

/* A whole number that goes to `offset` of the part that is filled. */
typedef struct vl2_config_field_size {
    const char *key;
    size_t offset, absent, min, max;
} vl2_config_field_size;

/* A word that stands for a number of an enum. */
typedef struct vl2_config_field_word {
    const char *word;
    int value;
} vl2_config_field_word;

/* parent[key] as a group; absent: an empty one. `where` has room for `where_size` bytes. */
vl2_status vl2_config_field_open(vl2_config_field_group *out, char *where, size_t where_size,
                                 const vl2_config_field_group *parent, const char *key,
                                 vl2_error *err);
vl2_status vl2_config_field_sizes(void *part, const vl2_config_field_group *group,
                                  const vl2_config_field_size *fields, size_t n, vl2_error *err);
vl2_status vl2_config_field_one(size_t *out, const vl2_config_field_group *group, const char *key,
                                size_t absent, size_t min, size_t max, vl2_error *err);
/* The same, where null is kept: *out = 0. min is at least 1. */
vl2_status vl2_config_field_or_null(size_t *out, const vl2_config_field_group *group,
                                    const char *key, size_t absent, size_t min, size_t max,
                                    vl2_error *err);
vl2_status vl2_config_field_real(double *out, const vl2_config_field_group *group, const char *key,
                                 double absent, double min, double max, vl2_error *err);
/* Null is false, as in the reference's language. */
vl2_status vl2_config_field_flag(bool *out, const vl2_config_field_group *group, const char *key,
                                 bool absent, vl2_error *err);
/* One of the words; `absent` NULL: it has to be there. Another word is VL2_ERR_UNSUPPORTED. */
vl2_status vl2_config_field_choice(int *out, const vl2_config_field_group *group, const char *key,
                                   const char *absent, const vl2_config_field_word *words, size_t n,
                                   vl2_error *err);
/* "…key: message"; VL2_ERR_FORMAT for what contradicts itself, VL2_ERR_UNSUPPORTED for the rest. */
vl2_status vl2_config_field_fail(const vl2_config_field_group *group, const char *key,
                                 vl2_status status, vl2_error *err, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

vl2_status vl2_config_vision_read(vl2_vision_config *out, const vl2_config_field_group *group,
                                  vl2_error *err);
/* The vision part has been read. */
vl2_status vl2_config_projector_read(vl2_projector_config *out, const vl2_vision_config *vision,
                                     const vl2_config_field_group *group, vl2_error *err);
vl2_status vl2_config_language_read(vl2_language_config *out, const vl2_config_field_group *group,
                                    vl2_error *err);
/* rope_scaling and softmax_scale; the other fields of the language part have been read. */
vl2_status vl2_config_rope_read(vl2_language_config *lang, const vl2_config_field_group *group,
                                vl2_error *err);
/* processor_config.json; *patch and *ratio are what it repeats of the other parts. */
vl2_status vl2_config_processor_read(vl2_image_config *out, size_t *patch, size_t *ratio,
                                     const vl2_config_field_group *group, vl2_error *err);

#endif
