#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_ROOM = 64, DEFAULT_CAP = 1 << 30 };

vl2_status vl2_buf_reserve(vl2_buf *buf, size_t more, vl2_error *err) {
    size_t cap = buf->cap ? buf->cap : DEFAULT_CAP;
    size_t size;
    if (!vl2_add(&size, buf->size, more) || size > cap)
        return vl2_fail(err, VL2_ERR_LIMIT, "a text grows over its limit of %zu bytes", cap);
    if (buf->data && size < buf->room) return VL2_OK;
    size_t room = buf->room > FIRST_ROOM ? buf->room : FIRST_ROOM;
    while (room <= size) room = room > SIZE_MAX / 2 ? size + 1 : room * 2;
    char *data = vl2_mem_grow(buf->data, room, 1);
    if (!data) return vl2_fail_memory(err, "a text", room);
    buf->data = data;
    buf->room = room;
    buf->data[buf->size] = '\0';
    return VL2_OK;
}

vl2_status vl2_buf_add(vl2_buf *buf, const void *data, size_t size, vl2_error *err) {
    VL2_TRY(vl2_buf_reserve(buf, size, err));
    if (size) memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    buf->data[buf->size] = '\0';
    return VL2_OK;
}

vl2_status vl2_buf_addf(vl2_buf *buf, vl2_error *err, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    vl2_status status = size < 0 ? vl2_fail(err, VL2_ERR_ARGUMENT, "a text cannot be formatted")
                                 : vl2_buf_reserve(buf, (size_t)size, err);
    if (status == VL2_OK) {
        vsnprintf(buf->data + buf->size, (size_t)size + 1, fmt, again);
        buf->size += (size_t)size;
    }
    va_end(again);
    return status;
}

void vl2_buf_clear(vl2_buf *buf) {
    buf->size = 0;
    if (buf->data) buf->data[0] = '\0';
}

void vl2_buf_free(vl2_buf *buf) {
    vl2_mem_free(buf->data);
    *buf = (vl2_buf){.cap = buf->cap};
}

vl2_status vl2_buf_detach(vl2_buf *buf, char **out, size_t *size, vl2_error *err) {
    VL2_TRY(vl2_buf_reserve(buf, 0, err)); /* an empty text, too, is a text */
    *out = buf->data;
    if (size) *size = buf->size;
    *buf = (vl2_buf){.cap = buf->cap};
    return VL2_OK;
}
