/* Products by tiles: m rows in one block or two, against double and against each row alone. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MOST = 100 };

typedef struct tiles_case {
    size_t m, n, k, stride; /* stride: bytes */
    float *x;               /* [m, k] */
    char *memory, *w, *xp;
} tiles_case;

static tiles_case make(check *c, const vl2_tiles *t, size_t m, size_t n, size_t k, int how) {
    tiles_case p = {.m = m, .n = n, .k = k, .stride = (k + 3) * 2};
    p.x = malloc(m * k * sizeof *p.x);
    p.memory = malloc(n * p.stride + 64);
    p.xp = aligned_alloc(64, (m * t->row_bytes(k) + 63) / 64 * 64);
    float *row = malloc(k * sizeof *row);
    if (!p.x || !p.memory || !p.xp || !row) abort();
    memset(p.memory, 0xff, n * p.stride + 64); /* NaN between the rows */
    p.w = p.memory + 2;
    check_fill(c, p.x, m * k, how);
    for (size_t j = 0; j < n; j++) {
        check_fill(c, row, k, how == 2 ? 0 : how);
        for (size_t i = 0; i < k; i++) {
            uint16_t bits = vl2_f32_to_bf16(row[i]);
            memcpy(p.w + j * p.stride + 2 * i, &bits, sizeof bits);
        }
    }
    free(row);
    return p;
}

static void drop(tiles_case *p) {
    free(p->x);
    free(p->memory);
    free(p->xp);
}

/* Rows [first, first+n) as a product of their own. */
static void run(const vl2_tiles *t, const tiles_case *p, float *y, size_t ldy, size_t first,
                size_t n) {
    const float *rows[ROWS_MOST];
    for (size_t r = 0; r < n; r++) rows[r] = p->x + (first + r) * p->k;
    for (size_t r = 0; r < n; r += VL2_TILE_ROWS)
        t->pack(p->xp + r * t->row_bytes(p->k), rows + r,
                n - r < VL2_TILE_ROWS ? n - r : VL2_TILE_ROWS, p->k);
    t->product(y, ldy, p->xp, n, p->w, p->stride, p->n, p->k, p->w, p->n * p->stride, NULL);
}

static bool near(const tiles_case *p, size_t i, size_t j, float got) {
    double sum = 0.0, size = 0.0;
    for (size_t l = 0; l < p->k; l++) {
        uint16_t bits;
        memcpy(&bits, p->w + j * p->stride + 2 * l, sizeof bits);
        double term = (double)vl2_bf16_to_f32(vl2_f32_to_bf16(p->x[i * p->k + l])) *
                      (double)vl2_bf16_to_f32(bits);
        sum += term;
        size += fabs(term);
    }
    double flushed = (double)p->k * 8 * FLT_MIN; /* denormal factors and sums may count as zeros */
    return fabs(got - sum) <= ((double)p->k / 8 + 40) * FLT_EPSILON * size + flushed;
}

static void compare(check *c, const vl2_tiles *t, const tiles_case *p) {
    size_t ldy = p->n + 5, size = (p->m - 1) * ldy + p->n;
    float *y = check_guarded(size), *one = check_guarded(p->n);
    const float poison = y[-1];
    bool close = true, kept = true, same = true;
    run(t, p, y, ldy, 0, p->m);
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < p->n; j++) close &= near(p, i, j, y[i * ldy + j]);
        for (size_t j = p->n; j < ldy && i + 1 < p->m; j++) kept &= y[i * ldy + j] == poison;
        run(t, p, one, p->n, i, 1);
        same &= memcmp(one, y + i * ldy, p->n * sizeof *one) == 0;
    }
    kept &= check_intact(y, size) && check_intact(one, p->n);
    check_that(c, close, "tiles m %zu n %zu k %zu: off", p->m, p->n, p->k);
    check_that(c, kept, "tiles m %zu n %zu k %zu: wrote outside", p->m, p->n, p->k);
    check_that(c, same, "tiles m %zu n %zu k %zu: a row alone has other bits", p->m, p->n, p->k);
    check_free(y);
    check_free(one);
}

/* What is not finite stays so, in its own row and output only. */
static void check_special(check *c, const vl2_tiles *t) {
    tiles_case p = make(c, t, 20, 19, 70, 0);
    p.x[3 * p.k + 69] = NAN;
    p.x[17 * p.k + 1] = INFINITY;
    float *y = check_guarded(p.m * p.n);
    run(t, &p, y, p.n, 0, p.m);
    bool right = true;
    for (size_t i = 0; i < p.m; i++)
        for (size_t j = 0; j < p.n; j++) {
            float v = y[i * p.n + j];
            right &= i == 3 ? isnan(v) : i == 17 ? !isfinite(v) : isfinite(v);
        }
    check_that(c, right, "tiles: NaN or infinity is lost, or spreads");
    check_free(y);
    drop(&p);
}

void check_tiles(check *c) {
    static const size_t KS[] = {1, 2, 17, 31, 32, 33, 63, 64, 72, 127, 448, 577, 640, 1152};
    static const size_t NS[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 65};
    const size_t n_ks = sizeof KS / sizeof *KS, n_ns = sizeof NS / sizeof *NS;
    const vl2_tiles *t = &c->k->tiles[VL2_BF16];
    check_start(c, "tiles");
    if (!t->product) return;
    for (size_t m = 1; m <= ROWS_MOST; m += m < 40 ? 1 : 7)
        for (size_t b = 0; b < n_ns; b++) {
            tiles_case p =
                make(c, t, m, NS[b], KS[(m * 3 + b) % n_ks], (int)((m + b) % CHECK_PATTERNS));
            compare(c, t, &p);
            drop(&p);
        }
    check_special(c, t);
}
