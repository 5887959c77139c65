/* prompt/tokenizer_gguf.h - the tokenizer inside a GGUF file: tokenizer.huggingface.json as it is, or
 * the lists tokenizer.ggml.*, which a tokenizer.json is made of; and back. */
#ifndef VL2_PROMPT_TOKENIZER_GGUF_H
#define VL2_PROMPT_TOKENIZER_GGUF_H

#include "model/gguf_write.h"
#include "prompt/tokenizer.h"

/* image_token and pad_token as in vl2_tokenizer_open. */
vl2_status vl2_tokenizer_gguf_open(vl2_tokenizer **out, const vl2_gguf *keys,
                                   const char *image_token, const char *pad_token, vl2_error *err);
/* Adds tokenizer.ggml.* with exactly n_ids tokens, unused ones where the vocabulary ends, and `json`,
 * the published tokenizer.json (NULL: none). */
vl2_status vl2_tokenizer_gguf_add(vl2_gguf_out *out, const vl2_tokenizer *tokenizer, size_t n_ids,
                                  const char *json, size_t json_size, vl2_error *err);

#endif
