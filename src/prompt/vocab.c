#include "prompt/vocab.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

enum { MAX_NAME = 1 << 16, MAX_TEXT = 1 << 28 };

void vl2_vocab_free(vl2_vocab *vocab) {
    vl2_mem_free(vocab->tokens);
    vl2_mem_free(vocab->slots);
    vl2_buf_free(&vocab->text);
    *vocab = (vl2_vocab){0};
}

/* The byte-level alphabet: printable bytes are their own letter, the 68 others follow U+0100. */
static uint32_t letter_of(uint8_t byte) {
    if (byte <= 0x20) return 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0) return 0x121u + (byte - 0x7fu);
    if (byte == 0xad) return 0x143;
    return byte;
}

static int byte_of(uint32_t letter) {
    if (letter >= 0x100 && letter <= 0x120) return (int)(letter - 0x100);
    if (letter >= 0x121 && letter <= 0x142) return (int)(letter - 0x121 + 0x7f);
    if (letter == 0x143) return 0xad;
    if (letter > 0xff || letter_of((uint8_t)letter) != letter) return -1;
    return (int)letter;
}

/* FNV-1a, its low bits stirred. */
static uint32_t hash_of(const char *name, size_t size) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < size; i++) h = (h ^ (uint8_t)name[i]) * 1099511628211u;
    return (uint32_t)(h ^ (h >> 32));
}

/* The slot that holds the name, or the free one where it belongs. */
static uint64_t *slot_of(const vl2_vocab *vocab, uint32_t hash, const char *name, size_t size) {
    size_t mask = vocab->n_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        uint64_t taken = vocab->slots[i];
        if (taken == 0) return &vocab->slots[i];
        if (taken >> 32 != hash) continue;
        const vl2_vocab_token *token = &vocab->tokens[(uint32_t)taken - 1];
        if (token->name_size == size && memcmp(vocab->text.data + token->name, name, size) == 0) {
            return &vocab->slots[i];
        }
    }
}

int32_t vl2_vocab_find(const vl2_vocab *vocab, const char *name, size_t size) {
    if (vocab->n_slots == 0) return -1;
    return (int32_t)(uint32_t)*slot_of(vocab, hash_of(name, size), name, size) - 1;
}

int32_t vl2_vocab_find_byte(const vl2_vocab *vocab, uint8_t byte) {
    char letter[4];
    return vl2_vocab_find(vocab, letter, vl2_utf8_put(letter, letter_of(byte)));
}

static vl2_status grow_slots(vl2_vocab *vocab, vl2_error *err) {
    if ((vocab->n_names + 1) * 2 <= vocab->n_slots) return VL2_OK;
    size_t n_slots = vocab->n_slots ? vocab->n_slots * 2 : 1024;
    uint64_t *slots = vl2_mem_calloc(n_slots, sizeof *slots);
    if (!slots) return vl2_fail_memory(err, "the vocabulary", n_slots * sizeof *slots);
    for (size_t i = 0; i < vocab->n_slots; i++) {
        if (vocab->slots[i] == 0) continue;
        size_t at = (size_t)(vocab->slots[i] >> 32) & (n_slots - 1);
        while (slots[at] != 0) at = (at + 1) & (n_slots - 1);
        slots[at] = vocab->slots[i];
    }
    vl2_mem_free(vocab->slots);
    vocab->slots = slots;
    vocab->n_slots = n_slots;
    return VL2_OK;
}

static vl2_status grow_tokens(vl2_vocab *vocab, size_t id, vl2_error *err) {
    if (id >= vocab->room) {
        size_t room = vocab->room ? vocab->room : 1024;
        while (room <= id) room *= 2;
        vl2_vocab_token *tokens = vl2_mem_grow(vocab->tokens, room, sizeof *tokens);
        if (!tokens) return vl2_fail_memory(err, "the vocabulary", room * sizeof *tokens);
        memset(tokens + vocab->room, 0, (room - vocab->room) * sizeof *tokens);
        vocab->tokens = tokens;
        vocab->room = room;
    }
    if (id >= vocab->n_ids) vocab->n_ids = id + 1;
    return VL2_OK;
}

/* Writes the bytes that the name stands for; false where it is not in the byte-level alphabet. */
static bool bytes_of(char *out, size_t *n_bytes, const char *name, size_t size) {
    size_t n = 0;
    for (size_t at = 0, step; at < size; at += step) {
        int byte = byte_of(vl2_utf8_next(name + at, size - at, &step));
        if (byte < 0) return false;
        out[n++] = (char)byte;
    }
    *n_bytes = n;
    return true;
}

static vl2_status store(vl2_vocab *vocab, vl2_vocab_token *token, const char *name, size_t size,
                        vl2_error *err) {
    vl2_buf *text = &vocab->text;
    text->cap = MAX_TEXT;
    VL2_TRY(vl2_buf_reserve(text, 2 * size + 1, err));
    token->name = (uint32_t)text->size;
    token->name_size = (uint32_t)size;
    memcpy(text->data + text->size, name, size);
    text->size += size;
    size_t n_bytes;
    if (bytes_of(text->data + text->size, &n_bytes, name, size)) {
        token->piece = (uint32_t)text->size;
        token->piece_size = (uint32_t)n_bytes;
        text->size += n_bytes;
    } else {
        token->piece = token->name;
        token->piece_size = token->name_size;
    }
    return VL2_OK;
}

vl2_status vl2_vocab_add(vl2_vocab *vocab, int64_t id, const char *name, size_t size,
                         const char *what, vl2_error *err) {
    int shown = (int)vl2_utf8_whole(name, size < 60 ? size : 60);
    if (id < 0 || id >= VL2_VOCAB_MAX_IDS) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: token \"%.*s\" has id %lld, not 0 … %d", what,
                        shown, name, (long long)id, VL2_VOCAB_MAX_IDS - 1);
    }
    if (size == 0 || size > MAX_NAME) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: the name of id %lld has %zu bytes, not 1 … %d",
                        what, (long long)id, size, MAX_NAME);
    }
    VL2_TRY(grow_slots(vocab, err));
    uint32_t hash = hash_of(name, size);
    uint64_t *slot = slot_of(vocab, hash, name, size);
    if (*slot != 0) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: token \"%.*s\" is there twice, as id %u and %lld",
                        what, shown, name, (uint32_t)*slot - 1, (long long)id);
    }
    if ((size_t)id < vocab->n_ids && vocab->tokens[id].name_size > 0) {
        const vl2_vocab_token *other = &vocab->tokens[id];
        const char *taken = vocab->text.data + other->name;
        int other_shown = (int)vl2_utf8_whole(taken, other->name_size < 60 ? other->name_size : 60);
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: id %lld belongs to both \"%.*s\" and \"%.*s\"",
                        what, (long long)id, other_shown, taken, shown, name);
    }
    VL2_TRY(grow_tokens(vocab, (size_t)id, err));
    VL2_TRY(store(vocab, &vocab->tokens[id], name, size, err));
    *slot = (uint64_t)hash << 32 | ((uint32_t)id + 1);
    vocab->n_names++;
    return VL2_OK;
}
