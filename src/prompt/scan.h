/* prompt/scan.h - JSON read in place, for the two long lists of a tokenizer.json.
 *
 * A vocabulary is megabytes of short strings: building a tree of them takes ten times as long as
 * reading them. The text is known to be valid UTF-8; everything but those lists goes through
 * base/json, which judges the file's form. All functions return false on a syntax error. */
#ifndef VL2_PROMPT_SCAN_H
#define VL2_PROMPT_SCAN_H

#include "base/buf.h"

typedef struct vl2_scan {
    const char *text;
    size_t size, at;
    vl2_buf scratch; /* strings with escapes are unfolded here */
    vl2_error *err;
    vl2_status status; /* not VL2_OK: it was no syntax error, but memory */
} vl2_scan;

/* The next character that is no white space (not consumed); 0 at the end. */
char vl2_scan_peek(vl2_scan *scan);
bool vl2_scan_take(vl2_scan *scan, char expected);
/* The string's value; valid until the next string is read. */
bool vl2_scan_string(vl2_scan *scan, const char **out, size_t *size);
bool vl2_scan_int(vl2_scan *scan, int64_t *out);
bool vl2_scan_skip(vl2_scan *scan); /* a whole value, of any kind */
/* Steps through an object or array: called before each element with *first = true at the start;
 * consumes the comma or the closing bracket. *more is false at the end. */
bool vl2_scan_next(vl2_scan *scan, char close, bool *first, bool *more);

#endif
