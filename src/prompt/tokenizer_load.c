#include "prompt/tokenizer_load.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "prompt/scan.h"

#include <string.h>

typedef struct loader {
    vl2_tokenizer *tokenizer;
    const vl2_tokenizer_texts *texts;
    size_t vocab_at, vocab_end, merges_at, merges_end; /* in the text; 0: not there */
    vl2_buf what;                                      /* "<file>: model.vocab", for messages */
    vl2_error *err;
} loader;

static vl2_status set_what(loader *l, const char *part) {
    vl2_buf_clear(&l->what);
    return vl2_buf_addf(&l->what, l->err, "%s: %s", l->texts->name, part);
}

/* ---- the two long lists ---------------------------------------------------------------------- */

static bool is_key(const char *key, size_t size, const char *expected) {
    return size == strlen(expected) && memcmp(key, expected, size) == 0;
}

/* In the model's object: where the lists are. */
static bool find_lists(loader *l, vl2_scan *scan) {
    bool first = true, more;
    if (!vl2_scan_take(scan, '{')) return false;
    while (vl2_scan_next(scan, '}', &first, &more) && more) {
        const char *key;
        size_t size;
        if (!vl2_scan_string(scan, &key, &size)) return false;
        bool is_vocab = is_key(key, size, "vocab"), is_merges = is_key(key, size, "merges");
        if (!vl2_scan_take(scan, ':')) return false;
        char kind = vl2_scan_peek(scan);
        size_t at = scan->at;
        if (!vl2_scan_skip(scan)) return false;
        if (is_vocab && kind == '{' && l->vocab_at == 0) {
            l->vocab_at = at;
            l->vocab_end = scan->at;
        }
        if (is_merges && kind == '[' && l->merges_at == 0) {
            l->merges_at = at;
            l->merges_end = scan->at;
        }
    }
    return true;
}

/* What the scan does not understand, base/json will name. */
static vl2_status find_model(loader *l) {
    vl2_scan scan = {.text = l->texts->tokenizer, .size = l->texts->tokenizer_size, .err = l->err};
    bool first = true, more, found = false;
    if (vl2_scan_take(&scan, '{')) {
        while (!found && vl2_scan_next(&scan, '}', &first, &more) && more) {
            const char *key;
            size_t size;
            if (!vl2_scan_string(&scan, &key, &size)) break;
            found = is_key(key, size, "model");
            if (!vl2_scan_take(&scan, ':')) break;
            if (found ? !find_lists(l, &scan) : !vl2_scan_skip(&scan)) break;
        }
    }
    vl2_buf_free(&scan.scratch);
    return scan.status;
}

static vl2_status bad_list(loader *l, const vl2_scan *scan, const char *expected) {
    if (scan->status != VL2_OK) return scan->status;
    return vl2_fail(l->err, VL2_ERR_FORMAT, "%s is not %s", l->what.data, expected);
}

static vl2_status read_vocab(loader *l, vl2_scan *scan) {
    bool first = true, more;
    VL2_TRY(set_what(l, "model.vocab"));
    if (!vl2_scan_take(scan, '{')) return bad_list(l, scan, "an object");
    for (;;) {
        const char *name;
        size_t size;
        int64_t id;
        if (!vl2_scan_next(scan, '}', &first, &more)) break;
        if (!more) return VL2_OK;
        if (!vl2_scan_string(scan, &name, &size) || !vl2_scan_take(scan, ':')) break;
        vl2_scan_peek(scan);
        if (!vl2_scan_int(scan, &id)) break;
        vl2_vocab *vocab = &l->tokenizer->vocab;
        VL2_TRY(vl2_vocab_add(vocab, id, name, size, l->what.data, l->err));
        vocab->tokens[id].in_model = true;
        vocab->n_model++;
    }
    return bad_list(l, scan, "an object of names and whole-number ids");
}

/* One merge: "a b", or ["a", "b"]. */
static vl2_status read_merge(loader *l, vl2_scan *scan, vl2_buf *left) {
    const char *text, *right;
    size_t size, right_size;
    bool is_pair = vl2_scan_take(scan, '[');
    const char *expected = "an array of \"a b\" or [\"a\", \"b\"]";
    if (!vl2_scan_string(scan, &text, &size)) return bad_list(l, scan, expected);
    if (is_pair) {
        vl2_buf_clear(left);
        VL2_TRY(vl2_buf_add(left, text, size, l->err));
        if (!vl2_scan_take(scan, ',') || !vl2_scan_string(scan, &right, &right_size) ||
            !vl2_scan_take(scan, ']')) {
            return bad_list(l, scan, expected);
        }
        text = left->data;
        size = left->size;
    } else {
        const char *space = memchr(text, ' ', size);
        if (!space) return bad_list(l, scan, expected);
        right = space + 1;
        right_size = size - (size_t)(right - text);
        size = (size_t)(space - text);
        if (memchr(right, ' ', right_size)) return bad_list(l, scan, expected);
    }
    return vl2_bpe_add(&l->tokenizer->bpe, &l->tokenizer->vocab, text, size, right, right_size,
                       l->what.data, l->err);
}

static vl2_status read_merges(loader *l, vl2_scan *scan) {
    bool first = true, more = true;
    vl2_buf left = {0};
    vl2_status status = set_what(l, "model.merges");
    if (status == VL2_OK && !vl2_scan_take(scan, '[')) status = bad_list(l, scan, "an array");
    while (status == VL2_OK) {
        if (!vl2_scan_next(scan, ']', &first, &more)) status = bad_list(l, scan, "an array");
        if (status != VL2_OK || !more) break;
        status = read_merge(l, scan, &left);
    }
    vl2_buf_free(&left);
    return status;
}

static vl2_status read_lists(loader *l) {
    const vl2_tokenizer_texts *texts = l->texts;
    if (l->vocab_at == 0 || l->merges_at == 0) {
        return vl2_fail(l->err, VL2_ERR_FORMAT, "%s: model has no %s", texts->name,
                        l->vocab_at == 0 ? "\"vocab\" object" : "\"merges\" array");
    }
    vl2_scan scan = {
        .text = texts->tokenizer, .size = l->vocab_end, .at = l->vocab_at, .err = l->err};
    vl2_status status = read_vocab(l, &scan);
    scan.at = l->merges_at;
    scan.size = l->merges_end;
    if (status == VL2_OK) status = read_merges(l, &scan);
    vl2_buf_free(&scan.scratch);
    return status;
}

/* ---- everything else in tokenizer.json ---------------------------------------------------------- */

/* The file without the contents of the two lists, as a tree. */
static vl2_status parse_rest(loader *l, vl2_json_doc **out) {
    const vl2_tokenizer_texts *texts = l->texts;
    struct {
        size_t at, end;
    } cuts[2] = {{l->vocab_at, l->vocab_end}, {l->merges_at, l->merges_end}}, swap = cuts[0];
    if (cuts[1].at < cuts[0].at) {
        cuts[0] = cuts[1];
        cuts[1] = swap;
    }
    vl2_buf rest = {0};
    vl2_status status = VL2_OK;
    size_t done = 0;
    for (int i = 0; i < 2 && status == VL2_OK; i++) {
        if (cuts[i].at == 0) continue;
        status = vl2_buf_add(&rest, texts->tokenizer + done, cuts[i].at + 1 - done, l->err);
        done = cuts[i].end - 1;
    }
    if (status == VL2_OK) {
        status = vl2_buf_add(&rest, texts->tokenizer + done, texts->tokenizer_size - done, l->err);
    }
    if (status == VL2_OK) status = vl2_json_parse(out, rest.data, rest.size, texts->name, l->err);
    vl2_buf_free(&rest);
    return status;
}

static bool is_off(const vl2_json *value) {
    switch (vl2_json_kind_of(value)) {
    case VL2_JSON_ABSENT:
    case VL2_JSON_NULL: return true;
    case VL2_JSON_BOOL: return !vl2_json_bool(value);
    case VL2_JSON_INT:
    case VL2_JSON_REAL: return vl2_json_real(value) == 0;
    case VL2_JSON_STRING: return *vl2_json_text(value, NULL) == 0;
    case VL2_JSON_ARRAY:
    case VL2_JSON_OBJECT: return vl2_json_size(value) == 0;
    }
    return false;
}

static vl2_status check_type(loader *l, const vl2_json *value, const char *what,
                             const char *expected) {
    const char *type = vl2_json_text(vl2_json_get(value, "type"), NULL);
    if (type && strcmp(type, expected) == 0) return VL2_OK;
    return vl2_fail(l->err, VL2_ERR_UNSUPPORTED,
                    "%s: %s.type is \"%.60s\"; only \"%s\" is supported", l->texts->name, what,
                    type ? type : "", expected);
}

static vl2_status check_model(loader *l, const vl2_json *model) {
    static const char *const off[] = {
        "dropout",       "unk_token",    "continuing_subword_prefix", "end_of_word_suffix",
        "byte_fallback", "ignore_merges"};
    VL2_TRY(check_type(l, model, "model", "BPE"));
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        if (is_off(vl2_json_get(model, off[i]))) continue;
        return vl2_fail(l->err, VL2_ERR_UNSUPPORTED, "%s: model.%s is set, which is not supported",
                        l->texts->name, off[i]);
    }
    return VL2_OK;
}

static vl2_status check_rest(loader *l, const vl2_json *root) {
    VL2_TRY(check_model(l, vl2_json_get(root, "model")));
    const vl2_json *normalizer = vl2_json_get(root, "normalizer");
    if (!is_off(normalizer)) {
        VL2_TRY(check_type(l, normalizer, "normalizer", "Sequence"));
        const vl2_json *first = vl2_json_at(vl2_json_get(normalizer, "normalizers"), 0);
        const char *type = vl2_json_text(vl2_json_get(first, "type"), NULL);
        if (first) {
            return vl2_fail(l->err, VL2_ERR_UNSUPPORTED,
                            "%s: normalizer \"%.60s\" is not supported; none is", l->texts->name,
                            type ? type : "");
        }
    }
    const vl2_json *decoder = vl2_json_get(root, "decoder");
    return check_type(l, decoder, "decoder", "ByteLevel");
}

/* ---- added tokens ------------------------------------------------------------------------------ */

static vl2_status add_token(loader *l, int64_t id, const char *name, size_t size, bool normalized,
                            bool special) {
    vl2_vocab *vocab = &l->tokenizer->vocab;
    /* Known under this very id: it becomes an added token. Else vl2_vocab_add tells what clashes. */
    if (id < 0 || vl2_vocab_find(vocab, name, size) != id) {
        VL2_TRY(vl2_vocab_add(vocab, id, name, size, l->what.data, l->err));
    }
    vl2_vocab_token *token = &vocab->tokens[id];
    token->special |= special;
    if (token->added) return VL2_OK; /* the first entry's normalized stays, as in the reference */
    token->added = true;
    token->normalized = normalized;
    return VL2_OK;
}

static vl2_status read_added(loader *l, const vl2_json *entry) {
    static const char *const off[] = {"single_word", "lstrip", "rstrip"};
    size_t size;
    const char *name = vl2_json_text(vl2_json_get(entry, "content"), &size);
    const vl2_json *id = vl2_json_get(entry, "id");
    const char *what = l->what.data;
    if (!name || vl2_json_kind_of(id) != VL2_JSON_INT) {
        return vl2_fail(l->err, VL2_ERR_FORMAT,
                        "%s: an entry lacks a \"content\" text or an \"id\"", what);
    }
    bool normalized, special, set;
    VL2_TRY(vl2_json_get_bool(&special, entry, what, "special", false, l->err));
    VL2_TRY(vl2_json_get_bool(&normalized, entry, what, "normalized", !special, l->err));
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        VL2_TRY(vl2_json_get_bool(&set, entry, what, off[i], false, l->err));
        if (!set) continue;
        return vl2_fail(l->err, VL2_ERR_UNSUPPORTED,
                        "%s: %s is true for \"%.60s\", which is not supported", what, off[i], name);
    }
    return add_token(l, vl2_json_int(id), name, size, normalized, special);
}

static vl2_status read_all_added(loader *l, const vl2_json *root) {
    const vl2_json *list = vl2_json_get(root, "added_tokens");
    vl2_json_kind kind = vl2_json_kind_of(list);
    if (kind != VL2_JSON_ABSENT && kind != VL2_JSON_NULL && kind != VL2_JSON_ARRAY)
        return vl2_json_fail(root, l->texts->name, "added_tokens", "a list", l->err);
    VL2_TRY(set_what(l, "added_tokens"));
    for (size_t i = 0; i < vl2_json_size(list); i++) {
        VL2_TRY(read_added(l, vl2_json_at(list, i)));
    }
    return VL2_OK;
}

static vl2_status read_tokenizer(loader *l) {
    const vl2_tokenizer_texts *texts = l->texts;
    size_t valid = vl2_utf8_valid(texts->tokenizer, texts->tokenizer_size);
    if (valid != texts->tokenizer_size) {
        return vl2_fail(l->err, VL2_ERR_FORMAT, "%s: byte %zu is not UTF-8", texts->name, valid);
    }
    vl2_json_doc *rest = NULL;
    VL2_TRY(find_model(l));
    VL2_TRY(parse_rest(l, &rest));
    const vl2_json *root = vl2_json_root(rest);
    vl2_status status = check_rest(l, root);
    if (status == VL2_OK) status = read_lists(l);
    if (status == VL2_OK) status = read_all_added(l, root);
    if (status == VL2_OK) {
        status = vl2_pretokenize_open(&l->tokenizer->rules, vl2_json_get(root, "pre_tokenizer"),
                                      texts->name, true, l->err);
    }
    if (status == VL2_OK) vl2_bpe_bytes(&l->tokenizer->bpe, &l->tokenizer->vocab);
    vl2_json_free(rest);
    return status;
}

/* ---- special tokens ----------------------------------------------------------------------------- */

/* A name is a string, or an object whose "content" is the name; NULL: none. */
static const char *token_name(const vl2_json *object, const char *key) {
    const vl2_json *value = vl2_json_get(object, key);
    if (vl2_json_kind_of(value) == VL2_JSON_OBJECT) value = vl2_json_get(value, "content");
    const char *name = vl2_json_text(value, NULL);
    return name && *name ? name : NULL;
}

static vl2_status find_named(loader *l, int32_t *id, const char *name, const char *key) {
    vl2_vocab *vocab = &l->tokenizer->vocab;
    *id = vl2_vocab_find(vocab, name, strlen(name));
    if (*id >= 0) return add_token(l, *id, name, strlen(name), false, true);
    return vl2_fail(l->err, VL2_ERR_FORMAT, "%s is \"%.60s\", which tokenizer.json does not have",
                    key, name);
}

/* bos, eos and the name of pad, from tokenizer_config.json and special_tokens_map.json. */
static vl2_status read_names(loader *l, const vl2_json *config, const vl2_json *map,
                             const char **pad) {
    vl2_special_ids *special = &l->tokenizer->special;
    bool map_wins = map && !vl2_json_get(config, "added_tokens_decoder");
    const char *keys[] = {"bos_token", "eos_token", "pad_token"}, *names[3];
    for (int i = 0; i < 3; i++) {
        const vl2_json *source = map_wins && vl2_json_get(map, keys[i]) ? map : config;
        names[i] = token_name(source, keys[i]);
    }
    if (names[0]) VL2_TRY(find_named(l, &special->bos, names[0], "bos_token"));
    if (names[1]) VL2_TRY(find_named(l, &special->eos, names[1], "eos_token"));
    *pad = names[2];
    return VL2_OK;
}

/* Finds the token, or appends it behind all others: docs/MODEL.md §3. */
static vl2_status need_token(loader *l, int32_t *id, const char *name) {
    const vl2_vocab *vocab = &l->tokenizer->vocab;
    *id = vl2_vocab_find(vocab, name, strlen(name));
    if (*id < 0) {
        size_t next = vocab->n_model;
        for (size_t i = vocab->n_ids; i > next; i--) {
            if (vocab->tokens[i - 1].added) next = i;
        }
        *id = (int32_t)next;
    }
    return add_token(l, *id, name, strlen(name), false, true);
}

static vl2_status add_needed(loader *l, const char *pad) {
    const vl2_tokenizer_texts *texts = l->texts;
    vl2_special_ids *special = &l->tokenizer->special;
    const char *image = texts->image_token && *texts->image_token ? texts->image_token : "<image>";
    if (!pad) pad = texts->pad_token && *texts->pad_token ? texts->pad_token : "<｜▁pad▁｜>";
    const struct {
        int32_t *id;
        const char *name;
    } needed[] = {
        {&special->pad, pad},
        {&special->image, image},
        {&special->ref, "<|ref|>"},
        {&special->ref_end, "<|/ref|>"},
        {&special->det, "<|det|>"},
        {&special->det_end, "<|/det|>"},
        {&special->grounding, "<|grounding|>"},
        {&special->user, "<|User|>"},
        {&special->assistant, "<|Assistant|>"},
    };
    VL2_TRY(set_what(l, "tokens added at run time"));
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        VL2_TRY(need_token(l, needed[i].id, needed[i].name));
    }
    return VL2_OK;
}

static vl2_status read_special(loader *l) {
    const vl2_tokenizer_texts *texts = l->texts;
    vl2_json_doc *config = NULL, *map = NULL;
    vl2_status status = VL2_OK;
    l->tokenizer->special.bos = l->tokenizer->special.eos = -1;
    if (texts->config) {
        status = vl2_json_parse(&config, texts->config, texts->config_size, "tokenizer_config.json",
                                l->err);
    }
    if (status == VL2_OK && texts->map) {
        status =
            vl2_json_parse(&map, texts->map, texts->map_size, "special_tokens_map.json", l->err);
    }
    const char *pad = NULL;
    if (status == VL2_OK) {
        status = read_names(l, config ? vl2_json_root(config) : NULL,
                            map ? vl2_json_root(map) : NULL, &pad);
    }
    if (status == VL2_OK) status = add_needed(l, pad);
    vl2_json_free(config);
    vl2_json_free(map);
    return status;
}

vl2_status vl2_tokenizer_load(vl2_tokenizer *tokenizer, const vl2_tokenizer_texts *texts,
                              vl2_error *err) {
    loader l = {.tokenizer = tokenizer, .texts = texts, .err = err};
    vl2_status status = read_tokenizer(&l);
    if (status == VL2_OK) status = set_what(&l, "named special tokens");
    if (status == VL2_OK) status = read_special(&l);
    vl2_buf_free(&l.what);
    return status;
}
