#include "model/quantize.h"

#include "model/quant.h"

#include <math.h>
#include <string.h>

/* ---- sums that a compiler can keep in vectors --------------------------------------------------- */

enum { LANES = 8, SUB = 32 };

static float total(const float lanes[LANES]) {
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
           ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/* Nearest whole number, ties to even, for |x| < 2^22; beyond that still near. */
static float nearest(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: what is behind the point does not fit */
    return (x + magic) - magic;
}

static float clamp(float x, float low, float high) { return x < low ? low : (x > high ? high : x); }

static float greatest_size(const float *x, int n) {
    float most = 0;
    for (int i = 0; i < n; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

/* A half-precision number, as the file will have it. */
static float as_half(float x) { return vl2_f16_to_f32(vl2_f32_to_f16(clamp(x, -65504, 65504))); }

/* ---- scales around zero: x ~ d * q, low <= q <= high --------------------------------------------- */

typedef struct levels {
    float low, high;
} levels;

static void sums_of(float *xq, float *qq, const float *x, int n, float inverse, levels l) {
    float a[LANES] = {0}, b[LANES] = {0};
    for (int i = 0; i < n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float q = clamp(nearest(x[i + j] * inverse), l.low, l.high);
            a[j] += q * x[i + j];
            b[j] += q * q;
        }
    }
    *xq = total(a);
    *qq = total(b);
}

/* The d of least squared error among candidates near the one that just covers the greatest number;
 * the greatest goes to the end of the levels that reaches further. 0 for a block of zeros. */
static float search_scale(const float *x, int n, levels l, int steps) {
    float most = 0, best = 0, gain = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(most)) most = x[i];
    if (fabsf(most) < 1e-30f) return 0;
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int step = -steps; step <= steps; step++) {
            float xq, qq, inverse = (float)sign * (l.low - 0.15f * (float)step) / most;
            sums_of(&xq, &qq, x, n, inverse, l);
            if (qq > 0 && xq * xq > gain * qq) { /* error = sum x^2 - xq^2 / qq */
                gain = xq * xq / qq;
                best = xq / qq;
            }
        }
    }
    return best;
}

static int level(float x, float d, levels l) {
    return d == 0 ? 0 : (int)clamp(nearest(x / d), l.low, l.high);
}

/* Whole numbers up to 127 for d, and what they leave of x. */
static float round_bytes(int8_t *q, const float *x, float d) {
    static const levels l = {-127, 127};
    float e = 0;
    for (int i = 0; i < SUB; i++) {
        q[i] = (int8_t)level(x[i], d, l);
        float r = d * (float)q[i] - x[i];
        e += r * r;
    }
    return e;
}

/* Of the halves on both sides of max / 127, the better one: the lower cuts the greatest numbers. */
static void q8_0(vl2_q8_0 *out, const float *x) {
    float most = greatest_size(x, SUB), d = as_half(most / 127);
    float next = as_half(d * 1.0009765625f + 0x1p-24f);
    int8_t other[SUB];
    float e = round_bytes(out->q, x, d);
    if (d * 127 < most && round_bytes(other, x, next) < e) {
        memcpy(out->q, other, sizeof other);
        d = next;
    }
    vl2_quant_set_half(out->d, d);
}

static void q4_0(vl2_q4_0 *out, const float *x) {
    static const levels l = {-8, 7};
    float d = as_half(search_scale(x, SUB, l, 7));
    vl2_quant_set_half(out->d, d);
    for (int i = 0; i < 16; i++)
        out->qs[i] = (uint8_t)((level(x[i], d, l) + 8) | (level(x[i + 16], d, l) + 8) << 4);
}

static void q5_0(vl2_q5_0 *out, const float *x) {
    static const levels l = {-16, 15};
    float d = as_half(search_scale(x, SUB, l, 7));
    vl2_quant_set_half(out->d, d);
    uint32_t high = 0;
    for (int i = 0; i < 16; i++) {
        int a = level(x[i], d, l) + 16, b = level(x[i + 16], d, l) + 16;
        out->qs[i] = (uint8_t)((a & 15) | (b & 15) << 4);
        high |= (uint32_t)(a >> 4) << i | (uint32_t)(b >> 4) << (i + 16);
    }
    for (int i = 0; i < 4; i++) out->qh[i] = (uint8_t)(high >> 8 * i);
}

/* ---- IQ4_NL: levels that are not evenly spaced -------------------------------------------------- */

/* The nearest value to each x * inverse, as floats: a step up for each border that lies below. */
static void nearest_values(float *q, const float *x, float inverse) {
    for (int i = 0; i < SUB; i++) q[i] = (float)vl2_quant_nl[0];
    for (int k = 0; k < 15; k++) {
        const float border = 0.5f * (float)(vl2_quant_nl[k] + vl2_quant_nl[k + 1]);
        const float step = (float)(vl2_quant_nl[k + 1] - vl2_quant_nl[k]);
        for (int i = 0; i < SUB; i++) q[i] += x[i] * inverse > border ? step : 0.0f;
    }
}

static int index_of_value(float value) {
    int index = 0;
    while (index < 15 && (float)vl2_quant_nl[index] < value) index++;
    return index;
}

static float search_nl(const float *x) {
    float most = 0, best = 0, gain = 0;
    for (int i = 0; i < SUB; i++)
        if (fabsf(x[i]) > fabsf(most)) most = x[i];
    if (fabsf(most) < 1e-30f) return 0;
    for (int sign = -1; sign <= 1; sign += 2) {
        for (int step = -5; step <= 5; step++) {
            float q[SUB], a[LANES] = {0}, b[LANES] = {0};
            nearest_values(q, x,
                           (float)sign * ((float)vl2_quant_nl[0] + 3.2f * (float)step) / most);
            for (int i = 0; i < SUB; i += LANES) {
                for (int j = 0; j < LANES; j++) {
                    a[j] += q[i + j] * x[i + j];
                    b[j] += q[i + j] * q[i + j];
                }
            }
            float xq = total(a), qq = total(b);
            if (qq > 0 && xq * xq > gain * qq) {
                gain = xq * xq / qq;
                best = xq / qq;
            }
        }
    }
    return best;
}

static void iq4_nl(vl2_q4_0 *out, const float *x) {
    float d = as_half(search_nl(x)), inverse = d == 0 ? 0 : 1 / d, q[SUB];
    vl2_quant_set_half(out->d, d);
    nearest_values(q, x, inverse);
    for (int i = 0; i < 16; i++)
        out->qs[i] = (uint8_t)(index_of_value(q[i]) | index_of_value(q[i + 16]) << 4);
}

/* ---- Q4_K, Q5_K: x ~ scale * q - min, 0 <= q <= top ---------------------------------------------- */

typedef struct affine {
    float scale, min; /* both at least 0 */
} affine;

static float affine_error(const float *x, affine a, float top) {
    float e[LANES] = {0}, inverse = a.scale > 0 ? 1 / a.scale : 0;
    for (int i = 0; i < SUB; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float q = clamp(nearest((x[i + j] + a.min) * inverse), 0, top);
            float d = a.scale * q - a.min - x[i + j];
            e[j] += d * d;
        }
    }
    return total(e);
}

/* The least-squares line through the points (q, x) that rounding with `a` gives. */
static affine fit(const float *x, affine a, float top) {
    float sq[LANES] = {0}, sqq[LANES] = {0}, sx[LANES] = {0}, sxq[LANES] = {0};
    float inverse = 1 / a.scale;
    for (int i = 0; i < SUB; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float v = x[i + j], q = clamp(nearest((v + a.min) * inverse), 0, top);
            sq[j] += q;
            sqq[j] += q * q;
            sx[j] += v;
            sxq[j] += v * q;
        }
    }
    float n = SUB, q = total(sq), qq = total(sqq), v = total(sx), vq = total(sxq);
    float det = n * qq - q * q;
    if (det <= 0) return a;
    affine line = {(n * vq - q * v) / det, -(qq * v - q * vq) / det};
    if (line.min < 0) line = (affine){qq > 0 ? vq / qq : 0, 0};
    return line.scale > 0 ? line : a;
}

static affine search_affine(const float *x, float top) {
    float low = 0, high = 0;
    for (int i = 0; i < SUB; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (high - low < 1e-30f) return (affine){0, 0};
    affine best = {(high - low) / top, -low};
    float least = affine_error(x, best, top);
    for (int step = -4; step <= 8; step += 2) {
        affine start = {(high - low) / (top + 0.2f * (float)step), -low};
        affine line = fit(x, start, top);
        float e = affine_error(x, line, top);
        if (e < least) {
            least = e;
            best = line;
        }
    }
    return fit(x, best, top);
}

typedef struct super { /* of a super-block with least values */
    float d, dmin;
    int scale[8], min[8];
} super;

/* Around the rounded scale and least value, the pair of whole numbers with the least error. */
static void settle(super *s, int j, const float *x, affine wanted, float top) {
    int scale = s->d > 0 ? (int)nearest(wanted.scale / s->d) : 0;
    int min = s->dmin > 0 ? (int)nearest(wanted.min / s->dmin) : 0;
    float least = INFINITY;
    for (int a = scale - 1; a <= scale + 1; a++) {
        for (int b = min - 1; b <= min + 1; b++) {
            if (a < 0 || a > 63 || b < 0 || b > 63) continue;
            affine tried = {s->d * (float)a, s->dmin * (float)b};
            float e = affine_error(x, tried, top);
            if (e < least) {
                least = e;
                s->scale[j] = a;
                s->min[j] = b;
            }
        }
    }
}

/* d and dmin that fit the rounded q best, scales and least values as they are. */
static void refit(super *s, const float *x, float top) {
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int i = 0; i < VL2_QUANT_SUPER; i++) {
        float scale = s->d * (float)s->scale[i / SUB], min = s->dmin * (float)s->min[i / SUB];
        float q = scale > 0 ? clamp(nearest((x[i] + min) / scale), 0, top) : 0;
        double a = (double)q * s->scale[i / SUB], b = -(double)s->min[i / SUB];
        aa += a * a;
        ab += a * b;
        bb += b * b;
        xa += (double)x[i] * a;
        xb += (double)x[i] * b;
    }
    double det = aa * bb - ab * ab;
    if (det <= 1e-9 * aa * bb || det <= 0) return;
    double d = (xa * bb - xb * ab) / det, dmin = (xb * aa - xa * ab) / det;
    if (d > 0 && dmin >= 0) {
        s->d = as_half((float)d);
        s->dmin = as_half((float)dmin);
    }
}

static double super_error(const super *s, const float *x, float top) {
    double e = 0;
    for (int j = 0; j < 8; j++) {
        affine a = {s->d * (float)s->scale[j], s->dmin * (float)s->min[j]};
        e += affine_error(x + j * SUB, a, top);
    }
    return e;
}

static super search_super(const float *x, float top) {
    affine wanted[8];
    float scale = 0, min = 0;
    for (int j = 0; j < 8; j++) {
        wanted[j] = search_affine(x + j * SUB, top);
        scale = wanted[j].scale > scale ? wanted[j].scale : scale;
        min = wanted[j].min > min ? wanted[j].min : min;
    }
    super best = {.d = as_half(scale / 63), .dmin = as_half(min / 63)};
    for (int j = 0; j < 8; j++) settle(&best, j, x + j * SUB, wanted[j], top);
    super next = best;
    refit(&next, x, top);
    for (int j = 0; j < 8; j++) settle(&next, j, x + j * SUB, wanted[j], top);
    return super_error(&next, x, top) < super_error(&best, x, top) ? next : best;
}

static void pack_scales(uint8_t out[12], const super *s) {
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(s->scale[j] | s->scale[j + 4] >> 4 << 6);
        out[j + 4] = (uint8_t)(s->min[j] | s->min[j + 4] >> 4 << 6);
        out[j + 8] = (uint8_t)((s->scale[j + 4] & 15) | (s->min[j + 4] & 15) << 4);
    }
}

static void round_super(uint8_t q[VL2_QUANT_SUPER], const super *s, const float *x, float top) {
    for (int i = 0; i < VL2_QUANT_SUPER; i++) {
        float scale = s->d * (float)s->scale[i / SUB], min = s->dmin * (float)s->min[i / SUB];
        q[i] = scale > 0 ? (uint8_t)clamp(nearest((x[i] + min) * (1 / scale)), 0, top) : 0;
    }
}

static void q4_k(vl2_q4_k *out, const float *x) {
    uint8_t q[VL2_QUANT_SUPER];
    super s = search_super(x, 15);
    round_super(q, &s, x, 15);
    vl2_quant_set_half(out->d, s.d);
    vl2_quant_set_half(out->dmin, s.dmin);
    pack_scales(out->scales, &s);
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        out->qs[i] = (uint8_t)(q[at] | q[at + 32] << 4);
    }
}

static void q5_k(vl2_q5_k *out, const float *x) {
    uint8_t q[VL2_QUANT_SUPER];
    super s = search_super(x, 31);
    round_super(q, &s, x, 31);
    vl2_quant_set_half(out->d, s.d);
    vl2_quant_set_half(out->dmin, s.dmin);
    pack_scales(out->scales, &s);
    memset(out->qh, 0, sizeof out->qh);
    for (int i = 0; i < VL2_QUANT_SUPER; i++) out->qh[i % 32] |= (uint8_t)(q[i] >> 4 << i / 32);
    for (int i = 0; i < 128; i++) {
        int at = i / 32 * 64 + i % 32;
        out->qs[i] = (uint8_t)((q[at] & 15) | (q[at + 32] & 15) << 4);
    }
}

/* ---- Q6_K: sub-blocks of 16 around zero ---------------------------------------------------------- */

enum { SMALL = 16 };

static float scaled_error(const float *x, float d, levels l) {
    float e[LANES] = {0}, inverse = d != 0 ? 1 / d : 0;
    for (int i = 0; i < SMALL; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float r = d * clamp(nearest(x[i + j] * inverse), l.low, l.high) - x[i + j];
            e[j] += r * r;
        }
    }
    return total(e);
}

static int settle_scale(const float *x, float d, float wanted, levels l) {
    int start = d != 0 ? (int)nearest(wanted / d) : 0, best = 0;
    float least = INFINITY;
    for (int a = start - 1; a <= start + 1; a++) {
        if (a < -128 || a > 127) continue;
        float e = scaled_error(x, d * (float)a, l);
        if (e < least) {
            least = e;
            best = a;
        }
    }
    return best;
}

static void q6_k(vl2_q6_k *out, const float *x) {
    static const levels l = {-32, 31};
    float wanted[16], most = 0;
    for (int j = 0; j < 16; j++) {
        wanted[j] = search_scale(x + j * SMALL, SMALL, l, 6);
        if (fabsf(wanted[j]) > fabsf(most)) most = wanted[j];
    }
    float d = as_half(most / -128);
    memset(out, 0, sizeof *out);
    vl2_quant_set_half(out->d, d);
    for (int j = 0; j < 16; j++)
        out->scales[j] = (int8_t)settle_scale(x + j * SMALL, d, wanted[j], l);
    for (int i = 0; i < VL2_QUANT_SUPER; i++) {
        int half = i / 128, run = i / 32 % 4, at = i % 32;
        int q = level(x[i], d * (float)out->scales[i / 16], l) + 32;
        out->ql[64 * half + run % 2 * 32 + at] |= (uint8_t)((q & 15) << run / 2 * 4);
        out->qh[32 * half + at] |= (uint8_t)(q >> 4 << 2 * run);
    }
}

/* ---- rows ------------------------------------------------------------------------------------- */

/* What is no number, or no half can scale, would spoil its whole block. */
static void tame(float *out, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = isfinite(x[i]) ? clamp(x[i], -65504.0f, 65504.0f) : 0;
}

static void quantize_block(void *out, const float *x, vl2_dtype type) {
    if (type == VL2_Q8_0) q8_0(out, x);
    if (type == VL2_Q4_0) q4_0(out, x);
    if (type == VL2_Q5_0) q5_0(out, x);
    if (type == VL2_IQ4_NL) iq4_nl(out, x);
    if (type == VL2_Q4_K) q4_k(out, x);
    if (type == VL2_Q5_K) q5_k(out, x);
    if (type == VL2_Q6_K) q6_k(out, x);
}

bool vl2_quantize_can(vl2_dtype type) {
    return vl2_dtype_is_quantized(type) && type != VL2_Q4_1 && type != VL2_Q5_1;
}

void vl2_quantize_row(void *row, const float *x, vl2_dtype type, size_t n) {
    const vl2_dtype_traits *t = vl2_dtype_of(type);
    float block[VL2_QUANT_SUPER];
    for (size_t i = 0; i < n / t->block; i++) {
        tame(block, x + i * t->block, t->block);
        quantize_block((char *)row + i * t->block_bytes, block, type);
    }
}
