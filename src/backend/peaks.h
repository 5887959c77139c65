/* backend/peaks.h - what this machine reaches at best: the yardstick of `vl2 bench`.
 *
 * Multiply-adds in registers on all threads, by the widest instructions of the level in use, and a
 * stream of reads far larger than any cache. Nothing of the model is at work. */
#ifndef VL2_BACKEND_PEAKS_H
#define VL2_BACKEND_PEAKS_H

#include "backend/ops.h"

typedef struct vl2_peaks {
    double f32, bf16, int8; /* operations a second, a multiply-add counted as two; 0: the level has
                               no such instruction */
    double read;            /* bytes a second */
} vl2_peaks;

vl2_status vl2_peaks_measure(vl2_peaks *out, vl2_backend *be, vl2_error *err);

#endif
