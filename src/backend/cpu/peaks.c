#include "backend/peaks.h"

#include "backend/cpu/cpu.h"
#include "backend/cpu/peak_loops.h"
#include "base/mem.h"

#include <string.h>
#include <time.h>

enum {
    TRIES = 6,       /* of each measurement; the best counts */
    PIECES = 4,      /* of work for each thread, so that a thread that was held up is helped */
    ROUNDS = 400000, /* of a loop in a piece: some milliseconds */
    READ_BYTES =
        128 << 20 /* in a try; each reads its own, since caches hold what was read before */
};

typedef double (*count)(size_t rounds);
typedef struct loop { /* of a level: what its kernels of each type multiply with */
    const char *level;
    count f32, bf16, int8;
} loop;

static const loop LOOPS[] = {
    {"c", vl2_peak_c_f32, NULL, vl2_peak_c_int8},
#if defined(__x86_64__)
    {"avx2", vl2_peak_avx2_f32, NULL, vl2_peak_avx2_int8},
    {"avxvnni", vl2_peak_avx2_f32, NULL, vl2_peak_avx2_int8},
    {"avx512", vl2_peak_avx512_f32, NULL, vl2_peak_avx2_int8},
    {"avx512vnni", vl2_peak_avx512_f32, NULL, vl2_peak_avx512vnni_int8},
    {"avx512bf16", vl2_peak_avx512_f32, vl2_peak_avx512bf16_bf16, vl2_peak_avx512vnni_int8},
    {"amx", vl2_peak_avx512_f32, vl2_peak_amx_bf16, vl2_peak_amx_int8},
#elif defined(__aarch64__)
    {"neon", vl2_peak_neon_f32, NULL, vl2_peak_neon_int8},
    {"dotprod", vl2_peak_neon_f32, NULL, vl2_peak_dotprod_int8},
    {"i8mm", vl2_peak_neon_f32, NULL, vl2_peak_i8mm_int8},
    {"bf16", vl2_peak_neon_f32, vl2_peak_bfdot_bf16, vl2_peak_i8mm_int8},
#endif
};

typedef struct work {
    count run;
    const uint64_t *data; /* of a reader */
    size_t words;         /* of a piece */
    double operations;    /* of a piece; the same from every thread */
    uint64_t *sums;       /* [pieces]: what was read must be used */
} work;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void compute_piece(void *context, size_t i, int thread) {
    work *w = context;
    (void)thread;
    double operations = w->run(ROUNDS);
    if (i == 0) w->operations = operations;
}

/* A word of each line is all of memory's work: reading every word, the core would be what is measured. */
static inline uint64_t read_words(const uint64_t *data, size_t words, bool ask) {
    enum { LINE = 64 / sizeof(uint64_t), AHEAD = (12 << 10) / sizeof(uint64_t) };
    uint64_t sum[4] = {0};
    for (size_t k = 0; k + 4 * LINE <= words; k += 4 * LINE) {
        for (size_t i = 0; i < 4; i++) {
            if (ask) __builtin_prefetch(data + k + AHEAD + i * LINE);
            sum[i] += data[k + i * LINE];
        }
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

static void read_piece(void *context, size_t i, int thread) {
    work *w = context;
    (void)thread;
    w->sums[i] = read_words(w->data + i * w->words, w->words, false);
}

/* On some CPUs memory gives more to who asks ahead, on others less. */
static void read_piece_ahead(void *context, size_t i, int thread) {
    work *w = context;
    (void)thread;
    w->sums[i] = read_words(w->data + i * w->words, w->words, true);
}

static double best_compute(vl2_pool *pool, count run) {
    work w = {.run = run};
    size_t pieces = (size_t)vl2_pool_threads(pool) * PIECES;
    double best = 0;
    for (int i = 0; run && i < TRIES; i++) {
        double begun = seconds();
        vl2_pool_run(pool, pieces, compute_piece, &w);
        double rate = w.operations * (double)pieces / (seconds() - begun);
        if (rate > best) best = rate;
    }
    return best;
}

/* data: READ_BYTES for each try. */
static double best_read(vl2_pool *pool, uint64_t *data, uint64_t *sums, size_t pieces) {
    work w = {.words = READ_BYTES / sizeof *data / pieces, .sums = sums};
    double best = 0;
    for (size_t i = 0; i < TRIES; i++) {
        w.data = data + i * READ_BYTES / sizeof *data;
        double begun = seconds();
        vl2_pool_run(pool, pieces, i % 2 ? read_piece_ahead : read_piece, &w);
        double rate = (double)(w.words * pieces * sizeof *data) / (seconds() - begun);
        if (rate > best) best = rate;
    }
    return best;
}

vl2_status vl2_peaks_measure(vl2_peaks *out, vl2_backend *be, vl2_error *err) {
    size_t pieces = (size_t)vl2_pool_threads(be->pool) * PIECES;
    const loop *mine = &LOOPS[0];
    for (size_t i = 0; i < sizeof LOOPS / sizeof *LOOPS; i++) {
        if (!strcmp(LOOPS[i].level, be->level)) mine = &LOOPS[i];
    }
    const size_t bytes = (size_t)TRIES * READ_BYTES;
    uint64_t *data = vl2_mem_map(bytes);
    uint64_t *sums = vl2_mem_array(pieces, sizeof *sums);
    if (!data || !sums) {
        if (data) vl2_mem_unmap(data, bytes);
        vl2_mem_free(sums);
        return vl2_fail_memory(err, "a measurement of memory", bytes);
    }
    memset(data, 1, bytes); /* untouched pages would all be the same one */
    *out = (vl2_peaks){.f32 = best_compute(be->pool, mine->f32),
                       .bf16 = best_compute(be->pool, mine->bf16),
                       .int8 = best_compute(be->pool, mine->int8),
                       .read = best_read(be->pool, data, sums, pieces)};
    vl2_mem_unmap(data, bytes);
    vl2_mem_free(sums);
    return VL2_OK;
}
