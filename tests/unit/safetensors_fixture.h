/* safetensors_fixture.h - safetensors files made of a header's text and zeros, true or lying. */
#ifndef VL2_TESTS_SAFETENSORS_FIXTURE_H
#define VL2_TESTS_SAFETENSORS_FIXTURE_H

#include "unit/scratch.h"

typedef struct st_bytes {
    uint8_t *data;
    size_t size;
} st_bytes;

/* `length` is what the file says of its header. Freed by the caller. */
static inline st_bytes st_make_lying(uint64_t length, const char *header, size_t data_size) {
    size_t n = strlen(header);
    st_bytes b = {calloc(1, 8 + n + data_size + 1), 8 + n + data_size};
    assert_non_null(b.data);
    for (int i = 0; i < 8; i++) b.data[i] = (uint8_t)(length >> 8 * i);
    memcpy(b.data + 8, header, n);
    return b;
}

static inline st_bytes st_make(const char *header, size_t data_size) {
    return st_make_lying(strlen(header), header, data_size);
}

#endif
