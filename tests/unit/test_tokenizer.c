#include "prompt_fixture.h"

#include "base/file.h"
#include "base/json.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ADDED(id, name, normalized, special)                                                       \
    "{\"id\":" #id ",\"content\":\"" name "\",\"normalized\":" normalized ",\"special\":" special  \
    "}"

/* ---- small tokenizers ---------------------------------------------------------------------------- */

static void merges_follow_their_ranks(void **state) {
    (void)state;
    for (int pairs = 0; pairs < 2; pairs++) {
        const fixture f = {.merges = "b c,a b,ab c,a bc,x x", .pairs = pairs};
        vl2_tokenizer *t = fixture_open(&f, NULL, NULL);
        ASSERT_IDS(t, "abc", VL2_ENCODE_ALL, 258); /* bc first, then a+bc ("abc" again) */
        ASSERT_IDS(t, "ab", VL2_ENCODE_ALL, 257);
        ASSERT_IDS(t, "xxx", VL2_ENCODE_ALL, 259, 'x'); /* the leftmost of equals */
        ASSERT_IDS(t, "ab abc", VL2_ENCODE_ALL, 257, ' ', 258);
        ASSERT_IDS(t, "é", VL2_ENCODE_ALL, 0xc3, 0xa9);
        vl2_ids none = {0};
        assert_int_equal(vl2_tokenizer_encode(&none, t, "", 0, VL2_ENCODE_ALL, NULL), VL2_OK);
        assert_int_equal(none.size, 0);
        vl2_tokenizer_close(t);
    }
}

static void added_tokens_are_found_in_two_passes(void **state) {
    (void)state;
    const fixture f = {.added = ADDED(300, "<a>", "false", "true") "," ADDED(
                           301, "<a><b>", "false", "false") "," ADDED(302, "><", "true", "false")};
    vl2_tokenizer *t = fixture_open(&f, NULL, NULL);
    ASSERT_IDS(t, "<a>", VL2_ENCODE_ALL, 300);
    ASSERT_IDS(t, "<a><b>", VL2_ENCODE_ALL, 301);          /* the longest */
    ASSERT_IDS(t, "<a><c", VL2_ENCODE_ALL, 300, '<', 'c'); /* raw text before "><" */
    ASSERT_IDS(t, "><a>", VL2_ENCODE_ALL, '>', 300);
    ASSERT_IDS(t, "x><<a>", VL2_ENCODE_ALL, 'x', 302, 300);
    assert_true(vl2_tokenizer_is_special(t, 300));
    assert_false(vl2_tokenizer_is_special(t, 301));
    vl2_tokenizer_close(t);
}

static void tokens_are_appended_at_run_time(void **state) {
    (void)state;
    const fixture none = {0};
    vl2_tokenizer *t = fixture_open(&none, NULL, NULL);
    const vl2_special_ids *special = vl2_tokenizer_special(t);
    assert_int_equal(special->bos, -1);
    assert_int_equal(special->pad, 256);
    assert_int_equal(special->image, 257);
    assert_int_equal(special->ref, 258);
    assert_int_equal(special->ref_end, 259);
    assert_int_equal(special->det, 260);
    assert_int_equal(special->det_end, 261);
    assert_int_equal(special->grounding, 262);
    assert_int_equal(special->user, 263);
    assert_int_equal(special->assistant, 264);
    assert_int_equal(vl2_tokenizer_size(t), 265);
    assert_int_equal(vl2_tokenizer_find(t, "<｜▁pad▁｜>"), 256);
    assert_int_equal(vl2_tokenizer_find(t, "<nothing>"), -1);
    vl2_tokenizer_close(t);

    /* They follow the greatest added id, and what is there keeps its id. */
    const fixture some = {
        .added = ADDED(400, "<bos>", "false", "true") "," ADDED(300, "<image>", "true", "false")};
    t = fixture_open(&some, NULL, NULL);
    assert_int_equal(vl2_tokenizer_special(t)->pad, 401);
    assert_int_equal(vl2_tokenizer_special(t)->image, 300);
    assert_int_equal(vl2_tokenizer_special(t)->ref, 402);
    assert_true(vl2_tokenizer_is_special(t, 300));
    vl2_tokenizer_close(t);
}

static void special_names_come_from_the_config(void **state) {
    (void)state;
    const fixture f = {.added = ADDED(256, "<b>", "false", "true") "," ADDED(
                           257, "<e>", "false", "true") "," ADDED(258, "<p>", "false", "true")};
    const char *config = "{\"bos_token\":\"<b>\",\"eos_token\":{\"content\":\"<e>\"},"
                         "\"pad_token\":\"<p>\"}";
    const char *with_decoder = "{\"bos_token\":\"<b>\",\"eos_token\":\"<e>\","
                               "\"added_tokens_decoder\":{}}";
    const char *map = "{\"bos_token\":{\"content\":\"<e>\"},\"pad_token\":null}";
    vl2_tokenizer *t = fixture_open(&f, config, NULL);
    assert_int_equal(vl2_tokenizer_special(t)->bos, 256);
    assert_int_equal(vl2_tokenizer_special(t)->eos, 257);
    assert_int_equal(vl2_tokenizer_special(t)->pad, 258);
    vl2_tokenizer_close(t);
    t = fixture_open(&f, config, map); /* the map wins, where it says something */
    assert_int_equal(vl2_tokenizer_special(t)->bos, 257);
    assert_int_equal(vl2_tokenizer_special(t)->eos, 257);
    assert_int_equal(vl2_tokenizer_special(t)->pad, 259);
    vl2_tokenizer_close(t);
    t = fixture_open(&f, with_decoder, map); /* unless there is added_tokens_decoder */
    assert_int_equal(vl2_tokenizer_special(t)->bos, 256);
    vl2_tokenizer_close(t);
}

static void modes_leave_tokens_as_text(void **state) {
    (void)state;
    const fixture f = {.splits = "", .added = ADDED(300, "<b>", "false", "true")};
    vl2_tokenizer *t = fixture_open(&f, "{\"bos_token\":\"<b>\"}", NULL);
    int32_t ref = vl2_tokenizer_special(t)->ref, image = vl2_tokenizer_special(t)->image;
    ASSERT_IDS(t, "<b><|ref|>", VL2_ENCODE_ALL, 300, ref);
    ASSERT_IDS(t, "<b><|ref|>", VL2_ENCODE_NO_ROLES, '<', 'b', '>', ref);
    ASSERT_IDS(t, "<image>", VL2_ENCODE_NO_ROLES, image);
    ASSERT_IDS(t, "<image><b>", VL2_ENCODE_NO_IMAGE, '<', 'i', 'm', 'a', 'g', 'e', '>', 300);
    vl2_encode_mode both = (vl2_encode_mode)(VL2_ENCODE_NO_IMAGE | VL2_ENCODE_NO_ROLES);
    ASSERT_IDS(t, "<|User|>", both, '<', '|', 'U', 's', 'e', 'r', '|', '>');
    vl2_tokenizer_close(t);
}

static void assert_text(const vl2_tokenizer *t, const int32_t *ids, size_t n, bool skip,
                        const char *expected) {
    vl2_buf out = {0};
    assert_int_equal(vl2_tokenizer_decode(&out, t, ids, n, skip, NULL), VL2_OK);
    assert_int_equal(out.size, strlen(expected));
    if (out.size) assert_memory_equal(out.data, expected, out.size);
    vl2_buf_free(&out);
}

static void decoding_repairs_bytes(void **state) {
    (void)state;
    const fixture f = {.merges = "a b", .added = ADDED(300, "<中>", "false", "true")};
    vl2_tokenizer *t = fixture_open(&f, NULL, NULL);
    const int32_t word[] = {256, 0xe4, 0xb8, 0xad, 300, -5, 299, 1 << 30};
    assert_text(t, word, 8, false, "ab中<中>");
    assert_text(t, word, 8, true, "ab中");
    const int32_t cut[] = {0xe4, 0xb8, 'x', 0xf0, 0x9f, 0xff, 0xc0, 0x80};
    assert_text(t, cut, 8, false, "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    const int32_t joined[] = {0xe4, 300, 0xb8, 0xad}; /* what is skipped joins its neighbours */
    assert_text(t, joined, 4, true, "中");
    assert_text(t, joined, 4, false, "\xef\xbf\xbd<中>\xef\xbf\xbd\xef\xbf\xbd");
    size_t size;
    assert_string_equal(vl2_tokenizer_piece(t, 299, &size), "");
    assert_int_equal(size, 0);
    vl2_tokenizer_close(t);
}

static void texts_must_be_utf8(void **state) {
    (void)state;
    const fixture f = {0};
    vl2_tokenizer *t = fixture_open(&f, NULL, NULL);
    vl2_error err = {0};
    vl2_ids ids = {0};
    vl2_ids_add(&ids, 7, NULL);
    assert_int_equal(vl2_tokenizer_encode(&ids, t, "ab\xff", 3, VL2_ENCODE_ALL, &err),
                     VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "0xff at offset 2"));
    assert_int_equal(ids.size, 1);
    vl2_ids_free(&ids);
    vl2_tokenizer_close(t);
}

/* ---- broken and unknown files -------------------------------------------------------------------- */

/* Replaces `from` in the file of `f` by `to`, and expects this status and these words. */
static void assert_refused(const fixture *f, const char *from, const char *to, vl2_status status,
                           const char *words) {
    vl2_buf json = {0}, changed = {0};
    vl2_tokenizer *t = NULL;
    vl2_error err = {0};
    fixture_json(&json, f);
    const char *at = strstr(json.data, from);
    assert_non_null(at);
    vl2_buf_add(&changed, json.data, (size_t)(at - json.data), NULL);
    fixture_add(&changed, to);
    fixture_add(&changed, at + strlen(from));
    vl2_status got = fixture_parse(&t, changed.data, NULL, NULL, &err);
    if (got != status || !strstr(err.text, words) || !strstr(err.text, "tokenizer.json")) {
        fail_msg("%s -> %s: status %d, \"%s\"", from, to, (int)got, err.text);
    }
    assert_null(t);
    vl2_buf_free(&json);
    vl2_buf_free(&changed);
}

static void broken_files_are_named(void **state) {
    (void)state;
    const fixture f = {.merges = "a b,ab c", .added = ADDED(300, "<b>", "false", "true")};
    const vl2_status bad = VL2_ERR_FORMAT;
    assert_refused(&f, "\"vocab\"", "\"words\"", bad, "\"vocab\"");
    assert_refused(&f, "\"merges\"", "\"joins\"", bad, "\"merges\"");
    assert_refused(&f, "\"model\"", "\"mode\"", VL2_ERR_UNSUPPORTED, "model.type");
    assert_refused(&f, "\"a b\"", "\"a q q\"", bad, "model.merges");
    assert_refused(&f, "\"a b\"", "\"ab\"", bad, "model.merges");
    assert_refused(&f, "\"a b\"", "\"a zz\"", bad, "\"zz\"");
    assert_refused(&f, "\"a b\"", "\"a c\"", bad, "\"ac\"");
    assert_refused(&f, "\"a b\"", "7", bad, "model.merges");
    assert_refused(&f, "\"ab\":256", "\"ab\":255", bad, "id 255 belongs to both");
    assert_refused(&f, "\"ab\":256", "\"ab\":256,\"ab\":257", bad, "twice");
    assert_refused(&f, "\"ab\":256", "\"ab\":-1", bad, "-1");
    assert_refused(&f, "\"ab\":256", "\"ab\":2097152", bad, "2097152");
    assert_refused(&f, "\"ab\":256", "\"ab\":2.5", bad, "model.vocab");
    assert_refused(&f, "\"ab\":256", "\"ab\":\"x\"", bad, "model.vocab");
    assert_refused(&f, "\"ab\":256", "\"\":256", bad, "0 bytes");
    assert_refused(&f, "\"ab\":256", "\"\\ud800\":256", bad, "tokenizer.json");
    assert_refused(&f, "\"id\":300", "\"id\":97", bad, "belongs to both");
    assert_refused(&f, "\"id\":300", "\"id\":-3", bad, "-3");
    assert_refused(&f, "\"content\":\"<b>\"", "\"content\":\"a\"", bad, "twice");
    assert_refused(&f, "\"content\":\"<b>\"", "\"text\":\"<b>\"", bad, "added_tokens");
    assert_refused(&f, "]}}", "", bad, "tokenizer.json");
    assert_refused(&f, "]}}", "]}}}", bad, "tokenizer.json");
    assert_refused(&f, "{\"added", "[\"added", bad, "tokenizer.json");
}

static void unknown_parts_are_refused(void **state) {
    (void)state;
    const fixture f = {.merges = "a b", .added = ADDED(300, "<b>", "false", "true")};
    const vl2_status no = VL2_ERR_UNSUPPORTED;
    assert_refused(&f, "\"BPE\"", "\"Unigram\"", no, "Unigram");
    assert_refused(&f, "\"BPE\"", "\"BPE\",\"dropout\":0.1", no, "dropout");
    assert_refused(&f, "\"BPE\"", "\"BPE\",\"unk_token\":\"<b>\"", no, "unk_token");
    assert_refused(&f, "\"BPE\"", "\"BPE\",\"byte_fallback\":true", no, "byte_fallback");
    assert_refused(&f, "\"BPE\"", "\"BPE\",\"ignore_merges\":true", no, "ignore_merges");
    assert_refused(&f, "\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}", no, "NFC");
    assert_refused(
        &f, "\"normalizer\":null",
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}", no,
        "Lowercase");
    assert_refused(&f, "\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"WordPiece\"",
                   no, "WordPiece");
    assert_refused(&f, "\"Split\"", "\"Punctuation\"", no, "Punctuation");
    assert_refused(&f, "\"Isolated\"", "\"Removed\"", no, "Removed");
    assert_refused(&f, "\"invert\":false", "\"invert\":true", no, "invert");
    assert_refused(&f, "\"add_prefix_space\":false", "\"add_prefix_space\":true", no,
                   "add_prefix_space");
    assert_refused(&f, "\"use_regex\":false", "\"use_regex\":true", no, "use_regex");
    assert_refused(&f, "\"use_regex\":false", "\"x\":0", no, "use_regex");
    assert_refused(&f, "," FIXTURE_BYTE_LEVEL, "", no, "ByteLevel");
    assert_refused(&f, "\\\\s?[a-z]+", "\\\\w", no, "\\w");
    assert_refused(&f, "\\\\s?[a-z]+", "[a-z", VL2_ERR_FORMAT, "does not compile");
    assert_refused(&f, "\"normalized\":false", "\"lstrip\":true", no, "lstrip");
    const fixture empty = {.extra = ",\"dropout\":null,\"unk_token\":null,\"byte_fallback\":false,"
                                    "\"end_of_word_suffix\":\"\""};
    vl2_tokenizer_close(fixture_open(&empty, NULL, NULL));
}

static void lists_may_stand_in_any_order_and_form(void **state) {
    (void)state;
    const char *splits =
        "\"pre_tokenizer\":" FIXTURE_BYTE_LEVEL ",\"decoder\":{\"type\":\"ByteLevel\"}";
    vl2_buf json = {0};
    vl2_buf_addf(&json, NULL,
                 " {\n\"model\" : { \"merges\" : [ [ \"a\" , \"\\u0062\" ] ,\n\"ab \\\"\" ] , "
                 "\"type\":\"BPE\", \"vocab\" : { \"a\" : 0 , \"b\":1, \"\\\"\":2 , "
                 "\"ab\":3,\"ab\\\"\" : 4 } }, %s, \"x\":[{\"model\":{}},\"]\"] }\n",
                 splits);
    vl2_tokenizer *t = NULL;
    vl2_error err = {0};
    if (fixture_parse(&t, json.data, NULL, NULL, &err) != VL2_OK) fail_msg("%s", err.text);
    ASSERT_IDS(t, "aab\"b", VL2_ENCODE_ALL, 0, 4, 1);
    vl2_ids ids = {0};
    assert_int_equal(vl2_tokenizer_encode(&ids, t, "c", 1, VL2_ENCODE_ALL, &err), VL2_ERR_FORMAT);
    assert_non_null(strstr(err.text, "0x63")); /* a byte that the vocabulary lacks */
    vl2_ids_free(&ids);
    vl2_tokenizer_close(t);
    vl2_buf_free(&json);
}

static void absent_names_are_named(void **state) {
    (void)state;
    const fixture f = {0};
    vl2_buf json = {0};
    vl2_tokenizer *t = NULL;
    vl2_error err = {0};
    fixture_json(&json, &f);
    assert_int_equal(fixture_parse(&t, json.data, "{\"bos_token\":\"<none>\"}", NULL, &err),
                     VL2_ERR_FORMAT);
    assert_non_null(strstr(err.text, "<none>"));
    err = (vl2_error){0};
    assert_int_equal(fixture_parse(&t, json.data, "{", NULL, &err), VL2_ERR_FORMAT);
    assert_non_null(strstr(err.text, "tokenizer_config.json"));
    err = (vl2_error){0};
    assert_int_equal(vl2_tokenizer_open(&t, "/nowhere/at/all", NULL, NULL, &err), VL2_ERR_IO);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    vl2_buf_free(&json);
}

/* ---- one tokenizer, several threads -------------------------------------------------------------- */

static void *encode_often(void *context) {
    const vl2_tokenizer *t = context;
    static const char text[] = "abc <|ref|>ab xxx中 <image>";
    size_t n = 0;
    for (int i = 0; i < 300; i++) {
        vl2_ids ids = {0};
        if (vl2_tokenizer_encode(&ids, t, text, strlen(text), VL2_ENCODE_ALL, NULL)) return NULL;
        if (i > 0 && ids.size != n) return NULL;
        n = ids.size;
        vl2_ids_free(&ids);
    }
    return context;
}

static void threads_share_a_tokenizer(void **state) {
    (void)state;
    const fixture f = {.merges = "a b,ab c"};
    vl2_tokenizer *t = fixture_open(&f, NULL, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 4; i++) {
        void *ok;
        pthread_join(threads[i], &ok);
        assert_ptr_equal(ok, t);
    }
    vl2_tokenizer_close(t);
}

/* ---- the real vocabularies ------------------------------------------------------------------------ */

/* The path of the reference's file; skips the test where it is not there. */
static char *reference_file(const char *name) {
    const char *folder = getenv("VL2_REFERENCE_DATA");
    static char path[4096];
    snprintf(path, sizeof path, "%s/tokenizers/%s",
             folder ? folder : VL2_SOURCE_DIR "/../shared/golden", name);
    if (!vl2_file_exists(path)) {
        print_message("no %s\n", path);
        skip();
    }
    return path;
}

static void check_text(const vl2_tokenizer *t, const vl2_json *entry, const char *key) {
    size_t size;
    const char *text = vl2_json_text(vl2_json_get(entry, "text"), &size);
    const vl2_json *expected = vl2_json_get(entry, key);
    vl2_ids ids = {0};
    vl2_buf back = {0};
    assert_int_equal(vl2_tokenizer_encode(&ids, t, text, size, VL2_ENCODE_ALL, NULL), VL2_OK);
    if (ids.size != vl2_json_size(expected)) fail_msg("%s: %zu ids", text, ids.size);
    for (size_t i = 0; i < ids.size; i++) {
        assert_int_equal(ids.data[i], vl2_json_int(vl2_json_at(expected, i)));
    }
    assert_int_equal(vl2_tokenizer_decode(&back, t, ids.data, ids.size, false, NULL), VL2_OK);
    assert_int_equal(back.size, size);
    if (size) assert_memory_equal(back.data, text, size);
    vl2_ids_free(&ids);
    vl2_buf_free(&back);
}

static void check_vocabulary(const char *file, const char *key) {
    vl2_json_doc *texts;
    vl2_tokenizer *t;
    vl2_error err = {0};
    if (vl2_tokenizer_open(&t, reference_file(file), NULL, NULL, &err)) fail_msg("%s", err.text);
    if (vl2_json_read(&texts, reference_file("texts.json"), 1 << 24, &err))
        fail_msg("%s", err.text);
    size_t n = vl2_json_size(vl2_json_root(texts));
    assert_int_equal(n, 251);
    for (size_t i = 0; i < n; i++) check_text(t, vl2_json_at(vl2_json_root(texts), i), key);
    vl2_json_free(texts);
    vl2_tokenizer_close(t);
}

static void texts_of_129280(void **state) {
    (void)state;
    check_vocabulary("tokenizer-129280.json", "ids_129280");
}

static void texts_of_102400(void **state) {
    (void)state;
    check_vocabulary("tokenizer-102400.json", "ids_102400");
}

/* ---- long hostile texts ---------------------------------------------------------------------------- */

static double seconds_of(const vl2_tokenizer *t, const char *unit, const char *end, size_t size) {
    struct timespec a, b;
    vl2_buf text = {0};
    vl2_ids ids = {0};
    while (text.size < size) fixture_add(&text, unit);
    fixture_add(&text, end);
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(vl2_tokenizer_encode(&ids, t, text.data, text.size, VL2_ENCODE_ALL, NULL),
                     VL2_OK);
    clock_gettime(CLOCK_MONOTONIC, &b);
    vl2_buf_free(&text);
    vl2_ids_free(&ids);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
}

/* The expressions of both real files, where length hurts. Quadratic work on 256 KiB takes minutes. */
static void long_texts_take_no_quadratic_time(void **state) {
    (void)state;
#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\"}"
    const char *splits[] = {
        SPLIT("[\\r\\n]") "," SPLIT("\\\\s?[A-Za-z]+") "," SPLIT("\\\\s?[!-/:-~]+") "," SPLIT(
            "\\\\s+$") "," SPLIT("[一-龥]+") ",{\"type\":\"Digits\",\"individual_digits\":true}",
        SPLIT("\\\\p{N}{1,3}") "," SPLIT("[一-龥]+") "," SPLIT(
            "[!-~][A-Za-z]+|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| "
            "?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+"),
        ""};
    const char *texts[][2] = {
        {"a", ""},   {" ", ""},         {" ", "中"},    {" ", "a"},
        {"1", ""},   {"a ", ""},        {"<", ""},      {"<image>", ""},
        {"\n", ""},  {" \n", "x"},      {"<imag", ""},  {"中文", ""},
        {"ab", "c"}, {"\xc2\xa0", "1"}, {"\t \r", "x"}, {"\xe1\xa0\x8e ", "x"}};
    for (size_t i = 0; i < 3; i++) {
        const fixture f = {.splits = splits[i], .merges = "a a,aa aa,aaaa aaaa,a b,ab ab"};
        vl2_tokenizer *t = fixture_open(&f, NULL, NULL);
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++) {
            double seconds = seconds_of(t, texts[j][0], texts[j][1], 1 << 18);
            if (seconds > 10) fail_msg("splits %zu, text %zu: %.1f s", i, j, seconds);
        }
        vl2_tokenizer_close(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_follow_their_ranks),
        cmocka_unit_test(added_tokens_are_found_in_two_passes),
        cmocka_unit_test(tokens_are_appended_at_run_time),
        cmocka_unit_test(special_names_come_from_the_config),
        cmocka_unit_test(modes_leave_tokens_as_text),
        cmocka_unit_test(decoding_repairs_bytes),
        cmocka_unit_test(texts_must_be_utf8),
        cmocka_unit_test(broken_files_are_named),
        cmocka_unit_test(unknown_parts_are_refused),
        cmocka_unit_test(lists_may_stand_in_any_order_and_form),
        cmocka_unit_test(absent_names_are_named),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(texts_of_129280),
        cmocka_unit_test(texts_of_102400),
        cmocka_unit_test(long_texts_take_no_quadratic_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
