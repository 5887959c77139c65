/* Attention over one block of keys by AMX tiles: attend_avx512.h with its two products. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/amx.h"
#include "backend/cpu/x86/attend_avx512.h"

/* ---- one block ---------------------------------------------------------------------------------- */

/* Tiles 0-3: 16 and 16 rows by the columns of 16 and 16 queries; 4, 5: their left side; 6, 7: right. */
static void configure(vl2_tile_config *c, size_t m0, size_t m1) {
    memset(c, 0, sizeof *c);
    c->palette = 1;
    for (int i = 0; i < 4; i++)
        if (i % 2 == 0 || m1) tile_shape(c, i, SIDE, 4 * (i % 2 ? m1 : m0));
    tile_shape(c, 4, SIDE, TILE_LINE);
    tile_shape(c, 5, SIDE, TILE_LINE);
    tile_shape(c, 6, SIDE, 4 * m0);
    if (m1) tile_shape(c, 7, SIDE, 4 * m1);
    TILE_CONFIG(c);
}

typedef struct
    sides { /* out [16 or 32, COLUMNS] = a [.., steps * 32] times x [steps * 16 pairs, ..] */
    const char *a, *x0, *x1;
    size_t a_stride, x0_stride, x1_stride, steps;
} sides;

INLINE void multiply(float *out, const sides *p, bool two, bool both) {
    TILE_ZERO(0);
    if (both) TILE_ZERO(1);
    if (two) TILE_ZERO(2);
    if (two && both) TILE_ZERO(3);
    for (size_t i = 0; i < p->steps; i++) {
        TILE_LOAD(4, p->a + i * TILE_LINE, p->a_stride);
        TILE_LOAD(6, p->x0 + i * SIDE * p->x0_stride, p->x0_stride);
        TILE_DOT(0, 4, 6);
        if (both) {
            TILE_LOAD(7, p->x1 + i * SIDE * p->x1_stride, p->x1_stride);
            TILE_DOT(1, 4, 7);
        }
        if (!two) continue;
        TILE_LOAD(5, p->a + SIDE * p->a_stride + i * TILE_LINE, p->a_stride);
        TILE_DOT(2, 5, 6);
        if (both) TILE_DOT(3, 5, 7);
    }
    TILE_STORE(0, out, (size_t)LINE);
    if (both) TILE_STORE(1, out + SIDE, (size_t)LINE);
    if (two) TILE_STORE(2, out + SIDE * COLUMNS, (size_t)LINE);
    if (two && both) TILE_STORE(3, out + SIDE * COLUMNS + SIDE, (size_t)LINE);
}

static void multiply_rows(float *out, sides p, size_t rows, bool both) {
    size_t i = 0;
    for (; i + STEP <= rows; i += STEP, p.a += STEP * p.a_stride) {
        if (both)
            multiply(out + i * COLUMNS, &p, true, true);
        else
            multiply(out + i * COLUMNS, &p, true, false);
    }
    if (i < rows) multiply(out + i * COLUMNS, &p, false, both);
}

static void block(const vl2_attend_block *b) {
    _Alignas(TILE_LINE) vl2_tile_config config;
    size_t m0 = least(b->m, SIDE), m1 = b->m - m0, n = up(b->n, STEP), kp = up(b->k_dim, STEP);
    size_t all = b->n;
    for (size_t i = 0; i < b->m; i++) all = least(all, (size_t)b->seen[i]);
    configure(&config, m0, m1);
    sides score = {.a = b->k,
                   .a_stride = b->k_stride,
                   .x0 = b->q,
                   .x0_stride = 4 * m0,
                   .x1 = (const char *)b->q + kp * m0 * 2,
                   .x1_stride = 4 * m1,
                   .steps = kp / STEP};
    multiply_rows(b->s, score, n, m1 > 0);
    softmax(b, 0, n, all);
    if (m1) softmax(b, SIDE, n, all);
    sides weigh = {.a = b->v,
                   .a_stride = n * 2,
                   .x0 = (const char *)b->p,
                   .x0_stride = LINE,
                   .x1 = (const char *)b->p + SIDE * 4,
                   .x1_stride = LINE,
                   .steps = n / STEP};
    multiply_rows(b->o, weigh, up(b->v_dim, SIDE), m1 > 0);
    TILE_RELEASE();
}

/* ---- one query ----------------------------------------------------------------------------------- */

/* Keys from t on, `stride` bytes apart: as many as tiles read, those from n on of no use. */
INLINE const char *whole_step(const vl2_attend_block *b, size_t t, size_t *stride) {
    const char *from = (const char *)b->k + t * b->k_stride;
    const size_t line = b->k_dim * 2, rows = b->n - t;
    *stride = b->k_stride;
    if (rows >= STEP) return from;
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)b->tail + r * line, from + r * b->k_stride, line);
    *stride = line;
    return b->tail;
}

static void alone(const vl2_attend_block *b) {
    _Alignas(TILE_LINE) vl2_tile_config config;
    size_t n = up(b->n, STEP), kp = b->k_dim, line = b->v_dim * 4;
    ahead next = ahead_of(b);
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 4; i++) tile_shape(&config, i, i < 2 ? SIDE : 1, i < 2 ? 4 : TILE_LINE);
    tile_shape(&config, 4, SIDE, TILE_LINE); /* keys */
    tile_shape(&config, 5, 1, TILE_LINE);    /* weights */
    tile_shape(&config, 6, SIDE, 4);         /* the query */
    tile_shape(&config, 7, SIDE, TILE_LINE); /* values */
    TILE_CONFIG(&config);
    for (size_t t = 0; t < n; t += STEP) {
        size_t stride;
        const char *k = whole_step(b, t, &stride);
        TILE_ZERO(0);
        TILE_ZERO(1);
        for (size_t i = 0; i < kp; i += STEP) {
            TILE_LOAD(6, (const char *)b->q + i * 2, (size_t)4);
            TILE_LOAD(4, k + i * 2, stride);
            TILE_DOT(0, 4, 6);
            TILE_LOAD(4, k + SIDE * stride + i * 2, stride);
            TILE_DOT(1, 4, 6);
            ask(&next, n / STEP * (kp / STEP));
        }
        TILE_STORE(0, b->s + t, (size_t)4);
        TILE_STORE(1, b->s + t + SIDE, (size_t)4);
    }
    softmax_alone(b, n);
    pair_values(b, n, &next);
    for (size_t j = 0; j < b->v_dim; j += STEP) {
        TILE_ZERO(2);
        TILE_ZERO(3);
        for (size_t t = 0; t < n; t += STEP) {
            const char *v = (const char *)b->turned + t / 2 * line + j * 4;
            TILE_LOAD(5, (const char *)b->p + t * 2, (size_t)TILE_LINE);
            TILE_LOAD(7, v, line);
            TILE_DOT(2, 5, 7);
            TILE_LOAD(7, v + TILE_LINE, line);
            TILE_DOT(3, 5, 7);
            ask(&next, n / STEP * (b->v_dim / STEP));
        }
        TILE_STORE(2, b->o + j, (size_t)TILE_LINE);
        TILE_STORE(3, b->o + j + SIDE, (size_t)TILE_LINE);
    }
    TILE_RELEASE();
}

void vl2_attend_amx_fill(vl2_kernels *out) {
    out->attend = (vl2_attend){.queries = pack_columns,
                               .keys = keys,
                               .values = values,
                               .block = block,
                               .alone = alone,
                               .merge = merge,
                               .merge_alone = merge_alone,
                               .finish = finish};
}
