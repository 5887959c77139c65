#include "sample/exp.h"

#include <stdint.h>

/* 2^n, n from -1022 to 0. */
static double power_of_2(int n) {
    union {
        uint64_t bits;
        double value;
    } power = {(uint64_t)(n + 1023) << 52};
    return power.value;
}

double vl2_exp(double x) {
    static const double log2_e = 1.4426950408889634;
    static const double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    if (!(x >= -708)) return 0;
    int n = (int)(x * log2_e - 0.5); /* nearest, for x <= 0 */
    double r = x - n * ln2_high - n * ln2_low;
    /* Taylor's series, |r| <= ln(2) / 2: the first term left out is below 2^-57. */
    double sum = 1.0 / 6227020800;
    sum = sum * r + 1.0 / 479001600;
    sum = sum * r + 1.0 / 39916800;
    sum = sum * r + 1.0 / 3628800;
    sum = sum * r + 1.0 / 362880;
    sum = sum * r + 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 0.5;
    sum = sum * r + 1;
    sum = sum * r + 1;
    return sum * power_of_2(n);
}
