/* output/boxes.h - boxes in a model's text: docs/MODEL.md §9 (vl2_boxes_parse of vl2.h), and drawn on
 * a picture by output/draw.c (vl2_boxes_draw), where the build has cairo and pango.
 *
 * A pair is <|ref|>label<|/ref|><|det|>[[x1, y1, x2, y2], …]<|/det|>, white space allowed between
 * its halves and in the list; a single [x1, y1, x2, y2] will do. Fractions are dropped, coordinates
 * brought into 0 … 999, corners put in order (x1 <= x2, y1 <= y2). A pair with anything else in it
 * yields no box, and reading goes on at the tag that did not fit. */
#ifndef VL2_OUTPUT_BOXES_H
#define VL2_OUTPUT_BOXES_H

#include "base/err.h"

#endif
