/* What is written can be read: PNG exactly, JPEG nearly; and where it cannot be written. */
#include "image/decode.h"

#include "pictures.h"

#include <unistd.h>

enum { W = 61, H = 43 };

static vl2_picture *drawing(void) {
    uint8_t rgb[W * H * 3];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i % 3 * 40 + i / 3 % W * 2 + i / 3 / W);
    vl2_picture *picture = NULL;
    assert_int_equal(vl2_picture_from_rgb(&picture, rgb, W, H, NULL), VL2_OK);
    return picture;
}

static int difference(const vl2_picture *a, const vl2_picture *b) {
    assert_int_equal(vl2_picture_width(a), vl2_picture_width(b));
    assert_int_equal(vl2_picture_height(a), vl2_picture_height(b));
    int most = 0;
    for (size_t i = 0; i < (size_t)W * H * 3; i++) {
        const int d = abs(vl2_picture_rgb(a)[i] - vl2_picture_rgb(b)[i]);
        if (d > most) most = d;
    }
    return most;
}

static void formats_come_back(void **state) {
    (void)state;
    static const struct {
        const char *format;
        int off; /* quality 92 with half the colour resolution, on slopes */
    } formats[] = {{"png", 0}, {"jpeg", 24}};
    vl2_picture *picture = drawing();
    for (size_t i = 0; i < 2; i++) {
        if (!strstr(vl2_decode_formats(), formats[i].format)) continue;
        void *bytes = NULL;
        size_t size = 0;
        vl2_picture *again = NULL;
        assert_int_equal(vl2_picture_encode(&bytes, &size, picture, formats[i].format, NULL),
                         VL2_OK);
        assert_int_equal(vl2_picture_decode(&again, bytes, size, "again", NULL, NULL), VL2_OK);
        assert_true(difference(picture, again) <= formats[i].off);
        vl2_picture_free(again);
        vl2_free(bytes);
    }
    vl2_picture_free(picture);
}

static void wrong_names_are_refused(void **state) {
    (void)state;
    vl2_picture *picture = drawing();
    void *bytes = NULL;
    size_t size;
    vl2_error err = {0};
    assert_int_equal(vl2_picture_encode(&bytes, &size, picture, "bmp", &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "bmp"));
    err = (vl2_error){0};
    assert_int_equal(vl2_picture_write(picture, "boxes.tiff", &err), VL2_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "boxes.tiff"));
    err = (vl2_error){0};
    assert_int_equal(vl2_picture_write(picture, "/no/such/folder/x.png", &err), VL2_ERR_IO);
    assert_non_null(strstr(err.text, "/no/such/folder"));
    vl2_picture_free(picture);
}

static void files_are_written_whole(void **state) {
    (void)state;
    char folder[] = "/tmp/vl2-encode-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.PNG", folder);
    vl2_picture *picture = drawing(), *again = NULL;
    assert_int_equal(vl2_picture_write(picture, path, NULL), VL2_OK);
    assert_int_equal(vl2_picture_open(&again, path, NULL, NULL), VL2_OK);
    assert_int_equal(difference(picture, again), 0);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing is left beside it */
    vl2_picture_free(again);
    vl2_picture_free(picture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_come_back),
        cmocka_unit_test(wrong_names_are_refused),
        cmocka_unit_test(files_are_written_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
