#include "base/utf8.h"

#include <stdbool.h>

/* Bytes of the sequence that `lead` begins; 0: it begins none. Overlong forms of two bytes and
 * what lies past U+10FFFF are out already here. */
static size_t sequence_length(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead < 0xC2) return 0;
    if (lead < 0xE0) return 2;
    if (lead < 0xF0) return 3;
    return lead < 0xF5 ? 4 : 0;
}

/* The second byte's range depends on the first: no overlong forms, no surrogates, no more than
 * U+10FFFF (Unicode, table 3-7). */
static bool second_fits(unsigned char lead, unsigned char second) {
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high;
}

static bool continues(unsigned char byte) { return (byte & 0xC0) == 0x80; }

uint32_t vl2_utf8_next(const char *text, size_t size, size_t *n) {
    static const unsigned char lead_bits[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = sequence_length(bytes[0]);
    *n = 1;
    if (length == 0) return UINT32_MAX;
    uint32_t code = bytes[0] & lead_bits[length];
    for (size_t i = 1; i < length; i++) {
        if (i >= size || !(i == 1 ? second_fits(bytes[0], bytes[1]) : continues(bytes[i]))) {
            *n = i;
            return UINT32_MAX;
        }
        code = code << 6 | (bytes[i] & 0x3F);
    }
    *n = length;
    return code;
}

size_t vl2_utf8_put(char out[4], uint32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | (code >> 18 & 0x07));
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

size_t vl2_utf8_whole(const char *text, size_t size) {
    size_t lead = size;
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        if (continues((unsigned char)text[size - back])) continue;
        lead = size - back;
        break;
    }
    if (lead == size) return size;
    size_t rest = size - lead, n;
    size_t needed = sequence_length((unsigned char)text[lead]);
    bool could_go_on =
        rest < needed && vl2_utf8_next(text + lead, rest, &n) == UINT32_MAX && n == rest;
    return could_go_on ? lead : size;
}

size_t vl2_utf8_valid(const char *text, size_t size) {
    size_t at = 0, n;
    while (at < size) {
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        if (vl2_utf8_next(text + at, size - at, &n) == UINT32_MAX) return at;
        at += n;
    }
    return size;
}

/* What Python's str.isspace says. */
static bool is_space(uint32_t code) {
    return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

/* Length of the white-space character that ends text[0…size); 0: none does. */
static size_t space_at_end(const char *text, size_t size) {
    for (size_t back = 1; back <= 3 && back <= size; back++) { /* none needs four bytes */
        if (continues((unsigned char)text[size - back])) continue;
        size_t n;
        uint32_t code = vl2_utf8_next(text + size - back, back, &n);
        return n == back && is_space(code) ? back : 0;
    }
    return 0;
}

void vl2_utf8_strip(const char **text, size_t *size) {
    size_t n;
    while (*size && is_space(vl2_utf8_next(*text, *size, &n))) {
        *text += n;
        *size -= n;
    }
    while (*size && (n = space_at_end(*text, *size)) > 0) *size -= n;
}
