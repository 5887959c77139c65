/* prompt/tokenizer_load.h - from a tokenizer's files to its tables; for tokenizer.c alone. */
#ifndef VL2_PROMPT_TOKENIZER_LOAD_H
#define VL2_PROMPT_TOKENIZER_LOAD_H

#include "prompt/added.h"
#include "prompt/bpe.h"
#include "prompt/pretokenize.h"

struct vl2_tokenizer {
    vl2_vocab vocab;
    vl2_bpe bpe;
    vl2_pretokenize *rules;
    vl2_special_ids special;
    vl2_added passes[4][2]; /* [vl2_encode_mode][pass]: the raw text, then what is between */
};

typedef struct vl2_tokenizer_texts {
    const char *tokenizer, *config, *map; /* config and map may be NULL */
    size_t tokenizer_size, config_size, map_size;
    const char *name;                    /* of tokenizer.json, for messages */
    const char *image_token, *pad_token; /* NULL or "": the processor's defaults */
} vl2_tokenizer_texts;

/* Fills all but `passes` of a zeroed tokenizer, run-time tokens included. */
vl2_status vl2_tokenizer_load(vl2_tokenizer *tokenizer, const vl2_tokenizer_texts *texts,
                              vl2_error *err);

#endif
