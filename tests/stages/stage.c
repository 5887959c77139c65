#include "stages/stage.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(vl2_status status, const vl2_error *err) {
    if (status != VL2_OK) fail_msg("%s", err->text);
}

void stage_level(stage_model *model, int threads, const char *level) {
    const vl2_backend_options options = {
        .threads = threads, .cpu_level = level, .compute = VL2_COMPUTE_F32};
    vl2_error err = {0};
    vl2_backend_free(model->backend);
    model->backend = NULL;
    must(vl2_backend_create(&model->backend, &options, &err), &err);
}

void stage_threads(stage_model *model, int threads) { stage_level(model, threads, NULL); }

void stage_open(stage_model *model, const char *folder, int threads) {
    vl2_error err = {0};
    memset(model, 0, sizeof *model);
    snprintf(model->folder, sizeof model->folder, "%s", folder);
    must(vl2_config_read(&model->config, folder, &err), &err);
    must(vl2_checkpoint_open(&model->checkpoint, folder, &err), &err);
    must(vl2_weights_bind(&model->weights, &model->config, model->checkpoint, &err), &err);
    stage_threads(model, threads);
}

void stage_close(stage_model *model) {
    vl2_backend_free(model->backend);
    vl2_weights_free(&model->weights);
    vl2_checkpoint_close(model->checkpoint);
}

vl2_ops *stage_alter(stage_model *model) {
    model->altered = *model->backend->ops;
    model->backend->ops = &model->altered;
    return &model->altered;
}

void stage_open_golden(stage_model *model, const char *name, int threads) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s/%s", VL2_TEST_GOLDEN, name);
    stage_open(model, folder, threads);
}

vl2_checkpoint *stage_recorded(const stage_model *model, const char *name) {
    char path[1024];
    vl2_error err = {0};
    vl2_checkpoint *recorded = NULL;
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", model->folder, name);
    must(vl2_checkpoint_open_file(&recorded, path, &err), &err);
    return recorded;
}

/* ---- all cases -------------------------------------------------------------------------------- */

enum { MAX_NAMES = 64 };
typedef struct names {
    char text[MAX_NAMES][256];
    size_t n;
} names;

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* The folder's entries that end in `ending` and contain `part`, sorted, the ending cut off. */
static void list(names *out, const char *folder, const char *ending, const char *part) {
    out->n = 0;
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        const size_t size = strlen(entry->d_name), tail = strlen(ending);
        if (entry->d_name[0] == '.' || size < tail || size >= sizeof out->text[0]) continue;
        if (strcmp(entry->d_name + size - tail, ending) || (part && !strstr(entry->d_name, part)))
            continue;
        assert_true(out->n < MAX_NAMES);
        memcpy(out->text[out->n], entry->d_name, size - tail);
        out->text[out->n++][size - tail] = '\0';
    }
    closedir(dir);
    qsort(out->text, out->n, sizeof out->text[0], by_name);
}

static size_t each_case_of(const char *folder, const char *name, stage_case_fn fn, void *user) {
    stage_model model;
    char path[1024], label[512];
    names cases;
    snprintf(path, sizeof path, "%s/%s/golden", folder, name);
    list(&cases, path, ".safetensors", NULL);
    if (cases.n == 0) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    stage_open(&model, path, 2);
    for (size_t i = 0; i < cases.n; i++) {
        vl2_checkpoint *recorded = stage_recorded(&model, cases.text[i]);
        snprintf(label, sizeof label, "%.200s/%.200s", name, cases.text[i]);
        fn(&model, recorded, label, user);
        vl2_checkpoint_close(recorded);
    }
    stage_close(&model);
    return cases.n;
}

size_t stage_each_case(const char *filter, stage_case_fn fn, void *user) {
    static const char *const folders[] = {VL2_TEST_GOLDEN, VL2_TEST_GOLDEN "-extra"};
    size_t count = 0;
    for (size_t f = 0; f < 2; f++) {
        names models;
        list(&models, folders[f], "", filter);
        for (size_t i = 0; i < models.n; i++) {
            count += each_case_of(folders[f], models.text[i], fn, user);
        }
    }
    return count;
}

/* ---- recorded tensors -------------------------------------------------------------------------- */

const vl2_tensor *stage_tensor(const vl2_checkpoint *recorded, const char *name) {
    return vl2_checkpoint_find(recorded, name);
}

static size_t elements(const vl2_tensor *tensor) {
    size_t n = 1;
    for (size_t i = 0; i < tensor->rank; i++) n *= tensor->shape[i];
    return n;
}

float *stage_floats(const vl2_checkpoint *recorded, const char *name) {
    const vl2_tensor *tensor = vl2_checkpoint_find(recorded, name);
    if (!tensor) return NULL;
    assert_int_equal(tensor->type, VL2_F32);
    float *out = test_malloc(elements(tensor) * sizeof *out + 1);
    memcpy(out, tensor->data, elements(tensor) * sizeof *out);
    return out;
}

int32_t stage_int(const vl2_tensor *tensor, size_t i) {
    int32_t out;
    assert_int_equal(tensor->type, VL2_I32);
    memcpy(&out, (const char *)tensor->data + i * sizeof out, sizeof out);
    return out;
}

/* ---- numbers ----------------------------------------------------------------------------------- */

double stage_distance(const float *a, const float *b, size_t n) {
    double most = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (isnan(d)) return INFINITY;
        if (d > most) most = d;
        squares += (double)b[i] * (double)b[i];
    }
    return most / sqrt(squares / (double)n);
}

void stage_near(const float *a, const float *b, size_t n, const char *name, const char *what) {
    const double d = stage_distance(a, b, n);
    if (!(d < STAGE_TOLERANCE)) fail_msg("%s: %s is off by %.3g of its rms", name, what, d);
}

float *stage_noise(size_t n, uint32_t seed) {
    float *out = test_malloc(n * sizeof *out + 1);
    uint64_t state = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (float)((double)(state >> 40) / (double)(1 << 23) - 1.0);
    }
    return out;
}

vl2_mat stage_mat(const float *data, size_t rows, size_t cols) {
    return (vl2_mat){
        .data = data, .type = VL2_F32, .rows = rows, .cols = cols, .stride = cols * sizeof *data};
}

vl2_vec stage_vec(const float *data, size_t n) { return (vl2_vec){.data = data, .size = n}; }
