#include "image/resize.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { BITS = 22, ROWS = 16 }; /* fractional bits of a weight; rows that one task scales */

/* ---- weights ---------------------------------------------------------------------------------- */

typedef struct axis { /* how one side is scaled */
    size_t in, out;
    size_t room;      /* taps that a row of `weights` has room for, a multiple of VL2_RESIZE_STEP */
    uint32_t *first;  /* [out] the first source pixel */
    uint32_t *taps;   /* [out] how many there are */
    int32_t *weights; /* [out, room], zeros behind the taps */
} axis;

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static void free_axis(axis *a) {
    vl2_mem_free(a->first);
    vl2_mem_free(a->taps);
    vl2_mem_free(a->weights);
}

/* Every operation in Pillow's order: the weights are part of the result. */
static void fill_weights(axis *a, size_t i, double scale, double stretch, double *scratch) {
    const double support = 2.0 * stretch, centre = ((double)i + 0.5) * scale,
                 inverse = 1.0 / stretch;
    const double low = centre - support + 0.5, high = centre + support + 0.5;
    const size_t first = low < 0.0 ? 0 : (size_t)low;
    const size_t end = high > (double)a->in ? a->in : (size_t)high;
    double sum = 0.0;
    a->first[i] = (uint32_t)first;
    a->taps[i] = (uint32_t)(end - first);
    for (size_t j = 0; j < end - first; j++) {
        scratch[j] = bicubic(((double)(j + first) - centre + 0.5) * inverse);
        sum += scratch[j];
    }
    for (size_t j = 0; j < end - first; j++) {
        const double w = sum != 0.0 ? scratch[j] / sum : scratch[j];
        a->weights[i * a->room + j] = (int32_t)(w * (1 << BITS) + (w < 0.0 ? -0.5 : 0.5));
    }
}

static vl2_status make_axis(axis *a, size_t in, size_t out, vl2_error *err) {
    const double scale = (double)in / (double)out, stretch = scale < 1.0 ? 1.0 : scale;
    const size_t most = (size_t)ceil(2.0 * stretch) * 2 + 1;
    *a = (axis){.in = in, .out = out};
    a->room = (most + VL2_RESIZE_STEP - 1) / VL2_RESIZE_STEP * VL2_RESIZE_STEP;
    a->first = vl2_mem_array(out, sizeof *a->first);
    a->taps = vl2_mem_array(out, sizeof *a->taps);
    size_t n;
    a->weights = vl2_mul(&n, out, a->room) ? vl2_mem_calloc(n, sizeof *a->weights) : NULL;
    double *scratch = vl2_mem_array(a->room, sizeof *scratch);
    if (!a->first || !a->taps || !a->weights || !scratch) {
        free_axis(a);
        *a = (axis){0};
        vl2_mem_free(scratch);
        return vl2_fail_memory(err, "weights of a resize", out * sizeof *a->weights);
    }
    for (size_t i = 0; i < out; i++) fill_weights(a, i, scale, stretch, scratch);
    vl2_mem_free(scratch);
    return VL2_OK;
}

/* ---- the inner loops -------------------------------------------------------------------------- */

/* Pillow adds one half, shifts and clips. The sums fit: weights of a pixel add up to 1, and those
 * below zero to little more than a tenth. */
static inline __attribute__((always_inline)) uint8_t clip(int32_t sum) {
    const int32_t value = (sum + (1 << (BITS - 1))) >> BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void across_plain(uint8_t *rgb, const uint8_t *row, const uint32_t *first,
                         const int32_t *weights, size_t taps, size_t n) {
    for (size_t i = 0; i < n; i++, weights += taps) {
        const uint8_t *from = row + (size_t)first[i] * 3;
        int32_t red = 0, green = 0, blue = 0;
        for (size_t j = 0; j < taps; j++) {
            red += from[j * 3] * weights[j];
            green += from[j * 3 + 1] * weights[j];
            blue += from[j * 3 + 2] * weights[j];
        }
        rgb[i * 3] = clip(red);
        rgb[i * 3 + 1] = clip(green);
        rgb[i * 3 + 2] = clip(blue);
    }
}

/* A stretch of the row stays in registers or the first cache while the taps pass over it. */
static inline __attribute__((always_inline)) void down(uint8_t *out, const uint8_t *rows,
                                                       size_t stride, const int32_t *weights,
                                                       size_t taps, size_t n) {
    enum { STRETCH = 64 };
    for (size_t at = 0; at < n; at += STRETCH) {
        const size_t size = n - at < STRETCH ? n - at : STRETCH;
        int32_t sums[STRETCH] = {0};
        if (size == STRETCH) {
            for (size_t j = 0; j < taps; j++)
                for (size_t k = 0; k < STRETCH; k++)
                    sums[k] += rows[j * stride + at + k] * weights[j];
        } else {
            for (size_t j = 0; j < taps; j++)
                for (size_t k = 0; k < size; k++) sums[k] += rows[j * stride + at + k] * weights[j];
        }
        for (size_t k = 0; k < size; k++) out[at + k] = clip(sums[k]);
    }
}

static void down_plain(uint8_t *out, const uint8_t *rows, size_t stride, const int32_t *weights,
                       size_t taps, size_t n) {
    down(out, rows, stride, weights, taps, n);
}

vl2_resize_kernels vl2_resize_plain(void) {
    return (vl2_resize_kernels){.across = across_plain, .down = down_plain};
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* Integer sums, so that their order does not matter: the bytes are those of the plain form. */
__attribute__((target("avx2"))) static inline uint8_t clip_lanes(__m256i lanes) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(1, 0, 3, 2)));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(2, 3, 0, 1)));
    return clip(_mm_cvtsi128_si32(sum));
}

/* Eight pixels a step: four in each half of a register, then a shuffle for each colour that widens
 * its bytes to 32 bits. */
__attribute__((target("avx2"))) static void across_avx2(uint8_t *rgb, const uint8_t *row,
                                                        const uint32_t *first,
                                                        const int32_t *weights, size_t taps,
                                                        size_t n) {
    const __m256i one = _mm256_set1_epi32(1);
    const __m256i reds = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, -1, -1, 3, -1, -1, -1, 6, -1, -1, -1, 9, -1, -1, -1));
    /* The next colour's byte is one further; -1 must stay negative: only low bytes are raised. */
    const __m256i greens = _mm256_add_epi32(reds, one), blues = _mm256_add_epi32(greens, one);
    for (size_t i = 0; i < n; i++, weights += taps) {
        const uint8_t *from = row + (size_t)first[i] * 3;
        __m256i red = _mm256_setzero_si256(), green = red, blue = red;
        for (size_t j = 0; j < taps; j += VL2_RESIZE_STEP, from += 3 * VL2_RESIZE_STEP) {
            const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)from);
            const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(from + 12));
            const __m256i pixels = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
            const __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)(weights + j));
            red = _mm256_add_epi32(red, _mm256_mullo_epi32(_mm256_shuffle_epi8(pixels, reds), w));
            green =
                _mm256_add_epi32(green, _mm256_mullo_epi32(_mm256_shuffle_epi8(pixels, greens), w));
            blue =
                _mm256_add_epi32(blue, _mm256_mullo_epi32(_mm256_shuffle_epi8(pixels, blues), w));
        }
        rgb[i * 3] = clip_lanes(red);
        rgb[i * 3 + 1] = clip_lanes(green);
        rgb[i * 3 + 2] = clip_lanes(blue);
    }
}

__attribute__((target("avx2"))) static void down_avx2(uint8_t *out, const uint8_t *rows,
                                                      size_t stride, const int32_t *weights,
                                                      size_t taps, size_t n) {
    down(out, rows, stride, weights, taps, n);
}

vl2_resize_kernels vl2_resize_best(void) {
    if (!__builtin_cpu_supports("avx2")) return vl2_resize_plain();
    return (vl2_resize_kernels){.across = across_avx2, .down = down_avx2};
}
#else
vl2_resize_kernels vl2_resize_best(void) { return vl2_resize_plain(); }
#endif

/* ---- two passes ------------------------------------------------------------------------------- */

typedef struct pass {
    vl2_resize_kernels kernels;
    const axis *axis;
    const uint8_t *from; /* [rows or axis->in, width, 3] */
    uint8_t *to;
    size_t rows, width; /* rows of the result; width of a source row in pixels */
    uint8_t *padded;    /* [threads, padded_size]: a source row and what may be read behind it */
    size_t padded_size;
} pass;

static void across_rows(void *context, size_t task, int thread) {
    const pass *p = context;
    uint8_t *row = p->padded + (size_t)thread * p->padded_size;
    for (size_t y = task * ROWS; y < (task + 1) * ROWS && y < p->rows; y++) {
        memcpy(row, p->from + y * p->width * 3, p->width * 3);
        p->kernels.across(p->to + y * p->axis->out * 3, row, p->axis->first, p->axis->weights,
                          p->axis->room, p->axis->out);
    }
}

static void down_rows(void *context, size_t task, int thread) {
    const pass *p = context;
    const size_t stride = p->width * 3;
    (void)thread;
    for (size_t y = task * ROWS; y < (task + 1) * ROWS && y < p->rows; y++)
        p->kernels.down(p->to + y * stride, p->from + p->axis->first[y] * stride, stride,
                        p->axis->weights + y * p->axis->room, p->axis->taps[y], stride);
}

static void run(pass *p, vl2_task_fn task, vl2_pool *pool) {
    const size_t tasks = (p->rows + ROWS - 1) / ROWS;
    if (pool)
        vl2_pool_run(pool, tasks, task, p);
    else
        for (size_t i = 0; i < tasks; i++) task(p, i, 0);
}

static vl2_status take(uint8_t **out, size_t width, size_t height, vl2_error *err) {
    size_t pixels;
    *out = vl2_mul(&pixels, width, height) ? vl2_mem_array(pixels, 3) : NULL;
    return *out ? VL2_OK : vl2_fail_memory(err, "a resized picture", width * height * 3);
}

static vl2_status scale_across(uint8_t **out, const uint8_t *rgb, size_t width, size_t height,
                               size_t out_width, vl2_pool *pool, vl2_error *err) {
    axis a;
    VL2_TRY(make_axis(&a, width, out_width, err));
    const size_t threads = pool ? (size_t)vl2_pool_threads(pool) : 1;
    const size_t padded_size = (width + a.room + VL2_RESIZE_STEP) * 3;
    uint8_t *padded = vl2_mem_calloc(threads, padded_size), *to = NULL;
    vl2_status status = padded ? take(&to, out_width, height, err)
                               : vl2_fail_memory(err, "rows of a resize", threads * padded_size);
    if (status == VL2_OK) {
        pass p = {.kernels = vl2_resize_best(),
                  .axis = &a,
                  .from = rgb,
                  .to = to,
                  .rows = height,
                  .width = width,
                  .padded = padded,
                  .padded_size = padded_size};
        run(&p, across_rows, pool);
        *out = to;
    }
    vl2_mem_free(padded);
    free_axis(&a);
    return status;
}

static vl2_status scale_down(uint8_t **out, const uint8_t *rgb, size_t width, size_t height,
                             size_t out_height, vl2_pool *pool, vl2_error *err) {
    axis a;
    uint8_t *to = NULL;
    VL2_TRY(make_axis(&a, height, out_height, err));
    vl2_status status = take(&to, width, out_height, err);
    if (status == VL2_OK) {
        pass p = {.kernels = vl2_resize_best(),
                  .axis = &a,
                  .from = rgb,
                  .to = to,
                  .rows = out_height,
                  .width = width};
        run(&p, down_rows, pool);
        *out = to;
    }
    free_axis(&a);
    return status;
}

/* Pillow's choice: when much more height than width goes, height goes first. The order is part of the
 * result, since pixels are 8 bits in between. */
static bool is_height_first(size_t width, size_t height, size_t out_width, size_t out_height) {
    if (height <= out_height) return false;
    return width <= out_width || height - out_height > 2 * (width - out_width);
}

vl2_status vl2_resize_bicubic(uint8_t **out, const uint8_t *rgb, size_t width, size_t height,
                              size_t out_width, size_t out_height, vl2_pool *pool, vl2_error *err) {
    uint8_t *between = NULL;
    bool wide = out_width != width, high = out_height != height;
    if (!wide && !high) {
        VL2_TRY(take(out, width, height, err));
        memcpy(*out, rgb, width * height * 3);
        return VL2_OK;
    }
    if (!wide) return scale_down(out, rgb, width, height, out_height, pool, err);
    if (!high) return scale_across(out, rgb, width, height, out_width, pool, err);
    bool height_first = is_height_first(width, height, out_width, out_height);
    if (height_first)
        VL2_TRY(scale_down(&between, rgb, width, height, out_height, pool, err));
    else
        VL2_TRY(scale_across(&between, rgb, width, height, out_width, pool, err));
    vl2_status status = height_first
                            ? scale_across(out, between, width, out_height, out_width, pool, err)
                            : scale_down(out, between, out_width, height, out_height, pool, err);
    vl2_mem_free(between);
    return status;
}
