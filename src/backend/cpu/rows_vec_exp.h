/* backend/cpu/rows_vec_exp.h - exp over a vector of VL floats; after the header of the vector.
 *
 * 2^n * p(r) with a polynomial of degree 6 on |r| <= ln 2 / 2 (4e-9 relative before rounding). */
#ifndef VL2_BACKEND_CPU_ROWS_VEC_EXP_H
#define VL2_BACKEND_CPU_ROWS_VEC_EXP_H

/* exp(x), x held in -87 … 88 */
static inline vf v_exp(vf x) {
    x = v_min(v_set(88.0f), v_max(v_set(-87.0f), x));
    vf n = v_round(v_mul(x, v_set(1.44269504f)));
    vf r = v_fma(n, v_set(-0.693145752f), x);
    r = v_fma(n, v_set(-1.42860677e-6f), r);
    vf p = v_set(0.0013751151273f);
    p = v_fma(p, r, v_set(0.0083689931780f));
    p = v_fma(p, r, v_set(0.0416695438325f));
    p = v_fma(p, r, v_set(0.1666651815176f));
    p = v_fma(p, r, v_set(0.4999998807907f));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    return v_mul(p, v_exp2_whole(n));
}

#endif
