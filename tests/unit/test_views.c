/* Views against what the reference computed: the pictures of $VL2_REFERENCE_DATA/preprocess, and the
 * tiles in tests/golden. */
#include "image/views.h"

#include "base/json.h"
#include "model/resolution.h"
#include "pictures.h"

#include <dirent.h>

static char *path_of(char out[4096], const char *folder, const char *name) {
    snprintf(out, 4096, "%s/%s", folder, name);
    return out;
}

static void read_candidates(vl2_image_config *config, const vl2_json *list) {
    assert_true(vl2_json_size(list) > 0 && vl2_json_size(list) <= VL2_MAX_CANDIDATES);
    config->n_candidates = vl2_json_size(list);
    for (size_t i = 0; i < config->n_candidates; i++) {
        const vl2_json *pair = vl2_json_at(list, i);
        config->candidates[i].width = (size_t)vl2_json_int(vl2_json_at(pair, 0));
        config->candidates[i].height = (size_t)vl2_json_int(vl2_json_at(pair, 1));
    }
    config->side = config->candidates[0].width;
    for (size_t c = 0; c < 3; c++) config->mean[c] = config->std[c] = 0.5f;
}

/* Tiles [high * wide, 3, S, S] as one picture of rows, columns, channels; malloc'ed. */
static uint8_t *mosaic(const uint8_t *tiles, size_t side, size_t wide, size_t high) {
    uint8_t *rgb = malloc(wide * high * side * side * 3), *to = rgb;
    assert_non_null(rgb);
    for (size_t y = 0; y < high * side; y++)
        for (size_t x = 0; x < wide * side; x++)
            for (size_t c = 0; c < 3; c++)
                *to++ = tiles[(((y / side * wide + x / side) * 3 + c) * side + y % side) * side +
                              x % side];
    return rgb;
}

static void check_picture(const uint8_t *rgb, size_t width, size_t height, const char *digest,
                          const char *png) {
    char hex[65];
    pictures_hex(hex, rgb, width * height * 3);
    if (strcmp(hex, digest) != 0) fail_msg("%s: other pixels", png);
    vl2_picture *picture = NULL;
    vl2_error err = {0};
    if (vl2_picture_open(&picture, png, NULL, &err) != VL2_OK) fail_msg("%s", err.text);
    assert_int_equal(vl2_picture_width(picture), width);
    assert_int_equal(vl2_picture_height(picture), height);
    assert_memory_equal(vl2_picture_rgb(picture), rgb, width * height * 3);
    vl2_picture_free(picture);
}

static void check_golden(const vl2_image_config *config, const char *folder, const vl2_json *entry,
                         vl2_pool *pool) {
    char path[4096], name[256], hex[65];
    const char *file = vl2_json_text(vl2_json_get(entry, "file"), NULL);
    vl2_picture *picture = NULL;
    vl2_error err = {0};
    if (vl2_picture_open(&picture, path_of(path, folder, file), NULL, &err) != VL2_OK)
        fail_msg("%s", err.text);
    const size_t width = vl2_picture_width(picture), height = vl2_picture_height(picture);
    pictures_hex(hex, vl2_picture_rgb(picture), width * height * 3);
    if (strcmp(hex, vl2_json_text(vl2_json_get(entry, "sha256_decoded_rgb"), NULL)) != 0)
        fail_msg("%s: decoded to other pixels", file);

    size_t wide, high, side = config->side;
    vl2_resolution_choose(&wide, &high, config, width, height, true);
    assert_int_equal(wide, vl2_json_int(vl2_json_at(vl2_json_get(entry, "tiles"), 0)));
    assert_int_equal(high, vl2_json_int(vl2_json_at(vl2_json_get(entry, "tiles"), 1)));
    uint8_t *views = NULL;
    assert_int_equal(vl2_views_make(&views, config, picture, wide, high, pool, &err), VL2_OK);
    uint8_t *global = mosaic(views, side, 1, 1);
    uint8_t *local = mosaic(views + 3 * side * side, side, wide, high);
    snprintf(name, sizeof name, "%s", file);
    *strrchr(name, '.') = '_';
    char png[300];
    snprintf(png, sizeof png, "%s.global.png", name);
    check_picture(global, side, side, vl2_json_text(vl2_json_get(entry, "sha256_global"), NULL),
                  path_of(path, folder, png));
    snprintf(png, sizeof png, "%s.local.png", name);
    check_picture(local, wide * side, high * side,
                  vl2_json_text(vl2_json_get(entry, "sha256_local"), NULL),
                  path_of(path, folder, png));
    free(global);
    free(local);
    vl2_mem_free(views);
    vl2_picture_free(picture);
}

static void reference_pictures(void **state) {
    (void)state;
    const char *data = getenv("VL2_REFERENCE_DATA");
    char folder[2048], path[4096];
    snprintf(folder, sizeof folder, "%s/preprocess",
             data ? data : VL2_SOURCE_DIR "/../shared/golden");
    if (!vl2_file_exists(path_of(path, folder, "images.json"))) {
        print_message("no reference pictures in %s\n", folder);
        skip();
    }
    vl2_json_doc *doc = NULL;
    assert_int_equal(vl2_json_read(&doc, path, 1 << 24, NULL), VL2_OK);
    const vl2_json *root = vl2_json_root(doc), *images = vl2_json_get(root, "images");
    vl2_image_config config = {0};
    read_candidates(&config, vl2_json_get(root, "candidate_resolutions"));
    vl2_pool *pool = NULL;
    assert_int_equal(vl2_pool_create(&pool, 2, NULL), VL2_OK);
    assert_true(vl2_json_size(images) > 40);
    for (size_t i = 0; i < vl2_json_size(images); i++)
        check_golden(&config, folder, vl2_json_at(images, i), i % 2 ? pool : NULL);
    vl2_pool_free(pool);
    vl2_json_free(doc);
}

/* ---- tiles of the traces ----------------------------------------------------------------------- */

typedef struct trace {
    char *bytes;
    size_t size, n; /* n views */
    const uint8_t *tiles;
} trace;

static void read_trace(trace *t, const char *path) {
    t->bytes = pictures_read(path, &t->size);
    uint64_t header = 0;
    assert_true(t->size > 8);
    memcpy(&header, t->bytes, 8);
    vl2_json_doc *doc = NULL;
    assert_int_equal(vl2_json_parse(&doc, t->bytes + 8, header, path, NULL), VL2_OK);
    const vl2_json *tensor = vl2_json_get(vl2_json_root(doc), "tiles");
    assert_non_null(tensor);
    const size_t at = (size_t)vl2_json_int(vl2_json_at(vl2_json_get(tensor, "data_offsets"), 0));
    t->n = (size_t)vl2_json_int(vl2_json_at(vl2_json_get(tensor, "shape"), 0));
    t->tiles = (const uint8_t *)t->bytes + 8 + header + at;
    vl2_json_free(doc);
}

/* All pictures of a conversation, in order; their number in *n. */
static void open_pictures(vl2_picture *pictures[16], size_t *n, const char *folder,
                          const vl2_json *messages) {
    char path[4096];
    *n = 0;
    for (size_t i = 0; i < vl2_json_size(messages); i++) {
        const vl2_json *images = vl2_json_get(vl2_json_at(messages, i), "images");
        for (size_t k = 0; k < vl2_json_size(images); k++) {
            const char *name = vl2_json_text(vl2_json_at(images, k), NULL);
            assert_true(*n < 16);
            assert_int_equal(
                vl2_picture_open(&pictures[(*n)++], path_of(path, folder, name), NULL, NULL),
                VL2_OK);
        }
    }
}

static size_t check_case(const vl2_image_config *config, const char *folder, const char *name) {
    char path[4096], file[300];
    snprintf(file, sizeof file, "%s.safetensors", name);
    trace t;
    read_trace(&t, path_of(path, folder, file));
    snprintf(file, sizeof file, "%s.json", name);
    vl2_json_doc *doc = NULL;
    assert_int_equal(vl2_json_read(&doc, path_of(path, folder, file), 1 << 20, NULL), VL2_OK);
    vl2_picture *pictures[16];
    size_t n, at = 0;
    const size_t view = 3 * config->side * config->side;
    open_pictures(pictures, &n, folder, vl2_json_root(doc));
    for (size_t i = 0; i < n; i++) {
        size_t wide, high;
        uint8_t *views = NULL;
        vl2_resolution_choose(&wide, &high, config, vl2_picture_width(pictures[i]),
                              vl2_picture_height(pictures[i]), n <= 2);
        assert_int_equal(vl2_views_make(&views, config, pictures[i], wide, high, NULL, NULL),
                         VL2_OK);
        assert_true(at + 1 + wide * high <= t.n);
        if (memcmp(views, t.tiles + at * view, (1 + wide * high) * view) != 0)
            fail_msg("%s: picture %zu has other tiles", path, i);
        at += 1 + wide * high;
        vl2_mem_free(views);
        vl2_picture_free(pictures[i]);
    }
    assert_int_equal(at, t.n);
    vl2_json_free(doc);
    vl2_mem_free(t.bytes);
    return n;
}

static size_t check_model(const char *model) {
    char folder[2048], path[4096];
    snprintf(folder, sizeof folder, VL2_TEST_GOLDEN "/%s", model);
    vl2_json_doc *doc = NULL;
    assert_int_equal(
        vl2_json_read(&doc, path_of(path, folder, "processor_config.json"), 1 << 20, NULL), VL2_OK);
    vl2_image_config config = {0};
    read_candidates(&config, vl2_json_get(vl2_json_root(doc), "candidate_resolutions"));
    vl2_json_free(doc);
    snprintf(folder, sizeof folder, VL2_TEST_GOLDEN "/%s/golden", model);
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    size_t n = 0;
    for (const struct dirent *entry; (entry = readdir(entries));) {
        char name[256];
        snprintf(name, sizeof name, "%s", entry->d_name);
        char *ending = strstr(name, ".safetensors");
        if (!ending) continue;
        *ending = '\0';
        n += check_case(&config, folder, name);
    }
    closedir(entries);
    return n;
}

static void golden_tiles(void **state) {
    (void)state;
    static const char *const models[] = {"mini-tiny", "mini-small",   "mini-base",
                                         "mini-yarn", "mini-grouped", "mini-dense-ends",
                                         "mini-384"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        assert_true(check_model(models[i]) > 2);
}

/* ---- the shape of views ------------------------------------------------------------------------ */

/* A picture of four flat quarters, larger by far than noise of the resize: tiles must come row by
 * row, left to right, and channels as planes. */
static void tiles_lie_row_by_row(void **state) {
    (void)state;
    enum { SIDE = 8 };
    vl2_image_config config = {.side = SIDE, .mean = {0.5f, 0.5f, 0.5f}};
    uint8_t rgb[16 * 16 * 3];
    for (size_t y = 0; y < 16; y++)
        for (size_t x = 0; x < 16; x++)
            for (size_t c = 0; c < 3; c++)
                rgb[(y * 16 + x) * 3 + c] = (uint8_t)(y / 8 * 100 + x / 8 * 50 + c * 10);
    vl2_picture *picture = NULL;
    uint8_t *views = NULL;
    assert_int_equal(vl2_picture_from_rgb(&picture, rgb, 16, 16, NULL), VL2_OK);
    assert_int_equal(vl2_views_make(&views, &config, picture, 2, 2, NULL, NULL), VL2_OK);
    for (size_t tile = 0; tile < 4; tile++)
        for (size_t i = 0; i < 3 * SIDE * SIDE; i++)
            assert_int_equal(views[(1 + tile) * 3 * SIDE * SIDE + i],
                             tile / 2 * 100 + tile % 2 * 50 + i / (SIDE * SIDE) * 10);
    vl2_mem_free(views);
    vl2_picture_free(picture);
}

/* A line so thin that it rounds to nothing leaves padding, in each channel its own. */
static void thin_pictures_are_padding(void **state) {
    (void)state;
    enum { SIDE = 4 };
    vl2_image_config config = {.side = SIDE, .mean = {0.5f, 0.25f, 0.75f}};
    static const int padding[3] = {127, 63, 191};
    uint8_t *rgb = calloc(1000, 3), *views = NULL;
    vl2_picture *picture = NULL;
    assert_int_equal(vl2_picture_from_rgb(&picture, rgb, 1000, 1, NULL), VL2_OK);
    assert_int_equal(vl2_views_make(&views, &config, picture, 1, 1, NULL, NULL), VL2_OK);
    for (size_t i = 0; i < 2 * 3 * SIDE * SIDE; i++)
        assert_int_equal(views[i], padding[i / (SIDE * SIDE) % 3]);
    vl2_mem_free(views);
    vl2_picture_free(picture);
    free(rgb);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_pictures),
        cmocka_unit_test(golden_tiles),
        cmocka_unit_test(tiles_lie_row_by_row),
        cmocka_unit_test(thin_pictures_are_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
