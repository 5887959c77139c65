/* A backend's life: the kernels of a CPU level, a pool of threads, scratch. */
#include "backend/cpu/cpu.h"

#include "base/mem.h"

#include <string.h>

enum {
    SHARED_MIN = 1 << 20,
    /* Operations work through more rows than fit in turns; past this a turn is long enough. */
    SHARED_MAX = 16 << 20
};

static size_t lane_bytes(void) {
    size_t product = vl2_product_lane_bytes(), attention = vl2_attention_lane_bytes();
    return vl2_cpu_up(product > attention ? product : attention, 4096);
}

static size_t shared_bytes(size_t max_rows, size_t max_cols) {
    size_t bytes;
    if (!vl2_mul(&bytes, max_rows, vl2_cpu_up(max_cols, 64)) ||
        !vl2_mul(&bytes, bytes, sizeof(float)) || bytes > SHARED_MAX)
        bytes = SHARED_MAX;
    size_t one_row = vl2_cpu_up(max_cols, 64) * sizeof(float);
    bytes = bytes > one_row ? bytes : one_row;
    return vl2_cpu_up(bytes > SHARED_MIN ? bytes : SHARED_MIN, 4096);
}

size_t vl2_backend_scratch(const vl2_backend *be, size_t max_rows, size_t max_cols) {
    const vl2_cpu *cpu = (const vl2_cpu *)be;
    return shared_bytes(max_rows, max_cols) + (size_t)cpu->threads * lane_bytes();
}

vl2_status vl2_backend_reserve(vl2_backend *be, size_t max_rows, size_t max_cols, vl2_error *err) {
    vl2_cpu *cpu = vl2_cpu_of(be);
    if (max_cols > SIZE_MAX / 4096)
        return vl2_fail(err, VL2_ERR_LIMIT, "rows of %zu values are too long", max_cols);
    size_t shared = shared_bytes(max_rows, max_cols), lane = lane_bytes();
    if (cpu->memory && shared <= cpu->shared_bytes) return VL2_OK;
    size_t bytes = shared + (size_t)cpu->threads * lane;
    char *memory = vl2_mem_map(bytes);
    if (!memory) return vl2_fail_memory(err, "the backend's scratch", bytes);
    if (cpu->memory) vl2_mem_unmap(cpu->memory, cpu->bytes);
    cpu->memory = memory;
    cpu->bytes = bytes;
    cpu->shared = memory;
    cpu->shared_bytes = shared;
    cpu->lanes = memory + shared;
    cpu->lane_bytes = lane;
    return VL2_OK;
}

static const vl2_ops *operations(void) {
    static const vl2_ops OPS = {
        .linear = vl2_product_linear,
        .int8_bytes = vl2_product_bytes_room,
        .to_int8 = vl2_product_bytes_make,
        .gated = vl2_product_gated,
        .products = vl2_product_products,
        .heads_linear = vl2_product_heads_linear,
        .heads_times = vl2_rowwise_heads_times,
        .combine = vl2_rowwise_combine,
        .attention = vl2_attention_run,
        .rmsnorm = vl2_rowwise_rmsnorm,
        .layernorm = vl2_rowwise_layernorm,
        .rope = vl2_rowwise_rope,
        .embed = vl2_rowwise_embed,
        .store_kv = vl2_rowwise_store_kv,
    };
    return &OPS;
}

const char *const *vl2_backend_levels(void) { return vl2_kernels_levels(); }

static vl2_status fail_level(const char *level, vl2_error *err) {
    char names[128] = "";
    size_t used = 0;
    for (const char *const *l = vl2_kernels_levels(); *l; l++) {
        size_t n = strlen(*l);
        if (used + n + 3 > sizeof names) break;
        if (used) memcpy(names + used, ", ", 2), used += 2;
        memcpy(names + used, *l, n + 1);
        used += n;
    }
    return vl2_fail(err, VL2_ERR_ARGUMENT, "this machine has no CPU level '%s'; it has: %s", level,
                    names);
}

vl2_status vl2_backend_create(vl2_backend **out, const vl2_backend_options *options,
                              vl2_error *err) {
    const vl2_backend_options none = {0};
    if (!options) options = &none;
    vl2_cpu *cpu = vl2_mem_calloc(1, sizeof *cpu);
    if (!cpu) return vl2_fail_memory(err, "the backend", sizeof *cpu);
    vl2_status status = VL2_OK;
    if (!vl2_kernels_select(&cpu->kernels, options->cpu_level)) {
        status = fail_level(options->cpu_level, err);
        goto fail;
    }
    VL2_GOTO(fail, status, vl2_pool_create(&cpu->base.pool, options->threads, err));
    cpu->threads = vl2_pool_threads(cpu->base.pool);
    cpu->exact = options->compute == VL2_COMPUTE_F32;
    VL2_GOTO(fail, status, vl2_backend_reserve(&cpu->base, 1, 1, err));
    cpu->base.ops = operations();
    cpu->base.kv_type = cpu->exact ? VL2_F32 : VL2_BF16;
    cpu->base.level = cpu->kernels.level;
    *out = &cpu->base;
    return VL2_OK;
fail:
    vl2_backend_free(&cpu->base);
    return status;
}

void vl2_backend_free(vl2_backend *be) {
    if (!be) return;
    vl2_cpu *cpu = vl2_cpu_of(be);
    vl2_pool_free(cpu->base.pool);
    if (cpu->memory) vl2_mem_unmap(cpu->memory, cpu->bytes);
    vl2_mem_free(cpu);
}
