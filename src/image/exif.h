/* image/exif.h - which way up a picture wants to be shown: EXIF 2.32, tag 0x0112. */
#ifndef VL2_IMAGE_EXIF_H
#define VL2_IMAGE_EXIF_H

#include "base/err.h"

/* The orientation, 1 … 8, in an EXIF block: a TIFF header, maybe with "Exif\0\0" before it.
 * 1 (as it is) when there is none or the block is broken. */
int vl2_exif_orientation(const uint8_t *block, size_t size);
/* Turns and mirrors *picture so that it is upright; replaced by a new one, which the caller owns. */
vl2_status vl2_exif_turn(vl2_picture **picture, int orientation, vl2_error *err);

#endif
