/* backend/cpu/x86/q_spans.h - products of many rows with quantized weights, AVX-512 with VNNI; to the bit
 * what qdot.h says. Comes after q_lanes.h.
 *
 * Of 32 outputs 256 elements at a time are unpacked to bytes, which stay in the first-level cache while all
 * rows of x pass by in tiles. A step of a tile is four elements: two vectors of weights, an output in each
 * lane, meet the four numbers of each row of x. Weights and rows that come next are asked for meanwhile.
 *
 * Sixteen rows of weights are turned 16 bytes at a time, while nibbles still share a byte. */
#ifndef VL2_BACKEND_CPU_X86_Q_SPANS_H
#define VL2_BACKEND_CPU_X86_Q_SPANS_H

enum {
    FEW_ROWS = 4, /* of x; they meet weights as the file has them */
    ROWS = 6,     /* of x in a tile */
    STRIPS = 2,   /* vectors of outputs */
    SPAN = VL2_QUANT_SUPER,
    BLOCKS = SPAN / VL2_QUANT_BLOCK
};

/* 256 elements, or the last blocks of a row, of 32 outputs. Super-blocks have a scale for each 32 elements
 * where there are least values, of which `min` has two in a lane, and for each 16 else. */
typedef struct span {
    _Alignas(64) uint8_t q[SPAN / 4][STRIPS][VL * 4];
    int32_t scale[16][STRIPS][VL], min[4][STRIPS][VL];
    float d[BLOCKS][STRIPS][VL], m[BLOCKS][STRIPS][VL]; /* super-blocks: [0] alone */
} span;

_Static_assert(sizeof(span) <= VL2_Q_ROOM, "a span has room");

/* ---- unpacking -------------------------------------------------------------------------------- */

/* The fifth bits of elements 4 * step …, bit 4 * step of `bits` the first, added to q as 16. */
VL2_QINLINE vi add_fifths(vi q, vi bits, int step) {
    const int8_t from = (int8_t)(step / 2);
    const vi same = _mm512_add_epi8(
        fours((const int8_t[16]){0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12}),
        _mm512_set1_epi8(from));
    const vi which = vi_set(step % 2 ? (int32_t)0x80402010u : 0x08040201);
    const __mmask64 set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, same), which);
    return _mm512_mask_add_epi8(q, set, q, _mm512_set1_epi8(16));
}

VL2_QINLINE void unpack_32(span *out, size_t c, const vl2_qlanes *l, size_t at, size_t b,
                           const vl2_qkind kind) {
    const vi flip = _mm512_set1_epi8(-128), table = _mm512_xor_si512(fours(vl2_quant_nl), flip);
    vi front[4], v[4];
    turn_16(front, l, at);
    v_store(out->d[b][c], halves_to_floats(vi_and(front[0], vi_set(0xffff))));
    if (kind.has_min) v_store(out->m[b][c], halves_to_floats(vi_right(front[0], 16)));
    if (vl2_qkind_bits(kind) == 8) {
        VL2_EACH(half, 2) {
            turn_16(v, l, at + 2 + 16 * (size_t)half);
            VL2_EACH(i, 4)
            vi_store(out->q[8 * b + 4 * (size_t)half + (size_t)i][c], _mm512_xor_si512(v[i], flip));
        }
        return;
    }
    const vi fifths =
        kind.has_min ? front[1] : vi_or(vi_right(front[0], 16), _mm512_slli_epi32(front[1], 16));
    turn_16(v, l, at + kind.bytes - 16);
    VL2_EACH(i, 4) {
        vi low = low_nibbles(v[i]), high = high_nibbles(v[i]);
        if (vl2_qkind_is_curved(kind)) {
            low = _mm512_shuffle_epi8(table, low);
            high = _mm512_shuffle_epi8(table, high);
        } else if (vl2_qkind_bits(kind) == 5) {
            low = add_fifths(low, fifths, i);
            high = add_fifths(high, fifths, i + 4);
        }
        vi_store(out->q[8 * b + (size_t)i][c], low);
        vi_store(out->q[8 * b + (size_t)i + 4][c], high);
    }
}

/* Bit `bit` of each byte where the fifth one is; other bits are anything. */
VL2_QINLINE vi to_fifth(vi bits, int bit) {
    return bit < 4 ? _mm512_slli_epi32(bits, (unsigned)(4 - bit))
                   : vi_right(bits, (unsigned)(bit - 4));
}

VL2_QINLINE void unpack_affine(span *out, size_t c, const vl2_qlanes *l, size_t at,
                               const vl2_qkind kind) {
    lanes_sums head;
    vi scale[2], min[4], fifths[8], v[4];
    affine_heads(&head, scale, min, l, at);
    v_store(out->d[0][c], head.d);
    v_store(out->m[0][c], head.m);
    VL2_EACH(s, 8)
    vi_store(out->scale[s][c], vi_and(vi_right(scale[s / 4], 8 * (s % 4)), vi_set(255)));
    VL2_EACH(p, 4) vi_store(out->min[p][c], min[p]);
    const size_t qs = at + kind.bytes - 128;
    if (vl2_qkind_bits(kind) == 5) {
        turn_16(fifths, l, qs - 32);
        turn_16(fifths + 4, l, qs - 16);
    }
    VL2_EACH(g, 8) { /* 16 bytes: elements 64 * (g / 2) + 16 * (g % 2), and 32 behind */
        const size_t step = 16 * ((size_t)g / 2) + 4 * ((size_t)g % 2);
        turn_16(v, l, qs + 16 * (size_t)g);
        VL2_EACH(i, 4) {
            vi low = low_nibbles(v[i]), high = high_nibbles(v[i]);
            if (vl2_qkind_bits(kind) == 5) {
                const vi bits = fifths[4 * (g % 2) + i];
                low = with_bits(low, to_fifth(bits, g / 2 * 2), 16);
                high = with_bits(high, to_fifth(bits, g / 2 * 2 + 1), 16);
            }
            vi_store(out->q[step + (size_t)i][c], low);
            vi_store(out->q[step + (size_t)i + 8][c], high);
        }
    }
}

VL2_QINLINE void unpack_6(span *out, size_t c, const vl2_qlanes *l, size_t at,
                          const vl2_qkind kind) {
    vi v[4], a[4], b[4], upper[4];
    lanes_16(v, l, at + kind.bytes - 16); /* d is at the end */
    v_store(out->d[0][c], halves_to_floats(vi_right(lanes_last(v), 16)));
    turn_16(v, l, at + kind.bytes - 18);
    const vi sign = vi_set(128);
    VL2_EACH(i, 4)
    VL2_EACH(byte, 4) {
        const vi each = vi_and(vi_right(v[i], 8 * (unsigned)byte), vi_set(255));
        vi_store(out->scale[4 * i + byte][c], vi_sub(_mm512_xor_si512(each, sign), sign));
    }
    VL2_EACH(g, 4) { /* of half g / 2, bytes 16 * (g % 2) … of its runs */
        const size_t from = 16 * ((size_t)g % 2);
        turn_16(a, l, at + 64 * ((size_t)g / 2) + from);
        turn_16(b, l, at + 64 * ((size_t)g / 2) + from + 32);
        turn_16(upper, l, at + 128 + 32 * ((size_t)g / 2) + from);
        VL2_EACH(i, 4) {
            uint8_t(*q)[STRIPS][VL * 4] = out->q + 32 * ((size_t)g / 2) + from / 4 + (size_t)i;
            vi_store(q[0][c], with_bits(low_nibbles(a[i]), _mm512_slli_epi16(upper[i], 4), 0x30));
            vi_store(q[8][c], with_bits(low_nibbles(b[i]), _mm512_slli_epi16(upper[i], 2), 0x30));
            vi_store(q[16][c], with_bits(high_nibbles(a[i]), upper[i], 0x30));
            vi_store(q[24][c], with_bits(high_nibbles(b[i]), _mm512_srli_epi16(upper[i], 2), 0x30));
        }
    }
}

/* Elements [at, at + n) of a strip's rows. */
typedef void unpack_strip(span *out, size_t c, const vl2_qlanes *l, size_t at, size_t n);

#define VL2_Q_UNPACK(type, name, unit, offset, has_min, block)                                     \
    static void unpack_##name(span *out, size_t c, const vl2_qlanes *l, size_t at, size_t n) {     \
        const vl2_qkind kind = {unit, offset, has_min, sizeof(block), NULL};                       \
        unpack_units(out, c, l, at / unit * sizeof(block), n, kind);                               \
    }

VL2_QINLINE void unpack_units(span *out, size_t c, const vl2_qlanes *l, size_t from, size_t n,
                              const vl2_qkind kind) {
    if (kind.unit == VL2_QUANT_SUPER && kind.has_min)
        unpack_affine(out, c, l, from, kind);
    else if (kind.unit == VL2_QUANT_SUPER)
        unpack_6(out, c, l, from, kind);
    else
        for (size_t b = 0; b < n / VL2_QUANT_BLOCK; b++, from += kind.bytes)
            unpack_32(out, c, l, from, b, kind);
}

VL2_QKINDS(VL2_Q_UNPACK)

/* ---- tiles: R rows of x by C strips ------------------------------------------------------------- */

/* What a span needs of the sums of x. Blocks of 32: those of 32, as floats where there are least values, and
 * else times -offset. Super-blocks: for least values pairs of sums of 32, in the order of span.min; else those
 * of 16 times -offset. */
typedef struct tile_sums {
    _Alignas(64) int32_t of[ROWS][16];
} tile_sums;

VL2_QINLINE void sums_32(int32_t *out, const char *sums, size_t blocks, const vl2_qkind kind) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i some = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)blocks), lanes);
    const __m256i pairs = _mm256_maskload_epi32((const void *)sums, some);
    const int by = kind.has_min ? 1 : -kind.offset;
    __m256i v = _mm256_madd_epi16(pairs, _mm256_set1_epi16((int16_t)by));
    if (kind.has_min) v = _mm256_castps_si256(_mm256_cvtepi32_ps(v));
    _mm256_storeu_si256((__m256i *)(void *)out, v);
}

VL2_QINLINE void sums_k(int32_t *out, const char *sums, const vl2_qkind kind) {
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)sums);
    if (!kind.has_min) {
        const __m256i by = _mm256_set1_epi32(-kind.offset);
        const __m256i low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(v));
        const __m256i high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(v, 1));
        _mm256_storeu_si256((__m256i *)(void *)out, _mm256_mullo_epi32(low, by));
        _mm256_storeu_si256((__m256i *)(void *)(out + 8), _mm256_mullo_epi32(high, by));
        return;
    }
    const __m256i wide = _mm256_madd_epi16(v, _mm256_set1_epi16(1));
    const __m128i each =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_shuffle_epi8(each, order));
}

/* gcc 12 copies sums between registers with each step unless told that each has one. */
#if defined(VL2_EMULATE_AVX512)
#define keep(sum) ((void)(sum))
#else
#define keep(sum) __asm__("" : "+v"(sum))
#endif

VL2_QINLINE void add_steps(vi *a, const int R, const int C, const char *x, size_t row,
                           const uint8_t (*w)[STRIPS][VL * 4], const int steps) {
    for (int s = 0; s < steps; s++) {
        vi v[STRIPS];
        VL2_EACH(c, C) v[c] = vi_load(w[s][c]);
        VL2_EACH(r, R) {
            int32_t four;
            memcpy(&four, x + (size_t)r * row + 4 * s, 4);
            const vi fours_x = vi_set(four);
            VL2_EACH(c, C) a[r * C + c] = add_dots(a[r * C + c], v[c], fours_x);
        }
        VL2_EACH(i, R * C) keep(a[i]);
    }
}

VL2_QINLINE void start_sums(vi *a, const int R, const int C, const tile_sums *sums, size_t i,
                            bool none) {
    VL2_EACH(r, R) {
        const vi v = vi_set(none ? 0 : sums->of[r][i]);
        VL2_EACH(c, C) a[r * C + c] = v;
    }
}

/* A tile's outputs: y[i * ld + j], of the last strip those of `last`; `old`: of the others, and of the last
 * strip, those that have a sum already, all or none. */
typedef struct some_y {
    float *y;
    size_t ld;
    __mmask16 last, old, old_last;
} some_y;

VL2_QINLINE vf y_before(const some_y *y, int r, int c, int C) {
    return _mm512_maskz_loadu_ps(c == C - 1 ? y->old_last : y->old,
                                 y->y + (size_t)r * y->ld + VL * c);
}
VL2_QINLINE void y_set(const some_y *y, int r, int c, int C, vf sum) {
    float *to = y->y + (size_t)r * y->ld + VL * c;
    if (c == C - 1)
        _mm512_mask_storeu_ps(to, y->last, sum);
    else
        v_store(to, sum);
}

VL2_QINLINE void tile_32(const some_y *y, const int R, const int C, const q_rows *x,
                         const tile_sums *sums, const span *w, size_t at, size_t n,
                         const vl2_qkind kind) {
    vf acc[ROWS * STRIPS];
    VL2_EACH(i, ROWS * STRIPS) acc[i] = v_set(0.0f);
    VL2_EACH(r, R)
    VL2_EACH(c, C)
    acc[r * C + c] = y_before(y, r, c, C);
    for (size_t b = 0; b < n / VL2_QUANT_BLOCK; b++) {
        const size_t block = at / VL2_QUANT_BLOCK + b;
        vi a[ROWS * STRIPS];
        start_sums(a, R, C, sums, b, kind.has_min);
        add_steps(a, R, C, x->q + 32 * block, x->row, &w->q[8 * b], 8);
        VL2_EACH(r, R) {
            const vf dx = q_scale(x, r, block);
            VL2_EACH(c, C) {
                vf t = v_mul(v_mul(v_load(w->d[b][c]), dx), v_from(a[r * C + c]));
                if (kind.has_min) {
                    const vf sum = _mm512_castsi512_ps(vi_set(sums->of[r][b]));
                    t = v_add(t, v_mul(v_mul(v_load(w->m[b][c]), dx), sum));
                }
                acc[r * C + c] = v_add(acc[r * C + c], t);
            }
        }
    }
    VL2_EACH(r, R) VL2_EACH(c, C) y_set(y, r, c, C, acc[r * C + c]);
}

/* What least values add to row r, for its C strips. */
VL2_QINLINE void add_least(vf *out, const int r, const int C, const q_rows *x,
                           const tile_sums *sums, const span *w, size_t at) {
    const vf dx = q_scale(x, r, at / SPAN);
    VL2_EACH(c, C) {
        vi b = vi_madd(vi_load(w->min[0][c]), vi_set(sums->of[r][0]));
        VL2_EACH(p, 3)
        b = vi_add(b, vi_madd(vi_load(w->min[p + 1][c]), vi_set(sums->of[r][p + 1])));
        out[r * C + c] = v_mul(v_mul(v_load(w->m[0][c]), dx), v_from(b));
    }
}

/* Least values are seen to between the sub-blocks, a row after each. */
VL2_QINLINE void tile_k(const some_y *y, const int R, const int C, const q_rows *x,
                        const tile_sums *sums, const span *w, size_t at, const vl2_qkind kind) {
    const int subs = kind.has_min ? 8 : 16, steps = SPAN / 4 / subs;
    vi a[ROWS * STRIPS];
    vf least[ROWS * STRIPS];
    VL2_EACH(i, ROWS * STRIPS) a[i] = vi_set(0);
    for (int s = 0; s < subs; s++) {
        vi dots[ROWS * STRIPS];
        start_sums(dots, R, C, sums, (size_t)s, kind.has_min);
        add_steps(dots, R, C, x->q + at + (size_t)(4 * steps * s), x->row, &w->q[steps * s], steps);
        VL2_EACH(r, R)
        VL2_EACH(c, C)
        a[r * C + c] = vi_add(a[r * C + c], vi_mul(dots[r * C + c], vi_load(w->scale[s][c])));
        if (kind.has_min && s < R) add_least(least, s, C, x, sums, w, at);
    }
    VL2_EACH(r, R) {
        const vf dx = q_scale(x, r, at / SPAN);
        VL2_EACH(c, C) {
            vf t = v_mul(v_mul(v_load(w->d[0][c]), dx), v_from(a[r * C + c]));
            if (kind.has_min) t = v_add(t, least[r * C + c]);
            y_set(y, r, c, C, v_add(y_before(y, r, c, C), t));
        }
    }
}

VL2_QINLINE void tile(const some_y *to, const int R, const int C, const q_rows *x, const span *w,
                      size_t at, size_t n, const vl2_qkind kind) {
    const some_y y = *to;
    tile_sums sums;
    VL2_EACH(r, R) {
        const char *from = x->sums + (size_t)r * x->row + at / 16 * sizeof(int16_t);
        if (kind.unit == VL2_QUANT_BLOCK)
            sums_32(sums.of[r], from, n / VL2_QUANT_BLOCK, kind);
        else
            sums_k(sums.of[r], from, kind);
    }
    if (kind.unit == VL2_QUANT_BLOCK)
        tile_32(&y, R, C, x, &sums, w, at, n, kind);
    else
        tile_k(&y, R, C, x, &sums, w, at, kind);
}

/* Types whose tiles are alike: they differ in the offset alone. */
typedef void tile_of(const some_y *y, const q_rows *x, const span *w, size_t at, size_t n,
                     int offset);

#define TILE(name, unit, has_min, R, C)                                                            \
    static void tile_##name##_##R##_##C(const some_y *y, const q_rows *x, const span *w,           \
                                        size_t at, size_t n, int offset) {                         \
        const vl2_qkind kind = {unit, offset, has_min, 0, NULL};                                   \
        tile(y, R, C, x, w, at, n, kind);                                                          \
    }
#define TILES(name, unit, has_min)                                                                 \
    TILE(name, unit, has_min, 1, 1)                                                                \
    TILE(name, unit, has_min, 3, 1)                                                                \
    TILE(name, unit, has_min, 4, 1)                                                                \
    TILE(name, unit, has_min, 6, 1)                                                                \
    TILE(name, unit, has_min, 1, 2)                                                                \
    TILE(name, unit, has_min, 3, 2)                                                                \
    TILE(name, unit, has_min, 4, 2)                                                                \
    TILE(name, unit, has_min, 6, 2)                                                                \
    static tile_of *const tiles_##name[STRIPS + 1][ROWS + 1] = {                                   \
        [1] = {[1] = tile_##name##_1_1,                                                            \
               [3] = tile_##name##_3_1,                                                            \
               [4] = tile_##name##_4_1,                                                            \
               [6] = tile_##name##_6_1},                                                           \
        [2] = {[1] = tile_##name##_1_2,                                                            \
               [3] = tile_##name##_3_2,                                                            \
               [4] = tile_##name##_4_2,                                                            \
               [6] = tile_##name##_6_2},                                                           \
    };

TILES(even, VL2_QUANT_BLOCK, false)
TILES(least, VL2_QUANT_BLOCK, true)
TILES(super_even, VL2_QUANT_SUPER, false)
TILES(super_least, VL2_QUANT_SUPER, true)

/* Rows of the next tile when so many are left: few rows' sums are too few to hide each other's latency. */
static size_t tile_rows(size_t left) {
    if (left == 4 || left == 5 || left == 7 || left == 8 || left == 11) return 4;
    return left < 3 ? 1 : left < ROWS ? 3 : ROWS;
}

/* ---- products --------------------------------------------------------------------------------- */

static void ask_for(const char *from, size_t bytes) {
    for (size_t at = 0; at < bytes + 63; at += 64) _mm_prefetch(from + at, _MM_HINT_T1);
}

/* What comes after a span: `bytes` of each of so many rows, some of them with each tile. */
typedef struct ahead {
    const char *from;
    size_t stride, bytes, rows;
} ahead;

VL2_QINLINE void ask_some(ahead *a, size_t rows) {
    for (; rows && a->rows; rows--, a->rows--, a->from += a->stride) ask_for(a->from, a->bytes);
}

typedef struct job { /* a type's */
    size_t unit, bytes;
    int offset;
    unpack_strip *unpack;
    tile_of *const (*tiles)[ROWS + 1];
} job;

/* What the next tile reads, or what lies behind the last one. */
static void ask_x(const job *p, const q_rows *x, size_t first, size_t at, size_t n) {
    for (size_t r = first; r < first + ROWS; r++) {
        for (size_t line = 0; line < n; line += 64)
            _mm_prefetch(x->q + r * x->row + at + line, _MM_HINT_T0);
        _mm_prefetch(x->d + r * x->row + at / p->unit * sizeof(float), _MM_HINT_T0);
        _mm_prefetch(x->sums + r * x->row + at / 16 * sizeof(int16_t), _MM_HINT_T0);
    }
}

/* All rows of x by a span of C strips. */
static void all_rows(const job *p, some_y y, size_t m, size_t C, q_rows x, const span *w, size_t at,
                     size_t n, ahead next) {
    const size_t portion = next.rows * ROWS / m + 1;
    for (size_t rows; m; m -= rows) {
        rows = tile_rows(m);
        ask_some(&next, portion);
        ask_x(p, &x, rows, at, n);
        p->tiles[C][rows](&y, &x, w, at, n, p->offset);
        y.y += rows * y.ld;
        x.q += rows * x.row;
        x.d += rows * x.row;
        x.sums += rows * x.row;
    }
}

/* n <= 32 outputs. */
static void some_outputs(const job *p, float *to, size_t ldy, const q_rows *x, size_t m,
                         const char *w, size_t w_stride, size_t n, size_t k, span *room) {
    const size_t C = (n + VL - 1) / VL;
    some_y y = {.y = to, .ld = ldy, .last = v_mask(n - (C - 1) * VL)};
    vl2_qlanes l[STRIPS];
    for (size_t c = 0; c < C; c++)
        l[c] = lanes_of(w + c * VL * w_stride, w_stride, n - c * VL < VL ? n - c * VL : VL);
    for (size_t at = 0; at < k; at += SPAN) {
        const size_t some = k - at < SPAN ? k - at : SPAN,
                     behind = (at + some) / p->unit * p->bytes;
        const ahead next = {.from = w + (at + some < k ? behind : n * w_stride),
                            .stride = w_stride,
                            .bytes = SPAN / p->unit * p->bytes,
                            .rows = STRIPS * VL};
        for (size_t c = 0; c < C; c++) p->unpack(room, c, &l[c], at, some);
        if (at) y.old = v_mask(VL), y.old_last = y.last;
        all_rows(p, y, m, C, *x, room, at, some, next);
    }
}

static void q_many(const job *p, float *y, size_t ldy, const void *x, size_t m, const void *w,
                   size_t w_stride, size_t n, size_t k, void *room) {
    const q_rows rows = q_rows_of(x, k, p->unit);
    for (size_t j = 0; j < n; j += STRIPS * VL)
        some_outputs(p, y + j, ldy, &rows, m, (const char *)w + j * w_stride, w_stride,
                     n - j < STRIPS * VL ? n - j : STRIPS * VL, k, room);
}

#define VL2_Q_MANY(type, name, unit_, offset_, has_min, block)                                     \
    static void many_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,          \
                            size_t w_stride, size_t n, size_t k, void *room) {                     \
        const bool in_supers = unit_ == VL2_QUANT_SUPER;                                           \
        const job p = {.unit = unit_,                                                              \
                       .bytes = sizeof(block),                                                     \
                       .offset = offset_,                                                          \
                       .unpack = unpack_##name,                                                    \
                       .tiles = in_supers ? has_min ? tiles_super_least : tiles_super_even         \
                                : has_min ? tiles_least                                            \
                                          : tiles_even};                                           \
        q_many(&p, y, ldy, x, m, w, w_stride, n, k, room);                                         \
    }

VL2_QKINDS(VL2_Q_MANY)

#endif
