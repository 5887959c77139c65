#include "base/err.h"

#include <stdio.h>

static void one_line(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f) *c = '?';
    }
}

vl2_status vl2_vfail(vl2_error *err, vl2_status status, const char *fmt, va_list args) {
    if (!err || err->status != VL2_OK) return status;
    err->status = status;
    vsnprintf(err->text, sizeof err->text, fmt, args);
    one_line(err->text);
    return status;
}

vl2_status(vl2_fail)(vl2_error *err, vl2_status status, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vl2_vfail(err, status, fmt, args);
    va_end(args);
    return status;
}

vl2_status(vl2_fail_memory)(vl2_error *err, const char *what, size_t bytes) {
    return vl2_fail(err, VL2_ERR_MEMORY, "out of memory: %s needs %zu bytes", what, bytes);
}

const char *vl2_status_text(vl2_status status) {
    switch (status) {
#define VL2_STATUS_TEXT(name, text)                                                                \
    case VL2_##name: return text;
        VL2_STATUS_MAP(VL2_STATUS_TEXT)
#undef VL2_STATUS_TEXT
    case VL2_STATUS_COUNT: break;
    }
    return "unknown status";
}
