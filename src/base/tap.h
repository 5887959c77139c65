/* base/tap.h - where stages show what they made, for `vl2 trace`: the production path, observed.
 *
 * A stage calls vl2_tap_show for its result; without a tap that is one test of a pointer. */
#ifndef VL2_BASE_TAP_H
#define VL2_BASE_TAP_H

#include <stddef.h>

/* name: "vision", "projector", "inputs_embeds", "hidden" (index = layer) or "logits";
 * rows: [n, width] f32, row `first` of the whole result and on. */
typedef void (*vl2_tap_fn)(void *user, const char *name, size_t index, size_t first,
                           const float *rows, size_t n, size_t width);
typedef struct vl2_tap {
    vl2_tap_fn fn; /* NULL: nobody looks */
    void *user;
} vl2_tap;

static inline void vl2_tap_show(const vl2_tap *tap, const char *name, size_t index, size_t first,
                                const float *rows, size_t n, size_t width) {
    if (tap && tap->fn) tap->fn(tap->user, name, index, first, rows, n, width);
}

#endif
