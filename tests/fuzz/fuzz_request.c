/* Any bytes as the body of a chat request: refused with a status, a message and nothing left behind,
 * or a chat within its limits. Nothing is fetched, no file is opened. */
#include "fuzz/fuzz.h"
#include "server/request.h"

#include <string.h>

static void demand(int holds) {
    if (!holds) __builtin_trap();
}

static void check_message(const vl2_message *message, size_t n_pictures) {
    demand(message->text && message->text[message->text_size] == '\0');
    demand(message->n_pictures <= n_pictures && message->image_at);
    demand(message->n_pictures == 0 || message->role == VL2_ROLE_USER);
    size_t behind = 0;
    for (size_t i = 0; i < message->n_pictures; i++) {
        size_t at = message->image_at[i];
        demand(at >= behind && at + 8 <= message->text_size && message->pictures[i]);
        demand(memcmp(message->text + at, "<image>\n", 8) == 0);
        behind = at + 8;
    }
}

static void check(const vl2_chat *chat, const vl2_request_limits *limits) {
    size_t pictures = 0, bytes = 0;
    demand(chat->n_messages >= 1 && chat->n_pictures <= limits->max_images);
    for (size_t i = 0; i < chat->n_messages; i++) {
        check_message(&chat->messages[i], chat->n_pictures);
        pictures += chat->messages[i].n_pictures;
    }
    for (size_t i = 0; i < chat->n_pictures; i++)
        bytes += 3 * vl2_picture_width(chat->pictures[i]) * vl2_picture_height(chat->pictures[i]);
    demand(pictures == chat->n_pictures && bytes == chat->picture_bytes);
    demand(bytes == limits->pictures->used && bytes <= limits->pictures->max);
    demand(chat->n >= 1 && chat->n <= VL2_JOB_MAX_CHOICES && chat->max_tokens >= 1);
    demand(chat->top_logprobs <= VL2_JOB_MAX_TOP && (chat->logprobs || !chat->top_logprobs));
    demand(chat->sampling.temperature >= 0 && chat->sampling.temperature <= 2);
    demand(chat->sampling.repetition_penalty > 0 && chat->sampling.top_k >= 0);
    for (size_t i = 0; i < chat->n_stop; i++) demand(chat->stop[i] && *chat->stop[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vl2_budget pictures = {.max = 1 << 20};
    vl2_request_limits limits = {
        .max_images = 4, .max_tokens = 64, .pictures = &pictures, .model_name = "model"};
    vl2_sampling_init(&limits.sampling);
    vl2_picture_options_init(&limits.picture);
    limits.picture.max_pixels = 1 << 18;
    vl2_chat chat;
    vl2_request_error why;
    if (vl2_request_parse(&chat, (const char *)data, size, &limits, &why) == VL2_OK) {
        check(&chat, &limits);
        vl2_chat_free(&chat);
    } else {
        demand(why.http_status >= 400 && why.http_status < 600);
        demand(why.error.status != VL2_OK && why.error.text[0]);
    }
    demand(pictures.used == 0); /* everything was given back */
    return 0;
}
