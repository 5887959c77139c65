/* engine/answer.h - what vl2_generate fills and vl2_answer_* reads. */
#ifndef VL2_ENGINE_ANSWER_H
#define VL2_ENGINE_ANSWER_H

#include "base/buf.h"

struct vl2_answer {
    vl2_buf text; /* as it came; stripped by vl2_answer_strip */
    int32_t *ids; /* [room], the eos not among them */
    size_t n_ids, room;
    vl2_finish finish;
    vl2_box *boxes;
    size_t n_boxes;
    vl2_usage usage;
    vl2_timings timings;
};

/* Room for max_ids ids, and for as much text as they usually take. */
vl2_status vl2_answer_create(vl2_answer **out, size_t max_ids, vl2_error *err);
/* White space at both ends goes. */
vl2_status vl2_answer_strip(vl2_answer *answer, vl2_error *err);
/* The boxes of the ids' text, on the last picture of the prompt; none without pictures. */
vl2_status vl2_answer_find_boxes(vl2_answer *answer, const vl2_engine *engine,
                                 const vl2_prompt *prompt, vl2_error *err);

#endif
