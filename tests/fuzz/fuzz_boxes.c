/* Any text as a model's answer: its boxes lie within the picture, in order, with labels of the text. */
#include "fuzz/fuzz.h"
#include "vl2/vl2.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vl2_box *boxes = NULL;
    size_t n = 0;
    if (vl2_boxes_parse(&boxes, &n, (const char *)data, size, 0, 640, 480, NULL) != VL2_OK)
        __builtin_trap();
    for (size_t i = 0; i < n; i++) {
        const int *b = boxes[i].box;
        if (b[0] < 0 || b[1] < 0 || b[0] > b[2] || b[1] > b[3] || b[2] > 640 || b[3] > 480 ||
            strlen(boxes[i].label) > size)
            __builtin_trap();
    }
    vl2_free(boxes);
    return 0;
}
