/* base/arena.h - scratch that is planned before it is taken.
 *
 * The same carving code runs twice: over an arena without memory it measures, over one with memory
 * it hands out pointers. So a plan can be printed, and cannot disagree with what is used.
 *
 *     vl2_arena plan = {0};
 *     carve(&plan, dims, &dummy);                  // plan.used is now the size in bytes
 *     vl2_arena_take(&arena, plan.used, "…", err);
 *     carve(&arena, dims, &scratch); */
#ifndef VL2_BASE_ARENA_H
#define VL2_BASE_ARENA_H

#include "base/err.h"

typedef struct vl2_arena {
    char *memory; /* NULL: measuring */
    size_t used;  /* bytes handed out, or SIZE_MAX after an overflow */
    size_t size;  /* bytes taken; 0 while measuring */
} vl2_arena;

/* Room for n elements of `bytes` each, aligned to VL2_ALIGN (red zones under ASan); NULL while
 * measuring or when it does not fit (then arena->used is SIZE_MAX). Not zeroed. */
void *vl2_arena_array(vl2_arena *arena, size_t n, size_t bytes);
vl2_status vl2_arena_take(vl2_arena *arena, size_t bytes, const char *what, vl2_error *err);
void vl2_arena_free(vl2_arena *arena);

#endif
