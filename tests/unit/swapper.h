/* swapper.h - somebody who keeps on swapping two names of a folder, as fast as he can. With _GNU_SOURCE. */
#ifndef VL2_TESTS_SWAPPER_H
#define VL2_TESTS_SWAPPER_H

#include "unit/scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct swapper {
    pthread_t thread;
    char one[256], other[256];
    atomic_bool done;
    size_t n; /* swaps; 0: the file system cannot */
} swapper;

static inline bool swapper_swap(swapper *w) {
    return renameat2(AT_FDCWD, w->one, AT_FDCWD, w->other, RENAME_EXCHANGE) == 0;
}

static inline void *swapper_work(void *user) {
    swapper *w = user;
    while (!atomic_load(&w->done)) w->n += swapper_swap(w);
    return NULL;
}

static inline void swapper_start(swapper *w, const char *folder, const char *one,
                                 const char *other) {
    *w = (swapper){.n = 0};
    snprintf(w->one, sizeof w->one, "%s/%s", folder, one);
    snprintf(w->other, sizeof w->other, "%s/%s", folder, other);
    assert_int_equal(pthread_create(&w->thread, NULL, swapper_work, w), 0);
}

/* Afterwards both have their own names again. */
static inline void swapper_stop(swapper *w) {
    atomic_store(&w->done, true);
    pthread_join(w->thread, NULL);
    if (w->n % 2) assert_true(swapper_swap(w));
}

#endif
