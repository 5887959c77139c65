#include "base/abi.h"

#include <string.h>

vl2_status vl2_abi_copy(void *out, size_t size, const void *options, const char *type,
                        vl2_error *err) {
    if (!options) return VL2_OK;
    size_t given;
    memcpy(&given, options, sizeof given);
    if (given < sizeof given || given > size) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "%s: struct_size is %zu, expected at most %zu; call %s_init first", type,
                        given, size, type);
    }
    memcpy(out, options, given);
    memcpy(out, &size, sizeof size);
    return VL2_OK;
}
