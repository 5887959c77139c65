/* backend/cpu/product_tiles.h - products by tiles. */
#ifndef VL2_BACKEND_CPU_PRODUCT_TILES_H
#define VL2_BACKEND_CPU_PRODUCT_TILES_H

#include "backend/cpu/product.h"

/* Of a product that has `tiles`: bytes of a packed row; a turn's sizes, packs and tasks, once lo and hi
 * are set; one of these. */
size_t vl2_product_tiles_row_bytes(const vl2_product *p);
void vl2_product_tiles_open(vl2_product *p);
void vl2_product_tiles_pack(const vl2_product *p, size_t i);
void vl2_product_tiles_cell(const vl2_product *p, size_t i, int thread);
size_t vl2_product_tiles_lane_bytes(void);

#endif
