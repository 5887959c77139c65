/* sample/exp.h - exp(x) for x <= 0, the same bits on every machine: what is drawn must not depend
 * on whose libm is there. */
#ifndef VL2_SAMPLE_EXP_H
#define VL2_SAMPLE_EXP_H

/* Within 2 units in the last place; 0 below -708 (and for minus infinity and NaN). */
double vl2_exp(double x);

#endif
