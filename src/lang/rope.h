/* lang/rope.h - rotary position tables, every scaling: docs/MODEL.md §7.
 *
 * The pairing (half-split in MHA, interleaved in MLA) is the attention's business. */
#ifndef VL2_LANG_ROPE_H
#define VL2_LANG_ROPE_H

#include "model/config.h"

/* Rotated pairs of a head: Dh/2 (MHA) or Dr/2 (MLA). */
size_t vl2_rope_half(const vl2_language_config *lang);
/* frequency [half]: radians a position, for sequences whose dynamic form is of `length` tokens. */
void vl2_rope_frequencies(double *frequency, const vl2_language_config *lang, size_t length);
/* cos, sin [n, half] of positions first … first+n-1, with yarn's magnitude in them. Angles are
 * reduced in double: in float32 the far positions of a long context lose their last digits. */
void vl2_rope_rows(float *cos_rows, float *sin_rows, const vl2_language_config *lang,
                   const double *frequency, size_t first, size_t n);

#endif
