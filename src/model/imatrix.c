#include "model/imatrix.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* A column that the calibration never saw still counts a little: a block of such columns must not
 * become anything, and other texts may need it. */
static const float LEAST = 0.01f;

struct vl2_imatrix {
    vl2_checkpoint *file;
};

static vl2_status check_kind(const vl2_imatrix *imatrix, const char *path, vl2_error *err) {
    const char *kind = NULL;
    size_t size = 0;
    VL2_TRY(vl2_gguf_text(&kind, &size, vl2_checkpoint_keys(imatrix->file), "general.type", err));
    if (kind && size == 7 && memcmp(kind, "imatrix", size) == 0) return VL2_OK;
    return vl2_fail(err, VL2_ERR_FORMAT, "%s is no importance matrix: its general.type is \"%.*s\"",
                    path, (int)(size < 40 ? size : 40), kind ? kind : "");
}

vl2_status vl2_imatrix_open(vl2_imatrix **out, const char *path, vl2_error *err) {
    vl2_imatrix *opened = vl2_mem_calloc(1, sizeof *opened);
    if (!opened) return vl2_fail_memory(err, path, sizeof *opened);
    vl2_status status = vl2_checkpoint_open_gguf(&opened->file, path, NULL, err);
    if (status == VL2_OK) status = check_kind(opened, path, err);
    if (status == VL2_OK)
        *out = opened;
    else
        vl2_imatrix_close(opened);
    return status;
}

void vl2_imatrix_close(vl2_imatrix *imatrix) {
    if (!imatrix) return;
    if (imatrix->file) vl2_checkpoint_close(imatrix->file);
    vl2_mem_free(imatrix);
}

/* NAME.part as floats; NULL where the file has none. */
static vl2_status find(const float **out, size_t *n, const vl2_imatrix *imatrix, const char *name,
                       const char *part, vl2_error *err) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", name, part);
    const vl2_tensor *t = vl2_checkpoint_find(imatrix->file, full);
    *out = NULL;
    if (!t) return VL2_OK;
    if (t->type != VL2_F32)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: %s is %s, expected F32",
                        vl2_checkpoint_name(imatrix->file), full, vl2_dtype_of(t->type)->name);
    *out = t->data;
    *n = t->bytes / sizeof **out;
    return VL2_OK;
}

static bool is_sum(float x) { return x >= 0 && x <= FLT_MAX; }

/* w = the columns' rms: their mean squares, which the error of an output has, are noisy and know
 * nothing of how columns go together, and brought less (docs/QUANTIZATION.md). */
static vl2_status scale(float *w, bool *known, const vl2_imatrix *imatrix, const char *name,
                        const float *sums, size_t cols, vl2_error *err) {
    double mean = 0;
    for (size_t i = 0; i < cols; i++) {
        if (!is_sum(sums[i]))
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: %s has %g, which no sum of squares is",
                            vl2_checkpoint_name(imatrix->file), name, (double)sums[i]);
        mean += (double)sums[i] / (double)cols;
    }
    *known = mean > 0;
    for (size_t i = 0; i < cols && *known; i++)
        w[i] = (float)sqrt((double)sums[i] / mean) * (1 - LEAST) + LEAST;
    return VL2_OK;
}

vl2_status vl2_imatrix_weights(float *w, bool *known, const vl2_imatrix *imatrix, const char *name,
                               size_t index, size_t n, size_t cols, vl2_error *err) {
    const float *sums, *counts;
    size_t n_sums = 0, n_counts = 0;
    *known = false;
    VL2_TRY(find(&sums, &n_sums, imatrix, name, VL2_IMATRIX_SUMS, err));
    VL2_TRY(find(&counts, &n_counts, imatrix, name, VL2_IMATRIX_COUNTS, err));
    if (!sums || !counts) return VL2_OK;
    if (n_sums != n * cols || (n_counts != n && n_counts != 1))
        return vl2_fail(err, VL2_ERR_FORMAT,
                        "%s: %s has %zu sums and %zu counts, expected %zu and %zu: another model's",
                        vl2_checkpoint_name(imatrix->file), name, n_sums, n_counts, n * cols, n);
    if (!(counts[n_counts == 1 ? 0 : index] > 0)) return VL2_OK;
    return scale(w, known, imatrix, name, sums + index * cols, cols, err);
}
