/* Incremental prefill: what a request takes beyond weights, cache and its own rows does not grow with
 * the prompt. The allocator is wrapped at link time and keeps the greatest sum of bytes. */
#include "engine/support.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t held, most; /* bytes; `most` since the last reset */

static void add(size_t more, size_t less) {
    pthread_mutex_lock(&lock);
    held += more;
    held -= less;
    if (held > most) most = held;
    pthread_mutex_unlock(&lock);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t size);
void __wrap_free(void *memory);

static void *counted(void *memory) {
    if (memory) add(malloc_usable_size(memory), 0);
    return memory;
}

void *__wrap_malloc(size_t size) { return counted(__real_malloc(size)); }
void *__wrap_calloc(size_t n, size_t size) { return counted(__real_calloc(n, size)); }
void *__wrap_realloc(void *memory, size_t size) {
    size_t before = memory ? malloc_usable_size(memory) : 0;
    void *grown = __real_realloc(memory, size);
    if (grown) add(malloc_usable_size(grown), before);
    return grown;
}
int __wrap_posix_memalign(void **out, size_t align, size_t size) {
    int code = __real_posix_memalign(out, align, size);
    if (code == 0) counted(*out);
    return code;
}
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    void *memory = __real_mmap(at, size, protection, flags, fd, offset);
    if (memory != MAP_FAILED) add(size, 0);
    return memory;
}
int __wrap_munmap(void *at, size_t size) {
    add(0, size);
    return __real_munmap(at, size);
}
void __wrap_free(void *memory) {
    if (memory) add(0, malloc_usable_size(memory));
    __real_free(memory);
}

/* The most that vl2_generate held over what was there before, for a prompt of about n tokens. */
static size_t peak_of(vl2_engine *engine, size_t n, size_t chunk, size_t *n_tokens) {
    vl2_error err = {0};
    vl2_answer *answer;
    vl2_generate_options options;
    char *text = malloc(2 * n + 1);
    for (size_t i = 0; i < n; i++) memcpy(text + 2 * i, i % 3 ? "7 " : "x ", 2);
    text[2 * n] = '\0';
    vl2_prompt *prompt = text_prompt(engine, text);
    vl2_prompt_ids(prompt, n_tokens);
    vl2_generate_options_init(&options);
    options.max_tokens = 4;
    options.chunk_tokens = chunk;
    size_t before = held;
    most = held;
    must(err, vl2_generate(&answer, engine, prompt, &options, &err));
    size_t peak = most - before;
    vl2_answer_free(answer);
    vl2_prompt_free(prompt);
    free(text);
    return peak;
}

static void check(const char *model, vl2_compute compute) {
    vl2_engine *engine;
    vl2_error err = {0};
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.threads = 2;
    options.ctx_tokens = 16384;
    options.compute = compute;
    golden_case c = golden_named(model);
    must(err, vl2_engine_open(&engine, c.model, &options, &err));
    size_t n_short, n_long, n_whole;
    peak_of(engine, 200, 64, &n_short); /* what is taken once, at the first use */
    size_t few = peak_of(engine, 200, 64, &n_short);
    size_t many = peak_of(engine, 2500, 64, &n_long);
    assert_true(n_long > 10 * n_short);
    /* the ids that a sampler has seen may be kept: 4 bytes a token, and nothing as wide as a row */
    size_t allowed = few + 8 * (n_long - n_short) + 4096;
    if (many > allowed) {
        fail_msg("%s: %zu bytes for %zu tokens, %zu for %zu", c.name, few, n_short, many, n_long);
    }
    /* the measure sees what it is for: the whole prompt in one step does take more */
    assert_true(peak_of(engine, 1000, 0, &n_whole) > few + 64 * (n_whole - n_short));
    vl2_engine_close(engine);
}

static void test_mha(void **state) {
    (void)state;
    check("mini-tiny/text", VL2_COMPUTE_F32);
    check("mini-tiny/text", VL2_COMPUTE_AUTO);
}

static void test_mla(void **state) {
    (void)state;
    check("mini-small/text", VL2_COMPUTE_AUTO);
    check("mini-base/text", VL2_COMPUTE_F32);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mha), cmocka_unit_test(test_mla)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
