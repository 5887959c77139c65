#include "prompt_fixture.h"

#include "base/json.h"
#include "prompt/pattern.h"
#include "prompt/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\"}"

static vl2_pretokenize *open_rules(const char *splits, bool jit) {
    vl2_buf json = {0};
    vl2_json_doc *doc;
    vl2_pretokenize *rules;
    vl2_error err = {0};
    vl2_buf_addf(&json, NULL, "{\"type\":\"Sequence\",\"pretokenizers\":[%s%s%s]}", splits,
                 *splits ? "," : "", FIXTURE_BYTE_LEVEL);
    assert_int_equal(vl2_json_parse(&doc, json.data, json.size, "test", &err), VL2_OK);
    if (vl2_pretokenize_open(&rules, vl2_json_root(doc), "test", jit, &err)) {
        fail_msg("%s", err.text);
    }
    vl2_json_free(doc);
    vl2_buf_free(&json);
    return rules;
}

/* Pieces, each closed by U+0001. */
static vl2_status append_piece(void *context, const char *piece, size_t size, vl2_error *err) {
    VL2_TRY(vl2_buf_add(context, piece, size, err));
    return vl2_buf_add(context, "\1", 1, err);
}

static void cut(vl2_buf *out, const vl2_pretokenize *rules, const char *text, size_t size) {
    void *scratch;
    vl2_error err = {0};
    vl2_buf_clear(out);
    vl2_buf_add(out, "", 0, NULL);
    assert_int_equal(vl2_pretokenize_scratch(&scratch, rules, &err), VL2_OK);
    if (vl2_pretokenize_run(rules, scratch, text, size, append_piece, out, &err)) {
        fail_msg("%s", err.text);
    }
    vl2_pretokenize_scratch_free(scratch);
}

static void assert_cut(const char *splits, const char *text, const char *expected) {
    for (int jit = 0; jit < 2; jit++) {
        vl2_pretokenize *rules = open_rules(splits, jit);
        vl2_buf got = {0};
        cut(&got, rules, text, strlen(text));
        assert_string_equal(got.data, expected);
        vl2_buf_free(&got);
        vl2_pretokenize_close(rules);
    }
}

static void rules_cut_one_after_the_other(void **state) {
    (void)state;
    assert_cut("", "a b", "a b\1");
    assert_cut(SPLIT("b"), "abcb", "a\1b\1c\1b\1");
    assert_cut(SPLIT("b") "," SPLIT("^c|a$"), "abcbca", "a\1b\1c\1b\1c\1a\1");
    assert_cut(SPLIT("\\\\p{N}{1,3}"), "x12345中", "x\001123\00145\1中\1");
    assert_cut(SPLIT("(?=b)"), "abb", "a\1b\1b\1"); /* empty matches cut, too */
    assert_cut(SPLIT("x*"), "abxxc", "a\1b\1xx\1c\1");
    assert_cut("{\"type\":\"Digits\",\"individual_digits\":true}", "a12½Ⅻ", "a\0011\0012\1½\1Ⅻ\1");
    assert_cut("{\"type\":\"Digits\",\"individual_digits\":false}", "a12½b", "a\00112½\1b\1");
}

static void white_space_is_unicodes(void **state) {
    (void)state;
    assert_cut(SPLIT("\\\\s+"), "a\u1680\u2028\u3000b\u180e", "a\1\u1680\u2028\u3000\1b\u180e\1");
    assert_cut(SPLIT("[\\\\s]+"), "\u180e \xc2\x85\xc2\xa0", "\u180e\1 \xc2\x85\xc2\xa0\1");
    assert_cut(SPLIT("\\\\S+"), " \u180ea\u2009", " \1\u180ea\1\u2009\1");
    assert_cut(SPLIT("[^\\\\S]"), " \u180e\t", " \1\u180e\1\t\1");
    assert_cut(SPLIT("[^\\\\s]+"), " \u180ex ", " \1\u180ex\1 \1");
    assert_cut(SPLIT("\\\\s+$"), "a  b \u180e  ", "a  b \u180e\1  \1");
    assert_cut(SPLIT("\\\\s+$"), " \n \nx \n", " \n \1\nx\1 \n\1"); /* each line's end counts */
}

static void unlike_syntax_is_refused(void **state) {
    (void)state;
    const char *patterns[] = {"\\w",         "\\b",   "\\h",    "\\x41",  "\\1",  "(*UTF)",
                              "(?P<n>a)",    "(?m:a", "[a[b]]", "[a&&b]", "[]a]", "a\\",
                              "[[:alpha:]]", "\\K",   "\\R",    "\\u0041"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        vl2_buf out = {0};
        vl2_error err = {0};
        if (vl2_pattern_translate(&out, patterns[i], strlen(patterns[i]), "here", &err) !=
            VL2_ERR_UNSUPPORTED) {
            fail_msg("%s became %s", patterns[i], out.data);
        }
        assert_non_null(strstr(err.text, "here"));
        vl2_buf_free(&out);
    }
}

/* ---- \s+$ is guarded; plain matching gives the same pieces ------------------------------------------ */

/* As append_piece, for all matches of a pattern as it stands. */
static void cut_plainly(vl2_buf *out, const pcre2_code *code, const char *text, size_t size) {
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(match);
    size_t done = 0;
    vl2_buf_clear(out);
    vl2_buf_add(out, "", 0, NULL);
    while (pcre2_match(code, (PCRE2_SPTR)text, size, done, 0, match, NULL) > 0) {
        if (bounds[0] > done) append_piece(out, text + done, bounds[0] - done, NULL);
        append_piece(out, text + bounds[0], bounds[1] - bounds[0], NULL);
        done = bounds[1];
    }
    if (done < size) append_piece(out, text + done, size - done, NULL);
    pcre2_match_data_free(match);
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void guarded_expression_cuts_as_plain_one(void **state) {
    (void)state;
    int code;
    PCRE2_SIZE offset;
    const char *plain = "[\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
                        "\\x{202f}\\x{205f}\\x{3000}]+$";
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)plain, strlen(plain), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                      &code, &offset, context);
    assert_non_null(compiled);
    vl2_pretokenize *rules = open_rules(SPLIT("\\\\s+$"), true);
    const char *letters[] = {" ", "\n", "\t", "\r", "x", "中", "\xc2\xa0", "\u180e"};
    vl2_buf got = {0}, expected = {0}, text = {0};
    uint32_t random = 1;
    size_t cuts = 0;
    for (int i = 0; i < 20000; i++) {
        vl2_buf_clear(&text);
        for (uint32_t n = 1 + next_random(&random) % 12; n > 0; n--) {
            fixture_add(&text, letters[next_random(&random) % 8]);
        }
        cut(&got, rules, text.data, text.size);
        cut_plainly(&expected, compiled, text.data, text.size);
        assert_int_equal(got.size, expected.size);
        assert_memory_equal(got.data, expected.data, got.size);
        cuts += got.size > text.size + 1;
    }
    assert_true(cuts > 5000);
    vl2_buf_free(&got);
    vl2_buf_free(&expected);
    vl2_buf_free(&text);
    vl2_pretokenize_close(rules);
    pcre2_code_free(compiled);
    pcre2_compile_context_free(context);
}

static void interpreted_expressions_cut_the_same(void **state) {
    (void)state;
    const char *splits = SPLIT("\\\\p{N}{1,3}") "," SPLIT("[一-龥]+") "," SPLIT(
        "[!-~][A-Za-z]+|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| "
        "?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+");
    vl2_pretokenize *jit = open_rules(splits, true), *plain = open_rules(splits, false);
    const char *letters[] = {" ", "\n", "\r", "x", "Y", "中", "7", "!", "é", "$", "\t", "٣"};
    vl2_buf a = {0}, b = {0}, text = {0};
    uint32_t random = 2;
    for (int i = 0; i < 3000; i++) {
        vl2_buf_clear(&text);
        for (uint32_t n = 1 + next_random(&random) % 20; n > 0; n--) {
            fixture_add(&text, letters[next_random(&random) % 12]);
        }
        cut(&a, jit, text.data, text.size);
        cut(&b, plain, text.data, text.size);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
    }
    vl2_buf_free(&a);
    vl2_buf_free(&b);
    vl2_buf_free(&text);
    vl2_pretokenize_close(jit);
    vl2_pretokenize_close(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_cut_one_after_the_other),
        cmocka_unit_test(white_space_is_unicodes),
        cmocka_unit_test(unlike_syntax_is_refused),
        cmocka_unit_test(guarded_expression_cuts_as_plain_one),
        cmocka_unit_test(interpreted_expressions_cut_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
