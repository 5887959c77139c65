/* The public doors to the tokenizer and to streams of text. */
#include "engine/engine.h"

#include "base/mem.h"

vl2_status vl2_tokenize(int32_t **out, size_t *n, const vl2_engine *engine, const char *text,
                        size_t size, vl2_error *err) {
    const vl2_tokenizer *tokenizer;
    VL2_TRY(vl2_engine_tokenizer(&tokenizer, engine, err));
    return vl2_text_encode(out, n, tokenizer, text, size, err);
}

vl2_status vl2_detokenize(char **out, size_t *size, const vl2_engine *engine, const int32_t *ids,
                          size_t n, bool skip_special, vl2_error *err) {
    const vl2_tokenizer *tokenizer;
    VL2_TRY(vl2_engine_tokenizer(&tokenizer, engine, err));
    return vl2_text_decode(out, size, tokenizer, ids, n, skip_special, err);
}

vl2_status vl2_text_encode(int32_t **out, size_t *n, const vl2_tokenizer *tokenizer,
                           const char *text, size_t size, vl2_error *err) {
    vl2_ids ids = {0};
    vl2_status status = vl2_tokenizer_encode(&ids, tokenizer, text, size, VL2_ENCODE_ALL, err);
    if (status == VL2_OK && !ids.data) {
        ids.data = vl2_mem_alloc(sizeof *ids.data);
        if (!ids.data) status = vl2_fail_memory(err, "an empty text's ids", sizeof *ids.data);
    }
    if (status != VL2_OK) {
        vl2_ids_free(&ids);
        return status;
    }
    *out = ids.data;
    *n = ids.size;
    return VL2_OK;
}

vl2_status vl2_text_decode(char **out, size_t *size, const vl2_tokenizer *tokenizer,
                           const int32_t *ids, size_t n, bool skip_special, vl2_error *err) {
    vl2_buf text = {0};
    vl2_status status = vl2_tokenizer_decode(&text, tokenizer, ids, n, skip_special, err);
    if (status == VL2_OK) status = vl2_buf_detach(&text, out, size, err);
    vl2_buf_free(&text);
    return status;
}

struct vl2_stream {
    vl2_text_stream *text;
};

static const char *piece_of(const void *user, int32_t id, size_t *size) {
    return vl2_tokenizer_piece(user, id, size);
}

static bool is_special(const void *user, int32_t id) { return vl2_tokenizer_is_special(user, id); }

vl2_status vl2_stream_create(vl2_stream **out, const vl2_engine *engine, bool skip_special,
                             const char *const *stop, size_t n_stop, vl2_error *err) {
    const vl2_tokenizer *tokenizer;
    VL2_TRY(vl2_engine_tokenizer(&tokenizer, engine, err));
    vl2_stream *stream = vl2_mem_calloc(1, sizeof *stream);
    if (!stream) return vl2_fail_memory(err, "a stream", sizeof *stream);
    vl2_piece_source source = {.piece = piece_of, .is_special = is_special, .user = tokenizer};
    vl2_status status =
        vl2_text_stream_create(&stream->text, &source, skip_special, stop, n_stop, err);
    if (status != VL2_OK) {
        vl2_mem_free(stream);
        return status;
    }
    *out = stream;
    return VL2_OK;
}

void vl2_stream_free(vl2_stream *stream) {
    if (!stream) return;
    vl2_text_stream_free(stream->text);
    vl2_mem_free(stream);
}

vl2_status vl2_stream_push(vl2_stream *stream, int32_t id, const char **text, size_t *size,
                           bool *stopped, vl2_error *err) {
    return vl2_text_stream_push(stream->text, id, text, size, stopped, err);
}

vl2_status vl2_stream_finish(vl2_stream *stream, const char **text, size_t *size, vl2_error *err) {
    return vl2_text_stream_finish(stream->text, text, size, err);
}
