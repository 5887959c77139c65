/* backend/cpu/product_bytes.h - linear with weights made bytes at load (bytes.h), and the making. */
#ifndef VL2_BACKEND_CPU_PRODUCT_BYTES_H
#define VL2_BACKEND_CPU_PRODUCT_BYTES_H

#include "backend/cpu/product.h"

size_t vl2_product_bytes_lane_bytes(void);
/* p: a product of all m rows, begun by product.c. */
void vl2_product_bytes_run(const vl2_product *p, const vl2_mat *w, size_t m);

#endif
