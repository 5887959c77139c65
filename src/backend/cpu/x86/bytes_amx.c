/* Products of rows of bytes, by AMX tiles: rows of x are the left tile and strips of weights the right one,
 * both where they lie. Sums come out as [rows of x, outputs] and are scaled between the steps of the next
 * 32 x 32 of them. */
#include "backend/cpu/x86/amx.h"
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/x86/x86.h"

enum { SIDE = 16, PAIR = 2 * SIDE };

#define INLINE static inline __attribute__((always_inline))

INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Sums that wait to be scaled, a row of x at a time. */
typedef struct outgoing {
    const int32_t *sums; /* lines of PAIR */
    float *y;
    size_t ldy, row, m, n;
    const vl2_bytes_row *rows;
    const float *scale;
    const int32_t *sum;
} outgoing;

INLINE void send_row(outgoing *o) {
    const vl2_bytes_row *row = &o->rows[o->row];
    const __m512 d = v_set(row->d);
    const __m512i zero = _mm512_set1_epi32(row->zero);
    for (size_t j = 0; j < o->n; j += SIDE) {
        const __m512i left = _mm512_mullo_epi32(zero, _mm512_loadu_si512(o->sum + j));
        const __m512i whole =
            _mm512_sub_epi32(_mm512_loadu_si512(o->sums + o->row * PAIR + j), left);
        v_store(o->y + o->row * o->ldy + j,
                v_mul(v_mul(d, v_load(o->scale + j)), _mm512_cvtepi32_ps(whole)));
    }
    o->row++;
}

static void configure(size_t m0, size_t m1) {
    _Alignas(TILE_LINE) vl2_tile_config c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int t = 0; t < 2; t++) { /* sums of strip t */
        tile_shape(&c, t, m0, TILE_LINE);
        tile_shape(&c, 6 + t, SIDE, TILE_LINE);
        if (m1) tile_shape(&c, 2 + t, m1, TILE_LINE);
    }
    tile_shape(&c, 4, m0, TILE_LINE);
    if (m1) tile_shape(&c, 5, m1, TILE_LINE);
    TILE_CONFIG(&c);
}

/* sums [PAIR, PAIR] = up to PAIR rows of x by one strip or two. */
INLINE void multiply(int32_t *sums, const uint8_t *x, const int8_t *w, size_t kp, outgoing *o,
                     const bool more_rows, const bool two) {
    enum { TILE = SIDE * TILE_LINE };
    const int8_t *second = w + VL2_BYTES_STRIP * kp;
    const size_t steps = kp / TILE_LINE, each = (o->m - o->row + steps - 1) / steps;
    TILE_ZERO(0);
    if (two) TILE_ZERO(1);
    if (more_rows) TILE_ZERO(2);
    if (more_rows && two) TILE_ZERO(3);
    for (size_t s = 0; s < steps; s++) {
        TILE_LOAD(4, x + s * TILE_LINE, kp);
        TILE_LOAD(6, w + s * TILE, TILE_LINE);
        TILE_DOT_UNSIGNED(0, 4, 6);
        if (more_rows) {
            TILE_LOAD(5, x + SIDE * kp + s * TILE_LINE, kp);
            TILE_DOT_UNSIGNED(2, 5, 6);
        }
        if (two) {
            TILE_LOAD(7, second + s * TILE, TILE_LINE);
            TILE_DOT_UNSIGNED(1, 4, 7);
            if (more_rows) TILE_DOT_UNSIGNED(3, 5, 7);
        }
        for (size_t i = 0; i < each && o->row < o->m; i++) send_row(o);
    }
    TILE_STORE(0, sums, sizeof(int32_t) * PAIR);
    if (two) TILE_STORE(1, sums + SIDE, sizeof(int32_t) * PAIR);
    if (more_rows) TILE_STORE(2, sums + SIDE * PAIR, sizeof(int32_t) * PAIR);
    if (more_rows && two) TILE_STORE(3, sums + SIDE * PAIR + SIDE, sizeof(int32_t) * PAIR);
}

static void product(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows, size_t m,
                    const vl2_bytes_w *w, size_t first, size_t n) {
    _Alignas(TILE_LINE) int32_t sums[2][PAIR * PAIR];
    outgoing out = {.m = 0};
    size_t shape = 0, turn = 0;
    for (size_t j = 0; j < n; j += PAIR)
        for (size_t i = 0; i < m; i += PAIR, turn ^= 1) {
            const size_t rest = least(m - i, PAIR), m0 = least(rest, SIDE);
            const uint8_t *from = (const uint8_t *)x + i * w->kp;
            const int8_t *q = w->q + (first + j) * w->kp;
            const bool two = n - j > SIDE;
            if (shape != rest) configure(m0, rest - m0);
            shape = rest;
            if (rest > m0 && two)
                multiply(sums[turn], from, q, w->kp, &out, true, true);
            else if (rest > m0)
                multiply(sums[turn], from, q, w->kp, &out, true, false);
            else if (two)
                multiply(sums[turn], from, q, w->kp, &out, false, true);
            else
                multiply(sums[turn], from, q, w->kp, &out, false, false);
            out = (outgoing){.sums = sums[turn],
                             .y = y + i * ldy + j,
                             .ldy = ldy,
                             .m = rest,
                             .n = two ? PAIR : SIDE,
                             .rows = rows + i,
                             .scale = w->scale + first + j,
                             .sum = w->sum + first + j};
        }
    TILE_RELEASE();
    while (out.row < out.m) send_row(&out);
}

void vl2_bytes_amx_fill(vl2_kernels *out) {
    out->bytes.product = product;
} /* of packed rows as before */
