#include "sample/sampler.h"

#include "base/mem.h"
#include "sample/exp.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct candidate {
    float logit;
    int32_t id;
    double weight; /* exp((logit - greatest) / temperature) */
} candidate;

struct vl2_sampler {
    size_t vocab; /* V */
    vl2_sampling sampling;
    uint64_t random[4];
    float *logits;         /* [V] after the penalties */
    candidate *candidates; /* [V] */
    float *heap;           /* [top_k] */
    /* The distinct ids seen, and how often each was generated: */
    int32_t *seen; /* [n_seen], room for V */
    size_t n_seen;
    uint32_t *count;  /* [V] times generated */
    uint8_t *is_seen; /* [V] */
};

/* ---- options ------------------------------------------------------------------------------------ */

void vl2_sampling_init(vl2_sampling *sampling) {
    *sampling =
        (vl2_sampling){.struct_size = sizeof *sampling, .top_p = 1.0f, .repetition_penalty = 1.0f};
}

static vl2_status check_range(const char *field, float value, float min, float max,
                              vl2_error *err) {
    if (value >= min && value <= max) return VL2_OK;
    return vl2_fail(err, VL2_ERR_ARGUMENT, "%s is %g, not %g … %g", field, (double)value,
                    (double)min, (double)max);
}

vl2_status vl2_sampling_check(const vl2_sampling *sampling, vl2_error *err) {
    if (sampling->struct_size != sizeof *sampling) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "sampling.struct_size is %zu, not %zu: call vl2_sampling_init first",
                        sampling->struct_size, sizeof *sampling);
    }
    VL2_TRY(check_range("temperature", sampling->temperature, 0, 100, err));
    VL2_TRY(check_range("top_p", sampling->top_p, 0, 1, err));
    VL2_TRY(check_range("min_p", sampling->min_p, 0, 1, err));
    VL2_TRY(check_range("presence_penalty", sampling->presence_penalty, -100, 100, err));
    VL2_TRY(check_range("frequency_penalty", sampling->frequency_penalty, -100, 100, err));
    if (sampling->top_k < 0) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "top_k is %d, not 0 (off) or more", sampling->top_k);
    }
    if (sampling->repetition_penalty > 0 && sampling->repetition_penalty <= 100) return VL2_OK;
    return vl2_fail(err, VL2_ERR_ARGUMENT, "repetition_penalty is %g, not over 0 and at most 100",
                    (double)sampling->repetition_penalty);
}

/* ---- the generator -------------------------------------------------------------------------------- */

static void seed_random(uint64_t state[4], uint64_t seed) { /* splitmix64 */
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        state[i] = z ^ (z >> 31);
    }
}

static uint64_t rotate(uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }

/* xoshiro256**; uniform in [0, 1). */
static double next_random(uint64_t s[4]) {
    uint64_t result = rotate(s[1] * 5, 7) * 9, shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

/* ---- making --------------------------------------------------------------------------------------- */

static void remember(vl2_sampler *sampler, int32_t id) {
    if (sampler->is_seen[id]) return;
    sampler->is_seen[id] = 1;
    sampler->seen[sampler->n_seen++] = id;
}

static vl2_status remember_prompt(vl2_sampler *sampler, const int32_t *ids, size_t n,
                                  vl2_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= sampler->vocab) {
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "id %d of the prompt (at %zu) is not below the vocabulary's %zu",
                            (int)ids[i], i, sampler->vocab);
        }
        remember(sampler, ids[i]);
    }
    return VL2_OK;
}

vl2_status vl2_sampler_make(vl2_sampler **out, size_t vocab, const vl2_sampling *sampling,
                            const int32_t *prompt_ids, size_t n_prompt_ids, vl2_error *err) {
    vl2_sampling defaults;
    vl2_sampling_init(&defaults);
    if (!sampling) sampling = &defaults;
    VL2_TRY(vl2_sampling_check(sampling, err));
    vl2_sampler *sampler = vl2_mem_calloc(1, sizeof *sampler);
    if (!sampler) return vl2_fail_memory(err, "the sampler", sizeof *sampler);
    size_t k = (size_t)sampling->top_k < vocab ? (size_t)sampling->top_k : 0; /* V: all stay */
    sampler->vocab = vocab;
    sampler->sampling = *sampling;
    sampler->sampling.top_k = (int)k;
    seed_random(sampler->random, sampling->seed);
    sampler->logits = vl2_mem_array(vocab, sizeof *sampler->logits);
    sampler->candidates = vl2_mem_array(vocab, sizeof *sampler->candidates);
    sampler->heap = vl2_mem_array(k, sizeof *sampler->heap);
    sampler->seen = vl2_mem_array(vocab, sizeof *sampler->seen);
    sampler->count = vl2_mem_calloc(vocab, sizeof *sampler->count);
    sampler->is_seen = vl2_mem_calloc(vocab, 1);
    vl2_status status = VL2_OK;
    if (!sampler->logits || !sampler->candidates || !sampler->heap || !sampler->seen ||
        !sampler->count || !sampler->is_seen) {
        status = vl2_fail_memory(err, "the sampler", vocab * (sizeof(candidate) + 13));
    }
    if (status == VL2_OK) status = remember_prompt(sampler, prompt_ids, n_prompt_ids, err);
    if (status != VL2_OK) {
        vl2_sampler_free(sampler);
        return status;
    }
    *out = sampler;
    return VL2_OK;
}

void vl2_sampler_free(vl2_sampler *sampler) {
    if (!sampler) return;
    vl2_mem_free(sampler->logits);
    vl2_mem_free(sampler->candidates);
    vl2_mem_free(sampler->heap);
    vl2_mem_free(sampler->seen);
    vl2_mem_free(sampler->count);
    vl2_mem_free(sampler->is_seen);
    vl2_mem_free(sampler);
}

/* ---- penalties ------------------------------------------------------------------------------------ */

/* A logit that was finite stays finite. */
static float penalized(const vl2_sampling *s, float logit, uint32_t count) {
    if (isinf(logit)) return logit;
    double x = logit;
    x = x < 0 ? x * s->repetition_penalty : x / s->repetition_penalty;
    if (count > 0) x -= s->presence_penalty + (double)s->frequency_penalty * count;
    if (x > FLT_MAX) return FLT_MAX;
    return x < -FLT_MAX ? -FLT_MAX : (float)x;
}

/* The logits with penalties: the given ones where there are none. */
static const float *penalize(vl2_sampler *sampler, const float *logits) {
    const vl2_sampling *s = &sampler->sampling;
    if (s->repetition_penalty == 1 && s->presence_penalty == 0 && s->frequency_penalty == 0) {
        return logits;
    }
    memcpy(sampler->logits, logits, sampler->vocab * sizeof *logits);
    for (size_t i = 0; i < sampler->n_seen; i++) {
        int32_t id = sampler->seen[i];
        sampler->logits[id] = penalized(s, logits[id], sampler->count[id]);
    }
    return sampler->logits;
}

/* ---- choosing ------------------------------------------------------------------------------------- */

/* The greatest logit; *has_nan. In lanes, so that compilers use vectors. */
static float greatest(const float *logits, size_t n, bool *has_nan) {
    enum { LANES = 16 };
    float lanes[LANES];
    int nan[LANES] = {0};
    for (int j = 0; j < LANES; j++) lanes[j] = -INFINITY;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float x = logits[i + (size_t)j];
            lanes[j] = x > lanes[j] ? x : lanes[j];
            nan[j] |= x != x;
        }
    }
    for (; i < n; i++) {
        lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
        nan[0] |= logits[i] != logits[i];
    }
    *has_nan = nan[0];
    for (int j = 1; j < LANES; j++) {
        lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
        *has_nan |= nan[j];
    }
    return lanes[0];
}

/* The k-th greatest logit (equals counted each), by a heap of the k greatest so far, least on top. */
static float kth_greatest(float *heap, size_t k, const float *logits, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        if (i < k) { /* up from the bottom */
            for (; at > 0 && heap[(at - 1) / 2] > logits[i]; at = (at - 1) / 2) {
                heap[at] = heap[(at - 1) / 2];
            }
        } else { /* down from the top, which leaves */
            if (logits[i] <= heap[0]) continue;
            at = 0;
            for (size_t child; (child = 2 * at + 1) < k; at = child) {
                if (child + 1 < k && heap[child + 1] < heap[child]) child++;
                if (heap[child] >= logits[i]) break;
                heap[at] = heap[child];
            }
        }
        heap[at] = logits[i];
    }
    return heap[0];
}

/* Fills the candidates, in the order of ids: what top-k leaves and has any weight. */
static size_t collect(vl2_sampler *sampler, const float *logits, float most) {
    const vl2_sampling *s = &sampler->sampling;
    size_t n = 0, k = (size_t)s->top_k;
    float least = k > 0 ? kth_greatest(sampler->heap, k, logits, sampler->vocab) : -INFINITY;
    for (size_t i = 0; i < sampler->vocab; i++) {
        if (logits[i] < least) continue;
        double weight = vl2_exp(((double)logits[i] - most) / s->temperature);
        if (weight > 0) sampler->candidates[n++] = (candidate){logits[i], (int32_t)i, weight};
    }
    return n;
}

static double weight_of(const candidate *candidates, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += candidates[i].weight;
    return sum;
}

static bool is_likelier(const candidate *a, const candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void swap(candidate *a, candidate *b) {
    candidate c = *a;
    *a = *b;
    *b = c;
}

/* Moves those of candidates[from … to) that are likelier than the one in their middle before it;
 * returns where that one is then. */
static size_t split(candidate *candidates, size_t from, size_t to) {
    size_t at = from;
    swap(&candidates[from + (to - from) / 2], &candidates[to - 1]);
    for (size_t i = from; i + 1 < to; i++) {
        if (is_likelier(&candidates[i], &candidates[to - 1]))
            swap(&candidates[at++], &candidates[i]);
    }
    swap(&candidates[at], &candidates[to - 1]);
    return at;
}

/* Puts the fewest most probable candidates that together reach the share `top_p` first; returns
 * their number, at least 1. A quickselect by weight: what is out is never sorted. */
static size_t keep_top_p(candidate *candidates, size_t n, double top_p) {
    double wanted = top_p * weight_of(candidates, n);
    size_t from = 0, to = n; /* the last one kept is in between */
    while (to - from > 1) {
        size_t at = split(candidates, from, to);
        double before = weight_of(candidates + from, at - from);
        if (at > from && before >= wanted) {
            to = at;
            continue;
        }
        wanted -= before;
        if (candidates[at].weight >= wanted) return at + 1;
        wanted -= candidates[at].weight;
        if (at + 1 == to) return to;
        from = at + 1;
    }
    return from + 1;
}

static size_t keep_min_p(candidate *candidates, size_t n, double min_p) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (candidates[i].weight >= min_p) candidates[kept++] = candidates[i];
    }
    return kept;
}

static int32_t draw(vl2_sampler *sampler, size_t n) {
    const candidate *candidates = sampler->candidates;
    double left = next_random(sampler->random) * weight_of(candidates, n);
    for (size_t i = 0; i + 1 < n; i++) {
        left -= candidates[i].weight;
        if (left < 0) return candidates[i].id;
    }
    return candidates[n - 1].id;
}

static int32_t sample(vl2_sampler *sampler, const float *logits, float most) {
    const vl2_sampling *s = &sampler->sampling;
    size_t n = collect(sampler, logits, most);
    if (s->top_p < 1) n = keep_top_p(sampler->candidates, n, s->top_p);
    if (s->min_p > 0) n = keep_min_p(sampler->candidates, n, s->min_p);
    return draw(sampler, n);
}

vl2_status vl2_sampler_next(vl2_sampler *sampler, const float *logits, int32_t *id,
                            vl2_error *err) {
    bool has_nan;
    const float *x = penalize(sampler, logits);
    float most = greatest(x, sampler->vocab, &has_nan);
    if (has_nan || isinf(most)) {
        return vl2_fail(err, VL2_ERR_NUMERIC, "no next token: %s",
                        has_nan    ? "a logit is not a number"
                        : most < 0 ? "every logit is minus infinity"
                                   : "a logit is infinite");
    }
    int32_t chosen = 0;
    if (sampler->sampling.temperature > 0) {
        chosen = sample(sampler, x, most);
    } else {
        while (x[chosen] != most) chosen++;
    }
    remember(sampler, chosen);
    sampler->count[chosen]++;
    *id = chosen;
    return VL2_OK;
}

/* ---- logarithms of probabilities ------------------------------------------------------------------ */

/* Keeps `top` sorted, most probable first; of equals the lower id, which came first. */
static void insert_top(vl2_logprob *top, size_t n_top, int32_t id, float logit) {
    if (!(logit > top[n_top - 1].logprob)) return;
    size_t at = n_top - 1;
    for (; at > 0 && logit > top[at - 1].logprob; at--) top[at] = top[at - 1];
    top[at] = (vl2_logprob){id, logit};
}

void vl2_logprobs_of(const float *logits, size_t vocab, int32_t id, vl2_logprob *chosen,
                     vl2_logprob *top, size_t n_top) {
    bool has_nan;
    double most = greatest(logits, vocab, &has_nan), sum = 0;
    for (size_t i = 0; i < vocab; i++) sum += vl2_exp(logits[i] - most);
    double shift = most + log(sum);
    if (chosen) *chosen = (vl2_logprob){id, (float)(logits[id] - shift)};
    for (size_t i = 0; i < n_top; i++) top[i] = (vl2_logprob){-1, -INFINITY};
    for (size_t i = 0; n_top > 0 && i < vocab; i++) insert_top(top, n_top, (int32_t)i, logits[i]);
    for (size_t i = 0; i < n_top; i++) top[i].logprob = (float)(top[i].logprob - shift);
}
