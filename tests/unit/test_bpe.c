#include "prompt_fixture.h"

#include "prompt/bpe.h"

/* The definition itself: join the leftmost pair of the lowest rank, until none is left. */
typedef struct rules {
    int32_t left[64], right[64], joined[64];
    int n;
} rules;

static size_t join_plainly(int32_t *ids, size_t n, const rules *r) {
    for (;;) {
        size_t at = 0;
        int best = r->n;
        for (size_t i = 0; i + 1 < n; i++) {
            for (int j = 0; j < best; j++) {
                if (ids[i] != r->left[j] || ids[i + 1] != r->right[j]) continue;
                best = j;
                at = i;
            }
        }
        if (best == r->n) return n;
        ids[at] = r->joined[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* A vocabulary of a, b, c and what random rules join, each rule of two tokens that are there. */
static void make_rules(rules *r, vl2_vocab *vocab, vl2_bpe *bpe, uint32_t *random) {
    char names[67][64] = {"a", "b", "c"};
    int n = 3;
    for (int i = 0; i < n; i++) vl2_vocab_add(vocab, i, names[i], 1, "test", NULL);
    for (int i = 0; i < 3; i++) vocab->tokens[i].in_model = true;
    while (r->n < 24) {
        int left = (int)(next_random(random) % (uint32_t)n),
            right = (int)(next_random(random) % (uint32_t)n);
        char name[128];
        snprintf(name, sizeof name, "%s%s", names[left], names[right]);
        bool known = strlen(name) > 12;
        for (int i = 0; i < r->n; i++) known |= r->left[i] == left && r->right[i] == right;
        if (known) continue;
        int32_t id = vl2_vocab_find(vocab, name, strlen(name));
        if (id < 0) {
            id = n++;
            snprintf(names[id], sizeof names[id], "%.63s", name);
            assert_int_equal(vl2_vocab_add(vocab, id, name, strlen(name), "test", NULL), VL2_OK);
            vocab->tokens[id].in_model = true;
        }
        vl2_error err = {0};
        if (vl2_bpe_add(bpe, vocab, names[left], strlen(names[left]), names[right],
                        strlen(names[right]), "test", &err)) {
            fail_msg("%s", err.text);
        }
        r->left[r->n] = left;
        r->right[r->n] = right;
        r->joined[r->n++] = id;
    }
    vl2_bpe_bytes(bpe, vocab);
}

static void joins_as_the_definition_does(void **state) {
    (void)state;
    uint32_t random = 3;
    for (int round = 0; round < 60; round++) {
        rules r = {0};
        vl2_vocab vocab = {0};
        vl2_bpe bpe = {0};
        vl2_bpe_scratch scratch = {0};
        make_rules(&r, &vocab, &bpe, &random);
        for (int i = 0; i < 60; i++) {
            char piece[300];
            int32_t expected[300];
            size_t n = 1 + next_random(&random) % (i % 10 ? 20 : 300);
            for (size_t j = 0; j < n; j++) {
                expected[j] = (int32_t)(next_random(&random) % 3);
                piece[j] = "abc"[expected[j]];
            }
            vl2_ids got = {0};
            assert_int_equal(vl2_bpe_encode(&got, &bpe, &scratch, piece, n, NULL), VL2_OK);
            n = join_plainly(expected, n, &r);
            assert_int_equal(got.size, n);
            assert_memory_equal(got.data, expected, n * sizeof *expected);
            vl2_ids_free(&got);
        }
        vl2_bpe_scratch_free(&scratch);
        vl2_bpe_free(&bpe);
        vl2_vocab_free(&vocab);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(joins_as_the_definition_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
