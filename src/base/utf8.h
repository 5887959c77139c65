/* base/utf8.h - UTF-8, strictly (no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef VL2_BASE_UTF8_H
#define VL2_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The code point at text[0…size), its length in *n; or UINT32_MAX with *n = the length of the
 * maximal ill-formed part (as Unicode's table 3-8 and Python's "replace" count it). size > 0. */
uint32_t vl2_utf8_next(const char *text, size_t size, size_t *n);
/* 1 … 4 bytes written to out. */
size_t vl2_utf8_put(char out[4], uint32_t code);
/* Length of the longest prefix that is whole: cuts only a sequence that more bytes could complete. */
size_t vl2_utf8_whole(const char *text, size_t size);
/* size if all of it is valid, else the offset of the first bad byte. */
size_t vl2_utf8_valid(const char *text, size_t size);
/* Python's str.strip: moves *text and *size past Unicode white space at both ends. */
void vl2_utf8_strip(const char **text, size_t *size);

#endif
