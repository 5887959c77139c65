#include "stages/stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lang/attn_mla.h"
#include "lang/decoder.h"

enum { RECORDED = 8, MAX_SEQS = 4 };

typedef struct timeline { /* one sequence with a decoder to itself */
    stage_model *model;
    vl2_kv_pool *pool;
    vl2_kv_seq kv;
    vl2_decoder *decoder;
    size_t max_rows, rope_length;
} timeline;

static timeline open_timeline(stage_model *model, size_t tokens, size_t max_rows) {
    timeline t = {.model = model, .max_rows = max_rows, .rope_length = tokens};
    vl2_error err = {0};
    const vl2_status status = vl2_decoder_create(&t.decoder, model->backend, &model->config,
                                                 &model->weights, max_rows, MAX_SEQS, tokens, &err);
    if (status != VL2_OK) fail_msg("%s", err.text);
    assert_int_equal(vl2_kv_pool_create(&t.pool, &model->config.lang, VL2_F32, tokens, &err),
                     VL2_OK);
    assert_int_equal(vl2_kv_seq_create(&t.kv, t.pool, tokens, &err), VL2_OK);
    return t;
}

static void close_timeline(timeline *t) {
    vl2_kv_seq_free(&t->kv);
    vl2_kv_pool_free(t->pool);
    vl2_decoder_free(t->decoder);
}

/* Steps n rows of embeddings; logits [n_out, V] of the last ones. */
static vl2_status step(timeline *t, const float *embeds, size_t n, float *logits, size_t n_out,
                       const vl2_tap *tap, vl2_error *err) {
    const size_t d = t->model->config.lang.hidden;
    VL2_TRY(vl2_kv_seq_reserve(&t->kv, n, err));
    memcpy(vl2_decoder_input(t->decoder), embeds, n * d * sizeof *embeds);
    const vl2_decoder_seq seq = {
        .kv = &t->kv, .n_rows = n, .rope_length = t->rope_length, .n_out = n_out, .logits = logits};
    VL2_TRY(vl2_decoder_step(t->decoder, &seq, 1, tap, NULL, NULL, err));
    t->kv.length += n;
    return VL2_OK;
}

static void must_step(timeline *t, const float *embeds, size_t n, float *logits, size_t n_out,
                      const vl2_tap *tap) {
    vl2_error err = {0};
    if (step(t, embeds, n, logits, n_out, tap, &err) != VL2_OK) fail_msg("%s", err.text);
}

/* ---- recorded cases ---------------------------------------------------------------------------- */

typedef struct seen { /* what the tap was shown of the last k positions */
    size_t first, k, layers, width, vocab;
    float *hidden; /* [L+1, k, D] */
    float *logits; /* [k, V] */
} seen;

static void look(void *user, const char *name, size_t index, size_t first, const float *rows,
                 size_t n, size_t width) {
    const seen *s = user;
    float *out = s->logits + (first - s->first) * s->vocab;
    assert_true(first >= s->first && first + n <= s->first + s->k);
    if (strcmp(name, "hidden") == 0) {
        assert_true(index <= s->layers && width == s->width);
        out = s->hidden + (index * s->k + first - s->first) * s->width;
    } else {
        assert_string_equal(name, "logits");
        assert_int_equal(width, s->vocab);
    }
    memcpy(out, rows, n * width * sizeof *rows);
}

static seen open_seen(const stage_model *model, size_t tokens) {
    const vl2_language_config *lang = &model->config.lang;
    const size_t k = tokens < RECORDED ? tokens : RECORDED;
    seen s = {.first = tokens - k,
              .k = k,
              .layers = lang->layers,
              .width = lang->hidden,
              .vocab = lang->vocab};
    s.hidden = test_calloc((s.layers + 1) * k * s.width, sizeof *s.hidden);
    s.logits = test_calloc(k * s.vocab, sizeof *s.logits);
    return s;
}

static void close_seen(seen *s) {
    test_free(s->hidden);
    test_free(s->logits);
}

/* The prompt in chunks, observed. */
static void prefill(timeline *t, seen *s, const float *embeds, size_t tokens, size_t chunk) {
    const vl2_tap tap = {.fn = look, .user = s};
    float *logits = test_malloc(s->k * s->vocab * sizeof *logits);
    for (size_t at = 0; at < tokens; at += chunk) {
        const size_t n = tokens - at < chunk ? tokens - at : chunk, end = at + n;
        const size_t from = at > s->first ? at : s->first;
        const size_t n_out = end > from ? end - from : 0;
        must_step(t, embeds + at * s->width, n, logits, n_out, &tap);
        if (n_out)
            assert_memory_equal(logits, s->logits + (from - s->first) * s->vocab,
                                n_out * s->vocab * sizeof *logits);
    }
    test_free(logits);
}

static int32_t best_of(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

static void continue_greedily(timeline *t, const seen *s, const vl2_tensor *ids, const char *name) {
    const stage_model *model = t->model;
    float *logits = test_malloc(s->vocab * sizeof *logits);
    float *row = test_malloc(s->width * sizeof *row);
    memcpy(logits, s->logits + (s->k - 1) * s->vocab, s->vocab * sizeof *logits);
    for (size_t i = 0; i < ids->shape[0]; i++) {
        const int32_t id = best_of(logits, s->vocab);
        if (id != stage_int(ids, i)) fail_msg("%s: greedy id %zu is %d", name, i, (int)id);
        model->backend->ops->embed(model->backend, row, s->width, &model->weights.embed, &id, 1);
        must_step(t, row, 1, logits, 1, NULL);
    }
    test_free(logits);
    test_free(row);
}

/* The greatest distance of hidden.* and logits from what was recorded; *where says of which. */
static double farthest(const seen *s, const vl2_checkpoint *recorded, char where[32]) {
    double most = 0.0;
    for (size_t i = 0; i <= s->layers + 1; i++) {
        char name[32] = "logits";
        if (i <= s->layers) snprintf(name, sizeof name, "hidden.%zu", i);
        const size_t width = i <= s->layers ? s->width : s->vocab;
        float *expected = stage_floats(recorded, name);
        assert_non_null(expected);
        const float *ours = i <= s->layers ? s->hidden + i * s->k * width : s->logits;
        const double d = stage_distance(ours, expected, s->k * width);
        if (!(d <= most)) {
            most = d;
            memcpy(where, name, sizeof name);
        }
        test_free(expected);
    }
    return most;
}

static void run_chunks(stage_model *model, const vl2_checkpoint *recorded, const char *name,
                       size_t chunk) {
    const vl2_tensor *ids = stage_tensor(recorded, "greedy_ids");
    const size_t tokens = stage_tensor(recorded, "inputs_embeds")->shape[0];
    char where[32] = "";
    float *embeds = stage_floats(recorded, "inputs_embeds");
    if (chunk == 0 || chunk > tokens) chunk = tokens;
    timeline t = open_timeline(model, tokens + ids->shape[0], chunk);
    t.rope_length = tokens;
    seen s = open_seen(model, tokens);
    prefill(&t, &s, embeds, tokens, chunk);
    const double d = farthest(&s, recorded, where);
    if (!(d < STAGE_TOLERANCE))
        fail_msg("%s in chunks of %zu: %s is off by %.3g of its rms", name, chunk, where, d);
    continue_greedily(&t, &s, ids, name);
    close_seen(&s);
    close_timeline(&t);
    test_free(embeds);
}

static void compare(stage_model *model, const vl2_checkpoint *recorded, const char *name,
                    void *user) {
    static const size_t chunks[] = {0, 64, 7, 1};
    const bool is_long = stage_tensor(recorded, "inputs_embeds")->shape[0] > 500;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        if (!is_long || chunks[i] != 1) run_chunks(model, recorded, name, chunks[i]);
    }
    ++*(size_t *)user;
}

static void test_recorded(void **state) {
    (void)state;
    size_t compared = 0;
    stage_each_case(NULL, compare, &compared);
    assert_true(compared >= 56);
}

/* ---- a row's bits are its own ------------------------------------------------------------------ */

typedef struct member { /* a sequence with its own lengths and chunks */
    vl2_kv_seq kv;
    float *embeds; /* [tokens, D] */
    float *logits; /* [V], of the last token */
    size_t tokens;
    const size_t *chunks; /* repeated; ends with 0 */
    size_t turn;
} member;

static const size_t schedules[MAX_SEQS][5] = {
    {1, 0}, {40, 7, 33, 0}, {64, 0}, {5, 90, 1, 2, 0}}; /* both forms of MLA, block borders */

static size_t next_chunk(const member *m) {
    size_t n_chunks = 0;
    while (m->chunks[n_chunks]) n_chunks++;
    const size_t n = m->chunks[m->turn % n_chunks], left = m->tokens - m->kv.length;
    return n < left ? n : left;
}

/* One step of all members of `mask` that have tokens left, those of higher number first if
 * `reverse`; false when none had. */
static bool step_members(const stage_model *model, vl2_decoder *decoder, member *members,
                         unsigned mask, bool reverse) {
    const size_t d = model->config.lang.hidden;
    vl2_decoder_seq seqs[MAX_SEQS];
    member *who[MAX_SEQS];
    size_t n = 0, rows = 0;
    vl2_error err = {0};
    for (size_t i = 0; i < MAX_SEQS; i++) {
        const size_t index = reverse ? MAX_SEQS - 1 - i : i;
        member *m = &members[index];
        if (!(mask >> index & 1u) || m->kv.length == m->tokens) continue;
        const size_t chunk = next_chunk(m);
        assert_int_equal(vl2_kv_seq_reserve(&m->kv, chunk, &err), VL2_OK);
        memcpy(vl2_decoder_input(decoder) + rows * d, m->embeds + m->kv.length * d,
               chunk * d * sizeof(float));
        who[n] = m;
        seqs[n++] = (vl2_decoder_seq){.kv = &m->kv,
                                      .row = rows,
                                      .n_rows = chunk,
                                      .rope_length = m->tokens,
                                      .n_out = m->kv.length + chunk == m->tokens,
                                      .logits = m->logits};
        rows += chunk;
    }
    if (n == 0) return false;
    if (vl2_decoder_step(decoder, seqs, n, NULL, NULL, NULL, &err) != VL2_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++) {
        who[i]->kv.length += seqs[i].n_rows;
        who[i]->turn++;
    }
    return true;
}

/* logits [MAX_SEQS, V] of the members: each alone, or all in one step. */
static float *run_members(stage_model *model, bool together, bool reverse) {
    const vl2_language_config *lang = &model->config.lang;
    const size_t length = 150;
    vl2_kv_pool *pool = NULL;
    vl2_decoder *decoder = NULL;
    vl2_error err = {0};
    member members[MAX_SEQS];
    float *logits = test_calloc(MAX_SEQS * lang->vocab, sizeof *logits);
    assert_int_equal(vl2_kv_pool_create(&pool, lang, VL2_F32, MAX_SEQS * 3 * VL2_KV_BLOCK, &err),
                     VL2_OK);
    assert_int_equal(vl2_decoder_create(&decoder, model->backend, &model->config, &model->weights,
                                        200, MAX_SEQS, length + MAX_SEQS, &err),
                     VL2_OK);
    for (size_t i = 0; i < MAX_SEQS; i++) {
        members[i] = (member){.tokens = length + i,
                              .embeds = stage_noise((length + i) * lang->hidden, (uint32_t)i),
                              /* from the last on, so that logits do not lie in the steps' order */
                              .logits = logits + (MAX_SEQS - 1 - i) * lang->vocab,
                              .chunks = schedules[i]};
        assert_int_equal(vl2_kv_seq_create(&members[i].kv, pool, length + i, &err), VL2_OK);
    }
    for (unsigned mask = together ? 15u : 1u; mask < 16u; mask = together ? 16u : mask << 1) {
        while (step_members(model, decoder, members, mask, reverse)) {
        }
    }
    for (size_t i = 0; i < MAX_SEQS; i++) {
        vl2_kv_seq_free(&members[i].kv);
        test_free(members[i].embeds);
    }
    vl2_decoder_free(decoder);
    vl2_kv_pool_free(pool);
    return logits;
}

static void test_company_and_threads(void **state) {
    static const char *const models[] = {"mini-tiny", "mini-base", "mini-yarn", "mini-grouped"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        stage_model model;
        stage_open_golden(&model, models[i], 1);
        const size_t bytes = MAX_SEQS * model.config.lang.vocab * sizeof(float);
        float *alone = run_members(&model, false, false);
        for (int threads = 1; threads <= 3; threads++) {
            stage_threads(&model, threads);
            for (int order = 0; order < 2; order++) {
                float *company = run_members(&model, true, order);
                assert_memory_equal(alone, company, bytes);
                test_free(company);
            }
        }
        test_free(alone);
        stage_close(&model);
    }
}

/* Attention with a key a head sums in the same blocks however the prompt is cut. */
static void test_chunks_of_mha_are_equal(void **state) {
    (void)state;
    stage_model model;
    stage_open_golden(&model, "mini-grouped", 2);
    enum { TOKENS = 140 };
    const size_t v = model.config.lang.vocab;
    float *embeds = stage_noise(TOKENS * model.config.lang.hidden, 9);
    float *whole = test_malloc(TOKENS * v * sizeof *whole), *last = test_malloc(v * sizeof *last);
    timeline t = open_timeline(&model, TOKENS, TOKENS);
    must_step(&t, embeds, TOKENS, whole, TOKENS, NULL);
    vl2_kv_seq_truncate(&t.kv, 0);
    for (size_t at = 0; at < TOKENS; at += 20) {
        must_step(&t, embeds + at * model.config.lang.hidden, 20, last, 1, NULL);
        assert_memory_equal(last, whole + (at + 19) * v, v * sizeof *last);
    }
    close_timeline(&t);
    test_free(embeds);
    test_free(whole);
    test_free(last);
    stage_close(&model);
}

/* A fork continues as the sequence that it came from. */
static void test_fork_continues(void **state) {
    (void)state;
    stage_model model;
    stage_open_golden(&model, "mini-small", 2);
    const size_t d = model.config.lang.hidden, v = model.config.lang.vocab;
    float *embeds = stage_noise(120 * d, 4);
    float *one = test_malloc(v * sizeof *one), *two = test_malloc(v * sizeof *two);
    vl2_kv_seq fork;
    vl2_error err = {0};
    timeline t = open_timeline(&model, 6 * VL2_KV_BLOCK, 100);
    must_step(&t, embeds, 100, one, 1, NULL);
    must_step(&t, embeds + 100 * d, 20, one, 1, NULL);
    assert_int_equal(vl2_kv_seq_fork(&fork, &t.kv, 100, &err), VL2_OK);
    const vl2_kv_seq first = t.kv;
    t.kv = fork;
    must_step(&t, embeds + 100 * d, 20, two, 1, NULL);
    assert_memory_equal(one, two, v * sizeof *one);
    fork = t.kv;
    t.kv = first;
    vl2_kv_seq_free(&fork);
    close_timeline(&t);
    test_free(embeds);
    test_free(one);
    test_free(two);
    stage_close(&model);
}

/* ---- forms of MLA ------------------------------------------------------------------------------ */

static void test_choice_of_form(void **state) {
    (void)state;
    vl2_language_config real = {.kv_lora = 512, .nope_dim = 128, .rope_dim = 64, .v_dim = 128};
    assert_false(vl2_attn_mla_expands(&real, 1, 1000));
    assert_false(vl2_attn_mla_expands(&real, 170, 1000000));
    assert_true(vl2_attn_mla_expands(&real, 171, 1000000));
    assert_true(vl2_attn_mla_expands(&real, 512, 4096));
    assert_true(vl2_attn_mla_expands(&real, 64, 0)); /* nothing to rebuild but what is new */
    real.kv_lora = 128; /* compressed keys no longer than the others: nothing to gain */
    assert_false(vl2_attn_mla_expands(&real, 512, 0));
    real.kv_lora = VL2_HEAD_DIM_MAX; /* with the rope part, a longer key than attention takes */
    assert_true(vl2_attn_mla_expands(&real, 1, 1000));
}

/* ---- planted errors ---------------------------------------------------------------------------- */

static const vl2_ops *real_ops;

static void other_pairs(vl2_backend *be, float *x, size_t ldx, size_t m, size_t heads, size_t head,
                        size_t half, const float *cos, const float *sin, bool interleaved) {
    real_ops->rope(be, x, ldx, m, heads, head, half, cos, sin, !interleaved);
}

static void plant_pairs(stage_model *m) { stage_alter(m)->rope = other_pairs; }

/* The compressed norms with rms_norm_eps in place of their own 1e-6. */
static void config_eps(vl2_backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m,
                       size_t width, const vl2_vec *w, float eps) {
    real_ops->rmsnorm(be, y, ldy, x, ldx, m, width, w, eps == 1e-6f ? 1e-5f : eps);
}

static void plant_inner_eps(stage_model *m) { stage_alter(m)->rmsnorm = config_eps; }
static void plant_outer_eps(stage_model *m) { m->config.lang.rms_eps = 1e-6; }
static void plant_query_bias(stage_model *m) { m->weights.layers[1].q_a.b = (vl2_vec){0}; }
static void plant_key_bias(stage_model *m) { m->weights.layers[0].kv_a.b = (vl2_vec){0}; }
static void plant_output_bias(stage_model *m) { m->weights.layers[2].o.b = (vl2_vec){0}; }
static void plant_plain_rope(stage_model *m) { m->config.lang.rope.type = VL2_ROPE_PLAIN; }
static void plant_magnitude(stage_model *m) { m->config.lang.rope.yarn_mscale = 0.6; }
static void plant_scale(stage_model *m) {
    const vl2_language_config *lang = &m->config.lang;
    m->config.lang.softmax_scale = 1.0 / sqrt((double)(lang->nope_dim + lang->rope_dim));
}
static void plant_unbiased(stage_model *m) {
    for (size_t i = 0; i < m->config.lang.layers; i++) {
        m->weights.layers[i].router_bias = (vl2_vec){0};
    }
}
static void plant_no_groups(stage_model *m) { m->config.lang.router = VL2_ROUTER_GREEDY; }
static void plant_no_norm(stage_model *m) { m->config.lang.norm_topk = false; }
static void plant_no_factor(stage_model *m) { m->config.lang.routed_scale = 1.0; }
static void plant_softmax(stage_model *m) { m->config.lang.scoring = VL2_SCORING_SOFTMAX; }
static void plant_gelu(stage_model *m) { m->config.lang.act = VL2_ACT_GELU_TANH; }
static void plant_no_shared(stage_model *m) { m->weights.layers[1].shared = (vl2_mlp){0}; }

static void test_planted_errors(void **state) {
    static const struct {
        const char *model, *what;
        void (*plant)(stage_model *model);
    } errors[] = {
        {"mini-tiny", "interleaved rope in MHA", plant_pairs},
        {"mini-small", "half-split rope in MLA", plant_pairs},
        {"mini-yarn", "eps of the compressed norms", plant_inner_eps},
        {"mini-yarn", "eps of the layer norms", plant_outer_eps},
        {"mini-yarn", "no bias of q_a", plant_query_bias},
        {"mini-yarn", "no bias of kv_a", plant_key_bias},
        {"mini-yarn", "no bias of o", plant_output_bias},
        {"mini-yarn", "no yarn", plant_plain_rope},
        {"mini-yarn", "magnitude of yarn", plant_magnitude},
        {"mini-yarn", "softmax scale without mscale", plant_scale},
        {"mini-yarn", "no groups of experts", plant_no_groups},
        {"mini-grouped", "no linear scaling", plant_plain_rope},
        {"mini-grouped", "unbiased choice", plant_unbiased},
        {"mini-base", "unbiased choice", plant_unbiased},
        {"mini-base", "weights not normalised", plant_no_norm},
        {"mini-base", "weights not scaled", plant_no_factor},
        {"mini-base", "softmax for sigmoid", plant_softmax},
        {"mini-tiny", "GELU for SiLU", plant_gelu},
        {"mini-tiny", "no shared expert", plant_no_shared},
    };
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        stage_model model;
        char where[32];
        stage_open_golden(&model, errors[i].model, 2);
        vl2_checkpoint *recorded = stage_recorded(&model, "two_images_grounding");
        float *embeds = stage_floats(recorded, "inputs_embeds");
        const size_t tokens = stage_tensor(recorded, "inputs_embeds")->shape[0];
        real_ops = model.backend->ops;
        errors[i].plant(&model);
        timeline t = open_timeline(&model, tokens, tokens);
        seen s = open_seen(&model, tokens);
        prefill(&t, &s, embeds, tokens, tokens);
        const double d = farthest(&s, recorded, where);
        if (!(d > STAGE_TOLERANCE))
            fail_msg("%s, %s: only off by %.3g", errors[i].model, errors[i].what, d);
        close_seen(&s);
        close_timeline(&t);
        test_free(embeds);
        vl2_checkpoint_close(recorded);
        stage_close(&model);
    }
}

/* ---- types and levels -------------------------------------------------------------------------- */

/* A copy of the model's file in which every third matrix of an MLP is float32. */
static void write_mixed(const stage_model *model, const char *path) {
    enum { MAX_TENSORS = 512 };
    static vl2_tensor_plan plans[MAX_TENSORS];
    float *widened[MAX_TENSORS] = {0};
    const size_t n = vl2_checkpoint_count(model->checkpoint);
    vl2_error err = {0};
    size_t mixed = 0;
    assert_true(n <= MAX_TENSORS);
    for (size_t i = 0; i < n; i++) {
        const vl2_tensor *t = vl2_checkpoint_at(model->checkpoint, i);
        plans[i] =
            (vl2_tensor_plan){.name = t->name, .type = t->type, .rank = t->rank, .data = t->data};
        memcpy(plans[i].shape, t->shape, sizeof t->shape);
        if (!strstr(t->name, "language") || !strstr(t->name, "mlp.") || i % 3) continue;
        const size_t elements = t->bytes / vl2_dtype_of(t->type)->block_bytes;
        widened[i] = test_malloc(elements * sizeof(float));
        vl2_dtype_to_f32(widened[i], t->data, t->type, elements);
        plans[i].type = VL2_F32;
        plans[i].data = widened[i];
        mixed++;
    }
    assert_true(mixed > 10);
    assert_int_equal(vl2_safetensors_write(path, plans, n, &err), VL2_OK);
    for (size_t i = 0; i < n; i++) {
        if (widened[i]) test_free(widened[i]);
    }
}

/* Each tensor has its own type: a file that mixes them gives the same numbers. */
static void test_mixed_types(void **state) {
    (void)state;
    static const char *const models[] = {"mini-yarn", "mini-grouped"};
    for (size_t i = 0; i < 2; i++) {
        stage_model model;
        char path[] = "mixed-XXXXXX";
        vl2_error err = {0};
        stage_open_golden(&model, models[i], 2);
        const int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        float *one_type = run_members(&model, true, false);
        write_mixed(&model, path);
        vl2_weights_free(&model.weights);
        vl2_checkpoint_close(model.checkpoint);
        assert_int_equal(vl2_checkpoint_open_file(&model.checkpoint, path, &err), VL2_OK);
        unlink(path);
        assert_int_equal(vl2_weights_bind(&model.weights, &model.config, model.checkpoint, &err),
                         VL2_OK);
        float *mixed = run_members(&model, true, false);
        stage_near(mixed, one_type, MAX_SEQS * model.config.lang.vocab, models[i], "mixed types");
        test_free(one_type);
        test_free(mixed);
        stage_close(&model);
    }
}

/* Every CPU level of the machine gives the recorded numbers and ids. */
static void test_levels(void **state) {
    (void)state;
    static const char *const models[] = {"mini-tiny", "mini-yarn", "mini-grouped"};
    for (const char *const *level = vl2_backend_levels(); *level; level++) {
        for (size_t i = 0; i < 3; i++) {
            stage_model model;
            stage_open_golden(&model, models[i], 2);
            stage_level(&model, 2, *level);
            vl2_checkpoint *recorded = stage_recorded(&model, "two_images_grounding");
            run_chunks(&model, recorded, *level, 64);
            vl2_checkpoint_close(recorded);
            stage_close(&model);
        }
    }
}

/* ---- what can go wrong in a step --------------------------------------------------------------- */

static int stop_at_second(void *user) { return ++*(int *)user == 2; }

static void test_cancel(void **state) {
    (void)state;
    stage_model model;
    stage_open_golden(&model, "mini-small", 1);
    const size_t d = model.config.lang.hidden, v = model.config.lang.vocab;
    float *embeds = stage_noise(50 * d, 1);
    float *expected = test_malloc(v * sizeof *expected), *logits = test_malloc(v * sizeof *logits);
    vl2_error err = {0};
    int asked = 0;
    timeline t = open_timeline(&model, 50, 50);
    must_step(&t, embeds, 50, expected, 1, NULL);
    vl2_kv_seq_truncate(&t.kv, 0);
    assert_int_equal(vl2_kv_seq_reserve(&t.kv, 50, &err), VL2_OK);
    memcpy(vl2_decoder_input(t.decoder), embeds, 50 * d * sizeof *embeds);
    const vl2_decoder_seq seq = {
        .kv = &t.kv, .n_rows = 50, .rope_length = 50, .n_out = 1, .logits = logits};
    assert_int_equal(vl2_decoder_step(t.decoder, &seq, 1, NULL, stop_at_second, &asked, &err),
                     VL2_ERR_CANCELLED);
    assert_int_equal(t.kv.length, 0);
    assert_int_equal(asked, 2);
    must_step(&t, embeds, 50, logits, 1, NULL);
    assert_memory_equal(expected, logits, v * sizeof *logits);
    close_timeline(&t);
    test_free(embeds);
    test_free(expected);
    test_free(logits);
    stage_close(&model);
}

static void test_not_a_number(void **state) {
    static const char *const models[] = {"mini-tiny", "mini-yarn", "mini-grouped"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        stage_model model;
        stage_open_golden(&model, models[i], 2);
        const size_t d = model.config.lang.hidden;
        float *embeds = stage_noise(20 * d, 1);
        float *logits = test_malloc(model.config.lang.vocab * sizeof *logits);
        vl2_error err = {0};
        timeline t = open_timeline(&model, 20, 20);
        embeds[7 * d + 3] = NAN;
        assert_int_equal(step(&t, embeds, 20, logits, 1, NULL, &err), VL2_ERR_NUMERIC);
        assert_non_null(strstr(err.text, "router"));
        close_timeline(&t);
        test_free(embeds);
        test_free(logits);
        stage_close(&model);
    }
}

static void refused(timeline *t, const vl2_decoder_seq *seqs, size_t n) {
    vl2_error err = {0};
    assert_int_equal(vl2_decoder_step(t->decoder, seqs, n, NULL, NULL, NULL, &err),
                     VL2_ERR_ARGUMENT);
}

static void test_arguments(void **state) {
    (void)state;
    stage_model model;
    stage_open_golden(&model, "mini-tiny", 1);
    vl2_error err = {0};
    timeline t = open_timeline(&model, 2 * VL2_KV_BLOCK, 20);
    const vl2_decoder_seq good = {.kv = &t.kv, .n_rows = 5, .n_out = 0};
    vl2_decoder_seq bad = good;
    refused(&t, &good, 1); /* no room reserved */
    assert_int_equal(vl2_kv_seq_reserve(&t.kv, 64, &err), VL2_OK);
    refused(&t, &good, 0);
    refused(&t, &good, MAX_SEQS + 1);
    bad.n_rows = 21;
    refused(&t, &bad, 1);
    bad.n_rows = 0;
    refused(&t, &bad, 1);
    bad = good;
    bad.row = 1;
    refused(&t, &bad, 1);
    bad = good;
    bad.n_out = 6;
    refused(&t, &bad, 1);
    memset(vl2_decoder_input(t.decoder), 0, 5 * model.config.lang.hidden * sizeof(float));
    assert_int_equal(vl2_decoder_step(t.decoder, &good, 1, NULL, NULL, NULL, &err), VL2_OK);
    vl2_decoder *none = NULL;
    assert_int_equal(
        vl2_decoder_create(&none, model.backend, &model.config, &model.weights, 0, 1, 10, &err),
        VL2_ERR_ARGUMENT);
    assert_null(none);
    close_timeline(&t);
    stage_close(&model);
}

/* Scratch grows with the rows of a step; with the context only by the table of blocks. */
static void test_plan(void **state) {
    static const char *const models[] = {"mini-tiny", "mini-yarn"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        stage_model model;
        stage_open_golden(&model, models[i], 1);
        const size_t small = vl2_decoder_plan(&model.config, 512, 1, 4096);
        const size_t large = vl2_decoder_plan(&model.config, 512, 1, 4096 * 16);
        assert_true(large - small <= 15 * 4096 / VL2_KV_BLOCK * sizeof(vl2_kv_block));
        assert_true(vl2_decoder_plan(&model.config, 1024, 1, 4096) > small);
        assert_true(vl2_decoder_plan(&model.config, SIZE_MAX / 2, 1, 4096) == SIZE_MAX);
        stage_close(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_company_and_threads),
        cmocka_unit_test(test_chunks_of_mha_are_equal),
        cmocka_unit_test(test_fork_continues),
        cmocka_unit_test(test_choice_of_form),
        cmocka_unit_test(test_planted_errors),
        cmocka_unit_test(test_mixed_types),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
