/* backend/cpu/attention.h - attention over widened keys and values, and by tiles. */
#ifndef VL2_BACKEND_CPU_ATTENTION_H
#define VL2_BACKEND_CPU_ATTENTION_H

#include "backend/cpu/cpu.h"

/* vl2_attention_run for a level that has `attend`. */
void vl2_attention_tiles_run(vl2_backend *be, const vl2_attn *attn);
size_t vl2_attention_tiles_lane_bytes(void);

#endif
