/* tests/kernels/check.h - every kernel of a CPU level against plain C and against double.
 *
 * check_level runs all cases of one table and counts; check_fault proves that the checks see a
 * planted error. Failures name the kernel and its case, so that it can be run alone. */
#ifndef VL2_TESTS_KERNELS_CHECK_H
#define VL2_TESTS_KERNELS_CHECK_H

#include "backend/cpu/kernels.h"

typedef struct check {
    const char *level;
    const vl2_kernels *plain, *k;
    size_t checks, failures;
    bool quiet;
    uint64_t seed;
} check;

/* What runs now, for the handler of SIGILL and SIGSEGV. */
extern const char *check_current;

void check_start(check *c, const char *kernel);
/* Counts one comparison; says what differs unless quiet. */
void check_that(check *c, bool ok, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

double check_random(check *c);                            /* -1 … 1 */
void check_fill(check *c, float *out, size_t n, int how); /* values of pattern `how` */
enum { CHECK_PATTERNS = 4 };                              /* usual, denormals, huge, signed zeros */

/* n floats with poisoned margins on both sides; check_margins counts whether they are intact. */
enum { CHECK_MARGIN = 64 };
float *check_guarded(size_t n);
bool check_intact(const float *p, size_t n);
void check_free(float *p);

void check_dots(check *c);      /* pack, packed, direct, outer, widen, transpose */
void check_tiles(check *c);     /* products of the levels that have them */
void check_attend(check *c);    /* attention by tiles, likewise */
void check_rows(check *c);      /* epilogues, norms, rope, softmax and the rest */
void check_quantized(check *c); /* products with quantized weights */
void check_bytes(check *c);     /* products of rows of bytes */
void bench_level(const vl2_kernels *k);

#endif
