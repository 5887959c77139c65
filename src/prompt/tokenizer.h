/* prompt/tokenizer.h - text <-> ids, from a checkpoint's own tokenizer.json: docs/MODEL.md §3.
 *
 * Byte-level BPE with the file's own pre-tokenizer expressions, added tokens in their two passes, and
 * the tokens that the processor adds at run time. Immutable after opening: any thread may use it. */
#ifndef VL2_PROMPT_TOKENIZER_H
#define VL2_PROMPT_TOKENIZER_H

#include "base/buf.h"
#include "base/err.h"

typedef struct vl2_tokenizer vl2_tokenizer;

typedef struct vl2_special_ids { /* by the names, never by fixed numbers */
    int32_t bos, eos, pad, image, ref, ref_end, det, det_end, grounding, user, assistant;
} vl2_special_ids;

/* `path`: a checkpoint folder, a folder with tokenizer.json alone, or a tokenizer.json. image_token
 * and pad_token as processor_config.json has them (NULL or "": the reference's defaults). */
vl2_status vl2_tokenizer_open(vl2_tokenizer **out, const char *path, const char *image_token,
                              const char *pad_token, vl2_error *err);
/* From texts (fuzzing; GGUF later). tokenizer_config and special_tokens_map may be NULL. */
vl2_status vl2_tokenizer_parse(vl2_tokenizer **out, const char *tokenizer, size_t tokenizer_size,
                               const char *config, size_t config_size, const char *map,
                               size_t map_size, const char *name, const char *image_token,
                               const char *pad_token, vl2_error *err);
void vl2_tokenizer_close(vl2_tokenizer *tokenizer);

typedef enum vl2_encode_mode { /* flags */
                               VL2_ENCODE_ALL =
                                   0, /* every added token found in the text becomes its id */
                               VL2_ENCODE_NO_ROLES =
                                   1, /* role tokens, bos, eos and pad stay plain text (a server's users) */
                               VL2_ENCODE_NO_IMAGE = 2 /* so does the image token */
} vl2_encode_mode;

typedef struct vl2_ids { /* a growing list; {0} is empty */
    int32_t *data;
    size_t size, room;
} vl2_ids;
void vl2_ids_free(vl2_ids *ids);
vl2_status vl2_ids_add(vl2_ids *ids, int32_t id, vl2_error *err);

/* Appends the ids of text. Invalid UTF-8 is an error that names the byte. */
vl2_status vl2_tokenizer_encode(vl2_ids *out, const vl2_tokenizer *tokenizer, const char *text,
                                size_t size, vl2_encode_mode mode, vl2_error *err);
/* The bytes of one id: what decoding appends (an added token's text; nothing for an unknown id). */
const char *vl2_tokenizer_piece(const vl2_tokenizer *tokenizer, int32_t id, size_t *size);
bool vl2_tokenizer_is_special(const vl2_tokenizer *tokenizer,
                              int32_t id); /* dropped by skip_special */
/* Appends the text of ids; invalid bytes become U+FFFD, one for each maximal bad part. */
vl2_status vl2_tokenizer_decode(vl2_buf *out, const vl2_tokenizer *tokenizer, const int32_t *ids,
                                size_t n, bool skip_special, vl2_error *err);
const vl2_special_ids *vl2_tokenizer_special(const vl2_tokenizer *tokenizer);
int32_t vl2_tokenizer_find(const vl2_tokenizer *tokenizer,
                           const char *name);               /* id by exact name, or -1 */
size_t vl2_tokenizer_size(const vl2_tokenizer *tokenizer);  /* greatest id + 1 */
size_t vl2_tokenizer_bytes(const vl2_tokenizer *tokenizer); /* of its tables, in memory */

#endif
