/* Steps of several sessions: everyone's bits as alone, prefixes shared, failures without a trace. */
#include "engine/support.h"

#include <stdlib.h>
#include <string.h>

enum { N_SESSIONS = 4, N_NEW = 6, MAX_VOCAB = 1024 };

static const char *const names[N_SESSIONS] = {"text", "two_images_grounding", "tall_image_mid",
                                              "multi_turn_system"};

typedef struct seen { /* the logits after prefill and after each new token, and the ids */
    float logits[N_NEW][MAX_VOCAB];
    int32_t ids[N_NEW];
} seen;

typedef struct member {
    vl2_session *session;
    vl2_prompt *prompt;
    size_t chunk;
    size_t n_new;
    seen seen;
} member;

static int32_t argmax(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return (int32_t)best;
}

static void join(member *m, vl2_engine *engine, vl2_prompt *prompt, size_t chunk) {
    vl2_error err = {0};
    memset(m, 0, sizeof *m);
    m->prompt = prompt;
    m->chunk = chunk;
    must(err, vl2_prompt_encode(prompt, engine, 0, NULL, &err));
    must(err, vl2_session_create(&m->session, engine, &err));
    must(err, vl2_session_feed_prompt(m->session, prompt, 0, &err));
}

/* After a step: remembers the logits, feeds the best id. */
static void take(member *m, size_t vocab) {
    vl2_error err = {0};
    const float *logits = vl2_session_logits(m->session);
    if (!logits || m->n_new == N_NEW) return;
    memcpy(m->seen.logits[m->n_new], logits, vocab * sizeof *logits);
    m->seen.ids[m->n_new] = argmax(logits, vocab);
    must(err, vl2_session_feed_token(m->session, m->seen.ids[m->n_new], &err));
    m->n_new++;
}

/* Steps all members together until each has its tokens; `late` members join at the fourth step. */
static void run_together(vl2_engine *engine, member *members, size_t n) {
    vl2_error err = {0};
    vl2_batch *batch;
    size_t vocab = vl2_engine_info(engine)->vocab_size;
    assert_true(vocab <= MAX_VOCAB);
    must(err, vl2_batch_create(&batch, engine, 256, N_SESSIONS, &err));
    for (size_t turn = 0;; turn++) {
        vl2_step steps[N_SESSIONS];
        size_t n_steps = 0;
        for (size_t i = 0; i < n; i++) {
            member *m = &members[i];
            if (m->n_new == N_NEW || (i == 1 && n > 1 && turn < 3)) continue;
            size_t pending = vl2_session_pending(m->session);
            steps[n_steps++] = (vl2_step){.session = m->session,
                                          .n_tokens = pending < m->chunk ? pending : m->chunk};
        }
        if (!n_steps) break;
        must(err, vl2_batch_step(batch, steps, n_steps, &err));
        for (size_t i = 0; i < n; i++) take(&members[i], vocab);
    }
    vl2_batch_free(batch);
}

static void check_company(const char *model, vl2_compute compute, const char *level) {
    char name[128];
    static member alone[N_SESSIONS], together[N_SESSIONS];
    vl2_prompt *prompts[N_SESSIONS];
    vl2_engine *engine = NULL, *one_thread = NULL;
    for (size_t i = 0; i < N_SESSIONS; i++) {
        snprintf(name, sizeof name, "%s/%s", model, names[i]);
        golden_case c = golden_named(name);
        if (!engine) {
            engine = open_engine(c.model, compute, 3, level);
            one_thread = open_engine(c.model, compute, 1, level);
        }
        vl2_prompt *mine = open_prompt(one_thread, c.conversation);
        join(&alone[i], one_thread, mine, 13);
        run_together(one_thread, &alone[i], 1);
        vl2_session_free(alone[i].session);
        vl2_prompt_free(mine);
        prompts[i] = open_prompt(engine, c.conversation);
        join(&together[i], engine, prompts[i], 13);
    }
    run_together(engine, together, N_SESSIONS);
    for (size_t i = 0; i < N_SESSIONS; i++) {
        assert_memory_equal(alone[i].seen.ids, together[i].seen.ids, sizeof alone[i].seen.ids);
        assert_memory_equal(alone[i].seen.logits, together[i].seen.logits,
                            sizeof alone[i].seen.logits);
        vl2_session_free(together[i].session);
        vl2_prompt_free(prompts[i]);
    }
    vl2_engine_close(engine);
    vl2_engine_close(one_thread);
}

static void test_company(void **state) {
    (void)state;
    for (const char *const *level = vl2_cpu_levels(); *level; level++) {
        check_company("mini-small", VL2_COMPUTE_F32, *level);
        check_company("mini-small", VL2_COMPUTE_AUTO, *level);
    }
    check_company("mini-tiny", VL2_COMPUTE_F32, NULL);
    check_company("mini-tiny", VL2_COMPUTE_AUTO, NULL);
    check_company("mini-base", VL2_COMPUTE_AUTO, NULL);
    check_company("mini-yarn", VL2_COMPUTE_AUTO, NULL); /* bfloat16 weights */
}

static void step_all(vl2_batch *batch, vl2_session *session) {
    vl2_error err = {0};
    vl2_step step = {.session = session, .n_tokens = vl2_session_pending(session)};
    must(err, vl2_batch_step(batch, &step, 1, &err));
}

static int at_third(void *user) { return ++*(int *)user == 3; }

/* Cancelled between layers, a step has moved nothing; made again, it gives the same bits. */
static void test_a_cancelled_step_moves_nothing(void **state) {
    (void)state;
    golden_case c = golden_named("mini-base/one_image");
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_AUTO, 2, NULL);
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    size_t vocab = vl2_engine_info(engine)->vocab_size, n, left;
    int polls = 0, views = 0;
    vl2_error err = {0};
    vl2_batch *batch;
    vl2_session *whole, *cut;
    vl2_prompt_ids(prompt, &n);
    vl2_prompt_set_poll(prompt, at_third, &views);
    assert_int_equal(vl2_prompt_encode(prompt, engine, 0, &left, &err), VL2_ERR_CANCELLED);
    assert_null(vl2_prompt_rows(prompt, 0));
    err = (vl2_error){0};
    must(err, vl2_prompt_encode(prompt, engine, 0, &left, &err));
    must(err, vl2_batch_create(&batch, engine, n, 1, &err));
    must(err, vl2_session_create(&whole, engine, &err));
    must(err, vl2_session_create(&cut, engine, &err));
    must(err, vl2_session_feed_prompt(whole, prompt, 0, &err));
    must(err, vl2_session_feed_prompt(cut, prompt, 0, &err));
    step_all(batch, whole);
    vl2_batch_set_poll(batch, at_third, &polls);
    vl2_step step = {.session = cut, .n_tokens = n};
    assert_int_equal(vl2_batch_step(batch, &step, 1, &err), VL2_ERR_CANCELLED);
    assert_int_equal(vl2_session_length(cut), 0);
    assert_int_equal(vl2_session_pending(cut), n);
    step_all(batch, cut);
    assert_memory_equal(vl2_session_logits(cut), vl2_session_logits(whole), vocab * sizeof(float));
    vl2_session_free(whole);
    vl2_session_free(cut);
    vl2_batch_free(batch);
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

/* Forks anywhere - in the middle of a block too - give the bits of a session that began afresh. */
static void check_fork(const char *name, size_t at) {
    golden_case c = golden_named(name);
    vl2_error err = {0};
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_F32, 2, NULL);
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    size_t vocab = vl2_engine_info(engine)->vocab_size, n;
    vl2_prompt_ids(prompt, &n);
    assert_true(at < n);
    vl2_batch *batch;
    vl2_session *trunk, *branch, *fresh;
    must(err, vl2_prompt_encode(prompt, engine, 0, NULL, &err));
    must(err, vl2_batch_create(&batch, engine, n, 2, &err));
    must(err, vl2_session_create(&trunk, engine, &err));
    must(err, vl2_session_create(&fresh, engine, &err));
    must(err, vl2_session_feed_prompt(trunk, prompt, 0, &err));
    must(err, vl2_session_feed_prompt(fresh, prompt, 0, &err));
    vl2_step first = {.session = fresh, .n_tokens = at ? at : 1};
    must(err, vl2_batch_step(batch, &first, 1, &err));
    step_all(batch, fresh);
    first.session = trunk;
    must(err, vl2_batch_step(batch, &first, 1, &err));
    size_t free_before = vl2_kv_tokens_free(engine);
    must(err, vl2_session_fork(&branch, trunk, first.n_tokens, &err));
    assert_true(vl2_kv_tokens_free(engine) + 64 >= free_before); /* at most one block copied */
    must(err, vl2_session_feed_prompt(branch, prompt, first.n_tokens, &err));
    assert_null(vl2_session_logits(branch));
    step_all(batch, trunk); /* both write behind the common beginning */
    step_all(batch, branch);
    assert_int_equal(vl2_session_length(branch), n);
    assert_memory_equal(vl2_session_logits(branch), vl2_session_logits(fresh),
                        vocab * sizeof(float));
    assert_memory_equal(vl2_session_logits(trunk), vl2_session_logits(fresh),
                        vocab * sizeof(float));
    /* back to the beginning and again */
    must(err, vl2_session_truncate(branch, first.n_tokens, &err));
    assert_null(vl2_session_logits(branch));
    must(err, vl2_session_feed_prompt(branch, prompt, first.n_tokens, &err));
    step_all(batch, branch);
    assert_memory_equal(vl2_session_logits(branch), vl2_session_logits(fresh),
                        vocab * sizeof(float));
    assert_int_equal(vl2_session_truncate(branch, n + 1, &err), VL2_ERR_ARGUMENT);
    vl2_session_free(trunk);
    vl2_session_free(branch);
    vl2_session_free(fresh);
    vl2_batch_free(batch);
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

static void test_fork(void **state) {
    (void)state;
    static const size_t at[] = {1, 63, 64, 65, 130, 238};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        check_fork("mini-tiny/multi_turn_system", at[i]);
        check_fork("mini-small/multi_turn_system", at[i]);
    }
}

/* A step that finds no room leaves every session as it was, and works once there is room. */
static void test_pool_full(void **state) {
    (void)state;
    golden_case c = golden_named("mini-tiny/text");
    vl2_error err = {0};
    vl2_engine *engine;
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.threads = 1;
    options.kv_tokens = 128;
    must(err, vl2_engine_open(&engine, c.model, &options, &err));
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    vl2_batch *batch;
    vl2_session *sessions[3];
    vl2_step steps[3];
    must(err, vl2_batch_create(&batch, engine, 256, 3, &err));
    for (size_t i = 0; i < 3; i++) {
        must(err, vl2_session_create(&sessions[i], engine, &err));
        must(err, vl2_session_feed_prompt(sessions[i], prompt, 0, &err));
        steps[i] = (vl2_step){.session = sessions[i], .n_tokens = vl2_session_pending(sessions[i])};
    }
    assert_int_equal(vl2_batch_step(batch, steps, 3, &err), VL2_ERR_KV_FULL);
    assert_int_equal(err.status, VL2_ERR_KV_FULL);
    assert_int_equal(vl2_kv_tokens_free(engine), 128);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(vl2_session_length(sessions[i]), 0);
        assert_int_equal(vl2_session_pending(sessions[i]), steps[i].n_tokens);
    }
    err = (vl2_error){0};
    must(err, vl2_batch_step(batch, steps, 2, &err));
    vl2_session_free(sessions[0]);
    must(err, vl2_batch_step(batch, steps + 2, 1, &err));
    assert_non_null(vl2_session_logits(sessions[2]));
    vl2_session_free(sessions[1]);
    vl2_session_free(sessions[2]);
    vl2_batch_free(batch);
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

static void test_wrong_steps(void **state) {
    (void)state;
    golden_case c = golden_named("mini-tiny/one_image");
    vl2_error err = {0};
    vl2_engine *engine = open_engine(c.model, VL2_COMPUTE_F32, 1, NULL);
    vl2_prompt *prompt = open_prompt(engine, c.conversation);
    vl2_batch *batch = NULL;
    vl2_session *session;
    assert_int_equal(vl2_batch_create(&batch, engine, 0, 1, &err), VL2_ERR_ARGUMENT);
    must(err, vl2_session_create(&session, engine, &(vl2_error){0}));
    must(err, vl2_batch_create(&batch, engine, 8, 1, &(vl2_error){0}));
    must(err, vl2_session_feed_prompt(session, prompt, 0, &(vl2_error){0}));
    vl2_step step = {.session = session, .n_tokens = 0}, twice[2];
    assert_int_equal(vl2_batch_step(batch, &step, 1, NULL), VL2_ERR_ARGUMENT);
    step.n_tokens = 9;
    assert_int_equal(vl2_batch_step(batch, &step, 1, NULL), VL2_ERR_ARGUMENT);
    step.n_tokens = 8; /* reaches the picture, which is not encoded */
    err = (vl2_error){0};
    twice[0] = twice[1] = step;
    assert_int_equal(vl2_batch_step(batch, twice, 2, NULL), VL2_ERR_ARGUMENT);
    assert_int_equal(vl2_batch_step(batch, &step, 1, &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "not encoded"));
    assert_int_equal(vl2_session_length(session), 0);
    assert_int_equal(vl2_session_feed_token(session, -1, NULL), VL2_ERR_ARGUMENT);
    assert_int_equal(vl2_session_feed_token(session, 1 << 20, NULL), VL2_ERR_ARGUMENT);
    assert_int_equal(vl2_session_fork(&session, session, 1, NULL), VL2_ERR_ARGUMENT);
    vl2_session_free(session);
    vl2_batch_free(batch);
    vl2_prompt_free(prompt);
    vl2_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_company),     cmocka_unit_test(test_fork),
        cmocka_unit_test(test_pool_full),   cmocka_unit_test(test_a_cancelled_step_moves_nothing),
        cmocka_unit_test(test_wrong_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
