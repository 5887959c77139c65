#include "server/cache.h"

#include "base/mem.h"

#include <string.h>

void vl2_picture_key_of(vl2_picture_key *out, const vl2_span *span) {
    memset(out, 0, sizeof *out);
    vl2_picture_sha256(span->picture, out->sha256);
    out->tiles_wide = (uint32_t)span->tiles_wide;
    out->tiles_high = (uint32_t)span->tiles_high;
}

static bool same_key(const vl2_picture_key *a, const vl2_picture_key *b) {
    return memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0 && a->tiles_wide == b->tiles_wide &&
           a->tiles_high == b->tiles_high;
}

/* ---- picture rows: a list, most recently used first ---- */

typedef struct rows_entry {
    vl2_picture_key key;
    vl2_rows *rows;
    struct rows_entry *next;
} rows_entry;

struct vl2_rows_cache {
    rows_entry *first;
    size_t bytes, max_bytes;
};

vl2_status vl2_rows_cache_create(vl2_rows_cache **out, size_t max_bytes, vl2_error *err) {
    vl2_rows_cache *cache = vl2_mem_calloc(1, sizeof *cache);
    if (!cache) return vl2_fail_memory(err, "the image cache", sizeof *cache);
    cache->max_bytes = max_bytes;
    *out = cache;
    return VL2_OK;
}

static void rows_drop(vl2_rows_cache *cache, rows_entry **link) {
    rows_entry *entry = *link;
    *link = entry->next;
    cache->bytes -= vl2_rows_bytes(entry->rows);
    vl2_rows_free(entry->rows);
    vl2_mem_free(entry);
}

void vl2_rows_cache_free(vl2_rows_cache *cache) {
    if (!cache) return;
    while (cache->first) rows_drop(cache, &cache->first);
    vl2_mem_free(cache);
}

vl2_rows *vl2_rows_cache_find(vl2_rows_cache *cache, const vl2_picture_key *key) {
    for (rows_entry **link = &cache->first; *link; link = &(*link)->next) {
        rows_entry *entry = *link;
        if (!same_key(&entry->key, key)) continue;
        *link = entry->next;
        entry->next = cache->first;
        cache->first = entry;
        return entry->rows;
    }
    return NULL;
}

void vl2_rows_cache_put(vl2_rows_cache *cache, const vl2_picture_key *key, vl2_rows *rows) {
    size_t bytes = vl2_rows_bytes(rows);
    if (bytes > cache->max_bytes || vl2_rows_cache_find(cache, key)) return;
    while (cache->bytes > cache->max_bytes - bytes) {
        rows_entry **last = &cache->first;
        while ((*last)->next) last = &(*last)->next;
        rows_drop(cache, last);
    }
    rows_entry *entry = vl2_mem_calloc(1, sizeof *entry);
    if (!entry) return; /* a cache may forget */
    *entry = (rows_entry){.key = *key, .rows = vl2_rows_retain(rows), .next = cache->first};
    cache->first = entry;
    cache->bytes += bytes;
}

size_t vl2_rows_cache_bytes(const vl2_rows_cache *cache) { return cache->bytes; }

/* ---- prefixes ---- */

typedef struct prefix_entry {
    vl2_session *session;
    int32_t *ids;
    size_t n_ids;
    vl2_picture_key *keys; /* of its spans, in order, at these tokens */
    size_t *span_tokens;
    size_t n_spans;
    uint64_t used;
} prefix_entry;

struct vl2_prefix_cache {
    prefix_entry *entries;
    size_t n, max;
    uint64_t clock;
};

vl2_status vl2_prefix_cache_create(vl2_prefix_cache **out, size_t max_entries, vl2_error *err) {
    vl2_prefix_cache *cache = vl2_mem_calloc(1, sizeof *cache);
    if (cache) cache->entries = vl2_mem_calloc(max_entries, sizeof *cache->entries);
    if (!cache || !cache->entries) {
        vl2_mem_free(cache);
        return vl2_fail_memory(err, "the prefix cache", max_entries * sizeof(prefix_entry));
    }
    cache->max = max_entries;
    *out = cache;
    return VL2_OK;
}

static void prefix_clear(prefix_entry *entry) {
    vl2_session_free(entry->session);
    vl2_mem_free(entry->ids);
    vl2_mem_free(entry->keys);
    vl2_mem_free(entry->span_tokens);
}

void vl2_prefix_cache_free(vl2_prefix_cache *cache) {
    if (!cache) return;
    for (size_t i = 0; i < cache->n; i++) prefix_clear(&cache->entries[i]);
    vl2_mem_free(cache->entries);
    vl2_mem_free(cache);
}

/* Tokens that both begin with: equal ids, and equal pictures where these are a picture's. */
static size_t common(const prefix_entry *entry, const vl2_prompt *prompt,
                     const vl2_picture_key *keys) {
    size_t n_ids, n_spans;
    const int32_t *ids = vl2_prompt_ids(prompt, &n_ids);
    const vl2_span *spans = vl2_prompt_spans(prompt, &n_spans);
    size_t n = 0, most = n_ids < entry->n_ids ? n_ids : entry->n_ids;
    while (n < most && ids[n] == entry->ids[n]) n++;
    for (size_t i = 0; i < n_spans && spans[i].first_token < n; i++) {
        bool same = i < entry->n_spans && entry->span_tokens[i] == spans[i].first_token &&
                    same_key(&entry->keys[i], &keys[i]);
        if (!same) return spans[i].first_token;
    }
    size_t behind = n_spans < entry->n_spans ? entry->span_tokens[n_spans] : SIZE_MAX;
    return n < behind ? n : behind; /* an <image> id of the other that is no picture here */
}

const vl2_session *vl2_prefix_cache_find(vl2_prefix_cache *cache, const vl2_prompt *prompt,
                                         const vl2_picture_key *keys, size_t *n_tokens) {
    prefix_entry *best = NULL;
    *n_tokens = 0;
    for (size_t i = 0; i < cache->n; i++) {
        size_t n = common(&cache->entries[i], prompt, keys);
        if (n > *n_tokens) {
            *n_tokens = n;
            best = &cache->entries[i];
        }
    }
    if (!best) return NULL;
    best->used = ++cache->clock;
    return best->session;
}

bool vl2_prefix_cache_evict(vl2_prefix_cache *cache, const vl2_session *spared) {
    size_t oldest = cache->n;
    for (size_t i = 0; i < cache->n; i++) {
        if (spared && cache->entries[i].session == spared) continue;
        if (oldest == cache->n || cache->entries[i].used < cache->entries[oldest].used) oldest = i;
    }
    if (oldest == cache->n) return false;
    prefix_clear(&cache->entries[oldest]);
    cache->entries[oldest] = cache->entries[--cache->n];
    return true;
}

static bool remember(prefix_entry *entry, const vl2_prompt *prompt, const vl2_picture_key *keys,
                     const int32_t *more, size_t n_more) {
    size_t n_ids, n_spans;
    const int32_t *ids = vl2_prompt_ids(prompt, &n_ids);
    const vl2_span *spans = vl2_prompt_spans(prompt, &n_spans);
    entry->ids = vl2_mem_array(n_ids + n_more, sizeof *entry->ids);
    entry->keys = vl2_mem_array(n_spans, sizeof *entry->keys);
    entry->span_tokens = vl2_mem_array(n_spans, sizeof *entry->span_tokens);
    if (!entry->ids || !entry->keys || !entry->span_tokens) return false;
    memcpy(entry->ids, ids, n_ids * sizeof *ids);
    if (n_more) memcpy(entry->ids + n_ids, more, n_more * sizeof *more);
    entry->n_ids = n_ids + n_more;
    entry->n_spans = n_spans;
    for (size_t i = 0; i < n_spans; i++) {
        entry->keys[i] = keys[i];
        entry->span_tokens[i] = spans[i].first_token;
    }
    return true;
}

void vl2_prefix_cache_put(vl2_prefix_cache *cache, vl2_session *session, const vl2_prompt *prompt,
                          const vl2_picture_key *keys, const int32_t *more, size_t n_more) {
    prefix_entry entry = {.session = session, .used = ++cache->clock};
    if (!cache->max || !remember(&entry, prompt, keys, more, n_more)) {
        prefix_clear(&entry); /* a cache may forget */
        return;
    }
    size_t length = vl2_session_length(session); /* ids behind the cache's end are not kept */
    if (entry.n_ids > length) entry.n_ids = length;
    if (cache->n == cache->max) vl2_prefix_cache_evict(cache, NULL);
    cache->entries[cache->n++] = entry;
}

size_t vl2_prefix_cache_tokens(const vl2_prefix_cache *cache) {
    size_t n = 0;
    for (size_t i = 0; i < cache->n; i++) n += cache->entries[i].n_ids;
    return n;
}
