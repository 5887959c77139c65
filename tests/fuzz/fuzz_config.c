/* Any bytes as config.json, a NUL and processor_config.json: refused with a message, or sizes that
 * later arithmetic can rely on. */
#include "fuzz/fuzz.h"
#include "model/config.h"
#include "model/resolution.h"

#include <math.h>
#include <string.h>

static void demand(int holds) {
    if (!holds) __builtin_trap();
}

static void check_language(const vl2_language_config *lang) {
    demand(lang->hidden && lang->layers && lang->heads && lang->kv_heads && lang->vocab);
    demand(lang->heads % lang->kv_heads == 0);
    demand(isfinite(lang->softmax_scale) && lang->softmax_scale > 0);
    demand(lang->rope.factor > 0 && lang->rope.theta > 0);
    size_t product;
    demand(
        !__builtin_mul_overflow(vl2_config_kv_width(lang), lang->layers * sizeof(float), &product));
    demand(!__builtin_mul_overflow(product, lang->max_positions, &product));
    demand(vl2_config_kv_width(lang) > 0);
    if (lang->experts == 0) return;
    demand(lang->experts_per_token >= 1 && lang->experts_per_token <= lang->experts);
    if (lang->router == VL2_ROUTER_GREEDY) return;
    demand(lang->groups && lang->experts % lang->groups == 0 && lang->top_groups <= lang->groups);
}

static void check_pictures(const vl2_config *config) {
    size_t wide, high;
    demand(config->vision.grid * config->vision.patch <= config->vision.side);
    demand(config->projector.grid >= 1 && config->projector.ratio >= 1);
    demand(config->image.side == config->vision.side && config->image.n_candidates >= 1);
    vl2_resolution_choose(&wide, &high, &config->image, 1000, 3, true);
    demand(wide >= 1 && wide <= VL2_MAX_SIDE_TILES && high >= 1 && high <= VL2_MAX_SIDE_TILES);
    demand(vl2_config_image_tokens(config, wide, high) > 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    const char *border = size ? memchr(text, '\0', size) : NULL;
    size_t first = border ? (size_t)(border - text) : size;
    size_t second = border ? first + 1 : size;
    vl2_config config;
    vl2_error err = {0};
    if (vl2_config_parse(&config, text, first, "config", text + second, size - second, "processor",
                         &err) != VL2_OK) {
        demand(err.status != VL2_OK && err.text[0]);
        return 0;
    }
    check_language(&config.lang);
    check_pictures(&config);
    return 0;
}
