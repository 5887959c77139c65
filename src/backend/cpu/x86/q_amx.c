/* Products of many rows with quantized weights, by AMX tiles of 8-bit numbers; to the bit what qdot.h says.
 *
 * Weights are the left tile, 16 outputs side by side, unpacked for 256 elements of k at a time (they stay
 * in the first-level cache while all rows of x pass by); x is the right one, in fours of k, prepared once
 * for all weights. Sums come out as [outputs, rows of x]: a vector holds sixteen rows of x of one output.
 *
 * Blocks of 32: each block's whole numbers leave the tile and are scaled by themselves.
 * Super-blocks: a weight times its sub-block's scale is a whole number of up to 14 bits; its two bytes are
 * two tiles, whose sums over 256 elements leave as low and high and are scaled once. What least values
 * add is one more tile product, of bf16: they and halves of x's sums are exact there, and so are its sums.
 *
 * Vectors work on a group's sums between the tile products of the next one. */
#include "backend/cpu/qunits.h"
#include "backend/cpu/x86/amx.h"
#include "backend/cpu/x86/halves_avx512.h"
#include "backend/cpu/x86/vec_avx512.h"
#include "backend/cpu/x86/x86.h"

#include <math.h>

enum {
    SIDE = 16, /* outputs and rows of x in a tile */
    PAIR = 2 * SIDE,
    SPAN = VL2_QUANT_SUPER, /* elements of k unpacked at a time */
    BLOCKS = SPAN / VL2_QUANT_BLOCK
};

static __m512i load(const void *p) { return _mm512_loadu_si512(p); }
static void store(void *p, __m512i a) { _mm512_storeu_si512(p, a); }
static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- preparing x ------------------------------------------------------------------------------ */

/* m rows: [k/4, m, 4] whole numbers; [k/unit, m] scales; of super-blocks [k/32, m] pairs of bf16, whose
 * sum is that of 32 whole numbers, and 8 lines of zeros, so that tiles of 16 lines may be loaded. */
static size_t row_bytes(size_t k, size_t unit) {
    return (vl2_qx_bytes(k, unit) + 32 + 63) / 64 * 64;
}
static size_t row_bytes_32(size_t k) { return row_bytes(k, VL2_QUANT_BLOCK); }
static size_t row_bytes_k(size_t k) { return row_bytes(k, VL2_QUANT_SUPER); }

/* Of sixteen rows: the scale of n elements, and its inverse; lanes of `good` hold numbers. */
typedef struct scales {
    __m512 d;
    float inverse[SIDE];
    __mmask16 good;
} scales;

static const float BELOW_LEAST = 0x1.4484bep-100f; /* what comes before 1e-30 */

VL2_QINLINE scales scales_of(const float *const *rows, size_t m, size_t at, size_t n) {
    const __m512i sign = _mm512_set1_epi32((int)0x80000000u);
    __m512 most[SIDE];
    for (size_t r = 0; r < SIDE; r++) {
        __m512i v = _mm512_setzero_si512();
        for (size_t i = 0; r < m && i < n; i += 16)
            v = _mm512_max_epi32(v, _mm512_andnot_si512(sign, load(rows[r] + at + i)));
        most[r] = _mm512_castsi512_ps(v);
    }
    v_transpose(most);
    __m512i top = _mm512_castps_si512(most[0]);
    for (size_t r = 1; r < SIDE; r++) top = _mm512_max_epi32(top, _mm512_castps_si512(most[r]));
    const __m512 greatest = _mm512_castsi512_ps(top), limit = v_set(127.0f);
    scales s = {.good = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(0x7f800000), top)};
    const __mmask16 some =
        s.good & _mm512_cmpgt_epi32_mask(top, _mm512_castps_si512(v_set(BELOW_LEAST)));
    s.d = _mm512_mask_mov_ps(v_set(NAN), s.good, _mm512_maskz_div_ps(some, greatest, limit));
    v_store(s.inverse, _mm512_maskz_div_ps(some, limit, greatest));
    return s;
}

/* 64 elements (or 32, zeros behind) of row r as bytes in their order. */
VL2_QINLINE __m512i bytes_of(const float *row, size_t n, const __m512 inverse, bool good) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i v[4];
    if (!good) return _mm512_setzero_si512();
    for (size_t i = 0; i < 4; i++)
        v[i] = 16 * i < n ? _mm512_cvtps_epi32(v_mul(v_load(row + 16 * i), inverse))
                          : _mm512_setzero_si512();
    return _mm512_permutexvar_epi32(
        order, _mm512_packs_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3])));
}

/* v of m rows. */
VL2_QINLINE void store_rows(void *to, __m512 v, size_t m) {
    if (m == SIDE)
        v_store(to, v);
    else
        v_store_part(to, v, m);
}

/* Sums of 32 as a pair of bf16: a multiple of 64, and the rest. */
VL2_QINLINE void store_sums(float *to, __m512i sum, size_t m) {
    const __m512i rest = _mm512_and_si512(sum, _mm512_set1_epi32(63));
    const __m512i high = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, rest)));
    const __m512i low = _mm512_castps_si512(_mm512_cvtepi32_ps(rest));
    store_rows(to, _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32(high, 16), low)), m);
}

/* Elements [at, at + n) of all rows, n = 64 or 32, as fours; sums: room for two lines of pairs, or NULL */
VL2_QINLINE void pack_fours(float *to, float *sums, const float *const *rows, size_t m, size_t at,
                            size_t n, const scales *first, const scales *second) {
    __m512 a[SIDE];
    for (size_t r = 0; r < SIDE; r++) {
        a[r] = _mm512_setzero_ps();
        if (r >= m) continue;
        const __m512i low =
            bytes_of(rows[r] + at, second ? 32 : n, v_set(first->inverse[r]), first->good >> r & 1);
        a[r] = _mm512_castsi512_ps(low);
        if (!second || n == 32) continue;
        const __m512i high =
            bytes_of(rows[r] + at + 32, 32, v_set(second->inverse[r]), second->good >> r & 1);
        a[r] = _mm512_castsi512_ps(_mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1));
    }
    v_transpose(a);
    __m512i sum[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t i = 0; i < n / 4; i++) {
        store_rows(to + i * m, a[i], m);
        if (sums)
            sum[i / 8] =
                _mm512_dpbusd_epi32(sum[i / 8], _mm512_set1_epi8(1), _mm512_castps_si512(a[i]));
    }
    for (size_t i = 0; sums && i < 2; i++) store_sums(sums + i * m, sum[i], m);
}

static void pack_32(void *out, const float *const *rows, size_t m, size_t k) {
    float *fours = out, *d = fours + m * k / 4;
    for (size_t at = 0; at < k; at += 64) {
        const size_t n = least(64, k - at);
        const scales first = scales_of(rows, m, at, 32);
        store_rows(d + at / 32 * m, first.d, m);
        scales second = first;
        if (n == 64) {
            second = scales_of(rows, m, at + 32, 32);
            store_rows(d + (at / 32 + 1) * m, second.d, m);
        }
        pack_fours(fours + at / 4 * m, NULL, rows, m, at, n, &first, &second);
    }
}

static void pack_k(void *out, const float *const *rows, size_t m, size_t k) {
    float *fours = out, *d = fours + m * k / 4, *sums = d + m * (k / SPAN);
    for (size_t at = 0; at < k; at += 64) {
        scales s;
        if (at % SPAN == 0) {
            s = scales_of(rows, m, at, SPAN);
            store_rows(d + at / SPAN * m, s.d, m);
        }
        pack_fours(fours + at / 4 * m, sums + at / 32 * m, rows, m, at, 64, &s, NULL);
    }
    memset(sums + k / 32 * m, 0, 32 * m);
}

/* ---- unpacking weights ------------------------------------------------------------------------ */

typedef enum layout { BYTES, EVEN, CURVED, FIFTHS, Q4_K, Q5_K, Q6_K } layout;

/* 256 elements, or the last blocks of a row, of 16 outputs. */
typedef struct panel {
    _Alignas(64) uint8_t q[2][SIDE][SPAN]; /* super-blocks: low and high bytes of scale * q */
    float d[BLOCKS][SIDE], m[SIDE];
    uint32_t min[SIDE][16]; /* pairs of bf16 for each 32 elements; zeros from [8] on */
} panel;

/* Sixteen rows of weights; those from n on are the last one again. */
typedef struct source {
    const char *row[SIDE];
    const char *ahead; /* what comes after them, or NULL */
    size_t stride;
    __m512i offset;
} source;

static source source_of(const char *w, size_t stride, size_t n, const char *ahead) {
    source s = {.ahead = ahead, .stride = stride};
    int32_t offset[SIDE];
    for (size_t r = 0; r < SIDE; r++) {
        const size_t at = (r < n ? r : n - 1) * stride;
        s.row[r] = w + at;
        offset[r] = (int32_t)at;
    }
    s.offset = load(offset);
    return s;
}

VL2_QINLINE __m512i gather(const source *s, size_t at) {
    return _mm512_i32gather_epi32(s->offset, s->row[0] + at, 1);
}
static __m512i low_halves(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi32(0xffff)); }

static void ask_for(const char *from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 64) _mm_prefetch(from + at, _MM_HINT_T1);
}

/* Both nibbles of 16 bytes, low ones first. */
VL2_QINLINE __m256i nibbles_of(const uint8_t *qs) {
    const __m128i raw = _mm_loadu_si128((const __m128i *)(const void *)qs);
    const __m256i both =
        _mm256_inserti128_si256(_mm256_castsi128_si256(raw), _mm_srli_epi16(raw, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

VL2_QINLINE __m256i block_of(const char *block, const layout form) {
    if (form == BYTES)
        return _mm256_loadu_si256((const __m256i *)(const void *)((const vl2_q8_0 *)block)->q);
    if (form == FIFTHS) {
        const vl2_q5_0 *b = (const vl2_q5_0 *)block;
        uint32_t fifths;
        memcpy(&fifths, b->qh, sizeof fifths);
        const __m256i q = nibbles_of(b->qs);
        return _mm256_sub_epi8(_mm256_mask_add_epi8(q, fifths, q, _mm256_set1_epi8(16)),
                               _mm256_set1_epi8(16));
    }
    const __m256i q = nibbles_of(((const vl2_q4_0 *)block)->qs);
    if (form == EVEN) return _mm256_sub_epi8(q, _mm256_set1_epi8(8));
    const __m128i table = _mm_loadu_si128((const __m128i *)(const void *)vl2_quant_nl);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), q);
}

VL2_QINLINE void unpack_32(panel *out, const source *s, size_t at, size_t blocks, const layout form,
                           size_t bytes) {
    for (size_t r = 0; r < SIDE; r++) {
        const char *from = s->row[r] + at;
        if (s->ahead) ask_for(s->ahead + r * s->stride + at, blocks * bytes);
        for (size_t b = 0; b < blocks; b++)
            _mm256_store_si256((__m256i *)(void *)&out->q[0][r][32 * b],
                               block_of(from + b * bytes, form));
    }
    for (size_t b = 0; b < blocks; b++)
        v_store(out->d[b], halves_to_floats(low_halves(gather(s, at + b * bytes))));
}

/* Bytes of q times the scales of their 16-bit lanes, as low and high bytes. */
VL2_QINLINE void store_scaled(uint8_t *low, uint8_t *high, __m512i q, __m512i scale, int offset) {
    const __m512i below = _mm512_set1_epi16(0xff);
    __m512i even = _mm512_mullo_epi16(_mm512_and_si512(q, below), scale);
    __m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(q, 8), scale);
    if (offset) {
        const __m512i less = _mm512_mullo_epi16(scale, _mm512_set1_epi16((int16_t)offset));
        even = _mm512_sub_epi16(even, less);
        odd = _mm512_sub_epi16(odd, less);
    }
    /* a where `below` is set, else b */
    store(low, _mm512_ternarylogic_epi32(below, even, _mm512_slli_epi16(odd, 8), 0xca));
    store(high, _mm512_ternarylogic_epi32(below, _mm512_srli_epi16(even, 8), odd, 0xca));
}

/* The index of the 16-bit scale of each lane: of 32 elements from `first` on, or of 16. */
VL2_QINLINE __m512i scale_lanes(int first, bool by_16) {
    const __m512i lanes =
        _mm512_setr_epi32(0, 0, 0, 0, 0x10001, 0x10001, 0x10001, 0x10001, 0x20002, 0x20002, 0x20002,
                          0x20002, 0x30003, 0x30003, 0x30003, 0x30003);
    const __m512i base = _mm512_set1_epi16((int16_t)first);
    return _mm512_add_epi16(base, by_16 ? lanes : _mm512_srli_epi16(lanes, 1));
}

/* Bit `low` of each byte for the first 32, bit `high` for the others, as 16. */
VL2_QINLINE __m512i add_fifth(__m512i q, __m512i qh, int low, int high) {
    const __m512i bits = _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << low)),
                                            _mm256_set1_epi8((char)(1 << high)), 1);
    return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(qh, bits), q, _mm512_set1_epi8(16));
}

/* Scales and least values, 8 numbers of 6 bits each, in 16-bit lanes. */
VL2_QINLINE __m256i affine_scales(const uint8_t packed[12]) {
    uint32_t a, b, c;
    memcpy(&a, packed, 4);
    memcpy(&b, packed + 4, 4);
    memcpy(&c, packed + 8, 4);
    const uint64_t scale =
        (a & 0x3f3f3f3fu) | (uint64_t)((c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)) << 32;
    const uint64_t min =
        (b & 0x3f3f3f3fu) | (uint64_t)((c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)) << 32;
    return _mm256_cvtepu8_epi16(_mm_set_epi64x((long long)min, (long long)scale));
}

VL2_QINLINE void unpack_affine(panel *out, size_t r, const uint8_t packed[12], const uint8_t *qs,
                               const uint8_t *qh) {
    const __m256i both = affine_scales(packed);
    const __m512i nibble = _mm512_set1_epi8(15), wide = _mm512_castsi256_si512(both);
    __m512i fifths = nibble;
    if (qh) fifths = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)qh));
    for (int half = 0; half < 2; half++) {
        const __m512i raw = load(qs + 64 * half);
        __m512i even = _mm512_and_si512(raw, nibble); /* sub-blocks 0 and 2 */
        __m512i odd = _mm512_and_si512(_mm512_srli_epi16(raw, 4), nibble);
        if (qh) {
            even = add_fifth(even, fifths, 4 * half, 4 * half + 2);
            odd = add_fifth(odd, fifths, 4 * half + 1, 4 * half + 3);
        }
        for (int i = 0; i < 2; i++) {
            const size_t at = 128 * (size_t)half + 64 * (size_t)i;
            const __m512i q =
                i ? _mm512_shuffle_i32x4(even, odd, 0xee) : _mm512_shuffle_i32x4(even, odd, 0x44);
            const __m512i scale =
                _mm512_permutexvar_epi16(scale_lanes(4 * half + 2 * i, false), wide);
            store_scaled(&out->q[0][r][at], &out->q[1][r][at], q, scale, 0);
        }
    }
    const __m256i min = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(both, 1));
    const __m256i bits = _mm256_castps_si256(_mm256_cvtepi32_ps(min));
    store(out->min[r], _mm512_inserti64x4(_mm512_setzero_si512(),
                                          _mm256_or_si256(bits, _mm256_srli_epi32(bits, 16)), 0));
}

VL2_QINLINE void unpack_q6_k(panel *out, size_t r, const vl2_q6_k *b) {
    const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(0x30);
    const __m512i left = _mm512_inserti64x4(_mm512_set1_epi16(4), _mm256_set1_epi16(2), 1);
    const __m512i right = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(2), 1);
    const __m512i wide = _mm512_castsi256_si512(
        _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)b->scales)));
    for (int half = 0; half < 2; half++) {
        const __m512i ql = load(b->ql + 64 * half);
        const __m512i qh = _mm512_broadcast_i64x4(
            _mm256_loadu_si256((const __m256i *)(const void *)(b->qh + 32 * half)));
        for (int i = 0; i < 2; i++) {
            const __m512i low = _mm512_and_si512(i ? _mm512_srli_epi16(ql, 4) : ql, nibble);
            const __m512i high = _mm512_and_si512(
                i ? _mm512_srlv_epi16(qh, right) : _mm512_sllv_epi16(qh, left), upper);
            const size_t at = 128 * (size_t)half + 64 * (size_t)i;
            store_scaled(&out->q[0][r][at], &out->q[1][r][at], _mm512_or_si512(low, high),
                         _mm512_permutexvar_epi16(scale_lanes(8 * half + 4 * i, true), wide), 32);
        }
    }
}

VL2_QINLINE void unpack_k(panel *out, const source *s, size_t at, const layout form, size_t bytes) {
    for (size_t r = 0; r < SIDE; r++) {
        const char *from = s->row[r] + at;
        if (s->ahead) ask_for(s->ahead + r * s->stride + at, bytes);
        if (form == Q6_K) {
            unpack_q6_k(out, r, (const vl2_q6_k *)from);
        } else if (form == Q5_K) {
            const vl2_q5_k *b = (const vl2_q5_k *)from;
            unpack_affine(out, r, b->scales, b->qs, b->qh);
        } else {
            const vl2_q4_k *b = (const vl2_q4_k *)from;
            unpack_affine(out, r, b->scales, b->qs, NULL);
        }
    }
    if (form == Q6_K) { /* read two bytes early: nothing need follow a block */
        const __m512i both = gather(s, at + offsetof(vl2_q6_k, d) - 2);
        v_store(out->d[0], halves_to_floats(_mm512_srli_epi32(both, 16)));
        return;
    }
    const __m512i both = gather(s, at), sign = _mm512_set1_epi32((int)0x80000000u);
    v_store(out->d[0], halves_to_floats(low_halves(both)));
    const __m512i m = _mm512_castps_si512(halves_to_floats(_mm512_srli_epi32(both, 16)));
    v_store(out->m, _mm512_castsi512_ps(_mm512_xor_si512(m, sign)));
}

/* ---- a pass: a panel's elements by all rows of x --------------------------------------------------- */

enum { OUTPUTS = 2, RING = 4 };

typedef struct sums { /* of 16 outputs by two blocks of rows of x, [output, row] each */
    _Alignas(64) int32_t low[2][SIDE * SIDE], high[2][SIDE * SIDE];
    float b[2][SIDE * SIDE];
} sums;

typedef struct room {
    panel w[OUTPUTS];
    union {
        sums sums[2];
        float ring[RING * SIDE * SIDE];
    };
    float y[OUTPUTS][VL2_TILE_MOST * SIDE]; /* [rows / 16][output, row] */
} room;
_Static_assert(sizeof(room) <= VL2_TILE_SCRATCH, "scratch");

typedef struct task {
    room *room;
    const char *x;
    size_t m, k, unit;
    vl2_tile_config config;
    size_t shape;
    size_t at, n; /* elements of this pass */
    size_t turn;  /* which sums are free */
} task;

/* Where a block of rows of x is, from the pass's elements on. */
typedef struct operand {
    const char *q, *pairs;
    const float *d;
    size_t m;
} operand;

static operand operand_of(const task *t, size_t first) {
    const size_t m = least(t->m - first, SIDE);
    const char *x = t->x + first * row_bytes(t->k, t->unit);
    const float *d = (const float *)(const void *)(x + m * t->k);
    const char *pairs = (const char *)(d + m * (t->k / t->unit));
    return (operand){x + m * t->at, pairs + m * (t->at / 8), d + m * (t->at / t->unit), m};
}

/* Tiles 0-3: sums; 4, 5: weights; 6, 7: x. Odd ones have m1 columns. */
static void configure(task *t, size_t m0, size_t m1) {
    const size_t shape = m0 * (SIDE + 1) + m1;
    const bool super = t->unit == VL2_QUANT_SUPER;
    if (shape == t->shape) return;
    memset(&t->config, 0, sizeof t->config);
    t->config.palette = 1;
    for (int i = 0; i < 4; i++) tile_shape(&t->config, i, SIDE, 4 * (i % 2 ? m1 : m0));
    for (int i = 4; i < 6; i++) tile_shape(&t->config, i, SIDE, super ? 64 : 32);
    tile_shape(&t->config, 6, super ? 16 : 8, 4 * m0);
    tile_shape(&t->config, 7, super ? 16 : 8, 4 * m1);
    TILE_CONFIG(&t->config);
    t->shape = shape;
}

/* ---- blocks of 32 ------------------------------------------------------------------------------ */

/* A tile's sums begin at 1.5 * 2^23 as a float's bits, and are small: so they are floats of that much
 * more. While tiles multiply, a CPU converts and multiplies half as fast, but subtracts as usual. */
enum { WHOLE_BITS = 0x4b400000 };
static const float WHOLE = 12582912.0f;

/* Multiplies block b into a tile of its own, by `turn`. */
VL2_QINLINE void multiply_32(const panel *w, const operand *x, size_t b, size_t turn) {
    _Alignas(64) static const int32_t start[SIDE] = {
        WHOLE_BITS, WHOLE_BITS, WHOLE_BITS, WHOLE_BITS, WHOLE_BITS, WHOLE_BITS,
        WHOLE_BITS, WHOLE_BITS, WHOLE_BITS, WHOLE_BITS, WHOLE_BITS, WHOLE_BITS,
        WHOLE_BITS, WHOLE_BITS, WHOLE_BITS, WHOLE_BITS};
    const size_t stride = 4 * x->m;
    if (turn % 2) {
        TILE_LOAD(0, start, 0);
        TILE_LOAD(4, &w->q[0][0][32 * b], SPAN);
        TILE_LOAD(6, x->q + 8 * stride * b, stride);
        TILE_DOT_SIGNED(0, 4, 6);
    } else {
        TILE_LOAD(1, start, 0);
        TILE_LOAD(5, &w->q[0][0][32 * b], SPAN);
        TILE_LOAD(7, x->q + 8 * stride * b, stride);
        TILE_DOT_SIGNED(1, 5, 7);
    }
}

/* The ring's place of a turn takes its tile. */
VL2_QINLINE void store_32(float *ring, size_t turn) {
    float *to = ring + turn % RING * SIDE * SIDE;
    if (turn % 2)
        TILE_STORE(0, to, 64);
    else
        TILE_STORE(1, to, 64);
}

VL2_QINLINE void add_32(__m512 y[SIDE], const float *a, const float *d, __m512 dx) {
#pragma GCC unroll 16
    for (int j = 0; j < SIDE; j++)
        y[j] =
            v_add(y[j], v_mul(v_mul(dx, v_set(d[j])), v_sub(v_load(a + j * SIDE), v_set(WHOLE))));
}

/* Tiles run ahead: of turn t, vectors add the sums while t + 2 is multiplied, and then t + 1 is stored. */
static void pass_32(task *t, const panel *w, float *y) {
    float *ring = t->room->ring;
    const size_t blocks = t->n / VL2_QUANT_BLOCK, lead = blocks > 1 ? 2 : 1;
    operand x = operand_of(t, 0), next = x;
    configure(t, x.m, x.m);
    for (size_t b = 0; b < lead; b++) multiply_32(w, &x, b, b);
    store_32(ring, 0);
    for (size_t i = 0, turn = 0; i < t->m; i += SIDE, y += SIDE * SIDE, x = next) {
        __m512 sum[SIDE];
        const bool more = i + SIDE < t->m;
        if (more) next = operand_of(t, i + SIDE);
#pragma GCC unroll 16
        for (int j = 0; j < SIDE; j++) sum[j] = t->at ? v_load(y + j * SIDE) : v_set(0.0f);
        for (size_t b = 0; b < blocks; b++, turn++) {
            bool waits = b + 1 < blocks || more; /* a tile, to be stored */
            if (b + lead < blocks) {
                multiply_32(w, &x, b + lead, turn + lead);
            } else if (more) {
                if (next.m != x.m && b + lead == blocks) { /* a new shape loses all tiles */
                    if (lead > 1) store_32(ring, turn + 1), waits = false;
                    configure(t, next.m, next.m);
                }
                multiply_32(w, &next, b + lead - blocks, turn + lead);
            }
            add_32(sum, ring + turn % RING * SIDE * SIDE, w->d[b], v_load_part(x.d + b * x.m, x.m));
            if (waits) store_32(ring, turn + 1);
        }
#pragma GCC unroll 16
        for (int j = 0; j < SIDE; j++) v_store(y + j * SIDE, sum[j]);
    }
}

/* ---- super-blocks: vectors work on one group's sums between the tile products of the next ----------- */

/* A group whose sums still have to be scaled and added. */
typedef struct waiting {
    const sums *from;
    const panel *w;
    operand x[2];
    float *y;      /* [2][output, row] */
    bool first;    /* nothing in y yet */
    size_t output; /* the next one; SIDE: nothing waits */
} waiting;

VL2_QINLINE void add_k(waiting *p, const size_t t, const size_t count, const layout form) {
    const __m512 dx = v_load_part(p->x[t].d, p->x[t].m);
    float *y = p->y + t * SIDE * SIDE;
    for (size_t j = p->output; j < p->output + count; j++) {
        const __m512i low = load(&p->from->low[t][j * SIDE]);
        const __m512i high = _mm512_slli_epi32(load(&p->from->high[t][j * SIDE]), 8);
        const __m512 a = _mm512_cvtepi32_ps(_mm512_add_epi32(low, high));
        __m512 term = v_mul(v_mul(dx, v_set(p->w->d[0][j])), a);
        if (form != Q6_K)
            term =
                v_add(term, v_mul(v_mul(dx, v_set(p->w->m[j])), v_load(&p->from->b[t][j * SIDE])));
        v_store(y + j * SIDE, v_add(p->first ? v_set(0.0f) : v_load(y + j * SIDE), term));
    }
}

enum { FEW = 2 }; /* outputs between two tile products */

VL2_QINLINE void add_some(waiting *p, const layout form) {
    if (p->output == SIDE) return;
    add_k(p, 0, FEW, form);
    if (p->x[1].m) add_k(p, 1, FEW, form);
    p->output += FEW;
}

static void multiply_mins(sums *out, const panel *w, const operand x[2]) {
    TILE_ZERO(0);
    TILE_LOAD(4, w->min, 64);
    TILE_LOAD(6, x[0].pairs, 4 * x[0].m);
    TILE_DOT(0, 4, 6);
    TILE_STORE(0, out->b[0], 64);
    if (!x[1].m) return;
    TILE_ZERO(1);
    TILE_LOAD(7, x[1].pairs, 4 * x[1].m);
    TILE_DOT(1, 4, 7);
    TILE_STORE(1, out->b[1], 64);
}

VL2_QINLINE void multiply_k(sums *out, const panel *w, const operand x[2], waiting *p,
                            const layout form) {
    const size_t s0 = 4 * x[0].m, s1 = 4 * x[1].m;
    if (form != Q6_K) multiply_mins(out, w, x);
    TILE_ZERO(0);
    TILE_ZERO(2);
    if (s1) TILE_ZERO(1);
    if (s1) TILE_ZERO(3);
    for (size_t i = 0; i < SPAN; i += 64) {
        TILE_LOAD(4, &w->q[0][0][i], SPAN);
        TILE_LOAD(6, x[0].q + i / 4 * s0, s0);
        TILE_DOT_UNSIGNED(0, 4, 6);
        add_some(p, form);
        TILE_LOAD(5, &w->q[1][0][i], SPAN);
        TILE_DOT_SIGNED(2, 5, 6);
        if (s1) {
            TILE_LOAD(7, x[1].q + i / 4 * s1, s1);
            TILE_DOT_UNSIGNED(1, 4, 7);
            add_some(p, form);
            TILE_DOT_SIGNED(3, 5, 7);
        }
    }
    TILE_STORE(0, out->low[0], 64);
    TILE_STORE(2, out->high[0], 64);
    if (s1) TILE_STORE(1, out->low[1], 64);
    if (s1) TILE_STORE(3, out->high[1], 64);
    while (p->output < SIDE) add_some(p, form);
}

VL2_QINLINE void pass_k(task *t, size_t panels, const layout form) {
    waiting p = {.output = SIDE};
    for (size_t i = 0; i < t->m; i += PAIR) {
        operand x[2] = {operand_of(t, i), {.m = 0}};
        if (i + SIDE < t->m) x[1] = operand_of(t, i + SIDE);
        configure(t, x[0].m, x[1].m ? x[1].m : SIDE);
        for (size_t j = 0; j < panels; j++, t->turn ^= 1) {
            multiply_k(&t->room->sums[t->turn], &t->room->w[j], x, &p, form);
            p = (waiting){.from = &t->room->sums[t->turn],
                          .w = &t->room->w[j],
                          .x = {x[0], x[1]},
                          .y = t->room->y[j] + i * SIDE,
                          .first = t->at == 0};
        }
    }
    while (p.output < SIDE) add_some(&p, form);
}

/* ---- products --------------------------------------------------------------------------------- */

/* y [m, n] of a panel's sums [rows / 16][output, row] */
static void turn(float *y, size_t ldy, const float *from, size_t m, size_t n) {
    for (size_t i = 0; i < m; i += SIDE, from += SIDE * SIDE) {
        __m512 a[SIDE];
        for (size_t j = 0; j < SIDE; j++) a[j] = v_load(from + j * SIDE);
        v_transpose(a);
        for (size_t r = 0; r < SIDE && i + r < m; r++) store_rows(y + (i + r) * ldy, a[r], n);
    }
}

VL2_QINLINE void product(float *y, size_t ldy, const void *x, size_t m, const void *w,
                         size_t w_stride, size_t n, size_t k, const void *next, void *scratch,
                         const layout form, const size_t bytes) {
    const bool super = form >= Q4_K;
    const size_t unit = super ? VL2_QUANT_SUPER : VL2_QUANT_BLOCK;
    task t = {.room = scratch, .x = x, .m = m, .k = k, .unit = unit};
    for (size_t j = 0; j < n; j += PAIR) {
        const size_t some = least(n - j, PAIR), panels = (some + SIDE - 1) / SIDE;
        const char *from = (const char *)w + j * w_stride;
        const char *ahead = n - j > PAIR ? from + PAIR * w_stride : next;
        source s[OUTPUTS];
        for (size_t i = 0; i < panels; i++)
            s[i] = source_of(from + i * SIDE * w_stride, w_stride, least(some - i * SIDE, SIDE),
                             ahead ? ahead + i * SIDE * w_stride : NULL);
        for (t.at = 0; t.at < k; t.at += SPAN) {
            t.n = least(k - t.at, SPAN);
            for (size_t i = 0; i < panels; i++) {
                if (super)
                    unpack_k(&t.room->w[i], &s[i], t.at / unit * bytes, form, bytes);
                else
                    unpack_32(&t.room->w[i], &s[i], t.at / unit * bytes, t.n / unit, form, bytes);
                if (!super) pass_32(&t, &t.room->w[i], t.room->y[i]);
            }
            if (super) pass_k(&t, panels, form);
        }
        for (size_t i = 0; i < panels; i++)
            turn(y + j + i * SIDE, ldy, t.room->y[i], m, least(some - i * SIDE, SIDE));
    }
    TILE_RELEASE();
}

/* ---- the table ------------------------------------------------------------------------------- */

/* A line a type: X(enum, name, form, 32 or k, struct). */
#define KINDS(X)                                                                                   \
    X(VL2_Q8_0, q8_0, BYTES, 32, vl2_q8_0)                                                         \
    X(VL2_Q4_0, q4_0, EVEN, 32, vl2_q4_0)                                                          \
    X(VL2_Q5_0, q5_0, FIFTHS, 32, vl2_q5_0)                                                        \
    X(VL2_IQ4_NL, iq4_nl, CURVED, 32, vl2_q4_0)                                                    \
    X(VL2_Q4_K, q4_k, Q4_K, k, vl2_q4_k)                                                           \
    X(VL2_Q5_K, q5_k, Q5_K, k, vl2_q5_k)                                                           \
    X(VL2_Q6_K, q6_k, Q6_K, k, vl2_q6_k)

#define PRODUCT(type, name, form, unit, block)                                                     \
    static void product_##name(float *y, size_t ldy, const void *x, size_t m, const void *w,       \
                               size_t w_stride, size_t n, size_t k, const void *next,              \
                               size_t next_bytes, void *scratch) {                                 \
        (void)next_bytes;                                                                          \
        product(y, ldy, x, m, w, w_stride, n, k, next, scratch, form, sizeof(block));              \
    }
KINDS(PRODUCT)

void vl2_q_amx_fill(vl2_kernels *out) {
#define FILL(type, name, form, unit, block)                                                        \
    out->q_tiles[type - VL2_Q8_0] = (vl2_tiles){                                                   \
        .row_bytes = row_bytes_##unit, .pack = pack_##unit, .product = product_##name};
    KINDS(FILL)
#undef FILL
}
