/* Products with quantized weights. Plain C against double, on the values that the file's blocks and
 * the packed rows stand for; every level against plain C bit for bit, as backend/cpu/qdot.h says. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 70, LDY_MARGIN = 5 };

typedef struct product {
    vl2_dtype type;
    const vl2_qdot *dot, *plain;
    size_t m, n, k, stride, row;
    float *x;
    char *w, *w_memory, *xp, *xp_plain;
} product;

static uint8_t byte_of(check *c, int how) {
    if (how == 1) return check_random(c) > 0 ? 0xff : 0x00; /* ends of all ranges */
    if (how == 2) return check_random(c) > 0 ? 0x80 : 0x7f;
    return (uint8_t)(int)(128 + 127.9 * check_random(c));
}

static void set_half(char *at, double x) {
    uint16_t bits = vl2_f32_to_f16((float)x);
    memcpy(at, &bits, sizeof bits);
}

/* Any bytes but for the float16 numbers, which are finite. */
static void fill_weights(check *c, product *p, int how) {
    const vl2_dtype_traits *t = vl2_dtype_of(p->type);
    const bool pair =
        p->type == VL2_Q4_1 || p->type == VL2_Q5_1 || p->type == VL2_Q4_K || p->type == VL2_Q5_K;
    for (size_t j = 0; j < p->n; j++) {
        char *row = p->w + j * p->stride;
        for (size_t i = 0; i < p->stride; i++) row[i] = (char)byte_of(c, how);
        for (size_t b = 0; b < p->k / t->block; b++) {
            char *block = row + b * t->block_bytes;
            char *d = p->type == VL2_Q6_K ? block + t->block_bytes - 2 : block;
            set_half(d, (b % 2 ? 1e-5 : 0.01) * check_random(c)); /* subnormal, too */
            if (pair) set_half(d + 2, (b % 3 ? 0.01 : 1e-5) * check_random(c));
        }
    }
}

static product make(check *c, size_t index, size_t m, size_t n, size_t blocks, int how) {
    product p = {.type = (vl2_dtype)(VL2_Q8_0 + index),
                 .dot = &c->k->quantized[index],
                 .plain = &c->plain->quantized[index],
                 .m = m,
                 .n = n};
    const vl2_dtype_traits *t = vl2_dtype_of(p.type);
    p.k = blocks * t->block;
    p.stride = blocks * t->block_bytes + 3; /* blocks lie at any byte */
    p.row = vl2_qx_bytes(p.k, t->block);
    p.x = malloc(m * p.k * sizeof *p.x);
    p.w_memory = malloc(n * p.stride + 1);
    p.xp = aligned_alloc(64, m * p.row);
    p.xp_plain = aligned_alloc(64, m * p.row);
    if (!p.x || !p.w_memory || !p.xp || !p.xp_plain) abort();
    p.w = p.w_memory + 1;
    check_fill(c, p.x, m * p.k, how == 3 ? 1 : how == 2 ? 2 : 0);
    fill_weights(c, &p, how);
    memset(p.xp, 0x55, m * p.row);
    memset(p.xp_plain, 0x55, m * p.row);
    for (size_t i = 0; i < m; i++) {
        p.dot->pack_x(p.xp + i * p.row, p.x + i * p.k, p.k);
        p.plain->pack_x(p.xp_plain + i * p.row, p.x + i * p.k, p.k);
    }
    return p;
}

static void drop(product *p) {
    free(p->x);
    free(p->w_memory);
    free(p->xp);
    free(p->xp_plain);
}

/* What is packed is near x: half a step of the unit's scale. */
static void check_packing(check *c, const product *p) {
    check_that(c, memcmp(p->xp, p->xp_plain, p->m * p->row) == 0, "%s: packed x, k %zu",
               vl2_dtype_of(p->type)->name, p->k);
    bool near = true, sums = true;
    const size_t unit = p->plain->unit;
    for (size_t i = 0; i < p->m; i++) {
        const char *row = p->xp + i * p->row;
        const float *d = (const float *)(const void *)(row + vl2_qx_scales(p->k));
        const int16_t *s = (const int16_t *)(const void *)(row + vl2_qx_sums(p->k, unit));
        int sum = 0;
        for (size_t l = 0; l < p->k; l++) {
            const int q = ((const int8_t *)row)[l];
            const double off = fabs((double)d[l / unit] * q - p->x[i * p->k + l]);
            if (!(off <= 0.501 * (double)d[l / unit] + 1e-30)) near = false;
            sum = l % 16 ? sum + q : q;
            if (l % 16 == 15 && s[l / 16] != sum) sums = false;
        }
    }
    check_that(c, near, "%s: packed x is not near x", vl2_dtype_of(p->type)->name);
    check_that(c, sums, "%s: sums of packed x", vl2_dtype_of(p->type)->name);
}

/* Output (i, j) in double; each unit's t is made of a handful of roundings, and summed in a chain. */
static bool near_exact(const product *p, const float *w, size_t i, float y) {
    const size_t unit = p->plain->unit;
    const char *row = p->xp_plain + i * p->row;
    const float *d = (const float *)(const void *)(row + vl2_qx_scales(p->k));
    double sum = 0, size = 0;
    for (size_t l = 0; l < p->k; l++) {
        const double term = (double)d[l / unit] * ((const int8_t *)row)[l] * w[l];
        sum += term;
        size += fabs(term);
    }
    const double bound = ((double)(p->k / unit) + 16) * 2 * FLT_EPSILON * size + 1e-30;
    return fabs(sum - y) <= bound * 8; /* of q - offset or min the parts are larger than the sum */
}

static void run_packed(const product *p, const vl2_qdot *dot, const char *xp, float *y, size_t ldy,
                       size_t chunk) {
    vl2_qpanel *panels = aligned_alloc(64, (chunk + 255) / 256 * sizeof *panels);
    if (!panels) abort();
    const size_t bytes = vl2_dtype_of(p->type)->block_bytes;
    for (size_t j = 0; j < p->n; j += VL2_QPANEL) {
        const size_t n = p->n - j < VL2_QPANEL ? p->n - j : VL2_QPANEL;
        for (size_t k0 = 0; k0 < p->k; k0 += chunk) {
            const size_t kn = p->k - k0 < chunk ? p->k - k0 : chunk;
            memset(panels, 0x7e, (chunk + 255) / 256 * sizeof *panels);
            dot->pack_w(panels, p->w + j * p->stride + k0 / dot->unit * bytes, p->stride, n, kn);
            dot->packed(y + j, ldy, xp, p->m, p->k, panels, k0, kn);
        }
    }
    free(panels);
}

/* By tiles, as blocks of prepared rows; first with what was there before in place of memory. */
static void run_tiles(const product *p, const vl2_tiles *t, float *y, size_t ldy) {
    const size_t row = t->row_bytes(p->k);
    const float *rows[MOST_ROWS];
    char *x = aligned_alloc(64, (p->m * row + 63) / 64 * 64);
    char *scratch = aligned_alloc(64, VL2_TILE_SCRATCH);
    if (!x || !scratch) abort();
    memset(x, 0x7f, p->m * row); /* NaN */
    memset(scratch, 0x7f, VL2_TILE_SCRATCH);
    for (size_t i = 0; i < p->m; i++) rows[i] = p->x + i * p->k;
    for (size_t i = 0; i < p->m; i += VL2_TILE_ROWS)
        t->pack(x + i * row, rows + i, p->m - i < VL2_TILE_ROWS ? p->m - i : VL2_TILE_ROWS, p->k);
    t->product(y, ldy, x, p->m, p->w, p->stride, p->n, p->k, p->w, 0, scratch);
    free(x);
    free(scratch);
}

static void check_tiles_of(check *c, const product *p, const vl2_tiles *t, const float *expected,
                           size_t ldy) {
    const char *name = vl2_dtype_of(p->type)->name;
    const size_t size = (p->m - 1) * ldy + p->n;
    float *y = check_guarded(size);
    const float poison = y[-1];
    run_tiles(p, t, y, ldy);
    bool same = true, kept = check_intact(y, size);
    for (size_t i = 0; i < p->m; i++) {
        same &= memcmp(y + i * ldy, expected + i * ldy, p->n * sizeof *y) == 0;
        for (size_t j = p->n; j < ldy && i + 1 < p->m; j++) kept &= y[i * ldy + j] == poison;
    }
    check_that(c, same, "%s: tiles, m %zu n %zu k %zu", name, p->m, p->n, p->k);
    check_that(c, kept, "%s: tiles write past their outputs, m %zu n %zu", name, p->m, p->n);
    check_free(y);
}

static void run_many(const product *p, float *y, size_t ldy) {
    char *room = aligned_alloc(64, VL2_Q_ROOM);
    if (!room) abort();
    memset(room, 0x7e, VL2_Q_ROOM);
    p->dot->many(y, ldy, p->xp, p->m, p->w, p->stride, p->n, p->k, room);
    free(room);
}

static bool same_rows(const float *a, const float *b, size_t ldy, const product *p) {
    for (size_t i = 0; i < p->m; i++)
        if (memcmp(a + i * ldy, b + i * ldy, p->n * sizeof *a) != 0) return false;
    return true;
}

static void check_many(check *c, const product *p, const float *expected, size_t ldy) {
    const char *name = vl2_dtype_of(p->type)->name;
    const size_t size = (p->m - 1) * ldy + p->n;
    float *y = check_guarded(size);
    const float poison = y[-1];
    run_many(p, y, ldy);
    bool kept = check_intact(y, size);
    for (size_t i = 0; i + 1 < p->m; i++)
        for (size_t j = p->n; j < ldy; j++) kept &= y[i * ldy + j] == poison;
    check_that(c, same_rows(y, expected, ldy, p), "%s: many rows, m %zu n %zu k %zu", name, p->m,
               p->n, p->k);
    check_that(c, kept, "%s: many rows write past their outputs, m %zu n %zu", name, p->m, p->n);
    check_free(y);
}

static void check_product(check *c, const product *p, int how) {
    const char *name = vl2_dtype_of(p->type)->name;
    const size_t ldy = (p->n + 15) / 16 * 16 + LDY_MARGIN, size = p->m * ldy;
    float *expected = check_guarded(size), *y = check_guarded(size), *w = malloc(p->k * sizeof *w);
    if (!w) abort();
    p->plain->direct(expected, ldy, p->xp_plain, p->m, p->w, p->stride, p->n, p->k);
    bool near = true;
    for (size_t j = 0; j < p->n; j++) {
        vl2_quant_to_f32(w, p->w + j * p->stride, p->type, p->k);
        for (size_t i = 0; i < p->m; i++) near &= near_exact(p, w, i, expected[i * ldy + j]);
    }
    check_that(c, near, "%s: plain C, m %zu n %zu k %zu how %d", name, p->m, p->n, p->k, how);
    p->dot->direct(y, ldy, p->xp, p->m, p->w, p->stride, p->n, p->k);
    check_that(c, same_rows(y, expected, ldy, p), "%s: direct, m %zu n %zu k %zu how %d", name,
               p->m, p->n, p->k, how);
    bool kept = check_intact(y, size);
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = p->n; j < ldy; j++) kept &= y[i * ldy + j] == y[-1];
    check_that(c, kept, "%s: direct writes past its outputs", name);
    if (p->dot->pack_w) {
        for (size_t chunk = 256; chunk <= 1024; chunk *= 4) {
            run_packed(p, p->dot, p->xp, y, ldy, chunk);
            check_that(c, same_rows(y, expected, ldy, p), "%s: packed by %zu, m %zu n %zu k %zu",
                       name, chunk, p->m, p->n, p->k);
        }
        check_that(c, check_intact(y, size), "%s: packed writes past its panel", name);
    }
    if (p->dot->many) check_many(c, p, expected, ldy);
    const vl2_tiles *tiles = &c->k->q_tiles[p->type - VL2_Q8_0];
    if (tiles->product) check_tiles_of(c, p, tiles, expected, ldy);
    check_free(expected);
    check_free(y);
    free(w);
}

/* An infinity or NaN in a row makes its products NaN, and those of no other row. */
static void check_not_finite(check *c, size_t index) {
    product p = make(c, index, 2, 3, 3, 0);
    float y[2 * 16];
    p.x[5] = index % 2 ? INFINITY : NAN;
    p.dot->pack_x(p.xp, p.x, p.k);
    p.dot->direct(y, 16, p.xp, 2, p.w, p.stride, 3, p.k);
    check_that(c, isnan(y[0]) && isnan(y[2]) && isfinite(y[16]) && isfinite(y[18]),
               "%s: a NaN or infinity of x", vl2_dtype_of(p.type)->name);
    const vl2_tiles *tiles = &c->k->q_tiles[index];
    if (tiles->product) {
        run_tiles(&p, tiles, y, 16);
        check_that(c, isnan(y[0]) && isnan(y[2]) && isfinite(y[16]) && isfinite(y[18]),
                   "%s: a NaN or infinity of x, in tiles", vl2_dtype_of(p.type)->name);
    }
    drop(&p);
}

static void check_not_finite_many(check *c, size_t index) {
    enum { ROWS = 12 };
    product p = make(c, index, ROWS, 3, 3, 0);
    float y[ROWS * 16];
    if (p.dot->many) {
        p.x[5] = index % 2 ? NAN : -INFINITY;
        p.dot->pack_x(p.xp, p.x, p.k);
        run_many(&p, y, 16);
        bool others = true;
        for (size_t i = 1; i < ROWS; i++) others &= isfinite(y[16 * i]) && isfinite(y[16 * i + 2]);
        check_that(c, isnan(y[0]) && isnan(y[2]) && others, "%s: a NaN or infinity among many rows",
                   vl2_dtype_of(p.type)->name);
    }
    drop(&p);
}

void check_quantized(check *c) {
    static const size_t rows[] = {1, 2, 3, 4, 5, 7, 9, 11, 12, 16, 27, 32, MOST_ROWS};
    static const size_t outputs[] = {1, 7, 15, 16, 23, 33, 65};
    for (size_t index = 0; index < VL2_Q_TYPES; index++) {
        check_start(c, vl2_dtype_of((vl2_dtype)(VL2_Q8_0 + index))->name);
        for (size_t a = 0; a < sizeof rows / sizeof *rows; a++) {
            for (size_t b = 0; b < sizeof outputs / sizeof *outputs; b++) {
                const int how = (int)((a + b) % CHECK_PATTERNS);
                product p = make(c, index, rows[a], outputs[b], 1 + (a * 3 + b * 5) % 11, how);
                check_packing(c, &p);
                check_product(c, &p, how);
                drop(&p);
            }
        }
        check_not_finite(c, index);
        check_not_finite_many(c, index);
    }
}
