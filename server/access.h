/* server/access.h - the log: one line a request, for people or as a JSON object. */
#ifndef VL2_SERVER_ACCESS_H
#define VL2_SERVER_ACCESS_H

#include "server/job.h"

void vl2_access_job(const vl2_job *job); /* one that was read and answered, or given up */
/* One that needed no job. `path` is whatever a client sent. */
void vl2_access_visit(const vl2_serve_options *options, const char *client, const char *method,
                      const char *path, int http_status, double seconds);

#endif
