#include "engine/answer.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

enum { TEXT_BYTES_PER_ID = 16 }; /* room taken ahead; longer texts grow it */

vl2_status vl2_answer_create(vl2_answer **out, size_t max_ids, vl2_error *err) {
    size_t text_bytes;
    if (!vl2_mul(&text_bytes, max_ids, TEXT_BYTES_PER_ID)) {
        return vl2_fail(err, VL2_ERR_LIMIT, "an answer of %zu tokens is too long", max_ids);
    }
    vl2_answer *answer = vl2_mem_calloc(1, sizeof *answer);
    if (!answer) return vl2_fail_memory(err, "an answer", sizeof *answer);
    answer->room = max_ids;
    answer->ids = vl2_mem_array(max_ids, sizeof *answer->ids);
    vl2_status status = answer->ids
                            ? vl2_buf_reserve(&answer->text, text_bytes, err)
                            : vl2_fail_memory(err, "an answer", max_ids * sizeof *answer->ids);
    if (status != VL2_OK) {
        vl2_answer_free(answer);
        return status;
    }
    *out = answer;
    return VL2_OK;
}

void vl2_answer_free(vl2_answer *answer) {
    if (!answer) return;
    vl2_buf_free(&answer->text);
    vl2_mem_free(answer->ids);
    vl2_mem_free(answer->boxes);
    vl2_mem_free(answer);
}

vl2_status vl2_answer_strip(vl2_answer *answer, vl2_error *err) {
    VL2_TRY(vl2_buf_reserve(&answer->text, 0, err));
    const char *text = answer->text.data;
    size_t size = answer->text.size;
    vl2_utf8_strip(&text, &size);
    memmove(answer->text.data, text, size);
    answer->text.data[size] = '\0';
    answer->text.size = size;
    return VL2_OK;
}

vl2_status vl2_answer_find_boxes(vl2_answer *answer, const vl2_engine *engine,
                                 const vl2_prompt *prompt, vl2_error *err) {
    size_t n_spans, size;
    const vl2_span *spans = vl2_prompt_spans(prompt, &n_spans);
    if (!n_spans) return VL2_OK;
    const vl2_picture *last = spans[n_spans - 1].picture;
    char *text;
    VL2_TRY(vl2_detokenize(&text, &size, engine, answer->ids, answer->n_ids, false, err));
    vl2_status status = vl2_boxes_parse(&answer->boxes, &answer->n_boxes, text, size, n_spans - 1,
                                        vl2_picture_width(last), vl2_picture_height(last), err);
    vl2_free(text);
    return status;
}

const char *vl2_answer_text(const vl2_answer *answer) { return answer->text.data; }

const int32_t *vl2_answer_ids(const vl2_answer *answer, size_t *n) {
    *n = answer->n_ids;
    return answer->ids;
}

vl2_finish vl2_answer_finish(const vl2_answer *answer) { return answer->finish; }

const vl2_box *vl2_answer_boxes(const vl2_answer *answer, size_t *n) {
    *n = answer->n_boxes;
    return answer->boxes;
}

vl2_usage vl2_answer_usage(const vl2_answer *answer) { return answer->usage; }

vl2_timings vl2_answer_timings(const vl2_answer *answer) { return answer->timings; }
