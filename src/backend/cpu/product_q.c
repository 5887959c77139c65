/* Products of rows with quantized weights: product.c's operations for types with blocks.
 *
 * In auto, x is quantized once for an operation; tasks are (group, panel of outputs, run of rows).
 * Few rows meet the mapped blocks directly, many meet panels that a thread has unpacked into its
 * lane: the same bits (qdot.h). In f32, some rows of weights at a time are widened to float32 and go
 * through product.c: the numbers of float32 weights. */
#include "backend/cpu/cpu.h"

enum {
    PANEL = 128,     /* outputs of a task at most */
    RUN = 384,       /* rows of a task at most */
    DIRECT_ROWS = 4, /* up to so many rows, unpacking a panel does not pay */
    CHUNK = 8,       /* panels, of 256 elements, unpacked at a time */
    PACK_ROWS = 16,  /* rows of a packing task */
    TASKS = 6,       /* for a thread at least, where there are columns enough */
    WIDE = VL2_WIDE_ROWS
};

typedef struct share { /* one group's part of an operation */
    const char *w, *w2;
    size_t stride, stride2;
    size_t first, n; /* packed rows */
    float *y;        /* of packed row `first` */
} share;

typedef struct product {
    vl2_cpu *cpu;
    const vl2_qdot *dot;
    size_t n, k, row_bytes;
    vl2_dtype type;
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx;
    const uint32_t *index;
    const float *bias;
    vl2_epilogue epilogue;
    bool gated;
    const vl2_group *groups; /* experts, or */
    const vl2_mat *w;        /* heads: group h has rows h * head_rows + first_row … of w */
    size_t n_groups, m, head_rows, first_row, x_head, y_head;
    size_t lo, hi; /* packed rows of this turn */
    size_t panel;  /* outputs of a task */
} product;

size_t vl2_product_q_lane_bytes(void) {
    return CHUNK * sizeof(vl2_qpanel) + 2 * (size_t)RUN * PANEL * sizeof(float);
}

/* ---- groups ----------------------------------------------------------------------------------- */

static share whole_share(const product *p, size_t g) {
    if (p->groups) {
        const vl2_group *group = &p->groups[g];
        return (share){.w = group->w->data,
                       .stride = group->w->stride,
                       .w2 = p->gated ? group->w2->data : NULL,
                       .stride2 = p->gated ? group->w2->stride : 0,
                       .first = group->first,
                       .n = group->n,
                       .y = p->y + group->first * p->ldy};
    }
    size_t row = g * p->head_rows + p->first_row;
    return (share){.w = (const char *)p->w->data + row * p->w->stride,
                   .stride = p->w->stride,
                   .first = p->x_head ? g * p->m : 0,
                   .n = p->m,
                   .y = p->y + g * p->y_head};
}

/* The part of group g that this turn's packed rows hold. */
static share turn_share(const product *p, size_t g) {
    share s = whole_share(p, g);
    size_t end = vl2_cpu_min(s.first + s.n, p->hi), from = s.first > p->lo ? s.first : p->lo;
    if (from >= end) return (share){.n = 0};
    s.y += (from - s.first) * p->ldy;
    s.first = from;
    s.n = end - from;
    return s;
}

/* ---- x ---------------------------------------------------------------------------------------- */

static const float *source_row(const product *p, size_t r) {
    if (p->index) return p->x + p->index[r] * p->ldx;
    if (p->x_head) return p->x + r % p->m * p->ldx + r / p->m * p->x_head;
    return p->x + r * p->ldx;
}

static void pack_task(void *context, size_t i, int thread) {
    const product *p = context;
    (void)thread;
    size_t end = vl2_cpu_min(p->hi, p->lo + (i + 1) * PACK_ROWS);
    for (size_t r = p->lo + i * PACK_ROWS; r < end; r++)
        p->dot->pack_x(p->cpu->shared + (r - p->lo) * p->row_bytes, source_row(p, r), p->k);
}

/* ---- a task: some rows by some outputs --------------------------------------------------------- */

/* sums[i * PANEL + j] for m packed rows at x and n outputs from w on; panels are the lane's. */
static void sum(const product *p, float *sums, const char *x, size_t m, const char *w,
                size_t stride, size_t n, vl2_qpanel *panels) {
    const vl2_qdot *dot = p->dot;
    if (m <= DIRECT_ROWS || !dot->pack_w) {
        dot->direct(sums, PANEL, x, m, w, stride, n, p->k);
        return;
    }
    const size_t block_bytes = vl2_dtype_of(p->type)->block_bytes, step = CHUNK * VL2_QUNIT_MAX;
    for (size_t j = 0; j < n; j += VL2_QPANEL) {
        for (size_t k0 = 0; k0 < p->k; k0 += step) {
            size_t kn = vl2_cpu_min(step, p->k - k0);
            dot->pack_w(panels, w + j * stride + k0 / dot->unit * block_bytes, stride,
                        vl2_cpu_min(VL2_QPANEL, n - j), kn);
            dot->packed(sums + j, PANEL, x, m, p->k, panels, k0, kn);
        }
    }
}

static void run_cell(const product *p, const share *s, size_t row, size_t column, int thread) {
    char *lane = vl2_cpu_lane(p->cpu, thread);
    vl2_qpanel *panels = (vl2_qpanel *)(void *)lane;
    float *sums = (float *)(void *)(lane + CHUNK * sizeof *panels);
    float *sums2 = sums + (size_t)RUN * PANEL;
    const char *x = p->cpu->shared + (s->first - p->lo + row) * p->row_bytes;
    const size_t m = vl2_cpu_min(RUN, s->n - row), n = vl2_cpu_min(p->panel, p->n - column);
    sum(p, sums, x, m, s->w + column * s->stride, s->stride, n, panels);
    if (p->gated) sum(p, sums2, x, m, s->w2 + column * s->stride2, s->stride2, n, panels);
    const vl2_kernels *k = &p->cpu->kernels;
    for (size_t i = 0; i < m; i++) {
        float *y = s->y + (row + i) * p->ldy + column;
        if (p->gated)
            k->gate[p->epilogue](y, sums + i * PANEL, sums2 + i * PANEL, n);
        else
            k->finish[p->epilogue](y, sums + i * PANEL, p->bias ? p->bias + column : NULL, n);
    }
}

static size_t panels_of(const product *p) { return (p->n + p->panel - 1) / p->panel; }

static size_t tasks_of(const product *p, const share *s) {
    return panels_of(p) * ((s->n + RUN - 1) / RUN);
}

static void cell_task(void *context, size_t i, int thread) {
    const product *p = context;
    for (size_t g = 0; g < p->n_groups; g++) {
        share s = turn_share(p, g);
        size_t tasks = tasks_of(p, &s);
        if (i < tasks) {
            run_cell(p, &s, i / panels_of(p) * RUN, i % panels_of(p) * p->panel, thread);
            return;
        }
        i -= tasks;
    }
}

/* ---- the operation ----------------------------------------------------------------------------- */

/* Panels small enough to keep all threads busy, large enough to be worth a task. */
static size_t choose_panel(const product *p) {
    size_t columns = 0;
    for (size_t g = 0; g < p->n_groups; g++)
        if (turn_share(p, g).n) columns += p->n;
    size_t panel = vl2_cpu_up(columns / ((size_t)p->cpu->threads * TASKS) + 1, VL2_QPANEL);
    return vl2_cpu_min(panel, PANEL);
}

static size_t count_tasks(const product *p) {
    size_t tasks = 0;
    for (size_t g = 0; g < p->n_groups; g++) {
        share s = turn_share(p, g);
        tasks += tasks_of(p, &s);
    }
    return tasks;
}

static product start(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                     const vl2_mat *w) {
    vl2_cpu *cpu = vl2_cpu_of(be);
    const vl2_qdot *dot = &cpu->kernels.quantized[w->type - VL2_Q8_0];
    return (product){.cpu = cpu,
                     .dot = dot,
                     .n = w->rows,
                     .k = w->cols,
                     .row_bytes = vl2_qx_bytes(w->cols, dot->unit),
                     .type = w->type,
                     .y = y,
                     .ldy = ldy,
                     .x = x,
                     .ldx = ldx};
}

/* total: rows to pack, all groups together */
static void run(product *p, size_t total) {
    if (p->n == 0 || total == 0) return;
    size_t fit = p->cpu->shared_bytes / p->row_bytes;
    for (p->lo = 0; p->lo < total; p->lo = p->hi) {
        p->hi = vl2_cpu_min(total, p->lo + fit);
        p->panel = choose_panel(p);
        vl2_pool_run(p->cpu->base.pool, (p->hi - p->lo + PACK_ROWS - 1) / PACK_ROWS, pack_task, p);
        vl2_pool_run(p->cpu->base.pool, count_tasks(p), cell_task, p);
    }
}

/* ---- float32: weights widened, some rows at a time ---------------------------------------------- */

typedef struct widening {
    float *out;
    const vl2_mat *w;
    size_t first;
} widening;

static void widen_task(void *context, size_t i, int thread) {
    const widening *t = context;
    (void)thread;
    vl2_dtype_to_f32(t->out + i * t->w->cols,
                     (const char *)t->w->data + (t->first + i) * t->w->stride, t->w->type,
                     t->w->cols);
}

/* Rows [first, first + n) of w in part 0 or 1 of the backend's room for them. */
static vl2_mat widen(vl2_backend *be, const vl2_mat *w, size_t first, size_t n, size_t part) {
    widening t = {vl2_cpu_of(be)->wide + part * WIDE * w->cols, w, first};
    vl2_pool_run(be->pool, n, widen_task, &t);
    return (vl2_mat){t.out, VL2_F32, n, w->cols, w->cols * sizeof(float)};
}

static void wide_linear(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                        const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue) {
    for (size_t j = 0; j < w->rows; j += WIDE) {
        vl2_mat some = widen(be, w, j, vl2_cpu_min(WIDE, w->rows - j), 0);
        vl2_vec bias = {b && b->data ? b->data + j : NULL, some.rows};
        vl2_product_linear(be, y + j, ldy, x, ldx, m, &some, &bias, epilogue, true);
    }
}

/* One group at a time: its rows of y, and of x or of the index. */
static void wide_group(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                       const uint32_t *index, const vl2_group *group, vl2_epilogue act) {
    for (size_t j = 0; j < group->w->rows; j += WIDE) {
        const size_t n = vl2_cpu_min(WIDE, group->w->rows - j);
        vl2_mat some = widen(be, group->w, j, n, 0), other = some;
        if (group->w2) other = widen(be, group->w2, j, n, 1);
        const vl2_group all = {.w = &some, .w2 = group->w2 ? &other : NULL, .n = group->n};
        if (group->w2)
            vl2_product_gated_groups(be, y + j, ldy, x, ldx, index, &all, 1, act);
        else
            vl2_product_linear_groups(be, y + j, ldy, x, ldx, index, &all, 1);
    }
}

/* ---- ops -------------------------------------------------------------------------------------- */

void vl2_product_q_linear(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                          size_t m, const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue) {
    if (vl2_cpu_of(be)->exact) {
        wide_linear(be, y, ldy, x, ldx, m, w, b, epilogue);
        return;
    }
    const vl2_group all = {.w = w, .n = m};
    product p = start(be, y, ldy, x, ldx, w);
    p.bias = b ? b->data : NULL;
    p.epilogue = epilogue;
    p.groups = &all;
    p.n_groups = 1;
    run(&p, m);
}

void vl2_product_q_groups(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                          const uint32_t *index, const vl2_group *groups, size_t n_groups,
                          vl2_epilogue act) {
    size_t end = 0;
    for (size_t g = 0; g < n_groups; g++) {
        const vl2_group *group = &groups[g];
        if (group->n && group->first + group->n > end) end = group->first + group->n;
        if (vl2_cpu_of(be)->exact && group->n)
            wide_group(be, y + group->first * ldy, ldy, index ? x : x + group->first * ldx, ldx,
                       index ? index + group->first : NULL, group, act);
    }
    if (vl2_cpu_of(be)->exact) return;
    product p = start(be, y, ldy, x, ldx, groups[0].w);
    p.index = index;
    p.groups = groups;
    p.n_groups = n_groups;
    p.gated = groups[0].w2 != NULL;
    p.epilogue = act;
    run(&p, end);
}

void vl2_product_q_heads(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *x,
                         size_t ldx, size_t x_head, size_t m, size_t heads, size_t n_out,
                         const vl2_mat *w, size_t head_rows, size_t first_row) {
    if (vl2_cpu_of(be)->exact) {
        for (size_t h = 0; h < heads; h++) {
            vl2_mat head = *w;
            head.data = (const char *)w->data + (h * head_rows + first_row) * w->stride;
            head.rows = n_out;
            wide_linear(be, y + h * y_head, ldy, x + h * x_head, ldx, m, &head, NULL, VL2_EPI_NONE);
        }
        return;
    }
    product p = start(be, y, ldy, x, ldx, w);
    p.w = w;
    p.n = n_out;
    p.n_groups = heads;
    p.m = m;
    p.head_rows = head_rows;
    p.first_row = first_row;
    p.x_head = x_head;
    p.y_head = y_head;
    run(&p, x_head ? heads * m : m);
}
