/* Any bytes as a safetensors file: refused with a message, or every tensor can be read to its end. */
#include "fuzz/fuzz.h"
#include "model/safetensors.h"

#include <string.h>

static void check_tensor(const vl2_checkpoint *checkpoint, const vl2_tensor *tensor,
                         const uint8_t *bytes, size_t size) {
    const uint8_t *data = tensor->data;
    if (vl2_checkpoint_find(checkpoint, tensor->name) != tensor) __builtin_trap();
    if (data < bytes || data > bytes + size || tensor->bytes > (size_t)(bytes + size - data))
        __builtin_trap();
    size_t elements = 1;
    for (size_t i = 0; i < tensor->rank; i++) elements *= tensor->shape[i];
    if (elements * vl2_dtype_of(tensor->type)->block_bytes != tensor->bytes) __builtin_trap();
    char shape[VL2_SHAPE_TEXT];
    if (strlen(vl2_safetensors_shape(shape, tensor->shape, tensor->rank)) + 1 > sizeof shape)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vl2_checkpoint *checkpoint;
    vl2_error err = {0};
    if (vl2_checkpoint_open_memory(&checkpoint, data, size, "fuzz", &err) != VL2_OK) {
        if (err.status == VL2_OK || !err.text[0]) __builtin_trap();
        return 0;
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < vl2_checkpoint_count(checkpoint); i++) {
        const vl2_tensor *tensor = vl2_checkpoint_at(checkpoint, i);
        check_tensor(checkpoint, tensor, data, size);
        bytes += tensor->bytes;
    }
    if (bytes > size || bytes != vl2_checkpoint_bytes(checkpoint)) __builtin_trap();
    vl2_checkpoint_close(checkpoint);
    return 0;
}
