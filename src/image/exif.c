#include "image/exif.h"

#include "image/picture.h"

#include <string.h>

typedef struct exif_view {
    const uint8_t *bytes;
    size_t size;
    bool big_endian;
} exif_view;

/* Unsigned number of `n` bytes at `at`; 0 outside of the block. */
static uint32_t number(const exif_view *v, size_t at, size_t n) {
    if (at > v->size || v->size - at < n) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value << 8 | v->bytes[at + (v->big_endian ? i : n - 1 - i)];
    return value;
}

int vl2_exif_orientation(const uint8_t *block, size_t size) {
    enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY = 12 };
    if (size >= 6 && memcmp(block, "Exif\0\0", 6) == 0) {
        block += 6;
        size -= 6;
    }
    if (size < 8 || (memcmp(block, "II", 2) != 0 && memcmp(block, "MM", 2) != 0)) return 1;
    const exif_view v = {.bytes = block, .size = size, .big_endian = block[0] == 'M'};
    if (number(&v, 2, 2) != 42) return 1;
    const size_t directory = number(&v, 4, 4);
    const size_t entries = number(&v, directory, 2);
    for (size_t i = 0; i < entries; i++) {
        const size_t at = directory + 2 + i * ENTRY;
        if (at + ENTRY > size) return 1;
        if (number(&v, at, 2) != TAG_ORIENTATION) continue;
        const uint32_t value = number(&v, at + 2, 2) == TYPE_SHORT ? number(&v, at + 8, 2) : 0;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

vl2_status vl2_exif_turn(vl2_picture **picture, int orientation, vl2_error *err) {
    if (orientation <= 1 || orientation > 8) return VL2_OK;
    const size_t w = vl2_picture_width(*picture), h = vl2_picture_height(*picture);
    const uint8_t *from = vl2_picture_rgb(*picture);
    /* As bits of orientation - 1: 4 swaps the axes; which of the source's axes run backwards
     * follows from the tag's table of where row 0 and column 0 are. */
    const bool swaps = orientation >= 5;
    const bool flip_x =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool flip_y =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const size_t out_w = swaps ? h : w, out_h = swaps ? w : h;
    vl2_picture *turned = NULL;
    VL2_TRY(vl2_picture_create(&turned, out_w, out_h, err));
    for (size_t y = 0; y < out_h; y++) {
        uint8_t *row = vl2_picture_row(turned, y);
        for (size_t x = 0; x < out_w; x++) {
            const size_t sx = swaps ? y : x, sy = swaps ? x : y;
            const size_t px = flip_x ? w - 1 - sx : sx, py = flip_y ? h - 1 - sy : sy;
            memcpy(row + x * 3, from + (py * w + px) * 3, 3);
        }
    }
    vl2_picture_free(*picture);
    *picture = turned;
    return VL2_OK;
}
