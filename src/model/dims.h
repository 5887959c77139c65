/* model/dims.h - the letters in which all shapes of this code are written.
 *
 *   T    tokens of a sequence              R    rows of a step (tokens of all its sequences)
 *   D    language hidden size              V    vocabulary
 *   L    language layers                   H    attention heads, Hk key/value heads
 *   Dn   nope dims of a head (MLA)         Dr   rope dims of a head
 *   Dh   head dims (MHA)                   Dvh  value dims of a head
 *   C    kv_lora_rank (MLA)                Cq   q_lora_rank
 *   F    width of a dense MLP              Fe   width of a routed expert, Fs of the shared one
 *   E    routed experts                    k    experts per token
 *   N    views                             S    side of a view in pixels, P of a patch
 *   G    patches a side, floor(S/P)        g    projected rows a side, ceil(G/r)
 *   r    downsample ratio                  Dv   vision width, Fv of its MLP, Lv layers, Hv heads
 *
 * Shapes list the slowest index first: [N,G*G,Dv] is N views of G*G rows of Dv numbers. Weight
 * matrices are [outputs, inputs], as in the files. */
#ifndef VL2_MODEL_DIMS_H
#define VL2_MODEL_DIMS_H
#endif
