/* Stages timed by themselves: a photo, views, prompts, steps of decoding. */
#include "bench.h"

#include "clock.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { PHOTO_WIDTH = 6000, PHOTO_HEIGHT = 4000 }; /* 24 megapixels */

static vl2_status make_times(double **out, const bench *b, vl2_error *err) {
    *out = vl2_mem_array(b->options->repeat, sizeof **out);
    return *out ? VL2_OK : vl2_fail_memory(err, "timings", b->options->repeat * sizeof **out);
}

/* ---- pictures -------------------------------------------------------------------------------- */

/* Gradients with grain, so that a JPEG of it costs what one of a photo does. */
static vl2_status make_photo(void **jpeg, size_t *n_bytes, vl2_error *err) {
    size_t pixels = (size_t)PHOTO_WIDTH * PHOTO_HEIGHT;
    uint8_t *rgb = vl2_mem_array(pixels, 3);
    vl2_picture *photo = NULL;
    uint32_t noise = 1;
    if (!rgb) return vl2_fail_memory(err, "a picture", pixels * 3);
    for (size_t i = 0; i < pixels * 3; i++) {
        size_t x = i / 3 % PHOTO_WIDTH, y = i / 3 / PHOTO_WIDTH;
        noise = noise * 1664525u + 1013904223u;
        rgb[i] = (uint8_t)(x / 32 + y / 24 * (i % 3) + (noise >> 28));
    }
    vl2_status status = vl2_picture_from_rgb(&photo, rgb, PHOTO_WIDTH, PHOTO_HEIGHT, err);
    vl2_mem_free(rgb);
    if (status == VL2_OK) status = vl2_picture_encode(jpeg, n_bytes, photo, "jpeg", err);
    vl2_picture_free(photo);
    return status;
}

static vl2_status time_photo(bench *b, const void *jpeg, size_t n_bytes, double *decode,
                             double *resize, size_t *n_views, vl2_error *err) {
    for (size_t i = 0; i < b->options->repeat; i++) {
        vl2_picture *decoded = NULL;
        double begun = cli_clock_ms();
        VL2_TRY(vl2_picture_decode(&decoded, jpeg, n_bytes, "the bench's photo", NULL, err));
        decode[i] = cli_clock_ms() - begun;
        begun = cli_clock_ms();
        vl2_status status = vl2_dev_make_views(n_views, b->engine, decoded, err);
        resize[i] = cli_clock_ms() - begun;
        vl2_picture_free(decoded);
        if (status != VL2_OK) return status;
        bench_ran(b);
    }
    return VL2_OK;
}

vl2_status bench_image(bench *b, vl2_error *err) {
    size_t repeat = b->options->repeat, n_bytes = 0, n_views = 0;
    double *decode = NULL, *resize = NULL, megapixels = PHOTO_WIDTH * PHOTO_HEIGHT / 1e6;
    void *jpeg = NULL;
    vl2_status status = make_times(&decode, b, err);
    if (status == VL2_OK) status = make_times(&resize, b, err);
    if (status == VL2_OK) status = make_photo(&jpeg, &n_bytes, err);
    if (status == VL2_OK) status = time_photo(b, jpeg, n_bytes, decode, resize, &n_views, err);
    if (status == VL2_OK) {
        bench_row *row =
            bench_add(b, "image", decode, repeat, "a JPEG of %g megapixels, decoded", megapixels);
        bench_rate(row, megapixels, "Mpixel/s");
        row = bench_add(b, "image", resize, repeat, "that resized and cut into %zu views", n_views);
        row->size = n_views;
        bench_rate(row, megapixels, "Mpixel/s");
    }
    vl2_free(jpeg);
    vl2_mem_free(decode);
    vl2_mem_free(resize);
    return status;
}

/* ---- views ----------------------------------------------------------------------------------- */

static vl2_status time_views(bench *b, size_t n, double *vision, double *projector,
                             vl2_error *err) {
    size_t repeat = b->options->repeat;
    for (size_t i = 0; i < repeat; i++) {
        VL2_TRY(vl2_dev_time_views(&vision[i], &projector[i], b->engine, n, err));
        bench_ran(b);
    }
    double views = (double)n;
    bench_row *row = bench_add(b, "vision", vision, repeat, "%zu view%s", n, n > 1 ? "s" : "");
    row->size = n;
    bench_rate(row, views, "views/s");
    bench_flops(b, row, views * b->work.vision_flops, b->work.vision_product);
    row = bench_add(b, "projector", projector, repeat, "%zu view%s", n, n > 1 ? "s" : "");
    row->size = n;
    bench_rate(row, views, "views/s");
    bench_flops(b, row, views * b->work.projector_flops, b->work.projector_product);
    return VL2_OK;
}

vl2_status bench_vision(bench *b, vl2_error *err) {
    double *vision = NULL, *projector = NULL, warm = 0;
    vl2_status status = make_times(&vision, b, err);
    if (status == VL2_OK) status = make_times(&projector, b, err);
    if (status == VL2_OK) status = vl2_dev_time_views(&warm, &warm, b->engine, 1, err);
    for (size_t i = 0; i < b->views.n && status == VL2_OK; i++) {
        status = time_views(b, b->views.at[i], vision, projector, err);
    }
    vl2_mem_free(vision);
    vl2_mem_free(projector);
    return status;
}

/* ---- prompts --------------------------------------------------------------------------------- */

static int32_t some_id(const bench *b, size_t i) {
    size_t vocab = vl2_engine_info(b->engine)->vocab_size;
    return (int32_t)((i * 2654435761u + 12345) % (vocab * 3 / 4 + 1));
}

vl2_status bench_feed(bench *b, vl2_session *session, size_t first, size_t n, vl2_error *err) {
    int32_t *ids = vl2_mem_array(n, sizeof *ids);
    if (!ids) return vl2_fail_memory(err, "ids", n * sizeof *ids);
    for (size_t i = 0; i < n; i++) ids[i] = some_id(b, first + i);
    vl2_status status = vl2_dev_feed_ids(session, ids, n, err);
    vl2_mem_free(ids);
    return status;
}

vl2_status bench_fill(bench *b, vl2_batch *steps, vl2_session *session, size_t n, vl2_error *err) {
    size_t held = vl2_session_length(session);
    size_t chunk = b->options->chunk_size ? b->options->chunk_size : n;
    if (n > held) VL2_TRY(bench_feed(b, session, held, n - held, err));
    while (vl2_session_pending(session)) {
        size_t left = vl2_session_pending(session);
        vl2_step step = {.session = session, .n_tokens = left < chunk ? left : chunk};
        VL2_TRY(vl2_batch_step(steps, &step, 1, err));
    }
    return VL2_OK;
}

static vl2_status prefill_once(bench *b, vl2_batch *steps, vl2_session *session, size_t n,
                               vl2_error *err) {
    VL2_TRY(vl2_session_truncate(session, 0, err));
    return bench_fill(b, steps, session, n, err);
}

static vl2_status time_prompt(bench *b, vl2_batch *steps, vl2_session *session, size_t n,
                              double *ms, vl2_error *err) {
    size_t repeat = b->options->repeat;
    for (size_t i = 0; i < repeat; i++) {
        double begun = cli_clock_ms();
        VL2_TRY(prefill_once(b, steps, session, n, err));
        ms[i] = cli_clock_ms() - begun;
        bench_ran(b);
    }
    double tokens = (double)n;
    bench_row *row = bench_add(b, "prefill", ms, repeat, "a prompt of %zu tokens", n);
    row->size = n;
    bench_rate(row, tokens, "tokens/s");
    bench_flops(b, row,
                tokens * b->work.token_flops + b->work.attention_flops * tokens * tokens / 2 +
                    b->work.head_flops,
                b->work.token_product);
    return VL2_OK;
}

/* Scratch for steps of up to `n` rows of one session, or of one row of each of `n_sessions`. */
static vl2_status make_batch(vl2_batch **out, bench *b, size_t n, size_t n_sessions,
                             vl2_error *err) {
    size_t chunk = b->options->chunk_size, rows = chunk && chunk < n ? chunk : n;
    return vl2_batch_create(out, b->engine, rows > n_sessions ? rows : n_sessions, n_sessions, err);
}

vl2_status bench_prefill(bench *b, vl2_error *err) {
    double *ms = NULL;
    vl2_batch *steps = NULL;
    vl2_session *session = NULL;
    vl2_status status = make_times(&ms, b, err);
    if (status == VL2_OK) status = make_batch(&steps, b, b->prompts.largest, 1, err);
    if (status == VL2_OK) status = vl2_session_create(&session, b->engine, err);
    /* touches weights and caches */
    if (status == VL2_OK) status = prefill_once(b, steps, session, b->prompts.at[0], err);
    for (size_t i = 0; i < b->prompts.n && status == VL2_OK; i++) {
        status = time_prompt(b, steps, session, b->prompts.at[i], ms, err);
    }
    vl2_session_free(session);
    vl2_batch_free(steps);
    vl2_mem_free(ms);
    return status;
}

/* ---- decoding -------------------------------------------------------------------------------- */

typedef struct decoding {
    vl2_batch *steps;
    vl2_session *sessions[BENCH_SEQUENCES]; /* the first holds the contexts */
    double *ms;
} decoding;

/* Steps of one token for each of n sessions; milliseconds a step. */
static vl2_status some_steps(double *ms, bench *b, decoding *d, size_t n, vl2_error *err) {
    size_t count = b->options->decode_tokens;
    vl2_step step[BENCH_SEQUENCES];
    double begun = 0;
    for (size_t i = 0; i <= count; i++) {
        if (i == 1) begun = cli_clock_ms(); /* the first warms up */
        for (size_t k = 0; k < n; k++) {
            VL2_TRY(bench_feed(b, d->sessions[k], i * n + k, 1, err));
            step[k] = (vl2_step){.session = d->sessions[k], .n_tokens = 1};
        }
        VL2_TRY(vl2_batch_step(d->steps, step, n, err));
    }
    *ms = (cli_clock_ms() - begun) / (double)count;
    return VL2_OK;
}

/* What a step of n sequences reads at least: the weights that it meets, each once, and the cache behind
 * them, which they share. Which experts it meets is not known: as many as if all were chosen alike. */
static double bytes_of_step(const bench *b, size_t n, size_t context) {
    double left = 1, chosen = b->work.chosen_experts;
    for (size_t i = 0; i < n; i++) left *= 1 - chosen;
    return b->work.token_bytes + b->work.expert_bytes * ((1 - left) / chosen - 1) +
           (double)(context * vl2_engine_info(b->engine)->kv_bytes_per_token);
}

static vl2_status time_steps(bench *b, decoding *d, size_t n, size_t context, vl2_error *err) {
    size_t repeat = b->options->repeat;
    for (size_t i = 0; i < repeat; i++) {
        for (size_t k = 0; k < n; k++) {
            VL2_TRY(vl2_session_truncate(d->sessions[k], context, err));
        }
        VL2_TRY(some_steps(&d->ms[i], b, d, n, err));
        bench_ran(b);
    }
    for (size_t k = 0; k < n; k++) VL2_TRY(vl2_session_truncate(d->sessions[k], context, err));
    bench_row *row = bench_add(b, "decode", d->ms, repeat,
                               n > 1 ? "%zu sequences at once, after %zu tokens"
                                     : "%zu sequence, after %zu tokens",
                               n, context);
    row->size = n;
    row->context = context;
    bench_rate(row, (double)n, "tokens/s");
    if (b->peaks.read_gb_s > 0) {
        row->share =
            bytes_of_step(b, n, context) / (row->ms / 1e3) / (b->peaks.read_gb_s * 1e9) * 100;
        row->bound = "memory";
    }
    return VL2_OK;
}

/* One sequence after each context, in rising order so that each begins with the one before. */
static vl2_status time_contexts(bench *b, decoding *d, vl2_error *err) {
    for (size_t done = 0, at = 0; done < b->contexts.n; done++) {
        size_t next = SIZE_MAX;
        for (size_t i = 0; i < b->contexts.n; i++) {
            if (b->contexts.at[i] > at && b->contexts.at[i] < next) next = b->contexts.at[i];
        }
        if (next == SIZE_MAX) break; /* a number was given twice */
        at = next;
        VL2_TRY(bench_fill(b, d->steps, d->sessions[0], at, err));
        VL2_TRY(time_steps(b, d, 1, at, err));
    }
    return VL2_OK;
}

static vl2_status time_company(bench *b, decoding *d, vl2_error *err) {
    size_t context = b->contexts.at[0];
    VL2_TRY(vl2_session_truncate(d->sessions[0], context, err));
    for (size_t k = 1; k < b->sequences.largest; k++) {
        VL2_TRY(vl2_session_fork(&d->sessions[k], d->sessions[0], context, err));
    }
    for (size_t i = 0; i < b->sequences.n; i++) {
        if (b->sequences.at[i] > 1) VL2_TRY(time_steps(b, d, b->sequences.at[i], context, err));
    }
    return VL2_OK;
}

vl2_status bench_decode(bench *b, vl2_error *err) {
    decoding d = {0};
    vl2_status status = make_times(&d.ms, b, err);
    /* bandwidth changes from minute to minute where others share the machine */
    if (status == VL2_OK) status = vl2_dev_measure_peaks(&b->peaks, b->engine, err);
    if (status == VL2_OK) {
        status = make_batch(&d.steps, b, b->contexts.largest, b->sequences.largest, err);
    }
    if (status == VL2_OK) status = vl2_session_create(&d.sessions[0], b->engine, err);
    if (status == VL2_OK) status = time_contexts(b, &d, err);
    if (status == VL2_OK) status = time_company(b, &d, err);
    for (size_t k = 0; k < BENCH_SEQUENCES; k++) vl2_session_free(d.sessions[k]);
    vl2_batch_free(d.steps);
    vl2_mem_free(d.ms);
    return status;
}
