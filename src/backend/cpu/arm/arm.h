/* backend/cpu/arm/arm.h - the fillers of the Arm levels. */
#ifndef VL2_BACKEND_CPU_ARM_ARM_H
#define VL2_BACKEND_CPU_ARM_ARM_H

#include "backend/cpu/kernels.h"

void vl2_dot_neon_fill(vl2_kernels *out);
void vl2_rows_neon_fill(vl2_kernels *out);
void vl2_bytes_neon_fill(vl2_kernels *out);
void vl2_bytes_dotprod_fill(vl2_kernels *out);
void vl2_q_neon_fill(vl2_kernels *out);
void vl2_q_dotprod_fill(vl2_kernels *out);
void vl2_q_i8mm_fill(vl2_kernels *out);
void vl2_dot_bf16_fill(vl2_kernels *out);

#endif
