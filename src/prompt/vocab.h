/* prompt/vocab.h - the names of all tokens, and the bytes that each of them stands for.
 *
 * Names are written in the byte-level alphabet of tokenizer.json (a space is "Ġ"); a name with any
 * character outside it stands for itself. Ids need not be dense. */
#ifndef VL2_PROMPT_VOCAB_H
#define VL2_PROMPT_VOCAB_H

#include "base/buf.h"
#include "base/err.h"

enum { VL2_VOCAB_MAX_IDS = 1 << 21 }; /* ids are below this */

typedef struct vl2_vocab_token {
    uint32_t name, name_size;   /* in text; no name (size 0): an id that nothing uses */
    uint32_t piece, piece_size; /* in text; the same place where the name stands for itself */
    bool in_model;              /* of model.vocab */
    bool added, normalized;     /* an added token, and found in which pass */
    bool special;
} vl2_vocab_token;

typedef struct vl2_vocab { /* {0} is empty */
    vl2_vocab_token *tokens;
    size_t n_ids; /* greatest id + 1 */
    size_t n_model;
    size_t room;
    uint64_t *slots; /* open addressing: 32 bits of hash, then id + 1; 0 free; n_slots = 2^k */
    size_t n_slots, n_names;
    vl2_buf text;
} vl2_vocab;

void vl2_vocab_free(vl2_vocab *vocab);
/* `what` leads the message when the name or the id is taken, or the id out of range. */
vl2_status vl2_vocab_add(vl2_vocab *vocab, int64_t id, const char *name, size_t size,
                         const char *what, vl2_error *err);
int32_t vl2_vocab_find(const vl2_vocab *vocab, const char *name, size_t size); /* -1: none */
/* The id whose name is the alphabet's letter for a byte, or -1. */
int32_t vl2_vocab_find_byte(const vl2_vocab *vocab, uint8_t byte);

static inline const char *vl2_vocab_name(const vl2_vocab *vocab, int32_t id) {
    return vocab->text.data + vocab->tokens[id].name;
}

#endif
