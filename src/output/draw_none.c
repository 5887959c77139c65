/* In place of draw.c in builds without cairo and pango. */
#include "output/boxes.h"

vl2_status vl2_boxes_draw(vl2_picture **out, const vl2_picture *picture, const vl2_box *boxes,
                          size_t n, size_t image, vl2_error *err) {
    (void)out;
    (void)picture;
    (void)boxes;
    (void)n;
    (void)image;
    return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                    "this build cannot draw boxes (it has no cairo and pango)");
}
