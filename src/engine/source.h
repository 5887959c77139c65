/* engine/source.h - a model's files: configuration, weights and tokenizer from wherever they lie. */
#ifndef VL2_ENGINE_SOURCE_H
#define VL2_ENGINE_SOURCE_H

#include "model/weights.h"
#include "prompt/tokenizer.h"

typedef struct vl2_source { /* {0} is empty; vl2_source_close frees what is there */
    vl2_config config;
    vl2_checkpoint *checkpoint;
    vl2_weights weights;
    vl2_tokenizer *tokenizer;
    bool is_demo; /* the demo checkpoint: it says so, or is known by where the tree keeps it */
} vl2_source;

/* path: a published checkpoint's folder, or a GGUF file, with a vision half from `mmproj` if that is
 * not NULL. On failure *out is to be closed all the same. */
vl2_status vl2_source_open(vl2_source *out, const char *path, const char *mmproj, vl2_error *err);
void vl2_source_close(vl2_source *source);

#endif
