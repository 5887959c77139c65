/* Products by tiles (kernels.h): rows of x in blocks of VL2_TILE_ROWS, weights where they lie.
 *
 * Each group's rows are prepared from its first row on, so its blocks are whole but for the last. Tasks
 * are (group, run of rows, panel of outputs): a run's prepared rows stay in the second-level cache while
 * the weights pass by once, a panel's weights stay there while the run's rows pass by. */
#include "backend/cpu/product_tiles.h"

enum {
    SUMS = 6144, /* values of a matrix that are summed before their epilogue */
    Q_SUMS =
        VL2_TILE_MOST * VL2_TILE_RUN, /* of a quantized one, whose weights are unpacked for them */
    PANEL = 64,                       /* outputs of a task at most, where rows are many */
    PANEL_BYTES = 288 << 10,          /* weights of a task at most, where rows are many */
    RUN_BYTES = 1 << 20,              /* prepared rows of a task at most */
    MANY_ROWS = 96 /* from here on dot products, not weights, are what takes time */
};

size_t vl2_product_tiles_lane_bytes(void) { return VL2_TILE_SCRATCH + 2 * Q_SUMS * sizeof(float); }

static size_t sums_of(const vl2_product *p) { return p->q ? Q_SUMS : SUMS; }

/* Of quantized products, a group of few rows has them as `direct` wants them: no longer than these. */
size_t vl2_product_tiles_row_bytes(const vl2_product *p) { return p->tiles->row_bytes(p->k); }
static bool is_direct(const vl2_product *p, size_t rows) { return p->q && rows <= VL2_PRODUCT_FEW; }

static size_t blocks_of(size_t rows) { return (rows + VL2_TILE_ROWS - 1) / VL2_TILE_ROWS; }

/* Which part i of all groups' parts is, where group g has count(p, its rows) of them. */
typedef size_t (*count_fn)(const vl2_product *p, size_t rows);

static vl2_share find(const vl2_product *p, size_t *i, count_fn count) {
    for (size_t g = 0;; g++) {
        vl2_share s = vl2_product_turn(p, g);
        size_t n = count(p, s.n);
        if (*i < n) return s;
        *i -= n;
    }
}

static size_t count_all(const vl2_product *p, count_fn count) {
    size_t n = 0;
    for (size_t g = 0; g < p->n_groups; g++) n += count(p, vl2_product_turn(p, g).n);
    return n;
}

/* ---- preparing x ------------------------------------------------------------------------------ */

static size_t pack_parts(const vl2_product *p, size_t rows) {
    (void)p;
    return blocks_of(rows);
}

/* Packed rows [first, first + n) of a group of `all`. */
static void pack_block(const vl2_product *p, size_t first, size_t n, size_t all) {
    const float *rows[VL2_TILE_ROWS];
    char *out = p->packed + (first - p->lo) * vl2_product_tiles_row_bytes(p);
    for (size_t r = 0; r < n; r++) rows[r] = vl2_product_source(p, first + r);
    if (!is_direct(p, all)) {
        p->tiles->pack(out, rows, n, p->k);
        return;
    }
    for (size_t r = 0; r < n; r++, out += vl2_qx_bytes(p->k, p->q->unit))
        p->q->pack_x(out, rows[r], p->k);
}

/* Heads that share x have it packed once. */
static bool shares_x(const vl2_product *p) { return p->x_head == 0 && !p->groups; }

void vl2_product_tiles_pack(const vl2_product *p, size_t i) {
    if (shares_x(p)) {
        size_t first = p->lo + i * VL2_TILE_ROWS;
        pack_block(p, first, vl2_cpu_min(VL2_TILE_ROWS, p->hi - first), p->hi - p->lo);
        return;
    }
    vl2_share s = find(p, &i, pack_parts);
    size_t done = i * VL2_TILE_ROWS;
    pack_block(p, s.first + done, vl2_cpu_min(VL2_TILE_ROWS, s.n - done), s.n);
}

/* ---- a task: some rows by some outputs --------------------------------------------------------- */

static size_t cells(const vl2_product *p, size_t rows) {
    return (rows + p->run - 1) / p->run * ((p->n + p->panel - 1) / p->panel);
}

typedef struct cell {
    vl2_share s;
    size_t column, n; /* outputs */
    size_t row, end;  /* rows of the share */
} cell;

static cell find_cell(const vl2_product *p, size_t i) {
    cell c = {.s = find(p, &i, cells)};
    size_t panels = (p->n + p->panel - 1) / p->panel;
    c.column = i % panels * p->panel;
    c.n = vl2_cpu_min(p->panel, p->n - c.column);
    c.row = i / panels * p->run;
    c.end = vl2_cpu_min(c.s.n, c.row + p->run);
    return c;
}

/* Where y's rows are long and many, their lines are asked for before the sums are ready. */
static void fetch_results(const vl2_product *p, const cell *c, size_t row, size_t m) {
    for (size_t i = 0; i < m; i++) {
        const float *y = c->s.y + (row + i) * p->ldy + c->column;
        for (size_t j = 0; j < c->n; j += 16) __builtin_prefetch(y + j, 1, 2);
    }
}

typedef struct lane { /* a thread's */
    void *scratch;
    float *sums, *sums2;
} lane;

static lane lane_of(const vl2_product *p, int thread) {
    char *memory = vl2_cpu_lane(p->cpu, thread);
    float *sums = (float *)(void *)(memory + VL2_TILE_SCRATCH);
    return (lane){memory, sums, sums + sums_of(p)};
}

static void multiply(const vl2_product *p, const cell *c, float *sums, const void *x, size_t m,
                     const char *w, size_t stride, const char *next, size_t next_bytes,
                     const lane *l) {
    if (is_direct(p, c->s.n))
        p->q->direct(sums, p->panel, x, m, w, stride, c->n, p->k);
    else
        p->tiles->product(sums, p->panel, x, m, w, stride, c->n, p->k, next, next_bytes,
                          l->scratch);
}

void vl2_product_tiles_cell(const vl2_product *p, size_t i, int thread) {
    cell c = find_cell(p, i), next = c;
    /* With many rows there is time to fetch the weights of what is likely this thread's next task;
     * with few, memory is busy, and the CPU's own prefetch does better. */
    bool more = c.end - c.row > MANY_ROWS && i + (size_t)p->cpu->threads < p->tasks;
    if (more) next = find_cell(p, i + (size_t)p->cpu->threads);
    lane l = lane_of(p, thread);
    size_t at_once = sums_of(p) / p->panel / VL2_TILE_RUN * VL2_TILE_RUN;
    if (at_once == 0) at_once = VL2_TILE_RUN; /* wide panels are of few rows */
    at_once = vl2_cpu_min(at_once, VL2_TILE_MOST);
    size_t turns = (c.end - c.row + at_once - 1) / at_once, turn = 0;
    size_t bytes = more ? next.n * next.s.stride / turns / 64 * 64 : 0;
    for (size_t row = c.row, m; row < c.end; row += m, turn++) {
        m = vl2_cpu_min(at_once, c.end - row);
        const char *x = p->packed + (c.s.first - p->lo + row) * vl2_product_tiles_row_bytes(p);
        if (more) fetch_results(p, &c, row, m);
        multiply(p, &c, l.sums, x, m, c.s.w + c.column * c.s.stride, c.s.stride,
                 more ? next.s.w + next.column * next.s.stride + turn * bytes : NULL, bytes, &l);
        if (p->gated)
            multiply(p, &c, l.sums2, x, m, c.s.w2 + c.column * c.s.stride2, c.s.stride2,
                     more ? next.s.w2 + next.column * next.s.stride2 + turn * bytes : NULL, bytes,
                     &l);
        vl2_product_finish(p, c.s.y + row * p->ldy, c.column, l.sums, l.sums2, p->panel, m, c.n);
    }
}

/* ---- the operation ----------------------------------------------------------------------------- */

/* Wide panels for few rows, whose weights then come in one long stream; but work for all threads. */
static void choose_sizes(vl2_product *p) {
    size_t most = 0, groups = 0;
    for (size_t g = 0; g < p->n_groups; g++) {
        size_t n = vl2_product_turn(p, g).n;
        most = n > most ? n : most;
        groups += n > 0;
    }
    size_t rows = vl2_cpu_min(most, MANY_ROWS), wanted = 4 * (size_t)p->cpu->threads;
    p->run =
        vl2_cpu_up(vl2_cpu_min(most, RUN_BYTES / vl2_product_tiles_row_bytes(p) + 1), VL2_TILE_RUN);
    p->panel = PANEL;
    if (most > MANY_ROWS)
        while (p->panel > VL2_TILE_RUN && p->panel * vl2_product_tiles_row_bytes(p) > PANEL_BYTES)
            p->panel /= 2;
    while (p->panel * 2 * rows <= sums_of(p) && most <= MANY_ROWS &&
           groups * (p->n / (p->panel * 2)) >= wanted)
        p->panel *= 2;
    while (p->panel > VL2_TILE_ROWS && groups * (p->n / p->panel) < wanted / 2) p->panel /= 2;
}

void vl2_product_tiles_open(vl2_product *p) {
    choose_sizes(p);
    p->packs = shares_x(p) ? blocks_of(p->hi - p->lo) : count_all(p, pack_parts);
    p->tasks = count_all(p, cells);
}
