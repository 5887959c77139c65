/* Opening, with and without the files in the system's cache, to the first token; and what memory the
 * parts of an engine took against what they had planned. */
#include "bench.h"

#include "clock.h"
#include "models.h"
#include "progress.h"

#include "base/err.h"
#include "base/mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SHORT_PROMPT = 16 }; /* tokens: a short question's */

/* ---- loading --------------------------------------------------------------------------------- */

/* A short prompt's first logits: what a person waits for after opening. */
static vl2_status first_token(bench *b, vl2_error *err) {
    vl2_batch *steps = NULL;
    vl2_session *session = NULL;
    vl2_status status = vl2_batch_create(&steps, b->engine, SHORT_PROMPT, 1, err);
    if (status == VL2_OK) status = vl2_session_create(&session, b->engine, err);
    if (status == VL2_OK) status = bench_fill(b, steps, session, SHORT_PROMPT, err);
    vl2_session_free(session);
    vl2_batch_free(steps);
    return status;
}

/* Asks the system to forget what it holds of a file: only clean pages nobody maps go. */
static void forget_file(const char *file) {
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

/* Of all that opening a model reads: files with tensors, and what lies beside them (configuration,
 * vocabulary). */
static vl2_status forget_files(const bench *b, vl2_error *err) {
    vl2_dev_checkpoint *checkpoint = NULL;
    VL2_TRY(vl2_dev_checkpoint_open(&checkpoint, b->path, err));
    const char *last = "";
    for (size_t i = 0; i < vl2_dev_checkpoint_count(checkpoint); i++) {
        const char *file = vl2_dev_checkpoint_at(checkpoint, i).file;
        if (file && strcmp(file, last) != 0) forget_file(file);
        if (file) last = file;
    }
    vl2_dev_checkpoint_close(checkpoint);
    if (b->options->mmproj) forget_file(b->options->mmproj);
    char name[4096];
    DIR *folder = opendir(b->path); /* NULL: a single file */
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        int size = snprintf(name, sizeof name, "%s/%s", b->path, entry->d_name);
        if (size > 0 && (size_t)size < sizeof name) forget_file(name);
    }
    if (folder) closedir(folder);
    return VL2_OK;
}

static vl2_status time_loads(bench *b, bool cold, double *open_ms, double *token_ms,
                             vl2_error *err) {
    for (size_t i = 0; i < b->options->repeat; i++) {
        vl2_engine_close(b->engine);
        b->engine = NULL;
        if (cold) VL2_TRY(forget_files(b, err));
        double begun = cli_clock_ms();
        VL2_TRY(bench_open(b, &open_ms[i], err));
        VL2_TRY(first_token(b, err));
        token_ms[i] = cli_clock_ms() - begun;
        bench_ran(b);
    }
    const char *how = cold ? "files not in the cache" : "files in the cache";
    bench_add(b, "load", open_ms, b->options->repeat, "opened, %s", how);
    bench_add(b, "load", token_ms, b->options->repeat, "first token, %s", how);
    return VL2_OK;
}

static vl2_status load_file(bench *b, vl2_error *err) {
    size_t repeat = b->options->repeat;
    double ms = 0;
    VL2_TRY(cli_models_find(&b->path, b->options->model, err));
    if (!bench_wants(b, "load")) return bench_open(b, &ms, err);
    double *open_ms = vl2_mem_array(repeat, sizeof *open_ms);
    double *token_ms = vl2_mem_array(repeat, sizeof *token_ms);
    vl2_status status =
        open_ms && token_ms ? VL2_OK : vl2_fail_memory(err, "timings", repeat * sizeof ms);
    if (status == VL2_OK) status = time_loads(b, true, open_ms, token_ms, err);
    if (status == VL2_OK) status = time_loads(b, false, open_ms, token_ms, err);
    vl2_mem_free(open_ms);
    vl2_mem_free(token_ms);
    return status;
}

vl2_status bench_load(bench *b, vl2_error *err) {
    if (b->options->dummy) {
        double ms = 0;
        VL2_TRY(bench_open(b, &ms, err));
        if (bench_wants(b, "load")) {
            bench_add(b, "load", &ms, 1, "made-up weights, %.2f GB",
                      (double)vl2_engine_info(b->engine)->weight_bytes / 1e9);
        }
    } else {
        VL2_TRY(load_file(b, err));
    }
    b->work = vl2_dev_work_of(b->engine);
    return vl2_dev_measure_peaks(&b->peaks, b->engine, err);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Bytes of this process that no file backs, now. */
static vl2_status anonymous_bytes(double *out, vl2_error *err) {
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long kb = 0;
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        found = sscanf(line, "RssAnon: %lu kB", &kb) == 1;
    }
    if (file) fclose(file);
    if (!found) {
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "/proc/self/status does not tell this process's memory (RssAnon); leave "
                        "memory out of --stages");
    }
    *out = (double)kb * 1024;
    return VL2_OK;
}

/* An engine's parts at work: a view, a prompt of one chunk, the whole pool. */
static vl2_status use_all(bench *b, double *taken, size_t chunk, vl2_error *err) {
    vl2_batch *steps = NULL;
    vl2_session *session = NULL;
    double vision = 0, projector = 0;
    if (b->work.vision_flops > 0)
        VL2_TRY(vl2_dev_time_views(&vision, &projector, b->engine, 1, err));
    vl2_status status = vl2_batch_create(&steps, b->engine, chunk, 1, err);
    if (status == VL2_OK) status = vl2_session_create(&session, b->engine, err);
    if (status == VL2_OK) status = bench_fill(b, steps, session, b->kv_tokens, err);
    if (status == VL2_OK) status = anonymous_bytes(taken, err);
    vl2_session_free(session);
    vl2_batch_free(steps);
    return status;
}

vl2_status bench_memory(bench *b, vl2_error *err) {
    size_t chunk = b->options->chunk_size ? b->options->chunk_size : b->kv_tokens;
    double before = 0, after = 0, ms = 0;
    vl2_engine_close(b->engine);
    b->engine = NULL;
    VL2_TRY(anonymous_bytes(&before, err));
    VL2_TRY(bench_open(b, &ms, err));
    VL2_TRY(use_all(b, &after, chunk, err));
    vl2_dev_memory plan = vl2_dev_memory_of(b->engine, chunk);
    bench_row *row = bench_add(b, "memory", NULL, 0, "working memory and cache");
    double weights = (double)(plan.weights_mapped + plan.weights_copied);
    row->planned = (double)(plan.kv_pool + plan.step_scratch + plan.vision_scratch +
                            plan.backend_scratch + plan.session + plan.vocabulary);
    row->taken = after - before - (double)plan.weights_copied;
    double planned = row->planned + weights, taken = row->taken + weights;
    row = bench_add(b, "memory", NULL, 0, "with the weights");
    row->planned = planned;
    row->taken = taken;
    return VL2_OK;
}
