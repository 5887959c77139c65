#include "base/mem.h"
#include "image/decode.h"
#include "image/exif.h"

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

static vl2_status broken(const vl2_source *source, const char *what, vl2_error *err) {
    return vl2_fail(err, VL2_ERR_FORMAT, "%s: broken WebP: %s", source->name, what);
}

static int orientation_of(const WebPDemuxer *demux) {
    WebPChunkIterator exif;
    int orientation = 1;
    if (WebPDemuxGetChunk(demux, "EXIF", 1, &exif)) {
        orientation = vl2_exif_orientation(exif.chunk.bytes, exif.chunk.size);
        WebPDemuxReleaseChunkIterator(&exif);
    }
    return orientation;
}

/* The frame's pixels straight to their place; what it does not cover stays black, as Pillow's
 * transparent canvas does once alpha is dropped. */
static vl2_status decode_frame(vl2_picture *picture, const WebPIterator *frame,
                               const vl2_source *source, vl2_error *err) {
    const size_t width = vl2_picture_width(picture), height = vl2_picture_height(picture);
    const size_t x = (size_t)frame->x_offset, y = (size_t)frame->y_offset;
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config) ||
        WebPGetFeatures(frame->fragment.bytes, frame->fragment.size, &config.input) !=
            VP8_STATUS_OK)
        return broken(source, "its frame has no header", err);
    const size_t w = (size_t)config.input.width, h = (size_t)config.input.height;
    if (x > width || y > height || w > width - x || h > height - y)
        return broken(source, "its frame leaves the canvas", err);
    const size_t stride = width * 3;
    if (stride > INT32_MAX)
        return vl2_fail(err, VL2_ERR_LIMIT, "%s: the WebP is too wide", source->name);
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = vl2_picture_row(picture, y) + x * 3;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = (h - 1) * stride + w * 3;
    const VP8StatusCode code = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
    WebPFreeDecBuffer(&config.output);
    if (code == VP8_STATUS_OUT_OF_MEMORY) return vl2_fail_memory(err, "a WebP decoder", w * h * 4);
    if (code == VP8_STATUS_NOT_ENOUGH_DATA || code == VP8_STATUS_SUSPENDED)
        return vl2_decode_truncated(source, "WebP", err);
    if (code != VP8_STATUS_OK) return broken(source, "its frame cannot be decoded", err);
    return VL2_OK;
}

vl2_status vl2_decode_webp(vl2_picture **out, int *orientation, const vl2_source *source,
                           vl2_error *err) {
    const WebPData data = {.bytes = source->bytes, .size = source->size};
    WebPDemuxState state;
    WebPDemuxer *demux = WebPDemuxPartial(&data, &state);
    if (!demux) return broken(source, "no WebP structure", err);
    if (state != WEBP_DEMUX_DONE) {
        WebPDemuxDelete(demux);
        return vl2_decode_truncated(source, "WebP", err);
    }
    vl2_picture *picture = NULL;
    WebPIterator frame;
    vl2_status status =
        vl2_decode_take(&picture, source, WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH),
                        WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT), err);
    if (status == VL2_OK) {
        if (WebPDemuxGetFrame(demux, 1, &frame)) {
            status = decode_frame(picture, &frame, source, err);
            WebPDemuxReleaseIterator(&frame);
        } else {
            status = broken(source, "it has no frame", err);
        }
    }
    if (status == VL2_OK) {
        *orientation = orientation_of(demux);
        *out = picture;
    } else {
        vl2_picture_free(picture);
    }
    WebPDemuxDelete(demux);
    return status;
}
