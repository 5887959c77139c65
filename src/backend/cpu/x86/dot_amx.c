/* Products of bf16 weights with activations rounded to bf16, by AMX tiles.
 *
 * A tile of weights is 16 outputs by 32 elements of k, loaded from the mapping where it lies; the
 * matching tile of x holds pairs of k as its rows and up to 16 rows of x as its columns, an order that
 * `pack_columns` brings about once for all weights. Sums come out as [outputs, rows of x] and are turned on
 * their way out. An output is one chain over k in steps of 32 (a step's own sum starts at zero), so
 * that one column and sixteen give the same bits. Denormals count as zeros. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/amx.h"
#include "backend/cpu/x86/columns_avx512.h"

/* STEP elements of k, SIDE outputs and SIDE rows of x in a tile. */
enum { PAIR = 2 * SIDE };

static size_t row_bytes(size_t k) { return up(k, STEP) * sizeof(uint16_t); }

/* ---- sums on their way out ---------------------------------------------------------------------- */

/* A block of sums [outputs, rows of x] that still has to be turned, in parts of sixteen outputs by four
 * rows of x. Parts are done between the next block's steps, while its tiles multiply. */
typedef struct outgoing {
    const float *sums; /* lines of `width` */
    size_t width;
    float *y;
    size_t ldy, m, n; /* rows of x, outputs; m == 0: nothing waits */
    size_t row, output;
} outgoing;

/* out[q] = sums of row of x q, for sixteen outputs */
INLINE void turn_four(__m512 out[4], const float *sums, size_t width) {
#if defined(VL2_EMULATE_AVX512)
    for (size_t q = 0; q < 4; q++) {
        float line[SIDE];
        for (size_t j = 0; j < SIDE; j++) line[j] = sums[j * width + q];
        out[q] = v_load(line);
    }
#else
    __m512 t[4];
    for (size_t i = 0; i < 4; i++) {
        t[i] = _mm512_castps128_ps512(_mm_load_ps(sums + i * width));
        t[i] = _mm512_insertf32x4(t[i], _mm_load_ps(sums + (i + 4) * width), 1);
        t[i] = _mm512_insertf32x4(t[i], _mm_load_ps(sums + (i + 8) * width), 2);
        t[i] = _mm512_insertf32x4(t[i], _mm_load_ps(sums + (i + 12) * width), 3);
    }
    __m512d a = (__m512d)_mm512_unpacklo_ps(t[0], t[1]),
            b = (__m512d)_mm512_unpacklo_ps(t[2], t[3]);
    __m512d c = (__m512d)_mm512_unpackhi_ps(t[0], t[1]),
            d = (__m512d)_mm512_unpackhi_ps(t[2], t[3]);
    out[0] = (__m512)_mm512_unpacklo_pd(a, b);
    out[1] = (__m512)_mm512_unpackhi_pd(a, b);
    out[2] = (__m512)_mm512_unpacklo_pd(c, d);
    out[3] = (__m512)_mm512_unpackhi_pd(c, d);
#endif
}

INLINE void send_part(outgoing *o) {
    __m512 lines[4];
    turn_four(lines, o->sums + o->output * o->width + o->row, o->width);
    float *y = o->y + o->row * o->ldy + o->output;
    size_t n = o->n - o->output;
    for (size_t q = 0; q < 4 && o->row + q < o->m; q++, y += o->ldy) {
        if (n >= SIDE)
            v_store(y, lines[q]);
        else
            v_store_part(y, lines[q], n);
    }
    o->row += 4;
    if (o->row < o->m) return;
    o->row = 0;
    o->output += SIDE;
    if (o->output >= o->n) o->m = 0;
}

static void send(outgoing *o) {
    if (o->m == 1) { /* a column */
        for (size_t j = 0; j < o->n; j++) o->y[j] = o->sums[j * o->width];
        o->m = 0;
    }
    while (o->m) send_part(o);
}

/* ---- products --------------------------------------------------------------------------------- */

/* Tiles 0-3: sums of outputs 0-15 and 16-31 by rows 0-15 and 16-31; 4, 5: weights; 6, 7: x. */
static void configure(vl2_tile_config *c, size_t m, size_t n) {
    size_t n0 = least(n, SIDE), n1 = n - n0, m0 = least(m, SIDE), m1 = m - m0;
    memset(c, 0, sizeof *c);
    c->palette = 1;
    tile_shape(c, 0, n0, 4 * m0);
    tile_shape(c, 4, n0, TILE_LINE);
    tile_shape(c, 6, SIDE, 4 * m0);
    if (m1) tile_shape(c, 1, n0, 4 * m1), tile_shape(c, 7, SIDE, 4 * m1);
    if (n1) tile_shape(c, 2, n1, 4 * m0), tile_shape(c, 5, n1, TILE_LINE);
    if (m1 && n1) tile_shape(c, 3, n1, 4 * m1);
    TILE_CONFIG(c);
}

/* Memory that will be wanted soon: some lines of it with every step. */
typedef struct ahead {
    const char *at;
    size_t lines; /* with a step */
} ahead;

typedef struct operands {
    const char *x, *w;
    size_t stride, m, n, k;
} operands;

/* One step of k. */
INLINE void step(const char *w, size_t stride, const char *x0, const char *x1, size_t m0, size_t m1,
                 bool two) {
    TILE_LOAD(4, w, stride);
    TILE_LOAD(6, x0, 4 * m0);
    TILE_DOT(0, 4, 6);
    if (m1) {
        TILE_LOAD(7, x1, 4 * m1);
        TILE_DOT(1, 4, 7);
    }
    if (!two) return;
    TILE_LOAD(5, w + SIDE * stride, stride);
    TILE_DOT(2, 5, 6);
    if (m1) TILE_DOT(3, 5, 7);
}

INLINE void between_steps(outgoing *o, ahead *a) {
    if (o->m > 1) send_part(o);
    for (size_t i = 0; i < a->lines; i++, a->at += TILE_LINE) __builtin_prefetch(a->at, 0, 2);
}

INLINE void steps(const operands *p, outgoing *o, ahead *a, size_t m0, size_t m1, bool two) {
    const char *x0 = p->x, *x1 = p->x + up(p->k, STEP) * m0 * 2;
    size_t i = 0;
    TILE_ZERO(0);
    if (m1) TILE_ZERO(1);
    if (two) TILE_ZERO(2);
    if (two && m1) TILE_ZERO(3);
    for (; i + STEP <= p->k; i += STEP) {
        step(p->w + i * 2, p->stride, x0 + i * m0 * 2, x1 + i * m1 * 2, m0, m1, two);
        between_steps(o, a);
    }
    if (i == p->k) return;
    _Alignas(TILE_LINE) char tail[PAIR][TILE_LINE];
    memset(tail, 0, sizeof tail);
    for (size_t j = 0; j < p->n; j++) memcpy(tail[j], p->w + j * p->stride + i * 2, (p->k - i) * 2);
    step(tail[0], TILE_LINE, x0 + i * m0 * 2, x1 + i * m1 * 2, m0, m1, two);
}

/* sums [PAIR, PAIR] = up to PAIR outputs by up to PAIR rows of x */
static void multiply(float *sums, const operands *p, outgoing *o, ahead *a) {
    size_t m0 = least(p->m, SIDE), m1 = p->m - m0;
    bool two = p->n > SIDE;
    if (m1 == SIDE && two)
        steps(p, o, a, SIDE, SIDE, true);
    else if (m1 && two)
        steps(p, o, a, m0, m1, true);
    else if (m1)
        steps(p, o, a, m0, m1, false);
    else if (two)
        steps(p, o, a, m0, 0, true);
    else
        steps(p, o, a, m0, 0, false);
    TILE_STORE(0, sums, sizeof(float) * PAIR);
    if (m1) TILE_STORE(1, sums + SIDE, sizeof(float) * PAIR);
    if (two) TILE_STORE(2, sums + SIDE * PAIR, sizeof(float) * PAIR);
    if (m1 && two) TILE_STORE(3, sums + SIDE * PAIR + SIDE, sizeof(float) * PAIR);
}

static void product(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                    size_t n, size_t k, const void *next, size_t next_bytes, void *scratch) {
    _Alignas(TILE_LINE) vl2_tile_config config;
    _Alignas(TILE_LINE) float sums[2][PAIR * PAIR];
    /* Weights that are read for few rows come from memory: fewer streams at once are faster. */
    const size_t outputs = m > PAIR ? PAIR : SIDE;
    (void)scratch;
    size_t shape = 0, turn = 0, blocks = (n + outputs - 1) / outputs * ((m + PAIR - 1) / PAIR);
    size_t all_steps = blocks * (up(k, STEP) / STEP);
    ahead soon = {next, next ? (next_bytes / TILE_LINE + all_steps - 1) / all_steps : 0};
    outgoing out = {.m = 0};
    for (size_t j = 0; j < n; j += outputs)
        for (size_t i = 0; i < m; i += PAIR, turn ^= 1) {
            operands p = {.x = (const char *)x + i * up(k, STEP) * 2,
                          .w = (const char *)w + j * w_stride,
                          .stride = w_stride,
                          .m = least(m - i, PAIR),
                          .n = least(n - j, outputs),
                          .k = k};
            if (shape != p.m * (PAIR + 1) + p.n) configure(&config, p.m, p.n);
            shape = p.m * (PAIR + 1) + p.n;
            multiply(sums[turn], &p, &out, &soon);
            send(&out);
            out = (outgoing){sums[turn], PAIR, y + i * ldy + j, ldy, p.m, p.n, 0, 0};
        }
    TILE_RELEASE();
    send(&out);
}

void vl2_dot_amx_fill(vl2_kernels *out) {
    out->tiles[VL2_BF16] =
        (vl2_tiles){.row_bytes = row_bytes, .pack = pack_columns, .product = product};
}
