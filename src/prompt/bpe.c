#include "prompt/bpe.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

enum { MAX_JOINED = 1 << 17, MAX_RULES = 1 << 24 };

void vl2_bpe_free(vl2_bpe *bpe) {
    vl2_mem_free(bpe->rules);
    *bpe = (vl2_bpe){0};
}

void vl2_bpe_scratch_free(vl2_bpe_scratch *scratch) {
    vl2_mem_free(scratch->symbols);
    vl2_mem_free(scratch->heap);
    *scratch = (vl2_bpe_scratch){0};
}

void vl2_bpe_bytes(vl2_bpe *bpe, const vl2_vocab *vocab) {
    for (int i = 0; i < 256; i++) bpe->bytes[i] = vl2_vocab_find_byte(vocab, (uint8_t)i);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static vl2_bpe_rule *rule_slot(const vl2_bpe *bpe, uint64_t pair) {
    size_t mask = bpe->n_slots - 1;
    uint64_t h = (pair ^ (pair >> 32)) * 0x9e3779b97f4a7c15u;
    for (size_t i = (size_t)(h >> 32) & mask;; i = (i + 1) & mask) {
        vl2_bpe_rule *rule = &bpe->rules[i];
        if (rule->rank == UINT32_MAX || rule->pair == pair) return rule;
    }
}

static vl2_status grow_rules(vl2_bpe *bpe, vl2_error *err) {
    if ((bpe->n_rules + 1) * 2 <= bpe->n_slots) return VL2_OK;
    vl2_bpe wider = *bpe;
    wider.n_slots = bpe->n_slots ? bpe->n_slots * 2 : 1024;
    wider.rules = vl2_mem_array(wider.n_slots, sizeof *wider.rules);
    if (!wider.rules) {
        return vl2_fail_memory(err, "the merge rules", wider.n_slots * sizeof *wider.rules);
    }
    for (size_t i = 0; i < wider.n_slots; i++) wider.rules[i].rank = UINT32_MAX;
    for (size_t i = 0; i < bpe->n_slots; i++) {
        if (bpe->rules[i].rank == UINT32_MAX) continue;
        *rule_slot(&wider, bpe->rules[i].pair) = bpe->rules[i];
    }
    vl2_mem_free(bpe->rules);
    *bpe = wider;
    return VL2_OK;
}

static vl2_status name_id(int32_t *id, const vl2_bpe *bpe, const vl2_vocab *vocab, const char *name,
                          size_t size, const char *what, vl2_error *err) {
    *id = vl2_vocab_find(vocab, name, size);
    if (*id >= 0 && vocab->tokens[*id].in_model) return VL2_OK;
    int shown = (int)vl2_utf8_whole(name, size < 60 ? size : 60);
    return vl2_fail(err, VL2_ERR_FORMAT,
                    "%s: merge %zu needs the token \"%.*s\", which model.vocab does not have", what,
                    bpe->n_rules, shown, name);
}

vl2_status vl2_bpe_add(vl2_bpe *bpe, const vl2_vocab *vocab, const char *left, size_t left_size,
                       const char *right, size_t right_size, const char *what, vl2_error *err) {
    if (bpe->n_rules >= MAX_RULES) {
        return vl2_fail(err, VL2_ERR_LIMIT, "%s: more than %d merges", what, MAX_RULES);
    }
    int32_t a, b, joined;
    VL2_TRY(name_id(&a, bpe, vocab, left, left_size, what, err));
    VL2_TRY(name_id(&b, bpe, vocab, right, right_size, what, err));
    char stack[256], *name = stack;
    size_t size = left_size + right_size;
    if (size > sizeof stack && !(name = vl2_mem_alloc(size))) {
        return vl2_fail_memory(err, "a merge rule", size);
    }
    memcpy(name, left, left_size);
    memcpy(name + left_size, right, right_size);
    vl2_status status = name_id(&joined, bpe, vocab, name, size, what, err);
    if (name != stack) vl2_mem_free(name);
    VL2_TRY(status);
    VL2_TRY(grow_rules(bpe, err));
    vl2_bpe_rule *rule = rule_slot(bpe, pair_of(a, b));
    /* A rule that is there twice takes its later rank, as in the reference. */
    *rule = (vl2_bpe_rule){pair_of(a, b), (uint32_t)bpe->n_rules++, joined};
    return VL2_OK;
}

/* ---- the heap of possible merges: the least rank, then the leftmost, on top --------------------- */

static void sift_down(uint64_t *heap, size_t n, size_t i) {
    uint64_t moved = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= moved) break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

static void push(uint64_t *heap, size_t *n, uint64_t entry) {
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 2] > entry; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
}

static uint64_t pop(uint64_t *heap, size_t *n) {
    uint64_t top = heap[0];
    heap[0] = heap[--*n];
    if (*n > 0) sift_down(heap, *n, 0);
    return top;
}

/* ---- one piece --------------------------------------------------------------------------------- */

static vl2_status take_room(vl2_bpe_scratch *scratch, size_t n, vl2_error *err) {
    if (n <= scratch->room) return VL2_OK;
    size_t room = n < 256 ? 256 : n;
    vl2_bpe_scratch_free(scratch);
    scratch->symbols = vl2_mem_array(room, sizeof *scratch->symbols);
    scratch->heap = vl2_mem_array(room, 2 * sizeof *scratch->heap);
    if (!scratch->symbols || !scratch->heap) {
        vl2_bpe_scratch_free(scratch);
        return vl2_fail_memory(err, "a long word of the text", room * 36);
    }
    scratch->room = room;
    return VL2_OK;
}

/* What joining symbol i with its next one would cost and give; true if a rule does. */
static bool look_up(const vl2_bpe *bpe, vl2_bpe_symbol *symbols, int32_t i) {
    vl2_bpe_symbol *left = &symbols[i];
    left->rank = UINT32_MAX;
    if (left->next < 0 || bpe->n_slots == 0) return false;
    const vl2_bpe_rule *rule = rule_slot(bpe, pair_of(left->id, symbols[left->next].id));
    left->rank = rule->rank;
    left->joined = rule->joined;
    return rule->rank != UINT32_MAX;
}

static uint64_t entry_of(const vl2_bpe_symbol *symbols, int32_t i) {
    return (uint64_t)symbols[i].rank << 32 | (uint32_t)i;
}

/* Joins symbol i with its next one. */
static void join(const vl2_bpe *bpe, vl2_bpe_symbol *symbols, int32_t i, uint64_t *heap,
                 size_t *n_heap) {
    vl2_bpe_symbol *left = &symbols[i];
    vl2_bpe_symbol *right = &symbols[left->next];
    left->id = left->joined;
    left->next = right->next;
    right->rank = UINT32_MAX; /* its entries in the heap are void */
    if (left->next >= 0) symbols[left->next].previous = i;
    if (look_up(bpe, symbols, i)) push(heap, n_heap, entry_of(symbols, i));
    if (left->previous >= 0 && look_up(bpe, symbols, left->previous)) {
        push(heap, n_heap, entry_of(symbols, left->previous));
    }
}

static vl2_status start(vl2_bpe_symbol *symbols, const vl2_bpe *bpe, const char *piece, size_t size,
                        vl2_error *err) {
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)piece[i];
        if (bpe->bytes[byte] < 0) {
            return vl2_fail(err, VL2_ERR_FORMAT,
                            "the vocabulary has no token for the byte 0x%02x of the text", byte);
        }
        symbols[i] = (vl2_bpe_symbol){.id = bpe->bytes[byte],
                                      .previous = (int32_t)i - 1,
                                      .next = i + 1 < size ? (int32_t)i + 1 : -1};
    }
    return VL2_OK;
}

vl2_status vl2_bpe_encode(vl2_ids *out, const vl2_bpe *bpe, vl2_bpe_scratch *scratch,
                          const char *piece, size_t size, vl2_error *err) {
    VL2_TRY(take_room(scratch, size, err));
    vl2_bpe_symbol *symbols = scratch->symbols;
    uint64_t *heap = scratch->heap;
    VL2_TRY(start(symbols, bpe, piece, size, err));
    size_t n_heap = 0;
    for (size_t i = 0; i < size; i++) {
        if (look_up(bpe, symbols, (int32_t)i)) heap[n_heap++] = entry_of(symbols, (int32_t)i);
    }
    for (size_t i = n_heap / 2; i-- > 0;) sift_down(heap, n_heap, i);
    /* Each merge takes one entry and adds two at most, and there are size - 1 merges at most: the
     * heap never holds more than 2 * size. */
    while (n_heap > 0) {
        uint64_t top = pop(heap, &n_heap);
        int32_t i = (int32_t)(uint32_t)top;
        if (symbols[i].rank == (uint32_t)(top >> 32)) join(bpe, symbols, i, heap, &n_heap);
    }
    for (int32_t i = 0; i >= 0; i = symbols[i].next) VL2_TRY(vl2_ids_add(out, symbols[i].id, err));
    return VL2_OK;
}
