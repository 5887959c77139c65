/* Pictures of every kind against Pillow's pixels (tests/unit/pictures, made by make_pictures.py),
 * and against damage: cuts, flipped bits, sizes that are not true. */
#include "image/decode.h"

#include "pictures.h"

#define FOLDER VL2_SOURCE_DIR "/tests/unit/pictures/"

typedef struct sum { /* a line of sums.txt; the second digest is of the picture turned upright */
    char digest[2][65], name[64];
    size_t width[2], height[2];
} sum;

static bool next_sum(sum *s, FILE *list) {
    return fscanf(list, "%64s %zu %zu %64s %zu %zu %63s", s->digest[0], &s->width[0], &s->height[0],
                  s->digest[1], &s->width[1], &s->height[1], s->name) == 7;
}

/* BMP and PNM are always there; a build may lack the others. */
static bool readable(const char *name) {
    const char *ending = strrchr(name, '.') + 1, *formats = vl2_decode_formats();
    if (strcmp(ending, "jpg") == 0) return strstr(formats, "jpeg") != NULL;
    if (ending[0] == 'p' && ending[1] != 'n') return true;
    return strstr(formats, ending) != NULL;
}

static char *read_picture(const char *name, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, FOLDER "%s", name);
    return pictures_read(path, size);
}

static void check_sum(const sum *s, bool upright) {
    size_t size;
    char *bytes = read_picture(s->name, &size), hex[65];
    vl2_picture_options options;
    vl2_picture_options_init(&options);
    options.apply_exif = upright;
    vl2_picture *picture = NULL;
    vl2_error err = {0};
    vl2_status status = vl2_picture_decode(&picture, bytes, size, s->name, &options, &err);
    vl2_mem_free(bytes);
    if (strcmp(s->digest[upright], "refused") == 0) {
        assert_int_not_equal(status, VL2_OK);
        assert_null(picture);
        assert_non_null(strstr(err.text, s->name));
        return;
    }
    if (status != VL2_OK) fail_msg("%s", err.text);
    assert_int_equal(vl2_picture_width(picture), s->width[upright]);
    assert_int_equal(vl2_picture_height(picture), s->height[upright]);
    pictures_hex(hex, vl2_picture_rgb(picture), s->width[upright] * s->height[upright] * 3);
    if (strcmp(hex, s->digest[upright]) != 0)
        fail_msg("%s%s: other pixels than Pillow's", s->name, upright ? " upright" : "");
    vl2_picture_free(picture);
}

static void pixels_are_pillows(void **state) {
    (void)state;
    FILE *list = fopen(FOLDER "sums.txt", "r");
    assert_non_null(list);
    size_t n = 0;
    for (sum s; next_sum(&s, list);) {
        if (!readable(s.name)) continue;
        check_sum(&s, false);
        check_sum(&s, true);
        n++;
    }
    fclose(list);
    assert_true(n > 20);
}

static void damage(const char *name) {
    size_t size;
    char *bytes = read_picture(name, &size);
    const size_t step = size > 1200 ? 100 : size / 12 + 1;
    for (size_t cut = 0; cut < size; cut += step) {
        uint8_t *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees one byte too many */
        assert_non_null(exact);
        memcpy(exact, bytes, cut);
        vl2_picture *picture = NULL;
        vl2_error err = {0};
        const vl2_status status = vl2_picture_decode(&picture, exact, cut, name, NULL, &err);
        if (status == VL2_OK && cut < size * 9 / 10) fail_msg("%s: %zu bytes pass", name, cut);
        if (status != VL2_OK) {
            assert_non_null(strstr(err.text, name));
            assert_null(picture);
            assert_int_equal(status, err.status);
        }
        vl2_picture_free(picture);
        free(exact);
    }
    uint32_t random = 1;
    for (int i = 0; i < 60; i++) {
        char *bad = malloc(size);
        assert_non_null(bad);
        memcpy(bad, bytes, size);
        for (int k = 0; k < 1 + i % 4; k++) {
            random = random * 1664525 + 1013904223;
            const size_t range = i % 2 && size > 64 ? 64 : size; /* headers more often */
            bad[(random >> 8) % range] ^= (char)(1 << (random >> 5 & 7));
        }
        vl2_picture_options options;
        vl2_picture_options_init(&options);
        options.max_pixels = 1 << 20;
        vl2_picture *picture = NULL;
        vl2_picture_decode(&picture, bad, size, name, &options, NULL);
        vl2_picture_free(picture);
        free(bad);
    }
    vl2_mem_free(bytes);
}

static void damaged_files_are_refused(void **state) {
    (void)state;
    FILE *list = fopen(FOLDER "sums.txt", "r");
    assert_non_null(list);
    for (sum s; next_sum(&s, list);)
        if (readable(s.name) && strcmp(s.digest[0], "refused") != 0) damage(s.name);
    fclose(list);
}

static void sizes_are_limited(void **state) {
    (void)state;
    FILE *list = fopen(FOLDER "sums.txt", "r");
    assert_non_null(list);
    for (sum s; next_sum(&s, list);) {
        if (!readable(s.name) || strcmp(s.digest[0], "refused") == 0) continue;
        size_t size;
        char *bytes = read_picture(s.name, &size);
        vl2_picture_options options;
        vl2_picture_options_init(&options);
        vl2_picture *picture = NULL;
        vl2_error err = {0};
        options.max_pixels = s.width[0] * s.height[0] - 1;
        assert_int_equal(vl2_picture_decode(&picture, bytes, size, s.name, &options, &err),
                         VL2_ERR_LIMIT);
        assert_non_null(strstr(err.text, "max_pixels"));
        options.max_pixels = s.width[0] * s.height[0];
        options.max_file_bytes = size - 1;
        err = (vl2_error){0};
        assert_int_equal(vl2_picture_decode(&picture, bytes, size, s.name, &options, &err),
                         VL2_ERR_LIMIT);
        assert_non_null(strstr(err.text, "max_file_bytes"));
        assert_null(picture);
        vl2_mem_free(bytes);
    }
    fclose(list);
}

/* Small files that tell of large pictures: refused from their headers alone. */
static void bombs_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t size;
    } bombs[] = {
        {"bomb.ppm", "P6 60000 60000 255\n", 19},
        {"bomb.pbm", "P1 4294967295 4294967295 ", 25},
        {"bomb.pgm", "P5 9999999999 9999999999 255\n", 29},
        {"bomb.bmp",
         "BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\xff\xff\xff\x7f\xff\xff\xff\x7f\1\0\x18\0\0\0\0\0"
         "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
         54},
        {"bomb.gif", "GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;", 27},
    };
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        if (!readable(bombs[i].name)) continue;
        vl2_picture *picture = NULL;
        vl2_error err = {0};
        const vl2_status status =
            vl2_picture_decode(&picture, bombs[i].bytes, bombs[i].size, bombs[i].name, NULL, &err);
        if (status != VL2_ERR_LIMIT) fail_msg("%s: %s", bombs[i].name, err.text);
    }
}

static void other_formats_are_named(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *text;
    } others[] = {
        {"\0\0\0\x18"
         "ftypheic\0\0\0\0",
         16, "photo: HEIC is not supported; convert it to JPEG or PNG"},
        {"\0\0\0\x18"
         "ftypavif\0\0\0\0",
         16, "photo: AVIF is not supported; convert it to JPEG or PNG"},
        {"\0\0\0\x0cjP  \r\n\x87\n", 12,
         "photo: JPEG 2000 is not supported; convert it to JPEG or PNG"},
        {"\xff\x0a\0\0", 4, "photo: JPEG XL is not supported; convert it to JPEG or PNG"},
        {"<?xml version=\"1.0\"?>\n<svg xmlns=", 33,
         "photo: SVG is not supported; draw it as PNG first"},
        {"%PDF-1.7\n", 9, "photo: PDF is not supported; draw its pages as PNG first"},
        {"\0\0\1\0\1\0", 6, "photo: ICO is not supported; convert it to JPEG or PNG"},
        {"8BPS\0\1", 6, "photo: Photoshop (PSD) is not supported; convert it to JPEG or PNG"},
        {"", 0, "photo: the file is empty"},
        {"hello", 5, "photo: not a picture of a known format (read are: "},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        vl2_picture *picture = NULL;
        vl2_error err = {0};
        assert_int_not_equal(
            vl2_picture_decode(&picture, others[i].bytes, others[i].size, "photo", NULL, &err),
            VL2_OK);
        if (strncmp(err.text, others[i].text, strlen(others[i].text)) != 0)
            fail_msg("\"%s\" instead of \"%s\"", err.text, others[i].text);
    }
}

static void pictures_are_shared_and_compared(void **state) {
    (void)state;
    const uint8_t rgb[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    vl2_picture *wide, *tall;
    assert_int_equal(vl2_picture_from_rgb(&wide, rgb, 4, 1, NULL), VL2_OK);
    assert_int_equal(vl2_picture_from_rgb(&tall, rgb, 1, 4, NULL), VL2_OK);
    uint8_t a[32], b[32];
    vl2_picture_sha256(wide, a);
    vl2_picture_sha256(tall, b);
    assert_memory_not_equal(a, b, 32); /* the same bytes of another shape are another picture */
    vl2_picture *again = vl2_picture_retain(wide);
    vl2_picture_free(wide);
    assert_memory_equal(vl2_picture_rgb(again), rgb, sizeof rgb);
    vl2_picture_free(again);
    vl2_picture_free(tall);
    vl2_picture_free(NULL);
    vl2_error err = {0};
    assert_int_equal(vl2_picture_from_rgb(&wide, rgb, 0, 4, &err), VL2_ERR_ARGUMENT);
    err = (vl2_error){0};
    assert_int_equal(vl2_picture_open(&wide, FOLDER "absent.png", NULL, &err), VL2_ERR_IO);
    assert_non_null(strstr(err.text, "absent.png"));
}

/* A caller built with another version of the struct: shorter is taken, what no version had is not. */
static void options_of_other_sizes(void **state) {
    (void)state;
    const uint8_t rgb[] = {1, 2, 3};
    vl2_picture *one, *read;
    void *png;
    size_t n;
    assert_int_equal(vl2_picture_from_rgb(&one, rgb, 1, 1, NULL), VL2_OK);
    assert_int_equal(vl2_picture_encode(&png, &n, one, "png", NULL), VL2_OK);
    vl2_picture_options options;
    vl2_picture_options_init(&options);
    options.max_pixels = 0;
    options.struct_size = offsetof(vl2_picture_options, max_pixels);
    assert_int_equal(vl2_picture_decode(&read, png, n, "one", &options, NULL), VL2_OK);
    vl2_picture_free(read);
    for (size_t i = 0; i < 2; i++) {
        vl2_error err = {0};
        options.struct_size = i ? sizeof options + 8 : 0;
        assert_int_equal(vl2_picture_decode(&read, png, n, "one", &options, &err),
                         VL2_ERR_ARGUMENT);
        assert_non_null(strstr(err.text, "vl2_picture_options"));
    }
    vl2_error err = {0};
    assert_int_equal(vl2_picture_open(&read, "", NULL, &err), VL2_ERR_ARGUMENT);
    vl2_free(png);
    vl2_picture_free(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_are_pillows),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(other_formats_are_named),
        cmocka_unit_test(pictures_are_shared_and_compared),
        cmocka_unit_test(options_of_other_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
