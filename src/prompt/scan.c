#include "prompt/scan.h"

#include "base/utf8.h"

#include <string.h>

char vl2_scan_peek(vl2_scan *scan) {
    while (scan->at < scan->size) {
        char c = scan->text[scan->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return c;
        scan->at++;
    }
    return 0;
}

bool vl2_scan_take(vl2_scan *scan, char expected) {
    if (vl2_scan_peek(scan) != expected || scan->at >= scan->size) return false;
    scan->at++;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool hex4(const vl2_scan *scan, size_t at, uint32_t *out) {
    if (scan->size - at < 4) return false;
    *out = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(scan->text[at + i]);
        if (digit < 0) return false;
        *out = *out * 16 + (uint32_t)digit;
    }
    return true;
}

/* The code point of \uXXXX, or of the pair \uD8XX\uDCXX; scan->at is behind the first "\u". */
static bool unicode_escape(vl2_scan *scan, uint32_t *code) {
    if (!hex4(scan, scan->at, code)) return false;
    scan->at += 4;
    if (*code < 0xd800 || *code > 0xdfff) return true;
    uint32_t low;
    if (*code > 0xdbff || scan->size - scan->at < 6 || scan->text[scan->at] != '\\' ||
        scan->text[scan->at + 1] != 'u' || !hex4(scan, scan->at + 2, &low) || low < 0xdc00 ||
        low > 0xdfff) {
        return false;
    }
    scan->at += 6;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static bool escape(vl2_scan *scan, char out[4], size_t *n) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (scan->at >= scan->size) return false;
    char c = scan->text[scan->at++];
    if (c == 'u') {
        uint32_t code;
        if (!unicode_escape(scan, &code)) return false;
        *n = vl2_utf8_put(out, code);
        return true;
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return false;
    out[0] = to[found - from];
    *n = 1;
    return true;
}

/* Behind the opening quote: to the next quote, backslash or control character. */
static size_t plain_run(const vl2_scan *scan) {
    size_t at = scan->at;
    while (at < scan->size && scan->text[at] != '"' && scan->text[at] != '\\' &&
           (uint8_t)scan->text[at] >= 0x20) {
        at++;
    }
    return at - scan->at;
}

static bool unfold(vl2_scan *scan, const char *text, size_t size) {
    scan->status = vl2_buf_add(&scan->scratch, text, size, scan->err);
    return scan->status == VL2_OK;
}

bool vl2_scan_string(vl2_scan *scan, const char **out, size_t *size) {
    if (!vl2_scan_take(scan, '"')) return false;
    vl2_buf_clear(&scan->scratch);
    for (bool folded = false;;) {
        const char *run = scan->text + scan->at;
        size_t n = plain_run(scan);
        scan->at += n;
        if (scan->at >= scan->size) return false;
        char end = scan->text[scan->at++];
        if (end == '"' && !folded) {
            *out = run;
            *size = n;
            return true;
        }
        if (!unfold(scan, run, n)) return false;
        if (end == '"') break;
        char letter[4];
        if (end != '\\' || !escape(scan, letter, &n) || !unfold(scan, letter, n)) return false;
        folded = true;
    }
    *out = scan->scratch.data;
    *size = scan->scratch.size;
    return true;
}

bool vl2_scan_int(vl2_scan *scan, int64_t *out) {
    bool negative = vl2_scan_take(scan, '-');
    size_t start = scan->at;
    int64_t value = 0;
    while (scan->at < scan->size && scan->text[scan->at] >= '0' && scan->text[scan->at] <= '9') {
        if (scan->at - start >= 18) return false;
        value = value * 10 + (scan->text[scan->at++] - '0');
    }
    size_t digits = scan->at - start;
    if (digits == 0 || (digits > 1 && scan->text[start] == '0')) return false;
    if (scan->at < scan->size && strchr(".eE", scan->text[scan->at])) return false;
    *out = negative ? -value : value;
    return true;
}

/* Counts brackets only, strings taken whole: base/json judges what is skipped. */
bool vl2_scan_skip(vl2_scan *scan) {
    size_t depth = 0;
    const char *text;
    size_t size;
    do {
        char c = vl2_scan_peek(scan);
        if (c == '"') {
            if (!vl2_scan_string(scan, &text, &size)) return false;
            continue;
        }
        if (c == 0 || (depth == 0 && strchr(",:]}", c))) return false;
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        scan->at++;
        if (depth > 0 || c == '}' || c == ']') continue;
        while (scan->at < scan->size && !strchr(",:]} \t\r\n", scan->text[scan->at])) scan->at++;
    } while (depth > 0);
    return true;
}

bool vl2_scan_next(vl2_scan *scan, char close, bool *first, bool *more) {
    bool at_start = *first;
    *first = false;
    *more = !(vl2_scan_peek(scan) == close && vl2_scan_take(scan, close));
    if (!*more || at_start) return true;
    /* A comma must be followed by an element. */
    return vl2_scan_take(scan, ',') && vl2_scan_peek(scan) != close;
}
