#include "server/loader.h"

#include "base/mem.h"
#include "server/job.h"

#include <pthread.h>

typedef enum state { ABSENT, BUSY, LOADED, GIVEN_UP } state; /* BUSY: being loaded or let go */

struct vl2_loader {
    const vl2_serve_options *options;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    state state;
    vl2_engine *engine;
    vl2_info info;
    bool was_loaded;
    size_t users;
    double idle_since;
};

vl2_status vl2_loader_create(vl2_loader **out, const vl2_serve_options *options, vl2_error *err) {
    vl2_loader *l = vl2_mem_calloc(1, sizeof *l);
    if (!l) return vl2_fail_memory(err, "the loader", sizeof *l);
    l->options = options;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    *out = l;
    return VL2_OK;
}

void vl2_loader_free(vl2_loader *l) {
    if (!l) return;
    vl2_engine_close(l->engine);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    vl2_mem_free(l);
}

/* The mutex is held; it is let go while the file is read. */
static vl2_status load(vl2_loader *l, vl2_error *err) {
    vl2_engine *engine = NULL;
    l->state = BUSY;
    pthread_mutex_unlock(&l->mutex);
    vl2_status status = vl2_engine_open(&engine, l->options->model_path, &l->options->engine, err);
    pthread_mutex_lock(&l->mutex);
    l->engine = engine;
    l->state = status == VL2_OK ? LOADED : ABSENT;
    l->idle_since = vl2_now();
    if (engine) {
        l->info = *vl2_engine_info(engine);
        l->info.name = l->info.architecture = l->info.cpu_level = l->info.compute = NULL;
        l->was_loaded = true;
    }
    pthread_cond_broadcast(&l->changed);
    return status;
}

vl2_status vl2_loader_take(vl2_loader *l, vl2_engine **out, vl2_error *err) {
    vl2_status status = VL2_OK;
    pthread_mutex_lock(&l->mutex);
    while (l->state == BUSY) pthread_cond_wait(&l->changed, &l->mutex);
    if (l->state == ABSENT) status = load(l, err);
    if (l->state == GIVEN_UP) status = vl2_fail(err, VL2_ERR_IO, "the model could not be loaded");
    if (status == VL2_OK) {
        l->users++;
        *out = l->engine;
    }
    pthread_mutex_unlock(&l->mutex);
    return status;
}

void vl2_loader_give(vl2_loader *l) {
    pthread_mutex_lock(&l->mutex);
    l->users--;
    l->idle_since = vl2_now();
    pthread_mutex_unlock(&l->mutex);
}

void vl2_loader_give_up(vl2_loader *l) {
    pthread_mutex_lock(&l->mutex);
    while (l->state == BUSY) pthread_cond_wait(&l->changed, &l->mutex);
    if (l->state == ABSENT) l->state = GIVEN_UP;
    pthread_mutex_unlock(&l->mutex);
}

bool vl2_loader_is_idle(vl2_loader *l) {
    pthread_mutex_lock(&l->mutex);
    bool idle = l->options->idle_seconds > 0 && l->state == LOADED && !l->users &&
                vl2_now() - l->idle_since > l->options->idle_seconds;
    if (idle) l->state = BUSY;
    pthread_mutex_unlock(&l->mutex);
    return idle;
}

void vl2_loader_close(vl2_loader *l) {
    vl2_engine_close(l->engine);
    pthread_mutex_lock(&l->mutex);
    l->engine = NULL;
    l->state = ABSENT;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
}

bool vl2_loader_is_ready(vl2_loader *l) {
    pthread_mutex_lock(&l->mutex);
    bool ready = l->state == LOADED || (l->state == ABSENT && l->options->lazy_load) ||
                 (l->state == ABSENT && l->was_loaded);
    pthread_mutex_unlock(&l->mutex);
    return ready;
}

bool vl2_loader_info(vl2_loader *l, vl2_info *out) {
    pthread_mutex_lock(&l->mutex);
    bool known = l->was_loaded;
    *out = l->info;
    pthread_mutex_unlock(&l->mutex);
    return known;
}
