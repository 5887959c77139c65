#include "unit/safetensors_fixture.h"

#include "model/safetensors.h"

#define INDEX "model.safetensors.index.json"
#define A "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}"
#define B "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}"

static void write_shard(scratch *s, const char *name, const char *header, size_t data_size) {
    st_bytes b = st_make(header, data_size);
    scratch_write(s, name, b.data, b.size);
    free(b.data);
}

static void write_index(scratch *s, const char *text) {
    scratch_write(s, INDEX, text, strlen(text));
}

static void refuse(const scratch *s, vl2_status status, const char *words) {
    vl2_checkpoint *c;
    vl2_error err = {0};
    assert_says(vl2_checkpoint_open(&c, s->folder, &err), &err, status, s->folder);
    assert_says(err.status, &err, status, words);
}

static void test_shards(void **state) {
    (void)state;
    scratch s = scratch_make();
    /* DeepSeek's own names count oddly: they are taken from the index, not made up */
    write_shard(&s, "model-00001-of-000002.safetensors", A, 2);
    write_shard(&s, "other.safetensors", B, 3);
    write_index(&s, "{\"metadata\":{\"total_size\":5},\"weight_map\":{\"a\":"
                    "\"model-00001-of-000002.safetensors\",\"b\":\"other.safetensors\"}}");
    vl2_checkpoint *c;
    vl2_error err = {0};
    if (vl2_checkpoint_open(&c, s.folder, &err) != VL2_OK) fail_msg("%s", err.text);
    assert_int_equal(vl2_checkpoint_count(c), 2);
    assert_int_equal(vl2_checkpoint_bytes(c), 5);
    assert_string_equal(vl2_checkpoint_name(c), s.folder);
    assert_string_equal(vl2_checkpoint_at(c, 0)->name, "a");
    assert_string_equal(vl2_checkpoint_at(c, 1)->name, "b");
    assert_non_null(strstr(vl2_checkpoint_file(c, vl2_checkpoint_find(c, "b")), "other"));
    assert_null(vl2_checkpoint_find(c, "c"));
    assert_null(vl2_checkpoint_find(c, ""));
    vl2_checkpoint_close(c);
    scratch_remove(&s);
}

static void test_index_refusals(void **state) {
    (void)state;
    scratch s = scratch_make();
    static const struct {
        const char *index;
        vl2_status status;
        const char *words;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"1\",\"b\":\"2\"}}", VL2_ERR_IO, "/2 is missing|" INDEX},
        {"{\"weight_map\":{\"a\":\"1\",\"x\":\"1\"}}", VL2_ERR_FORMAT,
         INDEX "|tensor x is not in 1"},
        {"{\"weight_map\":{\"b\":\"1\",\"a\":\"1\"}}", VL2_ERR_FORMAT, "tensor b is not in 1"},
        {"{\"weight_map\":{\"a\":\"1\",\"b\":\"copy\"}}", VL2_ERR_FORMAT,
         "tensor a is both in |/1 and in |/copy"},
        {"{\"weight_map\":{\"a\":\"../1\"}}", VL2_ERR_FORMAT, "weight_map.a is \"../1\""},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", VL2_ERR_FORMAT, "weight_map.a|/etc/passwd"},
        {"{\"weight_map\":{\"a\":\"..\"}}", VL2_ERR_FORMAT, "weight_map.a is \"..\""},
        {"{\"weight_map\":{\"a\":\"\"}}", VL2_ERR_FORMAT, "weight_map.a is \"\""},
        {"{\"weight_map\":{\"a\":\"1\\u0000\"}}", VL2_ERR_FORMAT, "weight_map.a"},
        {"{\"weight_map\":{\"a\":1}}", VL2_ERR_FORMAT, "weight_map.a is no file name"},
        {"{\"weight_map\":{}}", VL2_ERR_FORMAT, "weight_map names 0 files"},
        {"{\"weight_map\":[]}", VL2_ERR_FORMAT, "weight_map is no object"},
        {"{}", VL2_ERR_FORMAT, "weight_map is no object"},
        {"{\"weight_map\":{\"a\":\"1\"}", VL2_ERR_FORMAT, INDEX "|line 1"},
        {"", VL2_ERR_FORMAT, INDEX "|empty"},
        {"{\"weight_map\":{\"a\":\"broken\"}}", VL2_ERR_FORMAT, "/broken"},
    };
    write_shard(&s, "1", A, 2);
    write_shard(&s, "copy",
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                2);
    scratch_write(&s, "broken", "xx", 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_index(&s, cases[i].index);
        refuse(&s, cases[i].status, cases[i].words);
    }
    scratch_remove(&s);
}

static void test_folders(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_checkpoint *c;
    vl2_error err = {0};
    refuse(&s, VL2_ERR_IO, "neither model.safetensors.index.json nor model.safetensors");
    assert_says(vl2_checkpoint_open(&c, "/no/such/folder", &err), &err, VL2_ERR_IO,
                "/no/such/folder does not exist");
    err = (vl2_error){0};
    assert_says(vl2_checkpoint_open(&c, "/dev/null", &err), &err, VL2_ERR_IO,
                "/dev/null is no folder");
    err = (vl2_error){0};
    assert_says(vl2_checkpoint_open_file(&c, scratch_path(&s, "m"), &err), &err, VL2_ERR_IO,
                "/m|No such file");
    scratch_write(&s, "model.safetensors", "", 0);
    refuse(&s, VL2_ERR_FORMAT, "/model.safetensors: 0 bytes");
    write_shard(&s, "model.safetensors", A, 2);
    assert_int_equal(vl2_checkpoint_open(&c, s.folder, NULL), VL2_OK);
    vl2_checkpoint_close(c);
    vl2_checkpoint_close(NULL);
    scratch_remove(&s);
}

/* Every golden opens; a file cut anywhere is refused. */
static void test_cut(void **state) {
    (void)state;
    size_t size;
    char *bytes = scratch_read(VL2_TEST_GOLDEN "/mini-384/model.safetensors", &size);
    vl2_checkpoint *c;
    vl2_error err = {0};
    assert_int_equal(vl2_checkpoint_open_memory(&c, bytes, size, "m", NULL), VL2_OK);
    assert_true(vl2_checkpoint_count(c) > 50);
    for (size_t i = 1; i < vl2_checkpoint_count(c); i++)
        assert_true(strcmp(vl2_checkpoint_at(c, i - 1)->name, vl2_checkpoint_at(c, i)->name) < 0);
    vl2_checkpoint_close(c);
    for (size_t cut = 0; cut < size; cut += cut < 100 ? 1 : size / 97) {
        err = (vl2_error){0};
        assert_says(vl2_checkpoint_open_memory(&c, bytes, cut, "m", &err), &err, VL2_ERR_FORMAT,
                    "m");
    }
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_index_refusals),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
