/* prompt/pattern.h - a tokenizer file's expressions, from the reference's syntax to PCRE2's.
 *
 * The reference compiles them with Oniguruma's Ruby syntax. What both read alike passes through;
 * what they read differently is rewritten, or refused by name. */
#ifndef VL2_PROMPT_PATTERN_H
#define VL2_PROMPT_PATTERN_H

#include "base/buf.h"

/* Appends the PCRE2 form (UTF, UCP, multi-line, newline = LF); `what` leads messages. */
vl2_status vl2_pattern_translate(vl2_buf *out, const char *pattern, size_t size, const char *what,
                                 vl2_error *err);

#endif
