/* prompt/added.h - finding added tokens in a text: leftmost, then longest. docs/MODEL.md §3. */
#ifndef VL2_PROMPT_ADDED_H
#define VL2_PROMPT_ADDED_H

#include "prompt/vocab.h"

typedef struct vl2_added_name {
    const char *name; /* of the vocabulary, which must not change any more */
    size_t size;
    int32_t id;
} vl2_added_name;

typedef struct vl2_added { /* the tokens of one pass, by name; {0} finds nothing */
    vl2_added_name *names;
    size_t n;
    size_t first[257]; /* names that begin with byte b: first[b] … first[b + 1] - 1 */
} vl2_added;

/* All added tokens of the vocabulary with this `normalized`, but not the ids in `without`. */
vl2_status vl2_added_open(vl2_added *out, const vl2_vocab *vocab, bool normalized,
                          const int32_t *without, size_t n_without, vl2_error *err);
void vl2_added_close(vl2_added *added);
/* The first token at text[from] or later, at *start; NULL if there is none. */
const vl2_added_name *vl2_added_find(const vl2_added *added, const char *text, size_t size,
                                     size_t from, size_t *start);

#endif
