/* Products of rows of bytes in plain C: the specification of backend/cpu/bytes.h. */
#include "backend/cpu/bytes_plain.h"
#include "backend/cpu/kernels.h"

static int32_t dot(const uint8_t *x, int32_t zero, const int8_t *w, size_t kp) {
    int32_t sum = 0;
    for (size_t i = 0; i < kp; i++) sum += (x[i] - zero) * w[i / 4 * 4 * VL2_BYTES_STRIP + i % 4];
    return sum;
}

static void product(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows, size_t m,
                    const vl2_bytes_w *w, size_t first, size_t n) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            const size_t output = first + j, lane = output % VL2_BYTES_STRIP;
            const int8_t *q = w->q + (output - lane) * w->kp + 4 * lane;
            const int32_t sum = dot((const uint8_t *)x + i * w->kp, rows[i].zero, q, w->kp);
            y[i * ldy + j] = (rows[i].d * w->scale[output]) * (float)sum;
        }
}

void vl2_bytes_c_fill(vl2_kernels *out) {
    out->bytes = (vl2_bytes){.x_bytes = 1, .pack = vl2_bytes_pack_plain, .product = product};
}
