/* prompt/bpe.h - byte-pair merges: the bytes of one piece -> ids. docs/MODEL.md §3.
 *
 * Of all neighbours that a merge rule joins, the rule with the lowest rank goes first, of equals the
 * leftmost. A heap over a linked list makes that O(n log n) for a piece of n bytes. */
#ifndef VL2_PROMPT_BPE_H
#define VL2_PROMPT_BPE_H

#include "prompt/tokenizer.h"
#include "prompt/vocab.h"

typedef struct vl2_bpe_rule {
    uint64_t pair; /* left id << 32 | right id */
    uint32_t rank; /* UINT32_MAX: a free slot */
    int32_t joined;
} vl2_bpe_rule;

typedef struct vl2_bpe { /* {0} has no rules */
    int32_t bytes[256];  /* the id of each single byte, -1: none */
    vl2_bpe_rule *rules; /* open addressing; n_slots is a power of 2 */
    size_t n_slots, n_rules;
} vl2_bpe;

typedef struct vl2_bpe_symbol {
    int32_t id;
    int32_t previous, next; /* -1: none */
    uint32_t rank;          /* of joining it with the next one; UINT32_MAX: no rule */
    int32_t joined;
} vl2_bpe_symbol;

typedef struct vl2_bpe_scratch { /* {0}; one for each thread that encodes */
    vl2_bpe_symbol *symbols;     /* [room] */
    uint64_t *heap;              /* [2 * room] rank << 32 | position */
    size_t room;
} vl2_bpe_scratch;

void vl2_bpe_free(vl2_bpe *bpe);
void vl2_bpe_scratch_free(vl2_bpe_scratch *scratch);
/* Looks the single bytes up; call it once all of the vocabulary is there. */
void vl2_bpe_bytes(vl2_bpe *bpe, const vl2_vocab *vocab);
/* The next rule (ranks count up): joins the tokens named left and right; `what` leads messages. */
vl2_status vl2_bpe_add(vl2_bpe *bpe, const vl2_vocab *vocab, const char *left, size_t left_size,
                       const char *right, size_t right_size, const char *what, vl2_error *err);
/* Appends the ids of a piece of 1 … INT32_MAX bytes. */
vl2_status vl2_bpe_encode(vl2_ids *out, const vl2_bpe *bpe, vl2_bpe_scratch *scratch,
                          const char *piece, size_t size, vl2_error *err);

#endif
