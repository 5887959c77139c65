#include "json_out.h"

#include "base/err.h"
#include "base/json.h"

#include <math.h>
#include <string.h>

vl2_status cli_json_out_text(vl2_buf *out, const char *text, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "\"text\": "));
    return vl2_json_quote(out, text, strlen(text), err);
}

static vl2_status add_box(vl2_buf *out, const vl2_box *b, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "{\"label\": "));
    VL2_TRY(vl2_json_quote(out, b->label, strlen(b->label), err));
    return vl2_buf_addf(out, err,
                        ", \"image\": %zu, \"box\": [%d, %d, %d, %d], \"box_999\": [%d, %d, %d, "
                        "%d]}",
                        b->image, b->box[0], b->box[1], b->box[2], b->box[3], b->box_999[0],
                        b->box_999[1], b->box_999[2], b->box_999[3]);
}

vl2_status cli_json_out_grounding(vl2_buf *out, const vl2_box *boxes, size_t n, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "\"grounding\": ["));
    for (size_t i = 0; i < n; i++) {
        if (i) VL2_TRY(vl2_buf_addf(out, err, ", "));
        VL2_TRY(add_box(out, &boxes[i], err));
    }
    return vl2_buf_addf(out, err, "]");
}

vl2_status cli_json_out_usage(vl2_buf *out, vl2_usage usage, vl2_error *err) {
    return vl2_buf_addf(out, err,
                        "\"usage\": {\"prompt_tokens\": %zu, \"image_tokens\": %zu, "
                        "\"completion_tokens\": %zu}",
                        usage.prompt_tokens, usage.image_tokens, usage.completion_tokens);
}

const char *cli_json_out_finish(vl2_finish finish) {
    switch (finish) {
    case VL2_FINISH_STOP: return "stop";
    case VL2_FINISH_LENGTH: return "length";
    case VL2_FINISH_CANCELLED: return "cancelled";
    }
    return "stop";
}

static double number(double x) { return isfinite(x) ? x : 0; } /* JSON has no other numbers */

static vl2_status add_timings(vl2_buf *out, vl2_timings t, double load_ms, vl2_error *err) {
    return vl2_buf_addf(
        out, err,
        "\"timings\": {\"load_ms\": %.3f, \"image_ms\": %.3f, \"vision_ms\": %.3f, "
        "\"prefill_ms\": %.3f, \"decode_ms\": %.3f, \"prefill_tokens_per_s\": %.3f, "
        "\"decode_tokens_per_s\": %.3f}",
        number(load_ms), number(t.image_ms), number(t.vision_ms), number(t.prefill_ms),
        number(t.decode_ms), number(t.prefill_tokens_per_s), number(t.decode_tokens_per_s));
}

vl2_status cli_json_out_answer(vl2_buf *out, const vl2_answer *answer, vl2_timings timings,
                               double load_ms, vl2_error *err) {
    size_t n = 0;
    const vl2_box *boxes = vl2_answer_boxes(answer, &n);
    VL2_TRY(vl2_buf_addf(out, err, "{"));
    VL2_TRY(cli_json_out_text(out, vl2_answer_text(answer), err));
    VL2_TRY(vl2_buf_addf(out, err, ", \"finish_reason\": \"%s\", ",
                         cli_json_out_finish(vl2_answer_finish(answer))));
    VL2_TRY(cli_json_out_grounding(out, boxes, n, err));
    VL2_TRY(vl2_buf_addf(out, err, ", "));
    VL2_TRY(cli_json_out_usage(out, vl2_answer_usage(answer), err));
    VL2_TRY(vl2_buf_addf(out, err, ", "));
    VL2_TRY(add_timings(out, timings, load_ms, err));
    return vl2_buf_addf(out, err, "}");
}
