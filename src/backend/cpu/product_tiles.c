/* Products by tiles (kernels.h): rows of x in blocks of VL2_TILE_ROWS, weights where they lie.
 *
 * Each group's rows are prepared from its first row on, so its blocks are whole but for the last. Tasks
 * are (group, run of rows, panel of outputs): a run's prepared rows stay in the second-level cache while
 * the weights pass by once, a panel's weights stay there while the run's rows pass by. */
#include "backend/cpu/product_tiles.h"

enum {
    SUMS = 2048,        /* values of a matrix that are summed before their epilogue */
    PANEL = 64,         /* outputs of a task at most, where rows are many */
    RUN_BYTES = 1 << 20 /* prepared rows of a task at most */
};

size_t vl2_product_tiles_lane_bytes(void) { return 2 * SUMS * sizeof(float); }

static size_t row_bytes(const vl2_product *p) {
    return vl2_cpu_up(p->k, p->tiles->step) * p->tiles->x_bytes;
}

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

static void pack_block(const vl2_product *p, size_t first, size_t n) {
    const float *rows[VL2_TILE_ROWS];
    for (size_t r = 0; r < n; r++) rows[r] = vl2_product_source(p, first + r);
    p->tiles->pack(p->cpu->shared + (first - p->lo) * row_bytes(p), rows, n, p->k);
}

static void pack_task(void *context, size_t i, int thread) {
    const vl2_product *p = context;
    (void)thread;
    if (p->x_head == 0 && !p->groups) { /* heads that share x */
        size_t first = p->lo + i * VL2_TILE_ROWS;
        pack_block(p, first, vl2_cpu_min(VL2_TILE_ROWS, p->hi - first));
        return;
    }
    vl2_share s = find(p, &i, pack_parts);
    size_t done = i * VL2_TILE_ROWS;
    pack_block(p, s.first + done, vl2_cpu_min(VL2_TILE_ROWS, s.n - done));
}

/* ---- a task: some rows by some outputs --------------------------------------------------------- */

static size_t cells(const vl2_product *p, size_t rows) {
    return (rows + p->run - 1) / p->run * ((p->n + p->panel - 1) / p->panel);
}

static void cell_task(void *context, size_t i, int thread) {
    const vl2_product *p = context;
    vl2_share s = find(p, &i, cells);
    float *sums = vl2_cpu_lane(p->cpu, thread), *sums2 = sums + SUMS;
    size_t panels = (p->n + p->panel - 1) / p->panel;
    size_t column = i % panels * p->panel, n = vl2_cpu_min(p->panel, p->n - column);
    size_t row = i / panels * p->run, end = vl2_cpu_min(s.n, row + p->run);
    for (size_t m; row < end; row += m) {
        m = vl2_cpu_min(VL2_TILE_RUN, end - row);
        const char *x = p->cpu->shared + (s.first - p->lo + row) * row_bytes(p);
        p->tiles->product(sums, p->panel, x, m, s.w + column * s.stride, s.stride, n, p->k);
        if (p->gated)
            p->tiles->product(sums2, p->panel, x, m, s.w2 + column * s.stride2, s.stride2, n, p->k);
        vl2_product_finish(p, s.y + row * p->ldy, column, sums, sums2, p->panel, m, n);
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
    size_t rows = vl2_cpu_min(most, VL2_TILE_RUN), wanted = 4 * (size_t)p->cpu->threads;
    p->run = vl2_cpu_up(vl2_cpu_min(most, RUN_BYTES / row_bytes(p) + 1), VL2_TILE_RUN);
    p->panel = PANEL;
    while (p->panel * 2 * rows <= SUMS && groups * (p->n / (p->panel * 2)) >= wanted) p->panel *= 2;
    while (p->panel > VL2_TILE_ROWS && groups * (p->n / p->panel) < wanted / 2) p->panel /= 2;
}

void vl2_product_tiles_run(vl2_product *p, size_t total) {
    size_t fit = p->cpu->shared_bytes / row_bytes(p);
    bool shared_x = p->x_head == 0 && !p->groups;
    for (p->lo = 0; p->lo < total; p->lo = p->hi) {
        p->hi = vl2_cpu_min(total, p->lo + fit);
        choose_sizes(p);
        size_t blocks = shared_x ? blocks_of(p->hi - p->lo) : count_all(p, pack_parts);
        vl2_pool_run(p->cpu->base.pool, blocks, pack_task, p);
        vl2_pool_run(p->cpu->base.pool, count_all(p, cells), cell_task, p);
    }
}
