/* vl2 bench: how long each stage takes here, and what share of the machine's own peak it reaches. */
#include "bench.h"

#include "clock.h"
#include "commands.h"
#include "models.h"
#include "progress.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_stage {
    const char *name;
    vl2_status (*run)(bench *b, vl2_error *err);
} bench_stage;

/* In this order; loading always happens, since the others need a model. */
static const bench_stage STAGES[] = {
    {"load", bench_load},       {"image", bench_image},   {"vision", bench_vision},
    {"prefill", bench_prefill}, {"decode", bench_decode}, {"memory", bench_memory},
};
enum { N_STAGES = sizeof STAGES / sizeof *STAGES };

/* ---- rows ------------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *sorted, size_t n) {
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

bench_row *bench_add(bench *b, const char *stage, double *ms, size_t n, const char *fmt, ...) {
    bench_row *row = &b->rows[b->n_rows < BENCH_ROWS ? b->n_rows++ : BENCH_ROWS - 1];
    *row = (bench_row){.unit = "", .bound = ""};
    if (n) {
        qsort(ms, n, sizeof *ms, by_value);
        row->ms = median(ms, n);
        row->best_ms = ms[0];
    }
    snprintf(row->stage, sizeof row->stage, "%s", stage);
    va_list args;
    va_start(args, fmt);
    vsnprintf(row->what, sizeof row->what, fmt, args);
    va_end(args);
    return row;
}

void bench_rate(bench_row *row, double per_run, const char *unit) {
    row->rate = row->ms > 0 ? per_run / row->ms * 1e3 : 0;
    row->unit = unit;
}

void bench_flops(const bench *b, bench_row *row, double operations, const char *product) {
    double peak = !strcmp(product, "int8")       ? b->peaks.int8_gops
                  : !strcmp(product, "bfloat16") ? b->peaks.bf16_gflops
                                                 : b->peaks.f32_gflops;
    if (peak <= 0) { /* the level has no such instruction: float32 does the work */
        product = "float32";
        peak = b->peaks.f32_gflops;
    }
    if (peak <= 0 || row->ms <= 0) return;
    row->share = operations / (row->ms / 1e3) / (peak * 1e9) * 100;
    row->bound = product;
}

void bench_ran(bench *b) { cli_progress_show("bench", ++b->done, b->total, "runs"); }

/* ---- the model ------------------------------------------------------------------------------- */

vl2_status bench_open(bench *b, double *ms, vl2_error *err) {
    const cli_options *o = b->options;
    vl2_engine_options wanted;
    cli_options sized = *o;
    if (!sized.ctx_size) sized.ctx_size = b->kv_tokens;
    double begun = cli_clock_ms();
    if (o->dummy) {
        VL2_TRY(cli_models_engine_options(&wanted, &sized, err));
        wanted.kv_tokens = b->kv_tokens;
        VL2_TRY(vl2_dev_engine_dummy(&b->engine, o->dummy, &wanted, err));
        *ms = cli_clock_ms() - begun;
        cli_progress_hide();
        return VL2_OK;
    }
    sized.quiet = true; /* a longer context than the model's is meant here */
    return cli_models_open(&b->engine, &sized, b->kv_tokens, ms, err);
}

/* ---- what is asked for ------------------------------------------------------------------------- */

static vl2_status one_number(bench_numbers *out, const char *option, const char *text, size_t size,
                             size_t max, vl2_error *err) {
    char digits[16] = "", *end = digits;
    if (size && size < sizeof digits) memcpy(digits, text, size);
    unsigned long n = strtoul(digits, &end, 10);
    if (!size || *end || end == digits || n < 1 || n > max ||
        strspn(digits, "0123456789") != size) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "--%s takes 1 to %zu, or several with commas, not \"%.*s\"", option, max,
                        (int)(size < 80 ? size : 80), text);
    }
    if (out->n == BENCH_NUMBERS) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "--%s takes %d numbers at most", option,
                        BENCH_NUMBERS);
    }
    out->at[out->n++] = n;
    if (n > out->largest) out->largest = n;
    return VL2_OK;
}

/* An option's numbers, or the standard ones where it is not given. */
static vl2_status read_numbers(bench_numbers *out, const cli_list *given, const char *option,
                               const char *standard, size_t max, vl2_error *err) {
    cli_list list = *given;
    if (!list.n) list.items[list.n++] = standard;
    for (size_t i = 0; i < list.n; i++) {
        for (const char *at = list.items[i];; at++) {
            size_t size = strcspn(at, ",");
            VL2_TRY(one_number(out, option, at, size, max, err));
            at += size;
            if (!*at) break;
        }
    }
    return VL2_OK;
}

bool bench_wants(const bench *b, const char *stage) {
    const char *list = b->options->stages;
    size_t n = strlen(stage);
    for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL) {
        if (!strncmp(list, stage, n) && (list[n] == ',' || !list[n])) return true;
    }
    return !b->options->stages;
}

static vl2_status check_stages(const char *list, vl2_error *err) {
    for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL) {
        size_t size = strcspn(list, ",");
        bool known = false;
        for (size_t i = 0; i < N_STAGES && !known; i++) {
            known = strlen(STAGES[i].name) == size && !strncmp(list, STAGES[i].name, size);
        }
        if (!known) {
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "--stages takes load, image, vision, prefill, decode and memory, with "
                            "commas; not \"%.*s\"",
                            (int)(size < 80 ? size : 80), list);
        }
    }
    return VL2_OK;
}

/* The pool holds the longest prompt, and all sequences behind the first context: they share it. */
static void size_pool(bench *b) {
    size_t room = b->options->decode_tokens + 128;
    size_t kv = b->prompts.largest + 128;
    size_t decode = b->contexts.largest + room + b->sequences.largest * room;
    b->kv_tokens = kv > decode ? kv : decode;
}

static void count_runs(bench *b) {
    size_t stages = 0;
    if (bench_wants(b, "load")) stages += 2;
    if (bench_wants(b, "image")) stages += 2;
    if (bench_wants(b, "vision")) stages += b->views.n;
    if (bench_wants(b, "prefill")) stages += b->prompts.n;
    if (bench_wants(b, "decode")) stages += b->contexts.n + b->sequences.n - 1;
    b->total = stages * b->options->repeat;
}

static vl2_status prepare(bench *b, vl2_error *err) {
    const cli_options *o = b->options;
    bool full = o->full;
    VL2_TRY(check_stages(o->stages, err));
    VL2_TRY(read_numbers(&b->prompts, &o->prompt_tokens, "prompt",
                         full ? "128,512,2048,4096" : "128,512", 1u << 20, err));
    VL2_TRY(read_numbers(&b->contexts, &o->contexts, "context", full ? "100,1000,4000" : "100,1000",
                         1u << 20, err));
    VL2_TRY(read_numbers(&b->sequences, &o->sequences, "sequences", full ? "1,4,8,16" : "1,4,8",
                         BENCH_SEQUENCES, err));
    VL2_TRY(read_numbers(&b->views, &o->views, "views", full ? "1,3,7,10" : "1,3", 1000, err));
    size_pool(b);
    count_runs(b);
    return VL2_OK;
}

static vl2_status run(bench *b, vl2_error *err) {
    VL2_TRY(prepare(b, err));
    for (size_t i = 0; i < N_STAGES; i++) {
        bool pictures = !strcmp(STAGES[i].name, "image") || !strcmp(STAGES[i].name, "vision");
        if (i && !bench_wants(b, STAGES[i].name)) continue;
        if (pictures && b->work.vision_flops <= 0) { /* a text half */
            if (!b->options->stages) continue;
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "%s has no vision half: leave %s out of --stages, or add --mmproj",
                            b->options->model, STAGES[i].name);
        }
        VL2_TRY(STAGES[i].run(b, err));
    }
    cli_progress_hide();
    return bench_report(b, err);
}

int cli_bench_main(cli_options *options) {
    static bench b; /* large, and there is one */
    vl2_error err = {0};
    if (options->dummy && options->model) {
        return cli_main_usage("bench", "--model and --dummy cannot be together");
    }
    b.options = options;
    vl2_status status = run(&b, &err);
    vl2_engine_close(b.engine);
    vl2_mem_free(b.path);
    return status == VL2_OK ? 0 : cli_main_fail("bench", &err);
}
