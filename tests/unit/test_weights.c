#include "unit/scratch.h"

#include "model/published.h"
#include "model/weights.h"

#include <math.h>

/* ---- a golden's checkpoint, with one thing changed ---------------------------------------------- */

static void folder_of(char out[512], const char *name) {
    snprintf(out, 512, "%s/%s", VL2_TEST_GOLDEN, name);
}

static void read_config(vl2_config *out, const char *name) {
    char folder[512];
    vl2_error err = {0};
    folder_of(folder, name);
    if (vl2_config_read(out, folder, &err) != VL2_OK) fail_msg("%s", err.text);
}

static vl2_checkpoint *open_golden(const char *name) {
    char folder[512];
    vl2_checkpoint *c;
    vl2_error err = {0};
    folder_of(folder, name);
    if (vl2_checkpoint_open(&c, folder, &err) != VL2_OK) fail_msg("%s", err.text);
    return c;
}

typedef struct change {
    const char *tensor;
    enum { DROP, RESHAPE, RETYPE, POISON, RENAME } what;
    const char *words; /* of the refusal; NULL: it binds all the same */
    vl2_status status;
} change;

/* Writes the golden's tensors to one file, with the change, and returns how many there were. */
static void write_changed(const char *path, const vl2_checkpoint *from, const change *ch) {
    size_t n = 0, count = vl2_checkpoint_count(from);
    vl2_tensor_plan *plan = calloc(count, sizeof *plan);
    char *poison = NULL;
    bool found = !ch;
    assert_non_null(plan);
    for (size_t i = 0; i < count; i++) {
        const vl2_tensor *t = vl2_checkpoint_at(from, i);
        vl2_tensor_plan *p = &plan[n];
        *p = (vl2_tensor_plan){.name = t->name, .type = t->type, .rank = t->rank, .data = t->data};
        memcpy(p->shape, t->shape, sizeof p->shape);
        n++;
        if (!ch || strcmp(t->name, ch->tensor) != 0) continue;
        found = true;
        switch (ch->what) {
        case DROP: n--; break;
        case RESHAPE: p->shape[p->rank++] = 1; break;
        case RETYPE: p->type = t->type == VL2_F32 ? VL2_I32 : VL2_I16; break;
        case RENAME: p->name = "something.else"; break;
        case POISON:
            poison = malloc(t->bytes);
            assert_non_null(poison);
            memcpy(poison, t->data, t->bytes);
            memset(poison + t->bytes / 2, 0xFF, t->type == VL2_F32 ? 4 : 2);
            p->data = poison;
            break;
        }
    }
    if (!found) fail_msg("no tensor %s", ch->tensor);
    vl2_error err = {0};
    if (vl2_safetensors_write(path, plan, n, &err) != VL2_OK) fail_msg("%s", err.text);
    free(plan);
    free(poison);
}

static void check_change(const char *name, const change *ch) {
    scratch s = scratch_make();
    vl2_config config;
    vl2_weights w = {0};
    vl2_error err = {0};
    read_config(&config, name);
    vl2_checkpoint *golden = open_golden(name), *changed;
    write_changed(scratch_path(&s, "model.safetensors"), golden, ch);
    if (vl2_checkpoint_open(&changed, s.folder, &err) != VL2_OK) fail_msg("%s", err.text);
    vl2_status status = vl2_weights_bind(&w, &config, changed, &err);
    if (ch->words) {
        assert_says(status, &err, ch->status, s.folder);
        assert_says(status, &err, ch->status, ch->tensor);
        assert_says(status, &err, ch->status, ch->words);
        assert_null(w.owned);
    } else if (status != VL2_OK)
        fail_msg("%s", err.text);
    vl2_weights_free(&w);
    vl2_checkpoint_close(changed);
    vl2_checkpoint_close(golden);
    scratch_remove(&s);
}

/* ---- binding ----------------------------------------------------------------------------------- */

static void check_mat(const vl2_mat *mat, const vl2_checkpoint *c, const char *name, size_t rows,
                      size_t cols) {
    const vl2_tensor *t = vl2_checkpoint_find(c, name);
    assert_non_null(t);
    assert_ptr_equal(mat->data, t->data); /* in place */
    assert_int_equal(mat->type, t->type);
    assert_int_equal(mat->rows, rows);
    assert_int_equal(mat->cols, cols);
    assert_int_equal(mat->stride, cols * vl2_dtype_of(t->type)->block_bytes);
}

static void check_vec(const vl2_vec *vec, const vl2_checkpoint *c, const char *name, size_t size) {
    const vl2_tensor *t = vl2_checkpoint_find(c, name);
    assert_non_null(t);
    assert_int_equal(vec->size, size);
    float *expected = malloc(size * sizeof *expected);
    assert_non_null(expected);
    vl2_dtype_to_f32(expected, t->data, t->type, size);
    assert_memory_equal(vec->data, expected, size * sizeof *expected);
    free(expected);
}

static void test_goldens(void **state) {
    (void)state;
    static const char *const names[] = {"mini-tiny", "mini-small",   "mini-base",      "mini-384",
                                        "mini-yarn", "mini-grouped", "mini-dense-ends"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        vl2_config config;
        vl2_weights w;
        vl2_error err = {0};
        read_config(&config, names[i]);
        vl2_checkpoint *c = open_golden(names[i]);
        if (vl2_weights_bind(&w, &config, c, &err) != VL2_OK) fail_msg("%s", err.text);
        size_t dv = config.vision.width, d = config.lang.hidden;
        check_mat(&w.embed, c, "language.model.embed_tokens.weight", config.lang.vocab, d);
        check_mat(&w.head, c, "language.lm_head.weight", config.lang.vocab, d);
        check_mat(&w.vision.patch.w, c, "vision.patch_embed.proj.weight", dv, 3 * 14 * 14);
        check_vec(&w.vision.pos, c, "vision.pos_embed",
                  config.vision.grid * config.vision.grid * dv);
        check_mat(&w.vision.blocks[1].qkv.w, c, "vision.blocks.1.attn.qkv.weight", 3 * dv, dv);
        check_vec(&w.vision.blocks[1].norm2.b, c, "vision.blocks.1.norm2.bias", dv);
        check_vec(&w.projector.separator, c, "view_seperator", d);
        check_mat(&w.projector.layers[1].w, c, "projector.layers.2.weight",
                  config.projector.linears == 2 ? d : config.projector.hidden,
                  config.projector.hidden);
        check_vec(&w.layers[1].post_norm.w, c,
                  "language.model.layers.1.post_attention_layernorm.weight", d);
        for (size_t l = 0; l < config.lang.layers; l++) {
            assert_int_equal(w.layers[l].is_moe, vl2_config_is_moe(&config.lang, l));
            assert_int_equal(w.layers[l].experts != NULL, w.layers[l].is_moe);
            assert_int_equal(w.layers[l].mlp.gate.data != NULL, !w.layers[l].is_moe);
        }
        assert_true(w.parameters > w.activated && w.activated > 0);
        vl2_weights_free(&w);
        vl2_weights_free(&w);
        vl2_checkpoint_close(c);
    }
}

static void test_attention_forms(void **state) {
    (void)state;
    vl2_config config;
    vl2_weights w;
    read_config(&config, "mini-yarn"); /* MLA with q_lora and biases */
    vl2_checkpoint *c = open_golden("mini-yarn");
    assert_int_equal(vl2_weights_bind(&w, &config, c, NULL), VL2_OK);
    const vl2_layer *l = &w.layers[2];
    check_mat(&l->q_a.w, c, "language.model.layers.2.self_attn.q_a_proj.weight", 20, 64);
    check_vec(&l->q_a.b, c, "language.model.layers.2.self_attn.q_a_proj.bias", 20);
    check_mat(&l->q_b, c, "language.model.layers.2.self_attn.q_b_proj.weight", 4 * 24, 20);
    check_mat(&l->kv_a.w, c, "language.model.layers.2.self_attn.kv_a_proj_with_mqa.weight", 40, 64);
    check_mat(&l->kv_b, c, "language.model.layers.2.self_attn.kv_b_proj.weight", 4 * 32, 32);
    check_vec(&l->kv_norm.w, c, "language.model.layers.2.self_attn.kv_a_layernorm.weight", 32);
    check_vec(&l->o.b, c, "language.model.layers.2.self_attn.o_proj.bias", 64);
    assert_null(l->q.w.data);
    assert_null(l->k.w.data);
    check_mat(&l->router, c, "language.model.layers.2.mlp.gate.weight", 8, 64);
    check_mat(&l->experts[7].down, c, "language.model.layers.2.mlp.experts.7.down_proj.weight", 64,
              32);
    check_mat(&l->shared.up, c, "language.model.layers.2.mlp.shared_experts.up_proj.weight", 32,
              64);
    vl2_weights_free(&w);
    vl2_checkpoint_close(c);
    read_config(&config, "mini-grouped"); /* MHA with grouped keys, a router with a bias */
    c = open_golden("mini-grouped");
    assert_int_equal(vl2_weights_bind(&w, &config, c, NULL), VL2_OK);
    check_mat(&w.layers[2].k.w, c, "language.model.layers.2.self_attn.k_proj.weight", 32, 64);
    check_vec(&w.layers[2].router_bias, c,
              "language.model.layers.2.mlp.gate.e_score_correction_bias", 8);
    assert_null(w.layers[2].q.b.data);
    assert_null(w.layers[2].kv_b.data);
    vl2_weights_free(&w);
    vl2_checkpoint_close(c);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *model;
        change change;
    } cases[] = {
        {"mini-tiny",
         {"vision.patch_embed.proj.weight", DROP, "is missing, expected [48, 3, 14, 14]",
          VL2_ERR_FORMAT}},
        {"mini-tiny", {"image_newline", DROP, "is missing, expected [64]", VL2_ERR_FORMAT}},
        {"mini-tiny",
         {"language.lm_head.weight", DROP, "is missing, expected [576, 64]", VL2_ERR_FORMAT}},
        {"mini-tiny",
         {"language.model.layers.3.mlp.experts.7.up_proj.weight", DROP,
          "is missing, expected [32, 64]", VL2_ERR_FORMAT}},
        {"mini-tiny",
         {"projector.layers.2.bias", RENAME, "is missing, expected [64]", VL2_ERR_FORMAT}},
        {"mini-base",
         {"language.model.layers.1.mlp.gate.e_score_correction_bias", DROP,
          "is missing, expected [12]", VL2_ERR_FORMAT}},
        {"mini-yarn",
         {"language.model.layers.0.self_attn.kv_a_proj_with_mqa.bias", DROP,
          "is missing, expected [40]", VL2_ERR_FORMAT}},
        {"mini-tiny",
         {"language.model.norm.weight", RESHAPE, "is [64, 1], expected [64]", VL2_ERR_FORMAT}},
        {"mini-small",
         {"language.model.layers.1.self_attn.kv_b_proj.weight", RESHAPE,
          "is [128, 32, 1], expected [128, 32]", VL2_ERR_FORMAT}},
        {"mini-tiny",
         {"language.model.embed_tokens.weight", RETYPE, "is I32, expected F32, F16 or",
          VL2_ERR_UNSUPPORTED}},
        {"mini-yarn",
         {"vision.norm.bias", RETYPE, "is I16, expected F32, F16 or BF16", VL2_ERR_UNSUPPORTED}},
        {"mini-yarn",
         {"language.model.layers.2.input_layernorm.weight", POISON, "has NaN at element 32",
          VL2_ERR_FORMAT}},
        {"mini-tiny",
         {"vision.blocks.2.norm1.bias", POISON, "has NaN at element 24", VL2_ERR_FORMAT}},
        {"mini-tiny", {"vision.attn_pool.latent", DROP, NULL, VL2_OK}}, /* nothing uses it */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_change(cases[i].model, &cases[i].change);
}

static void test_tied(void **state) {
    (void)state;
    vl2_config config;
    vl2_weights w;
    read_config(&config, "mini-tiny");
    vl2_checkpoint *c = open_golden("mini-tiny");
    assert_int_equal(vl2_weights_bind(&w, &config, c, NULL), VL2_OK);
    uint64_t untied = w.parameters, activated = w.activated;
    vl2_weights_free(&w);
    config.lang.tie_embeddings = true;
    assert_int_equal(vl2_weights_bind(&w, &config, c, NULL), VL2_OK);
    assert_ptr_equal(w.head.data, w.embed.data);
    assert_int_equal(untied - w.parameters, 576 * 64);
    assert_int_equal(w.activated, activated);
    vl2_weights_free(&w);
    vl2_checkpoint_close(c);
}

/* A file whose data begins at an odd byte: copied, so that numbers can be read where they stand. */
static void test_unaligned(void **state) {
    (void)state;
    size_t size;
    char *bytes = scratch_read(VL2_TEST_GOLDEN "/mini-384/model.safetensors", &size);
    char *room = malloc(size + 64);
    assert_non_null(room);
    char *odd = room + (65 - (uintptr_t)room % 64) % 64;
    memcpy(odd, bytes, size);
    vl2_config config;
    vl2_weights w;
    vl2_checkpoint *c;
    vl2_error err = {0};
    read_config(&config, "mini-384");
    assert_int_equal(vl2_checkpoint_open_memory(&c, odd, size, "odd", NULL), VL2_OK);
    if (vl2_weights_bind(&w, &config, c, &err) != VL2_OK) fail_msg("%s", err.text);
    const vl2_tensor *t = vl2_checkpoint_find(c, "language.lm_head.weight");
    assert_int_equal((uintptr_t)w.head.data % sizeof(float), 0);
    assert_memory_equal(w.head.data, t->data, t->bytes);
    vl2_weights_free(&w);
    vl2_checkpoint_close(c);
    free(room);
    free(bytes);
}

/* One expert in float32 among bfloat16 ones: the layer's gates and ups are widened, all else stays. */
static void test_mixed_types(void **state) {
    (void)state;
    static const char odd[] = "language.model.layers.2.mlp.experts.3.up_proj.weight";
    scratch s = scratch_make();
    vl2_config config;
    vl2_weights w;
    vl2_error err = {0};
    read_config(&config, "mini-yarn");
    vl2_checkpoint *golden = open_golden("mini-yarn"), *mixed;
    size_t n = vl2_checkpoint_count(golden);
    vl2_tensor_plan *plan = calloc(n, sizeof *plan);
    float wide[32 * 64], row[64];
    assert_non_null(plan);
    for (size_t i = 0; i < n; i++) {
        const vl2_tensor *t = vl2_checkpoint_at(golden, i);
        plan[i] = (vl2_tensor_plan){t->name, t->type, t->rank, {0}, t->data};
        memcpy(plan[i].shape, t->shape, sizeof t->shape);
        if (strcmp(t->name, odd) != 0) continue;
        vl2_dtype_to_f32(wide, t->data, t->type, 32 * 64);
        plan[i].type = VL2_F32;
        plan[i].data = wide;
    }
    assert_int_equal(vl2_safetensors_write(scratch_path(&s, "model.safetensors"), plan, n, NULL),
                     VL2_OK);
    assert_int_equal(vl2_checkpoint_open(&mixed, s.folder, NULL), VL2_OK);
    if (vl2_weights_bind(&w, &config, mixed, &err) != VL2_OK) fail_msg("%s", err.text);
    const vl2_layer *layer = &w.layers[2];
    for (size_t j = 0; j < config.lang.experts; j++) {
        assert_int_equal(layer->experts[j].gate.type, VL2_F32);
        assert_int_equal(layer->experts[j].up.type, VL2_F32);
        assert_int_equal(layer->experts[j].down.type, VL2_BF16);
    }
    const vl2_tensor *t =
        vl2_checkpoint_find(golden, "language.model.layers.2.mlp.experts.7.gate_proj.weight");
    const vl2_mat *gate = &layer->experts[7].gate;
    for (size_t r = 0; r < gate->rows; r++) {
        vl2_dtype_to_f32(row, (const uint16_t *)t->data + r * 64, t->type, 64);
        assert_memory_equal((const char *)gate->data + r * gate->stride, row, sizeof row);
    }
    assert_int_equal(w.layers[1].experts[3].up.type, VL2_BF16);
    assert_int_equal(layer->shared.up.type, VL2_BF16);
    vl2_weights_free(&w);
    vl2_checkpoint_close(mixed);
    vl2_checkpoint_close(golden);
    free(plan);
    scratch_remove(&s);
}

/* ---- made-up weights --------------------------------------------------------------------------- */

static void test_dummy(void **state) {
    (void)state;
    static const vl2_dtype types[] = {VL2_F32, VL2_F16, VL2_BF16};
    for (size_t i = 0; i < 3; i++) {
        vl2_config config;
        vl2_weights w;
        read_config(&config, "mini-base");
        assert_int_equal(vl2_weights_dummy(&w, &config, types[i], NULL), VL2_OK);
        const vl2_mat *router = &w.layers[1].router;
        float rows[2][64];
        for (size_t r = 0; r < 2; r++)
            vl2_dtype_to_f32(rows[r], (const char *)router->data + r * router->stride, types[i],
                             64);
        float most = 0;
        for (size_t k = 0; k < 64; k++) {
            most = fmaxf(most, fabsf(rows[0][k]));
            assert_true(fabsf(rows[0][k]) <= 0.021f);
        }
        assert_true(most > 0.01f);
        assert_memory_not_equal(rows[0], rows[1], sizeof rows[0]);
        assert_true(w.norm.w.data[63] == 1);
        assert_int_equal(w.layers[3].experts[11].down.rows, 64);
        vl2_weights_free(&w);
    }
    vl2_config config;
    vl2_weights w;
    vl2_error err = {0};
    read_config(&config, "mini-base");
    assert_says(vl2_weights_dummy(&w, &config, VL2_I8, &err), &err, VL2_ERR_ARGUMENT, "I8");
}

/* docs/MODEL.md §1 counts what the published models have; the pooling head that nothing uses, 15 M
 * parameters, is not bound. */
static void check_counts(const char *name, double total, double activated) {
    vl2_config config;
    assert_int_equal(vl2_config_published(&config, name, NULL), VL2_OK);
    const vl2_language_config *l = &config.lang;
    double d = (double)l->hidden, expert = 3 * d * (double)l->expert_width;
    double moe = (double)(l->layers - l->first_dense), dense = (double)l->first_dense;
    double h = (double)l->heads;
    double attention = l->use_mla ? d * h * (double)(l->nope_dim + l->rope_dim) +
                                        d * (double)(l->kv_lora + l->rope_dim) +
                                        (double)l->kv_lora * h * (double)(l->nope_dim + l->v_dim) +
                                        h * (double)l->v_dim * d
                                  : 4 * d * d;
    double rest = attention * (double)l->layers + dense * 3 * d * (double)l->dense_width +
                  moe * (3 * d * (double)l->shared_width + d * (double)l->experts) +
                  (double)l->vocab * d;
    double all = rest + moe * (double)l->experts * expert + (double)l->vocab * d;
    double some = rest + moe * (double)l->experts_per_token * expert;
    double tower = 0.42e9; /* the vision tower and projector */
    assert_true(fabs((all + tower) / total - 1) < 0.02);
    assert_true(fabs((some + tower) / activated - 1) <
                0.19); /* the page rounds, and counts freely */
}

static void test_published_counts(void **state) {
    (void)state;
    check_counts("tiny", 3.37e9, 1.0e9);
    check_counts("small", 16.1e9, 2.8e9);
    check_counts("base", 27.5e9, 4.5e9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),   cmocka_unit_test(test_attention_forms),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_tied),
        cmocka_unit_test(test_unaligned), cmocka_unit_test(test_mixed_types),
        cmocka_unit_test(test_dummy),     cmocka_unit_test(test_published_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
