#include "prompt/added.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void vl2_added_close(vl2_added *added) {
    vl2_mem_free(added->names);
    *added = (vl2_added){0};
}

static int by_name(const void *left, const void *right) {
    const vl2_added_name *a = left, *b = right;
    int order = memcmp(a->name, b->name, a->size < b->size ? a->size : b->size);
    if (order != 0) return order;
    return (a->size > b->size) - (a->size < b->size);
}

static bool is_in(int32_t id, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id) return true;
    }
    return false;
}

vl2_status vl2_added_open(vl2_added *out, const vl2_vocab *vocab, bool normalized,
                          const int32_t *without, size_t n_without, vl2_error *err) {
    vl2_added added = {0};
    size_t n = 0;
    for (size_t i = 0; i < vocab->n_ids; i++) n += vocab->tokens[i].added;
    added.names = vl2_mem_array(n, sizeof *added.names);
    if (!added.names) return vl2_fail_memory(err, "the added tokens", n * sizeof *added.names);
    for (size_t i = 0; i < vocab->n_ids; i++) {
        const vl2_vocab_token *token = &vocab->tokens[i];
        if (!token->added || token->normalized != normalized) continue;
        if (is_in((int32_t)i, without, n_without)) continue;
        added.names[added.n++] =
            (vl2_added_name){vl2_vocab_name(vocab, (int32_t)i), token->name_size, (int32_t)i};
    }
    qsort(added.names, added.n, sizeof *added.names, by_name);
    for (size_t i = 0; i < added.n; i++) added.first[(uint8_t)added.names[i].name[0] + 1]++;
    for (size_t b = 0; b < 256; b++) added.first[b + 1] += added.first[b];
    *out = added;
    return VL2_OK;
}

/* The first of names[from … to) whose byte at `depth` is `byte` or greater; they agree before it
 * and are longer than it. */
static size_t lower_bound(const vl2_added_name *names, size_t from, size_t to, size_t depth,
                          unsigned byte) {
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if ((uint8_t)names[middle].name[depth] < byte) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

/* The longest token that begins exactly at `text`. */
static const vl2_added_name *longest_at(const vl2_added *added, const char *text, size_t size) {
    const vl2_added_name *names = added->names, *best = NULL;
    size_t from = added->first[(uint8_t)text[0]], to = added->first[(uint8_t)text[0] + 1];
    for (size_t depth = 1; from < to; depth++) {
        if (names[from].size == depth) best = &names[from++];
        if (depth == size) break;
        unsigned byte = (uint8_t)text[depth];
        from = lower_bound(names, from, to, depth, byte);
        to = lower_bound(names, from, to, depth, byte + 1);
    }
    return best;
}

const vl2_added_name *vl2_added_find(const vl2_added *added, const char *text, size_t size,
                                     size_t from, size_t *start) {
    if (added->n == 0) return NULL;
    for (size_t at = from; at < size; at++) {
        uint8_t byte = (uint8_t)text[at];
        if (added->first[byte] == added->first[byte + 1]) continue;
        const vl2_added_name *found = longest_at(added, text + at, size - at);
        if (!found) continue;
        *start = at;
        return found;
    }
    return NULL;
}
