#include "backend/cpu/kernels.h"

#include "backend/cpu/features.h"
#if defined(__x86_64__)
#include "backend/cpu/x86/x86.h"
#elif defined(__aarch64__)
#include "backend/cpu/arm/arm.h"
#endif

#include <string.h>

enum { FILLS = 4 };

/* One rung of the ladder. */
typedef struct level {
    const char *name;
    bool (*runs)(const vl2_features *f);
    void (*fill[FILLS])(vl2_kernels *out);
} level;

static bool always(const vl2_features *f) { return f != NULL; }
#if defined(__x86_64__)
static bool has_avx2(const vl2_features *f) { return f->avx2; }
static bool has_avxvnni(const vl2_features *f) { return f->avxvnni; }
static bool has_avx512(const vl2_features *f) { return f->avx512; }
static bool has_avx512vnni(const vl2_features *f) { return f->avx512vnni; }
static bool has_avx512bf16(const vl2_features *f) { return f->avx512bf16; }
static bool has_amx(const vl2_features *f) { return f->amx && vl2_features_use_tiles(); }
#elif defined(__aarch64__)
static bool has_neon(const vl2_features *f) { return f->neon; }
static bool has_dotprod(const vl2_features *f) { return f->dotprod; }
static bool has_i8mm(const vl2_features *f) { return f->i8mm; }
static bool has_bf16(const vl2_features *f) { return f->bf16; }
#endif

static const level LADDER[] = {
    {"c", always, {vl2_dot_c_fill, vl2_rows_c_fill, vl2_q_c_fill, vl2_bytes_c_fill}},
#if defined(__x86_64__)
    {"avx2",
     has_avx2,
     {vl2_dot_avx2_fill, vl2_rows_avx2_fill, vl2_q_avx2_fill, vl2_bytes_avx2_fill}},
    {"avxvnni", has_avxvnni, {vl2_q_avxvnni_fill, vl2_bytes_avxvnni_fill}},
    {"avx512", has_avx512, {vl2_dot_avx512_fill, vl2_rows_avx512_fill}},
    {"avx512vnni", has_avx512vnni, {vl2_q_avx512vnni_fill, vl2_bytes_avx512vnni_fill}},
    {"avx512bf16", has_avx512bf16, {vl2_dot_avx512bf16_fill, vl2_attend_avx512bf16_fill}},
    {"amx", has_amx, {vl2_dot_amx_fill, vl2_attend_amx_fill, vl2_q_amx_fill, vl2_bytes_amx_fill}},
#elif defined(__aarch64__)
    {"neon",
     has_neon,
     {vl2_dot_neon_fill, vl2_rows_neon_fill, vl2_q_neon_fill, vl2_bytes_neon_fill}},
    {"dotprod", has_dotprod, {vl2_q_dotprod_fill, vl2_bytes_dotprod_fill}},
    {"i8mm", has_i8mm, {vl2_q_i8mm_fill}},
    {"bf16", has_bf16, {vl2_dot_bf16_fill}},
#endif
};
enum { N_LEVELS = sizeof LADDER / sizeof LADDER[0] };

bool vl2_kernels_select(vl2_kernels *out, const char *name) {
    vl2_features f = vl2_features_detect();
    vl2_kernels k;
    memset(&k, 0, sizeof k);
    bool found = false;
    for (int i = 0; i < N_LEVELS && !found; i++) {
        if (!LADDER[i].runs(&f)) continue;
        for (size_t j = 0; j < FILLS; j++)
            if (LADDER[i].fill[j]) LADDER[i].fill[j](&k);
        k.level = LADDER[i].name;
        found = name && strcmp(name, LADDER[i].name) == 0;
    }
    if (name && !found) return false;
    *out = k;
    return true;
}

const char *const *vl2_kernels_levels(void) {
    vl2_features f = vl2_features_detect();
#if defined(__x86_64__)
    static const char *const WITH_AVXVNNI[] = {"c", "avx2", "avxvnni", NULL};
    if (f.avxvnni) return WITH_AVXVNNI;
    static const char *const NAMES[][N_LEVELS + 1] = {
        {"c"},
        {"c", "avx2"},
        {"c", "avx2", "avx512"},
        {"c", "avx2", "avx512", "avx512vnni"},
        {"c", "avx2", "avx512", "avx512vnni", "avx512bf16"},
        {"c", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx"}};
#elif defined(__aarch64__)
    static const char *const NAMES[][N_LEVELS + 1] = {{"c"},
                                                      {"c", "neon"},
                                                      {"c", "neon", "dotprod"},
                                                      {"c", "neon", "dotprod", "i8mm"},
                                                      {"c", "neon", "dotprod", "i8mm", "bf16"}};
#else
    static const char *const NAMES[][N_LEVELS + 1] = {{"c"}};
#endif
    int n = 0;
    for (int i = 0; i < N_LEVELS; i++) n += LADDER[i].runs(&f);
    return NAMES[n - 1];
}
