/* base/err.h - how a function of the library says that it failed.
 *
 * Functions that can fail return a vl2_status and take `vl2_error *err` last. The first error's
 * text wins: whoever is nearest to the cause names it, callers only pass it on. */
#ifndef VL2_BASE_ERR_H
#define VL2_BASE_ERR_H

#include "vl2/vl2.h"

#include <stdarg.h>

/* Records status and text in `err` (may be NULL) unless an error is there already, with control
 * characters made visible so that hostile names stay one line; returns `status`. */
vl2_status vl2_fail(vl2_error *err, vl2_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
vl2_status vl2_vfail(vl2_error *err, vl2_status status, const char *fmt, va_list args);
/* Out of memory for `what` ("the KV pool"), `bytes` of it. */
vl2_status vl2_fail_memory(vl2_error *err, const char *what, size_t bytes);

/* Compilers then see which status comes back, and that an output is not used after a failure. */
static inline vl2_status vl2_fail_as(vl2_status recorded, vl2_status status) {
    (void)recorded;
    return status;
}
#define vl2_fail(err, status, ...) vl2_fail_as((vl2_fail)(err, status, __VA_ARGS__), status)
#define vl2_fail_memory(err, what, bytes)                                                          \
    vl2_fail_as((vl2_fail_memory)(err, what, bytes), VL2_ERR_MEMORY)

/* Passes a failure on: VL2_TRY(vl2_thing(...)); */
#define VL2_TRY(call)                                                                              \
    do {                                                                                           \
        vl2_status vl2_try_status = (call);                                                        \
        if (vl2_try_status != VL2_OK) return vl2_try_status;                                       \
    } while (0)
/* The same in functions that clean up at their end: VL2_GOTO(done, status, vl2_thing(...)); */
#define VL2_GOTO(label, status, call)                                                              \
    do {                                                                                           \
        (status) = (call);                                                                         \
        if ((status) != VL2_OK) goto label;                                                        \
    } while (0)

#endif
