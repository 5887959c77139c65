/* vl2_generate: the reference's greedy ids, stops, lengths, cancelling, a full context, boxes. */
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/support.h"

#include <stdlib.h>
#include <string.h>

typedef struct watcher { /* what the callbacks saw, and when they end it */
    char text[4096];
    size_t size;
    int texts, polls, end_at_text, end_at_poll;
    size_t vision, prefill, decode; /* greatest `done` */
} watcher;

static int on_text(void *user, const char *text, size_t size) {
    watcher *w = user;
    assert_true(w->size + size < sizeof w->text);
    memcpy(w->text + w->size, text, size);
    w->size += size;
    w->text[w->size] = 0;
    return ++w->texts == w->end_at_text;
}

static int on_poll(void *user) {
    watcher *w = user;
    return ++w->polls == w->end_at_poll;
}

static void on_progress(void *user, const char *stage, size_t done, size_t total) {
    watcher *w = user;
    assert_true(done <= total);
    size_t *most = strcmp(stage, "vision") == 0    ? &w->vision
                   : strcmp(stage, "prefill") == 0 ? &w->prefill
                                                   : &w->decode;
    if (done > *most) *most = done;
}

static vl2_generate_options watched(watcher *w) {
    vl2_generate_options options;
    vl2_generate_options_init(&options);
    options.max_tokens = 24;
    options.on_text = on_text;
    options.poll = on_poll;
    options.progress = on_progress;
    options.user = w;
    return options;
}

static vl2_answer *answer_of(vl2_engine *engine, vl2_prompt *prompt,
                             const vl2_generate_options *options) {
    vl2_error err = {0};
    vl2_answer *answer;
    must(err, vl2_generate(&answer, engine, prompt, options, &err));
    return answer;
}

static void test_greedy_ids(void **state) {
    (void)state;
    static golden_case cases[MAX_CASES];
    size_t n_cases = find_goldens(cases, MAX_CASES, VL2_TEST_GOLDEN);
    assert_true(n_cases > 0);
    for (size_t i = 0; i < n_cases; i++) {
        vl2_engine *engine = open_engine(cases[i].model, VL2_COMPUTE_F32, 2, NULL);
        vl2_prompt *prompt = open_prompt(engine, cases[i].conversation);
        int32_t wanted[64];
        size_t n_wanted = golden_ids(wanted, 64, &cases[i]), n, n_prompt;
        watcher w = {0};
        vl2_generate_options options = watched(&w);
        options.max_tokens = n_wanted;
        vl2_answer *answer = answer_of(engine, prompt, &options);
        const int32_t *ids = vl2_answer_ids(answer, &n);
        bool ended = vl2_is_eos(engine, wanted[n_wanted - 1]);
        assert_int_equal(n, n_wanted - ended);
        assert_memory_equal(ids, wanted, n * sizeof *ids);
        assert_int_equal(vl2_answer_finish(answer), ended ? VL2_FINISH_STOP : VL2_FINISH_LENGTH);
        vl2_usage usage = vl2_answer_usage(answer);
        vl2_prompt_ids(prompt, &n_prompt);
        assert_int_equal(usage.prompt_tokens, n_prompt);
        assert_int_equal(usage.image_tokens, vl2_prompt_image_tokens(prompt));
        assert_int_equal(usage.completion_tokens, n_wanted);
        assert_string_equal(w.text, vl2_answer_text(answer)); /* streamed = whole */
        assert_int_equal(w.prefill, n_prompt);
        vl2_answer_free(answer);
        vl2_prompt_free(prompt);
        vl2_engine_close(engine);
    }
}

typedef struct fixture {
    vl2_engine *engine;
    vl2_prompt *prompt;
} fixture;

static fixture open_fixture(const char *name) {
    golden_case c = golden_named(name);
    fixture f = {.engine = open_engine(c.model, VL2_COMPUTE_F32, 2, NULL)};
    f.prompt = open_prompt(f.engine, c.conversation);
    return f;
}

static void close_fixture(fixture *f) {
    vl2_prompt_free(f->prompt);
    vl2_engine_close(f->engine);
}

/* Every piece of three bytes of the whole answer, as a stop text: what stays is what stood before. */
static void test_stop_texts(void **state) {
    (void)state;
    fixture f = open_fixture("mini-tiny/two_images_grounding");
    watcher w = {0};
    vl2_generate_options options = watched(&w);
    vl2_answer *whole = answer_of(f.engine, f.prompt, &options);
    const char *text = vl2_answer_text(whole);
    size_t checked = 0;
    for (size_t i = 1; text[i] && text[i + 1] && text[i + 2]; i++) {
        char stop[4] = {text[i], text[i + 1], text[i + 2], 0}, expected[4096];
        if ((text[i] & 0x80) || (text[i + 1] & 0x80) || (text[i + 2] & 0x80)) continue;
        const char *stops[] = {"never said", stop};
        size_t before = (size_t)(strstr(text, stop) - text);
        memset(&w, 0, sizeof w);
        options.stop = stops;
        options.n_stop = 2;
        vl2_answer *answer = answer_of(f.engine, f.prompt, &options);
        assert_int_equal(vl2_answer_finish(answer), VL2_FINISH_STOP);
        snprintf(expected, sizeof expected, "%.*s", (int)before, text);
        for (size_t n = strlen(expected); n && strchr(" \n\t", expected[n - 1]);) expected[--n] = 0;
        assert_string_equal(vl2_answer_text(answer), expected);
        assert_string_equal(w.text, expected);
        vl2_answer_free(answer);
        checked++;
    }
    assert_true(checked > 5);
    vl2_answer_free(whole);
    close_fixture(&f);
}

/* Cancelled at the 1st, 2nd, … poll until it is no more: pictures, prefill and decoding. What was
 * streamed is kept, and the next answer is whole again. */
static void test_cancel_anywhere(void **state) {
    (void)state;
    golden_case c = golden_named("mini-base/one_image");
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_F32, 2, NULL);
    bool in_vision = false, in_prefill = false, in_decode = false, ended = false;
    size_t free_before = vl2_kv_tokens_free(engine);
    for (int at = 1; !ended; at++) {
        vl2_prompt *prompt = open_prompt(engine, c.conversation);
        watcher w = {.end_at_poll = at};
        vl2_generate_options options = watched(&w);
        options.max_tokens = 6;
        options.chunk_tokens = 16;
        vl2_answer *answer = answer_of(engine, prompt, &options);
        ended = vl2_answer_finish(answer) != VL2_FINISH_CANCELLED;
        size_t n, n_prompt;
        vl2_answer_ids(answer, &n);
        vl2_prompt_ids(prompt, &n_prompt);
        if (!ended && w.prefill == 0 && w.vision < 3) in_vision = true;
        if (!ended && w.prefill > 0 && w.prefill < n_prompt) in_prefill = true;
        if (!ended && n > 0) in_decode = true;
        assert_string_equal(w.text, vl2_answer_text(answer));
        assert_int_equal(vl2_kv_tokens_free(engine), free_before);
        vl2_answer_free(answer);
        vl2_prompt_free(prompt);
        assert_true(at < 1000);
    }
    assert_true(in_vision && in_prefill && in_decode);
    vl2_engine_close(engine);
}

/* Cancelled between the blocks of a view; the same prompt goes on with that view, to the same ids. */
static void test_cancel_within_a_view(void **state) {
    (void)state;
    golden_case c = golden_named("mini-base/one_image");
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_F32, 2, NULL);
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    size_t n_expected, n;
    watcher first = {0};
    vl2_generate_options options = watched(&first);
    vl2_answer *whole = answer_of(engine, prompt, &options);
    const int32_t *expected = vl2_answer_ids(whole, &n_expected);
    vl2_prompt *again = open_prompt(engine, c.conversation);
    size_t layers = engine->config.vision.layers;
    assert_true(layers > 1);
    for (size_t at = 1; at <= layers; at++) { /* each time one block further into the first view */
        watcher w = {.end_at_poll = (int)at};
        options = watched(&w);
        vl2_answer *cut = answer_of(engine, again, &options);
        assert_int_equal(vl2_answer_finish(cut), VL2_FINISH_CANCELLED);
        assert_int_equal(w.vision, 0);
        vl2_answer_free(cut);
    }
    watcher last = {0};
    options = watched(&last);
    vl2_answer *resumed = answer_of(engine, again, &options);
    assert_int_equal(last.vision, first.vision);
    const int32_t *ids = vl2_answer_ids(resumed, &n);
    assert_int_equal(n, n_expected);
    assert_memory_equal(ids, expected, n * sizeof *ids);
    vl2_answer_free(resumed);
    vl2_answer_free(whole);
    vl2_prompt_free(again);
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

static void test_cancel_by_text(void **state) {
    (void)state;
    fixture f = open_fixture("mini-tiny/text");
    watcher w = {.end_at_text = 2};
    vl2_generate_options options = watched(&w);
    vl2_answer *answer = answer_of(f.engine, f.prompt, &options);
    assert_int_equal(vl2_answer_finish(answer), VL2_FINISH_CANCELLED);
    assert_int_equal(w.texts, 2);
    assert_true(w.size > 0);
    assert_memory_equal(w.text, vl2_answer_text(answer), w.size);
    vl2_answer_free(answer);
    close_fixture(&f);
}

static vl2_engine *small_context(const char *model, size_t ctx) {
    vl2_error err = {0};
    vl2_engine *engine;
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.ctx_tokens = ctx;
    options.threads = 1;
    must(err, vl2_engine_open(&engine, model, &options, &err));
    return engine;
}

static void test_context_full(void **state) {
    (void)state;
    golden_case c = golden_named("mini-tiny/two_images_grounding");
    vl2_engine *engine = small_context(c.model, 100);
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    vl2_error err = {0};
    vl2_answer *answer = NULL;
    size_t n, n_spans;
    vl2_prompt_ids(prompt, &n);
    const vl2_span *spans = vl2_prompt_spans(prompt, &n_spans);
    assert_int_equal(n_spans, 2);
    assert_int_equal(vl2_generate(&answer, engine, prompt, NULL, &err), VL2_ERR_CONTEXT);
    assert_null(answer);
    char wanted[256];
    snprintf(wanted, sizeof wanted,
             "the prompt is %zu tokens (text %zu, picture 1 %zu, picture 2 %zu); the context holds "
             "100:",
             n, n - spans[0].n_tokens - spans[1].n_tokens, spans[0].n_tokens, spans[1].n_tokens);
    assert_memory_equal(err.text, wanted, strlen(wanted));
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

/* An answer that the context cuts short ends with LENGTH, and holds what fitted. */
static void test_context_ends_answer(void **state) {
    (void)state;
    golden_case c = golden_named("mini-tiny/text");
    int32_t wanted[64];
    assert_true(golden_ids(wanted, 64, &c) > 8);
    for (size_t room = 0; room < 6; room += 5) {
        vl2_engine *engine = small_context(c.model, 28 + room);
        vl2_prompt *prompt = open_prompt(engine, c.conversation);
        vl2_answer *answer = answer_of(engine, prompt, NULL);
        size_t n;
        vl2_answer_ids(answer, &n);
        assert_int_equal(n, room + 1);
        assert_int_equal(vl2_answer_finish(answer), VL2_FINISH_LENGTH);
        vl2_answer_free(answer);
        vl2_prompt_free(prompt);
        vl2_engine_close(engine);
    }
}

static void test_no_tokens_asked(void **state) {
    (void)state;
    fixture f = open_fixture("mini-tiny/text");
    vl2_generate_options options;
    vl2_generate_options_init(&options);
    options.max_tokens = 0;
    vl2_answer *answer = answer_of(f.engine, f.prompt, &options);
    assert_string_equal(vl2_answer_text(answer), "");
    assert_int_equal(vl2_answer_finish(answer), VL2_FINISH_LENGTH);
    vl2_answer_free(answer);
    close_fixture(&f);
}

static void test_seeds(void **state) {
    (void)state;
    fixture f = open_fixture("mini-small/text");
    vl2_generate_options options;
    vl2_generate_options_init(&options);
    options.max_tokens = 32;
    options.sampling.temperature = 1.5f;
    vl2_answer *answers[3];
    for (size_t i = 0; i < 3; i++) {
        options.sampling.seed = 1 + i / 2;
        answers[i] = answer_of(f.engine, f.prompt, &options);
    }
    assert_string_equal(vl2_answer_text(answers[0]), vl2_answer_text(answers[1]));
    assert_string_not_equal(vl2_answer_text(answers[0]), vl2_answer_text(answers[2]));
    for (size_t i = 0; i < 3; i++) vl2_answer_free(answers[i]);
    options.sampling.repetition_penalty = 0;
    vl2_error err = {0};
    vl2_answer *none = NULL;
    assert_int_equal(vl2_generate(&none, f.engine, f.prompt, &options, &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "repetition_penalty"));
    close_fixture(&f);
}

/* A prompt with a picture far larger than its views, and a small one. */
static vl2_prompt *large_and_small(vl2_engine *engine) {
    enum { LARGE = 600, SMALL = 60 };
    static uint8_t rgb[LARGE * LARGE * 3];
    static const char text[] = "<image>\n<image>\nWhat?";
    vl2_error err = {0};
    vl2_picture *pictures[2];
    vl2_prompt *prompt;
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * i / 7);
    must(err, vl2_picture_from_rgb(&pictures[0], rgb, LARGE, LARGE, &err));
    must(err, vl2_picture_from_rgb(&pictures[1], rgb, SMALL, SMALL, &err));
    const vl2_message message = {.role = VL2_ROLE_USER,
                                 .text = text,
                                 .text_size = sizeof text - 1,
                                 .pictures = (const vl2_picture *const *)pictures,
                                 .n_pictures = 2};
    must(err, vl2_prompt_build(&prompt, engine, &message, 1, NULL, &err));
    for (size_t i = 0; i < 2; i++) vl2_picture_free(pictures[i]);
    return prompt;
}

/* Pictures far larger than their views are cut ahead, into what the encoding itself would make. */
static void test_cut_ahead(void **state) {
    (void)state;
    golden_case c = golden_named("mini-base/one_image");
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_F32, 2, NULL);
    vl2_prompt *plain = large_and_small(engine), *ahead = large_and_small(engine);
    vl2_error err = {0};
    must(err, vl2_prompt_cut(ahead, &err));
    must(err, vl2_prompt_cut(ahead, &err)); /* again: nothing is left to do */
    assert_true(ahead->tiles[0] && !ahead->tiles[1]);
    must(err, vl2_prompt_encode(plain, engine, 0, NULL, &err));
    must(err, vl2_prompt_encode(ahead, engine, 0, NULL, &err));
    assert_null(ahead->tiles[0]); /* used */
    for (size_t i = 0; i < 2; i++) {
        const vl2_rows *a = vl2_prompt_rows(plain, i), *b = vl2_prompt_rows(ahead, i);
        assert_int_equal(vl2_rows_bytes(a), vl2_rows_bytes(b));
        assert_memory_equal(a->data, b->data, a->n * a->width * sizeof *a->data);
    }
    must(err, vl2_prompt_cut(ahead, &err)); /* all is encoded */
    assert_null(ahead->tiles[0]);
    vl2_prompt_forget_rows(ahead);
    must(err, vl2_prompt_cut(ahead, &err));
    must(err, vl2_prompt_set_rows(ahead, 0, vl2_prompt_rows(plain, 0), &err));
    assert_null(ahead->tiles[0]); /* not needed */
    vl2_prompt_forget_rows(ahead);
    must(err, vl2_prompt_cut(ahead, &err)); /* freed with the prompt */
    vl2_prompt_free(plain);
    vl2_prompt_free(ahead);
    vl2_engine_close(engine);
}

/* Rows made once serve the next prompt with the same picture and tiling; others are refused. */
static void test_rows_again(void **state) {
    (void)state;
    golden_case c = golden_named("mini-base/one_image");
    golden_case three = golden_named("mini-base/three_images");
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_F32, 2, NULL);
    vl2_prompt *first = open_prompt(engine, c.conversation);
    vl2_prompt *second = open_prompt(engine, c.conversation);
    vl2_prompt *other = open_prompt(engine, three.conversation);
    vl2_error err = {0};
    size_t left = 9, n_spans;
    const vl2_span *span = vl2_prompt_spans(first, &n_spans);
    size_t n_views = 1 + span->tiles_wide * span->tiles_high;
    assert_null(vl2_prompt_rows(first, 0));
    for (size_t i = 1; i <= n_views; i++) { /* a view at a time */
        must(err, vl2_prompt_encode(first, engine, 1, &left, &err));
        assert_int_equal(left, n_views - i);
    }
    vl2_rows *rows = vl2_rows_retain(vl2_prompt_rows(first, 0));
    assert_non_null(rows);
    assert_true(vl2_rows_bytes(rows) > span->n_tokens * sizeof(float));
    vl2_prompt_free(first);
    must(err, vl2_prompt_set_rows(second, 0, rows, &err));
    must(err, vl2_prompt_encode(second, engine, 0, &left, &err));
    assert_int_equal(left, 0);
    assert_ptr_equal(vl2_prompt_rows(second, 0), rows);
    watcher w = {0};
    vl2_generate_options options = watched(&w);
    vl2_answer *answer = answer_of(engine, second, &options);
    int32_t wanted[64];
    size_t n_wanted = golden_ids(wanted, 64, &c), n;
    const int32_t *ids = vl2_answer_ids(answer, &n);
    assert_true(n + 1 >= n_wanted);
    assert_memory_equal(ids, wanted, n * sizeof *ids);
    assert_int_equal(w.vision, 0);
    assert_int_equal(vl2_prompt_set_rows(other, 0, rows, &err), VL2_ERR_ARGUMENT);
    assert_int_equal(vl2_prompt_set_rows(second, 1, rows, NULL), VL2_ERR_ARGUMENT);
    vl2_rows_free(rows);
    vl2_answer_free(answer);
    vl2_prompt_free(second);
    vl2_prompt_free(other);
    vl2_engine_close(engine);
}

/* Boxes of an answer are those of its ids, on the last picture of the conversation; an answer to a
 * text alone has none. */
static void test_boxes(void **state) {
    (void)state;
    static const char text[] = "<|ref|>a cat<|/ref|><|det|>[[0, 0, 999, 999], [100, 200, 300, 400]]"
                               "<|/det|>";
    fixture pictures = open_fixture("mini-tiny/two_images_grounding");
    fixture words = open_fixture("mini-tiny/text");
    vl2_error err = {0};
    int32_t *ids;
    size_t n, n_spans;
    vl2_answer *answer;
    must(err, vl2_tokenize(&ids, &n, pictures.engine, text, sizeof text - 1, &err));
    must(err, vl2_answer_create(&answer, n, &err));
    memcpy(answer->ids, ids, n * sizeof *ids);
    answer->n_ids = n;
    vl2_free(ids);
    must(err, vl2_answer_find_boxes(answer, words.engine, words.prompt, &err));
    assert_int_equal(answer->n_boxes, 0);
    must(err, vl2_answer_find_boxes(answer, pictures.engine, pictures.prompt, &err));
    const vl2_box *boxes = vl2_answer_boxes(answer, &n);
    const vl2_picture *last = vl2_prompt_spans(pictures.prompt, &n_spans)[1].picture;
    assert_int_equal(n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(boxes[i].label, "a cat");
        assert_int_equal(boxes[i].image, 1);
    }
    assert_int_equal(boxes[0].box[2], vl2_picture_width(last));
    assert_int_equal(boxes[0].box[3], vl2_picture_height(last));
    assert_int_equal(boxes[1].box_999[1], 200);
    assert_int_equal(boxes[1].box[1], 200 * vl2_picture_height(last) / 999);
    vl2_answer_free(answer);
    close_fixture(&pictures);
    close_fixture(&words);
}

static void test_wrong_calls(void **state) {
    (void)state;
    fixture f = open_fixture("mini-tiny/text");
    vl2_engine *other = open_engine(golden_named("mini-base/text").model, VL2_COMPUTE_F32, 1, NULL);
    vl2_error err = {0};
    vl2_answer *answer = NULL;
    vl2_generate_options options = {0};
    assert_int_equal(vl2_generate(&answer, other, f.prompt, NULL, &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "another engine"));
    err = (vl2_error){0};
    assert_int_equal(vl2_generate(&answer, f.engine, f.prompt, &options, &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "vl2_generate_options_init"));
    assert_null(answer);
    vl2_engine_close(other);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_ids),
        cmocka_unit_test(test_stop_texts),
        cmocka_unit_test(test_cancel_anywhere),
        cmocka_unit_test(test_cancel_within_a_view),
        cmocka_unit_test(test_cancel_by_text),
        cmocka_unit_test(test_context_full),
        cmocka_unit_test(test_context_ends_answer),
        cmocka_unit_test(test_no_tokens_asked),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_cut_ahead),
        cmocka_unit_test(test_rows_again),
        cmocka_unit_test(test_boxes),
        cmocka_unit_test(test_wrong_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
