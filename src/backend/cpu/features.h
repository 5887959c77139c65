/* backend/cpu/features.h - what this CPU and its operating system let a program use. */
#ifndef VL2_BACKEND_CPU_FEATURES_H
#define VL2_BACKEND_CPU_FEATURES_H

#include <stdbool.h>

typedef struct vl2_features {
    bool avx2;       /* AVX2, FMA, F16C, and the system saves their registers */
    bool avxvnni;    /* 8-bit dot products on top; false where AVX-512 has its own */
    bool avx512;     /* F, BW, DQ, VL, likewise */
    bool avx512vnni; /* 8-bit dot products on top */
    bool avx512bf16; /* BF16 dot products on top */
    bool amx;        /* tiles and their BF16 products on top */
    bool neon;
    bool dotprod; /* 8-bit dot products on top */
    bool i8mm;    /* and products of 8-bit matrices */
    bool bf16;    /* and BF16 dot products */
} vl2_features;

vl2_features vl2_features_detect(void);
/* The system keeps a thread's tiles (8 KiB) only for a process that asked: asks, for all its threads
 * and for good. Call where `amx` is detected; false if refused. */
bool vl2_features_use_tiles(void);

#endif
