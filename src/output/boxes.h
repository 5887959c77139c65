/* output/boxes.h - boxes in a model's text: docs/MODEL.md §9 (vl2_boxes_parse of vl2.h).
 * output/draw.c draws them (vl2_boxes_draw), where the build has cairo and pango. */
#ifndef VL2_OUTPUT_BOXES_H
#define VL2_OUTPUT_BOXES_H

#include "base/err.h"

#endif
