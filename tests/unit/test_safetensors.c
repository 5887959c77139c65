#include "unit/safetensors_fixture.h"

#include "model/safetensors.h"

/* The bytes stand in memory of just their size, so that a sanitizer sees any step beyond. */
static void refuse(st_bytes b, vl2_status status, const char *words) {
    uint8_t *exact = malloc(b.size ? b.size : 1);
    assert_non_null(exact);
    memcpy(exact, b.data, b.size);
    vl2_safetensors_list list;
    vl2_error err = {0};
    assert_says(vl2_safetensors_parse(&list, exact, b.size, "m.safetensors", &err), &err, status,
                "m.safetensors");
    assert_says(err.status, &err, status, words);
    free(exact);
    free(b.data);
}

static void test_header_lengths(void **state) {
    (void)state;
    for (size_t size = 0; size < 8; size++) {
        st_bytes b = st_make("{}", 0);
        b.size = size;
        char words[64];
        snprintf(words, sizeof words, "%zu bytes are no safetensors", size);
        refuse(b, VL2_ERR_FORMAT, words);
    }
    refuse(st_make_lying(3, "{}", 0), VL2_ERR_FORMAT, "says 3 bytes, the file has 10|cut short");
    refuse(st_make_lying(1, "{}", 0), VL2_ERR_FORMAT, "line 1");
    refuse(st_make_lying(0, "{}", 0), VL2_ERR_FORMAT, "empty");
    refuse(st_make_lying(UINT64_MAX, "{}", 0), VL2_ERR_FORMAT,
           "a header of 18446744073709551615 bytes");
    refuse(st_make_lying(100000001, "{}", 0), VL2_ERR_FORMAT,
           "a header of 100000001 bytes|no safetensors file");
    refuse(st_make_lying((uint64_t)1 << 63, "{}", 0), VL2_ERR_FORMAT, "9223372036854775808");
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:1\n";
    st_bytes b = st_make(pointer, 0);
    memmove(b.data, b.data + 8, sizeof pointer - 1);
    b.size = sizeof pointer - 1;
    refuse(b, VL2_ERR_FORMAT, "Git LFS pointer");
}

#define T(name, type, shape, offsets)                                                              \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_lying_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        vl2_status status;
        const char *words;
    } cases[] = {
        {"[]", 0, VL2_ERR_FORMAT, "no JSON object"},
        {"{\"a\":1}", 0, VL2_ERR_FORMAT, "entry a describes no tensor"},
        {"{\"a\":{}}", 0, VL2_ERR_FORMAT, "tensor a has no dtype"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[0,4]") "}", 4, VL2_ERR_FORMAT,
         "duplicate"},
        {"{" T("a", "F8_E4M3", "[1]", "[0,1]") "}", 1, VL2_ERR_UNSUPPORTED,
         "tensor a has dtype \"F8_E4M3\", expected F32"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, VL2_ERR_FORMAT,
         "tensor a: shape must be a list"},
        {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, VL2_ERR_FORMAT, "tensor a: dimension 0"},
        {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, VL2_ERR_FORMAT, "tensor a: dimension 0"},
        {"{" T("a", "F32", "[1,\"1\"]", "[0,4]") "}", 4, VL2_ERR_FORMAT, "tensor a: dimension 1"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4, VL2_ERR_FORMAT,
         "tensor a: dimension 1 of its shape"},
        {"{" T("a", "F64", "[281474976710656,8192]", "[0,4]") "}", 4, VL2_ERR_FORMAT,
         "tensor a: dimension 1 of its shape"},
        {"{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, VL2_ERR_FORMAT,
         "tensor a: shape must be a list of at most 8"},
        {"{" T("a", "F32", "[1]", "[0,5]") "}", 5, VL2_ERR_FORMAT,
         "tensor a has 5 bytes, expected 4 for F32 of [1]"},
        {"{" T("a", "F32", "[2,3]", "[0,4]") "}", 4, VL2_ERR_FORMAT,
         "expected 24 for F32 of [2, 3]"},
        {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, VL2_ERR_FORMAT, "tensor a: data_offsets"},
        {"{" T("a", "F32", "[1]", "[-4,0]") "}", 4, VL2_ERR_FORMAT, "tensor a: data_offsets"},
        {"{" T("a", "F32", "[1]", "[0]") "}", 4, VL2_ERR_FORMAT, "tensor a: data_offsets"},
        {"{" T("a", "F32", "[1]", "[0,4.0]") "}", 4, VL2_ERR_FORMAT, "tensor a: data_offsets"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 3, VL2_ERR_FORMAT,
         "tensor a ends at byte 4 of 3 bytes|cut short"},
        {"{" T("a", "F32", "[1]", "[9223372036854775800,9223372036854775804]") "}", 4,
         VL2_ERR_FORMAT, "tensor a ends at byte 9223372036854775804"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[2,6]") "}", 6, VL2_ERR_FORMAT,
         "tensor b overlaps the one before it"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, VL2_ERR_FORMAT,
         "overlap"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[6,10]") "}", 10,
         VL2_ERR_FORMAT, "tensor b has bytes in front of it"},
        {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, VL2_ERR_FORMAT,
         "tensor a has bytes in front of it"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 7, VL2_ERR_FORMAT, "3 bytes at its end"},
        {"{}", 1, VL2_ERR_FORMAT, "1 bytes at its end"},
        {"{\"__metadata__\":[]}", 0, VL2_ERR_FORMAT, "__metadata__ is no object"},
        {"{\"__metadata__\":{\"format\":1}}", 0, VL2_ERR_FORMAT,
         "__metadata__.format is no string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(st_make(cases[i].header, cases[i].data), cases[i].status, cases[i].words);
}

static void test_good(void **state) {
    (void)state;
    st_bytes b =
        st_make("{\"__metadata__\":{\"format\":\"pt\"}," T("z", "BF16", "[2,1]", "[4,8]") "," T(
                    "e", "F32", "[0,7]", "[4,4]") "," T("s", "I32", "[]", "[0,4]") "}  ",
                8);
    vl2_safetensors_list list;
    vl2_error err = {0};
    if (vl2_safetensors_parse(&list, b.data, b.size, "m", &err) != VL2_OK) fail_msg("%s", err.text);
    assert_int_equal(list.n, 3);
    assert_string_equal(list.tensors[0].name, "s"); /* in the order of the data */
    assert_int_equal(list.tensors[0].rank, 0);
    assert_int_equal(list.tensors[0].bytes, 4);
    assert_string_equal(list.tensors[1].name, "e");
    assert_int_equal(list.tensors[1].bytes, 0);
    assert_string_equal(list.tensors[2].name, "z");
    assert_ptr_equal(list.tensors[2].data, b.data + b.size - 4);
    char shape[VL2_SHAPE_TEXT];
    assert_string_equal(vl2_safetensors_shape(shape, list.tensors[2].shape, 2), "[2, 1]");
    assert_string_equal(vl2_safetensors_shape(shape, NULL, 0), "[]");
    vl2_safetensors_free(&list);
    free(b.data);
}

/* What is written reads back, and all of its data is aligned. */
static void test_write(void **state) {
    (void)state;
    scratch s = scratch_make();
    const uint8_t bytes[3] = {1, 2, 3};
    const uint16_t halves[3] = {4, 5, 6};
    const float floats[2] = {7, 8};
    const double one = 9;
    const vl2_tensor_plan plan[] = {
        {"quote\" 中", VL2_U8, 1, {3}, bytes}, {"halves", VL2_BF16, 2, {3, 1}, halves},
        {"floats", VL2_F32, 1, {2}, floats},   {"one", VL2_F64, 0, {0}, &one},
        {"none", VL2_F32, 2, {0, 5}, NULL},
    };
    const char *path = scratch_path(&s, "w.safetensors");
    vl2_error err = {0};
    if (vl2_safetensors_write(path, plan, 5, &err) != VL2_OK) fail_msg("%s", err.text);
    vl2_checkpoint *c;
    if (vl2_checkpoint_open_file(&c, path, &err) != VL2_OK) fail_msg("%s", err.text);
    assert_int_equal(vl2_checkpoint_count(c), 5);
    assert_int_equal(vl2_checkpoint_bytes(c), 3 + 6 + 8 + 8);
    for (size_t i = 0; i < 5; i++) {
        const vl2_tensor *t = vl2_checkpoint_find(c, plan[i].name);
        assert_non_null(t);
        assert_int_equal(t->type, plan[i].type);
        assert_int_equal(t->rank, plan[i].rank);
        assert_memory_equal(t->shape, plan[i].shape, t->rank * sizeof(size_t));
        assert_int_equal((uintptr_t)t->data % vl2_dtype_of(t->type)->block_bytes, 0);
        if (t->bytes) assert_memory_equal(t->data, plan[i].data, t->bytes);
    }
    vl2_checkpoint_close(c);
    assert_int_equal(vl2_safetensors_write(path, NULL, 0, NULL), VL2_OK);
    assert_int_equal(vl2_checkpoint_open_file(&c, path, NULL), VL2_OK);
    assert_int_equal(vl2_checkpoint_count(c), 0);
    vl2_checkpoint_close(c);
    scratch_remove(&s);
}

static void test_write_refusals(void **state) {
    (void)state;
    const float x = 1;
    const vl2_tensor_plan huge = {"h", VL2_F32, 2, {SIZE_MAX / 2, 4}, &x};
    const vl2_tensor_plan fine = {"f", VL2_F32, 1, {1}, &x};
    scratch s = scratch_make();
    vl2_error err = {0};
    assert_says(vl2_safetensors_write(scratch_path(&s, "h"), &huge, 1, &err), &err, VL2_ERR_LIMIT,
                "tensor h|too large");
    assert_int_equal(scratch_count(&s), 0);
    err = (vl2_error){0};
    assert_says(vl2_safetensors_write("/dev/full", &fine, 1, &err), &err, VL2_ERR_IO,
                "/dev/full|No space left");
    err = (vl2_error){0};
    assert_says(vl2_safetensors_write(scratch_path(&s, "no/f"), &fine, 1, &err), &err, VL2_ERR_IO,
                "no/f|No such file");
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_lengths), cmocka_unit_test(test_lying_headers),
        cmocka_unit_test(test_good),           cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
