/* vision/siglip.h - views -> patch features: docs/MODEL.md §5.
 *
 *   tiles u8 [n,3,S,S] -> patches [n*G*G, 3*P*P] -> + pos -> Lv pre-norm blocks -> norm
 *                      -> feat f32 [n, G*G, Dv] */
#ifndef VL2_VISION_SIGLIP_H
#define VL2_VISION_SIGLIP_H

#include "backend/ops.h"
#include "base/arena.h"
#include "model/weights.h"

typedef struct vl2_siglip_scratch { /* for n views at once */
    float *normed;                  /* [n*G*G, Dv] */
    /* Parts of one region, as they are never needed together: */
    float *patches;       /* [n*G*G, 3*P*P] */
    float *qkv;           /* [n*G*G, 3*Dv] */
    float *mixed;         /* [n*G*G, Dv], behind qkv */
    float *hidden;        /* [n*G*G, Fv] */
    vl2_attn_seq *seqs;   /* [n]: a view's patches see each other only */
    vl2_kv_block *blocks; /* [n] */
} vl2_siglip_scratch;

void vl2_siglip_carve(vl2_arena *arena, vl2_siglip_scratch *out, const vl2_config *config,
                      size_t n);
/* What vl2_backend_reserve must be asked for before n views go through at once. */
void vl2_siglip_extent(size_t *max_rows, size_t *max_cols, const vl2_config *config, size_t n);
/* feat [n, G*G, Dv] is the caller's. poll (may be NULL) is asked before each block; not 0 ends it with
 * VL2_ERR_CANCELLED, and feat holds nothing then. */
vl2_status vl2_siglip_forward(vl2_backend *be, float *feat, const uint8_t *tiles, size_t n,
                              const vl2_config *config, const vl2_vision_weights *w,
                              const vl2_siglip_scratch *scratch, int (*poll)(void *user),
                              void *poll_user, vl2_error *err);

#endif
