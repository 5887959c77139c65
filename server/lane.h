/* server/lane.h - one choice of a job: session, sampler, text. Engine thread only. */
#ifndef VL2_SERVER_LANE_H
#define VL2_SERVER_LANE_H

#include "server/job.h"

/* KV tokens, in whole blocks of `block`, that all choices of a job may take when its first `known`
 * tokens are shared with a session that is there: choices share the prompt's whole blocks. */
size_t vl2_lane_need(const vl2_job *job, size_t known, size_t block);
size_t vl2_lane_promised(const vl2_job *job, size_t block); /* of that, not taken yet */
/* Tokens of answer at most, so that a job with `n` choices fits `pool` tokens of KV; 0: it cannot. */
size_t vl2_lane_room(size_t prompt_tokens, size_t n, size_t pool, size_t block);
/* A session of its own that begins with `known` tokens of `from` (NULL: none). */
vl2_status vl2_lane_open(vl2_lane *lane, vl2_engine *engine, const vl2_job *job, size_t index,
                         const vl2_session *from, size_t known, vl2_error *err);
/* Chooses the next token, adds its text, and feeds it back or sets `finish`. */
vl2_status vl2_lane_next(vl2_lane *lane, vl2_engine *engine, const vl2_job *job,
                         const float *logits, vl2_error *err);
void vl2_lane_close(vl2_lane *lane); /* what computes; the text stays for the reply */

#endif
