/* Several engines in one process and in threads; what opening says; options, texts, plans. */
#include "engine/support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct worker {
    pthread_t thread;
    golden_case c;
    int rounds;
    char problem[256];
} worker;

static void answer_once(worker *w) {
    vl2_error err = {0};
    vl2_engine *engine = NULL;
    vl2_prompt *prompt = NULL;
    vl2_answer *answer = NULL;
    vl2_picture *picture = NULL;
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.threads = 2;
    options.compute = VL2_COMPUTE_F32;
    vl2_generate_options generate;
    vl2_generate_options_init(&generate);
    generate.max_tokens = 8;
    char path[MAX_PATH_SIZE];
    snprintf(path, sizeof path, "%.400s/golden/img0.png", w->c.model);
    static const char text[] = "<image>\n<|ref|>The giraffe at the back.<|/ref|>.";
    if (vl2_engine_open(&engine, w->c.model, &options, &err) == VL2_OK &&
        vl2_picture_open(&picture, path, NULL, &err) == VL2_OK) {
        const vl2_picture *pictures[] = {picture};
        vl2_message ask = {.role = VL2_ROLE_USER,
                           .text = text,
                           .text_size = sizeof text - 1,
                           .pictures = pictures,
                           .n_pictures = 1};
        if (vl2_prompt_build(&prompt, engine, &ask, 1, NULL, &err) == VL2_OK) {
            vl2_generate(&answer, engine, prompt, &generate, &err);
        }
    }
    int32_t wanted[64];
    size_t n = 0;
    golden_ids(wanted, 64, &w->c);
    const int32_t *ids = answer ? vl2_answer_ids(answer, &n) : NULL;
    if (n != 8 || memcmp(ids, wanted, 8 * sizeof *ids) != 0) {
        snprintf(w->problem, sizeof w->problem, "%.100s: other ids; %.100s", w->c.name, err.text);
    }
    vl2_answer_free(answer);
    vl2_prompt_free(prompt);
    vl2_picture_free(picture);
    vl2_engine_close(engine);
}

static void *work(void *user) {
    worker *w = user;
    for (int i = 0; i < w->rounds; i++) answer_once(w);
    return NULL;
}

static void test_engines_in_threads(void **state) {
    (void)state;
    static const char *const names[] = {"mini-tiny/one_image", "mini-small/one_image",
                                        "mini-base/one_image", "mini-tiny/one_image"};
    worker workers[4];
    for (size_t i = 0; i < 4; i++) {
        workers[i] = (worker){.c = golden_named(names[i]), .rounds = 3};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) pthread_join(workers[i].thread, NULL);
    for (size_t i = 0; i < 4; i++) assert_string_equal(workers[i].problem, "");
}

typedef struct watcher {
    size_t lines, loading;
    char all[2048];
} watcher;

static void on_log(void *user, const char *line) {
    watcher *w = user;
    w->lines++;
    strncat(w->all, line, sizeof w->all - strlen(w->all) - 1);
}

static void on_progress(void *user, const char *stage, size_t done, size_t total) {
    watcher *w = user;
    assert_string_equal(stage, "loading");
    assert_true(done >= w->loading && done <= total);
    w->loading = done;
}

static void test_info(void **state) {
    (void)state;
    golden_case c = golden_named("mini-small/text");
    char path[MAX_PATH_SIZE + 2];
    snprintf(path, sizeof path, "%s//", c.model);
    vl2_error err = {0};
    vl2_engine *engine;
    watcher w = {0};
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.threads = 2;
    options.compute = VL2_COMPUTE_F32;
    options.ctx_tokens = 5000;
    options.log = on_log;
    options.progress = on_progress;
    options.log_user = options.progress_user = &w;
    must(err, vl2_engine_open(&engine, path, &options, &err));
    const vl2_info *info = vl2_engine_info(engine);
    assert_string_equal(info->name, "mini-small");
    assert_string_equal(info->architecture, "deepseek_vl_v2");
    assert_string_equal(info->compute, "f32");
    assert_int_equal(info->threads, 2);
    assert_int_equal(info->ctx_tokens, 5000);
    assert_int_equal(info->kv_tokens, 5000);
    assert_int_equal(info->max_positions, 4096);
    assert_int_equal(info->vocab_size, 576);
    assert_int_equal(info->hidden_size, 64);
    assert_int_equal(info->view_side, 70);
    assert_int_equal(info->tokens_per_view, 9);
    assert_int_equal(info->max_views, 10);
    assert_true(info->parameters > info->activated_parameters);
    assert_int_equal(info->weight_bytes, w.loading);
    assert_false(info->is_demo);
    assert_non_null(strstr(w.all, "mini-small"));
    assert_non_null(strstr(w.all, "warning: a context of 5000 tokens"));
    vl2_dev_memory memory = vl2_dev_memory_of(engine, 512);
    assert_int_equal(memory.weights_mapped, info->weight_bytes);
    assert_true(memory.kv_pool >= info->kv_bytes_per_token * info->kv_tokens);
    assert_true(memory.step_scratch > 512 * 64 * sizeof(float) && memory.vision_scratch > 0);
    assert_true(vl2_dev_work_of(engine).token_flops > 0);
    vl2_engine_close(engine);
}

/* A tower in bytes takes memory of its own, which is in the plan. */
static void test_int8(void **state) {
    (void)state;
    golden_case c = golden_named("mini-small/text");
    vl2_error err = {0};
    vl2_engine *plain = open_engine(c.model, VL2_COMPUTE_AUTO, 1, NULL), *bytes;
    watcher w = {0};
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.vision = VL2_VISION_INT8;
    options.log = on_log;
    options.log_user = &w;
    must(err, vl2_engine_open(&bytes, c.model, &options, &err));
    const uint64_t before = vl2_dev_memory_of(plain, 512).weights_copied;
    const uint64_t after = vl2_dev_memory_of(bytes, 512).weights_copied;
    assert_true(after > before + 10000 && after < before + 1000000);
    assert_string_equal(vl2_dev_work_of(bytes).vision_product, "int8");
    assert_string_not_equal(vl2_dev_work_of(plain).vision_product, "int8");
    assert_non_null(strstr(w.all, "vision tower in int8"));
    vl2_engine_close(plain);
    vl2_engine_close(bytes);
}

/* The demo checkpoint is known by its mark in config.json, or by its place. */
static void test_demo_mark(void **state) {
    (void)state;
    golden_case c = golden_named("mini-tiny/text");
    char folder[] = "/tmp/vl2-demo-XXXXXX", path[MAX_PATH_SIZE], command[4 * MAX_PATH_SIZE];
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command,
             "mkdir -p %s/models/demo && cp %s/*.json %s/*.safetensors %s/models/demo/ && "
             "cp -r %s/models/demo %s/marked && "
             "sed -i '1s/{/{\"vl2_demo\": true,/' %s/marked/config.json",
             folder, c.model, c.model, folder, folder, folder, folder);
    assert_int_equal(system(command), 0);
    static const char *const places[] = {"models/demo", "models/demo/", "marked"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, places[i]);
        vl2_engine *engine = open_engine(path, VL2_COMPUTE_F32, 1, NULL);
        assert_true(vl2_engine_info(engine)->is_demo);
        vl2_engine_close(engine);
    }
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void refuses(const char *path, const vl2_engine_options *options, vl2_status status,
                    const char *words) {
    vl2_error err = {0};
    vl2_engine *engine = NULL;
    assert_int_equal(vl2_engine_open(&engine, path, options, &err), status);
    assert_null(engine);
    assert_int_equal(err.status, status);
    if (!strstr(err.text, words)) fail_msg("\"%s\" says nothing of \"%s\"", err.text, words);
}

static void test_refusals(void **state) {
    (void)state;
    golden_case c = golden_named("mini-tiny/text");
    vl2_engine_options options;
    refuses("", NULL, VL2_ERR_ARGUMENT, "path is empty");
    refuses("/nowhere", NULL, VL2_ERR_IO, "/nowhere: no such folder");
    refuses(c.trace, NULL, VL2_ERR_IO, "is a file");
    refuses("/nowhere.gguf", NULL, VL2_ERR_IO, "/nowhere.gguf");
    vl2_engine_options_init(&options);
    options.threads = -1;
    refuses(c.model, &options, VL2_ERR_ARGUMENT, "threads is -1");
    vl2_engine_options_init(&options);
    options.cpu_level = "z80";
    refuses(c.model, &options, VL2_ERR_ARGUMENT, "z80");
    vl2_engine_options_init(&options);
    options.ctx_tokens = SIZE_MAX;
    refuses(c.model, &options, VL2_ERR_LIMIT, "ctx_tokens");
    vl2_engine_options_init(&options);
    options.vision = (vl2_vision)7;
    refuses(c.model, &options, VL2_ERR_ARGUMENT, "vision is 7");
    options.vision = VL2_VISION_INT8;
    options.compute = VL2_COMPUTE_F32;
    refuses(c.model, &options, VL2_ERR_ARGUMENT, "leave one out");
    options = (vl2_engine_options){0};
    refuses(c.model, &options, VL2_ERR_ARGUMENT, "vl2_engine_options_init");
}

static void test_texts(void **state) {
    (void)state;
    vl2_engine *engine =
        open_engine(golden_named("mini-small/text").model, VL2_COMPUTE_F32, 1, NULL);
    static const char text[] = "<|ref|>淡定姐<|/ref|> 12345";
    vl2_error err = {0};
    int32_t *ids, *none;
    size_t n, size;
    char *back;
    must(err, vl2_tokenize(&ids, &n, engine, text, sizeof text - 1, &err));
    must(err, vl2_detokenize(&back, &size, engine, ids, n, false, &err));
    assert_string_equal(back, text);
    assert_int_equal(size, sizeof text - 1);
    vl2_free(back);
    must(err, vl2_detokenize(&back, &size, engine, ids, n, true, &err));
    assert_string_equal(back, "淡定姐 12345");
    vl2_free(back);
    vl2_free(ids);
    must(err, vl2_tokenize(&none, &n, engine, "", 0, &err));
    assert_int_equal(n, 0);
    must(err, vl2_detokenize(&back, &size, engine, none, 0, false, &err));
    assert_string_equal(back, "");
    vl2_free(back);
    vl2_free(none);
    assert_int_equal(vl2_tokenize(&ids, &n, engine, "a\xff", 2, &err), VL2_ERR_ARGUMENT);
    vl2_engine_close(engine);
}

/* Made-up weights of a config's shapes: ids in, logits out, no texts. */
static void test_dummy(void **state) {
    (void)state;
    char path[MAX_PATH_SIZE];
    snprintf(path, sizeof path, "%.400s/config.json", golden_named("mini-small/text").model);
    vl2_error err = {0};
    vl2_engine *engine;
    vl2_session *session;
    vl2_batch *batch;
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.threads = 2;
    must(err, vl2_dev_engine_dummy(&engine, path, &options, &err));
    must(err, vl2_batch_create(&batch, engine, 8, 1, &err));
    must(err, vl2_session_create(&session, engine, &err));
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7};
    must(err, vl2_dev_feed_ids(session, ids, 7, &err));
    assert_int_equal(vl2_session_pending(session), 7);
    vl2_step step = {.session = session, .n_tokens = 7};
    must(err, vl2_batch_step(batch, &step, 1, &err));
    const float *logits = vl2_session_logits(session);
    for (size_t i = 0; i < vl2_engine_info(engine)->vocab_size; i++) {
        assert_true(logits[i] > -1e6f && logits[i] < 1e6f);
    }
    double vision, projector;
    must(err, vl2_dev_time_views(&vision, &projector, engine, 2, &err));
    assert_true(vision > 0 && projector > 0);
    int32_t *none;
    size_t n;
    assert_int_equal(vl2_tokenize(&none, &n, engine, "a", 1, &err), VL2_ERR_UNSUPPORTED);
    assert_false(vl2_is_eos(engine, 1));
    assert_int_equal(vl2_dev_engine_dummy(&engine, "huge", NULL, NULL), VL2_ERR_ARGUMENT);
    char shapes[MAX_PATH_SIZE];
    vl2_engine *wide;
    snprintf(shapes, sizeof shapes, "%.400s:F32", path);
    must(err, vl2_dev_engine_dummy(&wide, shapes, &options, &err));
    assert_true(vl2_engine_info(wide)->weight_bytes > vl2_engine_info(engine)->weight_bytes);
    vl2_engine_close(wide);
    vl2_session_free(session);
    vl2_batch_free(batch);
    vl2_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engines_in_threads),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_demo_mark),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_dummy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
