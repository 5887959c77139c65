#include "unit/scratch.h"

#include "base/buf.h"
#include "model/config.h"
#include "model/published.h"

#include <math.h>

/* ---- texts made by changing one ----------------------------------------------------------------- */

typedef struct texts {
    char *config, *processor;
} texts;

static texts read_texts(const char *name) {
    char path[512];
    texts t;
    snprintf(path, sizeof path, "%s/%s/config.json", VL2_TEST_GOLDEN, name);
    t.config = scratch_read(path, NULL);
    snprintf(path, sizeof path, "%s/%s/processor_config.json", VL2_TEST_GOLDEN, name);
    t.processor = scratch_read(path, NULL);
    return t;
}

static void free_texts(texts *t) {
    free(t->config);
    free(t->processor);
}

/* Replaces the first `from` behind `behind`; the test fails if there is none. */
static void change(char **text, const char *behind, const char *from, const char *to) {
    char *start = strstr(*text, behind);
    char *at = start ? strstr(start, from) : NULL;
    if (!at) fail_msg("no %s behind %s", from, behind);
    vl2_buf out = {0};
    vl2_buf_add(&out, *text, (size_t)(at - *text), NULL);
    vl2_buf_add(&out, to, strlen(to), NULL);
    vl2_buf_add(&out, at + strlen(from), strlen(at + strlen(from)), NULL);
    free(*text);
    *text = out.data;
}

static vl2_status parse(vl2_config *out, const texts *t, vl2_error *err) {
    return vl2_config_parse(out, t->config, strlen(t->config), "a/config.json", t->processor,
                            strlen(t->processor), "a/processor_config.json", err);
}

/* With `from` behind `part` changed to `to`, the model `name` reads as `out`. */
static void accept(vl2_config *out, const char *name, const char *part, const char *from,
                   const char *to) {
    texts t = read_texts(name);
    vl2_error err = {0};
    change(&t.config, part, from, to);
    if (parse(out, &t, &err) != VL2_OK) fail_msg("%s: %s", to, err.text);
    free_texts(&t);
}

typedef struct refusal {
    const char *part, *from, *to; /* a change, of config.json or of the other */
    vl2_status status;
    const char *words;
} refusal;

static void refuse(const char *name, bool processor, const refusal *r) {
    texts t = read_texts(name);
    vl2_config config, before;
    memset(&config, 7, sizeof config);
    memcpy(&before, &config, sizeof config);
    vl2_error err = {0};
    change(processor ? &t.processor : &t.config, r->part, r->from, r->to);
    assert_says(parse(&config, &t, &err), &err, r->status, r->words);
    assert_memory_equal(&config, &before, sizeof config); /* outputs stay on failure */
    free_texts(&t);
}

#define VISION "\"vision_config\""
#define PROJECTOR "\"projector_config\""
#define LANGUAGE "\"language_config\""
#define ADD "{" /* a key is put behind the part's brace */
#define BAD VL2_ERR_FORMAT
#define UNSUPPORTED VL2_ERR_UNSUPPORTED

/* ---- what is accepted --------------------------------------------------------------------------- */

static void test_goldens(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool mla;
        vl2_router_method router;
        vl2_scoring scoring;
        vl2_rope_scaling rope;
    } cases[] = {
        {"mini-tiny", false, VL2_ROUTER_GREEDY, VL2_SCORING_SOFTMAX, VL2_ROPE_PLAIN},
        {"mini-small", true, VL2_ROUTER_GREEDY, VL2_SCORING_SOFTMAX, VL2_ROPE_PLAIN},
        {"mini-base", true, VL2_ROUTER_NOAUX_TC, VL2_SCORING_SIGMOID, VL2_ROPE_PLAIN},
        {"mini-yarn", true, VL2_ROUTER_GROUP_LIMITED, VL2_SCORING_SOFTMAX, VL2_ROPE_YARN},
        {"mini-grouped", false, VL2_ROUTER_NOAUX_TC, VL2_SCORING_SIGMOID, VL2_ROPE_LINEAR},
        {"mini-dense-ends", true, VL2_ROUTER_GREEDY, VL2_SCORING_SIGMOID, VL2_ROPE_DYNAMIC},
        {"mini-384", false, VL2_ROUTER_GREEDY, VL2_SCORING_SOFTMAX, VL2_ROPE_PLAIN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[512];
        vl2_config c;
        vl2_error err = {0};
        snprintf(folder, sizeof folder, "%s/%s", VL2_TEST_GOLDEN, cases[i].name);
        if (vl2_config_read(&c, folder, &err) != VL2_OK) fail_msg("%s", err.text);
        assert_int_equal(c.lang.use_mla, cases[i].mla);
        assert_int_equal(c.lang.router, cases[i].router);
        assert_int_equal(c.lang.scoring, cases[i].scoring);
        assert_int_equal(c.lang.rope.type, cases[i].rope);
        assert_int_equal(c.vision.mlp_width, (size_t)((double)c.vision.width * 3.7362));
        assert_string_equal(c.image.image_token, "<image>");
        assert_string_equal(c.image.pad_token, "<｜▁pad▁｜>");
        assert_true(c.image.normalize && c.image.mean[2] == 0.5f && c.image.std[0] == 0.5f);
    }
}

static void test_yarn(void **state) {
    (void)state;
    vl2_config c;
    accept(&c, "mini-yarn", LANGUAGE, "64", "64");
    double m = 0.1 * 0.6 * log(8) + 1;
    assert_true(fabs(c.lang.softmax_scale - m * m / sqrt(24)) < 1e-15);
    assert_true(c.lang.rope.yarn_original == 64 && c.lang.rope.yarn_mscale == 0.8);
    assert_int_equal(c.projector.linears, 3);
    assert_int_equal(c.projector.hidden, 128);
    assert_true(c.lang.rms_eps == 1e-5);
    assert_int_equal(c.lang.q_lora, 20);
    /* any type under MLA takes mscale_all_dim; MHA takes none */
    accept(&c, "mini-yarn", "\"rope_scaling\"", "\"yarn\"", "\"linear\"");
    assert_true(fabs(c.lang.softmax_scale - m * m / sqrt(24)) < 1e-15);
    accept(&c, "mini-grouped", "\"rope_scaling\"", "\"factor\"", "\"mscale_all_dim\":1,\"factor\"");
    assert_true(c.lang.softmax_scale == 0.25);
    accept(&c, "mini-yarn", "\"rope_scaling\"", "\"mscale_all_dim\": 0.6", "\"mscale_all_dim\":0");
    assert_true(c.lang.softmax_scale == 1 / sqrt(24));
    accept(&c, "mini-yarn", "\"rope_scaling\"", "\"factor\": 8", "\"factor\":0.5");
    assert_true(c.lang.softmax_scale == 1 / sqrt(24));
}

/* Keys that are not there have the reference classes' defaults. */
static void test_defaults(void **state) {
    (void)state;
    static const char config[] =
        "{\"tile_tag\":\"2D\",\"projector_config\":{\"input_dim\":1024,\"n_embed\":4096}}";
    static const char processor[] =
        "{\"candidate_resolutions\":[[384,384]],\"patch_size\":16,\"downsample_ratio\":2}";
    vl2_config c;
    vl2_error err = {0};
    if (vl2_config_parse(&c, config, strlen(config), "c", processor, strlen(processor), "p",
                         &err) != VL2_OK)
        fail_msg("%s", err.text);
    const vl2_language_config *l = &c.lang;
    assert_int_equal(l->vocab, 102400);
    assert_int_equal(l->hidden, 4096);
    assert_int_equal(l->dense_width, 11008);
    assert_int_equal(l->layers, 30);
    assert_int_equal(l->heads, 32);
    assert_int_equal(l->max_positions, 2048);
    assert_true(l->use_mla && !l->attention_bias && !l->tie_embeddings);
    assert_int_equal(l->kv_lora, 512);
    assert_int_equal(l->q_lora, 1536);
    assert_int_equal(l->rope_dim, 64);
    assert_int_equal(l->nope_dim, 128);
    assert_int_equal(l->v_dim, 128);
    assert_int_equal(l->experts, 0);
    assert_int_equal(l->act, VL2_ACT_SILU);
    assert_true(l->rms_eps == 1e-6 && l->rope.theta == 10000);
    assert_int_equal(l->rope.type, VL2_ROPE_PLAIN);
    assert_int_equal(c.vision.side, 384);
    assert_int_equal(c.vision.patch, 16);
    assert_int_equal(c.vision.layers, 24);
    assert_int_equal(c.vision.heads, 16);
    assert_int_equal(c.vision.mlp_width, 4096);
    assert_true(c.vision.final_norm && c.image.global_first && c.image.normalize);
    assert_int_equal(c.projector.type, VL2_PROJECTOR_DOWNSAMPLE_MLP_GELU);
    assert_int_equal(c.projector.linears, 2);
    assert_int_equal(c.projector.grid, 12);
    assert_true(c.image.mean[1] == 0.5f && c.image.std[1] == 0.5f);
    assert_string_equal(c.image.pad_token, "<｜▁pad▁｜>");
}

static void test_nulls_that_count(void **state) {
    (void)state;
    vl2_config c;
    accept(&c, "mini-yarn", LANGUAGE, "\"q_lora_rank\": 20", "\"q_lora_rank\":null");
    assert_int_equal(c.lang.q_lora, 0);
    accept(&c, "mini-yarn", LANGUAGE, "\"n_shared_experts\": 1", "\"n_shared_experts\":null");
    assert_int_equal(c.lang.shared_width, 0);
    accept(&c, "mini-yarn", LANGUAGE, "\"n_routed_experts\": 8", "\"n_routed_experts\":null");
    assert_int_equal(c.lang.experts, 0);
    accept(&c, "mini-yarn", LANGUAGE, "\"attention_bias\": true", "\"attention_bias\":null");
    assert_false(c.lang.attention_bias);
    accept(&c, "mini-tiny", LANGUAGE, "\"num_key_value_heads\": 4", "\"num_key_value_heads\":null");
    assert_int_equal(c.lang.kv_heads, 4);
    accept(&c, "mini-tiny", LANGUAGE, ADD, "{\"rope_scaling\":null,");
    assert_int_equal(c.lang.rope.type, VL2_ROPE_PLAIN);
    accept(&c, "mini-tiny", "{", "\"head\"", "null");
    assert_false(c.image.global_first);
    accept(&c, "mini-tiny", "{", "\"head\"", "\"Head\"");
    assert_false(c.image.global_first);
}

/* Layers with and without experts; none with them means that no field of theirs counts. */
static void test_moe_layers(void **state) {
    (void)state;
    vl2_config c;
    accept(&c, "mini-grouped", LANGUAGE, "64", "64");
    for (size_t i = 0; i < 4; i++) assert_int_equal(vl2_config_is_moe(&c.lang, i), i == 2);
    accept(&c, "mini-tiny", LANGUAGE, "\"first_k_dense_replace\": 1",
           "\"x\":1,\"first_k_dense_replace\":4");
    assert_int_equal(c.lang.experts, 0);
    accept(&c, "mini-tiny", LANGUAGE, "\"hidden_size\"", "\"hidden_act\":\"gelu\",\"hidden_size\"");
    assert_int_equal(c.lang.act, VL2_ACT_GELU_ERF);
}

static void test_other_projectors(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        vl2_projector_type type;
        size_t linears, grid;
    } cases[] = {
        {"\"linear\",\"x\":\"", VL2_PROJECTOR_LINEAR, 1, 5},
        {"\"mlp_gelu\",\"x\":\"", VL2_PROJECTOR_MLP_GELU, 2, 5},
    };
    for (size_t i = 0; i < 2; i++) {
        texts t = read_texts("mini-tiny");
        vl2_config c;
        vl2_error err = {0};
        change(&t.config, PROJECTOR, "\"downsample_mlp_gelu", cases[i].fields);
        change(&t.config, PROJECTOR, "\"downsample_ratio\": 2", "\"downsample_ratio\":1");
        change(&t.processor, "{", "\"downsample_ratio\": 2", "\"downsample_ratio\":1");
        if (parse(&c, &t, &err) != VL2_OK) fail_msg("%s", err.text);
        assert_int_equal(c.projector.type, cases[i].type);
        assert_int_equal(c.projector.linears, cases[i].linears);
        assert_int_equal(c.projector.grid, cases[i].grid);
        assert_int_equal(c.projector.ratio, 1);
        assert_int_equal(c.projector.hidden, 64);
        free_texts(&t);
    }
}

static void test_image_tokens(void **state) {
    (void)state;
    vl2_config c;
    accept(&c, "mini-384", LANGUAGE, "32", "32");
    assert_int_equal(vl2_config_image_tokens(&c, 1, 1), 421); /* docs/MODEL.md §4 */
    assert_int_equal(vl2_config_image_tokens(&c, 3, 3), 2017);
    assert_int_equal(vl2_config_image_tokens(&c, 1, 9), 2101);
}

static void test_published(void **state) {
    (void)state;
    vl2_config c;
    assert_int_equal(vl2_config_published(&c, "tiny", NULL), VL2_OK);
    assert_int_equal(c.lang.hidden, 1280);
    assert_int_equal(c.lang.head_dim, 128);
    assert_int_equal(c.vision.mlp_width, 4304);
    assert_int_equal(c.vision.grid, 27);
    assert_int_equal(c.projector.grid, 14);
    assert_int_equal(vl2_config_kv_width(&c.lang), 2560);
    assert_int_equal(vl2_config_published(&c, "small", NULL), VL2_OK);
    assert_int_equal(c.lang.layers, 27);
    assert_int_equal(vl2_config_kv_width(&c.lang), 576);
    assert_int_equal(c.lang.shared_width, 2816);
    assert_int_equal(vl2_config_published(&c, "base", NULL), VL2_OK);
    assert_int_equal(c.lang.experts, 72);
    assert_int_equal(c.lang.router, VL2_ROUTER_NOAUX_TC);
    vl2_error err = {0};
    assert_says(vl2_config_published(&c, "huge", &err), &err, VL2_ERR_ARGUMENT,
                "\"huge\"|tiny, small or base");
}

/* ---- what is refused ---------------------------------------------------------------------------- */

static void test_language_refusals(void **state) {
    (void)state;
    static const refusal cases[] = {
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":-64", BAD,
         "a/config.json: language_config.hidden_size is -64, expected a whole number from 1"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":0", BAD, "language_config.hidden_size"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":9007199254740993", BAD, "hidden_size"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":\"64\"", BAD, "hidden_size is \"64\""},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":64.0", BAD, "hidden_size is 64.0"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":null", BAD, "hidden_size is null"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":[64]", BAD, "hidden_size is a list"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":1e400", BAD, "line"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":99999999999999999999", BAD, "too big"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":64,\"hidden_size\":64", BAD,
         "duplicate"},
        {LANGUAGE, "\"hidden_size\": 64", "\"hidden_size\":128", BAD,
         "n_embed is 64, expected 128"},
        {LANGUAGE, "\"vocab_size\": 576", "\"vocab_size\":1000000000", BAD, "vocab_size"},
        {LANGUAGE, "\"num_hidden_layers\": 4", "\"num_hidden_layers\":0", BAD, "num_hidden_layers"},
        {LANGUAGE, "\"num_attention_heads\": 4", "\"num_attention_heads\":3", BAD,
         "num_key_value_heads"},
        {LANGUAGE, "\"num_attention_heads\": 4", "\"num_attention_heads\":64", BAD,
         "num_attention_heads: 64"},
        {LANGUAGE, "\"num_key_value_heads\": 4", "\"num_key_value_heads\":3", BAD,
         "num_key_value_heads: 3 does not divide"},
        {LANGUAGE, "\"use_mla\": false", "\"use_mla\":0", BAD, "use_mla is 0"},
        {LANGUAGE, "\"use_mla\": false", "\"use_mla\":true", BAD, "kv_lora_rank is null"},
        {LANGUAGE, "\"topk_method\": \"greedy\",", "", BAD, "topk_method is absent"},
        {LANGUAGE, "\"topk_method\": \"greedy\"", "\"topk_method\":\"gready\"", UNSUPPORTED,
         "topk_method: \"gready\"|\"noaux_tc\""},
        {LANGUAGE, "\"topk_method\": \"greedy\"", "\"topk_method\":7", BAD, "topk_method is 7"},
        {LANGUAGE, "\"num_experts_per_tok\": 3", "\"num_experts_per_tok\":null", BAD,
         "num_experts_per_tok is null"},
        {LANGUAGE, "\"num_experts_per_tok\": 3,", "", BAD, "num_experts_per_tok is absent"},
        {LANGUAGE, "\"num_experts_per_tok\": 3", "\"num_experts_per_tok\":9", BAD,
         "num_experts_per_tok is 9"},
        {LANGUAGE, "\"n_routed_experts\": 8", "\"n_routed_experts\":0", BAD, "n_routed_experts"},
        {LANGUAGE, "\"moe_layer_freq\": 1", "\"moe_layer_freq\":0", BAD, "moe_layer_freq"},
        {LANGUAGE, "\"first_k_dense_replace\": 1", "\"first_k_dense_replace\":-1", BAD,
         "first_k_dense_replace"},
        {LANGUAGE, "\"n_shared_experts\": 2", "\"n_shared_experts\":65536", UNSUPPORTED,
         "n_shared_experts: 65536"},
        {LANGUAGE, ADD, "{\"scoring_func\":\"tanh\",", UNSUPPORTED, "scoring_func: \"tanh\""},
        {LANGUAGE, ADD, "{\"hidden_act\":\"quick_gelu\",", UNSUPPORTED,
         "hidden_act: \"quick_gelu\""},
        {LANGUAGE, ADD, "{\"rms_norm_eps\":-1,", BAD, "rms_norm_eps is -1"},
        {LANGUAGE, ADD, "{\"rms_norm_eps\":\"1e-6\",", BAD, "rms_norm_eps is \"1e-6\""},
        {LANGUAGE, ADD, "{\"rope_theta\":0,", BAD, "rope_theta is 0"},
        {LANGUAGE, ADD, "{\"ep_size\":2,", BAD, "ep_size is 2"},
        {LANGUAGE, ADD, "{\"routed_scaling_factor\":null,", BAD, "routed_scaling_factor is null"},
        {LANGUAGE, ADD, "{\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2},", BAD,
         "language_config.rope_scaling.type is absent"},
        {LANGUAGE, ADD, "{\"rope_scaling\":{\"type\":\"linear\"},", BAD, "rope_scaling.factor"},
        {LANGUAGE, ADD, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":0},", BAD,
         "factor is 0"},
        {LANGUAGE, ADD, "{\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2},", UNSUPPORTED,
         "rope_scaling.type: \"llama3\""},
        {LANGUAGE, ADD, "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2},", UNSUPPORTED,
         "rope_scaling.type: yarn|use_mla false"},
        {LANGUAGE, ADD, "{\"rope_scaling\":[],", BAD, "rope_scaling is a list"},
        {"{", LANGUAGE ": {", LANGUAGE ":null,\"y\":{", BAD, "language_config is null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refuse("mini-tiny", false, &cases[i]);
    }
}

static void test_group_refusals(void **state) {
    (void)state;
    static const refusal yarn[] = {
        {LANGUAGE, "\"n_group\": 4", "\"n_group\":null", BAD, "n_group is null"},
        {LANGUAGE, "\"n_group\": 4,", "", BAD, "n_group is absent"},
        {LANGUAGE, "\"topk_group\": 2", "\"topk_group\":null", BAD, "topk_group is null"},
        {LANGUAGE, "\"topk_group\": 2", "\"topk_group\":5", BAD, "topk_group is 5"},
        {LANGUAGE, "\"n_group\": 4", "\"n_group\":3", BAD, "n_group: 3 groups"},
        {LANGUAGE, "\"topk_group\": 2", "\"topk_group\":1", BAD, "num_experts_per_tok: 3"},
        {LANGUAGE, "\"beta_fast\": 32", "\"beta_fast\":0", BAD, "rope_scaling.beta_fast is 0"},
        {LANGUAGE, "\"original_max_position_embeddings\": 64",
         "\"original_max_position_embeddings\":null", BAD,
         "original_max_position_embeddings is null"},
        {LANGUAGE, "\"mscale_all_dim\": 0.6", "\"mscale_all_dim\":\"x\"", BAD, "mscale_all_dim"},
        {LANGUAGE, "\"attention_bias\"", "\"rope_theta\":1,\"attention_bias\"", UNSUPPORTED,
         "rope_scaling.type: yarn needs a rope_theta"},
        {LANGUAGE, "\"kv_lora_rank\": 32", "\"kv_lora_rank\":0", BAD, "kv_lora_rank is 0"},
        {LANGUAGE, "\"q_lora_rank\": 20", "\"q_lora_rank\":0", BAD, "q_lora_rank is 0"},
        {LANGUAGE, "\"qk_rope_head_dim\": 8", "\"qk_rope_head_dim\":7", BAD, "qk_rope_head_dim: 7"},
        {LANGUAGE, "\"v_head_dim\": 16", "\"v_head_dim\":1000000", UNSUPPORTED,
         "num_attention_heads: 4 heads"},
    };
    for (size_t i = 0; i < sizeof yarn / sizeof *yarn; i++) refuse("mini-yarn", false, &yarn[i]);
    static const refusal noaux = {LANGUAGE, "\"n_group\": 1", "\"n_group\":12", BAD, "at least 2"};
    refuse("mini-base", false, &noaux);
}

static void test_vision_refusals(void **state) {
    (void)state;
    static const refusal cases[] = {
        {VISION, "\"heads\": 4", "\"heads\":5", BAD, "vision_config.heads: 5 does not divide"},
        {VISION, "\"image_size\": 70", "\"image_size\":84", BAD, "candidate_resolutions|70|84"},
        {VISION, "\"patch_size\": 14", "\"patch_size\":10", BAD,
         "processor_config.json: patch_size"},
        {VISION, "\"patch_size\": 14", "\"patch_size\":71", BAD, "patch_size: 71 gives 0 patches"},
        {VISION, "\"mlp_ratio\": 3.7362", "\"mlp_ratio\":0", BAD, "vision_config.mlp_ratio"},
        {VISION, "\"mlp_ratio\": 3.7362", "\"mlp_ratio\":1e5", BAD, "vision_config.mlp_ratio"},
        {VISION, "\"width\": 48", "\"width\":52", BAD, "input_dim: 48, expected 52"},
        {VISION, "\"width\": 48", "\"width\":-1", BAD, "vision_config.width is -1"},
        {VISION, "\"width\": 48", "\"class_token\":true,\"width\":48", UNSUPPORTED, "class_token"},
        {VISION, "\"width\": 48", "\"ignore_head\":false,\"width\":48", UNSUPPORTED, "ignore_head"},
        {VISION, "\"width\": 48", "\"global_pool\":\"token\",\"width\":48", UNSUPPORTED,
         "vision_config.global_pool: \"token\""},
        {VISION, "\"width\": 48", "\"global_pool\":null,\"width\":48", BAD, "global_pool is null"},
        {"{", VISION ": {", VISION ":7,\"y\":{", BAD, "vision_config is 7"},
        {PROJECTOR, "\"n_embed\": 64", "\"n_embed\":65", BAD, "n_embed is 65, expected 64"},
        {PROJECTOR, "\"input_dim\": 48", "\"input_dim\":49", BAD, "projector_config.input_dim: 49"},
        {PROJECTOR, "\"depth\": 2", "\"depth\":9", UNSUPPORTED, "projector_config.depth: 9"},
        {PROJECTOR, "\"depth\": 2", "\"depth\":-2", BAD, "projector_config.depth is -2"},
        {PROJECTOR, "\"mlp_ratio\": 1", "\"mlp_ratio\":1.5", BAD,
         "projector_config.mlp_ratio is 1.5"},
        {PROJECTOR, "\"mlp_ratio\": 1", "\"mlp_ratio\":100000", BAD, "projector_config.mlp_ratio"},
        {PROJECTOR, "\"downsample_ratio\": 2", "\"downsample_ratio\":3", BAD,
         "processor_config.json: downsample_ratio: 2, expected 3"},
        {PROJECTOR, "\"depth\": 2", "\"depth\":2,\"token_pooling\":true", UNSUPPORTED,
         "projector_config.token_pooling"},
        {PROJECTOR, "\"downsample_mlp_gelu\"", "\"hybrid\"", UNSUPPORTED,
         "projector_config.projector_type: \"hybrid\""},
        {PROJECTOR, "\"downsample_mlp_gelu\"", "\"linear\"", UNSUPPORTED,
         "projector_config.downsample_ratio: 2, expected 1"},
        {PROJECTOR, "\"downsample_mlp_gelu\"", "\"linear\",\"token_pooling\":true", UNSUPPORTED,
         "projector_config.token_pooling: 5 patches"},
        {PROJECTOR, "\"downsample_mlp_gelu\"", "\"identity\"", BAD, "\"identity\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse("mini-tiny", false, &cases[i]);
}

static void test_top_refusals(void **state) {
    (void)state;
    static const refusal cases[] = {
        {"{", "\"tile_tag\": \"2D\"", "\"tile_tag\":\"1D\"", UNSUPPORTED, "tile_tag: \"1D\""},
        {"{", "\"tile_tag\": \"2D\",", "", BAD, "a/config.json: tile_tag is absent"},
        {"{", "\"head\"", "1", BAD, "global_view_pos is 1"},
        {"{", "\"deepseek_vl_v2\"", "\"llava\"", UNSUPPORTED, "model_type: \"llava\""},
        {"{", "{", "[", BAD, "line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse("mini-tiny", false, &cases[i]);
}

static void test_processor_refusals(void **state) {
    (void)state;
    static const refusal cases[] = {
        {"{", "\"patch_size\": 14,", "", BAD, "a/processor_config.json: patch_size is absent"},
        {"{", "\"downsample_ratio\": 2,", "", BAD, "downsample_ratio is absent"},
        {"{", "\"candidate_resolutions\"", "\"x\"", BAD, "candidate_resolutions is absent"},
        {"{", "\"candidate_resolutions\": [", "\"candidate_resolutions\":[],\"x\":[", BAD,
         "candidate_resolutions is a list of 0"},
        {"candidate", "140", "141", BAD, "entry 1 is [70, 141], expected multiples of 70"},
        {"candidate", "140", "-140", BAD, "entry 1 is [70, -140]"},
        {"candidate", "140", "\"140\"", BAD, "entry 1 is no pair"},
        {"candidate", "140", "140,1", BAD, "entry 1 is no pair"},
        {"candidate", "140", "70000", UNSUPPORTED, "entry 1|64 tiles"},
        {"candidate", "140", "9007199254740992", BAD, "entry 1"},
        {"{", "\"sft_format\": \"deepseek\"", "\"sft_format\":\"plain\"", UNSUPPORTED,
         "sft_format: \"plain\""},
        {"{", "\"<image>\"", "\"\"", BAD, "image_token"},
        {"{", "\"<image>\"", "null", BAD, "image_token is null"},
        {"image_mean", "0.5", "2", BAD, "image_mean: entry 0"},
        {"image_mean", "0.5", "\"x\"", BAD, "image_mean: entry 0"},
        {"image_std", "0.5", "0", BAD, "image_std: entry 0"},
        {"image_std", "0.5", "0.5,1", BAD, "image_std is a list of 4"},
        {"{", "\"normalize\": true", "\"normalize\":\"yes\"", BAD, "normalize is \"yes\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse("mini-tiny", true, &cases[i]);
}

/* The same model_type, another model. */
static void test_ocr(void **state) {
    (void)state;
    static const refusal cases[] = {
        {"{", "\"DeepseekVLV2ForCausalLM\"", "\"DeepseekOCRForCausalLM\"", UNSUPPORTED,
         "a/config.json: this is a DeepSeek-OCR model"},
        {VISION, "\"width\": 48", "\"width\":{\"clip-l-14-224\":{},\"sam_vit_b\":{}}", UNSUPPORTED,
         "DeepSeek-OCR"},
        {VISION, "\"siglip_so400m_patch14_384\"", "\"deeplip_b_l\"", UNSUPPORTED, "DeepSeek-OCR"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse("mini-tiny", false, &cases[i]);
}

static void test_files(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_config c;
    vl2_error err = {0};
    assert_says(vl2_config_read(&c, s.folder, &err), &err, VL2_ERR_IO, "/config.json|No such file");
    texts t = read_texts("mini-tiny");
    scratch_write(&s, "config.json", t.config, strlen(t.config));
    err = (vl2_error){0};
    assert_says(vl2_config_read(&c, s.folder, &err), &err, VL2_ERR_IO,
                "/processor_config.json|No such file");
    scratch_write(&s, "processor_config.json", "", 0);
    err = (vl2_error){0};
    assert_says(vl2_config_read(&c, s.folder, &err), &err, VL2_ERR_FORMAT,
                "/processor_config.json|empty");
    scratch_write(&s, "processor_config.json", "[]", 2);
    err = (vl2_error){0};
    assert_says(vl2_config_read(&c, s.folder, &err), &err, VL2_ERR_FORMAT, "no JSON object");
    free_texts(&t);
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_nulls_that_count),
        cmocka_unit_test(test_moe_layers),
        cmocka_unit_test(test_other_projectors),
        cmocka_unit_test(test_image_tokens),
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_language_refusals),
        cmocka_unit_test(test_group_refusals),
        cmocka_unit_test(test_vision_refusals),
        cmocka_unit_test(test_top_refusals),
        cmocka_unit_test(test_processor_refusals),
        cmocka_unit_test(test_ocr),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
