#include "unit/scratch.h"

#include "base/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <signal.h>

static void test_map(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_map map = {0};
    assert_int_equal(vl2_map_open(&map, scratch_write(&s, "a", "hello", 5), NULL), VL2_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    vl2_map_prefetch(&map, 0, 5);
    vl2_map_prefetch(&map, 4, SIZE_MAX);
    vl2_map_prefetch(&map, 5, 1);
    vl2_map_close(&map);
    vl2_map_close(&map);
    assert_int_equal(vl2_map_open(&map, scratch_write(&s, "b", "", 0), NULL), VL2_OK);
    assert_int_equal(map.size, 0);
    assert_non_null(map.data);
    vl2_map_close(&map);
    scratch_remove(&s);
}

static void test_what_cannot_be_opened(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_map map = {0};
    char *data;
    vl2_error err = {0};
    assert_says(vl2_map_open(&map, scratch_path(&s, "none"), &err), &err, VL2_ERR_IO,
                "/none|No such file");
    err = (vl2_error){0};
    assert_says(vl2_map_open(&map, s.folder, &err), &err, VL2_ERR_IO, "is a folder|vl2-test");
    err = (vl2_error){0};
    assert_says(vl2_file_read(&data, NULL, s.folder, 10, &err), &err, VL2_ERR_IO, "is a folder");
    err = (vl2_error){0};
    assert_int_equal(mkfifo(scratch_path(&s, "pipe"), 0600), 0);
    assert_says(vl2_map_open(&map, s.path, &err), &err, VL2_ERR_IO, "/pipe|regular file");
    err = (vl2_error){0};
    if (geteuid() != 0) { /* root may read all */
        scratch_write(&s, "secret", "x", 1);
        assert_int_equal(chmod(s.path, 0), 0);
        assert_says(vl2_map_open(&map, s.path, &err), &err, VL2_ERR_IO, "/secret|Permission");
    }
    scratch_remove(&s);
}

static void test_read(void **state) {
    (void)state;
    scratch s = scratch_make();
    char *data;
    size_t size;
    vl2_error err = {0};
    assert_int_equal(vl2_file_read(&data, &size, scratch_write(&s, "a", "hello", 5), 5, NULL),
                     VL2_OK);
    assert_int_equal(size, 5);
    assert_string_equal(data, "hello");
    vl2_free(data);
    assert_says(vl2_file_read(&data, &size, s.path, 4, &err), &err, VL2_ERR_LIMIT,
                "/a|5 bytes|limit of 4");
    assert_int_equal(vl2_file_read(&data, &size, scratch_write(&s, "b", "", 0), 5, NULL), VL2_OK);
    assert_string_equal(data, "");
    vl2_free(data);
    /* a size of 0 that is not one; and an endless file */
    assert_int_equal(vl2_file_read(&data, &size, "/proc/self/status", 1 << 20, NULL), VL2_OK);
    assert_true(size > 100 && strlen(data) == size);
    vl2_free(data);
    err = (vl2_error){0};
    assert_says(vl2_file_read(&data, &size, "/dev/zero", 1 << 20, &err), &err, VL2_ERR_LIMIT,
                "/dev/zero|limit");
    scratch_remove(&s);
}

static void check_join(const char *folder, const char *name, const char *expected) {
    char *path;
    assert_int_equal(vl2_path_join(&path, folder, name, NULL), VL2_OK);
    assert_string_equal(path, expected);
    vl2_free(path);
}

static void check_folder(const char *path, const char *expected) {
    char *folder;
    assert_int_equal(vl2_path_folder(&folder, path, NULL), VL2_OK);
    assert_string_equal(folder, expected);
    vl2_free(folder);
}

static void test_paths(void **state) {
    (void)state;
    check_join("a", "b", "a/b");
    check_join("a/", "b", "a/b");
    check_join("a", "/b", "/b");
    check_join("", "b", "b");
    check_join("/", "b", "/b");
    check_folder("a/b", "a");
    check_folder("b", ".");
    check_folder("/b", "/");
    check_folder("a/b/c", "a/b");
    assert_true(vl2_file_exists("/") && vl2_file_is_folder("/"));
    assert_true(vl2_file_exists("/dev/null") && !vl2_file_is_folder("/dev/null"));
    assert_false(vl2_file_exists("/no such thing"));
}

static void test_writer(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_writer writer;
    size_t size;
    scratch_write(&s, "a", "old", 3);
    assert_int_equal(vl2_writer_open(&writer, s.path, NULL), VL2_OK);
    assert_int_equal(vl2_writer_add(&writer, "new ", 4, NULL), VL2_OK);
    char *text = scratch_read(s.path, &size); /* nothing is lost until all is there */
    assert_string_equal(text, "old");
    free(text);
    assert_int_equal(vl2_writer_add(&writer, "text", 4, NULL), VL2_OK);
    assert_int_equal(writer.written, 8);
    assert_int_equal(vl2_writer_commit(&writer, NULL), VL2_OK);
    text = scratch_read(s.path, &size);
    assert_string_equal(text, "new text");
    free(text);
    assert_int_equal(scratch_count(&s), 1);
    vl2_writer_abort(&writer);
    assert_int_equal(vl2_writer_commit(&writer, NULL), VL2_ERR_ARGUMENT);
    scratch_remove(&s);
}

static void test_writer_abort(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_writer writer;
    assert_int_equal(vl2_writer_open(&writer, scratch_path(&s, "a"), NULL), VL2_OK);
    assert_int_equal(vl2_writer_add(&writer, "x", 1, NULL), VL2_OK);
    assert_int_equal(scratch_count(&s), 1);
    vl2_writer_abort(&writer);
    assert_int_equal(scratch_count(&s), 0);
    vl2_writer_abort(&writer);
    scratch_remove(&s);
}

static void test_writer_refusals(void **state) {
    (void)state;
    scratch s = scratch_make();
    vl2_writer writer;
    vl2_error err = {0};
    assert_says(vl2_writer_open(&writer, s.folder, &err), &err, VL2_ERR_IO, "is a folder");
    err = (vl2_error){0};
    assert_says(vl2_writer_open(&writer, scratch_path(&s, "no/file"), &err), &err, VL2_ERR_IO,
                "no/file|No such file");
    scratch_remove(&s);
}

/* A full disk: the device that is one, and a limit on a file's size. */
static void test_full_disk(void **state) {
    (void)state;
    vl2_writer writer;
    vl2_error err = {0};
    assert_int_equal(vl2_writer_open(&writer, "/dev/full", NULL), VL2_OK);
    assert_says(vl2_writer_add(&writer, "x", 1, &err), &err, VL2_ERR_IO,
                "/dev/full|No space left on device");
    assert_true(vl2_file_exists("/dev/full"));

    scratch s = scratch_make();
    struct rlimit before, small = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
    char block[64] = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    err = (vl2_error){0};
    assert_int_equal(vl2_writer_open(&writer, scratch_path(&s, "a"), NULL), VL2_OK);
    assert_int_equal(vl2_writer_add(&writer, block, sizeof block, NULL), VL2_OK);
    vl2_status status = vl2_writer_add(&writer, block, sizeof block, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_says(status, &err, VL2_ERR_IO, "/a|cannot write|too large");
    assert_int_equal(scratch_count(&s), 0); /* the temporary is gone */
    assert_int_equal(vl2_writer_add(&writer, block, 1, NULL), VL2_ERR_ARGUMENT);
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_what_cannot_be_opened),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_abort),
        cmocka_unit_test(test_writer_refusals),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
