/* check_kernels [--bench] [--seed N] - every kernel at every CPU level above plain C.
 *
 * Native levels that this machine has; and AVX-512 emulated on any x86 machine where SIMDe is
 * installed. Planted errors prove that the checks would see one. A run that checked nothing fails. */
#include "kernels/check.h"

#if defined(__aarch64__)
#include "backend/cpu/features.h"
#include "backend/cpu/peak_loops.h"
#endif

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(VL2_HAVE_EMULATED)
void emulated_dot_avx512_fill(vl2_kernels *out);
void emulated_rows_avx512_fill(vl2_kernels *out);
void emulated_dot_avx512bf16_fill(vl2_kernels *out);
void emulated_attend_avx512bf16_fill(vl2_kernels *out);
void emulated_dot_amx_fill(vl2_kernels *out);
void emulated_attend_amx_fill(vl2_kernels *out);
void emulated_q_avx512vnni_fill(vl2_kernels *out);
void emulated_q_amx_fill(vl2_kernels *out);
void emulated_bytes_avx512vnni_fill(vl2_kernels *out);
void emulated_bytes_amx_fill(vl2_kernels *out);
#endif

#if defined(VL2_HAVE_AVXVNNI)
void emulated_q_avxvnni_fill(vl2_kernels *out);
void emulated_bytes_avxvnni_fill(vl2_kernels *out);
#endif

static void on_signal(int number) {
    const char *name = number == SIGILL ? "illegal instruction in " : "bad access in ";
    if (write(2, name, strlen(name)) < 0 || write(2, check_current, strlen(check_current)) < 0 ||
        write(2, "\n", 1) < 0)
        _exit(3);
    _exit(2);
}

static check checked(const char *level, const vl2_kernels *plain, const vl2_kernels *k,
                     uint64_t seed, bool quiet) {
    check c = {.level = level, .plain = plain, .k = k, .seed = seed, .quiet = quiet};
    check_dots(&c);
    check_tiles(&c);
    check_attend(&c);
    check_rows(&c);
    check_quantized(&c);
    check_bytes(&c);
    return c;
}

/* ---- planted errors ---------------------------------------------------------------------------- */

static vl2_kernels whole; /* what the faulty kernels below spoil */

static void skip_tail(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t n,
                      size_t k, bool add) {
    whole.exact[VL2_F32].packed(y, ldy, x, m, w, n, k, add);
    if (n % 4 && n > 4) y[(m - 1) * ldy + n - 1] = 0.0f;
}
static void skip_last_k(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t stride,
                        size_t n, size_t k, bool add) {
    if (k < 2 || k % 16 != 1) {
        whole.exact[VL2_F32].direct(y, ldy, x, m, w, stride, n, k, add);
        return;
    }
    for (size_t i = 0; i < m; i++) { /* rows of k - 1 are packed shorter */
        const char *row = (const char *)x + i * vl2_dot_padded(&whole.exact[VL2_F32], k) * 4;
        whole.exact[VL2_F32].direct(y + i * ldy, ldy, row, 1, w, stride, n, k - 1, add);
    }
}
static void write_past(float *y, const float *s, const float *b, size_t n) {
    whole.finish[VL2_EPI_SILU](y, s, b, n);
    y[n] = 0.0f;
}
static void forget_bias(float *y, const float *s, const float *b, size_t n) {
    (void)b;
    whole.finish[VL2_EPI_NONE](y, s, NULL, n);
}
static void other_pairs(float *x, const float *cos, const float *sin, size_t half) {
    whole.rope_halves(x, cos, sin, half);
}
static void see_one_more(float *s, size_t n, float scale, float *max, float *sum) {
    whole.softmax(s, n < VL2_ATTN_KEYS ? n + 1 : n, scale, max, sum);
}
static void other_bits(float *c, size_t ldc, const float *const *a, size_t m, const float *b,
                       size_t ldb, size_t n, size_t k) {
    whole.outer(c, ldc, a, m, b, ldb, n, k);
    if (m > 1) c[0] += c[0] * 1.2e-7f;
}
static void skip_last_unit(float *y, size_t ldy, const void *x, size_t m, const void *w,
                           size_t stride, size_t n, size_t k) {
    vl2_qdot *dot = &whole.quantized[VL2_Q4_K - VL2_Q8_0];
    dot->direct(y, ldy, x, m, w, stride, n, k);
    if (n > 1) y[n - 1] += 1e-6f * y[n - 1];
}
static void cut_x(void *out, const float *x, size_t k) {
    whole.quantized[0].pack_x(out, x, k);
    int8_t *q = out;
    q[k - 1] = (int8_t)(q[k - 1] / 2 * 2);
}
static void cut_bf16(uint16_t *out, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        out[i] = (uint16_t)(bits >> 16);
    }
}

static void skip_last_row(float *y, size_t ldy, const void *x, size_t m, const void *w,
                          size_t stride, size_t n, size_t k, const void *next, size_t bytes,
                          void *scratch) {
    whole.tiles[VL2_BF16].product(y, ldy, x, m, w, stride, n, k, next, bytes, scratch);
    if (m > 16) y[(m - 1) * ldy] = 0.0f;
}

static void nudge_a_row(float *y, size_t ldy, const void *x, size_t m, const void *w, size_t stride,
                        size_t n, size_t k, const void *next, size_t bytes, void *scratch) {
    whole.q_tiles[0].product(y, ldy, x, m, w, stride, n, k, next, bytes, scratch);
    if (m > 16) y[16 * ldy] *= 1.0000002f;
}

/* Kernels that have tiles: this machine's, or else (slower) the emulated ones. */
static bool with_tiles(vl2_kernels *out, const vl2_kernels *plain) {
    if (vl2_kernels_select(out, "amx")) return true;
#if defined(VL2_HAVE_EMULATED)
    *out = *plain;
    emulated_dot_amx_fill(out);
    emulated_q_amx_fill(out);
    return true;
#else
    (void)plain;
    return false;
#endif
}

static void nudge_an_output(float *y, size_t ldy, const void *x, const vl2_bytes_row *rows,
                            size_t m, const vl2_bytes_w *w, size_t first, size_t n) {
    whole.bytes.product(y, ldy, x, rows, m, w, first, n);
    if (m > 16) y[16 * ldy + n - 1] *= 1.0000002f;
}
static bool forget_outliers(void *out, vl2_bytes_row *row, float *rest, const float *x, size_t k) {
    const bool sparse = whole.bytes.pack(out, row, rest, x, k);
    return sparse && k < 1000;
}

static size_t check_faults(const vl2_kernels *plain, uint64_t seed) {
    size_t missed = 0;
    whole = *plain;
    for (int fault = 0; fault < 14; fault++) {
        vl2_kernels k = *plain;
        if (fault == 0) k.exact[VL2_F32].packed = k.fast[VL2_F32].packed = skip_tail;
        if (fault == 1) k.exact[VL2_F32].direct = k.fast[VL2_F32].direct = skip_last_k;
        if (fault == 2) k.finish[VL2_EPI_SILU] = write_past;
        if (fault == 3) k.finish[VL2_EPI_NONE] = forget_bias;
        if (fault == 4) k.rope_pairs = other_pairs;
        if (fault == 5) k.softmax = see_one_more;
        if (fault == 6) k.outer = other_bits;
        if (fault == 10) k.quantized[VL2_Q4_K - VL2_Q8_0].direct = skip_last_unit;
        if (fault == 9) k.quantized[0].pack_x = cut_x;
        if (fault == 7) k.to_bf16 = cut_bf16;
        if (fault == 8) { /* plain C has none */
            if (!with_tiles(&k, plain)) continue;
            whole = k;
            k.tiles[VL2_BF16].product = skip_last_row;
        }
        if (fault == 12) k.bytes.product = nudge_an_output;
        if (fault == 13) k.bytes.pack = forget_outliers;
        if (fault == 11) {
            if (!with_tiles(&k, plain)) continue;
            whole = k;
            k.q_tiles[0].product = nudge_a_row;
        }
        check c = checked("planted", plain, &k, seed, true);
        if (c.failures) continue;
        printf("planted error %d was not seen\n", fault);
        missed++;
    }
    return missed;
}

/* ---- all levels --------------------------------------------------------------------------------- */

typedef struct totals {
    size_t levels, checks, failures;
} totals;

static void add_checks(totals *t, const check *c) {
    printf("%-20s %zu checks, %zu failed\n", c->level, c->checks, c->failures);
    t->levels++;
    t->checks += c->checks;
    t->failures += c->failures + (c->checks == 0);
}

static void add_level(totals *t, const char *level, const vl2_kernels *plain, const vl2_kernels *k,
                      uint64_t seed) {
    check c = checked(level, plain, k, seed, false);
    add_checks(t, &c);
}

#if defined(VL2_HAVE_EMULATED) || defined(VL2_HAVE_AVXVNNI)
/* Of a level whose other kernels are those of one that is checked. */
static void add_quantized(totals *t, const char *level, const vl2_kernels *plain,
                          const vl2_kernels *k, uint64_t seed) {
    check c = {.level = level, .plain = plain, .k = k, .seed = seed};
    check_quantized(&c);
    check_bytes(&c);
    add_checks(t, &c);
}
#endif

static void add_emulated(totals *t, const vl2_kernels *plain, uint64_t seed) {
#if defined(VL2_HAVE_EMULATED)
    vl2_kernels k = *plain, q = *plain;
    emulated_dot_avx512_fill(&k);
    emulated_rows_avx512_fill(&k);
    add_level(t, "avx512 (emulated)", plain, &k, seed);
    emulated_q_avx512vnni_fill(&q);
    emulated_bytes_avx512vnni_fill(&q);
    add_quantized(t, "avx512vnni (emulated)", plain, &q, seed);
    emulated_dot_avx512bf16_fill(&k);
    emulated_attend_avx512bf16_fill(&k);
    add_level(t, "avx512bf16 (emulated)", plain, &k, seed);
    emulated_dot_amx_fill(&k);
    emulated_attend_amx_fill(&k);
    emulated_q_amx_fill(&k);
    emulated_bytes_amx_fill(&k);
    add_level(t, "amx (emulated)", plain, &k, seed);
#else
    (void)t, (void)plain, (void)seed;
#if defined(__x86_64__)
    printf("skipped: AVX-512 emulated (SIMDe is not installed)\n");
#endif
#endif
}

/* Where the CPU has AVX2. */
static void add_avxvnni(totals *t, const vl2_kernels *plain, uint64_t seed) {
#if defined(VL2_HAVE_AVXVNNI)
    vl2_kernels k;
    if (!vl2_kernels_select(&k, "avx2")) return;
    emulated_q_avxvnni_fill(&k);
    emulated_bytes_avxvnni_fill(&k);
    add_quantized(t, "avxvnni (emulated)", plain, &k, seed);
#else
    (void)t, (void)plain, (void)seed;
#endif
}

#if defined(__aarch64__)
/* What a peak is measured by runs on the level that it belongs to. */
static void add_peaks(totals *t) {
    const vl2_features f = vl2_features_detect();
    const struct {
        bool runs;
        double (*count)(size_t rounds);
        double of_round;
    } loops[] = {{f.neon, vl2_peak_neon_f32, 8},
                 {f.neon, vl2_peak_neon_int8, 32},
                 {f.dotprod, vl2_peak_dotprod_int8, 32},
                 {f.i8mm, vl2_peak_i8mm_int8, 64},
                 {f.bf16, vl2_peak_bfdot_bf16, 16}};
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        if (!loops[i].runs) continue;
        t->checks++;
        if (loops[i].count(10) == 10 * VL2_PEAK_CHAINS * loops[i].of_round) continue;
        printf("peak loop %zu\n", i);
        t->failures++;
    }
}
#endif

/* Levels of this architecture that this CPU has not, whatever of them is emulated. */
static void tell_missing(void) {
#if defined(__x86_64__)
    static const char *const all[] = {"avx2",       "avxvnni",    "avx512",
                                      "avx512vnni", "avx512bf16", "amx"};
#elif defined(__aarch64__)
    static const char *const all[] = {"neon", "dotprod", "i8mm", "bf16"};
#else
    static const char *const all[] = {"any above plain C"};
#endif
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        vl2_kernels k;
        if (!vl2_kernels_select(&k, all[i])) printf("skipped: %s (not in this CPU)\n", all[i]);
    }
}

int main(int argc, char **argv) {
    uint64_t seed = 20240613;
    bool bench = false;
    const char *only = NULL; /* a level, with --bench */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) bench = true;
        if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
    }
    signal(SIGILL, on_signal);
    signal(SIGSEGV, on_signal);
    vl2_kernels plain;
    if (seed == 0 || !vl2_kernels_select(&plain, "c")) return 2;
    totals t = {0};
    add_level(&t, "c", &plain, &plain, seed);
    for (const char *const *l = vl2_kernels_levels(); *l; l++) {
        vl2_kernels k;
        if (!vl2_kernels_select(&k, *l)) return 2;
        if (bench && (!only || strcmp(*l, only) == 0)) bench_level(&k);
        if (only) continue;
        if (strcmp(*l, "c") != 0) add_level(&t, *l, &plain, &k, seed);
    }
    if (only) return 0;
#if defined(__aarch64__)
    add_peaks(&t);
#endif
    tell_missing();
    add_emulated(&t, &plain, seed);
    add_avxvnni(&t, &plain, seed);
    t.failures += check_faults(&plain, seed);
    printf("seed %llu: %zu levels, %zu checks, %zu failed\n", (unsigned long long)seed, t.levels,
           t.checks, t.failures);
    if (t.levels < 2) printf("no level above plain C was checked\n");
    return t.failures || t.levels < 2;
}
