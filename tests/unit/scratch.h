/* scratch.h - a folder for a test's files, and what failures must say. */
#ifndef VL2_TESTS_SCRATCH_H
#define VL2_TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vl2/vl2.h"

typedef struct scratch {
    char folder[64];
    char path[512]; /* of the last name asked for */
} scratch;

static inline scratch scratch_make(void) {
    scratch s = {.folder = "/tmp/vl2-test-XXXXXX"};
    assert_non_null(mkdtemp(s.folder));
    return s;
}

static inline const char *scratch_path(scratch *s, const char *name) {
    snprintf(s->path, sizeof s->path, "%s/%s", s->folder, name);
    return s->path;
}

static inline const char *scratch_write(scratch *s, const char *name, const void *data,
                                        size_t size) {
    FILE *file = fopen(scratch_path(s, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return s->path;
}

/* Files in it, besides "." and "..". */
static inline size_t scratch_count(const scratch *s) {
    DIR *dir = opendir(s->folder);
    assert_non_null(dir);
    size_t n = 0;
    while (readdir(dir)) n++;
    closedir(dir);
    return n - 2;
}

static inline void scratch_remove(scratch *s) {
    DIR *dir = opendir(s->folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            assert_int_equal(remove(scratch_path(s, e->d_name)), 0);
    }
    closedir(dir);
    assert_int_equal(rmdir(s->folder), 0);
}

/* The whole file, NUL-terminated; freed by the caller. */
static inline char *scratch_read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *data = malloc(1 << 23);
    assert_non_null(data);
    size_t n = fread(data, 1, (1 << 23) - 1, file);
    fclose(file);
    data[n] = '\0';
    if (size) *size = n;
    return data;
}

/* The failure had this status, and its one line holds all of the words (separated by '|'). */
static inline void assert_says(vl2_status status, const vl2_error *err, vl2_status expected,
                               const char *words) {
    if (status != expected || err->status != expected)
        fail_msg("status %d (%d) \"%s\", expected %d", (int)status, (int)err->status, err->text,
                 (int)expected);
    assert_null(strchr(err->text, '\n'));
    while (*words) {
        size_t n = strcspn(words, "|");
        char word[256];
        snprintf(word, sizeof word, "%.*s", (int)n, words);
        if (!strstr(err->text, word)) fail_msg("\"%s\" does not say \"%s\"", err->text, word);
        words += n + (words[n] == '|');
    }
}

#endif
