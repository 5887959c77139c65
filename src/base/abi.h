/* base/abi.h - options structs that may grow: both sides begin with their struct_size. */
#ifndef VL2_BASE_ABI_H
#define VL2_BASE_ABI_H

#include "base/err.h"

/* Copies options over `out`, which holds the defaults: an older caller's shorter struct leaves the
 * rest as it is, a size that no version had is refused. NULL options: nothing to copy. */
vl2_status vl2_abi_copy(void *out, size_t size, const void *options, const char *type,
                        vl2_error *err);

#endif
