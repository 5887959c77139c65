/* prompt/pretokenize.h - cutting a text into the pieces that byte-pair merges stay within.
 *
 * The rules are the file's own: Split expressions, one after the other, each on the pieces of the
 * one before as if they were texts by themselves; Digits. docs/MODEL.md §3. */
#ifndef VL2_PROMPT_PRETOKENIZE_H
#define VL2_PROMPT_PRETOKENIZE_H

#include "base/json.h"

typedef struct vl2_pretokenize vl2_pretokenize;
typedef vl2_status (*vl2_pretokenize_fn)(void *context, const char *piece, size_t size,
                                         vl2_error *err);

/* `spec` is tokenizer.json's pre_tokenizer; `name` the file, for messages. Without `jit`, or where
 * the machine has none, expressions are interpreted: slower, the same pieces. */
vl2_status vl2_pretokenize_open(vl2_pretokenize **out, const vl2_json *spec, const char *name,
                                bool jit, vl2_error *err);
void vl2_pretokenize_close(vl2_pretokenize *rules);
/* What one call at a time needs to match. */
vl2_status vl2_pretokenize_scratch(void **out, const vl2_pretokenize *rules, vl2_error *err);
void vl2_pretokenize_scratch_free(void *scratch);
/* Calls fn for each piece of a valid UTF-8 text, in order. */
vl2_status vl2_pretokenize_run(const vl2_pretokenize *rules, void *scratch, const char *text,
                               size_t size, vl2_pretokenize_fn fn, void *context, vl2_error *err);

#endif
