#include "lang/kv.h"

#include <string.h>

#include "base/mem.h"

struct vl2_kv_pool {
    vl2_dtype type;
    size_t element;                  /* bytes of a value */
    size_t key_width, value_width;   /* of a token and layer; MLA: C + Dr, and 0 */
    size_t layer_bytes, block_bytes; /* of VL2_KV_BLOCK tokens */
    size_t n_blocks, n_free, bytes;
    char *data;     /* [n_blocks, block_bytes]: the mapping, the other two lie behind it */
    uint32_t *refs; /* [n_blocks]: holders of a block */
    uint32_t *free; /* [n_free]: a stack */
};

static size_t blocks_for(size_t tokens) {
    return tokens / VL2_KV_BLOCK + (tokens % VL2_KV_BLOCK != 0);
}

/* ---- pool ------------------------------------------------------------------------------------ */

/* All of the pool's sizes; false when they do not fit. */
static bool measure(vl2_kv_pool *pool, const vl2_language_config *lang, vl2_dtype type,
                    size_t tokens) {
    *pool = (vl2_kv_pool){.type = type, .element = vl2_dtype_of(type)->block_bytes};
    const size_t width = vl2_config_kv_width(lang);
    pool->value_width = lang->use_mla ? 0 : width / 2;
    pool->key_width = width - pool->value_width;
    pool->n_blocks = blocks_for(tokens);
    size_t data, tables;
    return pool->n_blocks < UINT32_MAX &&
           vl2_mul(&pool->layer_bytes, VL2_KV_BLOCK * pool->element, width) &&
           vl2_mul(&pool->block_bytes, pool->layer_bytes, lang->layers) &&
           vl2_mul(&data, pool->block_bytes, pool->n_blocks) &&
           vl2_mul(&tables, pool->n_blocks, 2 * sizeof(uint32_t)) &&
           vl2_add(&pool->bytes, data, tables);
}

size_t vl2_kv_pool_bytes(const vl2_language_config *lang, vl2_dtype type, size_t tokens) {
    vl2_kv_pool plan;
    return measure(&plan, lang, type, tokens) ? plan.bytes : SIZE_MAX;
}

vl2_status vl2_kv_pool_create(vl2_kv_pool **out, const vl2_language_config *lang, vl2_dtype type,
                              size_t tokens, vl2_error *err) {
    vl2_kv_pool plan;
    if (!measure(&plan, lang, type, tokens)) {
        return vl2_fail(err, VL2_ERR_LIMIT, "kv_tokens: a KV pool of %zu tokens is too large",
                        tokens);
    }
    vl2_kv_pool *pool = vl2_mem_alloc(sizeof *pool);
    if (!pool) return vl2_fail_memory(err, "the KV pool", sizeof *pool);
    plan.data = vl2_mem_map(plan.bytes);
    if (!plan.data) {
        vl2_mem_free(pool);
        return vl2_fail_memory(err, "the KV pool", plan.bytes);
    }
    plan.refs = (uint32_t *)(void *)(plan.data + plan.n_blocks * plan.block_bytes);
    plan.free = plan.refs + plan.n_blocks;
    plan.n_free = plan.n_blocks;
    for (size_t i = 0; i < plan.n_blocks; i++) plan.free[i] = (uint32_t)(plan.n_blocks - 1 - i);
    *pool = plan;
    *out = pool;
    return VL2_OK;
}

void vl2_kv_pool_free(vl2_kv_pool *pool) {
    if (!pool) return;
    vl2_mem_unmap(pool->data, pool->bytes);
    vl2_mem_free(pool);
}

size_t vl2_kv_pool_free_blocks(const vl2_kv_pool *pool) { return pool->n_free; }

vl2_dtype vl2_kv_pool_type(const vl2_kv_pool *pool) { return pool->type; }

static vl2_status need_blocks(const vl2_kv_pool *pool, size_t n, vl2_error *err) {
    if (n <= pool->n_free) return VL2_OK;
    return vl2_fail(err, VL2_ERR_KV_FULL,
                    "the KV pool is full: %zu more blocks of %d tokens are needed, %zu of %zu are "
                    "free; free a session or raise kv_tokens",
                    n, VL2_KV_BLOCK, pool->n_free, pool->n_blocks);
}

static uint32_t take_block(vl2_kv_pool *pool) {
    const uint32_t block = pool->free[--pool->n_free];
    pool->refs[block] = 1;
    return block;
}

static void give_block(vl2_kv_pool *pool, uint32_t block) {
    if (--pool->refs[block] == 0) pool->free[pool->n_free++] = block;
}

/* A block of one's own with the same content. */
static uint32_t copy_block(vl2_kv_pool *pool, uint32_t from) {
    const uint32_t block = take_block(pool);
    memcpy(pool->data + block * pool->block_bytes, pool->data + from * pool->block_bytes,
           pool->block_bytes);
    return block;
}

/* ---- sequence -------------------------------------------------------------------------------- */

vl2_status vl2_kv_seq_create(vl2_kv_seq *out, vl2_kv_pool *pool, size_t max_tokens,
                             vl2_error *err) {
    const size_t max_blocks = blocks_for(max_tokens);
    uint32_t *blocks = vl2_mem_array(max_blocks, sizeof *blocks);
    if (!blocks) return vl2_fail_memory(err, "a session's block table", max_blocks);
    *out = (vl2_kv_seq){
        .pool = pool, .blocks = blocks, .max_blocks = max_blocks, .max_tokens = max_tokens};
    return VL2_OK;
}

vl2_status vl2_kv_seq_fork(vl2_kv_seq *out, const vl2_kv_seq *from, size_t n_tokens,
                           vl2_error *err) {
    vl2_kv_pool *pool = from->pool;
    if (n_tokens > from->length) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "fork: %zu tokens asked for, %zu are cached",
                        n_tokens, from->length);
    }
    const size_t whole = n_tokens / VL2_KV_BLOCK, partial = n_tokens % VL2_KV_BLOCK != 0;
    VL2_TRY(need_blocks(pool, partial, err));
    vl2_kv_seq seq;
    VL2_TRY(vl2_kv_seq_create(&seq, pool, from->max_tokens, err));
    for (size_t i = 0; i < whole; i++) {
        seq.blocks[i] = from->blocks[i];
        pool->refs[seq.blocks[i]]++;
    }
    if (partial) seq.blocks[whole] = copy_block(pool, from->blocks[whole]);
    seq.n_blocks = whole + partial;
    seq.length = n_tokens;
    *out = seq;
    return VL2_OK;
}

void vl2_kv_seq_free(vl2_kv_seq *seq) {
    for (size_t i = 0; i < seq->n_blocks; i++) give_block(seq->pool, seq->blocks[i]);
    vl2_mem_free(seq->blocks);
    *seq = (vl2_kv_seq){0};
}

vl2_status vl2_kv_seq_reserve(vl2_kv_seq *seq, size_t n, vl2_error *err) {
    vl2_kv_pool *pool = seq->pool;
    if (seq->length > seq->max_tokens || n > seq->max_tokens - seq->length) {
        return vl2_fail(err, VL2_ERR_CONTEXT,
                        "the context is full: %zu tokens are cached, %zu more do not fit into %zu "
                        "(ctx_tokens)",
                        seq->length, n, seq->max_tokens);
    }
    if (n == 0) return VL2_OK;
    const size_t want = blocks_for(seq->length + n), last = seq->length / VL2_KV_BLOCK;
    const bool shared = last < seq->n_blocks && pool->refs[seq->blocks[last]] > 1;
    const size_t more = want > seq->n_blocks ? want - seq->n_blocks : 0;
    VL2_TRY(need_blocks(pool, more + shared, err));
    if (shared) { /* a truncated fork: what it writes is its own */
        const uint32_t mine = copy_block(pool, seq->blocks[last]);
        give_block(pool, seq->blocks[last]);
        seq->blocks[last] = mine;
    }
    while (seq->n_blocks < want) seq->blocks[seq->n_blocks++] = take_block(pool);
    return VL2_OK;
}

void vl2_kv_seq_truncate(vl2_kv_seq *seq, size_t n_tokens) {
    if (n_tokens < seq->length) seq->length = n_tokens;
    const size_t keep = blocks_for(seq->length);
    while (seq->n_blocks > keep) give_block(seq->pool, seq->blocks[--seq->n_blocks]);
}

/* ---- places ---------------------------------------------------------------------------------- */

static char *layer_of(const vl2_kv_seq *seq, size_t layer, size_t block) {
    const vl2_kv_pool *pool = seq->pool;
    return pool->data + seq->blocks[block] * pool->block_bytes + layer * pool->layer_bytes;
}

static char *values_of(const vl2_kv_pool *pool, char *keys) {
    return pool->value_width ? keys + VL2_KV_BLOCK * pool->key_width * pool->element : keys;
}

void *vl2_kv_k(const vl2_kv_seq *seq, size_t layer, size_t t) {
    return layer_of(seq, layer, t / VL2_KV_BLOCK) +
           t % VL2_KV_BLOCK * seq->pool->key_width * seq->pool->element;
}

void *vl2_kv_v(const vl2_kv_seq *seq, size_t layer, size_t t) {
    const vl2_kv_pool *pool = seq->pool;
    const size_t width = pool->value_width ? pool->value_width : pool->key_width;
    return values_of(pool, layer_of(seq, layer, t / VL2_KV_BLOCK)) +
           t % VL2_KV_BLOCK * width * pool->element;
}

size_t vl2_kv_blocks(vl2_kv_block *out, const vl2_kv_seq *seq, size_t layer, size_t n) {
    size_t count = 0;
    for (size_t t = 0; t < n; t += VL2_KV_BLOCK, count++) {
        char *keys = layer_of(seq, layer, count);
        const size_t left = n - t;
        out[count] = (vl2_kv_block){.k = keys,
                                    .v = values_of(seq->pool, keys),
                                    .n = left < VL2_KV_BLOCK ? left : VL2_KV_BLOCK};
    }
    return count;
}
