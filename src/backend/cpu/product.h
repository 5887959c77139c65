/* backend/cpu/product.h - a product under way: what product.c (rows prepared one by one) and
 * product_tiles.c (rows prepared in blocks) share. */
#ifndef VL2_BACKEND_CPU_PRODUCT_H
#define VL2_BACKEND_CPU_PRODUCT_H

#include "backend/cpu/cpu.h"

typedef struct vl2_share { /* one group's part of an operation */
    const char *w, *w2;
    size_t stride, stride2;
    size_t first, n; /* packed rows */
    float *y;        /* of packed row `first` */
} vl2_share;

typedef struct vl2_product {
    vl2_cpu *cpu;
    const vl2_dot *dot;
    const vl2_tiles *tiles; /* instead of dot, or of q for many rows; or NULL */
    const vl2_qdot *q;      /* instead of dot, for quantized weights */
    vl2_dtype type;         /* of w */
    size_t n, k, block;
    size_t element; /* bytes of an element of w, or of its block */
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx;
    const uint32_t *index;
    const vl2_vec *bias;
    vl2_epilogue epilogue;
    bool gated;
    const vl2_group *groups; /* experts, or */
    const vl2_mat *w;        /* heads: group h has rows h * head_rows + first_row … of w */
    size_t n_groups, m, head_rows, first_row, x_head, y_head;
    size_t total;  /* rows to pack, all groups together */
    bool by_tiles; /* product_tiles.c has it */
    /* Of a turn: */
    size_t lo, hi;       /* packed rows */
    char *packed;        /* in the shared scratch */
    size_t packs, tasks; /* to prepare x, then to multiply */
    size_t panel;        /* outputs of a task */
    size_t run;          /* rows of a task (tiles) */
} vl2_product;

/* Up to so many rows, tiles and Arm's panels of quantized weights do not pay. */
enum { VL2_PRODUCT_FEW = 8 };

/* The part of group g that this turn's packed rows hold. */
vl2_share vl2_product_turn(const vl2_product *p, size_t g);
/* The row of x that becomes packed row r of all. */
const float *vl2_product_source(const vl2_product *p, size_t r);
/* Activation or bias on m rows of sums (and those of the second matrix), ld apart, into y at `column`. */
void vl2_product_finish(const vl2_product *p, float *y, size_t column, const float *sums,
                        const float *sums2, size_t ld, size_t m, size_t n);

#endif
