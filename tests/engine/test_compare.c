/* The comparer must see what it is there to see: one wrong number, shape, name or id - and a model
 * with one wrong weight must fail it. */
#include "engine/compare.h"
#include "engine/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const float reference[6] = {1, -1, 1, -1, 1, -1}; /* rms 1 */

/* A trace of one float tensor and one of integers. */
static vl2_checkpoint *small_trace(char *path, const float *values, int32_t id, size_t width) {
    vl2_error err = {0};
    vl2_checkpoint *file;
    vl2_tensor_plan plan[] = {
        {.name = "logits", .type = VL2_F32, .rank = 2, .shape = {6 / width, width}, .data = values},
        {.name = "greedy_ids", .type = VL2_I32, .rank = 1, .shape = {1}, .data = &id},
    };
    strcpy(path, "/tmp/vl2-small-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    must(err, vl2_safetensors_write(path, plan, 2, &err));
    must(err, vl2_checkpoint_open_file(&file, path, &err));
    unlink(path);
    return file;
}

static trace_difference against_reference(const float *values, int32_t id, size_t width) {
    char path[64];
    vl2_checkpoint *wanted = small_trace(path, reference, 7, 3);
    vl2_checkpoint *got = small_trace(path, values, id, width);
    trace_difference d = compare_traces(got, wanted, TRACE_TOLERANCE);
    vl2_checkpoint_close(got);
    vl2_checkpoint_close(wanted);
    return d;
}

static void test_sees_small_things(void **state) {
    (void)state;
    float near[6], off[6], nan[6];
    memcpy(near, reference, sizeof near);
    memcpy(off, reference, sizeof off);
    memcpy(nan, reference, sizeof nan);
    near[5] += 0.9e-4f;
    off[5] += 1.1e-4f;
    nan[2] = NAN;
    assert_string_equal(against_reference(reference, 7, 3).problem, "");
    assert_string_equal(against_reference(near, 7, 3).problem, "");
    assert_non_null(strstr(against_reference(off, 7, 3).problem, "logits is off by 0.00011"));
    assert_non_null(strstr(against_reference(nan, 7, 3).problem, "logits is off by inf"));
    assert_string_equal(against_reference(reference, 8, 3).problem, "greedy_ids is not equal");
    assert_string_equal(against_reference(reference, 7, 2).problem,
                        "logits has another type or shape");
}

/* Copies a checkpoint of one file, with `change` added to the first number of a tensor. */
static void copy_with_error(const char *folder, const char *from, const char *tensor,
                            float change) {
    static const char *const names[] = {
        "config.json",           "processor_config.json",   "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "model.safetensors"};
    char path[MAX_PATH_SIZE];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", from, names[i]);
        FILE *in = fopen(path, "rb");
        if (!in) continue;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *out = fopen(path, "wb");
        assert_non_null(out);
        for (int c; (c = fgetc(in)) != EOF;) fputc(c, out);
        fclose(in);
        assert_int_equal(fclose(out), 0);
    }
    vl2_error err = {0};
    vl2_checkpoint *file;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    must(err, vl2_checkpoint_open_file(&file, path, &err));
    const vl2_tensor *t = vl2_checkpoint_find(file, tensor);
    assert_non_null(t);
    assert_int_equal(t->type, VL2_F32);
    float value;
    memcpy(&value, t->data, sizeof value);
    value += change;
    const vl2_tensor *first = t;
    for (size_t i = 0; i < vl2_checkpoint_count(file); i++) {
        const vl2_tensor *other = vl2_checkpoint_at(file, i);
        if (other->data < first->data) first = other;
    }
    size_t offset = (size_t)((const char *)t->data - (const char *)first->data);
    FILE *out = fopen(path, "r+b");
    unsigned char length[8];
    assert_int_equal(fread(length, 1, 8, out), 8);
    size_t header = 0;
    for (int i = 7; i >= 0; i--) header = header << 8 | length[i];
    fseek(out, (long)(8 + header + offset), SEEK_SET);
    assert_int_equal(fwrite(&value, sizeof value, 1, out), 1);
    fclose(out);
    vl2_checkpoint_close(file);
}

static void remove_folder(const char *folder) {
    char command[MAX_PATH_SIZE];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void test_sees_one_wrong_weight(void **state) {
    (void)state;
    static const char *const tensors[] = {
        "vision.blocks.0.attn.proj.bias", "projector.layers.0.bias",
        "language.model.layers.1.mlp.shared_experts.down_proj.weight",
        "language.model.layers.0.self_attn.kv_a_layernorm.weight"};
    golden_case c = golden_named("mini-small/one_image");
    vl2_error err = {0};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char folder[] = "/tmp/vl2-wrong-XXXXXX", path[MAX_PATH_SIZE];
        assert_non_null(mkdtemp(folder));
        copy_with_error(folder, c.model, tensors[i], 0.05f);
        vl2_engine *engine = open_engine(folder, VL2_COMPUTE_F32, 2, NULL);
        vl2_prompt *prompt = open_prompt(engine, c.conversation);
        snprintf(path, sizeof path, "%s/trace.safetensors", folder);
        must(err, vl2_dev_trace(path, engine, prompt, NULL, &err));
        trace_difference d = compare_trace_files(path, c.trace, TRACE_TOLERANCE);
        if (!d.problem[0]) fail_msg("an error in %s was not seen", tensors[i]);
        vl2_prompt_free(prompt);
        vl2_engine_close(engine);
        remove_folder(folder);
    }
}

/* A NaN in a small tensor is found at opening; one in a matrix never becomes an answer. */
static void test_not_a_number(void **state) {
    (void)state;
    static const char *const tensors[] = {"vision.blocks.0.attn.proj.weight",
                                          "language.lm_head.weight", "language.model.norm.weight"};
    golden_case c = golden_named("mini-small/one_image");
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char folder[] = "/tmp/vl2-nan-XXXXXX";
        vl2_error err = {0};
        vl2_engine *engine = NULL;
        vl2_prompt *prompt = NULL;
        vl2_answer *answer = NULL;
        assert_non_null(mkdtemp(folder));
        copy_with_error(folder, c.model, tensors[i], NAN);
        vl2_status status = vl2_engine_open(&engine, folder, NULL, &err);
        if (i == 2) {
            assert_int_equal(status, VL2_ERR_FORMAT);
            assert_non_null(strstr(err.text, "language.model.norm.weight has NaN"));
        } else {
            assert_int_equal(status, VL2_OK);
            prompt = open_prompt(engine, c.conversation);
            assert_int_equal(vl2_generate(&answer, engine, prompt, NULL, &err), VL2_ERR_NUMERIC);
            assert_non_null(strstr(err.text, "not a number"));
        }
        assert_null(answer);
        vl2_prompt_free(prompt);
        vl2_engine_close(engine);
        remove_folder(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sees_small_things),
        cmocka_unit_test(test_sees_one_wrong_weight),
        cmocka_unit_test(test_not_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
