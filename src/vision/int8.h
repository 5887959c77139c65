/* vision/int8.h - the tower's blocks with products of bytes (backend/ops.h), made once from the file's weights.
 *
 * Patches and the projector stay as they are: a hundredth of the work, and much of the distance. */
#ifndef VL2_VISION_INT8_H
#define VL2_VISION_INT8_H

#include "backend/ops.h"
#include "model/weights.h"

/* Bytes of the blocks' four matrices; those whose rows are too long are not among them. */
size_t vl2_int8_plan(const vl2_backend *be, const vl2_vision_weights *w, size_t layers);
/* memory: so many bytes, aligned to VL2_ALIGN, which must outlive w. */
void vl2_int8_make(vl2_backend *be, vl2_vision_weights *w, size_t layers, void *memory);

#endif
