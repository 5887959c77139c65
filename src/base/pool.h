/* base/pool.h - helper threads for short parallel loops.
 *
 * One caller at a time. Between loops that follow each other closely the helpers stay awake for
 * some microseconds (the token loop takes no lock); an idle pool sleeps and costs nothing. Which
 * thread runs which task is not fixed, so a task's result must not depend on it. */
#ifndef VL2_BASE_POOL_H
#define VL2_BASE_POOL_H

#include "base/err.h"

typedef struct vl2_pool vl2_pool;
/* Task `i` of n, on thread 0 … threads-1 (0 is the caller). */
typedef void (*vl2_task_fn)(void *context, size_t i, int thread);

int vl2_pool_cores(void); /* cores that this process may use, at least 1 */
vl2_status vl2_pool_create(vl2_pool **out, int threads, vl2_error *err); /* 0: vl2_pool_cores() */
void vl2_pool_free(vl2_pool *pool);
int vl2_pool_threads(const vl2_pool *pool);
/* Runs all n tasks and returns when they are done. */
void vl2_pool_run(vl2_pool *pool, size_t n, vl2_task_fn task, void *context);

#endif
