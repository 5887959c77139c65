/* Any bytes as a picture: decoded within small limits, or refused. */
#include "fuzz/fuzz.h"
#include "vl2/vl2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vl2_picture_options options;
    vl2_picture_options_init(&options);
    options.max_pixels = 1 << 20;
    options.apply_exif = true;
    vl2_picture *picture = NULL;
    vl2_error err = {0};
    const vl2_status status = vl2_picture_decode(&picture, data, size, "fuzz", &options, &err);
    if ((status == VL2_OK) != (picture != NULL) || status != err.status) __builtin_trap();
    if (!picture) return 0;
    uint8_t digest[32];
    vl2_picture_sha256(picture, digest); /* reads every pixel */
    vl2_picture_free(picture);
    return 0;
}
