/* Products of rows of bytes, AVX2 with AVX-VNNI. */
#include "backend/cpu/x86/dpbusd.h"
#define VL2_Q_VNNI
#include "backend/cpu/x86/bytes_avx2.h"

void vl2_bytes_avxvnni_fill(vl2_kernels *out) { bytes_fill(out); }
