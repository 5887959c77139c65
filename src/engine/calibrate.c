/* An importance matrix: the squares of what each matrix is multiplied with, summed up by standing
 * between the stages and the backend while an engine works. model/imatrix.h tells of the file. */
#include "engine/engine.h"
#include "vl2/vl2_dev.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/imatrix.h"

typedef struct entry { /* a tensor's matrices */
    char name[64];
    size_t n, cols;
    double *sums; /* [n,cols] */
    double *rows; /* [n] */
} entry;

typedef struct place { /* where a matrix lies, and whose it is */
    const void *data;
    size_t entry, index;
} place;

struct vl2_dev_calibration {
    vl2_ops ops; /* first: the backend's table, while it lasts */
    const vl2_ops *inner;
    vl2_engine *engine;
    entry *entries;
    size_t n_entries, room;
    place *places; /* by data */
    size_t n_places, places_room;
};

/* ---- between stage and backend ------------------------------------------------------------------ */

static const vl2_dev_calibration *watching(const vl2_backend *be) {
    return (const vl2_dev_calibration *)(const void *)be->ops;
}

static const place *find(const vl2_dev_calibration *c, const void *data) {
    size_t low = 0, high = c->n_places;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (c->places[middle].data == data) return &c->places[middle];
        if ((uintptr_t)c->places[middle].data < (uintptr_t)data)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Rows first … first+n-1 of x, or those that index names. */
static void note(const vl2_dev_calibration *c, const vl2_mat *w, const float *x, size_t ldx,
                 const uint32_t *index, size_t first, size_t n) {
    const place *p = w ? find(c, w->data) : NULL;
    if (!p) return;
    const entry *e = &c->entries[p->entry];
    double *sums = e->sums + p->index * e->cols;
    for (size_t i = first; i < first + n; i++) {
        const float *row = x + (index ? index[i] : i) * ldx;
        for (size_t k = 0; k < e->cols; k++) sums[k] += (double)row[k] * (double)row[k];
    }
    e->rows[p->index] += (double)n;
}

static void note_groups(const vl2_dev_calibration *c, const float *x, size_t ldx,
                        const uint32_t *index, const vl2_group *groups, size_t n_groups) {
    for (size_t i = 0; i < n_groups; i++) {
        note(c, groups[i].w, x, ldx, index, groups[i].first, groups[i].n);
        note(c, groups[i].w2, x, ldx, index, groups[i].first, groups[i].n);
    }
}

static void linear(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                   const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue, bool exact) {
    const vl2_dev_calibration *c = watching(be);
    note(c, w, x, ldx, NULL, 0, m);
    c->inner->linear(be, y, ldy, x, ldx, m, w, b, epilogue, exact);
}

static void gated(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                  const vl2_mat *gate, const vl2_mat *up, vl2_epilogue act) {
    const vl2_dev_calibration *c = watching(be);
    note(c, gate, x, ldx, NULL, 0, m);
    note(c, up, x, ldx, NULL, 0, m);
    c->inner->gated(be, y, ldy, x, ldx, m, gate, up, act);
}

static void products(vl2_backend *be, const vl2_call *calls, size_t n) {
    const vl2_dev_calibration *c = watching(be);
    for (size_t i = 0; i < n; i++)
        note_groups(c, calls[i].x, calls[i].ldx, calls[i].index, calls[i].groups,
                    calls[i].n_groups);
    c->inner->products(be, calls, n);
}

/* ---- which matrices there are -------------------------------------------------------------------- */

static vl2_status count(void *context, const vl2_weights_tensor *t, vl2_error *err) {
    vl2_dev_calibration *c = context;
    (void)err;
    if (!t->mat) return VL2_OK;
    c->room++;
    c->places_room += t->n;
    return VL2_OK;
}

static vl2_status add(void *context, const vl2_weights_tensor *t, vl2_error *err) {
    vl2_dev_calibration *c = context;
    if (!t->mat) return VL2_OK;
    entry *e = &c->entries[c->n_entries++];
    *e = (entry){.n = t->n, .cols = t->mat->cols};
    snprintf(e->name, sizeof e->name, "%s", t->name);
    if (t->mat->cols > SIZE_MAX / sizeof(double) / t->n)
        return vl2_fail_memory(err, t->name, SIZE_MAX);
    e->sums = vl2_mem_calloc(t->n * t->mat->cols, sizeof *e->sums);
    e->rows = vl2_mem_calloc(t->n, sizeof *e->rows);
    if (!e->sums || !e->rows)
        return vl2_fail_memory(err, t->name, t->n * t->mat->cols * sizeof *e->sums);
    for (size_t i = 0; i < t->n; i++) {
        const vl2_mat *mat = (const void *)((const char *)t->mat + i * t->step);
        c->places[c->n_places++] = (place){mat->data, c->n_entries - 1, i};
    }
    return VL2_OK;
}

static int by_data(const void *a, const void *b) {
    const uintptr_t x = (uintptr_t)((const place *)a)->data,
                    y = (uintptr_t)((const place *)b)->data;
    return (x > y) - (x < y);
}

static vl2_status list_matrices(vl2_dev_calibration *c, vl2_error *err) {
    const vl2_engine *engine = c->engine;
    VL2_TRY(vl2_weights_each(&engine->weights, &engine->config, count, c, err));
    c->entries = vl2_mem_calloc(c->room, sizeof *c->entries);
    c->places = vl2_mem_calloc(c->places_room, sizeof *c->places);
    if (!c->entries || !c->places)
        return vl2_fail_memory(err, "an importance matrix", c->places_room * sizeof *c->places);
    VL2_TRY(vl2_weights_each(&engine->weights, &engine->config, add, c, err));
    qsort(c->places, c->n_places, sizeof *c->places, by_data);
    return VL2_OK;
}

static void free_all(vl2_dev_calibration *c) {
    for (size_t i = 0; i < c->n_entries; i++) {
        vl2_mem_free(c->entries[i].sums);
        vl2_mem_free(c->entries[i].rows);
    }
    vl2_mem_free(c->entries);
    vl2_mem_free(c->places);
    vl2_mem_free(c);
}

vl2_status vl2_dev_calibration_begin(vl2_dev_calibration **out, vl2_engine *engine,
                                     vl2_error *err) {
    vl2_dev_calibration *c = vl2_mem_calloc(1, sizeof *c);
    if (!c) return vl2_fail_memory(err, "an importance matrix", sizeof *c);
    c->engine = engine;
    const vl2_status status = list_matrices(c, err);
    if (status != VL2_OK) {
        free_all(c);
        return status;
    }
    c->inner = engine->be->ops;
    c->ops = *c->inner;
    c->ops.linear = linear;
    c->ops.gated = gated;
    c->ops.products = products;
    engine->be->ops = &c->ops;
    *out = c;
    return VL2_OK;
}

void vl2_dev_calibration_end(vl2_dev_calibration *calibration) {
    if (!calibration) return;
    calibration->engine->be->ops = calibration->inner;
    free_all(calibration);
}

/* ---- the file ----------------------------------------------------------------------------------- */

static bool was_met(const entry *e) {
    for (size_t i = 0; i < e->n; i++)
        if (e->rows[i] > 0) return true;
    return false;
}

static vl2_status announce(vl2_gguf_out *head, const entry *e, vl2_error *err) {
    const size_t sums[] = {e->n, e->cols}, counts[] = {e->n, 1}, f = sizeof(float);
    char name[128];
    snprintf(name, sizeof name, "%s." VL2_IMATRIX_SUMS, e->name);
    VL2_TRY(vl2_gguf_add_tensor(head, name, VL2_F32, sums, 2, e->n * e->cols * f, err));
    snprintf(name, sizeof name, "%s." VL2_IMATRIX_COUNTS, e->name);
    return vl2_gguf_add_tensor(head, name, VL2_F32, counts, 2, e->n * f, err);
}

static vl2_status write_numbers(vl2_writer *writer, const double *x, size_t n, vl2_error *err) {
    static const uint8_t zeros[VL2_GGUF_ALIGN] = {0};
    float some[1024];
    for (size_t i = 0; i < n; i += sizeof some / sizeof *some) {
        size_t m = n - i < sizeof some / sizeof *some ? n - i : sizeof some / sizeof *some;
        for (size_t k = 0; k < m; k++) some[k] = (float)x[i + k];
        VL2_TRY(vl2_writer_add(writer, some, m * sizeof *some, err));
    }
    return vl2_writer_add(writer, zeros, vl2_gguf_padding(n * sizeof(float)), err);
}

static vl2_status write_all(vl2_writer *writer, const vl2_dev_calibration *c, const vl2_buf *head,
                            vl2_error *err) {
    VL2_TRY(vl2_writer_add(writer, head->data, head->size, err));
    for (size_t i = 0; i < c->n_entries; i++) {
        const entry *e = &c->entries[i];
        if (!was_met(e)) continue;
        VL2_TRY(write_numbers(writer, e->sums, e->n * e->cols, err));
        VL2_TRY(write_numbers(writer, e->rows, e->n, err));
    }
    return VL2_OK;
}

static vl2_status make_head(vl2_buf *out, vl2_gguf_out *head, const vl2_dev_calibration *c,
                            vl2_error *err) {
    VL2_TRY(vl2_gguf_add_text(head, "general.type", "imatrix", 7, err));
    VL2_TRY(vl2_gguf_add_u32(head, "general.alignment", VL2_GGUF_ALIGN, err));
    for (size_t i = 0; i < c->n_entries; i++)
        if (was_met(&c->entries[i])) VL2_TRY(announce(head, &c->entries[i], err));
    return vl2_gguf_head(out, head, err);
}

vl2_status vl2_dev_calibration_write(const vl2_dev_calibration *calibration, const char *target,
                                     vl2_error *err) {
    vl2_gguf_out out = {0};
    vl2_buf head = {0};
    vl2_writer writer;
    vl2_status status = make_head(&head, &out, calibration, err);
    if (status == VL2_OK) status = vl2_writer_open(&writer, target, err);
    if (status == VL2_OK) {
        status = write_all(&writer, calibration, &head, err);
        if (status == VL2_OK)
            status = vl2_writer_commit(&writer, err);
        else
            vl2_writer_abort(&writer);
    }
    vl2_buf_free(&head);
    vl2_gguf_out_free(&out);
    return status;
}
