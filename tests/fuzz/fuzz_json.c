/* Any bytes as JSON: parsed or refused; what was parsed is read by every getter and quoted. */
#include "base/buf.h"
#include "base/json.h"
#include "fuzz/fuzz.h"

static void read_as_everything(const vl2_json *object, const char *key) {
    size_t size;
    double real;
    bool flag;
    const char *text;
    vl2_json_get_size(&size, object, "fuzz", key, 1, 1, 1000, NULL);
    vl2_json_get_real(&real, object, "fuzz", key, 1, -1, 1, NULL);
    vl2_json_get_bool(&flag, object, "fuzz", key, false, NULL);
    vl2_json_get_text(&text, object, "fuzz: deeper", key, NULL, NULL);
    vl2_error err = {0};
    vl2_json_fail(object, "fuzz", key, "something else", &err);
}

static void visit(const vl2_json *value) {
    void *iterator = NULL;
    const char *key;
    const vl2_json *child;
    while (vl2_json_iterate(value, &iterator, &key, &child)) {
        read_as_everything(value, key);
        visit(child);
    }
    for (size_t i = 0; vl2_json_at(value, i); i++) visit(vl2_json_at(value, i));
    size_t size;
    const char *text = vl2_json_text(value, &size);
    vl2_buf quoted = {.cap = 1 << 24};
    if (text) vl2_json_quote(&quoted, text, size, NULL);
    vl2_buf_free(&quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vl2_json_doc *doc;
    vl2_error err = {0};
    if (vl2_json_parse(&doc, (const char *)data, size, "fuzz", &err) == VL2_OK) {
        visit(vl2_json_root(doc));
        vl2_json_free(doc);
    }
    vl2_buf quoted = {0}; /* what is quoted is JSON, whatever the bytes were */
    if (vl2_json_quote(&quoted, (const char *)data, size, NULL) == VL2_OK) {
        if (vl2_json_parse(&doc, quoted.data, quoted.size, "quoted", NULL) != VL2_OK)
            __builtin_trap();
        vl2_json_free(doc);
    }
    vl2_buf_free(&quoted);
    return 0;
}
