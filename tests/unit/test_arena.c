#include "unit/scratch.h"

#include "base/arena.h"
#include "base/mem.h"

typedef struct parts {
    float *a;
    char *b;
    double *c;
} parts;

static void carve(vl2_arena *arena, parts *out) {
    out->a = vl2_arena_array(arena, 5, sizeof *out->a);
    out->b = vl2_arena_array(arena, 1, sizeof *out->b);
    out->c = vl2_arena_array(arena, 1000, sizeof *out->c);
}

static void test_plan_is_what_is_used(void **state) {
    (void)state;
    vl2_arena plan = {0}, arena = {0};
    parts p;
    carve(&plan, &p);
    assert_null(p.a);
    assert_in_range(plan.used, 8000 + 2 * 64, 16384);
    assert_int_equal(vl2_arena_take(&arena, plan.used, "parts", NULL), VL2_OK);
    carve(&arena, &p);
    assert_int_equal(arena.used, plan.used);
    assert_int_equal((uintptr_t)p.a % VL2_ALIGN, 0);
    assert_int_equal((uintptr_t)p.b % VL2_ALIGN, 0);
    assert_int_equal((uintptr_t)p.c % VL2_ALIGN, 0);
    p.a[4] = 1;
    p.b[0] = 2;
    p.c[999] = 3;
    assert_true(p.a[4] == 1 && p.b[0] == 2 && p.c[999] == 3);
    vl2_arena_free(&arena);
    assert_null(arena.memory);
}

static void test_overflow_sticks(void **state) {
    (void)state;
    vl2_arena plan = {0};
    assert_null(vl2_arena_array(&plan, SIZE_MAX / 2, 4));
    assert_int_equal(plan.used, SIZE_MAX);
    assert_null(vl2_arena_array(&plan, 1, 1));
    assert_int_equal(plan.used, SIZE_MAX);
    vl2_error err = {0};
    vl2_arena arena = {0};
    assert_says(vl2_arena_take(&arena, plan.used, "the plan", &err), &err, VL2_ERR_MEMORY,
                "the plan");
}

static void test_too_small(void **state) {
    (void)state;
    vl2_arena arena = {0};
    assert_int_equal(vl2_arena_take(&arena, 64, "little", NULL), VL2_OK);
    assert_null(vl2_arena_array(&arena, 1000, 1));
    assert_int_equal(arena.used, SIZE_MAX);
    vl2_arena_free(&arena);
    vl2_arena_free(&arena);
}

static void test_large(void **state) {
    (void)state;
    vl2_arena arena = {0};
    assert_int_equal(vl2_arena_take(&arena, (size_t)3 << 20, "much", NULL), VL2_OK);
    char *all = vl2_arena_array(&arena, (size_t)2 << 20, 1);
    assert_non_null(all);
    assert_int_equal(all[0] | all[((size_t)2 << 20) - 1], 0); /* fresh pages */
    vl2_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_is_what_is_used),
        cmocka_unit_test(test_overflow_sticks),
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
