#include "lang/rope.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

size_t vl2_rope_half(const vl2_language_config *lang) {
    return (lang->use_mla ? lang->rope_dim : lang->head_dim) / 2;
}

/* m(x) of docs/MODEL.md §7 */
static double yarn_magnitude(double factor, double mscale) {
    return factor > 1.0 ? 0.1 * mscale * log(factor) + 1.0 : 1.0;
}

/* c(r): the pair that turns r times within the original context. */
static double yarn_pair_of(const vl2_rope_config *rope, double dims, double turns) {
    return dims * log(rope->yarn_original / (2.0 * pi * turns)) / (2.0 * log(rope->theta));
}

/* Slow pairs are stretched by the factor, fast ones kept, a ramp between. */
static void yarn(double *frequency, const vl2_rope_config *rope, size_t half) {
    const double dims = 2.0 * (double)half;
    const double low = fmax(floor(yarn_pair_of(rope, dims, rope->yarn_beta_fast)), 0.0);
    double high = fmin(ceil(yarn_pair_of(rope, dims, rope->yarn_beta_slow)), dims - 1.0);
    if (high == low) high += 0.001;
    for (size_t i = 0; i < half; i++) {
        const double ramp = fmin(fmax(((double)i - low) / (high - low), 0.0), 1.0);
        frequency[i] = frequency[i] / rope->factor * ramp + frequency[i] * (1.0 - ramp);
    }
}

static double dynamic_theta(const vl2_rope_config *rope, size_t half, size_t length) {
    if (length <= rope->max_positions) return rope->theta;
    const double dims = 2.0 * (double)half, ratio = (double)length / (double)rope->max_positions;
    return rope->theta * pow(rope->factor * ratio - (rope->factor - 1.0), dims / (dims - 2.0));
}

void vl2_rope_frequencies(double *frequency, const vl2_language_config *lang, size_t length) {
    const vl2_rope_config *rope = &lang->rope;
    const size_t half = vl2_rope_half(lang);
    const double theta =
        rope->type == VL2_ROPE_DYNAMIC ? dynamic_theta(rope, half, length) : rope->theta;
    const double divisor = rope->type == VL2_ROPE_LINEAR ? rope->factor : 1.0;
    for (size_t i = 0; i < half; i++) {
        frequency[i] = pow(theta, -(double)i / (double)half) / divisor;
    }
    if (rope->type == VL2_ROPE_YARN) yarn(frequency, rope, half);
}

void vl2_rope_rows(float *cos_rows, float *sin_rows, const vl2_language_config *lang,
                   const double *frequency, size_t first, size_t n) {
    const vl2_rope_config *rope = &lang->rope;
    const size_t half = vl2_rope_half(lang);
    const double magnitude = rope->type == VL2_ROPE_YARN
                                 ? yarn_magnitude(rope->factor, rope->yarn_mscale) /
                                       yarn_magnitude(rope->factor, rope->yarn_mscale_all_dim)
                                 : 1.0;
    for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < half; i++) {
            const double angle = (double)(first + row) * frequency[i];
            cos_rows[row * half + i] = (float)(cos(angle) * magnitude);
            sin_rows[row * half + i] = (float)(sin(angle) * magnitude);
        }
    }
}
