/* prompt_fixture.h - a tokenizer.json made for a test: the 256 bytes as ids 0 … 255, the joined
 * tokens of its merges from 256 on, and the other parts as given. */
#ifndef VL2_TESTS_PROMPT_FIXTURE_H
#define VL2_TESTS_PROMPT_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "prompt/tokenizer.h"

/* What NULL stands for: no added tokens, these splits, no merges. */
#define FIXTURE_SPLITS                                                                             \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s?[a-z]+\"},\"behavior\":\"Isolated\","      \
    "\"invert\":false}"
#define FIXTURE_BYTE_LEVEL                                                                         \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}"

typedef struct fixture {
    const char *added;  /* the inside of added_tokens */
    const char *splits; /* pre-tokenizers before ByteLevel; "" = none */
    const char *merges; /* pairs of ASCII texts: "a b,ab c" */
    const char *extra;  /* more keys of model: ",\"dropout\":0.5" */
    bool pairs;         /* merges as ["a", "b"] */
} fixture;

static inline void fixture_add(vl2_buf *out, const char *text) {
    assert_int_equal(vl2_buf_add(out, text, strlen(text), NULL), VL2_OK);
}

/* The letter of a byte in the byte-level alphabet, as JSON. */
static inline void fixture_letter(vl2_buf *out, int byte) {
    static int other; /* bytes without a printable letter take U+0100 … in their order */
    if (byte == 0) other = 0;
    bool plain = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    unsigned code = plain ? (unsigned)byte : 0x100u + (unsigned)other++;
    assert_int_equal(vl2_buf_addf(out, NULL, "\"\\u%04x\":%d", code, byte), VL2_OK);
}

/* Appends the merges, and to the vocabulary the tokens that they join. */
static inline void fixture_merges(vl2_buf *vocab, vl2_buf *merges, const fixture *f) {
    int id = 256;
    for (const char *at = f->merges; at && *at;) {
        int left = (int)strcspn(at, " "), right = (int)strcspn(at + left + 1, ",");
        char name[64];
        snprintf(name, sizeof name, ",\"%.*s%.*s\":", left, at, right, at + left + 1);
        if (!strstr(vocab->data, name)) vl2_buf_addf(vocab, NULL, "%s%d", name, id++);
        if (merges->size) fixture_add(merges, ",");
        vl2_buf_addf(merges, NULL, f->pairs ? "[\"%.*s\",\"%.*s\"]" : "\"%.*s %.*s\"", left, at,
                     right, at + left + 1);
        at += left + 1 + right;
        if (*at == ',') at++;
    }
}

static inline void fixture_json(vl2_buf *out, const fixture *f) {
    vl2_buf vocab = {0}, merges = {0};
    for (int i = 0; i < 256; i++) {
        if (i) fixture_add(&vocab, ",");
        fixture_letter(&vocab, i);
    }
    fixture_add(&merges, "");
    fixture_merges(&vocab, &merges, f);
    const char *splits = f->splits ? f->splits : FIXTURE_SPLITS;
    vl2_buf_addf(out, NULL, "{\"added_tokens\":[%s],\"normalizer\":null,",
                 f->added ? f->added : "");
    vl2_buf_addf(out, NULL, "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[%s%s%s]},",
                 splits, *splits ? "," : "", FIXTURE_BYTE_LEVEL);
    vl2_buf_addf(out, NULL, "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\"");
    vl2_buf_addf(out, NULL, "%s,\"vocab\":{%s},\"merges\":[%s]}}", f->extra ? f->extra : "",
                 vocab.data, merges.size ? merges.data : "");
    vl2_buf_free(&vocab);
    vl2_buf_free(&merges);
}

static inline vl2_status fixture_parse(vl2_tokenizer **out, const char *json, const char *config,
                                       const char *map, vl2_error *err) {
    return vl2_tokenizer_parse(out, json, strlen(json), config, config ? strlen(config) : 0, map,
                               map ? strlen(map) : 0, "tokenizer.json", NULL, NULL, err);
}

static inline vl2_tokenizer *fixture_open(const fixture *f, const char *config, const char *map) {
    vl2_buf json = {0};
    vl2_tokenizer *tokenizer = NULL;
    vl2_error err = {0};
    fixture_json(&json, f);
    if (fixture_parse(&tokenizer, json.data, config, map, &err) != VL2_OK) fail_msg("%s", err.text);
    vl2_buf_free(&json);
    return tokenizer;
}

/* The ids of text are those of the list. */
static inline void assert_ids(const vl2_tokenizer *tokenizer, const char *text,
                              vl2_encode_mode mode, const int32_t *ids, size_t n) {
    vl2_ids got = {0};
    vl2_error err = {0};
    if (vl2_tokenizer_encode(&got, tokenizer, text, strlen(text), mode, &err) != VL2_OK) {
        fail_msg("%s: %s", text, err.text);
    }
    for (size_t i = 0; i < n && i < got.size; i++) {
        if (got.data[i] != ids[i]) {
            fail_msg("%s: id %zu is %d, not %d", text, i, (int)got.data[i], (int)ids[i]);
        }
    }
    if (got.size != n) fail_msg("%s: %zu ids, not %zu", text, got.size, n);
    vl2_ids_free(&got);
}
#define ASSERT_IDS(tokenizer, text, mode, ...)                                                     \
    assert_ids(tokenizer, text, mode, (const int32_t[]){__VA_ARGS__},                              \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

#endif
