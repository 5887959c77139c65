/* backend/cpu/x86/x86.h - the fillers of the x86 levels; each file is compiled for its own level. */
#ifndef VL2_BACKEND_CPU_X86_X86_H
#define VL2_BACKEND_CPU_X86_X86_H

#include "backend/cpu/kernels.h"

void vl2_dot_avx2_fill(vl2_kernels *out);
void vl2_rows_avx2_fill(vl2_kernels *out);
void vl2_bytes_avx2_fill(vl2_kernels *out);
void vl2_bytes_avxvnni_fill(vl2_kernels *out);
void vl2_bytes_avx512vnni_fill(vl2_kernels *out);
void vl2_bytes_amx_fill(vl2_kernels *out);
void vl2_q_avx2_fill(vl2_kernels *out);
void vl2_q_avxvnni_fill(vl2_kernels *out);
void vl2_q_avx512vnni_fill(vl2_kernels *out);
void vl2_dot_avx512_fill(vl2_kernels *out);
void vl2_rows_avx512_fill(vl2_kernels *out);
void vl2_dot_avx512bf16_fill(vl2_kernels *out);
void vl2_attend_avx512bf16_fill(vl2_kernels *out);
void vl2_dot_amx_fill(vl2_kernels *out);
void vl2_attend_amx_fill(vl2_kernels *out);
void vl2_q_amx_fill(vl2_kernels *out);

#endif
