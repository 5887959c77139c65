/* server/scheduler.h - the engine thread: who joins, what a step holds, who leaves. docs/SERVER.md */
#ifndef VL2_SERVER_SCHEDULER_H
#define VL2_SERVER_SCHEDULER_H

#include "server/job.h"
#include "server/metrics.h"
#include "server/server.h"

typedef struct vl2_scheduler vl2_scheduler;

vl2_status vl2_scheduler_start(vl2_scheduler **out, const vl2_serve_options *options,
                               vl2_metrics *metrics, vl2_error *err);
/* Takes a place in the queue; false: it is full. To be given back by submit or leave. */
bool vl2_scheduler_enter(vl2_scheduler *scheduler);
void vl2_scheduler_leave(vl2_scheduler *scheduler);
/* Hands over a job that has a place and a prompt (its hold moves along). */
void vl2_scheduler_submit(vl2_scheduler *scheduler, vl2_job *job);
/* The engine, for building prompts in workers: loaded, kept until vl2_scheduler_release. */
vl2_status vl2_scheduler_engine(vl2_scheduler *scheduler, vl2_engine **out, vl2_error *err);
void vl2_scheduler_release(vl2_scheduler *scheduler);
bool vl2_scheduler_is_ready(const vl2_scheduler *scheduler);
double vl2_scheduler_retry_after(const vl2_scheduler *scheduler); /* seconds, an estimate */
size_t vl2_scheduler_load(const vl2_scheduler *scheduler);        /* jobs inside */
void vl2_scheduler_stop(vl2_scheduler *scheduler, double grace_seconds);

#endif
