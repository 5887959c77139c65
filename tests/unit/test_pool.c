#define _GNU_SOURCE
#include "unit/scratch.h"

#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

typedef struct work {
    _Atomic unsigned *counts; /* [n]: how often each task ran */
    int threads;
    _Atomic int bad_thread;
    unsigned spin;
} work;

static void count_task(void *context, size_t i, int thread) {
    work *w = context;
    if (thread < 0 || thread >= w->threads) atomic_store(&w->bad_thread, 1);
    for (volatile unsigned k = 0; k < w->spin; k++) continue;
    atomic_fetch_add(&w->counts[i], 1);
}

static vl2_pool *pool_of(int threads) {
    vl2_pool *pool;
    vl2_error err = {0};
    if (vl2_pool_create(&pool, threads, &err) != VL2_OK) fail_msg("%s", err.text);
    return pool;
}

static void check_loops(int threads, size_t loops, unsigned spin) {
    enum { MOST = 300 };
    vl2_pool *pool = pool_of(threads);
    assert_int_equal(vl2_pool_threads(pool), threads);
    _Atomic unsigned *counts = calloc(MOST, sizeof *counts);
    assert_non_null(counts);
    work w = {.counts = counts, .threads = threads, .spin = spin};
    for (size_t loop = 0; loop < loops; loop++) {
        size_t n = loop * 7 % MOST;
        for (size_t i = 0; i < MOST; i++) atomic_store(&counts[i], 0);
        vl2_pool_run(pool, n, count_task, &w);
        for (size_t i = 0; i < MOST; i++) assert_int_equal(atomic_load(&counts[i]), i < n);
    }
    assert_int_equal(atomic_load(&w.bad_thread), 0);
    free(counts);
    vl2_pool_free(pool);
}

static void test_each_task_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 9; threads++) check_loops(threads, 500, 0);
    check_loops(2, 2000, 0);
    check_loops(4, 200, 2000);
}

/* Of a thread's own share of the loop the tasks follow each other, from the first on. */
enum { NEAR_THREADS = 3, NEAR_TASKS = 60, NEAR_SHARE = NEAR_TASKS / NEAR_THREADS };

typedef struct near_work {
    size_t next[NEAR_THREADS]; /* of a thread's share; written by that thread alone */
    _Atomic int out_of_order;
} near_work;

static void near_task(void *context, size_t i, int thread) {
    near_work *w = context;
    for (volatile unsigned k = 0; k < 2000; k++) continue;
    if (i / NEAR_SHARE != (size_t)thread) return; /* taken from another */
    if (i != w->next[thread]) atomic_store(&w->out_of_order, 1);
    w->next[thread] = i + 1;
}

static void test_tasks_follow_each_other(void **state) {
    (void)state;
    vl2_pool *pool = pool_of(NEAR_THREADS);
    size_t own = 0;
    for (int loop = 0; loop < 200; loop++) {
        near_work w = {.next = {0, NEAR_SHARE, 2 * NEAR_SHARE}};
        vl2_pool_run(pool, NEAR_TASKS, near_task, &w);
        assert_int_equal(atomic_load(&w.out_of_order), 0);
        own += w.next[0];
    }
    assert_true(own > 0);
    vl2_pool_free(pool);
}

/* Plain memory written by tasks is seen by the caller, and by the next loop's tasks. */
static void add_neighbour(void *context, size_t i, int thread) {
    unsigned *values = context;
    (void)thread;
    values[i * 64 + 32] = values[i * 64] + 1;
}

static void take_neighbour(void *context, size_t i, int thread) {
    unsigned *values = context;
    (void)thread;
    values[i * 64] = values[(i + 1) % 16 * 64 + 32];
}

static void test_results_are_seen(void **state) {
    (void)state;
    unsigned *values = calloc(16 * 64, sizeof *values);
    assert_non_null(values);
    vl2_pool *pool = pool_of(3);
    for (int round = 0; round < 5000; round++) {
        vl2_pool_run(pool, 16, add_neighbour, values);
        vl2_pool_run(pool, 16, take_neighbour, values);
    }
    for (int i = 0; i < 16; i++) assert_int_equal(values[i * 64], 5000);
    vl2_pool_free(pool);
    free(values);
}

static void test_wakes_after_sleep(void **state) {
    (void)state;
    vl2_pool *pool = pool_of(3);
    _Atomic unsigned counts[8] = {0};
    work w = {.counts = counts, .threads = 3};
    for (int round = 0; round < 30; round++) {
        nanosleep(&(struct timespec){.tv_nsec = round % 3 * 3000000}, NULL);
        vl2_pool_run(pool, 8, count_task, &w);
    }
    for (int i = 0; i < 8; i++) assert_int_equal(atomic_load(&counts[i]), 30);
    vl2_pool_free(pool);
}

/* An idle pool takes no time of a core. */
static void test_idle_sleeps(void **state) {
    (void)state;
    vl2_pool *pool = pool_of(2);
    _Atomic unsigned counts[8] = {0};
    work w = {.counts = counts, .threads = 2};
    vl2_pool_run(pool, 8, count_task, &w);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double used = (double)(after.tv_sec - before.tv_sec) * 1e3 +
                  (double)(after.tv_nsec - before.tv_nsec) * 1e-6;
    assert_true(used < 30); /* milliseconds of 300 */
    vl2_pool_free(pool);
}

static void test_one_core(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int first = 0;
    while (!CPU_ISSET(first, &before)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(vl2_pool_cores(), 1);
    vl2_pool *pool = pool_of(0);
    assert_int_equal(vl2_pool_threads(pool), 1);
    vl2_pool_free(pool);
    check_loops(4, 300, 0);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(vl2_pool_cores(), CPU_COUNT(&before));
}

/* Task 0 on its own thread: a pool of one runs all on the caller. */
static void note_thread(void *context, size_t i, int thread) {
    pthread_t *seen = context;
    assert_int_equal(thread, 0);
    seen[i] = pthread_self();
}

static void test_one_thread_is_the_caller(void **state) {
    (void)state;
    pthread_t seen[3];
    vl2_pool *pool = pool_of(1);
    vl2_pool_run(pool, 3, note_thread, seen);
    for (int i = 0; i < 3; i++) assert_true(pthread_equal(seen[i], pthread_self()));
    vl2_pool_run(pool, 0, note_thread, NULL);
    vl2_pool_free(pool);
    vl2_pool_free(NULL);
}

static void test_arguments(void **state) {
    (void)state;
    vl2_pool *pool;
    vl2_error err = {0};
    assert_says(vl2_pool_create(&pool, -1, &err), &err, VL2_ERR_ARGUMENT, "threads is -1");
    err = (vl2_error){0};
    assert_says(vl2_pool_create(&pool, 100000, &err), &err, VL2_ERR_ARGUMENT, "100000|1024");
}

/* Helpers leave signals to the program: one sent to the process reaches the caller. */
static _Atomic int signals_here;
static pthread_t caller;
static void on_signal(int number) {
    (void)number;
    if (pthread_equal(pthread_self(), caller)) atomic_fetch_add(&signals_here, 1);
}

static void test_signals(void **state) {
    (void)state;
    caller = pthread_self();
    vl2_pool *pool = pool_of(3);
    signal(SIGUSR1, on_signal);
    for (int i = 0; i < 20; i++) kill(getpid(), SIGUSR1);
    assert_true(atomic_load(&signals_here) > 0);
    signal(SIGUSR1, SIG_DFL);
    vl2_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_task_once),
        cmocka_unit_test(test_tasks_follow_each_other),
        cmocka_unit_test(test_results_are_seen),
        cmocka_unit_test(test_wakes_after_sleep),
        cmocka_unit_test(test_idle_sleeps),
        cmocka_unit_test(test_one_core),
        cmocka_unit_test(test_one_thread_is_the_caller),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
