/* server/lane.h - one choice of a job: session, sampler, text. Engine thread only. */
#ifndef VL2_SERVER_LANE_H
#define VL2_SERVER_LANE_H

#include "server/job.h"

/* KV tokens, in whole blocks, of a job's prompt and longest answer. */
size_t vl2_lane_need(const vl2_job *job);
size_t vl2_lane_promised(const vl2_lane *lane); /* of that, not in the cache yet */
/* A session of its own that begins with `known` tokens of `from` (NULL: none). */
vl2_status vl2_lane_open(vl2_lane *lane, vl2_engine *engine, const vl2_job *job, size_t index,
                         const vl2_session *from, size_t known, vl2_error *err);
/* Chooses the next token, adds its text, and feeds it back or sets `finish`. */
vl2_status vl2_lane_next(vl2_lane *lane, vl2_engine *engine, const vl2_job *job,
                         const float *logits, vl2_error *err);
void vl2_lane_close(vl2_lane *lane); /* what computes; the text stays for the reply */

#endif
