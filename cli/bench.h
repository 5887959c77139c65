/* bench.h - what the files of `vl2 bench` share.
 *
 *   bench.c         options -> what is measured, the engine, the order of stages
 *   bench_load.c    opening cold and warm, memory taken against memory planned
 *   bench_stages.c  pictures, views, prompts, decoding
 *   bench_report.c  rows -> a table, JSON, CSV */
#ifndef VL2_CLI_BENCH_H
#define VL2_CLI_BENCH_H

#include "options.h"
#include "vl2/vl2_dev.h"

enum { BENCH_ROWS = 128, BENCH_NUMBERS = 16, BENCH_SEQUENCES = 64 };

typedef struct bench_numbers { /* of an option that takes several: --prompt 128,512 */
    size_t at[BENCH_NUMBERS], n, largest;
} bench_numbers;

typedef struct bench_row {
    char stage[16], what[64];
    size_t size;           /* views, prompt tokens, sequences; 0: not told */
    size_t context;        /* tokens before a decoding step */
    double ms, best_ms;    /* median and least of the runs */
    double rate;           /* a second, of `unit` */
    double planned, taken; /* bytes, of a memory row */
    const char *unit;
    double share; /* of the peak named by `bound`, in per cent; 0: not told */
    const char *bound;
} bench_row;

typedef struct bench {
    const cli_options *options;
    bench_numbers prompts, contexts, sequences, views;
    char *path; /* of the model; NULL: made-up weights */
    vl2_engine *engine;
    vl2_dev_work work;
    vl2_dev_peaks peaks;
    size_t kv_tokens;
    bench_row rows[BENCH_ROWS];
    size_t n_rows, done, total; /* runs, for the bar */
} bench;

bool bench_wants(const bench *b, const char *stage);
/* A row of `n` runs of `ms` milliseconds each, which are sorted here. Never NULL. */
bench_row *bench_add(bench *b, const char *stage, double *ms, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void bench_rate(bench_row *row, double per_run, const char *unit);
/* The share of the measured peak of `product` ("float32", …) that so many operations reached. */
void bench_flops(const bench *b, bench_row *row, double operations, const char *product);
void bench_ran(bench *b); /* after each timed run: the bar */
vl2_status bench_open(bench *b, double *ms, vl2_error *err);

vl2_status bench_load(bench *b, vl2_error *err);   /* opens the engine that all later stages use */
vl2_status bench_memory(bench *b, vl2_error *err); /* with that engine */
vl2_status bench_image(bench *b, vl2_error *err);
vl2_status bench_vision(bench *b, vl2_error *err);
vl2_status bench_prefill(bench *b, vl2_error *err);
vl2_status bench_decode(bench *b, vl2_error *err);
vl2_status bench_report(const bench *b, vl2_error *err);

/* Feeds n ids that differ, so that a mixture of experts is at work as with text. */
vl2_status bench_feed(bench *b, vl2_session *session, size_t first, size_t n, vl2_error *err);
/* Ids until the session holds n tokens, in chunks. */
vl2_status bench_fill(bench *b, vl2_batch *steps, vl2_session *session, size_t n, vl2_error *err);

#endif
