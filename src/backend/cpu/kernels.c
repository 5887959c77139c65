#include "backend/cpu/kernels.h"

#include "backend/cpu/features.h"

#include <string.h>

/* One rung of the ladder. */
typedef struct level {
    const char *name;
    void (*fill[3])(vl2_kernels *out);
} level;

static const level LADDER[] = {
    {"c", {vl2_dot_c_fill, vl2_rows_c_fill}},
};
enum { N_LEVELS = sizeof LADDER / sizeof LADDER[0] };

static bool runs_here(const char *name, const vl2_features *f) {
    if (strcmp(name, "avx2") == 0) return f->avx2;
    if (strcmp(name, "avx512") == 0) return f->avx512;
    if (strcmp(name, "avx512bf16") == 0) return f->avx512bf16;
    if (strcmp(name, "neon") == 0) return f->neon;
    return true;
}

bool vl2_kernels_select(vl2_kernels *out, const char *name) {
    vl2_features f = vl2_features_detect();
    vl2_kernels k;
    memset(&k, 0, sizeof k);
    bool found = false;
    for (int i = 0; i < N_LEVELS && !found && runs_here(LADDER[i].name, &f); i++) {
        for (size_t j = 0; j < 3; j++)
            if (LADDER[i].fill[j]) LADDER[i].fill[j](&k);
        k.level = LADDER[i].name;
        found = name && strcmp(name, LADDER[i].name) == 0;
    }
    if (name && !found) return false;
    *out = k;
    return true;
}

/* The names of the first n rungs, for each n: no memory to fill, nothing to free. */
const char *const *vl2_kernels_levels(void) {
    static const char *const NAMES[N_LEVELS][N_LEVELS + 1] = {{"c"}};
    vl2_features f = vl2_features_detect();
    int n = 1;
    while (n < N_LEVELS && runs_here(LADDER[n].name, &f)) n++;
    return NAMES[n - 1];
}
