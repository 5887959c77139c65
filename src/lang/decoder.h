/* lang/decoder.h - rows -> logits: the layer loop of docs/MODEL.md §7.
 *
 *   x [R,D] -> L x { x += attention(rmsnorm(x)); x += ffn(rmsnorm(x)) } -> rmsnorm -> head -> logits
 *
 * One step takes the rows of several sequences (one token is one row); each sequence's rows stand
 * together and continue its KV cache. The files behind it: attn_mha.c, attn_mla.c, rope.c, router.c,
 * moe.c, ffn.c, kv.c, head.c. */
#ifndef VL2_LANG_DECODER_H
#define VL2_LANG_DECODER_H

#include "base/arena.h"
#include "base/tap.h"
#include "lang/kv.h"
#include "model/weights.h"

typedef struct vl2_decoder_seq { /* one sequence's share of a step */
    vl2_kv_seq *kv;     /* room reserved for n_rows more tokens; length is moved by the caller */
    size_t row, n_rows; /* its rows in x, behind those of the one before; positions kv->length … */
    size_t rope_length; /* T of the dynamic rope form: the prompt's length (docs/MODEL.md §7) */
    size_t n_out; /* how many of its last rows go through norm and head: 0, 1, or more in a trace */
    float *logits; /* [n_out, V] */
} vl2_decoder_seq;

typedef struct vl2_decoder vl2_decoder; /* the plan and scratch of steps of up to max_rows rows */

/* Bytes that creating one takes for its steps (the backend's own scratch apart). */
size_t vl2_decoder_plan(const vl2_config *config, size_t max_rows, size_t max_seqs,
                        size_t max_tokens);
/* What the backend's scratch must hold for those steps: see vl2_backend_reserve. */
void vl2_decoder_extent(size_t *rows, size_t *cols, const vl2_config *config, size_t max_rows);
/* max_tokens: of one sequence. config, weights and be must outlive it. */
vl2_status vl2_decoder_create(vl2_decoder **out, vl2_backend *be, const vl2_config *config,
                              const vl2_weights *weights, size_t max_rows, size_t max_seqs,
                              size_t max_tokens, vl2_error *err);
void vl2_decoder_free(vl2_decoder *decoder);
/* x [R,D]: the embeddings, for the caller to fill before a step (destroyed by it). */
float *vl2_decoder_input(vl2_decoder *decoder);
/* Runs one step; allocates nothing. `tap` (may be NULL) is shown "hidden" 0 … L and "logits" of the
 * n_out last rows of the only sequence (a trace steps one sequence), `first` being the position of
 * the first of them. poll (may be NULL) is asked
 * between layers; not 0: VL2_ERR_CANCELLED, the cache's new rows are garbage, its length unmoved. */
vl2_status vl2_decoder_step(vl2_decoder *decoder, const vl2_decoder_seq *seqs, size_t n_seqs,
                            const vl2_tap *tap, int (*poll)(void *user), void *poll_user,
                            vl2_error *err);

#endif
