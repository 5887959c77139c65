/* image/picture.h - the picture object: 8-bit RGB, rows without gaps, counted references. */
#ifndef VL2_IMAGE_PICTURE_H
#define VL2_IMAGE_PICTURE_H

#include "base/err.h"

/* Sides at most: keeps every product of a side and a few bytes far from overflow. */
enum { VL2_PICTURE_MAX_SIDE = 1 << 28 };

/* Says no to empty pictures, sides over the maximum and more than max_pixels; `name` leads. */
vl2_status vl2_picture_check_size(uint64_t width, uint64_t height, uint64_t max_pixels,
                                  const char *name, vl2_error *err);
/* A black picture, written through vl2_picture_row until it is given away. */
vl2_status vl2_picture_create(vl2_picture **out, size_t width, size_t height, vl2_error *err);
uint8_t *vl2_picture_row(vl2_picture *picture, size_t y); /* [width, 3] */

#endif
