#include "backend/cpu/peak_loops.h"

#include "backend/cpu/x86/amx.h"

/* Tiles of numbers, not of zeros, with which a CPU runs faster than it ever will. As pairs of bf16 they
 * are between 1/2 and 2, of both signs. */
static void begin(void) {
    _Alignas(TILE_LINE) vl2_tile_config config = {.palette = 1};
    _Alignas(TILE_LINE) uint16_t numbers[2][16][TILE_LINE / 2];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0][0][0]; i++) {
        seed = seed * 1664525u + 1013904223u;
        (&numbers[0][0][0])[i] = (uint16_t)(0x3f00u | (seed >> 16 & 0x80ffu));
    }
    for (int t = 0; t < TILE_COUNT; t++) tile_shape(&config, t, 16, TILE_LINE);
    TILE_CONFIG(&config);
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    TILE_ZERO(4);
    TILE_ZERO(5);
    TILE_LOAD(6, numbers[0], TILE_LINE);
    TILE_LOAD(7, numbers[1], TILE_LINE);
}

enum { SHARE = 16 }; /* a tile's product is long */

/* depth: elements of k that a tile's product takes */
#define PEAK(name, DOT, depth)                                                                     \
    double name(size_t rounds) {                                                                   \
        begin();                                                                                   \
        for (size_t r = 0; r < rounds / SHARE; r++) {                                              \
            DOT(0, 6, 7);                                                                          \
            DOT(1, 6, 7);                                                                          \
            DOT(2, 6, 7);                                                                          \
            DOT(3, 6, 7);                                                                          \
            DOT(4, 6, 7);                                                                          \
            DOT(5, 6, 7);                                                                          \
        }                                                                                          \
        TILE_RELEASE();                                                                            \
        return (double)(rounds / SHARE) * 6 * 16 * 16 * (depth)*2;                                 \
    }

PEAK(vl2_peak_amx_bf16, TILE_DOT, 32)
PEAK(vl2_peak_amx_int8, TILE_DOT_SIGNED, 64)
