#include "server/watch.h"

#include "base/mem.h"

#include <math.h>
#include <sys/socket.h>

static const double patience = 30; /* seconds for a request's head, and of silence in its body */
static const double slowest = 16 << 10;       /* bytes a second that a body has to come at */
static const double slowest_reader = 4 << 10; /* and that a whole answer has to be taken at */
static const double keep_alive_after = 5;     /* seconds of a stream's silence */

struct vl2_watched {
    int socket;
    bool asking;  /* a request has begun and is not answered yet */
    bool whole;   /* all of it has come */
    double until; /* what is awaited has to be there by then */
    vl2_job *job; /* that is being answered */
    vl2_watched *next, *before;
};

struct vl2_watch {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    vl2_watched *first;
    bool stopping;
};

static double time_to_read(size_t size) { return 2 * patience + (double)size / slowest_reader; }

static void look(vl2_watch *w) {
    double now = vl2_now();
    for (vl2_watched *one = w->first; one; one = one->next) {
        size_t unsent;
        if (one->job) vl2_job_keep_alive(one->job, keep_alive_after);
        if (one->job && isinf(one->until) && vl2_job_is_over(one->job, &unsent)) {
            one->until = now + time_to_read(unsent);
            one->job = NULL;
        }
        if (now <= one->until) continue;
        shutdown(one->socket, SHUT_RDWR); /* the polling thread sees its end and cleans up */
        one->until = INFINITY;
    }
}

static void *work(void *user) {
    vl2_watch *w = user;
    pthread_mutex_lock(&w->mutex);
    while (!w->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 1;
        pthread_cond_timedwait(&w->wake, &w->mutex, &until);
        look(w);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

vl2_status vl2_watch_start(vl2_watch **out, vl2_error *err) {
    vl2_watch *w = vl2_mem_calloc(1, sizeof *w);
    if (!w) return vl2_fail_memory(err, "the watch", sizeof *w);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&w->thread, NULL, work, w) != 0) {
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->mutex);
        vl2_mem_free(w);
        return vl2_fail(err, VL2_ERR_MEMORY, "the watch could not be started");
    }
    *out = w;
    return VL2_OK;
}

void vl2_watch_stop(vl2_watch *w) {
    if (!w) return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mutex);
    vl2_mem_free(w);
}

vl2_watched *vl2_watch_add(vl2_watch *w, int socket) {
    vl2_watched *one = vl2_mem_calloc(1, sizeof *one);
    if (!one) return NULL;
    one->socket = socket;
    one->until = vl2_now() + patience;
    pthread_mutex_lock(&w->mutex);
    one->next = w->first;
    if (w->first) w->first->before = one;
    w->first = one;
    pthread_mutex_unlock(&w->mutex);
    return one;
}

void vl2_watch_remove(vl2_watch *w, vl2_watched *one) {
    if (!one) return;
    pthread_mutex_lock(&w->mutex);
    if (one->before)
        one->before->next = one->next;
    else
        w->first = one->next;
    if (one->next) one->next->before = one->before;
    pthread_mutex_unlock(&w->mutex);
    vl2_mem_free(one);
}

size_t vl2_watch_count(vl2_watch *w) {
    size_t n = 0;
    pthread_mutex_lock(&w->mutex);
    for (vl2_watched *one = w->first; one; one = one->next) n += one->whole;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

void vl2_watch_body(vl2_watch *w, vl2_watched *one, size_t size) {
    if (!one) return;
    pthread_mutex_lock(&w->mutex);
    double now = vl2_now();
    if (!one->asking) one->until = now + patience;
    one->asking = true;
    one->until += (double)size / slowest;
    if (one->until > now + patience) one->until = now + patience; /* haste buys no silence */
    pthread_mutex_unlock(&w->mutex);
}

void vl2_watch_answer(vl2_watch *w, vl2_watched *one, size_t size) {
    if (!one) return;
    pthread_mutex_lock(&w->mutex);
    one->until = vl2_now() + time_to_read(size);
    pthread_mutex_unlock(&w->mutex);
}

void vl2_watch_whole(vl2_watch *w, vl2_watched *one, vl2_job *job) {
    if (!one) return;
    pthread_mutex_lock(&w->mutex);
    one->asking = one->whole = true;
    one->until = INFINITY;
    one->job = job;
    pthread_mutex_unlock(&w->mutex);
}

void vl2_watch_answered(vl2_watch *w, vl2_watched *one) {
    if (!one) return;
    pthread_mutex_lock(&w->mutex);
    one->asking = one->whole = false;
    one->job = NULL;
    one->until = vl2_now() + 2 * patience;
    pthread_mutex_unlock(&w->mutex);
}
