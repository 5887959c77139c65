/* Every golden, through the public interface, in float32: each tensor of its trace within 1e-4 of
 * the reference's, integers and greedy ids equal - for any chunk size, thread count and CPU level. */
#include "engine/compare.h"
#include "engine/support.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct schedule {
    int threads;
    const char *level;
    size_t chunk;
} schedule;

static golden_case cases[MAX_CASES];
static size_t n_cases;

static trace_difference trace_case(vl2_engine *engine, const golden_case *c, size_t chunk) {
    char path[] = "/tmp/vl2-trace-XXXXXX";
    vl2_error err = {0};
    vl2_prompt *prompt = open_prompt(engine, c->conversation);
    vl2_dev_trace_options options;
    vl2_dev_trace_options_init(&options);
    options.chunk_tokens = chunk;
    int32_t ids[64];
    options.greedy = golden_ids(ids, 64, c);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    must(err, vl2_dev_trace(path, engine, prompt, &options, &err));
    trace_difference d = compare_trace_files(path, c->trace, TRACE_TOLERANCE);
    unlink(path);
    vl2_prompt_free(prompt);
    return d;
}

static void check_case(vl2_engine *engine, const golden_case *c, const schedule *s) {
    trace_difference d = trace_case(engine, c, s->chunk);
    if (d.problem[0]) {
        fail_msg("%s, %d threads, level %s, chunk %zu: %s", c->name, s->threads, s->level, s->chunk,
                 d.problem);
    }
}

/* All cases of a model with one engine. */
static void check_model(size_t first, size_t end, const schedule *s) {
    vl2_engine *engine = open_engine(cases[first].model, VL2_COMPUTE_F32, s->threads, s->level);
    for (size_t i = first; i < end; i++) check_case(engine, &cases[i], s);
    vl2_engine_close(engine);
}

static void check_all(const schedule *s) {
    for (size_t i = 0, end; i < n_cases; i = end) {
        end = i + 1;
        while (end < n_cases && strcmp(cases[end].model, cases[i].model) == 0) end++;
        check_model(i, end, s);
    }
}

static const char *best_level(void) {
    const char *const *levels = vl2_cpu_levels();
    size_t n = 0;
    while (levels[n]) n++;
    assert_true(n > 0);
    return levels[n - 1];
}

static void test_every_level(void **state) {
    (void)state;
    for (const char *const *level = vl2_cpu_levels(); *level; level++) {
        check_all(&(schedule){.threads = 2, .level = *level, .chunk = 512});
    }
}

static void test_every_chunk_size(void **state) {
    (void)state;
    static const size_t chunks[] = {0, 1, 7};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        check_all(&(schedule){.threads = 2, .level = best_level(), .chunk = chunks[i]});
    }
}

static void test_every_thread_count(void **state) {
    (void)state;
    check_all(&(schedule){.threads = 1, .level = best_level(), .chunk = 512});
    check_all(&(schedule){.threads = 3, .level = best_level(), .chunk = 7});
}

/* Everything with everything, on one case of each model (the long run does all). */
static void test_every_combination(void **state) {
    (void)state;
    static const size_t chunks[] = {0, 1, 7, 512};
    bool all = getenv("VL2_TEST_ALL") != NULL;
    for (const char *const *level = vl2_cpu_levels(); *level; level++) {
        for (int threads = 1; threads <= 3; threads++) {
            for (size_t i = 0; i < n_cases; i++) {
                if (!all && !strstr(cases[i].name, "tall_image_mid")) continue;
                vl2_engine *engine = open_engine(cases[i].model, VL2_COMPUTE_F32, threads, *level);
                for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++) {
                    schedule s = {.threads = threads, .level = *level, .chunk = chunks[k]};
                    check_case(engine, &cases[i], &s);
                }
                vl2_engine_close(engine);
            }
        }
    }
}

static void test_all_positions(void **state) {
    (void)state;
    char path[] = "/tmp/vl2-trace-XXXXXX";
    golden_case c = golden_named("mini-small/one_image");
    vl2_error err = {0};
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_F32, 2, NULL);
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    vl2_dev_trace_options options;
    vl2_dev_trace_options_init(&options);
    options.all_positions = true;
    options.chunk_tokens = 7;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    must(err, vl2_dev_trace(path, engine, prompt, &options, &err));
    vl2_checkpoint *got, *wanted;
    must(err, vl2_checkpoint_open_file(&got, path, &err));
    must(err, vl2_checkpoint_open_file(&wanted, c.trace, &err));
    size_t n_ids;
    vl2_prompt_ids(prompt, &n_ids);
    const char *const names[] = {"hidden.0", "hidden.2", "logits"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const vl2_tensor *a = vl2_checkpoint_find(got, names[i]);
        const vl2_tensor *b = vl2_checkpoint_find(wanted, names[i]);
        assert_int_equal(a->shape[0], n_ids);
        assert_int_equal(b->shape[0], 8);
        /* the last 8 are those of the golden */
        const char *tail = (const char *)a->data + (n_ids - 8) * (b->bytes / 8);
        for (size_t k = 0; k < b->bytes / sizeof(float); k++) {
            float x, y;
            memcpy(&x, tail + k * sizeof x, sizeof x);
            memcpy(&y, (const char *)b->data + k * sizeof y, sizeof y);
            if (!(x - y < 1e-3f && y - x < 1e-3f)) fail_msg("%s[%zu]: %g, %g", names[i], k, x, y);
        }
    }
    vl2_checkpoint_close(got);
    vl2_checkpoint_close(wanted);
    unlink(path);
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

static int find_all(void **state) {
    (void)state;
    n_cases = find_goldens(cases, MAX_CASES, VL2_TEST_GOLDEN);
    n_cases += find_goldens(cases + n_cases, MAX_CASES - n_cases, VL2_TEST_GOLDEN "-extra");
    return n_cases >= 26 ? 0 : -1; /* a run that found no goldens has checked nothing */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_level),        cmocka_unit_test(test_every_chunk_size),
        cmocka_unit_test(test_every_thread_count), cmocka_unit_test(test_every_combination),
        cmocka_unit_test(test_all_positions),
    };
    return cmocka_run_group_tests(tests, find_all, NULL);
}
