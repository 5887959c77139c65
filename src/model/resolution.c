#include "model/resolution.h"

#include "base/mem.h"

static size_t area(size_t width, size_t height) {
    size_t pixels;
    return vl2_mul(&pixels, width, height) ? pixels : SIZE_MAX;
}

/* Pixels of the picture that survive when it is shrunk (or grown) into the candidate. In doubles
 * and truncated, as the reference does it. */
static size_t effective_pixels(vl2_resolution candidate, size_t width, size_t height) {
    double across = (double)candidate.width / (double)width;
    double down = (double)candidate.height / (double)height;
    double scale = across < down ? across : down;
    size_t scaled = area((size_t)((double)width * scale), (size_t)((double)height * scale));
    size_t original = area(width, height);
    return scaled < original ? scaled : original;
}

void vl2_resolution_choose(size_t *tiles_wide, size_t *tiles_high, const vl2_image_config *config,
                           size_t width, size_t height, bool crop) {
    *tiles_wide = 1;
    *tiles_high = 1;
    if (!crop || width == 0 || height == 0) return;
    size_t best = 0, least_waste = SIZE_MAX;
    for (size_t i = 0; i < config->n_candidates; i++) {
        vl2_resolution candidate = config->candidates[i];
        size_t effective = effective_pixels(candidate, width, height);
        size_t waste = area(candidate.width, candidate.height) - effective;
        if (effective < best || (effective == best && waste >= least_waste)) continue;
        best = effective;
        least_waste = waste;
        *tiles_wide = candidate.width / config->side;
        *tiles_high = candidate.height / config->side;
    }
}
