/* Operations with quantized weights: in f32 the very numbers of widened weights; in auto near them,
 * each row the same alone and among others, for any number of threads, at every level. */
#include "kernels/ops.h"

enum { M = 19, N = 75, K = 768, LD = 800, HEADS = 3 };

typedef struct pair { /* quantized weights, and what they stand for */
    vl2_mat q, wide;
} pair;

static pair matrix(vl2_dtype type, size_t rows, size_t cols) {
    pair p = {{NULL, type, rows, cols, 0}, {NULL, VL2_F32, rows, cols, cols * sizeof(float)}};
    assert_true(vl2_dtype_row_bytes(&p.q.stride, type, cols));
    char *blocks = malloc(rows * p.q.stride);
    float *values = floats(rows * cols);
    assert_non_null(blocks);
    for (size_t i = 0; i < rows; i++) {
        vl2_dtype_from_f32(blocks + i * p.q.stride, values + i * cols, type, cols);
        vl2_dtype_to_f32(values + i * cols, blocks + i * p.q.stride, type, cols);
    }
    p.q.data = blocks;
    p.wide.data = values;
    return p;
}

static void drop(pair *p) {
    free((void *)(uintptr_t)p->q.data);
    free((void *)(uintptr_t)p->wide.data);
}

/* In f32 equal; in auto off by no more than two roundings of x to 8 bits, each row by itself. */
static void compare(const vl2_backend *be, const float *y, const float *expected, size_t ld,
                    size_t m, size_t n) {
    const bool exact = be->kv_type == VL2_F32;
    for (size_t i = 0; i < m; i++) {
        double off = 0, size = 0;
        for (size_t j = 0; j < n; j++) {
            const double d = (double)y[i * ld + j] - expected[i * ld + j];
            if (exact) assert_true(y[i * ld + j] == expected[i * ld + j]);
            off += d * d;
            size += (double)expected[i * ld + j] * expected[i * ld + j];
        }
        assert_true(sqrt(off) <= 0.02 * sqrt(size));
    }
}

static void with_all(with_backend test) {
    static const vl2_dtype types[] = {VL2_Q8_0, VL2_IQ4_NL, VL2_Q4_K, VL2_Q6_K};
    everywhere(test, types, sizeof types / sizeof *types, M, K);
}

static void linear(vl2_backend *be, vl2_dtype type) {
    pair w = matrix(type, N, K);
    float *x = floats(M * LD), *b = floats(N), *start = floats(M * N), y[M * N], e[M * N], one[N];
    const vl2_vec bias = {b, N};
    for (int epilogue = VL2_EPI_NONE; epilogue <= VL2_EPI_ADD; epilogue++) {
        memcpy(y, start, sizeof y);
        memcpy(e, start, sizeof e);
        be->ops->linear(be, y, N, x, LD, M, &w.q, &bias, (vl2_epilogue)epilogue, false);
        be->ops->linear(be, e, N, x, LD, M, &w.wide, &bias, (vl2_epilogue)epilogue, false);
        compare(be, y, e, N, M, N);
        for (size_t i = 0; i < M; i++) {
            memcpy(one, start + i * N, sizeof one);
            be->ops->linear(be, one, N, x + i * LD, LD, 1, &w.q, &bias, (vl2_epilogue)epilogue,
                            false);
            assert_memory_equal(one, y + i * N, sizeof one);
        }
    }
    be->ops->linear(be, y, N, x, LD, M, &w.q, &bias, VL2_EPI_NONE, true); /* x is not rounded */
    be->ops->linear(be, e, N, x, LD, M, &w.wide, &bias, VL2_EPI_NONE, true);
    assert_memory_equal(y, e, sizeof y);
    free(x);
    free(b);
    free(start);
    drop(&w);
}

static void test_linear(void **state) {
    (void)state;
    with_all(linear);
}

static void run_groups(vl2_backend *be, vl2_call call, const vl2_group *groups, size_t n) {
    call.groups = groups;
    call.n_groups = n;
    be->ops->products(be, &call, 1);
}

/* Three experts: of few rows, of many, of none. */
static void groups(vl2_backend *be, vl2_dtype type) {
    enum { A = 2, B = M - A };
    pair gate[2] = {matrix(type, N, K), matrix(type, N, K)};
    pair up[2] = {matrix(type, N, K), matrix(type, N, K)};
    float *x = floats(M * LD), y[M * N], e[M * N], one[N];
    uint32_t index[M];
    for (uint32_t i = 0; i < M; i++) index[i] = (i * 7 + 3) % M;
    vl2_group q[] = {
        {&gate[0].q, &up[0].q, 0, A}, {&gate[1].q, &up[1].q, A, B}, {&gate[0].q, &up[0].q, M, 0}};
    vl2_group wide[] = {{&gate[0].wide, &up[0].wide, 0, A}, {&gate[1].wide, &up[1].wide, A, B}};
    vl2_call call = {.y = y, .ldy = N, .x = x, .ldx = LD, .index = index, .epilogue = VL2_EPI_SILU};
    run_groups(be, call, q, 3);
    call.y = e;
    run_groups(be, call, wide, 2);
    compare(be, y, e, N, M, N);
    for (size_t i = 0; i < M; i++) {
        const size_t g = i < A ? 0 : 1;
        be->ops->gated(be, one, N, x + index[i] * LD, LD, 1, &gate[g].q, &up[g].q, VL2_EPI_SILU);
        assert_memory_equal(one, y + i * N, sizeof one);
    }
    for (size_t g = 0; g < 3; g++) q[g].w2 = NULL;
    for (size_t g = 0; g < 2; g++) wide[g].w2 = NULL;
    call = (vl2_call){.y = y, .ldy = N, .x = x, .ldx = LD};
    run_groups(be, call, q, 3);
    call.y = e;
    run_groups(be, call, wide, 2);
    compare(be, y, e, N, M, N);
    free(x);
    for (int g = 0; g < 2; g++) {
        drop(&gate[g]);
        drop(&up[g]);
    }
}

static void test_groups(void **state) {
    (void)state;
    with_all(groups);
}

/* Products of other types, sizes and rows in one call, empty ones among them, and more of them than one
 * loop takes: each as by itself. */
static void mixed(vl2_backend *be, vl2_dtype type) {
    enum { N2 = 40, K2 = 256, SOME = 2 };
    pair a = matrix(type, N, K), b = matrix(VL2_Q6_K, N2, K2), up = matrix(VL2_Q6_K, N2, K2);
    float *x = floats(M * LD), *added = floats(N), y[M * N], again[M * N], e[M * N];
    float few[SOME * N2], few_e[SOME * N2], wide[M * N2], wide_e[M * N2];
    const vl2_vec bias = {added, N}, none = {0};
    const vl2_group groups_of[] = {
        {&a.q, NULL, 0, M}, {&a.q, NULL, 0, 0}, {&b.q, &up.q, 0, SOME}, {&b.wide, NULL, 0, M}};
    const vl2_call call = {.ldy = N, .x = x, .ldx = LD, .n_groups = 1};
    vl2_call calls[VL2_CALLS + 2];
    for (size_t i = 0; i < VL2_CALLS + 2; i++) calls[i] = call;
    calls[0].n_groups = 0;
    for (size_t i = 1; i < 5; i++) calls[i].groups = &groups_of[i - 1];
    calls[1].y = y;
    calls[1].b = &bias;
    calls[2].y = y;
    calls[3].y = few;
    calls[3].epilogue = VL2_EPI_SILU;
    calls[4].y = wide;
    calls[3].ldy = calls[4].ldy = N2;
    calls[5] = calls[1];
    calls[5].y = again;
    be->ops->products(be, calls, VL2_CALLS + 2);
    be->ops->linear(be, e, N, x, LD, M, &a.q, &bias, VL2_EPI_NONE, false);
    assert_memory_equal(y, e, sizeof y);
    assert_memory_equal(again, e, sizeof y);
    be->ops->gated(be, few_e, N2, x, LD, SOME, &b.q, &up.q, VL2_EPI_SILU);
    assert_memory_equal(few, few_e, sizeof few);
    be->ops->linear(be, wide_e, N2, x, LD, M, &b.wide, &none, VL2_EPI_NONE, false);
    assert_memory_equal(wide, wide_e, sizeof wide);
    free(x);
    free(added);
    drop(&a);
    drop(&b);
    drop(&up);
}

static void test_mixed(void **state) {
    (void)state;
    with_all(mixed);
}

/* A head has 24 rows of which 20 are used, from the third on. */
static void heads(vl2_backend *be, vl2_dtype type) {
    enum { ROWS = 24, USED = 20, FIRST = 3 };
    pair w = matrix(type, HEADS * ROWS, K);
    float *x = floats(M * HEADS * LD), y[M * HEADS * USED], e[M * HEADS * USED];
    for (size_t x_head = 0; x_head <= LD; x_head += LD) {
        be->ops->heads_linear(be, y, HEADS * USED, USED, x, HEADS * LD, x_head, M, HEADS, USED,
                              &w.q, ROWS, FIRST);
        be->ops->heads_linear(be, e, HEADS * USED, USED, x, HEADS * LD, x_head, M, HEADS, USED,
                              &w.wide, ROWS, FIRST);
        compare(be, y, e, HEADS * USED, M, HEADS * USED);
    }
    float *t = malloc(2 * M * HEADS * K * sizeof *t), *u = t + M * HEADS * K;
    assert_non_null(t);
    be->ops->heads_times(be, t, HEADS * K, K, x, HEADS * LD, LD, M, HEADS, USED, &w.q, ROWS, FIRST);
    be->ops->heads_times(be, u, HEADS * K, K, x, HEADS * LD, LD, M, HEADS, USED, &w.wide, ROWS,
                         FIRST);
    assert_memory_equal(t, u, M * HEADS * K * sizeof *t); /* x is not rounded there */
    free(t);
    free(x);
    drop(&w);
}

static void test_heads(void **state) {
    (void)state;
    with_all(heads);
}

static void embed(vl2_backend *be, vl2_dtype type) {
    pair w = matrix(type, 9, K);
    const int32_t ids[] = {8, 0, 3};
    float y[3 * K];
    be->ops->embed(be, y, K, &w.q, ids, 3);
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(y + i * K, (const float *)w.wide.data + (size_t)ids[i] * K,
                            K * sizeof *y);
    drop(&w);
}

static void test_embed(void **state) {
    (void)state;
    with_all(embed);
}

/* ---- rows of bytes ------------------------------------------------------------------------------ */

enum { BYTES_M = 203, BYTES_N = 75, BYTES_K = 1300, BYTES_LD = 1303 };

static double distance(const float *y, const float *expected, size_t n) {
    double off = 0, size = 0;
    for (size_t j = 0; j < n; j++) {
        off += pow((double)y[j] - expected[j], 2);
        size += (double)expected[j] * expected[j];
    }
    return sqrt(off / size);
}

/* Near float32's product, where a row has outliers no less; each row the same alone and among others. */
static void bytes(vl2_backend *be, vl2_dtype type) {
    pair w = matrix(type, BYTES_N, BYTES_K);
    float *x = floats(BYTES_M * BYTES_LD), *b = floats(BYTES_N), *y = floats(BYTES_M * BYTES_N);
    float *e = malloc(BYTES_M * BYTES_N * sizeof *e),
          *start = malloc(BYTES_M * BYTES_N * sizeof *e);
    const vl2_vec bias = {b, BYTES_N};
    void *memory = aligned_alloc(64, (be->ops->int8_bytes(&w.q) + 63) / 64 * 64);
    vl2_mat made;
    assert_true(e && start && memory);
    for (size_t i = 0; i < BYTES_M; i++)
        for (size_t k = 0; k < BYTES_K && i % 3 == 0; k++)
            x[i * BYTES_LD + k] *= k == i ? 60.0f : 0.5f;
    memcpy(start, y, BYTES_M * BYTES_N * sizeof *y);
    memcpy(e, y, BYTES_M * BYTES_N * sizeof *y);
    be->ops->to_int8(be, &made, memory, &w.q);
    assert_int_equal(made.type, VL2_I8);
    be->ops->linear(be, y, BYTES_N, x, BYTES_LD, BYTES_M, &made, &bias, VL2_EPI_ADD, false);
    be->ops->linear(be, e, BYTES_N, x, BYTES_LD, BYTES_M, &w.wide, &bias, VL2_EPI_ADD, true);
    for (size_t i = 0; i < BYTES_M; i++) {
        assert_true(distance(y + i * BYTES_N, e + i * BYTES_N, BYTES_N) <
                    0.018); /* a crest of 12, and weights */
        float one[BYTES_N];
        memcpy(one, start + i * BYTES_N, sizeof one);
        be->ops->linear(be, one, BYTES_N, x + i * BYTES_LD, BYTES_LD, 1, &made, &bias, VL2_EPI_ADD,
                        false);
        assert_memory_equal(one, y + i * BYTES_N, sizeof one);
    }
    free(memory);
    free(x);
    free(b);
    free(y);
    free(e);
    free(start);
    drop(&w);
}

static void test_bytes(void **state) {
    static const vl2_dtype types[] = {VL2_F32, VL2_BF16};
    (void)state;
    everywhere(bytes, types, 2, 4,
               BYTES_K); /* 203 rows go in turns where an element has two bytes (AVX2) */
}

/* Weights that are no numbers make products that are none; rows of x too long to sum are not made. */
static void test_bytes_refused(void **state) {
    (void)state;
    vl2_backend *be;
    vl2_error err = {0};
    assert_int_equal(vl2_backend_create(&be, NULL, &err), VL2_OK);
    float w[2][8] = {{1, 2, 3}, {1, INFINITY, 0}}, x[8] = {1, 1, 1}, y[2];
    vl2_mat from = {w, VL2_F32, 2, 8, sizeof w[0]}, made;
    void *memory = aligned_alloc(64, (be->ops->int8_bytes(&from) + 63) / 64 * 64);
    assert_non_null(memory);
    be->ops->to_int8(be, &made, memory, &from);
    be->ops->linear(be, y, 2, x, 8, 1, &made, NULL, VL2_EPI_NONE, false);
    assert_true(fabsf(y[0] - 6.0f) < 0.05f && isnan(y[1]));
    from.cols = 65537;
    assert_int_equal(be->ops->int8_bytes(&from), 0);
    free(memory);
    vl2_backend_free(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_groups),        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_embed),         cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bytes_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
