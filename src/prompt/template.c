#include "prompt/template.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "model/resolution.h"

#include <string.h>

enum {
    MAX_MESSAGES = 1 << 16,
    MAX_PICTURES = 1 << 16,
    MAX_CROPPED = 2 /* pictures of a whole conversation that are still cut into tiles */
};

typedef struct builder {
    vl2_template_result *out;
    const vl2_config *config;
    const vl2_tokenizer *tokenizer;
    const vl2_message *messages;
    size_t n_messages;
    const vl2_prompt_options *options;
    size_t n_pictures; /* of the conversation */
    size_t of, left;   /* the next picture: message, and how many of that are taken */
    size_t message;    /* the one in work */
    const char *tag;   /* the image token's name */
    size_t tag_size;
    vl2_buf text, scratch; /* the user turn in work */
    vl2_error *err;
} builder;

/* ---- texts --------------------------------------------------------------------------------------- */

/* The next tag in text[from…size), or size. */
static size_t find_tag(const builder *b, const char *text, size_t size, size_t from) {
    for (size_t at = from; at + b->tag_size <= size; at++) {
        const char *first = memchr(text + at, b->tag[0], size - b->tag_size - at + 1);
        if (!first) break;
        at = (size_t)(first - text);
        if (memcmp(first, b->tag, b->tag_size) == 0) return at;
    }
    return size;
}

static size_t count_tags(const builder *b, const char *text, size_t size) {
    size_t n = 0;
    for (size_t at = 0; (at = find_tag(b, text, size, at)) < size; at += b->tag_size) n++;
    return n;
}

/* Offsets that a message gives must be those of tags. */
static vl2_status check_offsets(const builder *b, const vl2_message *message) {
    size_t done = 0;
    for (size_t i = 0; i < message->n_pictures; i++) {
        size_t at = message->image_at[i];
        if (at < done || at > message->text_size || message->text_size - at < b->tag_size ||
            memcmp(message->text + at, b->tag, b->tag_size) != 0) {
            return vl2_fail(
                b->err, VL2_ERR_ARGUMENT,
                "message %zu: image_at[%zu] is %zu, where its text has no %.*s of its own",
                b->message, i, at, (int)b->tag_size, b->tag);
        }
        done = at + b->tag_size;
    }
    return VL2_OK;
}

static vl2_status check_utf8(const builder *b, const vl2_message *message) {
    size_t valid = vl2_utf8_valid(message->text, message->text_size);
    if (valid == message->text_size) return VL2_OK;
    return vl2_fail(b->err, VL2_ERR_ARGUMENT,
                    "message %zu: the text is not UTF-8: byte 0x%02x at offset %zu", b->message,
                    (uint8_t)message->text[valid], valid);
}

/* More pictures than tags: the missing tags go in front, one a line; fewer, but some: the first
 * surplus tags go. docs/MODEL.md §8. */
static vl2_status mend_tags(builder *b, const char **text, size_t *size, size_t n_pictures) {
    if (!b->options->add_image_tags || n_pictures == 0) return VL2_OK;
    size_t n_tags = count_tags(b, *text, *size);
    if (n_tags == n_pictures) return VL2_OK;
    vl2_buf_clear(&b->scratch);
    for (size_t i = n_tags; i < n_pictures; i++) {
        VL2_TRY(vl2_buf_add(&b->scratch, b->tag, b->tag_size, b->err));
        VL2_TRY(vl2_buf_add(&b->scratch, "\n", 1, b->err));
    }
    size_t done = 0;
    for (size_t i = n_pictures; i < n_tags; i++) {
        size_t at = find_tag(b, *text, *size, done);
        VL2_TRY(vl2_buf_add(&b->scratch, *text + done, at - done, b->err));
        done = at + b->tag_size;
    }
    VL2_TRY(vl2_buf_add(&b->scratch, *text + done, *size - done, b->err));
    *text = b->scratch.data;
    *size = b->scratch.size;
    return VL2_OK;
}

/* ---- pictures ------------------------------------------------------------------------------------ */

/* Pictures are one list over the conversation: a turn takes as many as it has tags. */
static const vl2_picture *next_picture(builder *b) {
    while (b->of < b->n_messages && b->left == b->messages[b->of].n_pictures) {
        b->of++;
        b->left = 0;
    }
    return b->of < b->n_messages ? b->messages[b->of].pictures[b->left++] : NULL;
}

static vl2_status add_picture(builder *b, size_t n_tags) {
    const vl2_picture *picture = next_picture(b);
    if (!picture) {
        return vl2_fail(b->err, VL2_ERR_ARGUMENT,
                        "message %zu: %.*s tags in its text: %zu, pictures with it: %zu; they must "
                        "match",
                        b->message, (int)b->tag_size, b->tag, n_tags,
                        b->messages[b->message].n_pictures);
    }
    vl2_template_span *span = &b->out->spans[b->out->n_spans];
    *span = (vl2_template_span){
        .first_token = b->out->ids.size, .message = b->message, .picture = b->out->n_spans};
    vl2_resolution_choose(&span->tiles_wide, &span->tiles_high, &b->config->image,
                          vl2_picture_width(picture), vl2_picture_height(picture),
                          b->n_pictures <= MAX_CROPPED);
    span->n_tokens = vl2_config_image_tokens(b->config, span->tiles_wide, span->tiles_high);
    b->out->n_spans++;
    int32_t image = vl2_tokenizer_special(b->tokenizer)->image;
    for (size_t i = 0; i < span->n_tokens; i++) {
        VL2_TRY(vl2_ids_add(&b->out->ids, image, b->err));
    }
    return VL2_OK;
}

/* All pictures must have been taken: names the first message whose counts differ. */
static vl2_status check_surplus(builder *b) {
    if (b->out->n_spans == b->n_pictures) return VL2_OK;
    for (size_t i = 0, span = 0; i < b->n_messages; i++) {
        size_t n_tags = 0;
        for (; span < b->out->n_spans && b->out->spans[span].message == i; span++) n_tags++;
        if (n_tags == b->messages[i].n_pictures) continue;
        return vl2_fail(b->err, VL2_ERR_ARGUMENT,
                        "message %zu: %.*s tags in its text: %zu, pictures with it: %zu; they must "
                        "match",
                        i, (int)b->tag_size, b->tag, n_tags, b->messages[i].n_pictures);
    }
    return VL2_OK;
}

/* ---- turns --------------------------------------------------------------------------------------- */

static vl2_status add_text(builder *b, const char *text, size_t size) {
    int mode = b->options->plain_control ? VL2_ENCODE_NO_ROLES : VL2_ENCODE_ALL;
    if (b->messages[b->message].image_at) mode |= VL2_ENCODE_NO_IMAGE;
    return vl2_tokenizer_encode(&b->out->ids, b->tokenizer, text, size, (vl2_encode_mode)mode,
                                b->err);
}

/* b->text: ": content\n\n", or ":" without content. *shift is what offsets grew by. */
static vl2_status frame_user(builder *b, const char *text, size_t size, size_t *shift) {
    const vl2_message *message = &b->messages[b->message];
    if (!message->image_at) VL2_TRY(mend_tags(b, &text, &size, message->n_pictures));
    const char *whole = text;
    vl2_utf8_strip(&text, &size);
    *shift = (size_t)2 - (size_t)(text - whole); /* may wrap: at + shift does not */
    vl2_buf_clear(&b->text);
    VL2_TRY(vl2_buf_add(&b->text, ": ", size > 0 ? 2 : 1, b->err));
    VL2_TRY(vl2_buf_add(&b->text, text, size, b->err));
    return vl2_buf_add(&b->text, "\n\n", size > 0 ? 2 : 0, b->err);
}

/* "<|User|>: content\n\n<|Assistant|>:". The role tokens are put as ids, so that they hold where a
 * text's own are plain. */
static vl2_status add_user(builder *b, const char *text, size_t size) {
    const vl2_special_ids *special = vl2_tokenizer_special(b->tokenizer);
    const vl2_message *message = &b->messages[b->message];
    size_t shift, done = 0;
    VL2_TRY(vl2_ids_add(&b->out->ids, special->user, b->err));
    VL2_TRY(frame_user(b, text, size, &shift));
    text = b->text.data;
    size = b->text.size;
    size_t n_tags = message->image_at ? message->n_pictures : count_tags(b, text, size);
    for (size_t i = 0; i < n_tags; i++) {
        size_t at =
            message->image_at ? message->image_at[i] + shift : find_tag(b, text, size, done);
        VL2_TRY(add_text(b, text + done, at - done));
        VL2_TRY(add_picture(b, n_tags));
        done = at + b->tag_size;
    }
    VL2_TRY(add_text(b, text + done, size - done));
    VL2_TRY(vl2_ids_add(&b->out->ids, special->assistant, b->err));
    return add_text(b, ":", 1);
}

static vl2_status add_assistant(builder *b, const char *text, size_t size) {
    if (!b->messages[b->message].image_at && count_tags(b, text, size) > 0) {
        return vl2_fail(b->err, VL2_ERR_ARGUMENT,
                        "message %zu: %.*s in an assistant's text; only a user's may hold pictures",
                        b->message, (int)b->tag_size, b->tag);
    }
    vl2_utf8_strip(&text, &size);
    VL2_TRY(add_text(b, text, size));
    /* The last answer is the one that is to be given, or to be continued. */
    if (b->message + 1 == b->n_messages) return VL2_OK;
    return vl2_ids_add(&b->out->ids, vl2_tokenizer_special(b->tokenizer)->eos, b->err);
}

static vl2_status add_message(builder *b) {
    const vl2_message *message = &b->messages[b->message];
    const char *text = message->text ? message->text : "";
    size_t size = message->text ? message->text_size : 0;
    if (size > 0) VL2_TRY(check_utf8(b, message));
    if (message->n_pictures > 0 && message->role != VL2_ROLE_USER) {
        return vl2_fail(b->err, VL2_ERR_ARGUMENT,
                        "message %zu: %zu pictures, but only a user's message may have any",
                        b->message, message->n_pictures);
    }
    if (message->image_at) VL2_TRY(check_offsets(b, message));
    switch (message->role) {
    case VL2_ROLE_USER: return add_user(b, text, size);
    case VL2_ROLE_ASSISTANT: return add_assistant(b, text, size);
    case VL2_ROLE_SYSTEM:
        if (b->message > 0) {
            return vl2_fail(b->err, VL2_ERR_ARGUMENT,
                            "message %zu: a system message may only be the first", b->message);
        }
        vl2_utf8_strip(&text, &size);
        return add_text(b, text, size);
    }
    return vl2_fail(b->err, VL2_ERR_ARGUMENT, "message %zu: unknown role %d", b->message,
                    (int)message->role);
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static vl2_status count_pictures(builder *b) {
    if (b->n_messages == 0) return vl2_fail(b->err, VL2_ERR_ARGUMENT, "no messages");
    if (b->n_messages > MAX_MESSAGES) {
        return vl2_fail(b->err, VL2_ERR_LIMIT, "%zu messages, the limit is %d", b->n_messages,
                        MAX_MESSAGES);
    }
    for (size_t i = 0; i < b->n_messages; i++) {
        size_t n = b->messages[i].n_pictures;
        if (n > MAX_PICTURES - b->n_pictures) {
            return vl2_fail(b->err, VL2_ERR_LIMIT, "message %zu: more than %d pictures", i,
                            MAX_PICTURES);
        }
        for (size_t p = 0; p < n; p++) {
            if (b->messages[i].pictures[p]) continue;
            return vl2_fail(b->err, VL2_ERR_ARGUMENT, "message %zu: picture %zu is NULL", i, p);
        }
        b->n_pictures += n;
    }
    b->out->spans = vl2_mem_array(b->n_pictures, sizeof *b->out->spans);
    if (b->out->spans) return VL2_OK;
    return vl2_fail_memory(b->err, "the prompt", b->n_pictures * sizeof *b->out->spans);
}

/* bos and eos must be known, and the model must have an embedding for every id. */
static vl2_status check_ids(builder *b) {
    size_t vocab = b->config->lang.vocab;
    for (size_t i = 0; i < b->out->ids.size; i++) {
        int32_t id = b->out->ids.data[i];
        if (id >= 0 && (size_t)id < vocab) continue;
        return vl2_fail(b->err, VL2_ERR_FORMAT,
                        "tokenizer.json gives the id %d, but config.json: "
                        "language_config.vocab_size is %zu",
                        (int)id, vocab);
    }
    return VL2_OK;
}

static vl2_status build(builder *b) {
    const vl2_special_ids *special = vl2_tokenizer_special(b->tokenizer);
    if (special->bos < 0 || special->eos < 0) {
        return vl2_fail(b->err, VL2_ERR_FORMAT, "tokenizer_config.json names no %s",
                        special->bos < 0 ? "bos_token" : "eos_token");
    }
    VL2_TRY(count_pictures(b));
    VL2_TRY(vl2_ids_add(&b->out->ids, special->bos, b->err));
    for (; b->message < b->n_messages; b->message++) VL2_TRY(add_message(b));
    VL2_TRY(check_surplus(b));
    return check_ids(b);
}

vl2_status vl2_template_build(vl2_template_result *out, const vl2_config *config,
                              const vl2_tokenizer *tokenizer, const vl2_message *messages, size_t n,
                              const vl2_prompt_options *options, vl2_error *err) {
    const vl2_prompt_options defaults = {.struct_size = sizeof defaults};
    vl2_template_result result = {0};
    int32_t image = vl2_tokenizer_special(tokenizer)->image;
    builder b = {.out = &result,
                 .config = config,
                 .tokenizer = tokenizer,
                 .messages = messages,
                 .n_messages = n,
                 .options = options ? options : &defaults,
                 .err = err};
    b.tag = vl2_tokenizer_piece(tokenizer, image, &b.tag_size);
    vl2_status status = build(&b);
    vl2_buf_free(&b.text);
    vl2_buf_free(&b.scratch);
    if (status != VL2_OK) {
        vl2_template_free(&result);
        return status;
    }
    *out = result;
    return VL2_OK;
}

void vl2_template_free(vl2_template_result *result) {
    vl2_ids_free(&result->ids);
    vl2_mem_free(result->spans);
    *result = (vl2_template_result){0};
}
