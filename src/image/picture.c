#include "image/picture.h"

#include "base/abi.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"

#include <stdatomic.h>
#include <string.h>

struct vl2_picture {
    atomic_size_t references;
    size_t width, height;
    uint8_t *rgb; /* [height, width, 3] */
};

vl2_status vl2_picture_check_size(uint64_t width, uint64_t height, uint64_t max_pixels,
                                  const char *name, vl2_error *err) {
    unsigned long long w = width, h = height;
    if (width == 0 || height == 0)
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: the picture is empty (%llu x %llu pixels)", name,
                        w, h);
    if (width > VL2_PICTURE_MAX_SIDE || height > VL2_PICTURE_MAX_SIDE ||
        width * height > max_pixels)
        return vl2_fail(err, VL2_ERR_LIMIT,
                        "%s: %llu x %llu pixels are over the limit of %llu (max_pixels)", name, w,
                        h, (unsigned long long)max_pixels);
    return VL2_OK;
}

vl2_status vl2_picture_create(vl2_picture **out, size_t width, size_t height, vl2_error *err) {
    size_t pixels, bytes;
    if (width == 0 || height == 0)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "a picture of %zu x %zu pixels is empty", width,
                        height);
    if (width > VL2_PICTURE_MAX_SIDE || height > VL2_PICTURE_MAX_SIDE ||
        !vl2_mul(&pixels, width, height) || !vl2_mul(&bytes, pixels, 3))
        return vl2_fail(err, VL2_ERR_LIMIT, "a picture of %zu x %zu pixels is too large", width,
                        height);
    vl2_picture *picture = vl2_mem_calloc(1, sizeof *picture);
    uint8_t *rgb = vl2_mem_calloc(pixels, 3);
    if (!picture || !rgb) {
        vl2_mem_free(picture);
        vl2_mem_free(rgb);
        return vl2_fail_memory(err, "a picture", bytes);
    }
    atomic_init(&picture->references, 1);
    picture->width = width;
    picture->height = height;
    picture->rgb = rgb;
    *out = picture;
    return VL2_OK;
}

uint8_t *vl2_picture_row(vl2_picture *picture, size_t y) {
    return picture->rgb + y * picture->width * 3;
}

vl2_status vl2_picture_from_rgb(vl2_picture **out, const uint8_t *rgb, size_t width, size_t height,
                                vl2_error *err) {
    VL2_TRY(vl2_picture_create(out, width, height, err));
    memcpy((*out)->rgb, rgb, width * height * 3);
    return VL2_OK;
}

void vl2_picture_options_init(vl2_picture_options *options) {
    *options = (vl2_picture_options){.struct_size = sizeof *options,
                                     .max_file_bytes = (size_t)256 << 20,
                                     .max_pixels = 200000000};
}

vl2_status vl2_picture_open(vl2_picture **out, const char *path, const vl2_picture_options *options,
                            vl2_error *err) {
    vl2_picture_options given;
    vl2_picture_options_init(&given);
    VL2_TRY(vl2_abi_copy(&given, sizeof given, options, "vl2_picture_options", err));
    if (!path || !*path) return vl2_fail(err, VL2_ERR_ARGUMENT, "a picture's path is empty");
    char *bytes = NULL;
    size_t size = 0;
    VL2_TRY(vl2_file_read(&bytes, &size, path, given.max_file_bytes, err));
    vl2_status status = vl2_picture_decode(out, bytes, size, path, &given, err);
    vl2_mem_free(bytes);
    return status;
}

/* The count is the one thing that changes in a shared picture. */
static vl2_picture *counted(const vl2_picture *picture) {
    return (vl2_picture *)(uintptr_t)picture;
}

vl2_picture *vl2_picture_retain(const vl2_picture *picture) {
    atomic_fetch_add_explicit(&counted(picture)->references, 1, memory_order_relaxed);
    return counted(picture);
}

void vl2_picture_free(const vl2_picture *picture) {
    vl2_picture *last = counted(picture);
    if (!last || atomic_fetch_sub_explicit(&last->references, 1, memory_order_acq_rel) != 1) return;
    vl2_mem_free(last->rgb);
    vl2_mem_free(last);
}

size_t vl2_picture_width(const vl2_picture *picture) { return picture->width; }
size_t vl2_picture_height(const vl2_picture *picture) { return picture->height; }
const uint8_t *vl2_picture_rgb(const vl2_picture *picture) { return picture->rgb; }

void vl2_picture_sha256(const vl2_picture *picture, uint8_t out[32]) {
    const uint64_t sides[2] = {picture->width, picture->height};
    uint8_t head[16]; /* little-endian, so that a key means the same on every machine */
    for (size_t i = 0; i < sizeof head; i++) head[i] = (uint8_t)(sides[i / 8] >> (i % 8 * 8));
    vl2_sha256 hash;
    vl2_sha256_init(&hash);
    vl2_sha256_add(&hash, head, sizeof head);
    vl2_sha256_add(&hash, picture->rgb, picture->width * picture->height * 3);
    vl2_sha256_end(&hash, out);
}
