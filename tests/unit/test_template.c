#include "prompt_fixture.h"

#include "base/file.h"
#include "base/json.h"
#include "prompt/template.h"

#include <dirent.h>

/* ---- small conversations ------------------------------------------------------------------------- */

enum { BOS = 256, EOS, PAD, IMAGE, REF, REF_END, DET, DET_END, GROUNDING, USER, ASSISTANT };

typedef struct world {
    vl2_tokenizer *tokenizer;
    vl2_config config;
    vl2_picture *square, *wide; /* 1 x 1 and 2 x 1 tiles */
} world;

static vl2_picture *picture_of(size_t width, size_t height) {
    vl2_picture *picture;
    uint8_t *rgb = vl2_mem_calloc(width * height, 3);
    assert_int_equal(vl2_picture_from_rgb(&picture, rgb, width, height, NULL), VL2_OK);
    vl2_mem_free(rgb);
    return picture;
}

/* One projected row a view: a picture of 1 x 1 tiles takes 1*2 + 1 + 1*2 = 5 ids, of 2 x 1 six. */
static int open_world(void **state) {
    static world w;
    const fixture f = {
        .splits = "", .added = "{\"id\":256,\"content\":\"<b>\"},{\"id\":257,\"content\":\"<e>\"}"};
    w.tokenizer = fixture_open(&f, "{\"bos_token\":\"<b>\",\"eos_token\":\"<e>\"}", NULL);
    w.config = (vl2_config){.lang.vocab = 300, .projector.grid = 1, .image.side = 10};
    w.config.image.candidates[w.config.image.n_candidates++] = (vl2_resolution){10, 10};
    w.config.image.candidates[w.config.image.n_candidates++] = (vl2_resolution){20, 10};
    w.square = picture_of(10, 10);
    w.wide = picture_of(20, 10);
    *state = &w;
    return 0;
}

static int close_world(void **state) {
    world *w = *state;
    vl2_tokenizer_close(w->tokenizer);
    vl2_picture_free(w->square);
    vl2_picture_free(w->wide);
    return 0;
}

static vl2_message say(vl2_role role, const char *text, const vl2_picture *const *pictures,
                       size_t n) {
    return (vl2_message){.role = role,
                         .text = text,
                         .text_size = strlen(text),
                         .pictures = pictures,
                         .n_pictures = n};
}

/* `expected` reads like the text, with ids as letters: ^ bos, $ eos, U user, A assistant, # image,
 * R <|ref|>; everything else is its byte. */
static void assert_prompt(const world *w, const vl2_message *messages, size_t n,
                          const vl2_prompt_options *options, const char *expected) {
    vl2_template_result result;
    vl2_error err = {0};
    if (vl2_template_build(&result, &w->config, w->tokenizer, messages, n, options, &err)) {
        fail_msg("%s", err.text);
    }
    char got[512];
    assert_true(result.ids.size < sizeof got);
    static const char names[] = {'^', '$', 'P', '#', 'R', 'r', 'D', 'd', 'G', 'U', 'A'};
    for (size_t i = 0; i < result.ids.size; i++) {
        int32_t id = result.ids.data[i];
        got[i] = id < 256 ? (char)id : names[id - BOS];
    }
    got[result.ids.size] = 0;
    assert_string_equal(got, expected);
    vl2_template_free(&result);
}

static void assert_refused(const world *w, const vl2_message *messages, size_t n,
                           const vl2_prompt_options *options, const char *words) {
    vl2_template_result result;
    vl2_error err = {0};
    vl2_status status =
        vl2_template_build(&result, &w->config, w->tokenizer, messages, n, options, &err);
    if (status == VL2_OK || !strstr(err.text, words)) {
        fail_msg("status %d, \"%s\" without \"%s\"", (int)status, err.text, words);
    }
}

static void turns_are_framed(void **state) {
    const world *w = *state;
    vl2_message turns[] = {say(VL2_ROLE_SYSTEM, "\xc2\x85 be\x1c", NULL, 0),
                           say(VL2_ROLE_USER, "\xe3\x80\x80hi \n", NULL, 0),
                           say(VL2_ROLE_ASSISTANT, " yes ", NULL, 0),
                           say(VL2_ROLE_USER, "  ", NULL, 0),
                           say(VL2_ROLE_USER, "<|ref|>x", NULL, 0),
                           say(VL2_ROLE_ASSISTANT, "", NULL, 0)};
    const char *whole = "^beU: hi\n\nA:yes$U:A:U: Rx\n\nA:";
    assert_prompt(w, turns, 6, NULL, whole);
    assert_prompt(w, turns, 5, NULL, whole);               /* the empty answer is understood */
    assert_prompt(w, turns, 3, NULL, "^beU: hi\n\nA:yes"); /* to be continued: no eos */
    assert_prompt(w, turns, 1, NULL, "^be");
    turns[5] = say(VL2_ROLE_ASSISTANT, " so ", NULL, 0);
    assert_prompt(w, turns, 6, NULL, "^beU: hi\n\nA:yes$U:A:U: Rx\n\nA:so");
    turns[4] = say(VL2_ROLE_ASSISTANT, "", NULL, 0);
    assert_prompt(w, turns + 2, 4, NULL, "^yes$U:A:$so");
    const vl2_message null = {.role = VL2_ROLE_USER};
    assert_prompt(w, &null, 1, NULL, "^U:A:");
}

static void pictures_take_their_ids(void **state) {
    const world *w = *state;
    const vl2_picture *both[] = {w->square, w->wide};
    vl2_message turns[] = {say(VL2_ROLE_USER, "<image>\na<image>", both, 2),
                           say(VL2_ROLE_ASSISTANT, "b", NULL, 0),
                           say(VL2_ROLE_USER, "c<image>", both + 1, 1)};
    assert_prompt(w, turns, 2, NULL, "^U: #####\na######\n\nA:b");
    /* A third picture, in a later turn, ends the tiling of all. */
    assert_prompt(w, turns, 3, NULL, "^U: #####\na#####\n\nA:b$U: c#####\n\nA:");

    vl2_template_result result;
    assert_int_equal(vl2_template_build(&result, &w->config, w->tokenizer, turns, 2, NULL, NULL),
                     VL2_OK);
    assert_int_equal(result.n_spans, 2);
    assert_int_equal(result.spans[0].first_token, 4);
    assert_int_equal(result.spans[0].n_tokens, 5);
    assert_int_equal(result.spans[1].first_token, 11);
    assert_int_equal(result.spans[1].n_tokens, 6);
    assert_int_equal(result.spans[1].tiles_wide, 2);
    assert_int_equal(result.spans[1].tiles_high, 1);
    assert_int_equal(result.spans[1].picture, 1);
    assert_int_equal(result.spans[1].message, 0);
    vl2_template_free(&result);
}

static void system_images_are_only_ids(void **state) {
    const world *w = *state;
    vl2_message turns[] = {say(VL2_ROLE_SYSTEM, "a<image>", NULL, 0),
                           say(VL2_ROLE_USER, "b", NULL, 0)};
    assert_prompt(w, turns, 2, NULL, "^a#U: b\n\nA:");
}

static void wrong_conversations_are_refused(void **state) {
    const world *w = *state;
    const vl2_picture *both[] = {w->square, w->wide}, *none[] = {NULL};
    vl2_message turns[] = {say(VL2_ROLE_USER, "a", NULL, 0), say(VL2_ROLE_USER, "b", NULL, 0)};
    assert_refused(w, turns, 0, NULL, "no messages");
    turns[1] = say(VL2_ROLE_SYSTEM, "s", NULL, 0);
    assert_refused(w, turns, 2, NULL, "message 1: a system message");
    turns[1] = say(VL2_ROLE_ASSISTANT, "<image>", NULL, 0);
    assert_refused(w, turns, 2, NULL, "message 1: <image> in an assistant's");
    turns[1] = say(VL2_ROLE_ASSISTANT, "x", both, 1);
    assert_refused(w, turns, 2, NULL, "message 1: 1 pictures");
    turns[1] = say(VL2_ROLE_USER, "<image> <image>", both, 1);
    assert_refused(w, turns, 2, NULL,
                   "message 1: <image> tags in its text: 2, pictures with it: 1");
    turns[1] = say(VL2_ROLE_USER, "<image>", both, 2);
    assert_refused(w, turns, 2, NULL,
                   "message 1: <image> tags in its text: 1, pictures with it: 2");
    turns[1] = say(VL2_ROLE_USER, "<image>", none, 1);
    assert_refused(w, turns, 2, NULL, "message 1: picture 0 is NULL");
    turns[1] = say((vl2_role)7, "x", NULL, 0);
    assert_refused(w, turns, 2, NULL, "message 1: unknown role 7");
    turns[1] = say(VL2_ROLE_USER, "a\xc3", NULL, 0);
    assert_refused(w, turns, 2, NULL, "message 1: the text is not UTF-8");
    world small = *w;
    small.config.lang.vocab = 260;
    assert_refused(&small, turns, 1, NULL, "vocab_size is 260");
}

static void missing_tags_are_added(void **state) {
    const world *w = *state;
    const vl2_prompt_options add = {.struct_size = sizeof add, .add_image_tags = true};
    const vl2_picture *both[] = {w->square, w->square};
    vl2_message turn = say(VL2_ROLE_USER, "a", both, 2);
    assert_prompt(w, &turn, 1, &add, "^U: #####\n#####\na\n\nA:");
    turn = say(VL2_ROLE_USER, " a<image>b", both, 2);
    assert_prompt(w, &turn, 1, &add, "^U: #####\n a#####b\n\nA:");
    turn = say(VL2_ROLE_USER, "a<image>b<image>c<image>", both, 1); /* the first ones go */
    assert_prompt(w, &turn, 1, &add, "^U: abc#####\n\nA:");
    turn = say(VL2_ROLE_USER, "a<image>", NULL, 0);
    assert_refused(w, &turn, 1, &add, "message 0: <image> tags in its text: 1");
}

static void control_tokens_may_be_plain(void **state) {
    const world *w = *state;
    const vl2_prompt_options plain = {.struct_size = sizeof plain, .plain_control = true};
    vl2_message turn = say(VL2_ROLE_USER, "<e><|User|><|ref|>", NULL, 0);
    assert_prompt(w, &turn, 1, NULL, "^U: $UR\n\nA:");
    assert_prompt(w, &turn, 1, &plain, "^U: <e><|User|>R\n\nA:");
}

static void offsets_tell_tags_from_text(void **state) {
    const world *w = *state;
    const vl2_picture *both[] = {w->square, w->square};
    const size_t at[] = {10, 18}, none[] = {0}, wrong[] = {9, 18}, twice[] = {10, 10};
    vl2_message turn = say(VL2_ROLE_USER, "  <image> <image>\n<image>x\n", both, 2);
    turn.image_at = at;
    assert_prompt(w, &turn, 1, NULL, "^U: <image> #####\n#####x\n\nA:");
    turn.image_at = wrong;
    assert_refused(w, &turn, 1, NULL, "message 0: image_at[0] is 9");
    turn.image_at = twice;
    assert_refused(w, &turn, 1, NULL, "message 0: image_at[1] is 10");
    turn = say(VL2_ROLE_ASSISTANT, "<image>", NULL, 0);
    turn.image_at = none;
    assert_prompt(w, &turn, 1, NULL, "^<image>");
}

/* ---- what the reference made of every recorded conversation ---------------------------------------- */

/* A tensor of a recorded file, by its header's own words. */
static const void *tensor_of(const vl2_map *map, const char *name, size_t *n) {
    uint64_t header;
    vl2_json_doc *doc;
    memcpy(&header, map->data, sizeof header);
    assert_int_equal(
        vl2_json_parse(&doc, (const char *)map->data + 8, (size_t)header, "header", NULL), VL2_OK);
    const vl2_json *entry = vl2_json_get(vl2_json_root(doc), name);
    const vl2_json *shape = vl2_json_get(entry, "shape");
    size_t begin = (size_t)vl2_json_int(vl2_json_at(vl2_json_get(entry, "data_offsets"), 0));
    *n = entry ? 1 : 0;
    for (size_t i = 0; i < vl2_json_size(shape); i++) {
        *n *= (size_t)vl2_json_int(vl2_json_at(shape, i));
    }
    vl2_json_free(doc);
    return map->data + 8 + header + begin;
}

static vl2_role role_of(const vl2_json *message) {
    const char *role = vl2_json_text(vl2_json_get(message, "role"), NULL);
    if (strcmp(role, "<|User|>") == 0) return VL2_ROLE_USER;
    return strcmp(role, "<|Assistant|>") == 0 ? VL2_ROLE_ASSISTANT : VL2_ROLE_SYSTEM;
}

/* A blank picture of a PNG's size. */
static vl2_picture *blank(const char *folder, const char *name) {
    char *path;
    vl2_map map;
    assert_int_equal(vl2_path_join(&path, folder, name, NULL), VL2_OK);
    if (vl2_map_open(&map, path, NULL)) fail_msg("no %s", path);
    const uint8_t *size = map.data + 16;
    size_t width = (size_t)size[2] << 8 | size[3], height = (size_t)size[6] << 8 | size[7];
    vl2_map_close(&map);
    vl2_mem_free(path);
    return picture_of(width, height);
}

enum { MAX_TURNS = 16 };

static void check_ids(const vl2_template_result *got, const vl2_map *map, int32_t image) {
    size_t n;
    const int32_t *ids = tensor_of(map, "input_ids", &n);
    assert_int_equal(got->ids.size, n);
    assert_memory_equal(got->ids.data, ids, n * sizeof *ids);
    const uint8_t *mask = tensor_of(map, "images_seq_mask", &n);
    assert_int_equal(got->ids.size, n);
    size_t in_spans = 0;
    for (size_t i = 0; i < n; i++) assert_int_equal(mask[i] != 0, got->ids.data[i] == image);
    for (size_t s = 0; s < got->n_spans; s++) {
        for (size_t i = 0; i < got->spans[s].n_tokens; i++) {
            assert_true(mask[got->spans[s].first_token + i]);
        }
        in_spans += got->spans[s].n_tokens;
    }
    for (size_t i = 0; i < n; i++) in_spans -= mask[i];
    assert_int_equal(in_spans, 0);
    const int32_t *crop = tensor_of(map, "spatial_crop", &n);
    assert_int_equal(2 * got->n_spans, n);
    for (size_t s = 0; s < got->n_spans; s++) {
        assert_int_equal(got->spans[s].tiles_wide, crop[2 * s]);
        assert_int_equal(got->spans[s].tiles_high, crop[2 * s + 1]);
    }
}

static void check_case(const char *folder, const char *json, const vl2_config *config,
                       const vl2_tokenizer *tokenizer) {
    vl2_json_doc *doc;
    vl2_message turns[MAX_TURNS] = {0};
    vl2_picture *pictures[MAX_TURNS];
    size_t n_pictures = 0;
    char path[4096];
    vl2_error err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, json);
    if (vl2_json_read(&doc, path, 1 << 20, &err)) fail_msg("%s", err.text);
    size_t n = vl2_json_size(vl2_json_root(doc));
    assert_in_range(n, 1, MAX_TURNS);
    for (size_t i = 0; i < n; i++) {
        const vl2_json *message = vl2_json_at(vl2_json_root(doc), i);
        const vl2_json *images = vl2_json_get(message, "images");
        turns[i].role = role_of(message);
        turns[i].text = vl2_json_text(vl2_json_get(message, "content"), &turns[i].text_size);
        turns[i].pictures = (const vl2_picture *const *)pictures + n_pictures;
        turns[i].n_pictures = vl2_json_size(images);
        for (size_t k = 0; k < turns[i].n_pictures; k++) {
            pictures[n_pictures++] = blank(folder, vl2_json_text(vl2_json_at(images, k), NULL));
        }
    }
    vl2_template_result got;
    if (vl2_template_build(&got, config, tokenizer, turns, n, NULL, &err)) {
        fail_msg("%s: %s", path, err.text);
    }
    vl2_map map;
    memcpy(strrchr(path, '.'), ".safetensors", sizeof ".safetensors");
    if (vl2_map_open(&map, path, &err)) fail_msg("%s", err.text);
    check_ids(&got, &map, vl2_tokenizer_special(tokenizer)->image);
    vl2_map_close(&map);
    vl2_template_free(&got);
    for (size_t i = 0; i < n_pictures; i++) vl2_picture_free(pictures[i]);
    vl2_json_free(doc);
}

static size_t check_model(const char *model) {
    char folder[4096];
    vl2_config *config = vl2_mem_alloc(sizeof *config);
    vl2_tokenizer *tokenizer;
    vl2_error err = {0};
    size_t n = 0;
    snprintf(folder, sizeof folder, VL2_TEST_GOLDEN "/%s", model);
    if (vl2_config_read(config, folder, &err) ||
        vl2_tokenizer_open(&tokenizer, folder, config->image.image_token, config->image.pad_token,
                           &err)) {
        fail_msg("%s", err.text);
    }
    strncat(folder, "/golden", sizeof folder - strlen(folder) - 1);
    DIR *files = opendir(folder);
    assert_non_null(files);
    for (struct dirent *file; (file = readdir(files));) {
        const char *end = strrchr(file->d_name, '.');
        if (!end || strcmp(end, ".json") != 0 || strcmp(file->d_name, "cases.json") == 0) continue;
        check_case(folder, file->d_name, config, tokenizer);
        n++;
    }
    closedir(files);
    vl2_tokenizer_close(tokenizer);
    vl2_mem_free(config);
    return n;
}

static void recorded_conversations_give_their_ids(void **state) {
    (void)state;
    const char *models[] = {"mini-tiny",    "mini-small",      "mini-base", "mini-yarn",
                            "mini-grouped", "mini-dense-ends", "mini-384"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) n += check_model(models[i]);
    assert_in_range(n, 30, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_are_framed),
        cmocka_unit_test(pictures_take_their_ids),
        cmocka_unit_test(system_images_are_only_ids),
        cmocka_unit_test(wrong_conversations_are_refused),
        cmocka_unit_test(missing_tags_are_added),
        cmocka_unit_test(control_tokens_may_be_plain),
        cmocka_unit_test(offsets_tell_tags_from_text),
        cmocka_unit_test(recorded_conversations_give_their_ids),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
