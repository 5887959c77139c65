#include "prompt/tokenizer_gguf.h"

#include "base/json.h"
#include "base/mem.h"
#include "prompt/tokenizer_load.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_IDS = VL2_VOCAB_MAX_IDS, MAX_MERGES = 1 << 22 };

typedef enum token_type { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE } token_type;

/* ---- pre-tokenizers by name ---------------------------------------------------------------------- */

/* The expressions that the names stand for, as the models' tokenizer.json have them. */
/* clang-format off */
static const char LLM[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
    "\"[\\r\\n]\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Split\",\"patter"
    "n\":{\"Regex\":\"\\\\s?[A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba"
    "\\u01bc-\\u01bf\\u01c4-\\u0293\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377\\u037b-"
    "\\u037d\\u037f\\u0386\\u0388-\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-"
    "\\u0481\\u048a-\\u052f\\u0531-\\u0556\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd"
    "\\u1c90-\\u1cba\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a\\u1e00-"
    "\\u1f15\\u1f18-\\u1f1d\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57\\u1f59\\u1f5b"
    "\\u1f5d\\u1f5f-\\u1f7d\\u1f80-\\u1fb4\\u1fb6-\\u1fbc\\u1fbe\\u1fc2-\\u1fc4\\u1fc6-"
    "\\u1fcc\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc"
    "\\u2102\\u2107\\u210a-\\u2113\\u2115\\u2119-\\u211d\\u2124\\u2126\\u2128\\u212a-"
    "\\u212d\\u212f-\\u2134\\u2139\\u213c-\\u213f\\u2145-\\u2149\\u214e\\u2183\\u2184"
    "\\u2c00-\\u2c7b\\u2c7e-\\u2ce4\\u2ceb-\\u2cee\\u2cf2\\u2cf3\\ua640-\\ua66d\\ua680-"
    "\\ua69b\\ua722-\\ua76f\\ua771-\\ua787\\ua78b-\\ua78e\\uab70-\\uabbf\\ufb00-\\ufb06"
    "\\ufb13-\\ufb17\\uff21-\\uff3a\\uff41-\\uff5a\\ud801\\udc00-\\ud801\\udc4f\\ud801"
    "\\udcb0-\\ud801\\udcd3\\ud801\\udcd8-\\ud801\\udcfb\\ud803\\udc80-\\ud803\\udcb2"
    "\\ud803\\udcc0-\\ud803\\udcf2\\ud806\\udca0-\\ud806\\udcdf\\ud83a\\udd00-\\ud83a"
    "\\udd43]+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Split\",\"pattern"
    "\":{\"Regex\":\"\\\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-"
    "\\u3002]+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Split\",\"pattern"
    "\":{\"Regex\":\"\\\\s+$\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Spl"
    "it\",\"pattern\":{\"Regex\":\"[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+\"},\"be"
    "havior\":\"Isolated\",\"invert\":false},{\"type\":\"Digits\",\"individual_digits\":tru"
    "e},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_rege"
    "x\":false}]}";
static const char V3[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
    "\"\\\\p{N}{1,3}\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Split\",\"p"
    "attern\":{\"Regex\":\"[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+\"},\"behavior\""
    ":\"Isolated\",\"invert\":false},{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[!\\\"#$%"
    "&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p"
    "{S}]?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S"
    ")|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_"
    "prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]}";
/* clang-format on */

/* deepseek-coder: line ends, words, marks, Chinese, single digits. */
static const char CODER[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\\r\\n]\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s?\\\\p{L}+\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s?\\\\p{P}+\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+\"},"
    "\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"Digits\",\"individual_digits\":true},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]}";

typedef struct pre {
    const char *name, *json;
    const char *mark; /* what a published file's expressions have in them */
} pre;

static const pre PRES[] = {{"deepseek-v3", V3, "\\\\p{N}{1,3}"},
                           {"deepseek-llm", LLM, "\\\\s?[A-Za-z"},
                           {"deepseek-coder", CODER, "\\\\s?\\\\p{L}+"}};
enum { N_PRES = sizeof PRES / sizeof *PRES };

/* ---- reading ------------------------------------------------------------------------------------ */

typedef struct reading {
    const vl2_gguf *keys;
    const vl2_gguf_value *tokens, *types, *merges;
    vl2_buf json, config;
    vl2_error *err;
} reading;

static vl2_status fail_key(const reading *r, const char *key, const char *expected) {
    return vl2_fail(r->err, VL2_ERR_FORMAT, "%s: key %s is %s, expected %s", r->keys->file, key,
                    vl2_gguf_find(r->keys, key) ? "of another type or size" : "missing", expected);
}

static vl2_status find_array(const vl2_gguf_value **out, const reading *r, const char *key,
                             vl2_gguf_type type, size_t most) {
    const vl2_gguf_value *v = vl2_gguf_find(r->keys, key);
    if (!v || !v->is_array || v->type != type || v->n > most)
        return fail_key(r, key, type == VL2_GGUF_TEXT ? "a list of texts" : "a list of i32");
    *out = v;
    return VL2_OK;
}

static vl2_status find_lists(reading *r) {
    const char *text;
    size_t size;
    VL2_TRY(vl2_gguf_text(&text, &size, r->keys, "tokenizer.ggml.model", r->err));
    if (!text || size != 4 || memcmp(text, "gpt2", 4) != 0)
        return fail_key(r, "tokenizer.ggml.model", "\"gpt2\" (byte-level BPE)");
    VL2_TRY(find_array(&r->tokens, r, "tokenizer.ggml.tokens", VL2_GGUF_TEXT, MAX_IDS));
    VL2_TRY(find_array(&r->types, r, "tokenizer.ggml.token_type", VL2_GGUF_I32, MAX_IDS));
    VL2_TRY(find_array(&r->merges, r, "tokenizer.ggml.merges", VL2_GGUF_TEXT, MAX_MERGES));
    if (r->types->n != r->tokens->n)
        return fail_key(r, "tokenizer.ggml.token_type", "one for each token");
    return VL2_OK;
}

static uint32_t type_at(const reading *r, size_t i) {
    const uint8_t *b = r->types->data + 4 * i;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Tokens that text merges into, or those that are found whole. */
static vl2_status add_tokens(reading *r, bool added) {
    size_t at = 0, size;
    bool first = true;
    for (size_t i = 0; i < r->tokens->n; i++) {
        const char *text = vl2_gguf_next_text(r->tokens, &at, &size);
        uint32_t type = type_at(r, i);
        bool whole = type == CONTROL || type == USER;
        if (type == UNUSED || whole != added) continue;
        if (!first) VL2_TRY(vl2_buf_addf(&r->json, r->err, ","));
        first = false;
        if (added) VL2_TRY(vl2_buf_addf(&r->json, r->err, "{\"id\":%zu,\"content\":", i));
        VL2_TRY(vl2_json_quote(&r->json, text, size, r->err));
        if (added)
            VL2_TRY(vl2_buf_addf(&r->json, r->err, ",\"special\":%s,\"normalized\":%s}",
                                 type == CONTROL ? "true" : "false",
                                 type == CONTROL ? "false" : "true"));
        else
            VL2_TRY(vl2_buf_addf(&r->json, r->err, ":%zu", i));
    }
    return VL2_OK;
}

static vl2_status add_merges(reading *r) {
    size_t at = 0, size;
    for (size_t i = 0; i < r->merges->n; i++) {
        const char *text = vl2_gguf_next_text(r->merges, &at, &size);
        if (i) VL2_TRY(vl2_buf_addf(&r->json, r->err, ","));
        VL2_TRY(vl2_json_quote(&r->json, text, size, r->err));
    }
    return VL2_OK;
}

static vl2_status find_pre(const char **out, const reading *r) {
    const char *text;
    size_t size;
    VL2_TRY(vl2_gguf_text(&text, &size, r->keys, "tokenizer.ggml.pre", r->err));
    for (int i = 0; text && i < N_PRES; i++) {
        *out = PRES[i].json;
        if (strlen(PRES[i].name) == size && memcmp(PRES[i].name, text, size) == 0) return VL2_OK;
    }
    return vl2_fail(r->err, VL2_ERR_UNSUPPORTED,
                    "%s: tokenizer.ggml.pre is \"%.*s\", expected deepseek-v3, deepseek-llm or "
                    "deepseek-coder",
                    r->keys->file, (int)(size < 40 ? size : 40), text ? text : "");
}

static vl2_status make_json(reading *r) {
    const char *rules;
    VL2_TRY(find_lists(r));
    VL2_TRY(find_pre(&rules, r));
    VL2_TRY(vl2_buf_addf(&r->json, r->err, "{\"added_tokens\":["));
    VL2_TRY(add_tokens(r, true));
    VL2_TRY(vl2_buf_addf(&r->json, r->err, "],\"pre_tokenizer\":"));
    VL2_TRY(vl2_buf_add(&r->json, rules, strlen(rules), r->err));
    VL2_TRY(vl2_buf_addf(&r->json, r->err,
                         ",\"decoder\":{\"type\":\"ByteLevel\"},"
                         "\"model\":{\"type\":\"BPE\",\"vocab\":{"));
    VL2_TRY(add_tokens(r, false));
    VL2_TRY(vl2_buf_addf(&r->json, r->err, "},\"merges\":["));
    VL2_TRY(add_merges(r));
    return vl2_buf_addf(&r->json, r->err, "]}}");
}

/* "bos_token": its text, by its id; nothing where the file names none. */
static vl2_status add_named(reading *r, const char *key, const char *name) {
    size_t id, at = 0, size = 0;
    const char *text = NULL;
    const vl2_gguf_value *tokens = vl2_gguf_find(r->keys, "tokenizer.ggml.tokens");
    VL2_TRY(vl2_gguf_size(&id, r->keys, key, MAX_IDS, r->err));
    if (!tokens || !tokens->is_array || tokens->type != VL2_GGUF_TEXT || id >= tokens->n)
        return VL2_OK;
    for (size_t i = 0; i <= id; i++) text = vl2_gguf_next_text(tokens, &at, &size);
    if (r->config.size > 1) VL2_TRY(vl2_buf_addf(&r->config, r->err, ","));
    VL2_TRY(vl2_buf_addf(&r->config, r->err, "\"%s\":", name));
    return vl2_json_quote(&r->config, text, size, r->err);
}

static vl2_status make_config(reading *r) {
    VL2_TRY(vl2_buf_addf(&r->config, r->err, "{"));
    VL2_TRY(add_named(r, "tokenizer.ggml.bos_token_id", "bos_token"));
    VL2_TRY(add_named(r, "tokenizer.ggml.eos_token_id", "eos_token"));
    VL2_TRY(add_named(r, "tokenizer.ggml.padding_token_id", "pad_token"));
    return vl2_buf_addf(&r->config, r->err, "}");
}

static vl2_status open_texts(vl2_tokenizer **out, reading *r, const char *image_token,
                             const char *pad_token) {
    const char *json;
    size_t size;
    VL2_TRY(vl2_gguf_text(&json, &size, r->keys, "tokenizer.huggingface.json", r->err));
    if (!json) {
        VL2_TRY(make_json(r));
        json = r->json.data;
        size = r->json.size;
    }
    VL2_TRY(make_config(r));
    return vl2_tokenizer_parse(out, json, size, r->config.data, r->config.size, NULL, 0,
                               r->keys->file, image_token, pad_token, r->err);
}

vl2_status vl2_tokenizer_gguf_open(vl2_tokenizer **out, const vl2_gguf *keys,
                                   const char *image_token, const char *pad_token, vl2_error *err) {
    reading r = {.keys = keys, .err = err};
    vl2_status status = open_texts(out, &r, image_token, pad_token);
    vl2_buf_free(&r.json);
    vl2_buf_free(&r.config);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static vl2_status put_i32(vl2_gguf_out *out, int32_t value, vl2_error *err) {
    const uint32_t x = (uint32_t)value;
    const uint8_t bytes[4] = {(uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16),
                              (uint8_t)(x >> 24)};
    return vl2_buf_add(&out->keys, bytes, sizeof bytes, err);
}

static token_type type_of(const vl2_tokenizer *tokenizer, size_t id) {
    if (id >= tokenizer->vocab.n_ids) return UNUSED;
    const vl2_vocab_token *t = &tokenizer->vocab.tokens[id];
    if (t->name_size == 0) return UNUSED;
    if (!t->added) return NORMAL;
    return t->special ? CONTROL : USER;
}

static vl2_status put_tokens(vl2_gguf_out *out, const vl2_tokenizer *tokenizer, size_t n_ids,
                             vl2_error *err) {
    VL2_TRY(vl2_gguf_add_array(out, "tokenizer.ggml.tokens", VL2_GGUF_TEXT, n_ids, err));
    for (size_t id = 0; id < n_ids; id++) {
        vl2_buf name = {0};
        vl2_status status;
        if (type_of(tokenizer, id) == UNUSED)
            status = vl2_buf_addf(&name, err, "[PAD%zu]", id);
        else
            status = vl2_buf_add(&name, vl2_vocab_name(&tokenizer->vocab, (int32_t)id),
                                 tokenizer->vocab.tokens[id].name_size, err);
        if (status == VL2_OK) status = vl2_gguf_add_element(out, name.data, name.size, err);
        vl2_buf_free(&name);
        VL2_TRY(status);
    }
    VL2_TRY(vl2_gguf_add_array(out, "tokenizer.ggml.token_type", VL2_GGUF_I32, n_ids, err));
    for (size_t id = 0; id < n_ids; id++)
        VL2_TRY(put_i32(out, (int32_t)type_of(tokenizer, id), err));
    return VL2_OK;
}

static int by_rank(const void *left, const void *right) {
    const vl2_bpe_rule *const *a = left, *const *b = right;
    return (*a)->rank < (*b)->rank ? -1 : 1;
}

static vl2_status put_rule(vl2_gguf_out *out, const vl2_vocab *vocab, const vl2_bpe_rule *rule,
                           vl2_error *err) {
    const int32_t left = (int32_t)(rule->pair >> 32), right = (int32_t)(uint32_t)rule->pair;
    vl2_buf text = {0};
    vl2_status status =
        vl2_buf_add(&text, vl2_vocab_name(vocab, left), vocab->tokens[left].name_size, err);
    if (status == VL2_OK) status = vl2_buf_add(&text, " ", 1, err);
    if (status == VL2_OK)
        status =
            vl2_buf_add(&text, vl2_vocab_name(vocab, right), vocab->tokens[right].name_size, err);
    if (status == VL2_OK) status = vl2_gguf_add_element(out, text.data, text.size, err);
    vl2_buf_free(&text);
    return status;
}

static vl2_status put_merges(vl2_gguf_out *out, const vl2_tokenizer *tokenizer, vl2_error *err) {
    const vl2_bpe *bpe = &tokenizer->bpe;
    size_t n = 0;
    const vl2_bpe_rule **rules = vl2_mem_array(bpe->n_rules + 1, sizeof *rules);
    if (!rules) return vl2_fail_memory(err, "merges", bpe->n_rules * sizeof *rules);
    for (size_t i = 0; i < bpe->n_slots; i++)
        if (bpe->rules[i].rank != UINT32_MAX && n < bpe->n_rules) rules[n++] = &bpe->rules[i];
    qsort(rules, n, sizeof *rules, by_rank);
    vl2_status status = vl2_gguf_add_array(out, "tokenizer.ggml.merges", VL2_GGUF_TEXT, n, err);
    for (size_t i = 0; i < n && status == VL2_OK; i++)
        status = put_rule(out, &tokenizer->vocab, rules[i], err);
    vl2_mem_free(rules);
    return status;
}

static vl2_status put_id(vl2_gguf_out *out, const char *key, int32_t id, size_t n_ids,
                         vl2_error *err) {
    if (id < 0 || (size_t)id >= n_ids) return VL2_OK;
    return vl2_gguf_add_u32(out, key, (uint32_t)id, err);
}

/* The name of the published file's expressions: what other programs know them by. */
static const char *pre_of(const char *json, size_t size) {
    for (int i = 0; json && i < N_PRES; i++) {
        size_t n = strlen(PRES[i].mark);
        for (size_t at = 0; at + n <= size; at++)
            if (json[at] == PRES[i].mark[0] && memcmp(json + at, PRES[i].mark, n) == 0)
                return PRES[i].name;
    }
    return "default";
}

vl2_status vl2_tokenizer_gguf_add(vl2_gguf_out *out, const vl2_tokenizer *tokenizer, size_t n_ids,
                                  const char *json, size_t json_size, vl2_error *err) {
    const vl2_special_ids *special = &tokenizer->special;
    const char *name = pre_of(json, json_size);
    VL2_TRY(vl2_gguf_add_text(out, "tokenizer.ggml.model", "gpt2", 4, err));
    VL2_TRY(vl2_gguf_add_text(out, "tokenizer.ggml.pre", name, strlen(name), err));
    VL2_TRY(put_tokens(out, tokenizer, n_ids, err));
    VL2_TRY(put_merges(out, tokenizer, err));
    VL2_TRY(put_id(out, "tokenizer.ggml.bos_token_id", special->bos, n_ids, err));
    VL2_TRY(put_id(out, "tokenizer.ggml.eos_token_id", special->eos, n_ids, err));
    VL2_TRY(put_id(out, "tokenizer.ggml.padding_token_id", special->pad, n_ids, err));
    VL2_TRY(vl2_gguf_add_bool(out, "tokenizer.ggml.add_bos_token", true, err));
    VL2_TRY(vl2_gguf_add_bool(out, "tokenizer.ggml.add_eos_token", false, err));
    if (!json) return VL2_OK;
    return vl2_gguf_add_text(out, "tokenizer.huggingface.json", json, json_size, err);
}
