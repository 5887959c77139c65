/* Products of bf16 weights with activations rounded to bf16, by AMX tiles.
 *
 * A tile of weights is 16 outputs by 32 elements of k, loaded from the mapping where it lies; the
 * matching tile of x holds pairs of k as its rows and up to 16 rows of x as its columns, an order that
 * `pack` brings about once for all weights. Sums come out as [outputs, rows of x] and are turned on
 * their way out. An output is one chain over k in steps of 32 (a step's own sum starts at zero), so
 * that one column and sixteen give the same bits. Denormals count as zeros. */
#include "backend/cpu/x86/x86.h"

#include "backend/cpu/x86/amx.h"
#include "backend/cpu/x86/vec_avx512.h"

enum {
    STEP = 32, /* elements of k in a tile */
    SIDE = 16, /* outputs and rows of x in a tile */
    PAIR = 2 * SIDE
};

#define INLINE static inline __attribute__((always_inline))

INLINE size_t up(size_t k) { return (k + STEP - 1) / STEP * STEP; }
INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- preparing x ------------------------------------------------------------------------------ */

/* 32 floats as bf16, in their order. */
INLINE __m512 narrow(__m512 a, __m512 b) {
#if defined(VL2_EMULATE_AVX512)
    uint16_t bits[STEP];
    v_store_bf16(bits, a);
    v_store_bf16(bits + 16, b);
    return _mm512_loadu_ps(bits);
#else
    return (__m512)_mm512_cvtne2ps_pbh(b, a);
#endif
}

INLINE __m512 narrow_step(const float *row, size_t left) {
    if (left >= STEP) return narrow(v_load(row), v_load(row + 16));
    if (left <= 16) return narrow(v_load_part(row, left), _mm512_setzero_ps());
    return narrow(v_load(row), v_load_part(row + 16, left - 16));
}

/* [k/2, m] pairs */
static void pack(void *out, const float *const *rows, size_t m, size_t k) {
    float *to = out;
    for (size_t i = 0; i < k; i += STEP, to += SIDE * m) {
        __m512 a[SIDE];
        for (size_t r = 0; r < SIDE; r++)
            a[r] = r < m ? narrow_step(rows[r] + i, k - i) : _mm512_setzero_ps();
        if (m == 1) {
            v_store(to, a[0]);
            continue;
        }
        v_transpose(a);
        for (size_t p = 0; p < SIDE; p++) {
            if (m == SIDE)
                v_store(to + p * SIDE, a[p]);
            else
                v_store_part(to + p * m, a[p], m);
        }
    }
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

INLINE void steps(const char *x, size_t m0, size_t m1, const char *w, size_t stride, size_t n,
                  size_t k, bool two) {
    const char *x0 = x, *x1 = x + up(k) * m0 * 2;
    size_t i = 0;
    TILE_ZERO(0);
    if (m1) TILE_ZERO(1);
    if (two) TILE_ZERO(2);
    if (two && m1) TILE_ZERO(3);
    for (; i + STEP <= k; i += STEP)
        step(w + i * 2, stride, x0 + i * m0 * 2, x1 + i * m1 * 2, m0, m1, two);
    if (i == k) return;
    _Alignas(TILE_LINE) char tail[PAIR][TILE_LINE];
    memset(tail, 0, sizeof tail);
    for (size_t j = 0; j < n; j++) memcpy(tail[j], w + j * stride + i * 2, (k - i) * 2);
    step(tail[0], TILE_LINE, x0 + i * m0 * 2, x1 + i * m1 * 2, m0, m1, two);
}

/* sums [outputs, PAIR] of a tile -> y [rows of x, outputs] */
static void turn(float *y, size_t ldy, const float *sums, size_t m, size_t n) {
    if (m == 1) {
        for (size_t j = 0; j < n; j++) y[j] = sums[j * PAIR];
        return;
    }
    __m512 a[SIDE];
    for (size_t j = 0; j < SIDE; j++) a[j] = j < n ? v_load(sums + j * PAIR) : v_set(0.0f);
    v_transpose(a);
    for (size_t i = 0; i < m; i++) {
        if (n == SIDE)
            v_store(y + i * ldy, a[i]);
        else
            v_store_part(y + i * ldy, a[i], n);
    }
}

INLINE void pair(float *y, size_t ldy, const char *x, size_t m, const char *w, size_t stride,
                 size_t n, size_t k) {
    size_t m0 = least(m, SIDE), m1 = m - m0, n0 = least(n, SIDE);
    if (m1 && n > SIDE)
        steps(x, m0, m1, w, stride, n, k, true);
    else if (m1)
        steps(x, m0, m1, w, stride, n, k, false);
    else if (n > SIDE)
        steps(x, m0, 0, w, stride, n, k, true);
    else
        steps(x, m0, 0, w, stride, n, k, false);
    _Alignas(TILE_LINE) float sums[PAIR * PAIR];
    TILE_STORE(0, sums, sizeof(float) * PAIR);
    if (m1) TILE_STORE(1, sums + SIDE, sizeof(float) * PAIR);
    if (n > SIDE) TILE_STORE(2, sums + SIDE * PAIR, sizeof(float) * PAIR);
    if (m1 && n > SIDE) TILE_STORE(3, sums + SIDE * PAIR + SIDE, sizeof(float) * PAIR);
    turn(y, ldy, sums, m0, n0);
    if (m1) turn(y + SIDE * ldy, ldy, sums + SIDE, m1, n0);
    if (n > SIDE) turn(y + SIDE, ldy, sums + SIDE * PAIR, m0, n - SIDE);
    if (m1 && n > SIDE) turn(y + SIDE * ldy + SIDE, ldy, sums + SIDE * PAIR + SIDE, m1, n - SIDE);
}

static void product(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t w_stride,
                    size_t n, size_t k) {
    _Alignas(TILE_LINE) vl2_tile_config config;
    size_t j = 0;
    if (n >= PAIR) configure(&config, m, PAIR);
    for (; j + PAIR <= n; j += PAIR)
        pair(y + j, ldy, x, m, (const char *)w + j * w_stride, w_stride, PAIR, k);
    if (j < n) {
        configure(&config, m, n - j);
        pair(y + j, ldy, x, m, (const char *)w + j * w_stride, w_stride, n - j, k);
    }
    TILE_RELEASE();
}

void vl2_dot_amx_fill(vl2_kernels *out) {
    out->tiles[VL2_BF16] =
        (vl2_tiles){.step = STEP, .x_bytes = sizeof(uint16_t), .pack = pack, .product = product};
}
