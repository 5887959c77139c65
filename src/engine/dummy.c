/* Engines of the real shapes with made-up weights, to time what cannot be downloaded. */
#include "engine/engine.h"
#include "vl2/vl2_dev.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/published.h"

/* "shapes:TYPE" -> both; the type is bfloat16 where none is said. */
static vl2_status split_shapes(char out[VL2_MAX_NAME], vl2_dtype *type, const char *shapes,
                               vl2_error *err) {
    const char *colon = strrchr(shapes, ':');
    size_t size = colon ? (size_t)(colon - shapes) : strlen(shapes);
    *type = colon ? vl2_dtype_by_name(colon + 1, strlen(colon + 1)) : VL2_BF16;
    if (*type == VL2_DTYPE_COUNT)
        return vl2_fail(
            err, VL2_ERR_ARGUMENT,
            "%s: made-up weights of type \"%.20s\", expected BF16, Q8_0, Q4_K or another "
            "type of weights",
            shapes, colon + 1);
    if (size >= VL2_MAX_NAME)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "%s: the name is too long", shapes);
    memcpy(out, shapes, size);
    out[size] = '\0';
    return VL2_OK;
}

/* A config.json, with its processor_config.json beside it, or the name of a published model. */
static vl2_status read_shapes(vl2_config *out, const char *shapes, vl2_error *err) {
    size_t size = strlen(shapes);
    if (size < 5 || strcmp(shapes + size - 5, ".json") != 0) {
        return vl2_config_published(out, shapes, err);
    }
    char *folder;
    VL2_TRY(vl2_path_folder(&folder, shapes, err));
    vl2_status status = vl2_config_read(out, folder, err);
    vl2_mem_free(folder);
    return status;
}

static vl2_status make(vl2_engine *engine, const char *shapes, const vl2_engine_options *options,
                       vl2_error *err) {
    char name[VL2_MAX_NAME];
    vl2_dtype type;
    VL2_TRY(split_shapes(name, &type, shapes, err));
    VL2_TRY(read_shapes(&engine->config, name, err));
    VL2_TRY(vl2_weights_dummy(&engine->weights, &engine->config, type, err));
    return vl2_engine_start(engine, options, shapes, err);
}

vl2_status vl2_dev_engine_dummy(vl2_engine **out, const char *shapes,
                                const vl2_engine_options *options, vl2_error *err) {
    vl2_engine_options given;
    VL2_TRY(vl2_engine_options_read(&given, options, err));
    vl2_engine *engine = vl2_mem_calloc(1, sizeof *engine);
    if (!engine) return vl2_fail_memory(err, "the engine", sizeof *engine);
    vl2_status status = make(engine, shapes, &given, err);
    if (status != VL2_OK) {
        vl2_engine_close(engine);
        return status;
    }
    *out = engine;
    return VL2_OK;
}
