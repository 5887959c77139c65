#include "base/mem.h"
#include "image/decode.h"

#include <gif_lib.h>
#include <string.h>

typedef struct gif_state {
    const vl2_source *source;
    size_t at;
    GifFileType *gif;
    int transparent; /* index, or -1 */
    uint8_t *line;
} gif_state;

static int read_bytes(GifFileType *gif, GifByteType *into, int n) {
    gif_state *s = gif->UserData;
    const size_t left = s->source->size - s->at;
    const size_t size = (size_t)n < left ? (size_t)n : left;
    memcpy(into, s->source->bytes + s->at, size);
    s->at += size;
    return (int)size;
}

static vl2_status broken(const gif_state *s, int code, vl2_error *err) {
    if (code == D_GIF_ERR_NOT_ENOUGH_MEM) return vl2_fail_memory(err, "a GIF decoder", 0);
    if (code == D_GIF_ERR_READ_FAILED || code == D_GIF_ERR_EOF_TOO_SOON || s->at == s->source->size)
        return vl2_decode_truncated(s->source, "GIF", err);
    const char *text = GifErrorString(code);
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: broken GIF: %s", s->source->name,
                    text ? text : "no picture in it");
}

/* Extensions before the first frame: of these only its transparent index matters. */
static vl2_status read_extension(gif_state *s, vl2_error *err) {
    int code = 0;
    GifByteType *block = NULL;
    if (DGifGetExtension(s->gif, &code, &block) == GIF_ERROR) return broken(s, s->gif->Error, err);
    if (code == GRAPHICS_EXT_FUNC_CODE && block && block[0] >= 4)
        s->transparent = block[1] & 1 ? block[4] : s->transparent;
    while (block)
        if (DGifGetExtensionNext(s->gif, &block) == GIF_ERROR) return broken(s, s->gif->Error, err);
    return VL2_OK;
}

static vl2_status find_frame(gif_state *s, vl2_error *err) {
    for (;;) {
        GifRecordType type;
        if (DGifGetRecordType(s->gif, &type) == GIF_ERROR) return broken(s, s->gif->Error, err);
        switch (type) {
        case EXTENSION_RECORD_TYPE: VL2_TRY(read_extension(s, err)); break;
        case IMAGE_DESC_RECORD_TYPE:
            if (DGifGetImageDesc(s->gif) == GIF_ERROR) return broken(s, s->gif->Error, err);
            return VL2_OK;
        case UNDEFINED_RECORD_TYPE:
        case SCREEN_DESC_RECORD_TYPE:
        case TERMINATE_RECORD_TYPE:
            return vl2_fail(err, VL2_ERR_FORMAT, "%s: broken GIF: no picture in it",
                            s->source->name);
        }
    }
}

/* Colours of the 256 indices. Without a map, or with one that is only a ramp (which Pillow takes
 * for grey and forgets), an index is its own grey; beyond a map's end is black. */
static void fill_palette(uint8_t palette[256][3], const ColorMapObject *map) {
    bool ramp = true;
    for (int i = 0; map && i < map->ColorCount && i < 256; i++) {
        const GifColorType c = map->Colors[i];
        ramp = ramp && c.Red == i && c.Green == i && c.Blue == i;
    }
    for (int i = 0; i < 256; i++) {
        const bool mapped = map && i < map->ColorCount;
        const GifColorType c = mapped ? map->Colors[i] : (GifColorType){0, 0, 0};
        palette[i][0] = ramp ? (uint8_t)i : c.Red;
        palette[i][1] = ramp ? (uint8_t)i : c.Green;
        palette[i][2] = ramp ? (uint8_t)i : c.Blue;
    }
}

static vl2_status read_lines(gif_state *s, vl2_picture *picture, uint8_t palette[256][3],
                             vl2_error *err) {
    static const struct { size_t first, step; } passes[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
    const GifImageDesc *frame = &s->gif->Image;
    const size_t width = (size_t)frame->Width, height = (size_t)frame->Height;
    const size_t first = frame->Interlace ? 0 : 4;
    for (size_t pass = first; pass < 5 && pass < first + 4; pass++) {
        const size_t step = pass < 4 ? passes[pass].step : 1;
        for (size_t y = pass < 4 ? passes[pass].first : 0; y < height; y += step) {
            if (DGifGetLine(s->gif, s->line, frame->Width) == GIF_ERROR)
                return broken(s, s->gif->Error, err);
            uint8_t *rgb =
                vl2_picture_row(picture, (size_t)frame->Top + y) + (size_t)frame->Left * 3;
            for (size_t x = 0; x < width; x++) memcpy(rgb + x * 3, palette[s->line[x]], 3);
        }
    }
    return VL2_OK;
}

static vl2_status decode_frame(vl2_picture **out, gif_state *s, vl2_error *err) {
    const GifImageDesc *frame = &s->gif->Image;
    if (frame->Width <= 0 || frame->Height <= 0 || frame->Left < 0 || frame->Top < 0)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: broken GIF: its frame is empty", s->source->name);
    const int right = frame->Left + frame->Width, bottom = frame->Top + frame->Height;
    /* A frame larger than the canvas enlarges it, as in Pillow. */
    const int width = right > s->gif->SWidth ? right : s->gif->SWidth;
    const int height = bottom > s->gif->SHeight ? bottom : s->gif->SHeight;
    VL2_TRY(vl2_decode_take(out, s->source, (uint64_t)width, (uint64_t)height, err));
    s->line = vl2_mem_alloc((size_t)frame->Width);
    if (!s->line) return vl2_fail_memory(err, "a GIF's line", (size_t)frame->Width);
    uint8_t palette[256][3];
    fill_palette(palette, frame->ColorMap ? frame->ColorMap : s->gif->SColorMap);
    const uint8_t *around = palette[s->transparent < 0 ? 0 : s->transparent];
    for (size_t y = 0; y < (size_t)height; y++) {
        uint8_t *rgb = vl2_picture_row(*out, y);
        for (size_t x = 0; x < (size_t)width; x++) memcpy(rgb + x * 3, around, 3);
    }
    return read_lines(s, *out, palette, err);
}

vl2_status vl2_decode_gif(vl2_picture **out, int *orientation, const vl2_source *source,
                          vl2_error *err) {
    gif_state s = {.source = source, .transparent = -1};
    vl2_picture *picture = NULL;
    int code = 0;
    s.gif = DGifOpen(&s, read_bytes, &code);
    if (!s.gif) return broken(&s, code, err);
    vl2_status status = find_frame(&s, err);
    if (status == VL2_OK) status = decode_frame(&picture, &s, err);
    DGifCloseFile(s.gif, NULL);
    vl2_mem_free(s.line);
    if (status != VL2_OK) {
        vl2_picture_free(picture);
        return status;
    }
    *orientation = 1;
    *out = picture;
    return VL2_OK;
}
