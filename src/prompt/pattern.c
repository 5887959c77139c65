#include "prompt/pattern.h"

#include <string.h>

/* White space as Unicode's property has it: PCRE2's \s also matches U+180E. Written as ranges,
 * they may stand inside a class. */
static const char SPACE[] = "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}"
                            "\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
static const char NOT_SPACE[] =
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"
    "\\x{3001}-\\x{10ffff}";

typedef struct walk {
    const char *text;
    size_t size, at;
    bool in_class;
    vl2_buf *out;
    const char *what;
    vl2_error *err;
} walk;

static vl2_status put(walk *w, const char *text) {
    return vl2_buf_add(w->out, text, strlen(text), w->err);
}

static vl2_status copy(walk *w, size_t n) {
    VL2_TRY(vl2_buf_add(w->out, w->text + w->at, n, w->err));
    w->at += n;
    return VL2_OK;
}

static bool looking_at(const walk *w, const char *text) {
    size_t n = strlen(text);
    return w->size - w->at >= n && memcmp(w->text + w->at, text, n) == 0;
}

static vl2_status refuse(const walk *w, size_t n) {
    if (n > w->size - w->at) n = w->size - w->at;
    return vl2_fail(w->err, VL2_ERR_UNSUPPORTED, "%s: \"%.*s\" in an expression is not supported",
                    w->what, (int)n, w->text + w->at);
}

static vl2_status white_space(walk *w, bool negated) {
    w->at += 2;
    if (w->in_class) return put(w, negated ? NOT_SPACE : SPACE);
    VL2_TRY(put(w, negated ? "[^" : "["));
    VL2_TRY(put(w, SPACE));
    return put(w, "]");
}

static vl2_status escape(walk *w) {
    char c = w->at + 1 < w->size ? w->text[w->at + 1] : 0;
    if (c == 's' || c == 'S') return white_space(w, c == 'S');
    bool is_word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    bool same = strchr("pPdDrnt", c) || (c == 'x' && looking_at(w, "\\x{"));
    if (c == 0 || c & 0x80 || (is_word && !same)) return refuse(w, 2);
    return copy(w, 2);
}

/* "[" and what may directly follow it with a meaning of its own. */
static vl2_status open_class(walk *w) {
    w->in_class = true;
    VL2_TRY(copy(w, 1));
    if (looking_at(w, "^")) VL2_TRY(copy(w, 1));
    return looking_at(w, "]") ? refuse(w, 1) : VL2_OK;
}

static vl2_status group(walk *w) {
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"};
    if (looking_at(w, "(*")) return refuse(w, 2);
    if (!looking_at(w, "(?")) return copy(w, 1);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (looking_at(w, known[i])) return copy(w, strlen(known[i]));
    }
    return refuse(w, 3);
}

static vl2_status step(walk *w) {
    char c = w->text[w->at];
    if (c == '\\') return escape(w);
    if (w->in_class) {
        if (c == '[' || looking_at(w, "&&")) return refuse(w, 2);
        if (c == ']') w->in_class = false;
        return copy(w, 1);
    }
    if (c == '[') return open_class(w);
    if (c == '(') return group(w);
    return copy(w, 1);
}

vl2_status vl2_pattern_translate(vl2_buf *out, const char *pattern, size_t size, const char *what,
                                 vl2_error *err) {
    walk w = {pattern, size, 0, false, out, what, err};
    /* From every place in a long run of spaces, \s+$ walks to the run's end and back: quadratic.
     * A match that begins inside a run exists only where one begins at the run's start, which is
     * further left and so wins; hence this guard changes no match, and leaves one walk a run. */
    if (size == 4 && memcmp(pattern, "\\s+$", 4) == 0) {
        VL2_TRY(put(&w, "(?<!["));
        VL2_TRY(put(&w, SPACE));
        VL2_TRY(put(&w, "])"));
    }
    while (w.at < w.size) VL2_TRY(step(&w));
    return VL2_OK;
}
