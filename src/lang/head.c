#include "lang/head.h"

#include <string.h>

static bool lie_together(float *const *out, size_t m, size_t width) {
    for (size_t i = 1; i < m; i++) {
        if (out[i] != out[i - 1] + width) return false;
    }
    return true;
}

static void product(vl2_backend *be, float *out, const float *normed, size_t m,
                    const vl2_mat *head) {
    const vl2_vec none = {0};
    be->ops->linear(be, out, head->rows, normed, head->cols, m, head, &none, VL2_EPI_NONE, false);
}

void vl2_head_forward(vl2_backend *be, float *const *out, const float *normed, size_t m,
                      const vl2_mat *head, float *staging, size_t staged_rows) {
    const size_t v = head->rows, d = head->cols;
    if (lie_together(out, m, v)) {
        if (m) product(be, out[0], normed, m, head);
        return;
    }
    for (size_t i = 0; i < m; i += staged_rows) {
        const size_t n = m - i < staged_rows ? m - i : staged_rows;
        product(be, staging, normed + i * d, n, head);
        for (size_t j = 0; j < n; j++) memcpy(out[i + j], staging + j * v, v * sizeof(float));
    }
}
