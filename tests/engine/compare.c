#include "engine/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static float float_at(const vl2_tensor *t, size_t i) {
    float value;
    memcpy(&value, (const char *)t->data + i * sizeof value, sizeof value);
    return value;
}

static double distance(const vl2_tensor *got, const vl2_tensor *wanted) {
    size_t n = wanted->bytes / sizeof(float);
    double worst = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        double a = float_at(got, i), b = float_at(wanted, i), d = fabs(a - b);
        if (!isfinite(d)) return INFINITY;
        if (d > worst) worst = d;
        squares += b * b;
    }
    if (worst == 0) return 0;
    return squares > 0 ? worst / sqrt(squares / (double)n) : INFINITY;
}

static bool same_form(const vl2_tensor *a, const vl2_tensor *b) {
    return a->type == b->type && a->rank == b->rank &&
           memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

static void compare_tensor(trace_difference *out, const vl2_tensor *got, const vl2_tensor *wanted,
                           double tolerance) {
    out->n_compared++;
    if (!got) {
        snprintf(out->problem, sizeof out->problem, "%.60s is missing", wanted->name);
    } else if (!same_form(got, wanted)) {
        snprintf(out->problem, sizeof out->problem, "%.60s has another type or shape",
                 wanted->name);
    } else if (wanted->type != VL2_F32) {
        if (memcmp(got->data, wanted->data, wanted->bytes) != 0) {
            snprintf(out->problem, sizeof out->problem, "%.60s is not equal", wanted->name);
        }
    } else {
        double d = distance(got, wanted);
        if (d >= out->worst) {
            out->worst = d;
            snprintf(out->worst_name, sizeof out->worst_name, "%.60s", wanted->name);
        }
        if (!(d <= tolerance)) {
            snprintf(out->problem, sizeof out->problem, "%.60s is off by %.3g of its rms",
                     wanted->name, d);
        }
    }
}

trace_difference compare_traces(const vl2_checkpoint *got, const vl2_checkpoint *wanted,
                                double tolerance) {
    trace_difference out = {0};
    for (size_t i = 0; i < vl2_checkpoint_count(wanted) && !out.problem[0]; i++) {
        const vl2_tensor *tensor = vl2_checkpoint_at(wanted, i);
        compare_tensor(&out, vl2_checkpoint_find(got, tensor->name), tensor, tolerance);
    }
    for (size_t i = 0; i < vl2_checkpoint_count(got) && !out.problem[0]; i++) {
        const char *name = vl2_checkpoint_at(got, i)->name;
        if (!vl2_checkpoint_find(wanted, name)) {
            snprintf(out.problem, sizeof out.problem, "%.60s is not in the reference's", name);
        }
    }
    if (!out.n_compared) snprintf(out.problem, sizeof out.problem, "nothing to compare");
    return out;
}

trace_difference compare_trace_files(const char *got, const char *wanted, double tolerance) {
    trace_difference out = {0};
    vl2_error err = {0};
    vl2_checkpoint *a = NULL, *b = NULL;
    if (vl2_checkpoint_open_file(&a, got, &err) != VL2_OK ||
        vl2_checkpoint_open_file(&b, wanted, &err) != VL2_OK) {
        snprintf(out.problem, sizeof out.problem, "%.200s", err.text);
    } else {
        out = compare_traces(a, b, tolerance);
    }
    vl2_checkpoint_close(a);
    vl2_checkpoint_close(b);
    return out;
}
