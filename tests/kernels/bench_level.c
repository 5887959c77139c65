/* Times of the kernels of a level, on cases like the checked ones but of the model's sizes. */
#include "kernels/check.h"

#include "model/quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best of several runs of about 20 ms. */
#define BEST_TIME(best, statement)                                                                 \
    do {                                                                                           \
        (best) = 1e9;                                                                              \
        size_t times = 1;                                                                          \
        for (int round = 0; round < 8; round++) {                                                  \
            double from = now();                                                                   \
            for (size_t i_ = 0; i_ < times; i_++) statement;                                       \
            double took = (now() - from) / (double)times;                                          \
            if (took < (best)) (best) = took;                                                      \
            if (took * (double)times < 0.01) times *= 4;                                           \
        }                                                                                          \
    } while (0)

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) abort();
    memset(p, 0x3c, bytes);
    return p;
}

static void bench_dot(const char *level, const char *name, const vl2_dot *dot) {
    enum { M = 96, N = 64, K = 576 };
    char *x = room((size_t)M * 1280 * 4), *w = room((size_t)N * 1280 * 4);
    float *y = room((size_t)M * N * 4);
    double packed, direct, one;
    BEST_TIME(packed, dot->packed(y, N, x, M, w, N, K, false));
    BEST_TIME(direct, dot->direct(y, N, x, 6, w, K * 2, N, K, false));
    BEST_TIME(one, dot->direct(y, N, x, 1, w, K * 2, N, K, false));
    printf("%-12s %-14s packed %6.1f GFLOP/s, direct 6 rows %6.1f, 1 row %6.1f\n", level, name,
           2e-9 * M * N * K / packed, 2e-9 * 6 * N * K / direct, 2e-9 * N * K / one);
    free(x);
    free(w);
    free(y);
}

/* Weights from memory: more than caches hold. */
static void bench_quantized(const vl2_kernels *k, vl2_dtype type) {
    enum { M = 96, N = 64, K = 2560, ROWS = 16384 };
    const vl2_qdot *dot = &k->quantized[type - VL2_Q8_0];
    const vl2_dtype_traits *t = vl2_dtype_of(type);
    const size_t stride = K / t->block * t->block_bytes;
    char *x = room(M * vl2_qx_bytes(K, dot->unit)), *w = room(ROWS * stride);
    float *row = room(K * sizeof *row), *y = room((size_t)ROWS * sizeof *y);
    float *usual = room(K * sizeof *usual); /* weights of a size that models have */
    for (size_t i = 0; i < K; i++) usual[i] = (float)((i * 2654435761u >> 7) % 401) * 1e-4f - 0.02f;
    if (vl2_quantize_can(type)) {
        vl2_dtype_from_f32(w, usual, type, K);
        for (size_t i = 1; i < ROWS; i++) memcpy(w + i * stride, w, stride);
    }
    free(usual);
    vl2_qpanel *panels = room(K / VL2_QUNIT_MAX * sizeof *panels);
    double cached, streamed, pack, tile = 0, few;
    for (size_t i = 0; i < M; i++) dot->pack_x(x + i * vl2_qx_bytes(K, dot->unit), row, K);
    BEST_TIME(cached, dot->direct(y, N, x, 1, w, stride, N, K));
    BEST_TIME(streamed, dot->direct(y, ROWS, x, 1, w, stride, ROWS, K));
    BEST_TIME(few, dot->direct(y, N, x, 4, w, stride, N, K));
    pack = 0;
    if (dot->pack_w) {
        BEST_TIME(pack, dot->pack_w(panels, w, stride, VL2_QPANEL, K));
        BEST_TIME(tile, dot->packed(y, VL2_QPANEL, x, M, K, panels, 0, K));
    }
    printf("%-12s %-8s one row %5.1f Gweights/s in cache, %5.1f from memory (%4.1f GB/s); 4 rows "
           "%6.1f GOP/s, tiles %6.1f, unpacking %4.2f ns a weight\n",
           k->level, t->name, 1e-9 * N * K / cached, 1e-9 * ROWS * K / streamed,
           1e-9 * (double)(ROWS * stride) / streamed, 2e-9 * 4 * N * K / few,
           tile > 0 ? 2e-9 * M * VL2_QPANEL * K / tile : 0.0, 1e9 * pack / (VL2_QPANEL * K));
    free(x);
    free(w);
    free(row);
    free(y);
    free(panels);
}

static void bench_many(const vl2_kernels *k, vl2_dtype type) {
    enum { M = 192, N = 128, K = 1280 };
    const vl2_qdot *dot = &k->quantized[type - VL2_Q8_0];
    const vl2_dtype_traits *t = vl2_dtype_of(type);
    const size_t stride = K / t->block * t->block_bytes, row = vl2_qx_bytes(K, dot->unit);
    char *x = room(M * row), *w = room(N * stride), *scratch = room(VL2_Q_ROOM);
    float *values = room(K * sizeof *values), *y = room((size_t)M * N * sizeof *y);
    double few, some, many;
    for (size_t i = 0; i < M; i++) dot->pack_x(x + i * row, values, K);
    BEST_TIME(few, dot->many(y, N, x, 12, w, stride, N, K, scratch));
    BEST_TIME(some, dot->many(y, N, x, 48, w, stride, N, K, scratch));
    BEST_TIME(many, dot->many(y, N, x, M, w, stride, N, K, scratch));
    printf("%-12s %-8s %d rows %6.1f GOP/s, 48 rows %6.1f, 12 rows %6.1f\n", k->level, t->name, M,
           2e-9 * M * N * K / many, 2e-9 * 48 * N * K / some, 2e-9 * 12 * N * K / few);
    free(x);
    free(w);
    free(scratch);
    free(values);
    free(y);
}

static void bench_tiles(const char *level, const vl2_tiles *t) {
    enum { N = 64, K = 1152, MOST = 96 };
    char *x = room((size_t)MOST * K * 2), *w = room((size_t)N * K * 2);
    float *y = room((size_t)MOST * N * 4);
    double one, some, many;
    BEST_TIME(one, t->product(y, N, x, 1, w, K * 2, N, K, NULL, 0, NULL));
    BEST_TIME(some, t->product(y, N, x, 16, w, K * 2, N, K, NULL, 0, NULL));
    BEST_TIME(many, t->product(y, N, x, MOST, w, K * 2, N, K, NULL, 0, NULL));
    printf("%-12s bf16 tiles     %d rows %6.1f GFLOP/s, 16 rows %6.1f, 1 row %6.1f\n", level, MOST,
           2e-9 * MOST * N * K / many, 2e-9 * 16 * N * K / some, 2e-9 * N * K / one);
    free(x);
    free(w);
    free(y);
}

enum { SIDE = VL2_TILE_ROWS };

static void bench_q_tiles(const vl2_kernels *k, vl2_dtype type) {
    enum { N = 64, K = 1280, MOST = 512 };
    const vl2_tiles *t = &k->q_tiles[type - VL2_Q8_0];
    const vl2_dtype_traits *traits = vl2_dtype_of(type);
    const size_t stride = K / traits->block * traits->block_bytes;
    char *x = room(MOST * t->row_bytes(K)), *w = room(N * stride);
    char *scratch = room(VL2_TILE_SCRATCH);
    float *values = room(SIDE * K * sizeof *values), *y = room((size_t)MOST * N * 4);
    const float *rows[SIDE];
    for (size_t i = 0; i < SIDE; i++) rows[i] = values + i * K;
    double pack, some, few, many;
    BEST_TIME(pack, t->pack(x, rows, SIDE, K));
    for (size_t i = 0; i < MOST; i += SIDE) t->pack(x + i * t->row_bytes(K), rows, SIDE, K);
    BEST_TIME(few, t->product(y, N, x, 16, w, stride, N, K, NULL, 0, scratch));
    BEST_TIME(some, t->product(y, N, x, 48, w, stride, N, K, NULL, 0, scratch));
    BEST_TIME(many, t->product(y, N, x, MOST, w, stride, N, K, NULL, 0, scratch));
    printf("%-12s %-8s tiles: %d rows %6.1f GOP/s, 48 rows %6.1f, 16 rows %6.1f; preparing x "
           "%4.2f ns a value\n",
           k->level, traits->name, MOST, 2e-9 * MOST * N * K / many, 2e-9 * 48 * N * K / some,
           2e-9 * 16 * N * K / few, 1e9 * pack / (SIDE * K));
    free(x);
    free(w);
    free(scratch);
    free(values);
    free(y);
}

static void bench_rows(const vl2_kernels *k) {
    enum { N = 4304 };
    float *x = room(N * 4), *y = room(N * 4);
    const float *a[VL2_ATTN_ROWS];
    float *b = room(64 * 80 * 4), *c = room(VL2_ATTN_ROWS * 80 * 4), max, sum;
    for (size_t i = 0; i < VL2_ATTN_ROWS; i++) a[i] = x + 72 * i;
    double t[8];
    BEST_TIME(t[0], k->finish[VL2_EPI_GELU_TANH](y, x, NULL, N));
    BEST_TIME(t[1], k->finish[VL2_EPI_GELU_ERF](y, x, NULL, N));
    BEST_TIME(t[2], k->gate[VL2_EPI_SILU](y, x, x, N));
    BEST_TIME(t[3], k->rmsnorm(y, x, x, N, 1e-6f));
    BEST_TIME(t[4], k->layernorm(y, x, x, x, N, 1e-6f));
    BEST_TIME(t[5], k->softmax(y, VL2_ATTN_KEYS, 0.1f, &max, &sum));
    BEST_TIME(t[6], k->outer(c, 64, a, VL2_ATTN_ROWS, b, 64, 64, 72));
    BEST_TIME(t[7], k->outer(c, 80, a, VL2_ATTN_ROWS, b, 80, 80, 64));
    printf("%-12s ns a value: gelu_tanh %.3f, gelu_erf %.3f, silu gate %.3f, rmsnorm %.3f, "
           "layernorm %.3f, softmax %.3f\n",
           k->level, t[0] * 1e9 / N, t[1] * 1e9 / N, t[2] * 1e9 / N, t[3] * 1e9 / N, t[4] * 1e9 / N,
           t[5] * 1e9 / VL2_ATTN_KEYS);
    printf("%-12s outer q k %.1f GFLOP/s, p v %.1f\n", k->level,
           2e-9 * VL2_ATTN_ROWS * 64 * 72 / t[6], 2e-9 * VL2_ATTN_ROWS * 64 * 80 / t[7]);
    free(x);
    free(y);
    free(b);
    free(c);
}

void bench_level(const vl2_kernels *k) {
    bench_dot(k->level, "f32", &k->exact[VL2_F32]);
    bench_dot(k->level, "f16", &k->exact[VL2_F16]);
    bench_dot(k->level, "bf16 exact", &k->exact[VL2_BF16]);
    bench_dot(k->level, "bf16 auto", &k->fast[VL2_BF16]);
    if (k->tiles[VL2_BF16].product) bench_tiles(k->level, &k->tiles[VL2_BF16]);
    bench_rows(k);
    for (int t = VL2_Q8_0; t < VL2_DTYPE_COUNT; t++) bench_quantized(k, (vl2_dtype)t);
    for (int t = VL2_Q8_0; t < VL2_DTYPE_COUNT; t++)
        if (k->quantized[t - VL2_Q8_0].many) bench_many(k, (vl2_dtype)t);
    for (int t = VL2_Q8_0; t < VL2_DTYPE_COUNT; t++)
        if (k->q_tiles[t - VL2_Q8_0].product) bench_q_tiles(k, (vl2_dtype)t);
}
