/* Attention, block by block of keys, never a T x T matrix.
 *
 * Keys are cut at absolute positions that VL2_ATTN_KEYS divides (and at the caller's blocks). For
 * each block by itself: scores, their greatest value m, exp(score - m), its sum l and the weighted
 * values p; then the blocks are merged in their order, o = o * exp(m_o - M) + p * exp(m - M). As a
 * block's m, l and p depend on query, keys and border alone, neither the rows that share a tile nor
 * the threads that take the blocks can change a bit.
 *
 * A task takes one key head of one sequence and a run of its "query rows": row i of the sequence
 * with head j of those that share the key head is query row i * group + j. Keys are widened and
 * transposed, values widened, once for all rows of the task. When there are fewer tasks than
 * threads (decoding), the blocks are shared out and merged afterwards. */
#include "backend/cpu/attention.h"
#include "backend/cpu/attention_parts.h"

#include <math.h>
#include <string.h>

enum {
    RUN = 256,       /* query rows of a task at most */
    SPLIT_BLOCKS = 8 /* fewer blocks are not worth sharing out */
};

typedef struct lane { /* a thread's scratch */
    float *kt;        /* [k_dim, VL2_ATTN_KEYS] */
    float *v;         /* [VL2_ATTN_KEYS, vp] */
    float *s;         /* [VL2_ATTN_ROWS, VL2_ATTN_KEYS] */
    float *p;         /* [VL2_ATTN_ROWS, vp] */
    float *max, *sum; /* [RUN] */
} lane;

enum {
    LANE_FLOATS = (2 * VL2_ATTN_KEYS + VL2_ATTN_ROWS) * VL2_HEAD_DIM_MAX +
                  VL2_ATTN_ROWS * VL2_ATTN_KEYS + 2 * RUN
};

size_t vl2_attention_lane_bytes(void) {
    size_t widened = LANE_FLOATS * sizeof(float), tiles = vl2_attention_tiles_lane_bytes();
    return widened > tiles ? widened : tiles;
}

static lane lane_of(const job *j, int thread) {
    lane l = {.kt = vl2_cpu_lane(j->cpu, thread)};
    l.v = l.kt + j->a->k_dim * VL2_ATTN_KEYS;
    l.s = l.v + j->vp * VL2_ATTN_KEYS;
    l.p = l.s + VL2_ATTN_ROWS * VL2_ATTN_KEYS;
    l.max = l.p + VL2_ATTN_ROWS * j->vp;
    l.sum = l.max + RUN;
    return l;
}

/* ---- one block -------------------------------------------------------------------------------- */

static void load_keys(const job *j, const lane *l, const keys *b) {
    const vl2_attn *a = j->a;
    const vl2_kernels *k = &j->cpu->kernels;
    k->transpose[a->kv_type](l->kt, b->k, a->k_token * j->element, b->n, a->k_dim);
    for (size_t t = 0; t < b->n; t++) {
        float *row = l->v + t * j->vp;
        k->widen[a->kv_type](row, b->v + t * a->v_token * j->element, a->v_dim);
        memset(row + a->v_dim, 0, (j->vp - a->v_dim) * sizeof *row);
    }
}

/* Rows [r, r+n) of the part: their weighted values in l->p, max and sum in max[], sum[]; a row that
 * sees nothing of the block has sum 0. */
static void tile(const job *j, const part *p, const lane *l, const keys *b, size_t r, size_t n,
                 float *max, float *sum) {
    const vl2_attn *a = j->a;
    const vl2_kernels *k = &j->cpu->kernels;
    const float *rows[VL2_ATTN_ROWS];
    for (size_t i = 0; i < n; i++) rows[i] = query(j, p, r + i);
    k->outer(l->s, VL2_ATTN_KEYS, rows, n, l->kt, VL2_ATTN_KEYS, vl2_cpu_up(b->n, VL2_OUTER_STEP),
             a->k_dim);
    for (size_t i = 0; i < n; i++) {
        float *s = l->s + i * VL2_ATTN_KEYS;
        size_t seen = visible(j, p, r + i, b);
        rows[i] = s;
        if (seen)
            k->softmax(s, seen, a->scale, &max[i], &sum[i]);
        else
            memset(s, 0, VL2_ATTN_KEYS * sizeof *s), max[i] = -INFINITY, sum[i] = 0.0f;
    }
    k->outer(l->p, j->vp, rows, n, l->v, j->vp, j->vp, b->n);
}

/* What has been summed so far, and one more block's share. */
static void merge(const job *j, float *o, float *max, float *sum, const float *p, float block_max,
                  float block_sum) {
    const vl2_kernels *k = &j->cpu->kernels;
    size_t n = j->a->v_dim;
    if (block_sum == 0.0f) return;
    if (*sum == 0.0f) {
        memcpy(o, p, n * sizeof *o);
        *max = block_max;
        *sum = block_sum;
    } else if (block_max <= *max) {
        float b = expf(block_max - *max);
        k->blend(o, p, n, 1.0f, b);
        *sum += block_sum * b;
    } else {
        float a = expf(*max - block_max);
        k->blend(o, p, n, a, 1.0f);
        *sum = *sum * a + block_sum;
        *max = block_max;
    }
}

/* The same for a part of one row, straight from the cache: widening a block pays for several only.
 * Keys and values from `next` on (or NULL) are asked for. */
static void tile_alone(const job *j, const part *p, const lane *l, const keys *b, const keys *next,
                       float *values, float *max, float *sum) {
    const vl2_attn *a = j->a;
    const vl2_kernels *k = &j->cpu->kernels;
    size_t seen = visible(j, p, 0, b);
    k->scores[a->kv_type](l->s, query(j, p, 0), b->k, a->k_token * j->element, b->n, a->k_dim,
                          next->k);
    k->softmax(l->s, seen, a->scale, max, sum);
    k->weighted[a->kv_type](values, l->s, b->v, a->v_token * j->element, b->n, a->v_dim, next->v);
}

/* ---- all blocks, one thread ------------------------------------------------------------------- */

static void open_rows(const job *j, const part *p, const lane *l) {
    for (size_t r = 0; r < p->n; r++) {
        const float *s = j->a->state ? state(j, p, r) + j->a->v_dim : NULL;
        l->max[r] = j->a->first ? -INFINITY : s[0];
        l->sum[r] = j->a->first ? 0.0f : s[1];
    }
}

/* A row's sum over all keys, where it stands between blocks. */
static float *sums_of(const job *j, const part *p, size_t r) {
    return j->a->state ? state(j, p, r) : result(j, p, r);
}

static void close_row(const job *j, const part *p, size_t r, float max, float sum) {
    const vl2_attn *a = j->a;
    float *o = sums_of(j, p, r);
    if (a->state) {
        o[a->v_dim] = max;
        o[a->v_dim + 1] = sum;
    }
    if (!a->last) return;
    float *out = result(j, p, r);
    if (sum == 0.0f)
        memset(out, 0, a->v_dim * sizeof *out);
    else
        j->cpu->kernels.scale(out, o, a->v_dim, 1.0f / sum);
}

static void part_task(void *context, size_t i, int thread) {
    const job *j = context;
    part p = part_at(j, i);
    lane l = lane_of(j, thread);
    const keys none = {0};
    keys b = {0};
    open_rows(j, &p, &l);
    for (size_t block = 0, token = 0; next_keys(j, &p, &b, &block, &token);) {
        size_t r = first_seeing(j, &p, &b);
        if (r == p.n) break;
        if (p.n > 1) load_keys(j, &l, &b);
        for (size_t n; r < p.n; r += n) {
            float max[VL2_ATTN_ROWS], sum[VL2_ATTN_ROWS];
            n = vl2_cpu_min(VL2_ATTN_ROWS, p.n - r);
            if (p.n > 1)
                tile(j, &p, &l, &b, r, n, max, sum);
            else
                tile_alone(j, &p, &l, &b, &none, l.p, max, sum);
            for (size_t q = 0; q < n; q++)
                merge(j, sums_of(j, &p, r + q), &l.max[r + q], &l.sum[r + q], l.p + q * j->vp,
                      max[q], sum[q]);
        }
    }
    for (size_t r = 0; r < p.n; r++) close_row(j, &p, r, l.max[r], l.sum[r]);
}

/* ---- few rows, many keys: the blocks shared out ----------------------------------------------- */

/* The part of task i's block b of query row r in the shared scratch: v_dim values, max, sum. */
static float *partial(const job *j, size_t i, size_t b, size_t r) {
    float *at = (float *)j->cpu->shared;
    for (size_t t = 0; t < i; t++) {
        part p = part_at(j, t);
        at += count_keys(j, &p) * p.n * (j->a->v_dim + 2);
    }
    part p = part_at(j, i);
    return at + (b * p.n + r) * (j->a->v_dim + 2);
}

static void blocks_task(void *context, size_t index, int thread) {
    const job *j = context;
    size_t i = index % j->tasks, from = index / j->tasks * j->blocks_per_part, number = 0;
    part p = part_at(j, i);
    lane l = lane_of(j, thread);
    const keys none = {0};
    keys b = {0};
    for (size_t block = 0, token = 0; next_keys(j, &p, &b, &block, &token); number++) {
        if (number < from || number >= from + j->blocks_per_part) continue;
        if (first_seeing(j, &p, &b) == p.n) return;
        if (p.n > 1) load_keys(j, &l, &b);
        for (size_t r = 0, n; r < p.n; r += n) {
            float max[VL2_ATTN_ROWS], sum[VL2_ATTN_ROWS];
            n = vl2_cpu_min(VL2_ATTN_ROWS, p.n - r);
            if (p.n > 1)
                tile(j, &p, &l, &b, r, n, max, sum);
            else
                tile_alone(j, &p, &l, &b, &none, l.p, max, sum);
            for (size_t q = 0; q < n; q++) {
                float *out = partial(j, i, number, r + q);
                memcpy(out, l.p + q * j->vp, j->a->v_dim * sizeof *out);
                out[j->a->v_dim] = max[q];
                out[j->a->v_dim + 1] = sum[q];
            }
        }
    }
}

static void merge_task(void *context, size_t index, int thread) {
    const job *j = context;
    size_t i = index % j->tasks, r = index / j->tasks, number = 0;
    part p = part_at(j, i);
    (void)thread;
    if (r >= p.n) return;
    float *s = j->a->state ? state(j, &p, r) + j->a->v_dim : NULL;
    float max = j->a->first ? -INFINITY : s[0], sum = j->a->first ? 0.0f : s[1];
    keys b = {0};
    for (size_t block = 0, token = 0; next_keys(j, &p, &b, &block, &token); number++) {
        if (visible(j, &p, r, &b) == 0) break;
        const float *from = partial(j, i, number, r);
        merge(j, sums_of(j, &p, r), &max, &sum, from, from[j->a->v_dim], from[j->a->v_dim + 1]);
    }
    close_row(j, &p, r, max, sum);
}

/* True if it ran: the blocks are many, the tasks few, the room enough. */
static bool run_split(job *j) {
    size_t threads = (size_t)j->cpu->threads, blocks = 0, floats = 0, rows = 0;
    if (j->tasks >= threads || threads == 1) return false;
    for (size_t i = 0; i < j->tasks; i++) {
        part p = part_at(j, i);
        size_t n = count_keys(j, &p);
        blocks = n > blocks ? n : blocks;
        rows = p.n > rows ? p.n : rows;
        floats += n * p.n * (j->a->v_dim + 2);
    }
    if (blocks < SPLIT_BLOCKS || floats > j->cpu->shared_bytes / sizeof(float)) return false;
    size_t parts = vl2_cpu_min(blocks, (2 * threads + j->tasks - 1) / j->tasks);
    j->blocks_per_part = (blocks + parts - 1) / parts;
    vl2_pool_run(j->cpu->base.pool, j->tasks * parts, blocks_task, j);
    vl2_pool_run(j->cpu->base.pool, j->tasks * rows, merge_task, j);
    return true;
}

/* ---- one query a sequence (decoding) ----------------------------------------------------------- */

/* A block's heads, while the next block is asked for in the order in which it lies. */
static void unit_block(const decode *d, const vl2_attn_seq *seq, const lane *l, keys b, keys next,
                       float *out) {
    const job *j = d->j;
    const vl2_attn *a = j->a;
    part p = {.seq = seq, .n = 1};
    if (a->k_token != a->heads * a->k_dim || a->v_token != a->heads * a->v_dim)
        next.k = next.v = NULL;
    for (; p.kv_head < a->heads; p.kv_head++, out += d->floats) {
        tile_alone(j, &p, l, &b, &next, out, out + a->v_dim, out + a->v_dim + 1);
        if (next.k) next.k += b.n * a->k_dim * j->element;
        if (next.v) next.v += b.n * a->v_dim * j->element;
        b.k += a->k_head * j->element;
        b.v += a->v_head * j->element;
    }
}

static void unit_task(void *context, size_t i, int thread) {
    const decode *d = context;
    const job *j = d->j;
    float *at;
    const part p = {.seq = find_unit(d, &i, &at), .n = 1};
    lane l = lane_of(j, thread);
    keys b = {0};
    size_t number = 0, from = i * d->per_unit, end = from + d->per_unit;
    for (size_t block = 0, token = 0; next_keys(j, &p, &b, &block, &token); number++) {
        if (number < from) continue;
        if (number == end || visible(j, &p, 0, &b) == 0) return;
        keys next = b;
        size_t next_block = block, next_token = token;
        if (number + 1 == end || !next_keys(j, &p, &next, &next_block, &next_token))
            next = (keys){0};
        unit_block(d, p.seq, &l, b, next, one_result(d, at, number, 0));
    }
}

static void head_task(void *context, size_t i, int thread) {
    const decode *d = context;
    const job *j = d->j;
    const vl2_attn *a = j->a;
    const part p = {.seq = &a->seqs[i / a->heads], .kv_head = i % a->heads, .n = 1};
    float *at = seq_results(d, p.seq), *o = result(j, &p, 0), max = -INFINITY, sum = 0.0f;
    (void)thread;
    for (size_t n = 0, blocks = seen_blocks(j, p.seq); n < blocks; n++) {
        const float *one = one_result(d, at, n, p.kv_head);
        merge(j, o, &max, &sum, one, one[a->v_dim], one[a->v_dim + 1]);
    }
    close_row(j, &p, 0, max, sum);
}

static bool run_decode(const job *j) {
    decode d = {.j = j, .floats = j->a->v_dim + 2};
    return share_decode(&d, 2 * (size_t)j->cpu->threads, unit_task, head_task, &d);
}

/* ---- the operation ---------------------------------------------------------------------------- */

void vl2_attention_run(vl2_backend *be, const vl2_attn *attn) {
    job j = {.cpu = vl2_cpu_of(be),
             .a = attn,
             .group = attn->heads / attn->kv_heads,
             .vp = vl2_cpu_up(attn->v_dim, VL2_OUTER_STEP),
             .element = attn->kv_type == VL2_F32 ? sizeof(float) : sizeof(uint16_t),
             .run = RUN,
             .cut = VL2_ATTN_KEYS};
    if (!j.cpu->exact && j.cpu->kernels.attend.block) {
        vl2_attention_tiles_run(be, attn);
        return;
    }
    for (size_t i = 0; i < attn->n_seqs; i++) j.tasks += seq_parts(&j, &attn->seqs[i]);
    if (j.tasks && !run_decode(&j) && !run_split(&j))
        vl2_pool_run(be->pool, j.tasks, part_task, &j);
}
