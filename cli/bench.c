/* vl2 bench: how long each stage takes here, and what share of the machine's own peak it reaches. */
#include "clock.h"
#include "commands.h"
#include "models.h"
#include "progress.h"
#include "terminal.h"
#include "vl2/vl2_dev.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 64, MAX_LENGTHS = 32, PHOTO_WIDTH = 4000, PHOTO_HEIGHT = 3000, COMPANY = 8 };

typedef struct row {
    char stage[16], what[48];
    double ms;   /* median */
    double rate; /* a second, of `unit` */
    const char *unit;
    double share; /* of the peak named by `bound`, in per cent; 0: not told */
    const char *bound;
} row;

typedef struct bench {
    const cli_options *options;
    vl2_engine *engine;
    vl2_dev_work work;
    vl2_dev_peaks peaks;
    double flops_peak; /* a second, of the kind of product that the weights' type takes */
    const char *flops_name;
    size_t lengths[MAX_LENGTHS], n_lengths;
    row rows[MAX_ROWS];
    size_t n_rows, done, total; /* timed runs */
} bench;

/* ---- timing ---------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static row *add_row(bench *b, const char *stage, const char *what, double ms) {
    if (b->n_rows == MAX_ROWS) return &b->rows[MAX_ROWS - 1];
    row *r = &b->rows[b->n_rows++];
    *r = (row){.ms = ms, .unit = "", .bound = ""};
    snprintf(r->stage, sizeof r->stage, "%s", stage);
    snprintf(r->what, sizeof r->what, "%s", what);
    return r;
}

static void set_rate(row *r, double per_run, const char *unit) {
    r->rate = r->ms > 0 ? per_run / r->ms * 1e3 : 0;
    r->unit = unit;
}

static void set_flops(const bench *b, row *r, double flops) {
    if (b->flops_peak <= 0 || r->ms <= 0) return;
    r->share = flops / (r->ms / 1e3) / b->flops_peak * 100;
    r->bound = b->flops_name;
}

/* After each timed run; the bar stands still within one. */
static vl2_status ran(bench *b) {
    cli_progress_show("bench", ++b->done, b->total, "runs");
    return cli_terminal_interrupted() ? VL2_ERR_CANCELLED : VL2_OK;
}

/* ---- stages ---------------------------------------------------------------------------------------- */

static vl2_status time_image(bench *b, vl2_error *err) {
    size_t repeat = b->options->repeat, n_bytes = 0, pixels = PHOTO_WIDTH * PHOTO_HEIGHT;
    uint8_t *rgb = vl2_mem_array(pixels, 3);
    double *ms = vl2_mem_array(repeat, sizeof *ms);
    vl2_picture *photo = NULL;
    void *bytes = NULL;
    vl2_status status = rgb && ms ? VL2_OK : vl2_fail_memory(err, "a picture", pixels * 3);
    for (size_t i = 0; rgb && i < pixels * 3; i++) { /* soft gradients, as photos have */
        rgb[i] = (uint8_t)((i / 3 % PHOTO_WIDTH) / 16 + (i / 3 / PHOTO_WIDTH) / 24 * (i % 3));
    }
    if (status == VL2_OK)
        status = vl2_picture_from_rgb(&photo, rgb, PHOTO_WIDTH, PHOTO_HEIGHT, err);
    if (status == VL2_OK) status = vl2_picture_encode(&bytes, &n_bytes, photo, "jpeg", err);
    for (size_t i = 0; i < repeat && status == VL2_OK; i++) {
        vl2_picture *decoded = NULL;
        double begun = cli_clock_ms();
        status = vl2_picture_decode(&decoded, bytes, n_bytes, "the bench's photo", NULL, err);
        ms[i] = cli_clock_ms() - begun;
        vl2_picture_free(decoded);
        if (status == VL2_OK) status = ran(b);
    }
    if (status == VL2_OK) {
        row *r = add_row(b, "image", "a JPEG of 4000 x 3000 decoded", median(ms, repeat));
        set_rate(r, (double)pixels / 1e6, "Mpixel/s");
    }
    vl2_free(bytes);
    vl2_picture_free(photo);
    vl2_mem_free(rgb);
    vl2_mem_free(ms);
    return status;
}

static vl2_status time_views(bench *b, vl2_error *err) {
    size_t repeat = b->options->repeat;
    double *vision = vl2_mem_array(repeat, sizeof *vision);
    double *projector = vl2_mem_array(repeat, sizeof *projector), warm = 0;
    vl2_status status = VL2_OK;
    if (!vision || !projector) status = vl2_fail_memory(err, "timings", repeat * sizeof *vision);
    if (status == VL2_OK) status = vl2_dev_time_views(&warm, &warm, b->engine, 1, err);
    for (size_t i = 0; i < repeat && status == VL2_OK; i++) {
        status = vl2_dev_time_views(&vision[i], &projector[i], b->engine, 1, err);
        if (status == VL2_OK) status = ran(b);
    }
    if (status == VL2_OK) {
        row *r = add_row(b, "vision", "one view", median(vision, repeat));
        set_rate(r, 1, "views/s");
        set_flops(b, r, b->work.vision_flops);
        r = add_row(b, "projector", "one view", median(projector, repeat));
        set_rate(r, 1, "views/s");
        set_flops(b, r, b->work.projector_flops);
    }
    vl2_mem_free(vision);
    vl2_mem_free(projector);
    return status;
}

/* Ids that differ, so that a mixture of experts is at work as with text. */
static int32_t some_id(const bench *b, size_t i) {
    size_t vocab = vl2_engine_info(b->engine)->vocab_size;
    return (int32_t)((i * 2654435761u + 12345) % (vocab * 3 / 4 + 1));
}

static vl2_status feed(bench *b, vl2_session *session, size_t first, size_t n, vl2_error *err) {
    int32_t *ids = vl2_mem_array(n, sizeof *ids);
    if (!ids) return vl2_fail_memory(err, "ids", n * sizeof *ids);
    for (size_t i = 0; i < n; i++) ids[i] = some_id(b, first + i);
    vl2_status status = vl2_dev_feed_ids(session, ids, n, err);
    vl2_mem_free(ids);
    return status;
}

static vl2_status prefill_once(bench *b, vl2_batch *steps, vl2_session *session, size_t n,
                               vl2_error *err) {
    size_t chunk = b->options->chunk_size ? b->options->chunk_size : n;
    VL2_TRY(vl2_session_truncate(session, 0, err));
    VL2_TRY(feed(b, session, 0, n, err));
    while (vl2_session_pending(session)) {
        size_t left = vl2_session_pending(session);
        vl2_step step = {.session = session, .n_tokens = left < chunk ? left : chunk};
        VL2_TRY(vl2_batch_step(steps, &step, 1, err));
    }
    return VL2_OK;
}

static vl2_status time_prefill(bench *b, size_t n, vl2_error *err) {
    size_t repeat = b->options->repeat, chunk = b->options->chunk_size;
    double *ms = vl2_mem_array(repeat, sizeof *ms), tokens = (double)n;
    vl2_batch *steps = NULL;
    vl2_session *session = NULL;
    vl2_status status = ms ? VL2_OK : vl2_fail_memory(err, "timings", repeat * sizeof *ms);
    if (status == VL2_OK) {
        status = vl2_batch_create(&steps, b->engine, chunk && chunk < n ? chunk : n, 1, err);
    }
    if (status == VL2_OK) status = vl2_session_create(&session, b->engine, err);
    if (status == VL2_OK) status = prefill_once(b, steps, session, n, err);
    for (size_t i = 0; i < repeat && status == VL2_OK; i++) {
        double begun = cli_clock_ms();
        status = prefill_once(b, steps, session, n, err);
        ms[i] = cli_clock_ms() - begun;
        if (status == VL2_OK) status = ran(b);
    }
    if (status == VL2_OK) {
        char what[48];
        snprintf(what, sizeof what, "a prompt of %zu tokens", n);
        row *r = add_row(b, "prefill", what, median(ms, repeat));
        set_rate(r, tokens, "tokens/s");
        set_flops(b, r,
                  tokens * b->work.token_flops + b->work.attention_flops * tokens * tokens / 2 +
                      b->work.head_flops);
    }
    vl2_session_free(session);
    vl2_batch_free(steps);
    vl2_mem_free(ms);
    return status;
}

/* Steps of one token for each of n sessions that hold `context` tokens; milliseconds a step. */
static vl2_status decode_steps(double *ms, bench *b, vl2_session **sessions, vl2_batch *steps,
                               size_t n, vl2_error *err) {
    size_t count = b->options->decode_tokens;
    vl2_step step[COMPANY];
    double begun = 0;
    for (size_t i = 0; i <= count; i++) {
        if (i == 1) begun = cli_clock_ms(); /* the first warms up */
        for (size_t k = 0; k < n; k++) {
            VL2_TRY(feed(b, sessions[k], i * n + k, 1, err));
            step[k] = (vl2_step){.session = sessions[k], .n_tokens = 1};
        }
        VL2_TRY(vl2_batch_step(steps, step, n, err));
    }
    *ms = (cli_clock_ms() - begun) / (double)count;
    return VL2_OK;
}

static vl2_status begin_sessions(bench *b, vl2_session **sessions, vl2_batch *steps, size_t n,
                                 size_t context, vl2_error *err) {
    VL2_TRY(vl2_session_create(&sessions[0], b->engine, err));
    VL2_TRY(prefill_once(b, steps, sessions[0], context, err));
    for (size_t k = 1; k < n; k++) {
        VL2_TRY(vl2_session_fork(&sessions[k], sessions[0], context, err));
    }
    return VL2_OK;
}

static vl2_status time_decode(bench *b, size_t n, size_t context, vl2_error *err) {
    size_t repeat = b->options->repeat, chunk = b->options->chunk_size;
    double *ms = vl2_mem_array(repeat, sizeof *ms);
    vl2_batch *steps = NULL;
    vl2_session *sessions[COMPANY] = {NULL};
    vl2_status status = ms ? VL2_OK : vl2_fail_memory(err, "timings", repeat * sizeof *ms);
    if (status == VL2_OK) {
        size_t rows = chunk && chunk < context ? chunk : context;
        status = vl2_batch_create(&steps, b->engine, rows > n ? rows : n, n, err);
    }
    if (status == VL2_OK) status = begin_sessions(b, sessions, steps, n, context, err);
    for (size_t i = 0; i < repeat && status == VL2_OK; i++) {
        for (size_t k = 0; k < n && status == VL2_OK; k++) {
            status = vl2_session_truncate(sessions[k], context, err);
        }
        if (status == VL2_OK) status = decode_steps(&ms[i], b, sessions, steps, n, err);
        if (status == VL2_OK) status = ran(b);
    }
    if (status == VL2_OK) {
        char what[48];
        snprintf(what, sizeof what,
                 n > 1 ? "%zu conversations at once, after %zu" : "%zu token after %zu", n,
                 context);
        row *r = add_row(b, "decode", what, median(ms, repeat));
        set_rate(r, (double)n, "tokens/s");
        if (n == 1 && b->peaks.read_gb_s > 0) {
            r->share = b->work.token_bytes / (r->ms / 1e3) / (b->peaks.read_gb_s * 1e9) * 100;
            r->bound = "memory";
        }
    }
    for (size_t k = 0; k < n; k++) vl2_session_free(sessions[k]);
    vl2_batch_free(steps);
    vl2_mem_free(ms);
    return status;
}

/* ---- what comes out --------------------------------------------------------------------------------- */

static void write_table(const bench *b) {
    const vl2_info *info = vl2_engine_info(b->engine);
    printf("%s, compute %s, CPU level %s, %d threads, medians of %zu\n", info->name, info->compute,
           info->cpu_level, info->threads, b->options->repeat);
    printf("this machine: %.1f GFLOP/s in float32", b->peaks.f32_gflops);
    if (b->peaks.bf16_gflops > 0) printf(", %.1f in bfloat16", b->peaks.bf16_gflops);
    if (b->peaks.int8_gops > 0) printf(", %.1f GOP/s in int8", b->peaks.int8_gops);
    printf(", reads %.1f GB/s\n\n", b->peaks.read_gb_s);
    printf("%-10s %-34s %12s %20s   %s\n", "stage", "of", "ms", "speed", "share of peak");
    for (size_t i = 0; i < b->n_rows; i++) {
        const row *r = &b->rows[i];
        char rate[32] = "", share[32] = "";
        if (r->rate > 0) snprintf(rate, sizeof rate, "%.1f %s", r->rate, r->unit);
        if (r->share > 0) snprintf(share, sizeof share, "%.0f %% of %s", r->share, r->bound);
        printf("%-10s %-34s %12.2f %20s   %s\n", r->stage, r->what, r->ms, rate, share);
    }
}

static void write_csv(const bench *b) {
    printf("stage,of,ms,rate,unit,share_percent,peak\n");
    for (size_t i = 0; i < b->n_rows; i++) {
        const row *r = &b->rows[i];
        printf("%s,\"%s\",%.4f,%.4f,%s,%.2f,%s\n", r->stage, r->what, r->ms, r->rate, r->unit,
               r->share, r->bound);
    }
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
        const row *r = &b->rows[i];
        VL2_GOTO(done, status,
                 vl2_buf_addf(&out, err,
                              "%s{\"stage\": \"%s\", \"of\": \"%s\", \"ms\": %.4f, \"rate\": %.4f, "
                              "\"unit\": \"%s\", \"share_percent\": %.2f, \"peak\": \"%s\"}",
                              i ? ", " : "", r->stage, r->what, r->ms, r->rate, r->unit, r->share,
                              r->bound));
    }
    VL2_GOTO(done, status, vl2_buf_addf(&out, err, "]}\n"));
    status = cli_terminal_write(out.data, out.size, err);
done:
    vl2_buf_free(&out);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------------- */

static vl2_status open_engine(bench *b, vl2_error *err) {
    const cli_options *o = b->options;
    vl2_engine_options wanted;
    double ms = 0, begun = cli_clock_ms();
    char what[48];
    /* room for the sessions that decode together: they share their beginning */
    size_t kv = b->lengths[0] + COMPANY * (o->decode_tokens + 128) + 128;
    for (size_t i = 0; i < b->n_lengths; i++) {
        if (kv < b->lengths[i] + 128) kv = b->lengths[i] + 128;
    }
    cli_options sized = *o;
    if (!sized.ctx_size) sized.ctx_size = kv;
    if (o->dummy) {
        VL2_TRY(cli_models_engine_options(&wanted, &sized, err));
        wanted.kv_tokens = kv;
        VL2_TRY(vl2_dev_engine_dummy(&b->engine, o->dummy, &wanted, err));
        ms = cli_clock_ms() - begun;
    } else {
        sized.quiet = true; /* a longer context than the model's is meant here */
        VL2_TRY(cli_models_open(&b->engine, &sized, kv, &ms, err));
    }
    cli_progress_hide();
    snprintf(what, sizeof what, o->dummy ? "made-up weights, %.2f GB" : "weights mapped, %.2f GB",
             (double)vl2_engine_info(b->engine)->weight_bytes / 1e9);
    add_row(b, "load", what, ms);
    return VL2_OK;
}

static vl2_status read_lengths(bench *b, vl2_error *err) {
    const cli_list *list = &b->options->prompt_tokens;
    if (list->n > MAX_LENGTHS) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "--prompt-tokens is given more than %d times",
                        MAX_LENGTHS);
    }
    for (size_t i = 0; i < list->n; i++) {
        char *end = NULL;
        unsigned long n = strtoul(list->items[i], &end, 10);
        if (*end || end == list->items[i] || n < 1 || n > 1u << 20 || list->items[i][0] == '-') {
            return vl2_fail(err, VL2_ERR_ARGUMENT, "--prompt-tokens takes 1 to %u, not \"%s\"",
                            1u << 20, list->items[i]);
        }
        b->lengths[b->n_lengths++] = n;
    }
    if (!b->n_lengths) b->lengths[b->n_lengths++] = 512;
    return VL2_OK;
}

static vl2_status run(bench *b, vl2_error *err) {
    const cli_options *o = b->options;
    VL2_TRY(read_lengths(b, err));
    VL2_TRY(open_engine(b, err));
    b->work = vl2_dev_work_of(b->engine);
    VL2_TRY(vl2_dev_measure_peaks(&b->peaks, b->engine, err));
    bool is_f32 = o->compute && !strcmp(o->compute, "f32");
    bool is_bf16 = !is_f32 && b->peaks.bf16_gflops > b->peaks.f32_gflops;
    b->flops_peak = (is_bf16 ? b->peaks.bf16_gflops : b->peaks.f32_gflops) * 1e9;
    b->flops_name = is_bf16 ? "bfloat16" : "float32";
    b->total = o->repeat * (4 + b->n_lengths);
    VL2_TRY(time_image(b, err));
    VL2_TRY(time_views(b, err));
    for (size_t i = 0; i < b->n_lengths; i++) VL2_TRY(time_prefill(b, b->lengths[i], err));
    VL2_TRY(time_decode(b, 1, b->lengths[0], err));
    VL2_TRY(time_decode(b, COMPANY, b->lengths[0], err));
    cli_progress_hide();
    if (o->json) return write_json(b, err);
    if (o->csv) {
        write_csv(b);
    } else {
        write_table(b);
    }
    return cli_terminal_flush(err);
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
    if (cli_terminal_interrupted()) return CLI_INTERRUPTED;
    return status == VL2_OK ? 0 : cli_main_fail("bench", &err);
}
