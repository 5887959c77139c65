/* Products of rows with weight matrices: linear, gated, by groups, by heads - one driver (and that of
 * product_tiles.c, for CPUs that multiply tiles).
 *
 * x is packed once for an operation (blocks of k, zero-padded, in the order the kernels want; for
 * quantized weights, whole rows quantized). Tasks are (group, panel of outputs, run of rows): few rows
 * read the mapped weights directly; many widen a strip of them, or unpack a panel, into the thread's lane
 * first, block by block, and use it for all rows. Both ways give the same bits (kernels.h, qdot.h), so
 * which one runs is a question of speed alone. A widened strip stays in the first cache, a run's block of
 * x in the second, and the next strip is asked for while this one is multiplied. Where x must not be
 * rounded, quantized weights are widened to float32, on the way into a strip: the numbers of float32
 * weights. */
#include "backend/cpu/product.h"

#include "backend/cpu/product_bytes.h"
#include "backend/cpu/product_tiles.h"
#include "base/mem.h"

enum {
    PANEL = 128,            /* outputs of a task at most */
    SUMS = PANEL + 16,      /* floats between rows of sums, which then use all sets of a cache */
    TASK_BYTES = 256 << 10, /* weights of a task of few rows at most */
    RUN = 384,              /* rows of a task at most, of quantized weights */
    ROWS = 96,              /* and of others: their block of k stays in the second cache */
    GROUP = 12,             /* rows multiplied before more of the next strip is asked for */
    STRIP = 4,              /* outputs widened at a time */
    READ = 8,               /* outputs read side by side from the mapping */
    DIRECT_ROWS = 8,        /* up to so many rows, widening does not pay */
    CHUNK = 8,              /* panels of quantized weights, of 256 elements, unpacked at a time */
    BLOCK_BYTES = 3072      /* of a packed row of weights at most */
};

enum { WIDE_BYTES = CHUNK * sizeof(vl2_qpanel) }; /* of unpacked panels, or */
_Static_assert(STRIP *BLOCK_BYTES <= WIDE_BYTES, "a strip that was widened, or");
_Static_assert((int)VL2_Q_ROOM <= (int)WIDE_BYTES, "what a level unpacks by itself");

size_t vl2_product_lane_bytes(void) {
    const size_t rows = WIDE_BYTES + 2 * (size_t)RUN * SUMS * sizeof(float);
    const size_t tiles = vl2_product_tiles_lane_bytes(), bytes = vl2_product_bytes_lane_bytes();
    const size_t most = rows > tiles ? rows : tiles;
    return most > bytes ? most : bytes;
}

/* Bytes of a packed row of k elements. */
static size_t packed_bytes(const vl2_product *p, size_t k) {
    return p->q ? vl2_qx_bytes(k, p->q->unit) : vl2_dot_padded(p->dot, k) * p->dot->x_bytes;
}

/* ---- groups ----------------------------------------------------------------------------------- */

static vl2_share group_share(const vl2_product *p, size_t g) {
    if (p->groups) {
        const vl2_group *group = &p->groups[g];
        return (vl2_share){.w = group->w->data,
                           .stride = group->w->stride,
                           .w2 = p->gated ? group->w2->data : NULL,
                           .stride2 = p->gated ? group->w2->stride : 0,
                           .first = group->first,
                           .n = group->n,
                           .y = p->y + group->first * p->ldy};
    }
    size_t row = g * p->head_rows + p->first_row;
    return (vl2_share){.w = (const char *)p->w->data + row * p->w->stride,
                       .stride = p->w->stride,
                       .first = p->x_head ? g * p->m : 0,
                       .n = p->m,
                       .y = p->y + g * p->y_head};
}

vl2_share vl2_product_turn(const vl2_product *p, size_t g) {
    vl2_share s = group_share(p, g);
    size_t end = vl2_cpu_min(s.first + s.n, p->hi);
    size_t from = s.first > p->lo ? s.first : p->lo;
    if (from >= end) return (vl2_share){.n = 0};
    s.y += (from - s.first) * p->ldy;
    s.first = from;
    s.n = end - from;
    return s;
}

const float *vl2_product_source(const vl2_product *p, size_t r) {
    if (p->index) return p->x + p->index[r] * p->ldx;
    if (p->x_head) return p->x + r % p->m * p->ldx + r / p->m * p->x_head;
    return p->x + r * p->ldx;
}

/* ---- packing x --------------------------------------------------------------------------------- */

/* Packed block of k0 …, row r (counted from lo). Rows for quantized weights are one block. */
static char *packed_row(const vl2_product *p, size_t k0, size_t r) {
    size_t row = packed_bytes(p, vl2_cpu_min(p->block, p->k - k0));
    return p->packed + (p->hi - p->lo) * k0 * p->dot->x_bytes + r * row;
}

enum { PACK_ROWS = 16 };

static void pack_rows(const vl2_product *p, size_t i) {
    size_t end = vl2_cpu_min(p->hi, p->lo + (i + 1) * PACK_ROWS);
    for (size_t r = p->lo + i * PACK_ROWS; r < end; r++) {
        const float *row = vl2_product_source(p, r);
        for (size_t k0 = 0; k0 < p->k; k0 += p->block)
            (p->q ? p->q->pack_x : p->dot->pack_x)(packed_row(p, k0, r - p->lo), row + k0,
                                                   vl2_cpu_min(p->block, p->k - k0));
    }
}

/* ---- a task: some rows by some outputs --------------------------------------------------------- */

typedef struct cell {
    const vl2_product *p;
    size_t first, m; /* packed rows, counted from lo */
    size_t n;        /* outputs */
    char *wide;      /* the lane's */
} cell;

static void sum_direct(const cell *c, float *sums, const char *w, size_t stride) {
    const vl2_product *p = c->p;
    for (size_t j = 0; j < c->n; j += READ) {
        size_t n = vl2_cpu_min(READ, c->n - j);
        for (size_t k0 = 0; k0 < p->k; k0 += p->block)
            p->dot->direct(sums + j, SUMS, packed_row(p, k0, c->first), c->m,
                           w + j * stride + k0 * p->element, stride, n,
                           vl2_cpu_min(p->block, p->k - k0), k0 > 0);
    }
}

/* Elements [k0, k0 + k) of a row of weights, packed. */
static void pack_w(const vl2_product *p, void *out, const char *row, size_t k0, size_t k) {
    if (!vl2_dtype_is_quantized(p->type)) {
        p->dot->pack_w(out, row + k0 * p->element, k);
        return;
    }
    float wide[BLOCK_BYTES / sizeof(float)];
    vl2_dtype_to_f32_from(wide, row, p->type, k0, k);
    p->dot->pack_w(out, wide, k);
}

typedef struct lines { /* of rows of weights that will be widened next, to be asked for */
    const char *at;
    size_t stride, bytes, rows; /* bytes of each row; rows that are left */
    size_t done;                /* bytes of this row */
} lines;

static size_t line_count(const lines *l) { return l->rows * (l->bytes / 64 + 1); }

static void ask_for(lines *l, size_t n) {
    for (; n && l->rows; n--) {
        __builtin_prefetch(l->at + l->done, 0, 2);
        l->done += 64;
        if (l->done < l->bytes) continue;
        l->at += l->stride;
        l->rows--;
        l->done = 0;
    }
}

/* What follows outputs [j, j + STRIP) and elements [k0 …: further outputs, the next block, `next`. */
static lines lines_after(const cell *c, const char *w, size_t stride, size_t j, size_t k0,
                         const char *next) {
    const vl2_product *p = c->p;
    size_t rows = c->n;
    if (vl2_dtype_is_quantized(p->type)) return (lines){.rows = 0};
    if (j + STRIP < c->n) {
        next = w + (j + STRIP) * stride;
        rows -= j + STRIP;
    } else if (k0 + p->block < p->k) {
        next = w;
        k0 += p->block;
    } else {
        k0 = 0;
    }
    return (lines){.at = next + k0 * p->element,
                   .stride = stride,
                   .bytes = vl2_cpu_min(p->block, p->k - k0) * p->element,
                   .rows = next ? vl2_cpu_min(STRIP, rows) : 0};
}

/* next: rows like these that will be widened afterwards, or NULL. */
static void sum_packed(const cell *c, float *sums, const char *w, size_t stride, const char *next) {
    const vl2_product *p = c->p;
    const size_t groups = (c->m + GROUP - 1) / GROUP;
    for (size_t k0 = 0; k0 < p->k; k0 += p->block) {
        size_t k = vl2_cpu_min(p->block, p->k - k0);
        size_t row_bytes = vl2_dot_padded(p->dot, k) * p->dot->w_bytes;
        for (size_t j = 0; j < c->n; j += STRIP) {
            size_t n = vl2_cpu_min(STRIP, c->n - j);
            for (size_t r = 0; r < n; r++)
                pack_w(p, c->wide + r * row_bytes, w + (j + r) * stride, k0, k);
            lines ahead = lines_after(c, w, stride, j, k0, next);
            const size_t some = line_count(&ahead) / groups + 1;
            for (size_t i = 0; i < c->m; i += GROUP) {
                ask_for(&ahead, some);
                p->dot->packed(sums + i * SUMS + j, SUMS, packed_row(p, k0, c->first + i),
                               vl2_cpu_min(GROUP, c->m - i), c->wide, n, k, k0 > 0);
            }
        }
    }
}

static void sum_quantized(const cell *c, float *sums, const char *w, size_t stride) {
    const vl2_product *p = c->p;
    const vl2_qdot *q = p->q;
    const char *x = packed_row(p, 0, c->first);
    if (q->many && c->m > q->few) {
        q->many(sums, SUMS, x, c->m, w, stride, c->n, p->k, c->wide);
        return;
    }
    if (c->m <= VL2_PRODUCT_FEW || !q->pack_w) {
        q->direct(sums, SUMS, x, c->m, w, stride, c->n, p->k);
        return;
    }
    vl2_qpanel *panels = (vl2_qpanel *)(void *)c->wide;
    const size_t step = CHUNK * VL2_QUNIT_MAX;
    for (size_t j = 0; j < c->n; j += VL2_QPANEL) {
        const char *row = w + j * stride;
        for (size_t k0 = 0; k0 < p->k; k0 += step, row += step / q->unit * p->element) {
            size_t k = vl2_cpu_min(step, p->k - k0);
            q->pack_w(panels, row, stride, vl2_cpu_min(VL2_QPANEL, c->n - j), k);
            q->packed(sums + j, SUMS, x, c->m, p->k, panels, k0, k);
        }
    }
}

static void sum(const cell *c, float *sums, const char *w, size_t stride, const char *next) {
    if (c->p->q)
        sum_quantized(c, sums, w, stride);
    else if (c->m <= DIRECT_ROWS && !vl2_dtype_is_quantized(c->p->type))
        sum_direct(c, sums, w, stride);
    else
        sum_packed(c, sums, w, stride, next);
}

void vl2_product_finish(const vl2_product *p, float *y, size_t column, const float *sums,
                        const float *sums2, size_t ld, size_t m, size_t n) {
    const vl2_kernels *k = &p->cpu->kernels;
    const float *bias = p->bias && p->bias->data ? p->bias->data + column : NULL;
    for (size_t i = 0; i < m; i++) {
        if (p->gated)
            k->gate[p->epilogue](y + i * p->ldy + column, sums + i * ld, sums2 + i * ld, n);
        else
            k->finish[p->epilogue](y + i * p->ldy + column, sums + i * ld, bias, n);
    }
}

/* Rows of a task of n: equal parts, of whole tiles for most kernels. */
static size_t run_of(const vl2_product *p, size_t n) {
    if (p->q || n <= ROWS) return RUN;
    const size_t parts = (n + ROWS - 1) / ROWS;
    return vl2_cpu_up((n + parts - 1) / parts, GROUP / 2);
}

static void run_cell(const vl2_product *p, const vl2_share *s, size_t row, size_t column,
                     int thread) {
    char *lane = vl2_cpu_lane(p->cpu, thread);
    float *sums = (float *)(void *)(lane + WIDE_BYTES);
    float *sums2 = sums + (size_t)RUN * SUMS;
    cell c = {.p = p,
              .first = s->first - p->lo + row,
              .m = vl2_cpu_min(run_of(p, s->n), s->n - row),
              .n = vl2_cpu_min(p->panel, p->n - column),
              .wide = lane};
    const char *w = s->w + column * s->stride;
    const char *w2 = p->gated ? s->w2 + column * s->stride2 : NULL;
    const char *next = column + c.n < p->n ? w + c.n * s->stride : NULL;
    sum(&c, sums, w, s->stride, w2 ? w2 : next);
    if (w2) sum(&c, sums2, w2, s->stride2, next);
    vl2_product_finish(p, s->y + row * p->ldy, column, sums, sums2, SUMS, c.m, c.n);
}

static size_t panels(const vl2_product *p) { return (p->n + p->panel - 1) / p->panel; }

static size_t runs(const vl2_product *p, size_t n) { return (n + run_of(p, n) - 1) / run_of(p, n); }

static size_t group_tasks(const vl2_product *p, const vl2_share *s) {
    return panels(p) * runs(p, s->n);
}

static void any_cell(const vl2_product *p, size_t i, int thread) {
    for (size_t g = 0; g < p->n_groups; g++) {
        vl2_share s = vl2_product_turn(p, g);
        size_t tasks = group_tasks(p, &s);
        if (i < tasks) {
            run_cell(p, &s, i / panels(p) * run_of(p, s.n), i % panels(p) * p->panel, thread);
            return;
        }
        i -= tasks;
    }
}

/* ---- some products at once --------------------------------------------------------------------- */

typedef struct together {
    vl2_product *p;
    size_t n;
} together;

static void pack_task(void *context, size_t i, int thread) {
    const vl2_product *p = ((const together *)context)->p;
    (void)thread;
    for (; i >= p->packs; p++) i -= p->packs;
    if (p->by_tiles)
        vl2_product_tiles_pack(p, i);
    else
        pack_rows(p, i);
}

static void cell_task(void *context, size_t i, int thread) {
    const vl2_product *p = ((const together *)context)->p;
    for (; i >= p->tasks; p++) i -= p->tasks;
    if (p->by_tiles)
        vl2_product_tiles_cell(p, i, thread);
    else
        any_cell(p, i, thread);
}

/* Rows of a group on average, of the groups that have some; and in how many runs all go. */
static size_t mean_rows(const vl2_product *p, size_t *all_runs) {
    size_t rows = 0, groups = 0;
    *all_runs = 0;
    for (size_t g = 0; g < p->n_groups; g++) {
        const size_t n = vl2_product_turn(p, g).n;
        if (n == 0) continue;
        rows += n;
        groups++;
        *all_runs += runs(p, n);
    }
    return groups ? rows / groups : 0;
}

/* p's panels, and whether they may be halved: they must be worth a task. */
static size_t count_panels(const vl2_product *p, bool *divisible) {
    const size_t least = p->q ? VL2_QPANEL : READ;
    size_t all_runs, rows = mean_rows(p, &all_runs);
    *divisible = p->panel > least && p->panel / 2 * p->k * rows >= 16384;
    return all_runs * panels(p);
}

/* To begin with: of few rows, whose weights are what takes time, not so many outputs that threads would
 * wait for the last task. */
static size_t widest_panel(const vl2_product *p) {
    const vl2_dtype_traits *t = vl2_dtype_of(p->type);
    const size_t row = p->k / t->block * t->block_bytes * (p->gated ? 2 : 1);
    size_t panel = PANEL, all_runs;
    if (mean_rows(p, &all_runs) > DIRECT_ROWS) return panel;
    while (panel > VL2_QPANEL && panel * row > TASK_BYTES) panel /= 2;
    return panel;
}

/* Panels small enough to keep all threads busy, large enough to be worth a task. */
static void choose_panels(const together *t) {
    const size_t wanted = 16 * (size_t)t->p->cpu->threads;
    bool divisible[VL2_CALLS], any = true;
    for (size_t i = 0; i < t->n; i++) t->p[i].panel = widest_panel(&t->p[i]);
    while (any) {
        size_t all = 0;
        for (size_t i = 0; i < t->n; i++) all += count_panels(&t->p[i], &divisible[i]);
        any = false;
        for (size_t i = 0; i < t->n && all < wanted; i++) {
            if (t->p[i].by_tiles || !divisible[i]) continue;
            t->p[i].panel /= 2;
            any = true;
        }
    }
}

static void open_rows(vl2_product *p) {
    p->block = p->q ? p->k : vl2_dot_block(p->dot, p->k);
    p->packs = (p->hi - p->lo + PACK_ROWS - 1) / PACK_ROWS;
    p->tasks = 0;
    for (size_t g = 0; g < p->n_groups; g++) {
        vl2_share s = vl2_product_turn(p, g);
        p->tasks += group_tasks(p, &s);
    }
}

static size_t row_bytes(const vl2_product *p) {
    return p->by_tiles ? vl2_product_tiles_row_bytes(p) : packed_bytes(p, p->k);
}

/* A turn of each; their packed rows fit the shared scratch together. */
static void run_turn(together *t) {
    char *packed = t->p->cpu->shared;
    size_t packs = 0, tasks = 0;
    choose_panels(t);
    for (size_t i = 0; i < t->n; i++) {
        vl2_product *p = &t->p[i];
        p->packed = packed;
        packed += vl2_cpu_up((p->hi - p->lo) * row_bytes(p), VL2_ALIGN);
        (p->by_tiles ? vl2_product_tiles_open : open_rows)(p);
        packs += p->packs;
        tasks += p->tasks;
    }
    if (packs > t->n) /* a few rows are not worth a loop */
        vl2_pool_run(t->p->cpu->base.pool, packs, pack_task, t);
    else
        for (size_t i = 0; i < packs; i++) pack_task(t, i, 0);
    vl2_pool_run(t->p->cpu->base.pool, tasks, cell_task, t);
}

static void run_alone(vl2_product *p) {
    together one = {p, 1};
    size_t fit = p->cpu->shared_bytes / row_bytes(p);
    for (p->lo = 0; p->lo < p->total; p->lo = p->hi) {
        p->hi = vl2_cpu_min(p->total, p->lo + fit);
        run_turn(&one);
    }
}

static bool has_many_rows(const vl2_product *p) {
    if (!p->groups) return p->m > VL2_PRODUCT_FEW;
    for (size_t g = 0; g < p->n_groups; g++)
        if (p->groups[g].n > VL2_PRODUCT_FEW) return true;
    return false;
}

/* n <= VL2_CALLS of them; those without rows or outputs are left out. */
static void run(vl2_product *p, size_t n) {
    together t = {p, 0};
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i].n == 0 || p[i].total == 0) continue;
        p[i].by_tiles = p[i].tiles && (!p[i].q || has_many_rows(&p[i]));
        p[i].lo = 0;
        p[i].hi = p[i].total;
        bytes += vl2_cpu_up(p[i].total * row_bytes(&p[i]), VL2_ALIGN);
        p[t.n++] = p[i];
    }
    if (t.n && bytes <= p->cpu->shared_bytes)
        run_turn(&t);
    else
        for (size_t i = 0; i < t.n; i++) run_alone(&p[i]);
}

/* ---- the operations ---------------------------------------------------------------------------- */

static vl2_product start(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                         const vl2_mat *w, bool exact) {
    vl2_cpu *cpu = vl2_cpu_of(be);
    const vl2_kernels *k = &cpu->kernels;
    const bool quantized = vl2_dtype_is_quantized(w->type);
    const bool bytes = w->type == VL2_I8;
    const vl2_dtype type = quantized || bytes ? VL2_F32 : w->type; /* in a panel */
    vl2_product p = {.cpu = cpu,
                     .dot = &k->exact[type],
                     .type = w->type,
                     .element = vl2_dtype_of(w->type)->block_bytes,
                     .n = w->rows,
                     .k = w->cols,
                     .y = y,
                     .ldy = ldy,
                     .x = x,
                     .ldx = ldx};
    if (exact || cpu->exact || bytes) return p;
    if (quantized) {
        p.q = &k->quantized[w->type - VL2_Q8_0];
        if (k->q_tiles[w->type - VL2_Q8_0].product) p.tiles = &k->q_tiles[w->type - VL2_Q8_0];
    } else {
        p.dot = &k->fast[type];
        if (k->tiles[type].product) p.tiles = &k->tiles[type];
    }
    return p;
}

void vl2_product_linear(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                        const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue, bool exact) {
    const vl2_group all = {.w = w, .n = m};
    vl2_product p = start(be, y, ldy, x, ldx, w, exact);
    p.bias = b;
    p.epilogue = epilogue;
    p.groups = &all;
    p.n_groups = 1;
    p.total = m;
    if (w->type == VL2_I8)
        vl2_product_bytes_run(&p, w, m);
    else
        run(&p, 1);
}

void vl2_product_gated(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                       const vl2_mat *gate, const vl2_mat *up, vl2_epilogue act) {
    const vl2_group all = {.w = gate, .w2 = up, .n = m};
    const vl2_call call = {
        .y = y, .ldy = ldy, .x = x, .ldx = ldx, .groups = &all, .n_groups = 1, .epilogue = act};
    vl2_product_products(be, &call, 1);
}

static size_t grouped_rows(const vl2_group *groups, size_t n_groups) {
    size_t end = 0;
    for (size_t g = 0; g < n_groups; g++)
        if (groups[g].n && groups[g].first + groups[g].n > end) end = groups[g].first + groups[g].n;
    return end;
}

static void some_products(vl2_backend *be, const vl2_call *calls, size_t n) {
    vl2_product all[VL2_CALLS];
    size_t some = 0;
    for (size_t i = 0; i < n; i++) {
        const vl2_call *c = &calls[i];
        if (c->n_groups == 0) continue;
        vl2_product *p = &all[some++];
        *p = start(be, c->y, c->ldy, c->x, c->ldx, c->groups->w, false);
        p->bias = c->b;
        p->epilogue = c->epilogue;
        p->index = c->index;
        p->groups = c->groups;
        p->n_groups = c->n_groups;
        p->gated = c->groups->w2 != NULL;
        p->total = grouped_rows(c->groups, c->n_groups);
    }
    run(all, some);
}

void vl2_product_products(vl2_backend *be, const vl2_call *calls, size_t n) {
    for (size_t i = 0; i < n; i += VL2_CALLS)
        some_products(be, calls + i, vl2_cpu_min(VL2_CALLS, n - i));
}

void vl2_product_heads_linear(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *x,
                              size_t ldx, size_t x_head, size_t m, size_t heads, size_t n_out,
                              const vl2_mat *w, size_t head_rows, size_t first_row) {
    vl2_product p = start(be, y, ldy, x, ldx, w, false);
    p.w = w;
    p.n = n_out;
    p.n_groups = heads;
    p.m = m;
    p.head_rows = head_rows;
    p.first_row = first_row;
    p.x_head = x_head;
    p.y_head = y_head;
    p.total = x_head ? heads * m : m;
    run(&p, 1);
}
