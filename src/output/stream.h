/* output/stream.h - ids -> text as it may be shown: whole characters, no beginning of a stop text.
 *
 * (The public vl2_stream_* functions are a thin engine-level door to this.) */
#ifndef VL2_OUTPUT_STREAM_H
#define VL2_OUTPUT_STREAM_H

#include "base/buf.h"

/* How a stream asks for the bytes of an id, so that this room does not know the tokenizer. */
typedef struct vl2_piece_source {
    const char *(*piece)(const void *user, int32_t id, size_t *size);
    bool (*is_special)(const void *user, int32_t id);
    const void *user;
} vl2_piece_source;

typedef struct vl2_text_stream vl2_text_stream;
vl2_status vl2_text_stream_create(vl2_text_stream **out, const vl2_piece_source *source,
                                  bool skip_special, const char *const *stop, size_t n_stop,
                                  vl2_error *err);
void vl2_text_stream_free(vl2_text_stream *stream);
vl2_status vl2_text_stream_push(vl2_text_stream *stream, int32_t id, const char **text,
                                size_t *size, bool *stopped, vl2_error *err);
vl2_status vl2_text_stream_finish(vl2_text_stream *stream, const char **text, size_t *size,
                                  vl2_error *err);

#endif
