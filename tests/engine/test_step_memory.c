/* The token loop takes no memory: the allocator is wrapped at link time and counts. */
#include "engine/support.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_size_t n_calls;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void __wrap_free(void *memory);

void *__wrap_malloc(size_t size) {
    n_calls++;
    return __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size) {
    n_calls++;
    return __real_calloc(n, size);
}
void *__wrap_realloc(void *memory, size_t size) {
    n_calls++;
    return __real_realloc(memory, size);
}
int __wrap_posix_memalign(void **out, size_t align, size_t size) {
    n_calls++;
    return __real_posix_memalign(out, align, size);
}
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    n_calls++;
    return __real_mmap(at, size, protection, flags, fd, offset);
}
void __wrap_free(void *memory) {
    n_calls++;
    __real_free(memory);
}

/* Every progress call of the decoding stage: calls so far. */
typedef struct counts {
    size_t at[512], n;
} counts;

static void on_progress(void *user, const char *stage, size_t done, size_t total) {
    counts *c = user;
    (void)done;
    (void)total;
    if (stage[0] == 'd' && c->n < sizeof c->at / sizeof *c->at) c->at[c->n++] = n_calls;
}

static void check(const char *name, vl2_compute compute, float temperature) {
    golden_case c = golden_named(name);
    vl2_error err = {0};
    vl2_engine *engine = open_engine(c.model, compute, 2, NULL);
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    counts seen = {0};
    vl2_answer *answer;
    vl2_generate_options options;
    vl2_generate_options_init(&options);
    options.max_tokens = 200;
    options.sampling.temperature = temperature;
    options.sampling.top_k = 50;
    options.sampling.top_p = 0.9f;
    options.sampling.repetition_penalty = 1.1f;
    options.stop = (const char *const[]){"never said"};
    options.n_stop = 1;
    options.progress = on_progress;
    options.user = &seen;
    must(err, vl2_generate(&answer, engine, prompt, &options, &err));
    assert_true(seen.n > 20);
    /* the stream's buffers grow with the first tokens; from the tenth on there is nothing */
    assert_int_equal(seen.at[seen.n - 1] - seen.at[9], 0);
    vl2_answer_free(answer);
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

static void test_generate_takes_nothing(void **state) {
    (void)state;
    check("mini-tiny/one_image", VL2_COMPUTE_F32, 0);
    check("mini-small/one_image", VL2_COMPUTE_AUTO, 0);
    check("mini-base/one_image", VL2_COMPUTE_F32, 1);
}

/* A whole step, prefill too, takes nothing at all. */
static void test_step_takes_nothing(void **state) {
    (void)state;
    static const char *const names[] = {"mini-tiny/one_image", "mini-small/one_image",
                                        "mini-yarn/tall_image_mid"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        golden_case c = golden_named(names[i]);
        vl2_error err = {0};
        vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_AUTO, 2, NULL);
        vl2_prompt *prompt = open_prompt(engine, c.conversation);
        vl2_batch *batch;
        vl2_session *session;
        must(err, vl2_prompt_encode(prompt, engine, 0, NULL, &err));
        must(err, vl2_batch_create(&batch, engine, 16, 1, &err));
        must(err, vl2_session_create(&session, engine, &err));
        must(err, vl2_session_feed_prompt(session, prompt, 0, &err));
        size_t before = n_calls;
        for (size_t step = 0; step < 100; step++) {
            size_t pending = vl2_session_pending(session);
            if (!pending) must(err, vl2_session_feed_token(session, 5, &err));
            pending = vl2_session_pending(session);
            vl2_step one = {.session = session, .n_tokens = pending < 16 ? pending : 16};
            must(err, vl2_batch_step(batch, &one, 1, &err));
        }
        assert_int_equal(n_calls - before, 0);
        vl2_session_free(session);
        vl2_batch_free(batch);
        vl2_prompt_free(prompt);
        vl2_engine_close(engine);
    }
}

/* The wrapping itself works. */
static void test_counter_counts(void **state) {
    (void)state;
    size_t before = n_calls;
    vl2_engine *engine =
        open_engine(golden_named("mini-tiny/text").model, VL2_COMPUTE_F32, 1, NULL);
    assert_true(n_calls - before > 50);
    vl2_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counter_counts),
        cmocka_unit_test(test_step_takes_nothing),
        cmocka_unit_test(test_generate_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
