/* backend/cpu/cpu.h - what the operations of the CPU backend share: the table in use and scratch. */
#ifndef VL2_BACKEND_CPU_CPU_H
#define VL2_BACKEND_CPU_CPU_H

#include "backend/cpu/kernels.h"

typedef struct vl2_cpu {
    vl2_backend base; /* first: a vl2_backend * is a vl2_cpu * */
    vl2_kernels kernels;
    bool exact; /* compute f32: activations are never rounded */
    int threads;
    char *memory; /* all scratch, mapped */
    size_t bytes;
    char *shared; /* packed activations, or partial attention, of the operation under way */
    size_t shared_bytes;
    char *lanes; /* lane_bytes for each thread: panels, sums */
    size_t lane_bytes;
} vl2_cpu;

static inline vl2_cpu *vl2_cpu_of(vl2_backend *be) { return (vl2_cpu *)be; }
static inline void *vl2_cpu_lane(const vl2_cpu *cpu, int thread) {
    return cpu->lanes + (size_t)thread * cpu->lane_bytes;
}
static inline size_t vl2_cpu_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t vl2_cpu_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

/* What one thread needs in its lane. */
size_t vl2_product_lane_bytes(void);
size_t vl2_attention_lane_bytes(void);

/* The operations of ops.h, by file. */
void vl2_product_linear(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                        const vl2_mat *w, const vl2_vec *b, vl2_epilogue epilogue, bool exact);
size_t vl2_product_bytes_room(const vl2_mat *w);
void vl2_product_bytes_make(vl2_backend *be, vl2_mat *out, void *memory, const vl2_mat *w);
void vl2_product_gated(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                       const vl2_mat *gate, const vl2_mat *up, vl2_epilogue act);
void vl2_product_products(vl2_backend *be, const vl2_call *calls, size_t n);
void vl2_product_heads_linear(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *x,
                              size_t ldx, size_t x_head, size_t m, size_t heads, size_t n_out,
                              const vl2_mat *w, size_t head_rows, size_t first_row);
void vl2_rowwise_heads_times(vl2_backend *be, float *y, size_t ldy, size_t y_head, const float *x,
                             size_t ldx, size_t x_head, size_t m, size_t heads, size_t k,
                             const vl2_mat *w, size_t head_rows, size_t first_row);
void vl2_rowwise_combine(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                         size_t m, size_t k, const uint32_t *slot, const float *weight,
                         const float *last, size_t width);
void vl2_attention_run(vl2_backend *be, const vl2_attn *attn);
void vl2_rowwise_rmsnorm(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                         size_t m, size_t width, const vl2_vec *w, float eps);
void vl2_rowwise_layernorm(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                           size_t m, size_t width, const vl2_vec *w, const vl2_vec *b, float eps);
void vl2_rowwise_rope(vl2_backend *be, float *x, size_t ldx, size_t m, size_t heads, size_t head,
                      size_t half, const float *cos, const float *sin, bool interleaved);
void vl2_rowwise_embed(vl2_backend *be, float *out, size_t ldo, const vl2_mat *table,
                       const int32_t *ids, size_t n);
void vl2_rowwise_store_kv(vl2_backend *be, void *out, vl2_dtype kv_type, const float *x, size_t ldx,
                          size_t m, size_t width);

#endif
