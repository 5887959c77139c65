/* Products of rows of bytes: bytes.h says what is computed.
 *
 * Rows are packed in blocks; behind a block's rows stand the second rows of those whose range is set by few
 * values, so that how many there are is no block's business but its own. Tasks are (run of blocks, panel of
 * outputs): a run's rows stay in the second-level cache while the weights pass by once. */
#include "backend/cpu/product_bytes.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 96,         /* rows, packed as up to twice as many */
    PANEL = 64,         /* outputs of a task */
    RUN_BYTES = 1 << 20 /* of packed rows of a task, or one block */
};

size_t vl2_product_bytes_lane_bytes(void) { /* sums; or rows that are packed or widened */
    const size_t sums = 2 * (size_t)BLOCK * PANEL * sizeof(float);
    const size_t rows = 2 * (size_t)VL2_BYTES_MOST_K * sizeof(float);
    return sums > rows ? sums : rows;
}

/* ---- weights ---------------------------------------------------------------------------------- */

static size_t scales_of(const vl2_mat *w) { /* and sums */
    return vl2_cpu_up(vl2_cpu_up(w->rows, VL2_BYTES_STRIP) * sizeof(float), VL2_ALIGN);
}

size_t vl2_product_bytes_room(const vl2_mat *w) {
    if (w->cols > VL2_BYTES_MOST_K) return 0;
    return 2 * scales_of(w) +
           vl2_cpu_up(w->rows, VL2_BYTES_STRIP) * vl2_cpu_up(w->cols, VL2_BYTES_STEP);
}

static vl2_bytes_w parts_of(const vl2_mat *w) {
    const char *memory = w->data;
    return (vl2_bytes_w){.scale = (const void *)memory,
                         .sum = (const void *)(memory + scales_of(w)),
                         .q = (const void *)(memory + 2 * scales_of(w)),
                         .kp = vl2_cpu_up(w->cols, VL2_BYTES_STEP)};
}

/* strip: where the output's first four go. Weights that are no numbers make a scale that is none. Loops as
 * compilers make vectors of them: x + 1.5 * 2^23 has x to nearest even in its last bits. */
static void make_row(int8_t *strip, float *scale, int32_t *sum, const float *x, int32_t *q,
                     size_t k) {
    const float shift = 12582912.0f;
    int32_t bits = 0, all = 0, base;
    memcpy(q, x, k * sizeof *q);
    for (size_t i = 0; i < k; i++) bits = (q[i] & INT32_MAX) > bits ? q[i] & INT32_MAX : bits;
    float most;
    memcpy(&most, &bits, sizeof most);
    memcpy(&base, &shift, sizeof base);
    const bool some = bits < 0x7f800000 && most >= 1e-30f;
    const float inverse = some ? 127.0f / most : 0.0f;
    *scale = bits >= 0x7f800000 ? NAN : some ? most / 127.0f : 0.0f;
    *sum = 0;
    if (!some) return;
    for (size_t i = 0; i < k; i++) {
        const float moved = x[i] * inverse + shift;
        memcpy(&q[i], &moved, sizeof moved);
        q[i] -= base;
        all += q[i];
    }
    for (size_t i = 0; i < k; i++) strip[i / 4 * 4 * VL2_BYTES_STRIP + i % 4] = (int8_t)q[i];
    *sum = all;
}

typedef struct making {
    vl2_cpu *cpu;
    const vl2_mat *from;
    char *memory;
} making;

static void make_strip(void *context, size_t i, int thread) {
    const making *m = context;
    const vl2_mat *w = m->from;
    const size_t kp = vl2_cpu_up(w->cols, VL2_BYTES_STEP), first = i * VL2_BYTES_STRIP;
    float *scale = (float *)(void *)m->memory + first;
    int32_t *sum = (int32_t *)(void *)(m->memory + scales_of(w)) + first;
    int8_t *strip = (int8_t *)m->memory + 2 * scales_of(w) + first * kp;
    float *wide = vl2_cpu_lane(m->cpu, thread);
    int32_t *whole = (int32_t *)(void *)(wide + VL2_BYTES_MOST_K);
    memset(strip, 0, VL2_BYTES_STRIP * kp);
    for (size_t r = 0; r < VL2_BYTES_STRIP; r++) {
        scale[r] = 0.0f;
        sum[r] = 0;
        if (first + r >= w->rows) continue;
        vl2_dtype_to_f32(wide, (const char *)w->data + (first + r) * w->stride, w->type, w->cols);
        make_row(strip + 4 * r, &scale[r], &sum[r], wide, whole, w->cols);
    }
}

void vl2_product_bytes_make(vl2_backend *be, vl2_mat *out, void *memory, const vl2_mat *w) {
    const making m = {vl2_cpu_of(be), w, memory};
    const size_t strips = (w->rows + VL2_BYTES_STRIP - 1) / VL2_BYTES_STRIP;
    vl2_pool_run(be->pool, strips, make_strip, (void *)(uintptr_t)&m);
    *out = (vl2_mat){.data = memory, .type = VL2_I8, .rows = w->rows, .cols = w->cols};
}

/* ---- rows ------------------------------------------------------------------------------------- */

typedef struct operation {
    const vl2_product *p;
    const vl2_bytes *kernels;
    vl2_bytes_w w;
    size_t block;  /* rows of one */
    size_t lo, hi; /* rows of this turn */
    size_t run;    /* blocks of a task */
} operation;

/* A block in the shared scratch: this, and 2 * `block` packed rows. */
typedef struct head {
    size_t n;                      /* packed rows */
    vl2_bytes_row rows[2 * BLOCK]; /* of each */
    uint32_t of[BLOCK];            /* whose second row row `block's rows` + i is */
} head;

static size_t row_bytes(const operation *o) { return o->w.kp * o->kernels->x_bytes; }
static size_t block_bytes(const operation *o, size_t rows) {
    return vl2_cpu_up(sizeof(head), VL2_ALIGN) + 2 * rows * row_bytes(o);
}
static head *head_of(const operation *o, size_t b) {
    return (head *)(void *)(o->p->cpu->shared + b * block_bytes(o, o->block));
}
static char *packed_of(const head *h, size_t row, const operation *o) {
    return (char *)(uintptr_t)h + vl2_cpu_up(sizeof(head), VL2_ALIGN) + row * row_bytes(o);
}

static void pack_task(void *context, size_t b, int thread) {
    const operation *o = context;
    head *h = head_of(o, b);
    float *rest = vl2_cpu_lane(o->p->cpu, thread), *unused = rest + VL2_BYTES_MOST_K;
    const size_t first = o->lo + b * o->block, n = vl2_cpu_min(o->block, o->hi - first);
    h->n = n;
    for (size_t r = 0; r < n; r++) {
        if (!o->kernels->pack(packed_of(h, r, o), &h->rows[r], rest,
                              vl2_product_source(o->p, first + r), o->p->k))
            continue;
        h->of[h->n - n] = (uint32_t)r;
        o->kernels->pack(packed_of(h, h->n, o), &h->rows[h->n], unused, rest, o->p->k);
        h->n++;
    }
}

static void cell_task(void *context, size_t i, int thread) {
    const operation *o = context;
    const vl2_product *p = o->p;
    float *sums = vl2_cpu_lane(p->cpu, thread);
    const size_t panels = (p->n + PANEL - 1) / PANEL, column = i % panels * PANEL;
    const size_t n = vl2_cpu_min(PANEL, p->n - column), end = (i / panels + 1) * o->run;
    for (size_t b = end - o->run; b < end && o->lo + b * o->block < o->hi; b++) {
        const head *h = head_of(o, b);
        const size_t first = o->lo + b * o->block, rows = vl2_cpu_min(o->block, o->hi - first);
        o->kernels->product(sums, PANEL, packed_of(h, 0, o), h->rows, h->n, &o->w, column,
                            vl2_cpu_up(n, VL2_BYTES_STRIP));
        for (size_t r = rows; r < h->n; r++)
            p->cpu->kernels.axpy(sums + h->of[r - rows] * PANEL, sums + r * PANEL, n, 1.0f);
        vl2_product_finish(p, p->y + first * p->ldy, column, sums, NULL, PANEL, rows, n);
    }
}

void vl2_product_bytes_run(const vl2_product *p, const vl2_mat *w, size_t m) {
    operation o = {.p = p, .kernels = &p->cpu->kernels.bytes, .w = parts_of(w)};
    if (m == 0 || p->n == 0) return;
    o.block = vl2_cpu_min(m, BLOCK);
    while (o.block > 1 && block_bytes(&o, o.block) > p->cpu->shared_bytes) o.block /= 2;
    const size_t fit = p->cpu->shared_bytes / block_bytes(&o, o.block) * o.block;
    const size_t wide = o.block * row_bytes(&o);
    o.run = wide < RUN_BYTES ? RUN_BYTES / wide : 1;
    for (; o.lo < m; o.lo = o.hi) {
        o.hi = vl2_cpu_min(m, o.lo + fit);
        const size_t blocks = (o.hi - o.lo + o.block - 1) / o.block;
        const size_t panels = (p->n + PANEL - 1) / PANEL;
        vl2_pool_run(p->cpu->base.pool, blocks, pack_task, &o);
        vl2_pool_run(p->cpu->base.pool, (blocks + o.run - 1) / o.run * panels, cell_task, &o);
    }
}
