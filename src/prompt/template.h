/* prompt/template.h - a conversation -> ids with the places of its pictures: docs/MODEL.md §3. */
#ifndef VL2_PROMPT_TEMPLATE_H
#define VL2_PROMPT_TEMPLATE_H

#include "model/config.h"
#include "prompt/tokenizer.h"

typedef struct vl2_template_span {
    size_t first_token, n_tokens; /* its run of <image> ids */
    size_t tiles_wide, tiles_high;
    size_t message, picture; /* index of the message; of the picture over the conversation */
} vl2_template_span;

typedef struct vl2_template_result {
    vl2_ids ids;
    vl2_template_span *spans; /* in order */
    size_t n_spans;
} vl2_template_result;

/* Builds the prompt. Pictures are only asked for their sizes. Errors name the message's index. */
vl2_status vl2_template_build(vl2_template_result *out, const vl2_config *config,
                              const vl2_tokenizer *tokenizer, const vl2_message *messages, size_t n,
                              const vl2_prompt_options *options, vl2_error *err);
void vl2_template_free(vl2_template_result *result);

#endif
