#include "server/metrics.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>

static const double bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                2.5,   5,    10,    30,   60,  120,  300};
enum { BUCKETS = sizeof bounds / sizeof bounds[0] };

typedef struct histogram {
    uint64_t bucket[BUCKETS + 1], count;
    double sum;
} histogram;

struct vl2_metrics {
    pthread_mutex_t mutex;
    uint64_t counters[VL2_COUNTERS];
    double gauges[VL2_GAUGES];
    histogram times[VL2_HISTOGRAMS];
};

vl2_metrics *vl2_metrics_create(void) {
    vl2_metrics *metrics = vl2_mem_calloc(1, sizeof *metrics);
    if (metrics && pthread_mutex_init(&metrics->mutex, NULL) != 0) {
        vl2_mem_free(metrics);
        return NULL;
    }
    return metrics;
}

void vl2_metrics_free(vl2_metrics *metrics) {
    if (!metrics) return;
    pthread_mutex_destroy(&metrics->mutex);
    vl2_mem_free(metrics);
}

void vl2_metrics_add(vl2_metrics *metrics, vl2_counter counter, uint64_t n) {
    pthread_mutex_lock(&metrics->mutex);
    metrics->counters[counter] += n;
    pthread_mutex_unlock(&metrics->mutex);
}

void vl2_metrics_set(vl2_metrics *metrics, vl2_gauge gauge, double value) {
    pthread_mutex_lock(&metrics->mutex);
    metrics->gauges[gauge] = value;
    pthread_mutex_unlock(&metrics->mutex);
}

void vl2_metrics_time(vl2_metrics *metrics, vl2_histogram which, double seconds) {
    pthread_mutex_lock(&metrics->mutex);
    histogram *h = &metrics->times[which];
    size_t i = 0;
    while (i < BUCKETS && seconds > bounds[i]) i++;
    h->bucket[i]++;
    h->count++;
    h->sum += seconds;
    pthread_mutex_unlock(&metrics->mutex);
}

/* HELP and TYPE lines come once for each name, which is the text up to a label. */
static vl2_status write_head(vl2_buf *out, const char *text, const char *help, const char *type,
                             vl2_error *err) {
    if (!*help) return VL2_OK;
    int n = (int)strcspn(text, "{");
    return vl2_buf_addf(out, err, "# HELP %.*s %s.\n# TYPE %.*s %s\n", n, text, help, n, text,
                        type);
}

static vl2_status write_histogram(vl2_buf *out, const char *name, const histogram *h,
                                  vl2_error *err) {
    uint64_t below = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        below += h->bucket[i];
        VL2_TRY(vl2_buf_addf(out, err, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i],
                             (unsigned long long)below));
    }
    return vl2_buf_addf(out, err, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name,
                        (unsigned long long)h->count, name, h->sum, name,
                        (unsigned long long)h->count);
}

static vl2_status write_all(vl2_buf *out, const vl2_metrics *metrics, vl2_error *err) {
#define X(name, text, help)                                                                        \
    VL2_TRY(write_head(out, text, help, "counter", err));                                          \
    VL2_TRY(vl2_buf_addf(out, err, "%s %llu\n", text,                                              \
                         (unsigned long long)metrics->counters[VL2_COUNT_##name]));
    VL2_COUNTER_MAP(X)
#undef X
#define X(name, text, help)                                                                        \
    VL2_TRY(write_head(out, text, help, "gauge", err));                                            \
    VL2_TRY(vl2_buf_addf(out, err, "%s %g\n", text, metrics->gauges[VL2_GAUGE_##name]));
    VL2_GAUGE_MAP(X)
#undef X
#define X(name, text, help)                                                                        \
    VL2_TRY(write_head(out, text, help, "histogram", err));                                        \
    VL2_TRY(write_histogram(out, text, &metrics->times[VL2_TIME_##name], err));
    VL2_HISTOGRAM_MAP(X)
#undef X
    return VL2_OK;
}

vl2_status vl2_metrics_write(vl2_buf *out, const vl2_metrics *metrics, vl2_error *err) {
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&metrics->mutex;
    pthread_mutex_lock(mutex);
    vl2_status status = write_all(out, metrics, err);
    pthread_mutex_unlock(mutex);
    return status;
}
