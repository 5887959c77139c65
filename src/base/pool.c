/* How it works. A job is published by one store of `word` = (generation, next task); threads claim
 * tasks by compare-and-swap on it, several at a time while many are left. The word only grows, and is
 * closed before the next job's fields are written; so a swap that succeeds proves that the fields read
 * just before are this job's, and a helper that comes late touches nothing. The caller waits for `done`
 * tasks, not for helpers, so a sleeping helper never delays a short job. Locks are taken only to fall
 * asleep and to wake. */
#define _GNU_SOURCE
#include "base/pool.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_THREADS = 1024,
    INDEX_BITS = 24,         /* of `word`: the next task; the rest is the generation */
    HELPER_SPIN_NS = 50000,  /* awake between loops that follow each other closely */
    CALLER_SPIN_NS = 200000, /* the caller waits for work that is under way */
    PAUSES_PER_LOOK = 16     /* between two looks at the clock */
};
#define INDEX_MASK (((uint64_t)1 << INDEX_BITS) - 1)

typedef struct helper {
    vl2_pool *pool;
    pthread_t thread;
    int index; /* 1 … threads-1 */
} helper;

typedef struct range { /* a thread's tasks that are left: (first, end) in 32 bits each */
    _Alignas(VL2_ALIGN) _Atomic uint64_t word;
} range;

struct vl2_pool {
    _Alignas(VL2_ALIGN) _Atomic uint64_t word;
    _Alignas(VL2_ALIGN) _Atomic size_t done; /* tasks of the current job */
    /* The current job; written while no task is open. */
    _Alignas(VL2_ALIGN) _Atomic size_t n;
    _Atomic size_t first; /* index of task 0 of this job, in a loop cut into several */
    _Atomic(vl2_task_fn) task;
    _Atomic(void *) context;
    _Atomic int sleepers; /* helpers in `wake` */
    _Atomic bool waiting; /* the caller is in `finished` */
    _Atomic bool stop;
    int64_t helper_spin_ns, caller_spin_ns; /* 0 with more threads than cores */
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
    helper *helpers;
    range *ranges; /* [threads] */
    int threads;   /* with the caller */
};

/* ---- time ------------------------------------------------------------------------------------ */

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- claiming and running tasks --------------------------------------------------------------- */

static uint64_t generation_of(uint64_t word) { return word >> INDEX_BITS; }

/* Claims tasks of generation `g`, fewer as the end comes near, since each claim costs a trip between
 * cores; 0: none is left, or another job is on. */
static size_t claim(vl2_pool *pool, uint64_t g, size_t n) {
    uint64_t word = atomic_load(&pool->word);
    while (generation_of(word) == g && (word & INDEX_MASK) < n) {
        size_t some = (n - (word & INDEX_MASK)) / (4 * (size_t)pool->threads);
        if (some == 0) some = 1;
        if (atomic_compare_exchange_weak(&pool->word, &word, word + some)) return some;
    }
    return 0;
}

static uint64_t range_of(uint64_t first, uint64_t end) { return first << 32 | end; }

/* Up to `most` tasks in a row that nobody has, the first of the thread's own or the last of another's;
 * *first is the first of them. There is one for each claim. */
static size_t pick(vl2_pool *pool, int thread, size_t most, size_t *first) {
    for (int victim = thread;; victim = (victim + 1) % pool->threads) {
        _Atomic uint64_t *left = &pool->ranges[victim].word;
        uint64_t word = atomic_load(left), from, end;
        while ((from = word >> 32) < (end = word & UINT32_MAX)) {
            const bool own = victim == thread;
            const size_t some = most < end - from ? most : end - from;
            const uint64_t rest = own ? range_of(from + some, end) : range_of(from, end - some);
            if (!atomic_compare_exchange_weak(left, &word, rest)) continue;
            *first = own ? from : end - some;
            return some;
        }
    }
}

static void report_done(vl2_pool *pool, size_t count, size_t n) {
    if (atomic_fetch_add(&pool->done, count) + count != n || !atomic_load(&pool->waiting)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->mutex);
}

/* Works on generation `g` until no task of it is open. */
static void work(vl2_pool *pool, uint64_t g, int thread) {
    size_t n = atomic_load(&pool->n), first = atomic_load(&pool->first);
    vl2_task_fn task = atomic_load(&pool->task);
    void *context = atomic_load(&pool->context);
    size_t count = 0;
    for (size_t claimed; (claimed = claim(pool, g, n)) > 0; count += claimed) {
        for (size_t left = claimed, from, some; left > 0; left -= some) {
            some = pick(pool, thread, left, &from);
            for (size_t i = 0; i < some; i++) task(context, first + from + i, thread);
        }
    }
    if (count) report_done(pool, count, n);
}

/* ---- helpers --------------------------------------------------------------------------------- */

static bool has_news(vl2_pool *pool, uint64_t seen) {
    return generation_of(atomic_load(&pool->word)) != seen || atomic_load(&pool->stop);
}

static bool spin_for_news(vl2_pool *pool, uint64_t seen, int64_t until) {
    do {
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (has_news(pool, seen)) return true;
            pause_cpu();
        }
    } while (now_ns() < until);
    return false;
}

static void sleep_for_news(vl2_pool *pool, uint64_t seen) {
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_news(pool, seen)) pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* Waits for the next job. Spinning is worth it while the gaps are short: a gap that was longer than
 * the limit halves the time spent next, one that fits restores it. */
static void wait_for_news(vl2_pool *pool, uint64_t seen, int64_t *spin_ns) {
    int64_t from = now_ns();
    if (*spin_ns > 0 && spin_for_news(pool, seen, from + *spin_ns)) return;
    sleep_for_news(pool, seen);
    if (pool->helper_spin_ns == 0) return;
    bool short_gap = now_ns() - from <= pool->helper_spin_ns;
    *spin_ns = short_gap ? pool->helper_spin_ns : *spin_ns / 2;
}

static void *helper_main(void *argument) {
    helper *self = argument;
    vl2_pool *pool = self->pool;
    int64_t spin_ns = pool->helper_spin_ns;
    uint64_t seen = 0;
    for (;;) {
        wait_for_news(pool, seen, &spin_ns);
        if (atomic_load(&pool->stop)) return NULL;
        seen = generation_of(atomic_load(&pool->word));
        work(pool, seen, self->index);
    }
}

/* ---- the caller ------------------------------------------------------------------------------ */

static void wake_helpers(vl2_pool *pool, size_t wanted) {
    int sleepers = atomic_load(&pool->sleepers);
    if (sleepers == 0) return;
    pthread_mutex_lock(&pool->mutex);
    if (wanted >= (size_t)sleepers)
        pthread_cond_broadcast(&pool->wake);
    else
        for (size_t i = 0; i < wanted; i++) pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_until_done(vl2_pool *pool, size_t n) {
    if (atomic_load(&pool->done) == n) return;
    if (pool->caller_spin_ns > 0) {
        int64_t until = now_ns() + pool->caller_spin_ns;
        do {
            for (int i = 0; i < PAUSES_PER_LOOK; i++) {
                if (atomic_load(&pool->done) == n) return;
                pause_cpu();
            }
        } while (now_ns() < until);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->waiting, true);
    while (atomic_load(&pool->done) != n) pthread_cond_wait(&pool->finished, &pool->mutex);
    atomic_store(&pool->waiting, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void run_job(vl2_pool *pool, size_t first, size_t n, vl2_task_fn task, void *context) {
    /* A late helper of the last job must not take the new n for its own: no index is below it. */
    uint64_t g = generation_of(atomic_load(&pool->word));
    atomic_store(&pool->word, g << INDEX_BITS | INDEX_MASK);
    atomic_store(&pool->done, 0);
    atomic_store(&pool->n, n);
    atomic_store(&pool->first, first);
    atomic_store(&pool->task, task);
    atomic_store(&pool->context, context);
    for (size_t t = 0, threads = (size_t)pool->threads; t < threads; t++)
        atomic_store_explicit(&pool->ranges[t].word,
                              range_of(n * t / threads, n * (t + 1) / threads),
                              memory_order_relaxed); /* the next store publishes them */
    g++;
    atomic_store(&pool->word, g << INDEX_BITS);
    wake_helpers(pool, n - 1);
    work(pool, g, 0);
    wait_until_done(pool, n);
}

void vl2_pool_run(vl2_pool *pool, size_t n, vl2_task_fn task, void *context) {
    if (pool->threads == 1 || n == 1) {
        for (size_t i = 0; i < n; i++) task(context, i, 0);
        return;
    }
    for (size_t first = 0; first < n;) {
        size_t count = n - first < INDEX_MASK ? n - first : (size_t)INDEX_MASK;
        run_job(pool, first, count, task, context);
        first += count;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

int vl2_pool_cores(void) {
    for (int room = 1024; room <= 1 << 20;
         room *= 4) { /* a machine may have more than a cpu_set_t */
        cpu_set_t *set = CPU_ALLOC((size_t)room);
        if (!set) break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)room);
        int failed = sched_getaffinity(0, bytes, set) != 0 ? errno : 0;
        int cores = failed ? 0 : CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (cores > 0) return cores < MAX_THREADS ? cores : MAX_THREADS;
        if (failed != EINVAL) break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online < MAX_THREADS ? (int)online : MAX_THREADS;
}

static void join_helpers(vl2_pool *pool, int n) {
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < n; i++) pthread_join(pool->helpers[i].thread, NULL);
}

/* Signals are the program's business: helpers block them all. */
static vl2_status start_helpers(vl2_pool *pool, vl2_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int n = 0, failed = 0;
    for (; n < pool->threads - 1 && !failed; n++) {
        helper *h = &pool->helpers[n];
        *h = (helper){.pool = pool, .index = n + 1};
        failed = pthread_create(&h->thread, NULL, helper_main, h);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failed) return VL2_OK;
    join_helpers(pool, n - 1);
    return vl2_fail(err, VL2_ERR_MEMORY, "cannot start thread %d of %d: %s; ask for fewer threads",
                    n + 1, pool->threads, failed == EAGAIN ? "the system has no room" : "refused");
}

static vl2_status init_locks(vl2_pool *pool, vl2_error *err) {
    if (pthread_mutex_init(&pool->mutex, NULL) != 0) goto none;
    if (pthread_cond_init(&pool->wake, NULL) != 0) goto mutex;
    if (pthread_cond_init(&pool->finished, NULL) == 0) return VL2_OK;
    pthread_cond_destroy(&pool->wake);
mutex:
    pthread_mutex_destroy(&pool->mutex);
none:
    return vl2_fail_memory(err, "the thread pool's locks", sizeof pool->mutex);
}

static void free_memory(vl2_pool *pool) {
    vl2_mem_free(pool->helpers);
    vl2_mem_free(pool->ranges);
    vl2_mem_free(pool);
}

static void destroy(vl2_pool *pool) {
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free_memory(pool);
}

static vl2_pool *pool_of(int threads) {
    vl2_pool *pool = vl2_mem_aligned(sizeof *pool);
    helper *helpers = vl2_mem_calloc((size_t)threads, sizeof *helpers);
    range *ranges = vl2_mem_aligned((size_t)threads * sizeof *ranges);
    if (!pool || !helpers || !ranges) {
        vl2_mem_free(pool);
        vl2_mem_free(helpers);
        vl2_mem_free(ranges);
        return NULL;
    }
    memset(pool, 0, sizeof *pool);
    bool spins = threads <= vl2_pool_cores();
    pool->helper_spin_ns = spins ? HELPER_SPIN_NS : 0;
    pool->caller_spin_ns = spins ? CALLER_SPIN_NS : 0;
    pool->helpers = helpers;
    pool->ranges = ranges;
    pool->threads = threads;
    return pool;
}

vl2_status vl2_pool_create(vl2_pool **out, int threads, vl2_error *err) {
    if (threads < 0 || threads > MAX_THREADS)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "threads is %d, expected 0 to %d", threads,
                        MAX_THREADS);
    if (threads == 0) threads = vl2_pool_cores();
    vl2_pool *pool = pool_of(threads);
    if (!pool) return vl2_fail_memory(err, "the thread pool", sizeof *pool);
    vl2_status status = init_locks(pool, err);
    if (status != VL2_OK) {
        free_memory(pool);
        return status;
    }
    status = start_helpers(pool, err);
    if (status != VL2_OK) {
        destroy(pool);
        return status;
    }
    *out = pool;
    return VL2_OK;
}

void vl2_pool_free(vl2_pool *pool) {
    if (!pool) return;
    join_helpers(pool, pool->threads - 1);
    destroy(pool);
}

int vl2_pool_threads(const vl2_pool *pool) { return pool->threads; }
