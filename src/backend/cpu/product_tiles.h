/* backend/cpu/product_tiles.h - products by tiles. */
#ifndef VL2_BACKEND_CPU_PRODUCT_TILES_H
#define VL2_BACKEND_CPU_PRODUCT_TILES_H

#include "backend/cpu/product.h"

/* Runs a product that has `tiles`; `total` rows to pack, all groups together. */
void vl2_product_tiles_run(vl2_product *p, size_t total);
size_t vl2_product_tiles_lane_bytes(void);

#endif
