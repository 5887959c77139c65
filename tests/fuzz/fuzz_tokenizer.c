/* Any bytes as a tokenizer's files and a text, parted by lines of "====": tokenizer.json,
 * tokenizer_config.json, special_tokens_map.json, text. What opens encodes the text in every mode,
 * and decodes the ids. */
#include "fuzz/fuzz.h"
#include "prompt/tokenizer.h"

#include <string.h>

static const char BORDER[] = "\n====\n";

/* The next part of the input; NULL at its end. */
static const char *next_part(const char **data, size_t *left, size_t *size) {
    const char *part = *data;
    if (!part) return NULL;
    size_t n = sizeof BORDER - 1, at = 0;
    while (at + n <= *left && memcmp(part + at, BORDER, n) != 0) at++;
    bool last = at + n > *left;
    *size = last ? *left : at;
    *data = last ? NULL : part + at + n;
    *left -= last ? *left : at + n;
    return part;
}

static void encode(const vl2_tokenizer *tokenizer, const char *text, size_t size) {
    for (int mode = 0; mode < 4; mode++) {
        vl2_ids ids = {0};
        vl2_buf back = {0};
        vl2_status status =
            vl2_tokenizer_encode(&ids, tokenizer, text, size, (vl2_encode_mode)mode, NULL);
        for (size_t i = 0; i < ids.size; i++) {
            if (ids.data[i] < 0 || (size_t)ids.data[i] >= vl2_tokenizer_size(tokenizer)) {
                __builtin_trap();
            }
        }
        if (status == VL2_OK) {
            if (vl2_tokenizer_decode(&back, tokenizer, ids.data, ids.size, false, NULL) != VL2_OK) {
                __builtin_trap();
            }
        }
        vl2_ids_free(&ids);
        vl2_buf_free(&back);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = (const char *)data, *parts[4];
    size_t sizes[4] = {0};
    for (int i = 0; i < 4; i++) parts[i] = next_part(&at, &size, &sizes[i]);
    vl2_tokenizer *tokenizer;
    vl2_error err = {0};
    vl2_status status =
        vl2_tokenizer_parse(&tokenizer, parts[0] ? parts[0] : "", sizes[0], parts[1], sizes[1],
                            parts[2], sizes[2], "fuzz", NULL, NULL, &err);
    if (status != VL2_OK) {
        if (err.text[0] == 0) __builtin_trap(); /* a failure has its words */
        return 0;
    }
    if (parts[3]) encode(tokenizer, parts[3], sizes[3]);
    encode(tokenizer, (const char *)data, sizes[0]);
    vl2_tokenizer_close(tokenizer);
    return 0;
}
