/* server/workers.h - the few threads that turn bodies into jobs: JSON, pictures, prompts. */
#ifndef VL2_SERVER_WORKERS_H
#define VL2_SERVER_WORKERS_H

#include "server/scheduler.h"

typedef struct vl2_workers vl2_workers;

vl2_status vl2_workers_start(vl2_workers **out, const vl2_serve_options *options,
                             vl2_loader *loader, vl2_scheduler *scheduler, vl2_metrics *metrics,
                             vl2_error *err);
/* Takes a job with its body (its hold moves along) and, for a chat, a place of the scheduler.
 * False: the server is stopping, and nothing was taken. */
bool vl2_workers_submit(vl2_workers *workers, vl2_job *job);
void vl2_workers_stop(vl2_workers *workers); /* what still waits is dealt with first */
void vl2_workers_free(vl2_workers *workers); /* after their stop, once no job is left */

#endif
