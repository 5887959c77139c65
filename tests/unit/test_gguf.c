/* GGUF heads: what is written is read, and what contradicts itself is refused. (Whole files, ours and
 * others': tests/cli/test_quantize.py.) */
#include "unit/scratch.h"

#include "base/mem.h"
#include "model/gguf_write.h"

typedef struct file {
    vl2_buf bytes;
    vl2_gguf_out out;
} file;

static void ok(vl2_status status) { assert_int_equal(status, VL2_OK); }

/* Two tensors and a key of each kind. */
static file make(void) {
    file f = {0};
    vl2_gguf_out *o = &f.out;
    const size_t matrix[] = {3, 64}, vector[] = {5};
    ok(vl2_gguf_add_text(o, "general.architecture", "deepseek2", 9, NULL));
    ok(vl2_gguf_add_u32(o, "a.size", 4000000000u, NULL));
    ok(vl2_gguf_add_f32(o, "a.real", 0.5f, NULL));
    ok(vl2_gguf_add_bool(o, "a.flag", true, NULL));
    ok(vl2_gguf_add_array(o, "a.texts", VL2_GGUF_TEXT, 2, NULL));
    ok(vl2_gguf_add_element(o, "one", 3, NULL));
    ok(vl2_gguf_add_element(o, "", 0, NULL));
    ok(vl2_gguf_add_tensor(o, "blk.0.w", VL2_Q8_0, matrix, 2, 3 * 68, NULL));
    ok(vl2_gguf_add_tensor(o, "v", VL2_F32, vector, 1, 20, NULL));
    return f;
}

static void finish(file *f) {
    ok(vl2_gguf_head(&f->bytes, &f->out, NULL));
    assert_int_equal(f->bytes.size % VL2_GGUF_ALIGN, 0);
    for (uint64_t i = 0; i < f->out.data; i++) ok(vl2_buf_add(&f->bytes, "\x07", 1, NULL));
}

static void drop(file *f) {
    vl2_buf_free(&f->bytes);
    vl2_gguf_out_free(&f->out);
}

static void test_there_and_back(void **state) {
    (void)state;
    file f = make();
    vl2_gguf keys;
    vl2_safetensors_list list;
    vl2_error err = {0};
    size_t size, at = 0;
    double real;
    bool flag;
    const char *text;
    finish(&f);
    ok(vl2_gguf_parse(&keys, &list, f.bytes.data, f.bytes.size, "x.gguf", &err));
    ok(vl2_gguf_size(&size, &keys, "a.size", 0, &err));
    assert_int_equal(size, 4000000000u);
    ok(vl2_gguf_size(&size, &keys, "a.none", 7, &err));
    assert_int_equal(size, 7);
    ok(vl2_gguf_real(&real, &keys, "a.real", 0, &err));
    assert_true(real == 0.5);
    ok(vl2_gguf_flag(&flag, &keys, "a.flag", false, &err));
    assert_true(flag);
    ok(vl2_gguf_text(&text, &size, &keys, "general.architecture", &err));
    assert_int_equal(size, 9);
    assert_memory_equal(text, "deepseek2", 9);
    const vl2_gguf_value *texts = vl2_gguf_find(&keys, "a.texts");
    assert_memory_equal(vl2_gguf_next_text(texts, &at, &size), "one", 3);
    vl2_gguf_next_text(texts, &at, &size);
    assert_int_equal(size, 0);
    assert_int_equal(at, texts->bytes);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.tensors[0].name, "blk.0.w");
    assert_int_equal(list.tensors[0].type, VL2_Q8_0);
    assert_int_equal(list.tensors[0].shape[0], 3);
    assert_int_equal(list.tensors[0].shape[1], 64);
    assert_int_equal(list.tensors[0].bytes, 204);
    assert_ptr_equal((const char *)list.tensors[1].data, (const char *)list.tensors[0].data + 224);
    assert_int_equal(vl2_gguf_size(&size, &keys, "a.flag", 0, &err), VL2_ERR_FORMAT);
    assert_non_null(strstr(err.text, "x.gguf: key a.flag"));
    vl2_gguf_free(&keys);
    vl2_safetensors_free(&list);
    drop(&f);
}

static void refused(file *f, vl2_status status, const char *words) {
    vl2_gguf keys;
    vl2_safetensors_list list;
    vl2_error err = {0};
    assert_int_equal(vl2_gguf_parse(&keys, &list, f->bytes.data, f->bytes.size, "x.gguf", &err),
                     status);
    if (!strstr(err.text, words)) print_message("%s, not %s\n", err.text, words);
    assert_non_null(strstr(err.text, words));
    assert_non_null(strstr(err.text, "x.gguf"));
    drop(f);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t shape[2], rank, skip;
        vl2_dtype type;
        const char *words;
    } cases[] = {
        {"blk.0.w", {1, 32}, 2, 0, VL2_Q8_0, "blk.0.w"}, /* twice: found by the checkpoint */
        {"w", {1, 33}, 2, 0, VL2_Q8_0, "multiple of 32"},
        {"w", {0, 32}, 2, 0, VL2_F32, "size of 0"},
        {"w", {(size_t)1 << 41, 32}, 2, 0, VL2_F32, "2^40"},
        {"w", {(size_t)1 << 40, (size_t)1 << 40}, 2, 0, VL2_F32, "larger than any memory"},
        {"w", {1 << 20, 1 << 20}, 2, 0, VL2_F32, "fetch the file again"},
    };
    for (size_t i = 1; i < sizeof cases / sizeof *cases; i++) {
        file f = make();
        ok(vl2_gguf_add_tensor(&f.out, cases[i].name, cases[i].type, cases[i].shape, cases[i].rank,
                               0, NULL));
        finish(&f);
        refused(&f, VL2_ERR_FORMAT, cases[i].words);
    }
    file f = make();
    ok(vl2_gguf_add_u32(&f.out, "general.alignment", 12, NULL));
    finish(&f);
    refused(&f, VL2_ERR_FORMAT, "general.alignment");
    f = make(); /* one tensor lies on the other */
    f.out.data = 0;
    ok(vl2_gguf_add_tensor(&f.out, "over", VL2_F32, (size_t[]){8}, 1, 400, NULL));
    finish(&f);
    refused(&f, VL2_ERR_FORMAT, "share data");
}

/* Every length of the file but the whole one is refused, and none reads past it. */
static void test_cut_off(void **state) {
    (void)state;
    file f = make();
    finish(&f);
    for (size_t size = 0; size < f.bytes.size - 12; size++) { /* 12 bytes of padding at the end */
        vl2_gguf keys;
        vl2_safetensors_list list;
        vl2_error err = {0};
        char *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        memcpy(copy, f.bytes.data, size);
        assert_int_not_equal(vl2_gguf_parse(&keys, &list, copy, size, "x.gguf", &err), VL2_OK);
        assert_true(err.text[0] != 0);
        free(copy);
    }
    drop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
