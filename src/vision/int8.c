#include "vision/int8.h"

#include "base/mem.h"

enum { MATRICES = 4 };

static vl2_mat *matrix(vl2_vision_block *b, size_t i) {
    vl2_mat *const all[MATRICES] = {&b->qkv.w, &b->proj.w, &b->fc1.w, &b->fc2.w};
    return all[i % MATRICES];
}

static size_t room_of(const vl2_backend *be, const vl2_mat *w) {
    return (be->ops->int8_bytes(w) + VL2_ALIGN - 1) / VL2_ALIGN * VL2_ALIGN;
}

size_t vl2_int8_plan(const vl2_backend *be, const vl2_vision_weights *w, size_t layers) {
    size_t bytes = 0;
    for (size_t i = 0; i < layers * MATRICES; i++)
        bytes += room_of(be, matrix(&w->blocks[i / MATRICES], i));
    return bytes;
}

void vl2_int8_make(vl2_backend *be, vl2_vision_weights *w, size_t layers, void *memory) {
    char *at = memory;
    for (size_t i = 0; i < layers * MATRICES; i++) {
        vl2_mat *mat = matrix(&w->blocks[i / MATRICES], i);
        const vl2_mat from = *mat;
        const size_t bytes = room_of(be, &from);
        if (bytes) be->ops->to_int8(be, mat, at, &from);
        at += bytes;
    }
}
