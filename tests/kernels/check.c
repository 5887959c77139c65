#include "kernels/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *check_current = "nothing";

void check_start(check *c, const char *kernel) {
    (void)c;
    check_current = kernel;
}

void check_that(check *c, bool ok, const char *fmt, ...) {
    c->checks++;
    if (ok) return;
    if (c->failures++ >= 20 || c->quiet) return;
    va_list args;
    va_start(args, fmt);
    printf("%s %s: ", c->level, check_current);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

double check_random(check *c) { /* xorshift64* */
    c->seed ^= c->seed >> 12;
    c->seed ^= c->seed << 25;
    c->seed ^= c->seed >> 27;
    return (double)(int64_t)(c->seed * 2685821657736338717u) / 9223372036854775808.0;
}

void check_fill(check *c, float *out, size_t n, int how) {
    for (size_t i = 0; i < n; i++) {
        float x = (float)check_random(c);
        if (how == 1) x *= 1e-39f;
        if (how == 2) x *= 1e17f;
        if (how == 3) x = x > 0.3f ? x : x > 0 ? 0.0f : -0.0f;
        out[i] = x;
    }
}

static const float POISON = -12345.678f;

float *check_guarded(size_t n) {
    float *all = malloc((n + 2 * CHECK_MARGIN) * sizeof *all);
    if (!all) abort();
    for (size_t i = 0; i < n + 2 * CHECK_MARGIN; i++) all[i] = POISON;
    return all + CHECK_MARGIN;
}

bool check_intact(const float *p, size_t n) {
    for (size_t i = 0; i < CHECK_MARGIN; i++)
        if (p[(ptrdiff_t)i - CHECK_MARGIN] != POISON || p[n + i] != POISON) return false;
    return true;
}

void check_free(float *p) { free(p - CHECK_MARGIN); }
