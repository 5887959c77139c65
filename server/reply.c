#include "server/reply.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <math.h>
#include <string.h>

vl2_status vl2_reply_error(vl2_buf *out, const char *type, const char *param, const char *message,
                           vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "{\"error\":{\"message\":"));
    VL2_TRY(vl2_json_quote(out, message, strlen(message), err));
    VL2_TRY(vl2_buf_addf(out, err, ",\"type\":\"%s\",\"param\":", type));
    if (param && *param)
        VL2_TRY(vl2_json_quote(out, param, strlen(param), err));
    else
        VL2_TRY(vl2_buf_add(out, "null", 4, err));
    return vl2_buf_addf(out, err, ",\"code\":null}}");
}

/* ---- boxes ---- */

static vl2_status add_box(vl2_buf *out, const vl2_box *box) {
    VL2_TRY(vl2_buf_addf(out, NULL, "{\"label\":"));
    VL2_TRY(vl2_json_quote(out, box->label, strlen(box->label), NULL));
    return vl2_buf_addf(out, NULL,
                        ",\"image\":%zu,\"box\":[%d,%d,%d,%d],\"box_999\":[%d,%d,%d,%d]}",
                        box->image, box->box[0], box->box[1], box->box[2], box->box[3],
                        box->box_999[0], box->box_999[1], box->box_999[2], box->box_999[3]);
}

/* The boxes of an answer belong to the last picture of the conversation. */
static vl2_status add_grounding(vl2_buf *out, const vl2_job *job, const vl2_lane *lane) {
    vl2_box *boxes = NULL;
    size_t n = 0;
    const vl2_buf *text = lane->raw_stream ? &lane->raw : &lane->text;
    if (job->chat.n_pictures && text->size) {
        size_t image = job->chat.n_pictures - 1;
        const vl2_picture *picture = job->chat.pictures[image];
        VL2_TRY(vl2_boxes_parse(&boxes, &n, text->data, text->size, image,
                                vl2_picture_width(picture), vl2_picture_height(picture), NULL));
    }
    vl2_status status = vl2_buf_add(out, "[", 1, NULL);
    for (size_t i = 0; i < n && status == VL2_OK; i++) {
        if (i) status = vl2_buf_add(out, ",", 1, NULL);
        if (status == VL2_OK) status = add_box(out, &boxes[i]);
    }
    vl2_free(boxes);
    return status == VL2_OK ? vl2_buf_add(out, "]", 1, NULL) : status;
}

static vl2_status add_usage(vl2_buf *out, const vl2_job *job) {
    return vl2_buf_addf(out, NULL,
                        "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
                        "\"prompt_tokens_details\":{\"cached_tokens\":%zu,\"image_tokens\":%zu}}",
                        job->prompt_tokens, job->n_tokens, job->prompt_tokens + job->n_tokens,
                        job->cached_tokens, job->prompt ? vl2_prompt_image_tokens(job->prompt) : 0);
}

/* ---- logprobs ---- */

static vl2_status add_token(vl2_buf *out, const vl2_engine *engine, const vl2_logprob *entry,
                            vl2_error *err) {
    char *text = NULL;
    size_t size = 0;
    VL2_TRY(vl2_detokenize(&text, &size, engine, &entry->id, 1, false, err));
    vl2_status status = vl2_buf_addf(out, err, "\"token\":");
    if (status == VL2_OK) status = vl2_json_quote(out, text, size, err);
    double p =
        isfinite(entry->logprob) ? (double)entry->logprob : -9999.0; /* JSON has no infinity */
    if (status == VL2_OK)
        status =
            vl2_buf_addf(out, err, ",\"token_id\":%d,\"logprob\":%.6f,\"bytes\":[", entry->id, p);
    for (size_t i = 0; i < size && status == VL2_OK; i++)
        status = vl2_buf_addf(out, err, "%s%u", i ? "," : "", (unsigned)(unsigned char)text[i]);
    vl2_free(text);
    return status == VL2_OK ? vl2_buf_add(out, "]", 1, err) : status;
}

vl2_status vl2_reply_logprob(vl2_buf *out, const vl2_engine *engine, const vl2_logprob *chosen,
                             const vl2_logprob *top, size_t n_top, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(out, err, "%s{", out->size ? "," : ""));
    VL2_TRY(add_token(out, engine, chosen, err));
    VL2_TRY(vl2_buf_addf(out, err, ",\"top_logprobs\":["));
    for (size_t i = 0; i < n_top; i++) {
        VL2_TRY(vl2_buf_addf(out, err, "%s{", i ? "," : ""));
        VL2_TRY(add_token(out, engine, &top[i], err));
        VL2_TRY(vl2_buf_add(out, "}", 1, err));
    }
    return vl2_buf_add(out, "]}", 2, err);
}

static vl2_status add_logprobs(vl2_buf *out, const vl2_job *job, const vl2_lane *lane) {
    if (!job->chat.logprobs) return vl2_buf_addf(out, NULL, "null");
    VL2_TRY(vl2_buf_addf(out, NULL, "{\"content\":["));
    if (lane->logprobs.size)
        VL2_TRY(vl2_buf_add(out, lane->logprobs.data, lane->logprobs.size, NULL));
    return vl2_buf_addf(out, NULL, "],\"refusal\":null}");
}

/* ---- a stream ---- */

static vl2_status add_head(vl2_buf *out, const vl2_job *job, const char *model,
                           const char *object) {
    VL2_TRY(vl2_buf_addf(out, NULL, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":",
                         job->id, object, (long long)job->created));
    return vl2_json_quote(out, model, strlen(model), NULL);
}

static vl2_status chunk_head(vl2_buf *out, const vl2_job *job, const char *model, size_t lane) {
    VL2_TRY(vl2_buf_addf(out, NULL, "data: "));
    VL2_TRY(add_head(out, job, model, "chat.completion.chunk"));
    return vl2_buf_addf(out, NULL, ",\"choices\":[{\"index\":%zu,\"delta\":", lane);
}

static vl2_status chunk_tail(vl2_buf *out, const vl2_job *job) {
    /* With include_usage every chunk but the last says that its usage is null. */
    return vl2_buf_addf(out, NULL, "}]%s}\n\n", job->chat.include_usage ? ",\"usage\":null" : "");
}

static vl2_status send_and_free(vl2_job *job, vl2_buf *out, vl2_status status) {
    if (status == VL2_OK && out->size) vl2_job_send(job, out->data, out->size);
    vl2_buf_free(out);
    return status;
}

static vl2_status build_begin(vl2_buf *out, const vl2_job *job, const char *model) {
    for (size_t i = 0; i < job->chat.n; i++) {
        VL2_TRY(chunk_head(out, job, model, i));
        VL2_TRY(vl2_buf_addf(out, NULL,
                             "{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                             "\"finish_reason\":null"));
        VL2_TRY(chunk_tail(out, job));
    }
    return VL2_OK;
}

vl2_status vl2_reply_begin(vl2_job *job, const char *model) {
    vl2_buf out = {0};
    return send_and_free(job, &out, build_begin(&out, job, model));
}

/* What may be shown now: white space at the ends is held back, since the answer is stripped. */
static void visible(const vl2_lane *lane, const char **text, size_t *size) {
    const char *all = lane->text.data ? lane->text.data : "";
    *text = all;
    *size = lane->text.size;
    vl2_utf8_strip(text, size);
    size_t start = (size_t)(*text - all), end = start + *size;
    if (lane->sent > start) start = lane->sent;
    *text = all + start;
    *size = end > start ? end - start : 0;
}

static vl2_status build_text(vl2_buf *out, vl2_job *job, const char *model, size_t lane,
                             const char *text, size_t size) {
    VL2_TRY(chunk_head(out, job, model, lane));
    VL2_TRY(vl2_buf_addf(out, NULL, "{\"content\":"));
    VL2_TRY(vl2_json_quote(out, text, size, NULL));
    VL2_TRY(vl2_buf_addf(out, NULL, "},\"logprobs\":"));
    VL2_TRY(add_logprobs(out, job, &job->lanes[lane]));
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"finish_reason\":null"));
    return chunk_tail(out, job);
}

vl2_status vl2_reply_text(vl2_job *job, const char *model, size_t index) {
    vl2_lane *lane = &job->lanes[index];
    const char *text;
    size_t size;
    visible(lane, &text, &size);
    if (!size) return VL2_OK;
    vl2_buf out = {0};
    vl2_status status = build_text(&out, job, model, index, text, size);
    lane->sent = (size_t)(text - lane->text.data) + size;
    vl2_buf_clear(&lane->logprobs);
    return send_and_free(job, &out, status);
}

static vl2_status build_lane_end(vl2_buf *out, vl2_job *job, const char *model, size_t index) {
    const vl2_lane *lane = &job->lanes[index];
    VL2_TRY(chunk_head(out, job, model, index));
    VL2_TRY(vl2_buf_addf(out, NULL, "{},\"logprobs\":"));
    VL2_TRY(lane->logprobs.size ? add_logprobs(out, job, lane) : vl2_buf_addf(out, NULL, "null"));
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"finish_reason\":\"%s\",\"grounding\":", lane->finish));
    VL2_TRY(add_grounding(out, job, lane));
    return chunk_tail(out, job);
}

vl2_status vl2_reply_lane_end(vl2_job *job, const char *model, size_t index) {
    vl2_buf out = {0};
    return send_and_free(job, &out, build_lane_end(&out, job, model, index));
}

static vl2_status build_end(vl2_buf *out, const vl2_job *job, const char *model) {
    if (job->chat.include_usage) {
        VL2_TRY(vl2_buf_addf(out, NULL, "data: "));
        VL2_TRY(add_head(out, job, model, "chat.completion.chunk"));
        VL2_TRY(vl2_buf_addf(out, NULL, ",\"choices\":[],\"usage\":"));
        VL2_TRY(add_usage(out, job));
        VL2_TRY(vl2_buf_addf(out, NULL, "}\n\n"));
    }
    return vl2_buf_addf(out, NULL, "data: [DONE]\n\n");
}

vl2_status vl2_reply_end(vl2_job *job, const char *model) {
    vl2_buf out = {0};
    return send_and_free(job, &out, build_end(&out, job, model));
}

/* ---- the whole answer ---- */

static vl2_status add_choice(vl2_buf *out, const vl2_job *job, size_t index) {
    const vl2_lane *lane = &job->lanes[index];
    const char *text = lane->text.data ? lane->text.data : "";
    size_t size = lane->text.size;
    vl2_utf8_strip(&text, &size);
    VL2_TRY(vl2_buf_addf(out, NULL,
                         "%s{\"index\":%zu,\"message\":{\"role\":\"assistant\",\"content\":",
                         index ? "," : "", index));
    VL2_TRY(vl2_json_quote(out, text, size, NULL));
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"refusal\":null},\"logprobs\":"));
    VL2_TRY(add_logprobs(out, job, lane));
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"finish_reason\":\"%s\",\"grounding\":", lane->finish));
    VL2_TRY(add_grounding(out, job, lane));
    return vl2_buf_add(out, "}", 1, NULL);
}

static vl2_status build_whole(vl2_buf *out, const vl2_job *job, const char *model) {
    VL2_TRY(add_head(out, job, model, "chat.completion"));
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"choices\":["));
    for (size_t i = 0; i < job->n_lanes; i++) VL2_TRY(add_choice(out, job, i));
    VL2_TRY(vl2_buf_addf(out, NULL, "],\"usage\":"));
    VL2_TRY(add_usage(out, job));
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"grounding\":"));
    VL2_TRY(add_grounding(out, job, &job->lanes[0]));
    return vl2_buf_addf(out, NULL, "}");
}

vl2_status vl2_reply_whole(vl2_job *job, const char *model) {
    vl2_buf out = {0};
    return send_and_free(job, &out, build_whole(&out, job, model));
}
