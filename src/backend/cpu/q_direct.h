/* backend/cpu/q_direct.h - a level whose quantized weights are taken apart as qunits.h has it, with no
 * panels and nothing asked for ahead. Before it stand q_greatest, q_round, and q_term of a vl2_qunit, as
 * q_rows.h has them. */
#ifndef VL2_BACKEND_CPU_Q_DIRECT_H
#define VL2_BACKEND_CPU_Q_DIRECT_H

#include "backend/cpu/kernels.h"
#include "backend/cpu/qunits.h"

typedef vl2_qunit q_taken;
#define VL2_Q_TAKE(name) vl2_qunit_##name

VL2_QINLINE void q_ask(const char *from, size_t bytes) {
    (void)from;
    (void)bytes;
}

#include "backend/cpu/q_rows.h"

VL2_QKINDS(VL2_Q_UNITS)

static void q_fill(vl2_kernels *out) {
#define FILL(type, name, size, offset, has_min, block)                                             \
    out->quantized[type - VL2_Q8_0] =                                                              \
        (vl2_qdot){.unit = size,                                                                   \
                   .pack_x = size == VL2_QUANT_BLOCK ? pack_x_32 : pack_x_k,                       \
                   .direct = direct_##name};
    VL2_QKINDS(FILL)
#undef FILL
}

#endif
