/* server/metrics.h - counters for people and Prometheus; any thread. */
#ifndef VL2_SERVER_METRICS_H
#define VL2_SERVER_METRICS_H

#include "base/buf.h"

typedef struct vl2_metrics vl2_metrics;
#define VL2_COUNTER_MAP(X)                                                                         \
    X(REQUESTS_OK, "vl2_requests_total{result=\"ok\"}", "Requests answered")                       \
    X(REQUESTS_BAD, "vl2_requests_total{result=\"refused\"}", "")                                  \
    X(REQUESTS_BUSY, "vl2_requests_total{result=\"busy\"}", "")                                    \
    X(REQUESTS_GONE, "vl2_requests_total{result=\"cancelled\"}", "")                               \
    X(REQUESTS_ERROR, "vl2_requests_total{result=\"error\"}", "")                                  \
    X(PROMPT_TOKENS, "vl2_prompt_tokens_total", "Prompt tokens, cached ones included")             \
    X(CACHED_TOKENS, "vl2_cached_tokens_total", "Prompt tokens taken from the prefix cache")       \
    X(COMPLETION_TOKENS, "vl2_completion_tokens_total", "Tokens generated")                        \
    X(VIEW_STEPS, "vl2_vision_steps_total", "Bounded pieces of work of the vision tower")          \
    X(ROWS_HIT, "vl2_image_cache_total{result=\"hit\"}", "Pictures looked up in the image cache")  \
    X(ROWS_MISS, "vl2_image_cache_total{result=\"miss\"}", "")                                     \
    X(STEPS, "vl2_steps_total", "Batch steps")                                                     \
    X(STEP_SEQUENCES, "vl2_step_sequences_total", "Sequences of all batch steps together")
#define VL2_GAUGE_MAP(X)                                                                           \
    X(WAITING, "vl2_requests_waiting", "Requests in the queue")                                    \
    X(RUNNING, "vl2_requests_running", "Requests that have a place")                               \
    X(SEQUENCES, "vl2_batch_sequences", "Sequences in the last step")                              \
    X(KV_FREE, "vl2_kv_tokens_free", "Room in the KV pool, tokens")                                \
    X(PREFIX_TOKENS, "vl2_prefix_cache_tokens", "Tokens of finished sequences kept")               \
    X(ROWS_BYTES, "vl2_image_cache_bytes", "Bytes of picture rows kept")
#define VL2_HISTOGRAM_MAP(X)                                                                       \
    X(FIRST_TOKEN, "vl2_time_to_first_token_seconds", "From arrival to the first token")           \
    X(BETWEEN, "vl2_time_between_tokens_seconds", "Between tokens of one answer")                  \
    X(REQUEST, "vl2_request_seconds", "From arrival to the end")

typedef enum vl2_counter {
#define X(name, text, help) VL2_COUNT_##name,
    VL2_COUNTER_MAP(X)
#undef X
        VL2_COUNTERS
} vl2_counter;
typedef enum vl2_gauge {
#define X(name, text, help) VL2_GAUGE_##name,
    VL2_GAUGE_MAP(X)
#undef X
        VL2_GAUGES
} vl2_gauge;
typedef enum vl2_histogram {
#define X(name, text, help) VL2_TIME_##name,
    VL2_HISTOGRAM_MAP(X)
#undef X
        VL2_HISTOGRAMS
} vl2_histogram;

vl2_metrics *vl2_metrics_create(void);
void vl2_metrics_free(vl2_metrics *metrics);
void vl2_metrics_add(vl2_metrics *metrics, vl2_counter counter, uint64_t n);
void vl2_metrics_set(vl2_metrics *metrics, vl2_gauge gauge, double value);
void vl2_metrics_time(vl2_metrics *metrics, vl2_histogram histogram, double seconds);
vl2_status vl2_metrics_write(vl2_buf *out, const vl2_metrics *metrics,
                             vl2_error *err); /* Prometheus text */

#endif
