/* sample/sampler.h - logits -> id: docs/MODEL.md §8, in this order:
 *
 * repetition penalty (prompt's and generated ids), presence and frequency penalties (generated
 * ids), temperature, top-k (all ties with the k-th stay), top-p (a token stays while the sum of the
 * more probable ones is < p; of equals the lower id counts as more probable), min-p, draw. Greedy
 * takes the lowest id of equals. The generator is our own (splitmix64, xoshiro256**) and so is the
 * exponential, so a seed gives the same ids from the same logits on every machine. */
#ifndef VL2_SAMPLE_SAMPLER_H
#define VL2_SAMPLE_SAMPLER_H

#include "base/err.h"

vl2_status vl2_sampling_check(const vl2_sampling *sampling, vl2_error *err); /* names the field */
/* vl2_sampler of vl2.h, without an engine; `sampling` may be NULL. vl2_sampling_init,
 * vl2_sampler_next and vl2_sampler_free are here, too. */
vl2_status vl2_sampler_make(vl2_sampler **out, size_t vocab, const vl2_sampling *sampling,
                            const int32_t *prompt_ids, size_t n_prompt_ids, vl2_error *err);
/* `top` beyond `vocab` gets id -1 and minus infinity. */
void vl2_logprobs_of(const float *logits, size_t vocab, int32_t id, vl2_logprob *chosen,
                     vl2_logprob *top, size_t n_top);

#endif
