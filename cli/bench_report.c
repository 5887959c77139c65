/* What was measured: a table for people, JSON and CSV for programs. */
#include "bench.h"

#include "terminal.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

static void write_row(const bench_row *r) {
    char ms[32] = "", rate[32] = "", share[40] = "";
    if (r->ms > 0) snprintf(ms, sizeof ms, "%.2f", r->ms);
    if (r->rate > 0) snprintf(rate, sizeof rate, "%.1f %s", r->rate, r->unit);
    if (r->share > 0) snprintf(share, sizeof share, "%.0f %% of %s", r->share, r->bound);
    if (r->planned > 0) {
        snprintf(rate, sizeof rate, "%.1f MB", r->taken / 1e6);
        snprintf(share, sizeof share, "%.1f %% of the plan", r->taken / r->planned * 100);
    }
    printf("%-10s %-42s %11s %19s   %s\n", r->stage, r->what, ms, rate, share);
}

static void write_table(const bench *b) {
    const vl2_info *info = vl2_engine_info(b->engine);
    printf("%s, compute %s, CPU level %s, %d threads, medians of %zu\n", info->name, info->compute,
           info->cpu_level, info->threads, b->options->repeat);
    printf("this machine: %.1f GFLOP/s in float32", b->peaks.f32_gflops);
    if (b->peaks.bf16_gflops > 0) printf(", %.1f in bfloat16", b->peaks.bf16_gflops);
    if (b->peaks.int8_gops > 0) printf(", %.1f GOP/s in int8", b->peaks.int8_gops);
    printf(", reads %.1f GB/s\n\n", b->peaks.read_gb_s);
    printf("%-10s %-42s %11s %19s   %s\n", "stage", "of", "ms", "speed", "share");
    for (size_t i = 0; i < b->n_rows; i++) write_row(&b->rows[i]);
}

static void csv_row(const vl2_info *info, const bench_row *r) {
    printf("\"%s\",%s,%s,%d,%s,\"%s\",%zu,%zu,%.4f,%.4f,%.4f,%s,%.2f,%s,%.0f,%.0f\n", info->name,
           info->compute, info->cpu_level, info->threads, r->stage, r->what, r->size, r->context,
           r->ms, r->best_ms, r->rate, r->unit, r->share, r->bound, r->planned, r->taken);
}

/* The peaks are rows, too, in front. */
static void write_csv(const bench *b) {
    const vl2_info *info = vl2_engine_info(b->engine);
    bench_row peaks[] = {
        {.stage = "peak", .what = "float32", .rate = b->peaks.f32_gflops, .unit = "GFLOP/s"},
        {.stage = "peak", .what = "bfloat16", .rate = b->peaks.bf16_gflops, .unit = "GFLOP/s"},
        {.stage = "peak", .what = "int8", .rate = b->peaks.int8_gops, .unit = "GOP/s"},
        {.stage = "peak", .what = "memory", .rate = b->peaks.read_gb_s, .unit = "GB/s"}};
    printf("model,compute,cpu_level,threads,stage,of,size,context,ms,best_ms,rate,unit,"
           "share_percent,peak,planned_bytes,taken_bytes\n");
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++) {
        peaks[i].bound = "";
        csv_row(info, &peaks[i]);
    }
    for (size_t i = 0; i < b->n_rows; i++) csv_row(info, &b->rows[i]);
}

static vl2_status json_row(vl2_buf *out, const bench_row *r, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "{\"stage\": \"%s\", \"of\": \"%s\"", r->stage, r->what));
    if (r->size) VL2_TRY(vl2_buf_addf(out, err, ", \"size\": %zu", r->size));
    if (r->context) VL2_TRY(vl2_buf_addf(out, err, ", \"context\": %zu", r->context));
    if (r->planned > 0) {
        return vl2_buf_addf(out, err, ", \"planned_bytes\": %.0f, \"taken_bytes\": %.0f}",
                            r->planned, r->taken);
    }
    return vl2_buf_addf(out, err,
                        ", \"ms\": %.4f, \"best_ms\": %.4f, \"rate\": %.4f, \"unit\": \"%s\", "
                        "\"share_percent\": %.2f, \"peak\": \"%s\"}",
                        r->ms, r->best_ms, r->rate, r->unit, r->share, r->bound);
}

static vl2_status write_json(const bench *b, vl2_error *err) {
    const vl2_info *info = vl2_engine_info(b->engine);
    vl2_buf out = {0};
    vl2_status status = vl2_buf_addf(&out, err, "{\"model\": ");
    VL2_GOTO(done, status, vl2_json_quote(&out, info->name, strlen(info->name), err));
    VL2_GOTO(
        done, status,
        vl2_buf_addf(&out, err,
                     ", \"compute\": \"%s\", \"cpu_level\": \"%s\", \"threads\": %d, "
                     "\"repeat\": %zu, \"peaks\": {\"f32_gflops\": %.3f, \"bf16_gflops\": %.3f, "
                     "\"int8_gops\": %.3f, \"read_gb_s\": %.3f}, \"stages\": [",
                     info->compute, info->cpu_level, info->threads, b->options->repeat,
                     b->peaks.f32_gflops, b->peaks.bf16_gflops, b->peaks.int8_gops,
                     b->peaks.read_gb_s));
    for (size_t i = 0; i < b->n_rows; i++) {
        if (i) VL2_GOTO(done, status, vl2_buf_addf(&out, err, ", "));
        VL2_GOTO(done, status, json_row(&out, &b->rows[i], err));
    }
    VL2_GOTO(done, status, vl2_buf_addf(&out, err, "]}\n"));
    status = cli_terminal_write(out.data, out.size, err);
done:
    vl2_buf_free(&out);
    return status;
}

vl2_status bench_report(const bench *b, vl2_error *err) {
    if (b->options->json) return write_json(b, err);
    if (b->options->csv) {
        write_csv(b);
    } else {
        write_table(b);
    }
    return cli_terminal_flush(err);
}
