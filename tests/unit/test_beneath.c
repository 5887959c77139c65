#define _GNU_SOURCE /* renameat2, in swapper.h */
/* Files of a folder and nothing else: names, links and a folder that is swapped for a link. */
#include "unit/scratch.h"

#include "base/beneath.h"
#include "unit/swapper.h"

/* scratch/in: a, deep/b, a FIFO, links; scratch/out: secret, b */
static void tree_make(scratch *s) {
    *s = scratch_make();
    assert_int_equal(mkdir(scratch_path(s, "in"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(s, "in/deep"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(s, "out"), 0700), 0);
    scratch_write(s, "in/a", "a", 1);
    scratch_write(s, "in/deep/b", "b", 1);
    scratch_write(s, "out/b", "!", 1);
    assert_int_equal(mkfifo(scratch_path(s, "in/fifo"), 0600), 0);
    static const char *const links[][2] = {{"a", "in/good"},
                                           {"../a", "in/deep/good"},
                                           {"../out/b", "in/bad"},
                                           {"../out", "in/away"},
                                           {"../in/a", "in/outandin"},
                                           {"loop", "in/loop"},
                                           {"/proc/self/root/etc/passwd", "in/magic"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        assert_int_equal(symlink(links[i][0], scratch_path(s, links[i][1])), 0);
}

static void tree_remove(scratch *s) {
    static const char *const all[] = {"in/good", "in/deep/good", "in/bad", "in/away", "in/outandin",
                                      "in/loop", "in/magic",     "in/a",   "in/fifo", "in/deep/b",
                                      "out/b",   "in/deep",      "in",     "out"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(remove(scratch_path(s, all[i])), 0);
    scratch_remove(s);
}

/* The one byte of a file; 0: not opened. */
static char first_byte(int fd) {
    char byte = 0;
    if (fd < 0) return 0;
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    return byte;
}

static void test_names(void **state) {
    static const struct {
        const char *name;
        char opened, walked; /* the byte that is read; 0: refused */
    } cases[] = {{"a", 'a', 'a'},
                 {"./a", 'a', 'a'},
                 {"deep/b", 'b', 'b'},
                 {"deep//b", 'b', 'b'},
                 {"good", 'a', 0}, /* the walk follows no link */
                 {"deep/good", 'a', 0},
                 {"deep/../a", 'a', 0},
                 {"bad", 0, 0},
                 {"away/b", 0, 0},
                 {"outandin", 0, 0},
                 {"magic", 0, 0},
                 {"loop", 0, 0},
                 {"fifo", 0, 0},
                 {"deep", 0, 0},
                 {".", 0, 0},
                 {"..", 0, 0},
                 {"../out/b", 0, 0},
                 {"deep/../../out/b", 0, 0},
                 {"/etc/passwd", 0, 0},
                 {"none", 0, 0},
                 {"a/b", 0, 0},
                 {"a/", 0, 0},
                 {"", 0, 0}};
    (void)state;
    scratch s;
    char in[128], name_too_long[1024];
    tree_make(&s);
    snprintf(in, sizeof in, "%s/in", s.folder);
    int probe = vl2_beneath_open(in, "good"); /* a kernel without openat2 walks */
    bool walks = probe < 0;
    if (probe >= 0) close(probe);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char opened = first_byte(vl2_beneath_open(in, cases[i].name));
        char walked = first_byte(vl2_beneath_walk(in, cases[i].name));
        if (opened != (walks ? cases[i].walked : cases[i].opened) || walked != cases[i].walked)
            fail_msg("\"%s\": opened %d, walked %d", cases[i].name, opened, walked);
    }
    memset(name_too_long, 'x', sizeof name_too_long - 1);
    name_too_long[sizeof name_too_long - 1] = '\0';
    assert_int_equal(vl2_beneath_open(in, name_too_long), -1);
    assert_int_equal(vl2_beneath_walk(in, name_too_long), -1);
    assert_int_equal(vl2_beneath_open("/nonexistent", "a"), -1);
    tree_remove(&s);
}

/* ---- somebody swaps while we open ---- */

static void race(int (*open_)(const char *folder, const char *name)) {
    enum { OPENS = 20000 };
    scratch s;
    swapper w;
    char in[128];
    size_t right = 0;
    tree_make(&s);
    snprintf(in, sizeof in, "%s/in", s.folder);
    swapper_start(&w, in, "deep", "away");
    for (int i = 0; i < OPENS; i++) {
        char byte = first_byte(open_(in, "deep/b"));
        if (byte == '!') fail_msg("opening %d read a file outside", i);
        right += byte == 'b';
    }
    swapper_stop(&w);
    tree_remove(&s);
    if (!w.n) skip(); /* a file system that cannot exchange */
    assert_true(right > 0);
}

static void test_race(void **state) {
    (void)state;
    race(vl2_beneath_open);
    race(vl2_beneath_walk);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_race)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
