/* Products of rows of bytes. Plain C against double, on the values that bytes and scales stand for; every
 * level against plain C bit for bit, as backend/cpu/bytes.h says. */
#include "kernels/check.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LDY_MARGIN = 5 };

typedef struct product {
    const vl2_bytes *bytes, *plain;
    size_t m, n, k, kp;
    float *x, *rest, *rest_plain;
    void *xp;
    uint8_t *xp_plain;
    vl2_bytes_row *rows, *rows_plain;
    bool *sparse;
    float *scale;
    int32_t *sum;
    int8_t *q;
} product;

static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, vl2_bytes_up(bytes + 1, 64));
    if (!p) abort();
    memset(p, 0x5a, bytes);
    return p;
}

/* Rows on both sides of 0, on one, with an outlier, of zeros, tiny ones. */
static void fill_x(check *c, product *p, int how) {
    check_fill(c, p->x, p->m * p->k, how == 3 ? 1 : how == 2 ? 2 : 0);
    for (size_t i = 0; i < p->m; i++) {
        float *x = p->x + i * p->k;
        if (i % 5 == 1)
            for (size_t l = 0; l < p->k; l++) x[l] = fabsf(x[l]) * (i % 2 ? 1.0f : -1.0f);
        if (i % 5 == 2) x[i * 7 % p->k] *= i % 2 ? 300.0f : -70.0f;
        if (i % 5 == 3) memset(x, 0, p->k * sizeof *x);
        if (i % 5 == 4) x[p->k - 1] = 2.0f; /* the last one counts */
    }
}

static void fill_weights(check *c, product *p, int how) {
    for (size_t j = 0; j < p->n; j++) {
        p->scale[j] = (float)fabs(0.01 * check_random(c));
        p->sum[j] = 0;
        for (size_t l = 0; l < p->kp; l++) {
            double v = 127.4 * check_random(c);
            if (how == 1) v = v > 0 ? 127 : -127;
            const int8_t q = l < p->k ? (int8_t)lrint(v) : 0;
            const size_t strip = j / VL2_BYTES_STRIP * VL2_BYTES_STRIP;
            p->q[strip * p->kp + l / 4 * 4 * VL2_BYTES_STRIP + (j - strip) * 4 + l % 4] = q;
            p->sum[j] += q;
        }
    }
}

static product make(check *c, size_t m, size_t n, size_t k, int how) {
    product p = {.bytes = &c->k->bytes, .plain = &c->plain->bytes, .m = m, .n = n, .k = k};
    p.kp = vl2_bytes_up(k, VL2_BYTES_STEP);
    p.x = memory(m * k * sizeof *p.x);
    p.rest = memory(m * k * sizeof *p.rest);
    p.rest_plain = memory(m * k * sizeof *p.rest);
    p.xp = memory(m * p.kp * p.bytes->x_bytes);
    p.xp_plain = memory(m * p.kp);
    p.rows = memory(m * sizeof *p.rows);
    p.rows_plain = memory(m * sizeof *p.rows);
    p.sparse = memory(m * sizeof *p.sparse);
    p.scale = memory(n * sizeof *p.scale);
    p.sum = memory(n * sizeof *p.sum);
    p.q = memory(n * p.kp);
    fill_x(c, &p, how);
    fill_weights(c, &p, how);
    return p;
}

static void drop(product *p) {
    void *const all[] = {p->x,          p->rest,   p->rest_plain, p->xp,  p->xp_plain, p->rows,
                         p->rows_plain, p->sparse, p->scale,      p->sum, p->q};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Packs all rows; what is left of each is near 0, and sparse rows are those that the header says. */
static void check_packing(check *c, product *p) {
    bool near = true, same = true, right = true;
    for (size_t i = 0; i < p->m; i++) {
        const float *x = p->x + i * p->k;
        float *rest = p->rest + i * p->k, *plain = p->rest_plain + i * p->k;
        const bool sparse = p->bytes->pack((char *)p->xp + i * p->kp * p->bytes->x_bytes,
                                           &p->rows[i], rest, x, p->k);
        p->sparse[i] = p->plain->pack(p->xp_plain + i * p->kp, &p->rows_plain[i], plain, x, p->k);
        const vl2_bytes_row row = p->rows_plain[i];
        const uint8_t *q = p->xp_plain + i * p->kp;
        double squares = 0;
        for (size_t l = 0; l < p->k && row.d > 0; l++) {
            const double left = x[l] - (double)row.d * (q[l] - row.zero);
            near &=
                fabs(left) <= 0.51 * (double)row.d && fabs(left - plain[l]) <= 1e-4 * (double)row.d;
            squares += (double)(q[l] - row.zero) * (q[l] - row.zero);
        }
        const double crest = 255 / sqrt(squares / (double)p->k);
        if (row.d > 0) right &= p->sparse[i] == (crest > VL2_BYTES_CREST);
        if (row.d > 0) same &= memcmp(rest, plain, p->k * sizeof *rest) == 0;
        same &= sparse == p->sparse[i] && memcmp(&p->rows[i], &row, sizeof row) == 0;
    }
    check_that(c, near, "packed x is not near x, k %zu", p->k);
    check_that(c, right, "rows with outliers, k %zu", p->k);
    check_that(c, same, "packed rows, k %zu", p->k);
}

/* Output (i, j) in double. */
static bool near_exact(const product *p, size_t i, size_t j, float y) {
    const size_t lane = j % VL2_BYTES_STRIP;
    const int8_t *w = p->q + (j - lane) * p->kp + 4 * lane;
    const uint8_t *x = p->xp_plain + i * p->kp;
    double sum = 0;
    for (size_t l = 0; l < p->k; l++)
        sum += (x[l] - p->rows_plain[i].zero) * (double)w[l / 4 * 4 * VL2_BYTES_STRIP + l % 4];
    sum *= (double)p->rows_plain[i].d * (double)p->scale[j];
    return fabs(sum - y) <= 4 * FLT_EPSILON * fabs(sum) + 1e-37;
}

static void check_product(check *c, const product *p, size_t first) {
    const size_t n = p->n - first, ldy = n + LDY_MARGIN, size = p->m * ldy;
    const vl2_bytes_w w = {p->scale, p->sum, p->q, p->kp};
    float *expected = check_guarded(size), *y = check_guarded(size);
    p->plain->product(expected, ldy, p->xp_plain, p->rows_plain, p->m, &w, first, n);
    p->bytes->product(y, ldy, p->xp, p->rows, p->m, &w, first, n);
    bool near = true, same = true, kept = check_intact(y, size);
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < n; j++) near &= near_exact(p, i, first + j, expected[i * ldy + j]);
        for (size_t j = n; j < ldy; j++) kept &= y[i * ldy + j] == y[-1];
        same &= memcmp(y + i * ldy, expected + i * ldy, n * sizeof *y) == 0;
    }
    check_that(c, near, "plain C, m %zu n %zu k %zu", p->m, n, p->k);
    check_that(c, same, "m %zu n %zu k %zu from %zu", p->m, n, p->k, first);
    check_that(c, kept, "writes past its outputs, m %zu n %zu", p->m, n);
    check_free(expected);
    check_free(y);
}

/* An infinity or NaN in a row makes its products NaN, and those of no other row. */
static void check_not_finite(check *c, float bad) {
    product p = make(c, 2, 16, 70, 0);
    float y[2 * 16];
    p.x[69] = bad;
    for (size_t i = 0; i < 2; i++)
        p.bytes->pack((char *)p.xp + i * p.kp * p.bytes->x_bytes, &p.rows[i], p.rest, p.x + i * p.k,
                      p.k);
    const vl2_bytes_w w = {p.scale, p.sum, p.q, p.kp};
    p.bytes->product(y, 16, p.xp, p.rows, 2, &w, 0, 16);
    check_that(c, isnan(y[0]) && isnan(y[15]) && isfinite(y[16]) && isfinite(y[31]),
               "%g in a row of x", (double)bad);
    drop(&p);
}

void check_bytes(check *c) {
    static const size_t rows[] = {1, 2, 3, 4, 6, 13, 16, 17, 32, 39, 96};
    static const size_t outputs[] = {16, 32, 48, 64, 112};
    static const size_t lengths[] = {1, 4, 63, 64, 65, 130, 588, 1152, 1153, 4304};
    check_start(c, "bytes");
    for (size_t a = 0; a < sizeof rows / sizeof *rows; a++)
        for (size_t b = 0; b < sizeof lengths / sizeof *lengths; b++) {
            const size_t n = outputs[(a + b) % (sizeof outputs / sizeof *outputs)];
            product p = make(c, rows[a], n, lengths[b], (int)((a + b) % CHECK_PATTERNS));
            check_packing(c, &p);
            check_product(c, &p, 0);
            if (n > 16) check_product(c, &p, 16);
            drop(&p);
        }
    check_not_finite(c, INFINITY);
    check_not_finite(c, -INFINITY);
    check_not_finite(c, NAN);
}
