#include "stages/stage.h"

#include <string.h>

#include "lang/kv.h"

enum { LAYERS = 3, C = 12, DR = 4, HK = 2, DH = 8, BLOCK = VL2_KV_BLOCK };

static const vl2_language_config mla = {
    .layers = LAYERS, .use_mla = true, .kv_lora = C, .rope_dim = DR};
static const vl2_language_config mha = {.layers = LAYERS, .kv_heads = HK, .head_dim = DH};

static vl2_kv_pool *make(const vl2_language_config *lang, vl2_dtype type, size_t tokens) {
    vl2_kv_pool *pool = NULL;
    vl2_error err = {0};
    assert_int_equal(vl2_kv_pool_create(&pool, lang, type, tokens, &err), VL2_OK);
    return pool;
}

static vl2_kv_seq sequence(vl2_kv_pool *pool, size_t max_tokens) {
    vl2_kv_seq seq;
    vl2_error err = {0};
    assert_int_equal(vl2_kv_seq_create(&seq, pool, max_tokens, &err), VL2_OK);
    return seq;
}

static void extend(vl2_kv_seq *seq, size_t n) {
    vl2_error err = {0};
    assert_int_equal(vl2_kv_seq_reserve(seq, n, &err), VL2_OK);
    seq->length += n;
}

static float mark(size_t layer, size_t t, size_t i, int who) {
    return (float)(layer * 100000 + t * 100 + i) + 0.25f * (float)who;
}

/* Writes tokens [from, to) of all layers, MLA. */
static void write_tokens(const vl2_kv_seq *seq, size_t from, size_t to, int who) {
    for (size_t layer = 0; layer < LAYERS; layer++) {
        for (size_t t = from; t < to; t++) {
            float *k = vl2_kv_k(seq, layer, t);
            for (size_t i = 0; i < C + DR; i++) k[i] = mark(layer, t, i, who);
        }
    }
}

static void check_tokens(const vl2_kv_seq *seq, size_t from, size_t to, int who) {
    for (size_t layer = 0; layer < LAYERS; layer++) {
        for (size_t t = from; t < to; t++) {
            const float *k = vl2_kv_k(seq, layer, t);
            for (size_t i = 0; i < C + DR; i++) assert_true(k[i] == mark(layer, t, i, who));
        }
    }
}

static void test_sizes(void **state) {
    (void)state;
    const size_t tables = 2 * sizeof(uint32_t);
    assert_int_equal(vl2_kv_pool_bytes(&mla, VL2_F32, 2 * BLOCK),
                     2 * (BLOCK * LAYERS * (C + DR) * 4 + tables));
    assert_int_equal(vl2_kv_pool_bytes(&mla, VL2_BF16, BLOCK + 1),
                     2 * (BLOCK * LAYERS * (C + DR) * 2 + tables));
    assert_int_equal(vl2_kv_pool_bytes(&mha, VL2_F32, BLOCK),
                     BLOCK * LAYERS * 2 * HK * DH * 4 + tables);
    vl2_kv_pool *pool = NULL;
    vl2_error err = {0};
    assert_true(vl2_kv_pool_bytes(&mha, VL2_F32, SIZE_MAX / 2) == SIZE_MAX);
    assert_int_equal(vl2_kv_pool_create(&pool, &mha, VL2_F32, SIZE_MAX / 2, &err), VL2_ERR_LIMIT);
    assert_null(pool);
}

static void test_places_mla(void **state) {
    (void)state;
    vl2_kv_pool *pool = make(&mla, VL2_F32, 3 * BLOCK);
    vl2_kv_seq seq = sequence(pool, 3 * BLOCK);
    vl2_kv_block blocks[3];
    extend(&seq, 2 * BLOCK + 5);
    write_tokens(&seq, 0, seq.length, 0);
    check_tokens(&seq, 0, seq.length, 0);
    assert_int_equal(vl2_kv_blocks(blocks, &seq, 1, 2 * BLOCK + 5), 3);
    for (size_t b = 0; b < 3; b++) {
        assert_int_equal(blocks[b].n, b < 2 ? BLOCK : 5);
        assert_ptr_equal(blocks[b].k, vl2_kv_k(&seq, 1, b * BLOCK));
        assert_ptr_equal(blocks[b].v, blocks[b].k);
        assert_ptr_equal(vl2_kv_k(&seq, 1, b * BLOCK + 4),
                         (const float *)blocks[b].k + 4 * (C + DR));
    }
    assert_int_equal(vl2_kv_blocks(blocks, &seq, 1, BLOCK), 1);
    vl2_kv_seq_free(&seq);
    vl2_kv_pool_free(pool);
}

static void test_places_mha(void **state) {
    (void)state;
    vl2_kv_pool *pool = make(&mha, VL2_BF16, 2 * BLOCK);
    vl2_kv_seq seq = sequence(pool, 2 * BLOCK);
    vl2_kv_block blocks[2];
    extend(&seq, BLOCK + 1);
    assert_int_equal(vl2_kv_pool_type(pool), VL2_BF16);
    assert_int_equal(vl2_kv_blocks(blocks, &seq, 2, BLOCK + 1), 2);
    const uint16_t *k = blocks[0].k;
    assert_ptr_equal(vl2_kv_k(&seq, 2, 9), k + 9 * HK * DH);
    assert_ptr_equal(blocks[0].v, k + BLOCK * HK * DH);
    assert_ptr_equal(vl2_kv_v(&seq, 2, 9), k + (BLOCK + 9) * HK * DH);
    assert_ptr_equal(vl2_kv_v(&seq, 2, BLOCK), blocks[1].v);
    vl2_kv_seq_free(&seq);
    vl2_kv_pool_free(pool);
}

static void test_fork_shares_and_copies(void **state) {
    (void)state;
    vl2_kv_pool *pool = make(&mla, VL2_F32, 6 * BLOCK);
    vl2_kv_seq a = sequence(pool, 4 * BLOCK), b;
    vl2_error err = {0};
    extend(&a, 2 * BLOCK + 10);
    write_tokens(&a, 0, a.length, 1);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 3);
    assert_int_equal(vl2_kv_seq_fork(&b, &a, BLOCK + 7, &err), VL2_OK);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 2); /* one whole block shared, one copied */
    assert_int_equal(b.length, BLOCK + 7);
    assert_ptr_equal(vl2_kv_k(&b, 0, 0), vl2_kv_k(&a, 0, 0));
    assert_ptr_not_equal(vl2_kv_k(&b, 0, BLOCK), vl2_kv_k(&a, 0, BLOCK));
    extend(&b, 20);
    write_tokens(&b, BLOCK + 7, b.length, 2);
    check_tokens(&a, 0, a.length, 1);
    check_tokens(&b, 0, BLOCK + 7, 1);
    check_tokens(&b, BLOCK + 7, b.length, 2);
    vl2_kv_seq_free(&a);
    check_tokens(&b, 0, BLOCK + 7, 1);
    vl2_kv_seq_free(&b);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 6);
    vl2_kv_pool_free(pool);
}

/* A fork at a block's border, truncated into the shared block, then continued. */
static void test_truncated_fork_writes_its_own(void **state) {
    (void)state;
    vl2_kv_pool *pool = make(&mla, VL2_F32, 4 * BLOCK);
    vl2_kv_seq a = sequence(pool, 4 * BLOCK), b;
    vl2_error err = {0};
    extend(&a, 2 * BLOCK);
    write_tokens(&a, 0, a.length, 1);
    assert_int_equal(vl2_kv_seq_fork(&b, &a, 2 * BLOCK, &err), VL2_OK);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 2);
    vl2_kv_seq_truncate(&b, BLOCK + 3);
    extend(&b, 5);
    write_tokens(&b, BLOCK + 3, b.length, 2);
    check_tokens(&a, 0, a.length, 1);
    check_tokens(&b, 0, BLOCK + 3, 1);
    check_tokens(&b, BLOCK + 3, b.length, 2);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 1);
    vl2_kv_seq_free(&b);
    vl2_kv_seq_free(&a);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 4);
    vl2_kv_pool_free(pool);
}

static void test_truncate_gives_back(void **state) {
    (void)state;
    vl2_kv_pool *pool = make(&mla, VL2_F32, 4 * BLOCK);
    vl2_kv_seq seq = sequence(pool, 4 * BLOCK);
    vl2_error err = {0};
    extend(&seq, 3 * BLOCK);
    vl2_kv_seq_truncate(&seq, BLOCK + 1);
    assert_int_equal(seq.n_blocks, 2);
    assert_int_equal(seq.length, BLOCK + 1);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 2);
    vl2_kv_seq_truncate(&seq, 2 * BLOCK); /* nothing to forget */
    assert_int_equal(seq.length, BLOCK + 1);
    assert_int_equal(vl2_kv_seq_reserve(&seq, 2 * BLOCK, &err), VL2_OK);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 0);
    vl2_kv_seq_truncate(&seq, seq.length); /* what was reserved and not used */
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 2);
    vl2_kv_seq_truncate(&seq, 0);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 4);
    vl2_kv_seq_free(&seq);
    vl2_kv_pool_free(pool);
}

static void test_full(void **state) {
    (void)state;
    vl2_kv_pool *pool = make(&mla, VL2_F32, 2 * BLOCK);
    vl2_kv_seq a = sequence(pool, 4 * BLOCK), b;
    vl2_error err = {0};
    extend(&a, BLOCK + 1);
    assert_int_equal(vl2_kv_seq_reserve(&a, BLOCK, &err), VL2_ERR_KV_FULL);
    assert_non_null(strstr(err.text, "KV pool is full"));
    assert_int_equal(a.n_blocks, 2);
    assert_int_equal(a.length, BLOCK + 1);
    err = (vl2_error){0};
    assert_int_equal(vl2_kv_seq_fork(&b, &a, BLOCK + 1, &err), VL2_ERR_KV_FULL);
    err = (vl2_error){0};
    assert_int_equal(vl2_kv_seq_fork(&b, &a, BLOCK + 2, &err), VL2_ERR_ARGUMENT);
    err = (vl2_error){0};
    assert_int_equal(vl2_kv_seq_fork(&b, &a, BLOCK, &err), VL2_OK); /* shared: needs none */
    assert_int_equal(vl2_kv_seq_reserve(&b, 1, &err), VL2_ERR_KV_FULL);
    err = (vl2_error){0};
    vl2_kv_seq_free(&a);
    assert_int_equal(vl2_kv_seq_reserve(&b, BLOCK, &err), VL2_OK);
    vl2_kv_seq_free(&b);
    assert_int_equal(vl2_kv_pool_free_blocks(pool), 2);
    vl2_kv_pool_free(pool);
}

static void test_context_ends_at_the_token(void **state) {
    (void)state;
    vl2_kv_pool *pool = make(&mla, VL2_F32, 4 * BLOCK);
    vl2_kv_seq seq = sequence(pool, BLOCK + 10);
    vl2_error err = {0};
    extend(&seq, BLOCK + 9);
    assert_int_equal(vl2_kv_seq_reserve(&seq, 2, &err), VL2_ERR_CONTEXT);
    assert_non_null(strstr(err.text, "context is full"));
    err = (vl2_error){0};
    assert_int_equal(vl2_kv_seq_reserve(&seq, SIZE_MAX, &err), VL2_ERR_CONTEXT);
    err = (vl2_error){0};
    assert_int_equal(vl2_kv_seq_reserve(&seq, 1, &err), VL2_OK);
    vl2_kv_seq_free(&seq);
    vl2_kv_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_places_mla),
        cmocka_unit_test(test_places_mha),
        cmocka_unit_test(test_fork_shares_and_copies),
        cmocka_unit_test(test_truncated_fork_writes_its_own),
        cmocka_unit_test(test_truncate_gives_back),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_context_ends_at_the_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
