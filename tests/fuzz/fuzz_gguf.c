/* Any bytes as a GGUF file: refused with a message, or every tensor lies in the file; then its
 * configuration, weights and tokenizer, which are refused or whole. */
#include "fuzz/fuzz.h"
#include "model/gguf_config.h"
#include "model/weights.h"
#include "prompt/tokenizer_gguf.h"

static void check_tensors(const vl2_checkpoint *c, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < vl2_checkpoint_count(c); i++) {
        const vl2_tensor *t = vl2_checkpoint_at(c, i);
        const uint8_t *data = t->data;
        size_t row, rows = 1;
        if (vl2_checkpoint_find(c, t->name) != t) __builtin_trap();
        if (data < bytes || data > bytes + size || t->bytes > (size_t)(bytes + size - data))
            __builtin_trap();
        if (!vl2_dtype_row_bytes(&row, t->type, t->shape[t->rank - 1])) __builtin_trap();
        for (size_t k = 0; k + 1 < t->rank; k++) rows *= t->shape[k];
        if (row * rows != t->bytes) __builtin_trap();
    }
}

static void check_failure(vl2_status status, const vl2_error *err) {
    if (status != VL2_OK && (err->status == VL2_OK || !err->text[0])) __builtin_trap();
}

static void check_model(const vl2_checkpoint *c) {
    vl2_config config;
    vl2_weights weights;
    vl2_error err = {0};
    vl2_status status = vl2_gguf_config_read(&config, c, &err);
    check_failure(status, &err);
    if (status != VL2_OK || config.lang.layers > 64 || config.lang.experts > 64) return;
    status = vl2_weights_bind(&weights, &config, c, &err);
    check_failure(status, &err);
    if (status == VL2_OK) vl2_weights_free(&weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vl2_checkpoint *checkpoint;
    vl2_tokenizer *tokenizer;
    vl2_error err = {0};
    if (!vl2_gguf_is(data, size)) return 0;
    vl2_status status = vl2_checkpoint_open_memory(&checkpoint, data, size, "fuzz", &err);
    check_failure(status, &err);
    if (status != VL2_OK) return 0;
    check_tensors(checkpoint, data, size);
    check_model(checkpoint);
    status = vl2_tokenizer_gguf_open(&tokenizer, vl2_checkpoint_keys(checkpoint), NULL, NULL, &err);
    check_failure(status, &err);
    if (status == VL2_OK) vl2_tokenizer_close(tokenizer);
    vl2_checkpoint_close(checkpoint);
    return 0;
}
