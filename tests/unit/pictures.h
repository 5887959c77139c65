/* pictures.h - what the tests of pictures share: files, digests, and a folder's list. */
#ifndef VL2_TESTS_UNIT_PICTURES_H
#define VL2_TESTS_UNIT_PICTURES_H

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline void pictures_hex(char out[65], const void *bytes, size_t size) {
    uint8_t digest[32];
    vl2_sha256 hash;
    vl2_sha256_init(&hash);
    vl2_sha256_add(&hash, bytes, size);
    vl2_sha256_end(&hash, digest);
    for (size_t i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static inline char *pictures_read(const char *path, size_t *size) {
    char *bytes = NULL;
    vl2_error err = {0};
    if (vl2_file_read(&bytes, size, path, (size_t)1 << 30, &err) != VL2_OK)
        fail_msg("%s", err.text);
    return bytes;
}

#endif
