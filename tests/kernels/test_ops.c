/* The contract of backend/ops.h: a row's result is that of the row alone, bit for bit, for any number
 * of rows beside it and of threads; and the operations compute what the header says (in double). */
#include "kernels/ops.h"

#include "backend/cpu/cpu.h"

#if defined(VL2_HAVE_EMULATED)
void emulated_attend_avx512bf16_fill(vl2_kernels *out);
void emulated_attend_amx_fill(vl2_kernels *out);
#endif

enum { M = 21, N = 83, K = 1301, LD = 1400 };

static size_t element(vl2_dtype type) { return type == VL2_F32 ? 4 : 2; }

static vl2_mat matrix(vl2_dtype type, size_t rows, size_t cols) {
    char *data = malloc(rows * cols * element(type));
    assert_non_null(data);
    for (size_t i = 0; i < rows * cols; i++) {
        float f = next();
        uint16_t bits = type == VL2_F16 ? vl2_f32_to_f16(f) : vl2_f32_to_bf16(f);
        memcpy(data + i * element(type), type == VL2_F32 ? (void *)&f : (void *)&bits,
               element(type));
    }
    return (vl2_mat){
        .data = data, .type = type, .rows = rows, .cols = cols, .stride = cols * element(type)};
}

static void drop(vl2_mat *w) { free((void *)(uintptr_t)w->data); }

static float weight(const vl2_mat *w, size_t row, size_t col) {
    float out;
    vl2_dtype_to_f32(&out, (const char *)w->data + row * w->stride + col * element(w->type),
                     w->type, 1);
    return out;
}

/* ---- for every level, compute mode and number of threads --------------------------------------- */

static void with_all(with_backend test) {
    static const vl2_dtype types[] = {VL2_F32, VL2_F16, VL2_BF16};
    everywhere(test, types, sizeof types / sizeof *types, M, K);
}

static double tolerance(const vl2_backend *be, vl2_dtype type) {
    bool rounds = (strcmp(be->level, "avx512bf16") == 0 || strcmp(be->level, "amx") == 0) &&
                  type == VL2_BF16 && be->kv_type == VL2_BF16;
    return rounds ? 4e-3 : 2e-6; /* of sum |x||w|: bf16 has 8 bits */
}

/* y against x w^T (+ y0) in double for some outputs; rows alone against rows together for all. */
static void linear_case(vl2_backend *be, vl2_dtype type, size_t n, size_t k, bool add) {
    vl2_mat w = matrix(type, n, k);
    float *x = floats((size_t)M * LD), *y = floats((size_t)M * LD), *b = floats(n),
          *one = floats(n);
    vl2_vec bias = {b, n};
    float *before = floats((size_t)M * LD);
    memcpy(y, before, (size_t)M * LD * sizeof *y);
    vl2_epilogue epilogue = add ? VL2_EPI_ADD : VL2_EPI_NONE;
    be->ops->linear(be, y, LD, x, LD, M, &w, &bias, epilogue, false);
    for (size_t i = 0; i < M; i++) {
        memcpy(one, before + i * LD, n * sizeof *one);
        be->ops->linear(be, one, n, x + i * LD, LD, 1, &w, &bias, epilogue, false);
        assert_memory_equal(one, y + i * LD, n * sizeof *one);
        assert_memory_equal(before + i * LD + n, y + i * LD + n, (LD - n) * sizeof *y);
        for (size_t j = i % 5; j < n; j += 17) {
            double sum = (add ? before[i * LD + j] : 0.0) + b[j], size = fabs(sum);
            for (size_t l = 0; l < k; l++) {
                double term = (double)x[i * LD + l] * weight(&w, j, l);
                sum += term;
                size += fabs(term);
            }
            assert_true(fabs(y[i * LD + j] - sum) <= tolerance(be, type) * size);
        }
    }
    for (size_t m = 2; m < M; m += 3) { /* other company, other places in the tiles */
        memcpy(one, before, n * sizeof *one);
        float *some = floats((size_t)M * LD);
        memcpy(some, before, (size_t)M * LD * sizeof *some);
        be->ops->linear(be, some + LD, LD, x + LD, LD, m, &w, &bias, epilogue, false);
        for (size_t i = 1; i <= m; i++)
            assert_memory_equal(some + i * LD, y + i * LD, n * sizeof *one);
        free(some);
    }
    drop(&w);
    float *all[] = {x, y, b, one, before};
    for (size_t i = 0; i < 5; i++) free(all[i]);
}

static void linear_all(vl2_backend *be, vl2_dtype type) {
    linear_case(be, type, N, K, false);
    linear_case(be, type, 5, 33, true);
    linear_case(be, type, 67, 576, true);
}

static void linear_rows_alone(void **state) {
    (void)state;
    with_all(linear_all);
}

/* ---- groups ------------------------------------------------------------------------------------ */

enum { GROUPS = 5, GN = 37, GK = 130 };

static void groups_case(vl2_backend *be, vl2_dtype type) {
    static const size_t COUNT[GROUPS] = {3, 0, 17, 1, 9};
    vl2_mat gate[GROUPS], up[GROUPS];
    vl2_group groups[GROUPS];
    size_t rows = 0;
    for (size_t g = 0; g < GROUPS; g++) {
        gate[g] = matrix(type, GN, GK);
        up[g] = matrix(type, GN, GK);
        groups[g] = (vl2_group){&gate[g], &up[g], rows, COUNT[g]};
        rows += COUNT[g];
    }
    float *x = floats((size_t)M * GK), *y = floats(rows * GN), *z = floats(rows * GN),
          *one = floats(GN);
    uint32_t index[64];
    for (size_t i = 0; i < rows; i++) index[i] = (uint32_t)((i * 13 + 5) % M);
    vl2_group plain[GROUPS];
    for (size_t g = 0; g < GROUPS; g++)
        plain[g] = (vl2_group){&gate[g], NULL, groups[g].first, groups[g].n};
    const vl2_call call = {
        .y = y, .ldy = GN, .x = x, .ldx = GK, .index = index, .n_groups = GROUPS};
    vl2_call calls[] = {call, call};
    calls[0].groups = groups;
    calls[0].epilogue = VL2_EPI_SILU;
    calls[1].groups = plain;
    calls[1].y = z;
    be->ops->products(be, calls, 2);
    for (size_t g = 0; g < GROUPS; g++)
        for (size_t i = groups[g].first; i < groups[g].first + groups[g].n; i++) {
            be->ops->gated(be, one, GN, x + index[i] * GK, GK, 1, &gate[g], &up[g], VL2_EPI_SILU);
            assert_memory_equal(one, y + i * GN, GN * sizeof *one);
            vl2_vec none = {0};
            be->ops->linear(be, one, GN, x + index[i] * GK, GK, 1, &gate[g], &none, VL2_EPI_NONE,
                            false);
            assert_memory_equal(one, z + i * GN, GN * sizeof *one);
        }
    for (size_t g = 0; g < GROUPS; g++) drop(&gate[g]), drop(&up[g]);
    float *all[] = {x, y, z, one};
    for (size_t i = 0; i < 4; i++) free(all[i]);
}

static void groups_rows_alone(void **state) {
    (void)state;
    with_all(groups_case);
}

/* ---- heads -------------------------------------------------------------------------------------- */

enum { HEADS = 3, NOPE = 19, VALUE = 13, LOW = 70 };

static void heads_case(vl2_backend *be, vl2_dtype type) {
    vl2_mat w = matrix(type, HEADS * (NOPE + VALUE), LOW);
    size_t ldq = HEADS * NOPE, ldw = HEADS * LOW, ldv = HEADS * VALUE;
    float *q = floats(M * ldq), *wide = floats(M * ldw), *v = floats(M * ldv),
          *shared = floats(M * ldv);
    float *one = floats(ldw);
    be->ops->heads_times(be, wide, ldw, LOW, q, ldq, NOPE, M, HEADS, NOPE, &w, NOPE + VALUE, 0);
    be->ops->heads_linear(be, v, ldv, VALUE, wide, ldw, LOW, M, HEADS, VALUE, &w, NOPE + VALUE,
                          NOPE);
    be->ops->heads_linear(be, shared, ldv, VALUE, wide, ldw, 0, M, HEADS, VALUE, &w, NOPE + VALUE,
                          NOPE);
    for (size_t i = 0; i < M; i++) {
        be->ops->heads_times(be, one, ldw, LOW, q + i * ldq, ldq, NOPE, 1, HEADS, NOPE, &w,
                             NOPE + VALUE, 0);
        assert_memory_equal(one, wide + i * ldw, ldw * sizeof *one);
        be->ops->heads_linear(be, one, ldv, VALUE, wide + i * ldw, ldw, LOW, 1, HEADS, VALUE, &w,
                              NOPE + VALUE, NOPE);
        assert_memory_equal(one, v + i * ldv, ldv * sizeof *one);
        for (size_t h = 0; h < HEADS; h++) {
            double sum = 0.0, size = 0.0;
            for (size_t l = 0; l < NOPE; l++) {
                double term =
                    (double)q[i * ldq + h * NOPE + l] * weight(&w, h * (NOPE + VALUE) + l, 3);
                sum += term;
                size += fabs(term);
            }
            assert_true(fabs(wide[i * ldw + h * LOW + 3] - sum) <= 2e-6 * size);
            for (int both = 0; both < 2; both++) {
                const float *x = wide + i * ldw + (both ? 0 : h * LOW);
                sum = size = 0.0;
                for (size_t l = 0; l < LOW; l++) {
                    double term = (double)x[l] * weight(&w, h * (NOPE + VALUE) + NOPE + 5, l);
                    sum += term;
                    size += fabs(term);
                }
                float got = (both ? shared : v)[i * ldv + h * VALUE + 5];
                assert_true(fabs(got - sum) <= tolerance(be, type) * size);
            }
        }
    }
    drop(&w);
    float *all[] = {q, wide, v, shared, one};
    for (size_t i = 0; i < 5; i++) free(all[i]);
}

static void heads_rows_alone(void **state) {
    (void)state;
    with_all(heads_case);
}

/* ---- attention ---------------------------------------------------------------------------------- */

enum { TOKENS = 333, BLOCK = 64, MAX_BLOCKS = TOKENS / BLOCK + 1 };

typedef struct attention {
    size_t heads, kv_heads, k_dim, v_dim, rows, position; /* rows end at TOKENS when causal */
    bool causal;
} attention;

static float cache_at(const void *data, vl2_dtype type, size_t i) {
    return type == VL2_F32 ? ((const float *)data)[i]
                           : vl2_bf16_to_f32(((const uint16_t *)data)[i]);
}

/* One row and head, in double. */
static void attend_exactly(double *out, const attention *t, const float *q, const void *k,
                           const void *v, vl2_dtype type, size_t kv_head, size_t seen,
                           float scale) {
    double scores[TOKENS], top = -1e300, total = 0.0;
    for (size_t i = 0; i < seen; i++) {
        scores[i] = 0.0;
        for (size_t l = 0; l < t->k_dim; l++)
            scores[i] +=
                (double)q[l] * cache_at(k, type, (i * t->kv_heads + kv_head) * t->k_dim + l);
        scores[i] *= scale;
        top = scores[i] > top ? scores[i] : top;
    }
    for (size_t l = 0; l < t->v_dim; l++) out[l] = 0.0;
    for (size_t i = 0; i < seen; i++) {
        double e = exp(scores[i] - top);
        total += e;
        for (size_t l = 0; l < t->v_dim; l++)
            out[l] += e * cache_at(v, type, (i * t->kv_heads + kv_head) * t->v_dim + l);
    }
    for (size_t l = 0; l < t->v_dim; l++) out[l] /= total;
}

/* Attention by columns, of the levels that have it, on any machine where they are emulated. */
static void with_emulated(with_backend test) {
#if defined(VL2_HAVE_EMULATED)
    void (*const fills[])(vl2_kernels *) = {emulated_attend_avx512bf16_fill,
                                            emulated_attend_amx_fill};
    for (int i = 0; i < 6; i++) {
        vl2_backend_options options = {.threads = 1 + i / 2, .compute = VL2_COMPUTE_AUTO};
        vl2_backend *be;
        vl2_error err = {0};
        assert_int_equal(vl2_backend_create(&be, &options, &err), VL2_OK);
        fills[i % 2](&vl2_cpu_of(be)->kernels);
        assert_int_equal(vl2_backend_reserve(be, M, K, &err), VL2_OK);
        seed = 7;
        test(be, VL2_F32);
        test(be, VL2_BF16);
        vl2_backend_free(be);
    }
#else
    (void)test;
#endif
}

/* Queries, keys, values and weights in bf16 where tiles are used. */
static double attention_tolerance(const vl2_backend *be) {
    const bool tiles = ((const vl2_cpu *)(const void *)be)->kernels.attend.block != NULL;
    return tiles && be->kv_type == VL2_BF16 ? 1.2e-2 : 4e-6;
}

static void attention_case(vl2_backend *be, vl2_dtype type, const attention *t) {
    vl2_mat k = matrix(type, TOKENS, t->kv_heads * t->k_dim);
    vl2_mat v = matrix(type, TOKENS, t->kv_heads * t->v_dim);
    size_t ldq = t->heads * t->k_dim + 3, ldo = t->heads * t->v_dim + 5;
    float *q = floats(t->rows * ldq), *out = floats(t->rows * ldo), *again = floats(t->rows * ldo);
    float *state = floats(t->rows * t->heads * (t->v_dim + 2));
    vl2_kv_block blocks[MAX_BLOCKS];
    size_t n_blocks = 0;
    for (size_t i = 0; i < TOKENS; i += BLOCK, n_blocks++)
        blocks[n_blocks] =
            (vl2_kv_block){(const char *)k.data + i * k.stride, (const char *)v.data + i * v.stride,
                           TOKENS - i < BLOCK ? TOKENS - i : BLOCK};
    vl2_attn_seq seq = {0, t->rows, t->position, 0, blocks, n_blocks};
    vl2_attn a = {.q = q,
                  .ldq = ldq,
                  .out = out,
                  .ldo = ldo,
                  .kv_type = type,
                  .heads = t->heads,
                  .kv_heads = t->kv_heads,
                  .k_dim = t->k_dim,
                  .v_dim = t->v_dim,
                  .k_token = t->kv_heads * t->k_dim,
                  .v_token = t->kv_heads * t->v_dim,
                  .k_head = t->k_dim,
                  .v_head = t->v_dim,
                  .scale = 0.31f,
                  .causal = t->causal,
                  .first = true,
                  .last = true,
                  .seqs = &seq,
                  .n_seqs = 1};
    be->ops->attention(be, &a);
    double exact[128];
    for (size_t i = 0; i < t->rows; i++) { /* alone, and against double */
        vl2_attn_seq own = seq;
        own.n_rows = 1;
        own.position = t->position + i;
        vl2_attn one = a;
        one.q = q + i * ldq;
        one.out = again;
        one.seqs = &own;
        be->ops->attention(be, &one);
        assert_memory_equal(again, out + i * ldo, t->heads * t->v_dim * sizeof *out);
        size_t h = i % t->heads, seen = t->causal ? t->position + i + 1 : TOKENS;
        attend_exactly(exact, t, q + i * ldq + h * t->k_dim, k.data, v.data, type,
                       h / (t->heads / t->kv_heads), seen, 0.31f);
        for (size_t l = 0; l < t->v_dim; l++)
            assert_true(fabs(out[i * ldo + h * t->v_dim + l] - exact[l]) <=
                        attention_tolerance(be));
    }
    /* The keys in three calls, cut at block borders. */
    size_t cut[] = {0, 1, 3, n_blocks};
    a.out = again;
    a.state = state;
    for (size_t part = 0; part < 3; part++) {
        seq.blocks = blocks + cut[part];
        seq.n_blocks = cut[part + 1] - cut[part];
        seq.first_key = cut[part] * BLOCK;
        a.first = part == 0;
        a.last = part == 2;
        be->ops->attention(be, &a);
    }
    for (size_t i = 0; i < t->rows; i++)
        assert_memory_equal(again + i * ldo, out + i * ldo, t->heads * t->v_dim * sizeof *out);
    drop(&k);
    drop(&v);
    float *all[] = {q, out, again, state};
    for (size_t i = 0; i < 4; i++) free(all[i]);
}

static void attention_all(vl2_backend *be, vl2_dtype type) {
    static const attention CASES[] = {
        {4, 4, 24, 24, 40, TOKENS - 40, true}, /* heads of their own */
        {6, 2, 18, 11, 33, TOKENS - 33, true}, /* shared by three */
        {5, 1, 72, 64, 9, TOKENS - 9, true},   /* shared by all */
        {2, 2, 72, 72, 30, 0, false},          /* a picture's patches */
        {2, 2, 64, 96, 37, TOKENS - 37, true}, /* nothing to pad */
        {1, 1, 16, 16, 300, 10, true},
    };
    if (type == VL2_F16) return; /* no cache has it */
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) attention_case(be, type, &CASES[i]);
}

static void attention_rows_alone(void **state) {
    (void)state;
    with_all(attention_all);
    with_emulated(attention_all);
}

/* Sequences together as each alone. */
enum { DIM = 20, HEADS_ = 2, SEQS = 4 };
static void sequences_of(vl2_backend *be, vl2_dtype type, const size_t ROWS[SEQS],
                         const size_t LENGTH[SEQS]) {
    vl2_mat k = matrix(type, 256, HEADS_ * DIM), v = matrix(type, 256, HEADS_ * DIM);
    vl2_kv_block blocks[4];
    vl2_attn_seq seqs[SEQS];
    for (size_t i = 0; i < 4; i++)
        blocks[i] = (vl2_kv_block){(const char *)k.data + i * BLOCK * k.stride,
                                   (const char *)v.data + i * BLOCK * v.stride, BLOCK};
    size_t rows = 0;
    for (size_t i = 0; i < SEQS; rows += ROWS[i++])
        seqs[i] = (vl2_attn_seq){rows, ROWS[i], LENGTH[i] - ROWS[i], 0, blocks, 4};
    float *q = floats(rows * HEADS_ * DIM), *out = floats(rows * HEADS_ * DIM);
    float *alone = floats(rows * HEADS_ * DIM);
    vl2_attn a = {.q = q,
                  .ldq = HEADS_ * DIM,
                  .out = out,
                  .ldo = HEADS_ * DIM,
                  .kv_type = type,
                  .heads = HEADS_,
                  .kv_heads = HEADS_,
                  .k_dim = DIM,
                  .v_dim = DIM,
                  .k_token = HEADS_ * DIM,
                  .v_token = HEADS_ * DIM,
                  .k_head = DIM,
                  .v_head = DIM,
                  .scale = 0.2f,
                  .causal = true,
                  .first = true,
                  .last = true,
                  .seqs = seqs,
                  .n_seqs = SEQS};
    be->ops->attention(be, &a);
    a.out = alone;
    a.n_seqs = 1;
    for (size_t i = 0; i < SEQS; i++) {
        a.seqs = &seqs[i];
        be->ops->attention(be, &a);
    }
    assert_memory_equal(alone, out, rows * HEADS_ * DIM * sizeof *out);
    drop(&k);
    drop(&v);
    free(q);
    free(out);
    free(alone);
}

static void sequences_case(vl2_backend *be, vl2_dtype type) {
    static const size_t MIXED[SEQS] = {1, 7, 1, 3}, SINGLE[SEQS] = {1, 1, 1, 1};
    if (type != VL2_BF16) return;
    sequences_of(be, type, MIXED, (const size_t[]){200, 64, 5, 90});
    sequences_of(be, type, SINGLE, (const size_t[]){200, 64, 5, 256});
}

static void sequences_alone(void **state) {
    (void)state;
    with_all(sequences_case);
    with_emulated(sequences_case);
}

/* Rows as the cache has them: bit for bit, one behind the other, nothing beside. */
static void store_case(vl2_backend *be, vl2_dtype type) {
    enum { ROWS = 61, WIDTH = 1003, APART = WIDTH + 6, BEHIND = 8 };
    const size_t bytes = ROWS * WIDTH * element(type);
    float *x = floats(ROWS * APART);
    char *out = malloc(bytes + BEHIND);
    assert_non_null(out);
    x[3] = NAN;
    x[APART + 1] = -INFINITY;
    memset(out, 0x5a, bytes + BEHIND);
    be->ops->store_kv(be, out, type, x, APART, ROWS, WIDTH);
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        const float from = x[i / WIDTH * APART + i % WIDTH];
        const uint16_t bits = vl2_f32_to_bf16(from);
        const void *want = type == VL2_F32 ? (const void *)&from : (const void *)&bits;
        assert_memory_equal(out + i * element(type), want, element(type));
    }
    for (size_t i = 0; i < BEHIND; i++) assert_int_equal(out[bytes + i], 0x5a);
    be->ops->store_kv(be, out, type, x, APART, 0, WIDTH);
    free(x);
    free(out);
}

static void stores_rows(void **state) {
    (void)state;
    static const vl2_dtype types[] = {VL2_F32, VL2_BF16}; /* what a cache can have */
    everywhere(store_case, types, sizeof types / sizeof *types, M, K);
}

/* ---- the rest ----------------------------------------------------------------------------------- */

static void combine_case(vl2_backend *be, vl2_dtype type) {
    enum { TOP = 3, WIDTH = 45 };
    uint32_t slot[M * TOP];
    float *x = floats((size_t)M * TOP * WIDTH), *y = floats((size_t)M * WIDTH),
          *w = floats(M * TOP);
    float *before = floats((size_t)M * WIDTH);
    memcpy(y, before, (size_t)M * WIDTH * sizeof *y);
    for (size_t i = 0; i < M * TOP; i++) slot[i] = (uint32_t)((i * 11) % (M * TOP));
    float *last = floats((size_t)M * WIDTH), *too = floats((size_t)M * WIDTH);
    memcpy(too, before, (size_t)M * WIDTH * sizeof *too);
    be->ops->combine(be, y, WIDTH, x, WIDTH, M, TOP, slot, w, NULL, WIDTH);
    be->ops->combine(be, too, WIDTH, x, WIDTH, M, TOP, slot, w, last, WIDTH);
    for (size_t i = 0; i < (size_t)M * WIDTH; i++) assert_true(too[i] == y[i] + last[i]);
    for (size_t i = 0; i < M; i++)
        for (size_t l = 0; l < WIDTH; l++) {
            double sum = before[i * WIDTH + l];
            for (size_t j = 0; j < TOP; j++)
                sum += (double)w[i * TOP + j] * x[slot[i * TOP + j] * WIDTH + l];
            assert_true(fabs(y[i * WIDTH + l] - sum) < 1e-6);
        }
    vl2_mat table = matrix(type, 9, WIDTH);
    const int32_t ids[] = {8, 0, 3, 3};
    be->ops->embed(be, y, WIDTH, &table, ids, 4);
    for (size_t i = 0; i < 4; i++)
        for (size_t l = 0; l < WIDTH; l++)
            assert_true(y[i * WIDTH + l] == weight(&table, (size_t)ids[i], l));
    drop(&table);
    float *all[] = {x, y, w, before, last, too};
    for (size_t i = 0; i < 6; i++) free(all[i]);
}

static void combine_and_embed(void **state) {
    (void)state;
    with_all(combine_case);
}

static void levels_are_named(void **state) {
    (void)state;
    assert_string_equal(vl2_backend_levels()[0], "c");
    vl2_backend_options options = {1, "z80", VL2_COMPUTE_AUTO};
    vl2_backend *be = NULL;
    vl2_error err = {0};
    assert_int_equal(vl2_backend_create(&be, &options, &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "z80"));
    assert_null(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_rows_alone), cmocka_unit_test(groups_rows_alone),
        cmocka_unit_test(heads_rows_alone),  cmocka_unit_test(attention_rows_alone),
        cmocka_unit_test(stores_rows),       cmocka_unit_test(sequences_alone),
        cmocka_unit_test(combine_and_embed), cmocka_unit_test(levels_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
