/* backend/cpu/x86/q_panels_avx2.h - panels and tiles of q_avx2.h: many rows of x.
 *
 * A panel has eight outputs a vector, and of each four elements (a step) four bytes of each. Rows of weights
 * are turned before their nibbles are parted. With AVX2 alone, where sums of pairs are of 16 bits:
 *
 *     4 and 5 bits     bytes without a sign; eight and four steps' sums fit, and meet a scale then
 *     Q6_K             q - 32, by x + 128: two steps' sums fit, and what 128 is too much is one number
 *                      an output
 *     signed bytes     their sizes by x with their signs: the sums of one step
 *
 * With AVX-VNNI blocks of 32 have bytes without a sign. */
#ifndef VL2_BACKEND_CPU_X86_Q_PANELS_AVX2_H
#define VL2_BACKEND_CPU_X86_Q_PANELS_AVX2_H

enum {
    STEP = 4 * VL2_QPANEL, /* bytes of a panel's step */
    AHEAD = 2,             /* panels unpacked at a time; they stay in the first cache */
    FEW_ROWS = 8,          /* of x; they meet weights as the file has them, which come no faster */
    ASK_UNPACKING = 2      /* rows of what comes next, asked for with 256 elements of eight rows */
};

/* 256 elements of 16 outputs, or the last blocks of a row. */
typedef struct panel {
    _Alignas(64) uint8_t q[VL2_QUNIT_MAX / 4][VL2_QPANEL][4];
    int32_t scale[16][VL2_QPANEL]; /* of sub-blocks: each twice, or once with AVX-VNNI */
    /* affine_heads' pairs of least values; Q6_K: [0], what 128 is too much */
    int32_t min[4][VL2_QPANEL];
    float d[8][VL2_QPANEL], m[8][VL2_QPANEL];
} panel;
_Static_assert(AHEAD * sizeof(panel) <= VL2_Q_ROOM, "panels have room");

VL2_QINLINE bool q_is_signed(const vl2_qkind kind) {
#if defined(VL2_Q_VNNI)
    (void)kind;
    return false;
#else
    return kind.offset == 128;
#endif
}
VL2_QINLINE bool q_is_flipped(const vl2_qkind kind) { return kind.offset == 32; }

/* ---- panels ----------------------------------------------------------------------------------- */

/* Eight rows of weights and where in a panel they go. */
typedef struct panel_half {
    vl2_qlanes l;
    panel *out;
    size_t first;
} panel_half;

/* gcc 12 begins all parts of a block at once and has no registers then. */
#define apart() __asm__ volatile("" : : : "memory")

/* A step's vector: at `to` the first one of some block. */
VL2_QINLINE void put(uint8_t *to, int step, vi v) { vi_store(to + STEP * step, v); }

VL2_QINLINE void put_signed(uint8_t *to, int step, vi v) {
#if defined(VL2_Q_VNNI)
    v = _mm256_xor_si256(v, _mm256_set1_epi8(-128));
#endif
    put(to, step, v);
}

/* Scales, each twice in 32 bits. */
VL2_QINLINE void put_scale(const panel_half *p, size_t sub, vi twice_16) {
#if defined(VL2_Q_VNNI)
    twice_16 = _mm256_srai_epi32(twice_16, 16);
#endif
    vi_store(p->out->scale[sub] + p->first, twice_16);
}

/* Four of the 32 fifth bits of each lane as bits 4 of its bytes. */
VL2_QINLINE vi four_fifths(vi bits, int i) {
    const vi lane = _mm256_setr_epi64x(0x0404040400000000, 0x0c0c0c0c08080808, 0x0404040400000000,
                                       0x0c0c0c0c08080808);
    const vi bytes = _mm256_shuffle_epi8(bits, vi_add(lane, _mm256_set1_epi8((char)(i / 2))));
    const vi bit = vi_set((int32_t)(i % 2 ? 0x80402010u : 0x08040201u));
    return vi_and(_mm256_cmpeq_epi8(vi_and(bytes, bit), bit), _mm256_set1_epi8(16));
}

VL2_QINLINE void panel_32(const panel_half *p, size_t b, size_t at, const vl2_qkind kind) {
    uint8_t *to = p->out->q[8 * b][p->first];
    vi v[4];
    lanes_16(v, &p->l, at);
    const vi front = lanes_first(v); /* d, and m where the type has one */
    v_store(p->out->d[b] + p->first, halves_to_floats(vi_and(front, vi_set(0xffff))));
    if (kind.has_min)
        v_store(p->out->m[b] + p->first, halves_to_floats(_mm256_srli_epi32(front, 16)));
    if (vl2_qkind_bits(kind) == 8) {
        VL2_EACH(part, 2) {
            turn_16(v, &p->l, at + 2 + 16 * (size_t)part);
            VL2_EACH(i, 4) put_signed(to, 4 * part + i, v[i]);
        }
        return;
    }
    const size_t qs = at + kind.bytes - 16;
    vi fifths = vi_set(0);
    if (vl2_qkind_bits(kind) == 5) {
        lanes_16(v, &p->l, qs - 4);
        fifths = lanes_first(v);
    }
    turn_16(v, &p->l, qs);
    VL2_EACH(i, 4) {
        vi low = low_nibbles(v[i]), high = high_nibbles(v[i]);
        if (vl2_qkind_is_curved(kind)) {
            put_signed(to, i, _mm256_shuffle_epi8(twice(vl2_quant_nl), low));
            put_signed(to, i + 4, _mm256_shuffle_epi8(twice(vl2_quant_nl), high));
            continue;
        }
        if (vl2_qkind_bits(kind) == 5) {
            low = vi_or(low, four_fifths(fifths, i));
            high = vi_or(high, four_fifths(fifths, i + 4));
        }
        put(to, i, low);
        put(to, i + 4, high);
    }
}

VL2_QINLINE void panel_affine(const panel_half *p, size_t at, const vl2_qkind kind) {
    lanes_sums heads;
    vi scale[2], min[4], qh[8];
    super_scales scales;
    affine_heads(&heads, scale, min, &p->l, at);
    super_set_scales(&scales, scale);
    v_store(p->out->d[0] + p->first, heads.d);
    v_store(p->out->m[0] + p->first, heads.m);
    VL2_EACH(i, 8) put_scale(p, (size_t)i, vi_load(scales.of[i]));
    VL2_EACH(i, 4) vi_store(p->out->min[i] + p->first, min[i]);
    uint8_t *to = p->out->q[0][p->first];
    const size_t qs = at + kind.bytes - 128;
    const bool has_fifths = vl2_qkind_bits(kind) == 5;
    if (has_fifths) {
        turn_16(qh, &p->l, qs - 32);
        turn_16(qh + 4, &p->l, qs - 16);
    }
    VL2_EACH(g, 4) {
        VL2_EACH(part, 2) {
            vi v[4];
            turn_16(v, &p->l, qs + (size_t)(32 * g + 16 * part));
            VL2_EACH(i, 4) {
                const int step = 16 * g + 4 * part + i;
                vi low = low_nibbles(v[i]), high = high_nibbles(v[i]);
                if (has_fifths) {
                    low = with_bits(low, qh[4 * part + i], 2 * g, 16);
                    high = with_bits(high, qh[4 * part + i], 2 * g + 1, 16);
                }
                put(to, step, low);
                put(to, step + 8, high);
            }
        }
    }
}

/* Steps `step` + i of each of half a super-block's four runs, less 32; added to sum[run]. */
VL2_QINLINE void panel_step_6(uint8_t *to, vi sum[4], int step, vi l0, vi l1, vi qh) {
    const vi q[4] = {
        with_bits(low_nibbles(l0), qh, 0, 0x30), with_bits(low_nibbles(l1), qh, 2, 0x30),
        with_bits(high_nibbles(l0), qh, 4, 0x30), with_bits(high_nibbles(l1), qh, 6, 0x30)};
    VL2_EACH(run, 4) {
        const vi less = _mm256_sub_epi8(q[run], _mm256_set1_epi8(32));
        put(to, step + 8 * run, less);
        sum[run] = _mm256_add_epi8(sum[run], less);
    }
}

VL2_QINLINE void panel_6(const panel_half *p, size_t at, const vl2_qkind kind) {
    vi v[4], scale[16], sum = vi_set(0);
    lanes_16(v, &p->l, at + kind.bytes - 16); /* d is at the end */
    v_store(p->out->d[0] + p->first, halves_to_floats(vi_right(lanes_last(v), 16)));
    turn_16(v, &p->l, at + kind.bytes - 18);
    VL2_EACH(s, 16) {
        const vi first =
            _mm256_setr_epi64x((long long)0x0480048000800080u, (long long)0x0c800c8008800880u,
                               (long long)0x0480048000800080u, (long long)0x0c800c8008800880u);
        const vi order = vi_add(first, _mm256_set1_epi16((int16_t)(s % 4 << 8)));
        scale[s] = _mm256_srai_epi16(_mm256_shuffle_epi8(v[s / 4], order), 8);
        put_scale(p, (size_t)s, scale[s]);
    }
    uint8_t *to = p->out->q[0][p->first];
    VL2_EACH(h, 2) {
        VL2_EACH(part, 2) {
            vi l0[4], l1[4], qh[4], sums[4]; /* of four bytes: -128 … 124 */
            turn_16(l0, &p->l, at + (size_t)(64 * h + 16 * part));
            turn_16(l1, &p->l, at + (size_t)(64 * h + 16 * part + 32));
            turn_16(qh, &p->l, at + (size_t)(128 + 32 * h + 16 * part));
            apart();
            VL2_EACH(run, 4) sums[run] = vi_set(0);
            VL2_EACH(i, 4)
            panel_step_6(to, sums, 32 * h + 4 * part + i, l0[i], l1[i], qh[i]);
            VL2_EACH(run, 4) {
                const vi pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), sums[run]);
                sum = vi_add(sum, vi_madd(pairs, scale[8 * h + 2 * run + part]));
            }
        }
    }
    vi_store(p->out->min[0] + p->first, _mm256_slli_epi32(vi_sub(vi_set(0), sum), 7));
}

/* Rows of weights that come next, `bytes` of each. */
typedef struct q_next {
    const char *from;
    size_t stride, bytes, rows;
} q_next;

/* Asks for them a few rows at a time, while rows are unpacked and between tiles: all at once would hold up
 * what follows. */
VL2_QINLINE void ask_next(q_next *next, size_t rows) {
    for (; rows && next->rows; rows--, next->rows--, next->from += next->stride)
        for (size_t at = 0; at < next->bytes + 63; at += 64)
            _mm_prefetch(next->from + at, _MM_HINT_T0);
}

/* Panels of n <= 16 rows, k elements; rows from n on are the last one again. */
VL2_QINLINE void q_panels(panel *out, const char *w, size_t w_stride, size_t n, size_t k,
                          q_next *next, const vl2_qkind kind) {
    const size_t units = k / (size_t)kind.unit, most = VL2_QUNIT_MAX / (size_t)kind.unit;
    for (size_t first = 0; first < VL2_QPANEL; first += VL) {
        const size_t from = n > first ? first : n - 1, some = n - from < VL ? n - from : VL;
        panel_half p = {.l = lanes_of(w + from * w_stride, w_stride, some), .first = first};
        for (size_t u = 0; u < units; u++) {
            p.out = out + u / most;
            if (u % most == 0) ask_next(next, ASK_UNPACKING);
            if (kind.unit != VL2_QUANT_SUPER)
                panel_32(&p, u % most, u * kind.bytes, kind);
            else if (kind.has_min)
                panel_affine(&p, u * kind.bytes, kind);
            else
                panel_6(&p, u * kind.bytes, kind);
        }
    }
}

/* ---- tiles: R rows of x by the outputs of a panel, COLUMNS vectors of them ----------------------- */

/* gcc 12 copies sums to the stack and back with each step unless told that each has one register. */
#define keep(sum) __asm__("" : "+x"(sum))

VL2_QINLINE vi four_of(const char *x) {
    return _mm256_castps_si256(_mm256_broadcast_ss((const float *)(const void *)x));
}

/* sum (or nothing, at first) + products of w, of size |w|, with x. */
VL2_QINLINE vi step_dots(vi sum, bool first, vi w, vi size, vi x, const vl2_qkind kind) {
#if defined(VL2_Q_VNNI)
    (void)size;
    if (first) sum = vi_set(0);
    return q_is_flipped(kind) ? add_dots(sum, x, w) : add_dots(sum, w, x);
#else
    if (q_is_signed(kind)) {
        const vi pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(x, w));
        const vi dots = vi_madd(pairs, _mm256_set1_epi16(1));
        return first ? dots : vi_add(sum, dots);
    }
    const vi pairs = q_is_flipped(kind) ? _mm256_maddubs_epi16(x, w) : _mm256_maddubs_epi16(w, x);
    return first ? pairs : _mm256_add_epi16(sum, pairs);
#endif
}

/* sum = products of `steps` steps, for R rows of x and a panel's outputs. */
VL2_QINLINE void q_dots(vi *sum, const int R, const char *x, size_t row, const uint8_t *w,
                        const int steps, const vl2_qkind kind) {
    VL2_EACH(s, steps) {
        vi v[COLUMNS], size[COLUMNS];
        VL2_EACH(c, COLUMNS) {
            v[c] = vi_load(w + STEP * s + 4 * VL * c);
            size[c] = q_is_signed(kind) ? _mm256_abs_epi8(v[c]) : v[c];
        }
        VL2_EACH(r, R) {
            const vi four = four_of(x + (size_t)r * row + 4 * s);
            VL2_EACH(c, COLUMNS) {
                vi *to = &sum[r * COLUMNS + c];
                *to = step_dots(s ? *to : four, s == 0, v[c], size[c], four, kind);
            }
        }
        VL2_EACH(i, R * COLUMNS) keep(sum[i]);
    }
}

/* So many steps' sums fit; as 32 bits, times a scale (each twice; or once, with AVX-VNNI). */
VL2_QINLINE int q_most(const vl2_qkind kind) {
#if defined(VL2_Q_VNNI)
    return kind.unit == VL2_QUANT_SUPER && !kind.has_min ? 4 : 8;
#else
    return vl2_qkind_bits(kind) == 5 ? 4 : vl2_qkind_bits(kind) == 6 ? 2 : 8;
#endif
}
VL2_QINLINE vi q_scaled(vi sum, vi scale) {
#if defined(VL2_Q_VNNI)
    return vi_mul(sum, scale);
#else
    return vi_madd(sum, scale);
#endif
}

/* sum = products of a block, without what q_left leaves. */
VL2_QINLINE void block_dots(vi *sum, const int R, const char *x, size_t row, const uint8_t *w,
                            const vl2_qkind kind) {
    const int most = q_most(kind);
    q_dots(sum, R, x, row, w, most, kind);
#if !defined(VL2_Q_VNNI)
    if (q_is_signed(kind)) return;
    VL2_EACH(i, R * COLUMNS) sum[i] = vi_madd(sum[i], _mm256_set1_epi16(1));
    if (most == 8) return;
    vi more[TILE * COLUMNS];
    q_dots(more, R, x + 4 * most, row, w + STEP * most, most, kind);
    VL2_EACH(i, R * COLUMNS)
    sum[i] = vi_add(sum[i], vi_madd(more[i], _mm256_set1_epi16(1)));
#endif
}

/* x's sums of 32, of eight blocks or of those that there are. */
VL2_QINLINE vi block_sums(const q_rows *x, int r, size_t b0, size_t blocks, int16_t by) {
    const char *at = x->sums + (size_t)r * x->row + b0 * 4;
    _Alignas(32) int16_t part[16] = {0};
    if (blocks < 8) memcpy(part, at, blocks * 4);
    return vi_madd(blocks < 8 ? vi_load(part) : vi_load(at), _mm256_set1_epi16(by));
}

/* y += a panel's blocks of 32: `blocks` of them, from x's block b0 on. */
VL2_QINLINE void q_tile_32(vf *y, const int R, const q_rows *x, const panel *w, size_t b0,
                           size_t blocks, const vl2_qkind kind) {
    _Alignas(32) int32_t left[TILE][8];
    _Alignas(32) float sums[TILE][8];
    VL2_EACH(r, R) {
        if (q_left(kind)) vi_store(left[r], block_sums(x, r, b0, blocks, (int16_t)-q_left(kind)));
        if (kind.has_min) v_store(sums[r], v_from(block_sums(x, r, b0, blocks, 1)));
    }
    for (size_t b = 0; b < blocks; b++) {
        vi a[TILE * COLUMNS];
        block_dots(a, R, x->q + 32 * (b0 + b), x->row, w->q[8 * b][0], kind);
        VL2_EACH(r, R) {
            const vf dx = q_scale(x, r, b0 + b);
            VL2_EACH(c, COLUMNS) {
                vi sum = a[r * COLUMNS + c];
                if (q_left(kind)) sum = vi_add(sum, vi_set(left[r][b]));
                vf t = v_mul(v_mul(v_load(w->d[b] + VL * c), dx), v_from(sum));
                if (kind.has_min)
                    t = v_add(t, v_mul(v_mul(v_load(w->m[b] + VL * c), dx), v_set(sums[r][b])));
                y[r * COLUMNS + c] = v_add(y[r * COLUMNS + c], t);
            }
        }
    }
}

/* x's sums of 32, pairs of those as the least values of affine_heads have theirs. */
VL2_QINLINE void affine_sums(int32_t by[8], const q_rows *x, int r, size_t u) {
    const vi s = block_sums(x, r, 8 * u, 8, 1);
    const vi later = _mm256_slli_epi32(_mm256_shuffle_epi32(s, 0xee), 16);
    vi_store(by, _mm256_blend_epi16(s, later, 0xaa));
}

/* x + 128 of R rows. */
VL2_QINLINE const char *flip(char *out, const int R, const char *x, size_t row) {
    for (int r = 0; r < R; r++) VL2_EACH(i, VL2_QUANT_SUPER / 32)
    vi_store(out + VL2_QUANT_SUPER * r + 32 * i,
             _mm256_xor_si256(vi_load(x + (size_t)r * row + 32 * i), _mm256_set1_epi8(-128)));
    return out;
}

/* a += scaled products of as many steps as fit. Of Q6_K they are so few that a's are what should stay in
 * registers. */
VL2_QINLINE void sub_dots(vi *a, const int R, const char *x, size_t row, const uint8_t *w,
                          const int32_t *scale, const vl2_qkind kind) {
    vi sum[TILE * COLUMNS];
    if (q_most(kind) > 2) {
        q_dots(sum, R, x, row, w, q_most(kind), kind);
        VL2_EACH(r, R)
        VL2_EACH(c, COLUMNS) {
            vi *to = &a[r * COLUMNS + c];
            *to = vi_add(*to, q_scaled(sum[r * COLUMNS + c], vi_load(scale + VL * c)));
        }
        return;
    }
    vi v[2 * COLUMNS];
    VL2_EACH(i, 2 * COLUMNS) v[i] = vi_load(w + 4 * VL * i);
    VL2_EACH(r, R) {
        const vi first = four_of(x + (size_t)r * row), second = four_of(x + (size_t)r * row + 4);
        VL2_EACH(c, COLUMNS) {
            vi *to = &a[r * COLUMNS + c];
            const vi some = step_dots(first, true, v[c], v[c], first, kind);
            const vi all = step_dots(some, false, v[COLUMNS + c], v[c], second, kind);
            *to = vi_add(*to, q_scaled(all, vi_load(scale + VL * c)));
            keep(*to);
        }
    }
}

/* y += a super-block. */
VL2_QINLINE void q_tile_k(vf *y, const int R, const q_rows *x, const panel *w, size_t u,
                          const vl2_qkind kind) {
    const int most = q_most(kind);
    const size_t parts = (kind.has_min ? 8 : 4) / (size_t)most, subs = kind.has_min ? 8 : 16;
    _Alignas(32) char flipped[TILE * VL2_QUANT_SUPER];
    const char *q = x->q + VL2_QUANT_SUPER * u;
    if (q_is_flipped(kind)) q = flip(flipped, R, q, x->row);
    const size_t row = q_is_flipped(kind) ? VL2_QUANT_SUPER : x->row;
    vi a[TILE * COLUMNS];
    VL2_EACH(r, R)
    VL2_EACH(c, COLUMNS)
    a[r * COLUMNS + c] = kind.has_min ? vi_set(0) : vi_load(w->min[0] + VL * c);
    const uint8_t *wq = w->q[0][0];
    for (size_t s = 0; s < subs; s++)
        for (size_t part = 0; part < parts; part++) {
            sub_dots(a, R, q, row, wq, w->scale[s], kind);
            q += 4 * most;
            wq += STEP * most;
        }
    VL2_EACH(r, R) {
        _Alignas(32) int32_t by[8];
        const vf dx = q_scale(x, r, u);
        if (kind.has_min) affine_sums(by, x, r, u);
        VL2_EACH(c, COLUMNS) {
            vf t = v_mul(v_mul(v_load(w->d[0] + VL * c), dx), v_from(a[r * COLUMNS + c]));
            if (kind.has_min) {
                vi b = vi_set(0);
                VL2_EACH(i, 4)
                b = vi_add(b, vi_madd(vi_load(w->min[i] + VL * c), vi_set(by[i / 2 * 4 + i % 2])));
                t = v_add(t, v_mul(v_mul(v_load(w->m[0] + VL * c), dx), v_from(b)));
            }
            y[r * COLUMNS + c] = v_add(y[r * COLUMNS + c], t);
        }
    }
}

/* Where sums go: `n` columns, and whether these are the first. */
typedef struct q_out {
    float *y;
    size_t ld, n;
    bool begins;
} q_out;

VL2_QINLINE void q_tile(const q_out *out, const int R, const q_rows *x, const panel *w, size_t k0,
                        size_t kn, const vl2_qkind kind) {
    vf y[TILE * COLUMNS];
    VL2_EACH(r, R)
    VL2_EACH(c, COLUMNS) {
        const float *at = out->y + (size_t)r * out->ld + VL * c;
        vf *to = &y[r * COLUMNS + c];
        *to = v_set(0.0f);
        if (out->begins || out->n <= VL * (size_t)c) continue;
        *to = out->n < VL * (size_t)(c + 1) ? v_load_part(at, out->n - VL * (size_t)c) : v_load(at);
    }
    if (kind.unit == VL2_QUANT_SUPER)
        q_tile_k(y, R, x, w, k0 / VL2_QUANT_SUPER, kind);
    else
        q_tile_32(y, R, x, w, k0 / 32, kn / 32, kind);
    VL2_EACH(r, R)
    VL2_EACH(c, COLUMNS) {
        float *at = out->y + (size_t)r * out->ld + VL * c;
        if (out->n >= VL * (size_t)(c + 1))
            v_store(at, y[r * COLUMNS + c]);
        else if (out->n > VL * (size_t)c)
            v_store_part(at, y[r * COLUMNS + c], out->n - VL * (size_t)c);
    }
}

/* All rows of x by one panel. */
VL2_QINLINE void q_tiles(q_out out, q_rows x, size_t m, const panel *w, size_t k0, size_t kn,
                         q_next *next, size_t portion, const vl2_qkind kind) {
    for (size_t done; m; m -= done) {
        if (m >= TILE)
            q_tile(&out, done = TILE, &x, w, k0, kn, kind);
        else if (m >= 2)
            q_tile(&out, done = 2, &x, w, k0, kn, kind);
        else
            q_tile(&out, done = 1, &x, w, k0, kn, kind);
        ask_next(next, portion);
        out.y += done * out.ld;
        x.q += done * x.row;
        x.d += done * x.row;
        x.sums += done * x.row;
    }
}

/* n <= 16 outputs. */
VL2_QINLINE void q_outputs(q_out out, const q_rows *x, size_t m, const char *w, size_t w_stride,
                           size_t k, panel *room, const vl2_qkind kind) {
    const size_t unit = (size_t)kind.unit, step = AHEAD * VL2_QUNIT_MAX;
    const size_t portion = VL2_QPANEL * TILE / m / AHEAD + 1;
    for (size_t k0 = 0; k0 < k; k0 += step) {
        const size_t kn = k - k0 < step ? k - k0 : step, left = k - k0 - kn;
        q_next next = {.from = w + (left ? (k0 + kn) / unit * kind.bytes : VL2_QPANEL * w_stride),
                       .stride = w_stride,
                       .bytes = (left && left < step ? left : step) / unit * kind.bytes,
                       .rows = VL2_QPANEL};
        q_panels(room, w + k0 / unit * kind.bytes, w_stride, out.n, kn, &next, kind);
        for (size_t at = 0; at < kn; at += VL2_QUNIT_MAX) {
            const size_t some = kn - at < VL2_QUNIT_MAX ? kn - at : VL2_QUNIT_MAX;
            out.begins = k0 + at == 0;
            q_tiles(out, *x, m, room + at / VL2_QUNIT_MAX, k0 + at, some, &next, portion, kind);
        }
    }
}

VL2_QINLINE void q_many(float *y, size_t ldy, const void *x, size_t m, const void *w,
                        size_t w_stride, size_t n, size_t k, void *room, const vl2_qkind kind) {
    const q_rows rows = q_rows_of(x, k, (size_t)kind.unit);
    for (size_t j = 0; j < n; j += VL2_QPANEL) {
        const q_out out = {.y = y + j, .ld = ldy, .n = n - j < VL2_QPANEL ? n - j : VL2_QPANEL};
        q_outputs(out, &rows, m, (const char *)w + j * w_stride, w_stride, k, room, kind);
    }
}

#define VL2_Q_MANY(type, name, unit, offset, has_min, block)                                       \
    static void many_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,          \
                            size_t w_stride, size_t n, size_t k, void *room) {                     \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), NULL};                       \
        q_many(y, ldy, x, m, w, w_stride, n, k, room, kind);                                       \
    }

VL2_QKINDS(VL2_Q_MANY)

#endif
