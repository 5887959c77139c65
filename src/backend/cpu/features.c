#include "backend/cpu/features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct regs {
    unsigned a, b, c, d;
} regs;

static regs leaf(unsigned number, unsigned sub) {
    regs r = {0, 0, 0, 0};
    if (__get_cpuid_count(number, sub, &r.a, &r.b, &r.c, &r.d) == 0) r = (regs){0, 0, 0, 0};
    return r;
}

/* Which register states the operating system saves: a CPU may have AVX under a system that loses it. */
static uint64_t saved_states(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(unsigned word, unsigned bit) { return (word >> bit & 1u) != 0; }

vl2_features vl2_features_detect(void) {
    vl2_features f = {0};
    regs basic = leaf(1, 0), more = leaf(7, 0), extra = leaf(7, 1);
    if (!has(basic.c, 27)) return f; /* OSXSAVE: xgetbv may be used */
    uint64_t states = saved_states();
    bool ymm = (states & 0x06) == 0x06, zmm = (states & 0xe6) == 0xe6;
    f.avx2 = ymm && has(basic.c, 28) && has(basic.c, 12) && has(basic.c, 29) && has(more.b, 5);
    f.avx512 =
        f.avx2 && zmm && has(more.b, 16) && has(more.b, 17) && has(more.b, 30) && has(more.b, 31);
    f.avxvnni = f.avx2 && !f.avx512 && has(extra.a, 4);
    f.avx512vnni = f.avx512 && has(more.c, 11);
    f.avx512bf16 = f.avx512vnni && has(extra.a, 5);
    bool tiles = (states & 0x60000) == 0x60000; /* their shape, and their data */
    f.amx = f.avx512bf16 && tiles && has(more.d, 22) && has(more.d, 24);
    return f;
}

bool vl2_features_use_tiles(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* asm/prctl.h of recent kernels */
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}
#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
static bool has_dotprod(void) { return (getauxval(AT_HWCAP) >> 20 & 1u) != 0; } /* ASIMDDP */
static bool has_i8mm(void) { return (getauxval(AT_HWCAP2) >> 13 & 1u) != 0; }   /* I8MM */
static bool has_bf16(void) { return (getauxval(AT_HWCAP2) >> 14 & 1u) != 0; }   /* BF16 */
#else
static bool has_dotprod(void) { return false; }
static bool has_i8mm(void) { return false; }
static bool has_bf16(void) { return false; }
#endif
vl2_features vl2_features_detect(void) {
    const bool dotprod = has_dotprod(), i8mm = dotprod && has_i8mm();
    return (vl2_features){
        .neon = true, .dotprod = dotprod, .i8mm = i8mm, .bf16 = i8mm && has_bf16()};
}
bool vl2_features_use_tiles(void) { return false; }
#else
vl2_features vl2_features_detect(void) { return (vl2_features){0}; }
bool vl2_features_use_tiles(void) { return false; }
#endif
