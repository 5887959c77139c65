#include "output/stream.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

enum { MAX_STOPS = 64, MAX_STOP_SIZE = 4096 };

/* A stop text and how far the text's end agrees with its beginning (Knuth, Morris, Pratt). */
typedef struct stop {
    char *text;
    size_t size;
    size_t *border; /* [size]: of text[0…i], the longest proper prefix that is also its end */
    size_t matched;
} stop;

struct vl2_text_stream {
    vl2_piece_source source;
    bool skip_special, stopped;
    stop *stops;
    size_t n_stops;
    vl2_buf bytes; /* of an incomplete character */
    vl2_buf held;  /* whole characters that may begin a stop text, and what is shown now */
    size_t shown;  /* bytes of `held` that the last call handed out */
};

static size_t longest_match(const vl2_text_stream *stream) {
    size_t longest = 0;
    for (size_t i = 0; i < stream->n_stops; i++) {
        if (stream->stops[i].matched > longest) longest = stream->stops[i].matched;
    }
    return longest;
}

/* One more byte of text: true when the stop text is complete. */
static bool advance(stop *s, char byte) {
    while (s->matched > 0 && s->text[s->matched] != byte) s->matched = s->border[s->matched - 1];
    if (s->text[s->matched] == byte) s->matched++;
    return s->matched == s->size;
}

static vl2_status open_stop(stop *out, const char *text, size_t index, vl2_error *err) {
    size_t size = text ? strnlen(text, MAX_STOP_SIZE + 1) : 0;
    if (size == 0 || size > MAX_STOP_SIZE) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "stop text %zu has %s%zu bytes, not 1 … %d", index,
                        size ? "over " : "", size ? size - 1 : 0, MAX_STOP_SIZE);
    }
    if (vl2_utf8_valid(text, size) != size) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "stop text %zu is not UTF-8", index);
    }
    out->text = vl2_mem_strdup(text, size);
    out->border = vl2_mem_array(size, sizeof *out->border);
    if (!out->text || !out->border) return vl2_fail_memory(err, "a stop text", size);
    out->size = size;
    out->border[0] = 0;
    for (size_t i = 1; i < size; i++) {
        advance(out, text[i]);
        out->border[i] = out->matched;
    }
    out->matched = 0;
    return VL2_OK;
}

vl2_status vl2_text_stream_create(vl2_text_stream **out, const vl2_piece_source *source,
                                  bool skip_special, const char *const *stops, size_t n_stops,
                                  vl2_error *err) {
    if (n_stops > MAX_STOPS) {
        return vl2_fail(err, VL2_ERR_LIMIT, "%zu stop texts, the limit is %d", n_stops, MAX_STOPS);
    }
    vl2_text_stream *stream = vl2_mem_calloc(1, sizeof *stream);
    if (!stream) return vl2_fail_memory(err, "a text stream", sizeof *stream);
    stream->source = *source;
    stream->skip_special = skip_special;
    vl2_status status = VL2_OK;
    stream->stops = vl2_mem_calloc(n_stops, sizeof *stream->stops);
    if (!stream->stops) status = vl2_fail_memory(err, "stop texts", n_stops * sizeof(stop));
    while (status == VL2_OK && stream->n_stops < n_stops) {
        size_t i = stream->n_stops++;
        status = open_stop(&stream->stops[i], stops[i], i, err);
    }
    if (status != VL2_OK) {
        vl2_text_stream_free(stream);
        return status;
    }
    *out = stream;
    return VL2_OK;
}

void vl2_text_stream_free(vl2_text_stream *stream) {
    if (!stream) return;
    for (size_t i = 0; i < stream->n_stops; i++) {
        vl2_mem_free(stream->stops[i].text);
        vl2_mem_free(stream->stops[i].border);
    }
    vl2_mem_free(stream->stops);
    vl2_buf_free(&stream->bytes);
    vl2_buf_free(&stream->held);
    vl2_mem_free(stream);
}

/* Appends whole characters to what is held. The stop text that is complete first ends the text
 * before it (of several at once the longest), so the result does not depend on how ids cut it. */
static vl2_status hold(vl2_text_stream *stream, const char *text, size_t size, vl2_error *err) {
    for (size_t i = 0; i < size && !stream->stopped; i++) {
        size_t complete = 0;
        for (size_t j = 0; j < stream->n_stops; j++) {
            stop *s = &stream->stops[j];
            if (advance(s, text[i]) && s->size > complete) complete = s->size;
        }
        if (complete == 0) continue;
        stream->stopped = true;
        VL2_TRY(vl2_buf_add(&stream->held, text, i + 1, err));
        stream->held.size -= complete;
        stream->held.data[stream->held.size] = 0;
    }
    return stream->stopped ? VL2_OK : vl2_buf_add(&stream->held, text, size, err);
}

/* Takes the whole characters from the bytes; each maximal bad part becomes U+FFFD. */
static vl2_status take_characters(vl2_text_stream *stream, size_t size, vl2_error *err) {
    vl2_buf *bytes = &stream->bytes;
    size_t done = 0;
    while (done < size && !stream->stopped) {
        size_t valid = vl2_utf8_valid(bytes->data + done, size - done), bad;
        VL2_TRY(hold(stream, bytes->data + done, valid, err));
        done += valid;
        if (done == size || stream->stopped) break;
        vl2_utf8_next(bytes->data + done, size - done, &bad);
        VL2_TRY(hold(stream, "\xef\xbf\xbd", 3, err));
        done += bad;
    }
    memmove(bytes->data, bytes->data + size, bytes->size - size);
    bytes->size -= size;
    return VL2_OK;
}

static void drop_shown(vl2_text_stream *stream) {
    vl2_buf *held = &stream->held;
    if (stream->shown == 0) return;
    memmove(held->data, held->data + stream->shown, held->size - stream->shown);
    held->size -= stream->shown;
    stream->shown = 0;
}

static void show(vl2_text_stream *stream, size_t size, const char **text, size_t *n) {
    stream->shown = size;
    *text = size > 0 ? stream->held.data : "";
    *n = size;
}

vl2_status vl2_text_stream_push(vl2_text_stream *stream, int32_t id, const char **text,
                                size_t *size, bool *stopped, vl2_error *err) {
    drop_shown(stream);
    size_t n = 0;
    const char *piece = "";
    const vl2_piece_source *source = &stream->source;
    if (!stream->stopped && !(stream->skip_special && source->is_special(source->user, id))) {
        piece = source->piece(source->user, id, &n);
    }
    if (n > 0) {
        VL2_TRY(vl2_buf_add(&stream->bytes, piece, n, err));
        VL2_TRY(
            take_characters(stream, vl2_utf8_whole(stream->bytes.data, stream->bytes.size), err));
    }
    *stopped = stream->stopped;
    show(stream, stream->held.size - (stream->stopped ? 0 : longest_match(stream)), text, size);
    return VL2_OK;
}

vl2_status vl2_text_stream_finish(vl2_text_stream *stream, const char **text, size_t *size,
                                  vl2_error *err) {
    drop_shown(stream);
    if (!stream->stopped && stream->bytes.size > 0) {
        VL2_TRY(take_characters(stream, stream->bytes.size, err));
    }
    show(stream, stream->held.size, text, size);
    return VL2_OK;
}
