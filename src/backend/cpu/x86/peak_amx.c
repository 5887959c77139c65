#include "backend/cpu/peak_loops.h"

#include "backend/cpu/x86/amx.h"

double vl2_peak_amx_bf16(size_t rounds) {
    _Alignas(TILE_LINE) vl2_tile_config config = {.palette = 1};
    for (int t = 0; t < TILE_COUNT; t++) tile_shape(&config, t, 16, TILE_LINE);
    TILE_CONFIG(&config);
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    TILE_ZERO(4);
    TILE_ZERO(5);
    TILE_ZERO(6);
    TILE_ZERO(7);
    size_t turns = rounds / 16; /* a tile's product is long */
    for (size_t r = 0; r < turns; r++) {
        TILE_DOT(0, 6, 7);
        TILE_DOT(1, 6, 7);
        TILE_DOT(2, 6, 7);
        TILE_DOT(3, 6, 7);
        TILE_DOT(4, 6, 7);
        TILE_DOT(5, 6, 7);
    }
    TILE_RELEASE();
    return (double)turns * 6 * 16 * 16 * 32 * 2;
}
