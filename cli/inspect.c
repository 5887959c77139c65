/* vl2 inspect: what is in a model, in people's words, and what memory it will take. */
#include "commands.h"
#include "models.h"
#include "terminal.h"
#include "vl2/vl2_dev.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct work {
    cli_options *options;
    char *path;
    char licence[128];
    vl2_engine *engine;
    vl2_dev_checkpoint *checkpoint;
    vl2_dev_memory memory;
} work;

static void size_text(char *out, size_t room, uint64_t bytes) {
    double x = (double)bytes;
    if (x >= 1e9) {
        snprintf(out, room, "%.2f GB", x / 1e9);
    } else if (x >= 1e6) {
        snprintf(out, room, "%.1f MB", x / 1e6);
    } else {
        snprintf(out, room, "%.1f kB", x / 1e3);
    }
}

static void count_text(char *out, size_t room, uint64_t n) {
    if (n >= 100000000) {
        snprintf(out, room, "%.2f billion", (double)n / 1e9);
    } else {
        snprintf(out, room, "%.2f million", (double)n / 1e6);
    }
}

/* "bfloat16 (612 tensors), float32 (27)" */
static vl2_status types_text(vl2_buf *out, const vl2_dev_checkpoint *c, vl2_error *err) {
    size_t n = vl2_dev_checkpoint_count(c);
    for (size_t i = 0; i < n; i++) {
        vl2_dev_tensor t = vl2_dev_checkpoint_at(c, i);
        size_t same = 0;
        bool first = true;
        for (size_t k = 0; k < i && first; k++) {
            first = strcmp(vl2_dev_checkpoint_at(c, k).type, t.type) != 0;
        }
        if (!first) continue;
        for (size_t k = i; k < n; k++) same += !strcmp(vl2_dev_checkpoint_at(c, k).type, t.type);
        VL2_TRY(vl2_buf_addf(out, err, "%s%s (%zu tensors)", out->size ? ", " : "", t.type, same));
    }
    return VL2_OK;
}

static uint64_t physical_memory(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

static uint64_t working_memory(const vl2_dev_memory *m) {
    return m->step_scratch + m->vision_scratch + m->backend_scratch + m->session + m->vocabulary;
}

static uint64_t total_memory(const vl2_dev_memory *m) {
    return m->weights_mapped + m->weights_copied + m->kv_pool + working_memory(m);
}

static void say_memory(const work *w) {
    const vl2_info *info = vl2_engine_info(w->engine);
    const vl2_dev_memory *m = &w->memory;
    char a[32], b[32], c[32], d[32], e[32];
    size_text(a, sizeof a, m->weights_mapped);
    size_text(b, sizeof b, m->kv_pool);
    size_text(c, sizeof c, working_memory(m) + m->weights_copied);
    size_text(d, sizeof d, total_memory(m));
    size_text(e, sizeof e, physical_memory());
    printf("\nMemory it takes\n"
           "  weights          %s, mapped: shared between programs, read as they are needed\n"
           "  cache            %s at most, for a context of %zu tokens (%zu bytes each)\n"
           "  working memory   %s\n"
           "  altogether       %s; this machine has %s%s\n",
           a, b, info->ctx_tokens, info->kv_bytes_per_token, c, d, e,
           total_memory(m) > physical_memory()
               ? ", so it will be slow: weights are read from disk again and again"
               : "");
}

static vl2_status say(const work *w, vl2_error *err) {
    const vl2_info *info = vl2_engine_info(w->engine);
    vl2_buf types = {0};
    char total[32], active[32], bytes[32];
    count_text(total, sizeof total, info->parameters);
    count_text(active, sizeof active, info->activated_parameters);
    size_text(bytes, sizeof bytes, info->weight_bytes);
    if (w->checkpoint) VL2_TRY(types_text(&types, w->checkpoint, err));
    printf("%s\n", info->name);
    printf("  where            %s\n", w->path);
    printf("  licence          %s\n", w->licence);
    printf("  architecture     %s\n", info->architecture);
    printf("  parameters       %s, of which %s work on a token\n", total, active);
    printf("  numbers          %s; %s\n", types.data ? types.data : "", bytes);
    printf("  language model   %zu layers, %zu wide, vocabulary of %zu\n", info->layers,
           info->hidden_size, info->vocab_size);
    if (info->experts) {
        printf("  experts          %zu a layer, %zu of them for each token\n", info->experts,
               info->experts_per_token);
    }
    printf("  pictures         views of %zu x %zu pixels, %zu tokens each, up to %zu a picture\n",
           info->view_side, info->view_side, info->tokens_per_view, info->max_views);
    printf("  context          %zu tokens\n", info->max_positions);
    if (info->is_demo)
        printf("  this is the demo checkpoint: it knows drawn scenes only, no photos\n");
    printf("  runs here with   %d threads, CPU level %s, compute %s\n", info->threads,
           info->cpu_level, info->compute);
    say_memory(w);
    vl2_buf_free(&types);
    return VL2_OK;
}

/* ---- tensors --------------------------------------------------------------------------------------- */

static vl2_status shape_text(vl2_buf *out, const vl2_dev_tensor *t, vl2_error *err) {
    vl2_buf_clear(out);
    VL2_TRY(vl2_buf_addf(out, err, "["));
    for (size_t k = 0; k < t->rank; k++) {
        VL2_TRY(vl2_buf_addf(out, err, "%s%zu", k ? ", " : "", t->shape[k]));
    }
    return vl2_buf_addf(out, err, "]");
}

static const char *file_name(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : (path ? path : "");
}

static vl2_status say_tensors(const work *w, vl2_error *err) {
    size_t n = w->checkpoint ? vl2_dev_checkpoint_count(w->checkpoint) : 0;
    vl2_buf shape = {0};
    vl2_status status = VL2_OK;
    for (size_t i = 0; i < n && status == VL2_OK; i++) {
        vl2_dev_tensor t = vl2_dev_checkpoint_at(w->checkpoint, i);
        status = shape_text(&shape, &t, err);
        printf("%-8s %-20s %12" PRIu64 "  %s  (%s)\n", t.type, shape.data, t.bytes, t.name,
               file_name(t.file));
    }
    vl2_buf_free(&shape);
    return status;
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static vl2_status quoted(vl2_buf *out, const char *key, const char *text, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "\"%s\": ", key));
    VL2_TRY(vl2_json_quote(out, text, strlen(text), err));
    return vl2_buf_addf(out, err, ", ");
}

static vl2_status json_tensors(vl2_buf *out, const work *w, vl2_error *err) {
    vl2_buf shape = {0};
    vl2_status status = vl2_buf_addf(out, err, ", \"tensors\": [");
    size_t n = w->checkpoint ? vl2_dev_checkpoint_count(w->checkpoint) : 0;
    for (size_t i = 0; i < n && status == VL2_OK; i++) {
        vl2_dev_tensor t = vl2_dev_checkpoint_at(w->checkpoint, i);
        VL2_GOTO(done, status, vl2_buf_addf(out, err, "%s{", i ? ", " : ""));
        VL2_GOTO(done, status, quoted(out, "name", t.name, err));
        VL2_GOTO(done, status, quoted(out, "type", t.type, err));
        VL2_GOTO(done, status, quoted(out, "file", file_name(t.file), err));
        VL2_GOTO(done, status, shape_text(&shape, &t, err));
        VL2_GOTO(
            done, status,
            vl2_buf_addf(out, err, "\"shape\": %s, \"bytes\": %" PRIu64 "}", shape.data, t.bytes));
    }
    if (status == VL2_OK) status = vl2_buf_addf(out, err, "]");
done:
    vl2_buf_free(&shape);
    return status;
}

static vl2_status write_json(vl2_buf *out, const work *w, vl2_error *err) {
    const vl2_info *i = vl2_engine_info(w->engine);
    const vl2_dev_memory *m = &w->memory;
    VL2_TRY(vl2_buf_addf(out, err, "{"));
    VL2_TRY(quoted(out, "name", i->name, err));
    VL2_TRY(quoted(out, "path", w->path, err));
    VL2_TRY(quoted(out, "licence", w->licence, err));
    VL2_TRY(quoted(out, "architecture", i->architecture, err));
    VL2_TRY(vl2_buf_addf(out, err,
                         "\"is_demo\": %s, \"parameters\": %" PRIu64
                         ", \"activated_parameters\": %" PRIu64 ", \"weight_bytes\": %" PRIu64
                         ", \"vocab_size\": %zu, \"hidden_size\": %zu, \"layers\": %zu, "
                         "\"experts\": %zu, \"experts_per_token\": %zu, ",
                         i->is_demo ? "true" : "false", i->parameters, i->activated_parameters,
                         i->weight_bytes, i->vocab_size, i->hidden_size, i->layers, i->experts,
                         i->experts_per_token));
    VL2_TRY(
        vl2_buf_addf(out, err,
                     "\"view_side\": %zu, \"tokens_per_view\": %zu, \"max_views\": %zu, "
                     "\"max_positions\": %zu, \"ctx_tokens\": %zu, \"kv_bytes_per_token\": %zu, "
                     "\"threads\": %d, ",
                     i->view_side, i->tokens_per_view, i->max_views, i->max_positions,
                     i->ctx_tokens, i->kv_bytes_per_token, i->threads));
    VL2_TRY(quoted(out, "cpu_level", i->cpu_level, err));
    VL2_TRY(quoted(out, "compute", i->compute, err));
    VL2_TRY(vl2_buf_addf(
        out, err,
        "\"memory\": {\"weights_mapped\": %" PRIu64 ", \"weights_copied\": %" PRIu64
        ", \"kv_pool\": %" PRIu64 ", \"step_scratch\": %" PRIu64 ", \"vision_scratch\": %" PRIu64
        ", \"backend_scratch\": %" PRIu64 ", \"session\": %" PRIu64 ", \"vocabulary\": %" PRIu64
        ", \"total\": %" PRIu64 "}",
        m->weights_mapped, m->weights_copied, m->kv_pool, m->step_scratch, m->vision_scratch,
        m->backend_scratch, m->session, m->vocabulary, total_memory(m)));
    if (w->options->tensors) VL2_TRY(json_tensors(out, w, err));
    return vl2_buf_addf(out, err, "}\n");
}

static vl2_status inspect(work *w, vl2_error *err) {
    cli_options *o = w->options;
    size_t chunk = o->chunk_size;
    o->model = o->arguments.n ? o->arguments.items[0] : o->model;
    VL2_TRY(cli_models_find(&w->path, o->model, err));
    cli_models_licence(w->licence, sizeof w->licence, w->path);
    o->quiet = true; /* all that would be said on the way is in the answer */
    VL2_TRY(cli_models_open(&w->engine, o, 0, NULL, err));
    VL2_TRY(vl2_dev_checkpoint_open(&w->checkpoint, w->path, err));
    if (!chunk) chunk = vl2_engine_info(w->engine)->ctx_tokens;
    w->memory = vl2_dev_memory_of(w->engine, chunk);
    if (!o->json) {
        VL2_TRY(say(w, err));
        if (o->tensors) printf("\nTensors\n");
        return o->tensors ? say_tensors(w, err) : VL2_OK;
    }
    vl2_buf out = {0};
    vl2_status status = write_json(&out, w, err);
    if (status == VL2_OK) status = cli_terminal_write(out.data, out.size, err);
    vl2_buf_free(&out);
    return status;
}

int cli_inspect_main(cli_options *options) {
    work w = {.options = options};
    vl2_error err = {0};
    if (options->model && options->arguments.n) {
        return cli_main_usage("inspect", "the model is named twice, with -m and without");
    }
    vl2_status status = inspect(&w, &err);
    vl2_dev_checkpoint_close(w.checkpoint);
    vl2_engine_close(w.engine);
    vl2_mem_free(w.path);
    return status == VL2_OK ? 0 : cli_main_fail("inspect", &err);
}
