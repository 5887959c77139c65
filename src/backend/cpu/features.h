/* backend/cpu/features.h - what this CPU and its operating system let a program use. */
#ifndef VL2_BACKEND_CPU_FEATURES_H
#define VL2_BACKEND_CPU_FEATURES_H

#include <stdbool.h>

typedef struct vl2_features {
    bool avx2;       /* AVX2, FMA, F16C, and the system saves their registers */
    bool avx512;     /* F, BW, DQ, VL, likewise */
    bool avx512bf16; /* BF16 dot products on top */
    bool neon;
} vl2_features;

vl2_features vl2_features_detect(void);

#endif
