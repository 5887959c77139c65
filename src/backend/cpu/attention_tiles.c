/* Attention by tiles (kernels.h: vl2_attend), in bf16 with float32 sums; cut as attention.c cuts it.
 *
 * Query rows go in batches of VL2_TILE_RUN. A task prepares its queries once; then, block by block of
 * keys, it brings keys and values into the kernels' form and takes every batch that sees some of them.
 * What a batch has summed stays in the kernels' form [v_dim, VL2_TILE_RUN] between blocks. Blocks are
 * merged in their order by the same kernel whether one thread takes them all or many share them out. */
#include "backend/cpu/attention.h"
#include "backend/cpu/attention_parts.h"

#include <string.h>

enum {
    BATCH = VL2_TILE_RUN,
    RUN = 768,             /* query rows of a task at most */
    RUN_FEW = 256,         /* the same when tasks are few */
    RUN_BYTES = 512 << 10, /* prepared queries and sums of a task at most, beyond one batch */
    KEYS_CAUSAL = 64,      /* of a block */
    KEYS_ALL = 256,        /* of a block where all see all, unless heads are long */
    LONG_HEADS = 512,      /* k and v together */
    SPLIT_BLOCKS = 8       /* fewer blocks are not worth sharing out */
};

typedef struct tiles {
    job j;
    size_t kp, vp;      /* padded */
    bool keys_in_place; /* the cache has them as the kernels want them */
    bool in_place;      /* keys and values, for one query */
} tiles;

typedef struct lane { /* a thread's scratch */
    char *q;          /* [run, kp] bf16 */
    float *o;         /* [run / BATCH, vp, BATCH] */
    float *max, *sum; /* [run] */
    char *k, *v;      /* of a block */
    float *s;
    void *p;
    float *part, *part_max, *part_sum; /* of a block and a batch */
} lane;

static size_t up(size_t n) { return vl2_cpu_up(n, VL2_ATTEND_STEP); }

static size_t block_bytes(size_t cut, size_t kp, size_t vp) {
    return cut * (kp + vp) * 2 + cut * BATCH * 6 + vp * BATCH * 4 + 2 * BATCH * 4;
}
static size_t run_bytes(size_t kp, size_t vp) { return kp * 2 + vp * 4 + 8; }

size_t vl2_attention_tiles_lane_bytes(void) {
    size_t most = VL2_HEAD_DIM_MAX;
    size_t wide = block_bytes(KEYS_CAUSAL, most, most);
    size_t usual = block_bytes(KEYS_ALL, LONG_HEADS, LONG_HEADS);
    return (wide > usual ? wide : usual) + RUN_BYTES + BATCH * run_bytes(most, most);
}

static lane lane_of(const tiles *t, int thread) {
    size_t run = t->j.run;
    lane l = {.q = vl2_cpu_lane(t->j.cpu, thread)};
    l.o = (float *)(l.q + run * t->kp * 2);
    l.max = l.o + run * t->vp;
    l.sum = l.max + run;
    l.k = (char *)(l.sum + run);
    l.v = l.k + t->j.cut * t->kp * 2;
    l.s = (float *)(l.v + t->j.cut * t->vp * 2);
    l.p = l.s + t->j.cut * BATCH;
    l.part = (float *)l.p + t->j.cut / 2 * BATCH;
    l.part_max = l.part + t->vp * BATCH;
    l.part_sum = l.part_max + BATCH;
    return l;
}

static size_t batch_rows(const part *p, size_t batch) {
    return vl2_cpu_min(BATCH, p->n - batch * BATCH);
}
static size_t batches(const part *p) { return (p->n + BATCH - 1) / BATCH; }
static float *sums_of(const tiles *t, const lane *l, size_t batch) {
    return l->o + batch * BATCH * t->vp;
}

/* ---- one block of keys --------------------------------------------------------------------------- */

static void pack_queries(const tiles *t, const part *p, const lane *l) {
    for (size_t r = 0; r < p->n; r += VL2_TILE_ROWS) {
        const float *rows[VL2_TILE_ROWS];
        size_t n = vl2_cpu_min(VL2_TILE_ROWS, p->n - r);
        for (size_t i = 0; i < n; i++) rows[i] = query(&t->j, p, r + i);
        t->j.cpu->kernels.attend.queries(l->q + r * t->kp * 2, rows, n, t->j.a->k_dim);
    }
}

/* The block as the cache has it. */
static vl2_attend_block block_of(const tiles *t, const lane *l, const keys *b) {
    const vl2_attn *a = t->j.a;
    return (vl2_attend_block){.k = b->k,
                              .k_stride = a->k_token * t->j.element,
                              .v = b->v,
                              .v_stride = a->v_token * t->j.element,
                              .n = b->n,
                              .k_dim = a->k_dim,
                              .v_dim = a->v_dim,
                              .scale = a->scale,
                              .s = l->s,
                              .p = l->p,
                              .o = l->part,
                              .max = l->part_max,
                              .sum = l->part_sum};
}

/* The same for one query: only of a cache that has all in place. */
static vl2_attend_block block_alone(const tiles *t, const lane *l, const keys *b) {
    vl2_attend_block out = block_of(t, l, b);
    out.turned = (float *)l->v;
    out.tail = l->k;
    return out;
}

/* What all batches share of a block. */
static vl2_attend_block load_block(const tiles *t, const lane *l, const keys *b) {
    vl2_attend_block out = block_of(t, l, b);
    if (!t->keys_in_place || b->n % VL2_ATTEND_STEP) { /* they must be padded */
        t->j.cpu->kernels.attend.keys(l->k, b->k, out.k_stride, t->j.a->kv_type, b->n,
                                      t->j.a->k_dim);
        out.k = l->k;
        out.k_stride = t->kp * 2;
    }
    t->j.cpu->kernels.attend.values(l->v, b->v, out.v_stride, t->j.a->kv_type, b->n, t->j.a->v_dim);
    out.v = l->v;
    return out;
}

static void attend_batch(const tiles *t, const part *p, const lane *l, const keys *b,
                         vl2_attend_block *block, size_t batch) {
    int32_t seen[BATCH] = {0};
    size_t m = batch_rows(p, batch), first = batch * BATCH;
    bool whole = visible(&t->j, p, first, b) == b->n; /* and so do the rows behind it */
    for (size_t i = 0; i < m; i++)
        seen[i] = (int32_t)(whole ? b->n : visible(&t->j, p, first + i, b));
    block->q = l->q + first * t->kp * 2;
    block->m = m;
    block->seen = seen;
    t->j.cpu->kernels.attend.block(block);
}

/* ---- beginning and end of a batch ---------------------------------------------------------------- */

static void open_batch(const tiles *t, const part *p, const lane *l, size_t batch) {
    const vl2_attn *a = t->j.a;
    float *o = sums_of(t, l, batch), *max = l->max + batch * BATCH, *sum = l->sum + batch * BATCH;
    memset(o, 0, BATCH * t->vp * sizeof *o);
    for (size_t i = 0; i < BATCH; i++) max[i] = VL2_ATTEND_NOTHING, sum[i] = 0.0f;
    for (size_t i = 0; i < batch_rows(p, batch) && !a->first; i++) {
        const float *s = state(&t->j, p, batch * BATCH + i);
        for (size_t d = 0; d < a->v_dim; d++) o[d * BATCH + i] = s[d];
        max[i] = s[a->v_dim];
        sum[i] = s[a->v_dim + 1];
    }
}

static void close_batch(const tiles *t, const part *p, const lane *l, size_t batch) {
    const vl2_attn *a = t->j.a;
    float *o = sums_of(t, l, batch), *max = l->max + batch * BATCH, *sum = l->sum + batch * BATCH;
    float *out[BATCH];
    size_t m = batch_rows(p, batch);
    for (size_t i = 0; i < m; i++) {
        out[i] = result(&t->j, p, batch * BATCH + i);
        if (a->last) continue;
        float *s = state(&t->j, p, batch * BATCH + i);
        for (size_t d = 0; d < a->v_dim; d++) s[d] = o[d * BATCH + i];
        s[a->v_dim] = max[i];
        s[a->v_dim + 1] = sum[i];
    }
    if (a->last) t->j.cpu->kernels.attend.finish(out, o, sum, m, a->v_dim);
}

static void merge(const tiles *t, const part *p, const lane *l, size_t batch, const float *from,
                  const float *max, const float *sum) {
    t->j.cpu->kernels.attend.merge(sums_of(t, l, batch), l->max + batch * BATCH,
                                   l->sum + batch * BATCH, from, max, sum, batch_rows(p, batch),
                                   t->j.a->v_dim);
}

/* ---- all blocks, one thread ------------------------------------------------------------------- */

/* A part of one query: the same bits, without turning values or filling columns. */
static void alone_task(const tiles *t, const part *p, const lane *l) {
    const vl2_attend *kernels = &t->j.cpu->kernels.attend;
    const vl2_attn *a = t->j.a;
    float *o = l->o, max = VL2_ATTEND_NOTHING, sum = 0.0f;
    keys b = {0};
    memset(o, 0, a->v_dim * sizeof *o);
    pack_queries(t, p, l);
    for (size_t block = 0, token = 0; next_keys(&t->j, p, &b, &block, &token);) {
        int32_t seen = (int32_t)visible(&t->j, p, 0, &b);
        if (seen == 0) break;
        vl2_attend_block one = block_alone(t, l, &b);
        one.q = l->q;
        one.seen = &seen;
        kernels->alone(&one);
        kernels->merge_alone(o, &max, &sum, one.o, *one.max, *one.sum, a->v_dim);
    }
    float *out = result(&t->j, p, 0);
    t->j.cpu->kernels.scale(out, o, a->v_dim, 1.0f / (sum > 1e-37f ? sum : 1e-37f));
}

static void part_task(void *context, size_t i, int thread) {
    const tiles *t = context;
    part p = part_at(&t->j, i);
    lane l = lane_of(t, thread);
    keys b = {0};
    if (p.n == 1 && t->in_place) {
        alone_task(t, &p, &l);
        return;
    }
    pack_queries(t, &p, &l);
    for (size_t n = 0; n < batches(&p); n++) open_batch(t, &p, &l, n);
    for (size_t block = 0, token = 0; next_keys(&t->j, &p, &b, &block, &token);) {
        size_t r = first_seeing(&t->j, &p, &b);
        if (r == p.n) break;
        vl2_attend_block shared = load_block(t, &l, &b);
        for (size_t n = r / BATCH; n < batches(&p); n++) {
            attend_batch(t, &p, &l, &b, &shared, n);
            merge(t, &p, &l, n, l.part, l.part_max, l.part_sum);
        }
    }
    for (size_t n = 0; n < batches(&p); n++) close_batch(t, &p, &l, n);
}

/* ---- few rows, many keys: the blocks shared out ----------------------------------------------- */

static size_t batch_floats(const tiles *t) { return BATCH * (t->vp + 2); }

/* Task i's batches of block b in the shared scratch: sums, max, sum. */
static float *partial(const tiles *t, size_t i, size_t b) {
    float *at = (float *)t->j.cpu->shared;
    for (size_t n = 0; n < i; n++) {
        part p = part_at(&t->j, n);
        at += count_keys(&t->j, &p) * batches(&p) * batch_floats(t);
    }
    part p = part_at(&t->j, i);
    return at + b * batches(&p) * batch_floats(t);
}

static void blocks_task(void *context, size_t index, int thread) {
    const tiles *t = context;
    size_t i = index % t->j.tasks, from = index / t->j.tasks * t->j.blocks_per_part, number = 0;
    part p = part_at(&t->j, i);
    lane l = lane_of(t, thread);
    keys b = {0};
    pack_queries(t, &p, &l);
    for (size_t block = 0, token = 0; next_keys(&t->j, &p, &b, &block, &token); number++) {
        if (number < from || number >= from + t->j.blocks_per_part) continue;
        if (first_seeing(&t->j, &p, &b) == p.n) return;
        vl2_attend_block shared = load_block(t, &l, &b);
        float *out = partial(t, i, number);
        for (size_t n = 0; n < batches(&p); n++, out += batch_floats(t)) {
            shared.o = out;
            shared.max = out + BATCH * t->vp;
            shared.sum = shared.max + BATCH;
            attend_batch(t, &p, &l, &b, &shared, n);
        }
    }
}

static void merge_task(void *context, size_t i, int thread) {
    const tiles *t = context;
    part p = part_at(&t->j, i);
    lane l = lane_of(t, thread);
    for (size_t n = 0; n < batches(&p); n++) {
        keys b = {0};
        size_t number = 0;
        open_batch(t, &p, &l, n);
        for (size_t block = 0, token = 0; next_keys(&t->j, &p, &b, &block, &token); number++) {
            if (first_seeing(&t->j, &p, &b) == p.n) break;
            const float *from = partial(t, i, number) + n * batch_floats(t);
            merge(t, &p, &l, n, from, from + BATCH * t->vp, from + BATCH * (t->vp + 1));
        }
        close_batch(t, &p, &l, n);
    }
}

/* True if it ran: the blocks are many, the tasks few, the room enough. */
static bool run_split(tiles *t) {
    size_t threads = (size_t)t->j.cpu->threads, blocks = 0, floats = 0;
    if (t->j.tasks >= threads || threads == 1) return false;
    for (size_t i = 0; i < t->j.tasks; i++) {
        part p = part_at(&t->j, i);
        size_t n = count_keys(&t->j, &p);
        blocks = n > blocks ? n : blocks;
        floats += n * batches(&p) * batch_floats(t);
    }
    if (blocks < SPLIT_BLOCKS || floats > t->j.cpu->shared_bytes / sizeof(float)) return false;
    size_t parts = vl2_cpu_min(blocks, (2 * threads + t->j.tasks - 1) / t->j.tasks);
    t->j.blocks_per_part = (blocks + parts - 1) / parts;
    vl2_pool_run(t->j.cpu->base.pool, t->j.tasks * parts, blocks_task, t);
    vl2_pool_run(t->j.cpu->base.pool, t->j.tasks, merge_task, t);
    return true;
}

/* ---- one query a sequence (decoding): blocks shared out, all heads of a block together ------------- */

typedef struct tiles_decode {
    decode d; /* values, max, sum of a head */
    const tiles *t;
} tiles_decode;

static bool is_dense(const vl2_attn *a) {
    return a->k_token == a->heads * a->k_head && a->v_token == a->k_token;
}

static void unit_block(const tiles_decode *d, const lane *l, const part *p, keys b, keys next,
                       float *out) {
    const tiles *t = d->t;
    const vl2_attn *a = t->j.a;
    int32_t seen = (int32_t)visible(&t->j, p, 0, &b);
    size_t share =
        is_dense(a) ? next.n * a->k_head * t->j.element : 0; /* of the next block, a head */
    for (size_t h = 0; h < a->heads; h++) {
        vl2_attend_block one = block_alone(t, l, &b);
        one.q = l->q + h * t->kp * 2;
        one.seen = &seen;
        one.next_k = next.k + h * share;
        one.next_v = next.v + h * share;
        one.next_bytes = share;
        one.o = out + h * d->d.floats;
        one.max = one.o + t->vp;
        one.sum = one.max + 1;
        t->j.cpu->kernels.attend.alone(&one);
        b.k += t->j.a->k_head * t->j.element;
        b.v += t->j.a->v_head * t->j.element;
    }
}

/* Asks for a block's keys and values in the order in which they lie: head by head, their rows would be
 * as many streams. */
static void fetch_block(const tiles *t, const keys *b) {
    if (!is_dense(t->j.a)) return;
    const size_t bytes = b->n * t->j.a->k_token * t->j.element;
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(b->k + at, 0, 2);
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(b->v + at, 0, 2);
}

static void unit_task(void *context, size_t i, int thread) {
    const tiles_decode *d = context;
    const tiles *t = d->t;
    float *at;
    part p = {.seq = find_unit(&d->d, &i, &at), .n = 1};
    lane l = lane_of(t, thread);
    for (size_t h = 0; h < t->j.a->heads; h++) {
        const part head = {.seq = p.seq, .kv_head = h, .n = 1};
        const float *q = query(&t->j, &head, 0);
        t->j.cpu->kernels.attend.queries(l.q + h * t->kp * 2, &q, 1, t->j.a->k_dim);
    }
    keys b = {0};
    size_t number = 0, from = i * d->d.per_unit;
    for (size_t block = 0, token = 0; next_keys(&t->j, &p, &b, &block, &token); number++) {
        if (number < from) continue;
        if (number == from + d->d.per_unit || visible(&t->j, &p, 0, &b) == 0) return;
        if (number == from) fetch_block(t, &b);
        keys next = b;
        size_t next_block = block, next_token = token;
        if (!next_keys(&t->j, &p, &next, &next_block, &next_token)) next.n = 0;
        unit_block(d, &l, &p, b, next, one_result(&d->d, at, number, 0));
    }
}

static void head_task(void *context, size_t i, int thread) {
    const tiles_decode *d = context;
    const tiles *t = d->t;
    const vl2_attn *a = t->j.a;
    const vl2_attend *kernels = &t->j.cpu->kernels.attend;
    const part p = {.seq = &a->seqs[i / a->heads], .kv_head = i % a->heads, .n = 1};
    float *at = seq_results(&d->d, p.seq), *o = lane_of(t, thread).o;
    float max = VL2_ATTEND_NOTHING, sum = 0.0f;
    memset(o, 0, a->v_dim * sizeof *o);
    for (size_t n = 0, blocks = seen_blocks(&t->j, p.seq); n < blocks; n++) {
        const float *one = one_result(&d->d, at, n, p.kv_head);
        kernels->merge_alone(o, &max, &sum, one, one[t->vp], one[t->vp + 1], a->v_dim);
    }
    t->j.cpu->kernels.scale(result(&t->j, &p, 0), o, a->v_dim,
                            1.0f / (sum > 1e-37f ? sum : 1e-37f));
}

static bool run_decode(const tiles *t) {
    tiles_decode d = {.d = {.j = &t->j, .floats = t->vp + VL2_ATTEND_SIDE}, .t = t};
    if (!t->in_place || t->j.a->heads > t->j.run) return false;
    return share_decode(&d.d, 1, unit_task, head_task, &d);
}

/* ---- the operation ---------------------------------------------------------------------------- */

static size_t choose_run(const tiles *t, size_t n_seqs) {
    bool many = t->j.a->kv_heads * n_seqs >= 4 * (size_t)t->j.cpu->threads;
    size_t fit = RUN_BYTES / run_bytes(t->kp, t->vp) / BATCH * BATCH;
    return vl2_cpu_min(many ? RUN : RUN_FEW, fit > BATCH ? fit : BATCH);
}

void vl2_attention_tiles_run(vl2_backend *be, const vl2_attn *attn) {
    tiles t = {.j = {.cpu = vl2_cpu_of(be),
                     .a = attn,
                     .group = attn->heads / attn->kv_heads,
                     .element = attn->kv_type == VL2_F32 ? sizeof(float) : sizeof(uint16_t)},
               .kp = up(attn->k_dim),
               .vp = up(attn->v_dim)};
    t.keys_in_place = attn->kv_type == VL2_BF16 && attn->k_dim % VL2_ATTEND_STEP == 0;
    t.in_place = t.keys_in_place && attn->v_dim % VL2_ATTEND_STEP == 0 && attn->first && attn->last;
    t.j.cut = attn->causal || t.kp + t.vp > LONG_HEADS ? KEYS_CAUSAL : KEYS_ALL;
    t.j.run = choose_run(&t, attn->n_seqs);
    for (size_t i = 0; i < attn->n_seqs; i++) t.j.tasks += seq_parts(&t.j, &attn->seqs[i]);
    if (t.j.tasks && !run_decode(&t) && !run_split(&t))
        vl2_pool_run(be->pool, t.j.tasks, part_task, &t);
}
