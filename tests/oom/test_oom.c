/* Out of memory at every allocation in turn: opening, prompt, pictures, generating, a trace, steps of
 * forked sessions, boxes drawn and written; an importance matrix, a model written by it as a GGUF
 * file, and that opened. Each failure is a clean VL2_ERR_MEMORY; what is left behind, LeakSanitizer
 * finds. (The allocations of the libraries behind ours are theirs: only this program's own objects
 * are wrapped.) */
#include "engine/support.h"
#include "oom/failing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct job {
    const char *model;
    char picture[MAX_PATH_SIZE], trace[64];
} job;

static vl2_status ask(vl2_engine *engine, const vl2_picture *picture, const job *j,
                      vl2_error *err) {
    static const char text[] = "<image>\nWhat is <|ref|>it<|/ref|>?";
    vl2_prompt *prompt = NULL;
    vl2_answer *answer = NULL;
    const vl2_picture *pictures[] = {picture};
    vl2_message ask = {.role = VL2_ROLE_USER,
                       .text = text,
                       .text_size = sizeof text - 1,
                       .pictures = pictures,
                       .n_pictures = 1};
    vl2_generate_options options;
    vl2_generate_options_init(&options);
    options.max_tokens = 3;
    options.sampling.temperature = 1;
    options.sampling.repetition_penalty = 1.1f;
    options.stop = (const char *const[]){"stop", "other"};
    options.n_stop = 2;
    vl2_dev_trace_options trace;
    vl2_dev_trace_options_init(&trace);
    trace.greedy = 2;
    vl2_status status = vl2_prompt_build(&prompt, engine, &ask, 1, NULL, err);
    if (status == VL2_OK) status = vl2_generate(&answer, engine, prompt, &options, err);
    if (status == VL2_OK) status = vl2_dev_trace(j->trace, engine, prompt, &trace, err);
    vl2_answer_free(answer);
    vl2_prompt_free(prompt);
    return status;
}

/* Boxes from a text, drawn; the picture as PNG and JPEG, and read back. */
static vl2_status draw(const vl2_picture *picture, vl2_error *err) {
    static const char text[] = "<|ref|>it<|/ref|><|det|>[[10, 20, 500, 600], [1, 2, 3, 4]]<|/det|>";
    vl2_box *boxes = NULL;
    vl2_picture *drawn = NULL, *read = NULL;
    size_t n = 0, n_bytes = 0;
    void *png = NULL, *jpeg = NULL;
    vl2_status status =
        vl2_boxes_parse(&boxes, &n, text, sizeof text - 1, 0, vl2_picture_width(picture),
                        vl2_picture_height(picture), err);
    if (status == VL2_OK) status = vl2_boxes_draw(&drawn, picture, boxes, n, 0, err);
    if (status == VL2_OK) status = vl2_picture_encode(&jpeg, &n_bytes, drawn, "jpeg", err);
    if (status == VL2_OK) status = vl2_picture_encode(&png, &n_bytes, drawn, "png", err);
    if (status == VL2_OK) status = vl2_picture_decode(&read, png, n_bytes, "drawn", NULL, err);
    vl2_free(boxes);
    vl2_picture_free(drawn);
    vl2_picture_free(read);
    vl2_free(png);
    vl2_free(jpeg);
    return status;
}

/* A session, one forked from it, and a step of both. */
static vl2_status step_two(vl2_engine *engine, vl2_error *err) {
    vl2_session *sessions[2] = {NULL, NULL};
    vl2_batch *batch = NULL;
    const int32_t ids[] = {5, 6, 7};
    vl2_status status = vl2_batch_create(&batch, engine, 4, 2, err);
    if (status == VL2_OK) status = vl2_session_create(&sessions[0], engine, err);
    if (status == VL2_OK) status = vl2_dev_feed_ids(sessions[0], ids, 3, err);
    vl2_step steps[] = {{.session = sessions[0], .n_tokens = 3}};
    if (status == VL2_OK) status = vl2_batch_step(batch, steps, 1, err);
    if (status == VL2_OK) status = vl2_session_fork(&sessions[1], sessions[0], 2, err);
    for (size_t i = 0; i < 2 && status == VL2_OK; i++) {
        status = vl2_session_feed_token(sessions[i], 9, err);
    }
    vl2_step both[] = {{.session = sessions[0], .n_tokens = 1},
                       {.session = sessions[1], .n_tokens = 1}};
    if (status == VL2_OK) status = vl2_batch_step(batch, both, 2, err);
    vl2_session_free(sessions[0]);
    vl2_session_free(sessions[1]);
    vl2_batch_free(batch);
    return status;
}

static vl2_status open_small(vl2_engine **out, const char *model, int threads, size_t ctx_tokens,
                             vl2_error *err) {
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.threads = threads;
    options.ctx_tokens = ctx_tokens;
    options.vision = VL2_VISION_INT8; /* one allocation more */
    return vl2_engine_open(out, model, &options, err);
}

static vl2_status run(const job *j, vl2_error *err) {
    vl2_engine *engine = NULL;
    vl2_picture *picture = NULL;
    vl2_status status = open_small(&engine, j->model, 2, 256, err);
    if (status == VL2_OK) status = vl2_picture_open(&picture, j->picture, NULL, err);
    if (status == VL2_OK) status = ask(engine, picture, j, err);
    if (status == VL2_OK) status = step_two(engine, err);
    if (status == VL2_OK) status = draw(picture, err);
    vl2_picture_free(picture);
    vl2_engine_close(engine);
    return status;
}

typedef vl2_status (*call)(const job *j, vl2_error *err);
typedef void (*check)(const job *j);

/* `action` with each allocation failing in turn; `after` looks at what a failure left. */
static void sweep(call action, const job *j, check after) {
    vl2_error err = {0};
    n_calls = 0;
    fail_at = 0;
    must(err, action(j, &err));
    size_t all = n_calls, failed = 0, n_wrong = 0;
    assert_true(all > 100);
    /* the first thousand one by one, then with growing strides: loops repeat themselves */
    for (size_t at = 1; at <= all; at += 1 + at / 1000) {
        err = (vl2_error){0};
        n_calls = 0;
        fail_at = at;
        vl2_status status = action(j, &err);
        fail_at = 0;
        if (status == VL2_OK) continue; /* an allocation that can be done without */
        failed++;
        if (status != err.status || !strstr(err.text, "memory")) {
            print_message("allocation %zu of %zu: %s; the error says %s: %s\n", at, all,
                          vl2_status_text(status), vl2_status_text(err.status), err.text);
            n_wrong++;
        }
        if (after) after(j);
    }
    assert_int_equal(n_wrong, 0);
    assert_true(failed > 100);
    err = (vl2_error){0};
    must(err, action(j, &err)); /* nothing was broken for good */
}

static void sweep_run(const char *name) {
    golden_case c = golden_named(name);
    job j = {.model = c.model, .trace = "/tmp/vl2-oom-XXXXXX"};
    snprintf(j.picture, sizeof j.picture, "%.400s/golden/img0.png", c.model);
    int fd = mkstemp(j.trace);
    assert_true(fd >= 0);
    close(fd);
    sweep(run, &j, NULL);
    unlink(j.trace);
}

static void test_mha(void **state) {
    (void)state;
    sweep_run("mini-tiny/one_image");
}

static void test_mla_run_time_tokens(void **state) {
    (void)state;
    sweep_run("mini-small/one_image");
}

/* ---- GGUF files: written, and opened --------------------------------------------------------------- */

/* An importance matrix of two tokens. */
static vl2_status calibrate(const char *target, const job *j, vl2_error *err) {
    static const int32_t ids[] = {1, 2};
    vl2_engine *engine = NULL;
    vl2_session *session = NULL;
    vl2_batch *batch = NULL;
    vl2_dev_calibration *calibration = NULL;
    vl2_status status = open_small(&engine, j->model, 1, 64, err);
    if (status == VL2_OK) status = vl2_dev_calibration_begin(&calibration, engine, err);
    if (status == VL2_OK) status = vl2_session_create(&session, engine, err);
    if (status == VL2_OK) status = vl2_batch_create(&batch, engine, 2, 1, err);
    if (status == VL2_OK) status = vl2_dev_feed_ids(session, ids, 2, err);
    if (status == VL2_OK)
        status = vl2_batch_step(batch, &(vl2_step){.session = session, .n_tokens = 2}, 1, err);
    if (status == VL2_OK) status = vl2_dev_calibration_write(calibration, target, err);
    vl2_dev_calibration_end(calibration);
    vl2_batch_free(batch);
    vl2_session_free(session);
    vl2_engine_close(engine);
    return status;
}

static vl2_status quantize(const job *j, vl2_error *err) {
    char imatrix[sizeof j->trace + 8];
    vl2_dev_quantize_options options;
    vl2_dev_quantize_options_init(&options);
    snprintf(imatrix, sizeof imatrix, "%s.im.gguf", j->trace);
    options.type = "Q4_K_M";
    options.threads = 2;
    options.imatrix = imatrix;
    vl2_status status = calibrate(imatrix, j, err);
    if (status == VL2_OK) status = vl2_dev_quantize(j->model, j->trace, &options, err);
    unlink(imatrix);
    if (status == VL2_OK) unlink(j->trace);
    return status;
}

/* The file's folder is empty: neither it nor its beginning stays. */
static void check_nothing_left(const job *j) {
    char folder[sizeof j->trace];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(j->trace, '/') - j->trace), j->trace);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static vl2_status open_file(const job *j, vl2_error *err) {
    vl2_engine *engine = NULL;
    vl2_status status = open_small(&engine, j->trace, 1, 64, err);
    vl2_engine_close(engine);
    return status;
}

static void sweep_gguf(const char *name) {
    golden_case c = golden_named(name);
    char folder[] = "/tmp/vl2-oom-XXXXXX";
    vl2_error err = {0};
    assert_non_null(mkdtemp(folder));
    job j = {.model = c.model};
    snprintf(j.trace, sizeof j.trace, "%s/m.gguf", folder);
    sweep(quantize, &j, check_nothing_left);
    must(err,
         vl2_dev_quantize(j.model, j.trace, &(vl2_dev_quantize_options){.type = "Q8_0"}, &err));
    sweep(open_file, &j, NULL);
    unlink(j.trace);
    assert_int_equal(rmdir(folder), 0);
}

static void test_gguf(void **state) {
    (void)state;
    sweep_gguf("mini-tiny/text");
    sweep_gguf("mini-small/text");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mha),
                                       cmocka_unit_test(test_mla_run_time_tokens),
                                       cmocka_unit_test(test_gguf)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
