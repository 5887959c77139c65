#include "prompt/pretokenize.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "prompt/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>

enum {
    MAX_RULES = 32,
    MAX_PATTERN = 1 << 16,
    MATCH_LIMIT = 1 << 28, /* steps of one match: four for each byte of the longest text */
    HEAP_LIMIT_KIB = 1 << 16
};

struct vl2_pretokenize {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *rules[MAX_RULES];
    size_t n_rules;
    bool byte_level;
    char *name;
};

typedef struct run {
    const vl2_pretokenize *rules;
    pcre2_match_data *match; /* read before the next rule writes it */
    vl2_pretokenize_fn fn;
    void *context;
    vl2_error *err;
} run;

static void *take(size_t size, void *user) {
    (void)user;
    return vl2_mem_alloc(size);
}

static void give(void *memory, void *user) {
    (void)user;
    vl2_mem_free(memory);
}

void vl2_pretokenize_close(vl2_pretokenize *rules) {
    if (!rules) return;
    for (size_t i = 0; i < rules->n_rules; i++) pcre2_code_free(rules->rules[i]);
    pcre2_match_context_free(rules->limits);
    pcre2_general_context_free(rules->memory);
    vl2_mem_free(rules->name);
    vl2_mem_free(rules);
}

/* ---- opening ----------------------------------------------------------------------------------- */

static vl2_status bad_expression(const char *what, int code, vl2_error *err) {
    PCRE2_UCHAR text[160];
    if (pcre2_get_error_message(code, text, sizeof text) < 0) text[0] = 0;
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: expression does not compile: %s", what,
                    (const char *)text);
}

static vl2_status compile(vl2_pretokenize *rules, const char *pattern, size_t size,
                          const char *what, bool jit, vl2_error *err) {
    pcre2_compile_context *context = pcre2_compile_context_create(rules->memory);
    if (!context) return vl2_fail_memory(err, "an expression of the tokenizer", size);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code;
    PCRE2_SIZE offset;
    pcre2_code *rule =
        pcre2_compile((PCRE2_SPTR)pattern, size, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code,
                      &offset, context);
    pcre2_compile_context_free(context);
    if (!rule) {
        if (code == PCRE2_ERROR_HEAP_FAILED) return vl2_fail_memory(err, what, size);
        return bad_expression(what, code, err);
    }
    if (jit) pcre2_jit_compile(rule, PCRE2_JIT_COMPLETE); /* refused: interpreted */
    rules->rules[rules->n_rules++] = rule;
    return VL2_OK;
}

/* A key that must be absent or false. */
static vl2_status must_be_false(const vl2_json *rule, const char *key, bool absent,
                                const char *what, vl2_error *err) {
    bool set;
    VL2_TRY(vl2_json_get_bool(&set, rule, what, key, absent, err));
    if (!set) return VL2_OK;
    return vl2_fail(err, VL2_ERR_UNSUPPORTED, "%s: %s is true; only false is supported", what, key);
}

static vl2_status add_split(vl2_pretokenize *rules, const vl2_json *rule, const char *what,
                            bool jit, vl2_error *err) {
    const char *behavior, *pattern;
    VL2_TRY(vl2_json_get_text(&behavior, rule, what, "behavior", "", err));
    if (strcmp(behavior, "Isolated") != 0) {
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "%s: behavior is \"%.60s\"; only \"Isolated\" is supported", what,
                        behavior);
    }
    VL2_TRY(must_be_false(rule, "invert", false, what, err));
    size_t size = 0;
    pattern = vl2_json_text(vl2_json_get(vl2_json_get(rule, "pattern"), "Regex"), &size);
    if (size == 0 || size > MAX_PATTERN) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: pattern.Regex has %zu bytes, not 1 … %d", what,
                        size, MAX_PATTERN);
    }
    vl2_buf translated = {0};
    vl2_status status = vl2_pattern_translate(&translated, pattern, size, what, err);
    if (status == VL2_OK) {
        status = compile(rules, translated.data, translated.size, what, jit, err);
    }
    vl2_buf_free(&translated);
    return status;
}

static vl2_status add_digits(vl2_pretokenize *rules, const vl2_json *rule, const char *what,
                             bool jit, vl2_error *err) {
    bool individual;
    VL2_TRY(vl2_json_get_bool(&individual, rule, what, "individual_digits", false, err));
    const char *pattern = individual ? "\\p{N}" : "\\p{N}+";
    return compile(rules, pattern, strlen(pattern), what, jit, err);
}

static vl2_status add_rule(vl2_pretokenize *rules, const vl2_json *rule, size_t i, bool jit,
                           vl2_error *err) {
    vl2_buf what = {0};
    const char *type = vl2_json_text(vl2_json_get(rule, "type"), NULL);
    vl2_status status =
        vl2_buf_addf(&what, err, "%s: pre_tokenizer %zu (%.40s)", rules->name, i, type ? type : "");
    if (status != VL2_OK) return status;
    if (rules->byte_level) {
        status = vl2_fail(err, VL2_ERR_UNSUPPORTED, "%s comes after ByteLevel, which must be last",
                          what.data);
    } else if (type && strcmp(type, "Split") == 0) {
        status = add_split(rules, rule, what.data, jit, err);
    } else if (type && strcmp(type, "Digits") == 0) {
        status = add_digits(rules, rule, what.data, jit, err);
    } else if (type && strcmp(type, "ByteLevel") == 0) {
        rules->byte_level = true;
        status = must_be_false(rule, "add_prefix_space", true, what.data, err);
        if (status == VL2_OK) status = must_be_false(rule, "use_regex", true, what.data, err);
    } else {
        status = vl2_fail(err, VL2_ERR_UNSUPPORTED,
                          "%s is not supported; Split, Digits and ByteLevel are", what.data);
    }
    vl2_buf_free(&what);
    return status;
}

static vl2_status add_rules(vl2_pretokenize *rules, const vl2_json *spec, bool jit,
                            vl2_error *err) {
    const char *type = vl2_json_text(vl2_json_get(spec, "type"), NULL);
    const vl2_json *list = vl2_json_get(spec, "pretokenizers");
    bool is_sequence = type && strcmp(type, "Sequence") == 0;
    size_t n = is_sequence ? vl2_json_size(list) : vl2_json_kind_of(spec) == VL2_JSON_OBJECT;
    if (n > MAX_RULES) {
        return vl2_fail(err, VL2_ERR_LIMIT, "%s: %zu pre_tokenizers, at most %d are supported",
                        rules->name, n, MAX_RULES);
    }
    for (size_t i = 0; i < n; i++) {
        VL2_TRY(add_rule(rules, is_sequence ? vl2_json_at(list, i) : spec, i, jit, err));
    }
    if (!rules->byte_level) {
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "%s: pre_tokenizer lacks ByteLevel; only byte-level vocabularies are "
                        "supported",
                        rules->name);
    }
    return VL2_OK;
}

vl2_status vl2_pretokenize_open(vl2_pretokenize **out, const vl2_json *spec, const char *name,
                                bool jit, vl2_error *err) {
    vl2_pretokenize *rules = vl2_mem_calloc(1, sizeof *rules);
    if (!rules) return vl2_fail_memory(err, "the pre-tokenizer", sizeof *rules);
    vl2_status status = VL2_OK;
    rules->name = vl2_mem_strdup(name, strlen(name));
    rules->memory = pcre2_general_context_create(take, give, NULL);
    if (rules->memory) rules->limits = pcre2_match_context_create(rules->memory);
    if (!rules->name || !rules->limits) {
        status = vl2_fail_memory(err, "the pre-tokenizer", sizeof *rules);
    } else {
        pcre2_set_match_limit(rules->limits, MATCH_LIMIT);
        pcre2_set_heap_limit(rules->limits, HEAP_LIMIT_KIB);
        status = add_rules(rules, spec, jit, err);
    }
    if (status != VL2_OK) {
        vl2_pretokenize_close(rules);
        return status;
    }
    *out = rules;
    return VL2_OK;
}

/* ---- cutting ------------------------------------------------------------------------------------ */

vl2_status vl2_pretokenize_scratch(void **out, const vl2_pretokenize *rules, vl2_error *err) {
    *out = pcre2_match_data_create(1, rules->memory);
    return *out ? VL2_OK : vl2_fail_memory(err, "matching", sizeof(size_t));
}

void vl2_pretokenize_scratch_free(void *scratch) { pcre2_match_data_free(scratch); }

/* The first match at or after `from`: *found, [*start, *end). */
static vl2_status find(const run *r, size_t rule, const char *text, size_t size, size_t from,
                       bool *found, size_t *start, size_t *end) {
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int n = pcre2_match(r->rules->rules[rule], (PCRE2_SPTR)text, size, from, options, r->match,
                        r->rules->limits);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) {
        n = pcre2_match(r->rules->rules[rule], (PCRE2_SPTR)text, size, from, options | PCRE2_NO_JIT,
                        r->match, r->rules->limits);
    }
    *found = n >= 0;
    if (n == PCRE2_ERROR_NOMEMORY) return vl2_fail_memory(r->err, "matching", size);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH) {
        return vl2_fail(r->err, VL2_ERR_LIMIT,
                        "%s: expression %zu of pre_tokenizer gave up on a text of %zu bytes "
                        "(PCRE2 error %d)",
                        r->rules->name, rule, size, n);
    }
    if (!*found) return VL2_OK;
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(r->match);
    *start = bounds[0];
    *end = bounds[1];
    return VL2_OK;
}

static vl2_status cut(const run *r, size_t rule, const char *text, size_t size);

static vl2_status pass_on(const run *r, size_t rule, const char *text, size_t size) {
    if (size == 0) return VL2_OK;
    if (rule + 1 < r->rules->n_rules) return cut(r, rule + 1, text, size);
    return r->fn(r->context, text, size, r->err);
}

/* Cuts at the borders of every match: gaps and matches alike go to the next rule. */
static vl2_status cut(const run *r, size_t rule, const char *text, size_t size) {
    size_t done = 0, from = 0, start = 0, end = 0;
    bool found, matched = false;
    while (from <= size) {
        VL2_TRY(find(r, rule, text, size, from, &found, &start, &end));
        if (!found) break;
        if (start == end && matched && end == done) {
            /* No empty match directly behind a match: look from the next character on. */
            size_t step = 1;
            if (from < size) vl2_utf8_next(text + from, size - from, &step);
            from += step;
            continue;
        }
        VL2_TRY(pass_on(r, rule, text + done, start - done));
        VL2_TRY(pass_on(r, rule, text + start, end - start));
        from = done = end;
        matched = true;
    }
    return pass_on(r, rule, text + done, size - done);
}

vl2_status vl2_pretokenize_run(const vl2_pretokenize *rules, void *scratch, const char *text,
                               size_t size, vl2_pretokenize_fn fn, void *context, vl2_error *err) {
    run r = {rules, scratch, fn, context, err};
    if (size == 0) return VL2_OK;
    return rules->n_rules > 0 ? cut(&r, 0, text, size) : fn(context, text, size, err);
}
