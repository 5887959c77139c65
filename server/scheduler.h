/* server/scheduler.h - the engine thread: who joins, what a step holds, who leaves. docs/SERVER.md */
#ifndef VL2_SERVER_SCHEDULER_H
#define VL2_SERVER_SCHEDULER_H

#include "server/job.h"
#include "server/loader.h"
#include "server/metrics.h"
#include "server/server.h"

typedef struct vl2_scheduler vl2_scheduler;
typedef enum vl2_entry { VL2_ENTRY_OK, VL2_ENTRY_FULL, VL2_ENTRY_CLOSED } vl2_entry;

vl2_status vl2_scheduler_start(vl2_scheduler **out, const vl2_serve_options *options,
                               vl2_loader *loader, vl2_metrics *metrics, vl2_error *err);
/* Takes a place for a request of `owner`; to be given back by submit or leave. With several keys one
 * owner gets at most three quarters of the places, so that the others find some. */
vl2_entry vl2_scheduler_enter(vl2_scheduler *scheduler, uint64_t owner);
void vl2_scheduler_leave(vl2_scheduler *scheduler, uint64_t owner);
/* Hands over a job that has a place, a prompt, and holds the engine (its hold moves along). */
void vl2_scheduler_submit(vl2_scheduler *scheduler, vl2_job *job);
double vl2_scheduler_retry_after(vl2_scheduler *scheduler); /* seconds, an estimate */
size_t vl2_scheduler_load(vl2_scheduler *scheduler);        /* jobs inside */
size_t vl2_scheduler_scratch(const vl2_scheduler *scheduler, const vl2_engine *engine); /* bytes */
void vl2_scheduler_close(vl2_scheduler *scheduler); /* nobody enters any more */
void vl2_scheduler_stop(vl2_scheduler *scheduler);  /* ends who is inside, and the thread */
void vl2_scheduler_free(vl2_scheduler *scheduler);  /* after its stop, once nobody asks it */

#endif
