/* Operations that take one row at a time, in tasks of enough rows; and heads_times. */
#include "backend/cpu/cpu.h"

#include <string.h>

enum {
    TASK_FLOATS = 16384, /* of a task of simple rows */
    COLUMNS = 256        /* of a panel of heads_times */
};

/* ---- rows ------------------------------------------------------------------------------------- */

typedef struct rows {
    vl2_cpu *cpu;
    void (*one)(const struct rows *r, size_t i);
    float *y;
    const float *x;
    size_t ldy, ldx, m, width, per_task;
    const float *a, *b; /* norm weights; cos and sin; weights of rows, and the last ones */
    float eps;
    size_t heads, head, k;
    bool interleaved;
    const uint32_t *slot;
    const vl2_mat *table;
    const int32_t *ids;
    void *stored; /* a cache's rows */
} rows;

static void rows_task(void *context, size_t i, int thread) {
    const rows *r = context;
    (void)thread;
    size_t end = vl2_cpu_min(r->m, (i + 1) * r->per_task);
    for (size_t row = i * r->per_task; row < end; row++) r->one(r, row);
}

static void run_rows(rows *r, size_t floats) {
    r->per_task = floats < TASK_FLOATS ? TASK_FLOATS / (floats ? floats : 1) : 1;
    size_t tasks = (r->m + r->per_task - 1) / r->per_task;
    if (tasks) vl2_pool_run(r->cpu->base.pool, tasks, rows_task, r);
}

static void one_rmsnorm(const rows *r, size_t i) {
    r->cpu->kernels.rmsnorm(r->y + i * r->ldy, r->x + i * r->ldx, r->a, r->width, r->eps);
}

void vl2_rowwise_rmsnorm(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                         size_t m, size_t width, const vl2_vec *w, float eps) {
    rows r = {.cpu = vl2_cpu_of(be),
              .one = one_rmsnorm,
              .y = y,
              .ldy = ldy,
              .x = x,
              .ldx = ldx,
              .m = m,
              .width = width,
              .a = w->data,
              .eps = eps};
    run_rows(&r, width);
}

static void one_layernorm(const rows *r, size_t i) {
    r->cpu->kernels.layernorm(r->y + i * r->ldy, r->x + i * r->ldx, r->a, r->b, r->width, r->eps);
}

void vl2_rowwise_layernorm(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                           size_t m, size_t width, const vl2_vec *w, const vl2_vec *b, float eps) {
    rows r = {.cpu = vl2_cpu_of(be),
              .one = one_layernorm,
              .y = y,
              .ldy = ldy,
              .x = x,
              .ldx = ldx,
              .m = m,
              .width = width,
              .a = w->data,
              .b = b ? b->data : NULL,
              .eps = eps};
    run_rows(&r, width);
}

static void one_rope(const rows *r, size_t i) {
    const float *cos = r->a + i * r->width, *sin = r->b + i * r->width;
    for (size_t h = 0; h < r->heads; h++) {
        float *x = r->y + i * r->ldy + h * r->head;
        if (r->interleaved)
            r->cpu->kernels.rope_pairs(x, cos, sin, r->width);
        else
            r->cpu->kernels.rope_halves(x, cos, sin, r->width);
    }
}

void vl2_rowwise_rope(vl2_backend *be, float *x, size_t ldx, size_t m, size_t heads, size_t head,
                      size_t half, const float *cos, const float *sin, bool interleaved) {
    rows r = {.cpu = vl2_cpu_of(be),
              .one = one_rope,
              .y = x,
              .ldy = ldx,
              .m = m,
              .heads = heads,
              .head = head,
              .width = half,
              .a = cos,
              .b = sin,
              .interleaved = interleaved};
    run_rows(&r, 2 * half * heads);
}

static void one_combine(const rows *r, size_t i) {
    for (size_t j = 0; j < r->k; j++)
        r->cpu->kernels.axpy(r->y + i * r->ldy, r->x + r->slot[i * r->k + j] * r->ldx, r->width,
                             r->a[i * r->k + j]);
    if (r->b) r->cpu->kernels.axpy(r->y + i * r->ldy, r->b + i * r->ldx, r->width, 1.0f);
}

void vl2_rowwise_combine(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                         size_t m, size_t k, const uint32_t *slot, const float *weight,
                         const float *last, size_t width) {
    rows r = {.cpu = vl2_cpu_of(be),
              .one = one_combine,
              .y = y,
              .ldy = ldy,
              .x = x,
              .ldx = ldx,
              .m = m,
              .k = k,
              .slot = slot,
              .a = weight,
              .b = last,
              .width = width};
    run_rows(&r, width * k);
}

static void one_embed(const rows *r, size_t i) {
    const vl2_mat *t = r->table;
    const char *row = (const char *)t->data + (size_t)r->ids[i] * t->stride;
    if (vl2_dtype_is_quantized(t->type))
        vl2_dtype_to_f32(r->y + i * r->ldy, row, t->type, t->cols);
    else
        r->cpu->kernels.widen[t->type](r->y + i * r->ldy, row, t->cols);
}

void vl2_rowwise_embed(vl2_backend *be, float *out, size_t ldo, const vl2_mat *table,
                       const int32_t *ids, size_t n) {
    rows r = {.cpu = vl2_cpu_of(be),
              .one = one_embed,
              .y = out,
              .ldy = ldo,
              .m = n,
              .table = table,
              .ids = ids};
    run_rows(&r, table->cols);
}

static void one_store_f32(const rows *r, size_t i) {
    memcpy((float *)r->stored + i * r->width, r->x + i * r->ldx, r->width * sizeof *r->x);
}

static void one_store_bf16(const rows *r, size_t i) {
    r->cpu->kernels.to_bf16((uint16_t *)r->stored + i * r->width, r->x + i * r->ldx, r->width);
}

void vl2_rowwise_store_kv(vl2_backend *be, void *out, vl2_dtype kv_type, const float *x, size_t ldx,
                          size_t m, size_t width) {
    rows r = {.cpu = vl2_cpu_of(be),
              .one = kv_type == VL2_F32 ? one_store_f32 : one_store_bf16,
              .stored = out,
              .x = x,
              .ldx = ldx,
              .m = m,
              .width = width};
    run_rows(&r, width);
}

/* ---- heads_times ------------------------------------------------------------------------------ */

typedef struct times {
    vl2_cpu *cpu;
    float *y;
    const float *x;
    size_t ldy, y_head, ldx, x_head, m, heads, k, head_rows, first_row;
    const vl2_mat *w;
} times;

/* Rows [first, first+n) of x, columns [c0, c0+width) of head h; the panel [k, stride] is widened. */
static void times_rows(const times *t, size_t h, size_t c0, size_t width, const float *panel,
                       size_t stride, float *tile) {
    const float *a[VL2_ATTN_ROWS];
    for (size_t i = 0; i < t->m; i += VL2_ATTN_ROWS) {
        size_t n = vl2_cpu_min(VL2_ATTN_ROWS, t->m - i);
        for (size_t j = 0; j < n; j++) a[j] = t->x + (i + j) * t->ldx + h * t->x_head;
        t->cpu->kernels.outer(tile, stride, a, n, panel, stride, stride, t->k);
        for (size_t j = 0; j < n; j++)
            memcpy(t->y + (i + j) * t->ldy + h * t->y_head + c0, tile + j * stride,
                   width * sizeof *tile);
    }
}

static size_t times_columns(const times *t) {
    size_t room = vl2_cpu_min(COLUMNS, t->cpu->lane_bytes / sizeof(float) / (t->k + VL2_ATTN_ROWS));
    return room / VL2_OUTER_STEP * VL2_OUTER_STEP;
}

static void times_task(void *context, size_t i, int thread) {
    const times *t = context;
    size_t columns = times_columns(t), n = t->w->cols, parts = (n + columns - 1) / columns;
    size_t h = i / parts, c0 = i % parts * columns, width = vl2_cpu_min(columns, n - c0);
    size_t stride = vl2_cpu_up(width, VL2_OUTER_STEP);
    size_t element = t->w->type == VL2_F32 ? sizeof(float) : sizeof(uint16_t);
    float *panel = vl2_cpu_lane(t->cpu, thread), *tile = panel + t->k * stride;
    const char *w = (const char *)t->w->data + (h * t->head_rows + t->first_row) * t->w->stride;
    for (size_t l = 0; l < t->k; l++, w += t->w->stride) {
        if (vl2_dtype_is_quantized(t->w->type))
            vl2_dtype_to_f32_from(panel + l * stride, w, t->w->type, c0, width);
        else
            t->cpu->kernels.widen[t->w->type](panel + l * stride, w + c0 * element, width);
        memset(panel + l * stride + width, 0, (stride - width) * sizeof *panel);
    }
    times_rows(t, h, c0, width, panel, stride, tile);
}

void vl2_rowwise_heads_times(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *x,
                             size_t ldx, size_t x_head, size_t m, size_t heads, size_t k,
                             const vl2_mat *w, size_t head_rows, size_t first_row) {
    times t = {.cpu = vl2_cpu_of(be),
               .y = y,
               .ldy = ldy,
               .y_head = y_head,
               .x = x,
               .ldx = ldx,
               .x_head = x_head,
               .m = m,
               .heads = heads,
               .k = k,
               .w = w,
               .head_rows = head_rows,
               .first_row = first_row};
    size_t columns = times_columns(&t);
    vl2_pool_run(be->pool, heads * ((w->cols + columns - 1) / columns), times_task, &t);
}
