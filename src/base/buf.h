/* base/buf.h - a growing run of bytes with a cap, always NUL-terminated once something is in it. */
#ifndef VL2_BASE_BUF_H
#define VL2_BASE_BUF_H

#include "base/err.h"

typedef struct vl2_buf { /* {0} or vl2_buf_init is an empty one */
    char *data;
    size_t size, room;
    size_t cap; /* bytes at most; 0: 1 GiB */
} vl2_buf;

vl2_status vl2_buf_add(vl2_buf *buf, const void *data, size_t size, vl2_error *err);
vl2_status vl2_buf_addf(vl2_buf *buf, vl2_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
vl2_status vl2_buf_reserve(vl2_buf *buf, size_t more, vl2_error *err);
void vl2_buf_clear(vl2_buf *buf); /* keeps the memory */
void vl2_buf_free(vl2_buf *buf);
/* Hands the memory to the caller (vl2_free), NUL-terminated; the buffer is empty afterwards. */
vl2_status vl2_buf_detach(vl2_buf *buf, char **out, size_t *size, vl2_error *err);

#endif
