/* server/reply.h - what goes out: completions, chunks, errors; OpenAI's forms with ours added. */
#ifndef VL2_SERVER_REPLY_H
#define VL2_SERVER_REPLY_H

#include "server/job.h"

/* When there is no memory for a sentence: a message, and an error reply around it. */
#define VL2_REPLY_NO_MEMORY "out of memory; try again"
#define VL2_REPLY_NO_MEMORY_ERROR                                                                  \
    "{\"error\":{\"message\":\"" VL2_REPLY_NO_MEMORY                                               \
    "\",\"type\":\"server_error\",\"param\":null,\"code\":null}}"

vl2_status vl2_reply_error(vl2_buf *out, const char *type, const char *param, const char *message,
                           vl2_error *err);
/* A stream's events, each "data: …\n\n". */
vl2_status vl2_reply_begin(vl2_job *job, const char *model); /* each choice's role */
vl2_status vl2_reply_text(vl2_job *job, const char *model,
                          size_t lane); /* what is new in its text */
vl2_status vl2_reply_lane_end(vl2_job *job, const char *model,
                              size_t lane);                /* finish_reason, grounding */
vl2_status vl2_reply_end(vl2_job *job, const char *model); /* usage where asked, [DONE] */
/* The whole answer at once. */
vl2_status vl2_reply_whole(vl2_job *job, const char *model);
/* One entry of logprobs.content. */
vl2_status vl2_reply_logprob(vl2_buf *out, const vl2_engine *engine, const vl2_logprob *chosen,
                             const vl2_logprob *top, size_t n_top, vl2_error *err);

#endif
