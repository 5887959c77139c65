#define _GNU_SOURCE
#include "engine/support.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/safetensors.h"

static int by_name(const void *a, const void *b) {
    return strcmp(((const golden_case *)a)->name, ((const golden_case *)b)->name);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static size_t find_cases(golden_case *out, size_t room, const char *folder, const char *model) {
    char path[MAX_PATH_SIZE];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s/golden", folder, model);
    DIR *dir = opendir(path);
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir)) && n < room;) {
        if (!ends_with(e->d_name, ".safetensors")) continue;
        int stem = (int)(strlen(e->d_name) - strlen(".safetensors"));
        golden_case *c = &out[n++];
        snprintf(c->model, sizeof c->model, "%.200s/%.100s", folder, model);
        snprintf(c->conversation, sizeof c->conversation, "%.300s/golden/%.*s.json", c->model, stem,
                 e->d_name);
        snprintf(c->trace, sizeof c->trace, "%.300s/golden/%.100s", c->model, e->d_name);
        snprintf(c->name, sizeof c->name, "%.60s/%.*s", model, stem < 60 ? stem : 60, e->d_name);
    }
    closedir(dir);
    return n;
}

size_t find_goldens(golden_case *out, size_t room, const char *folder) {
    DIR *dir = opendir(folder);
    size_t n = 0;
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] != '.') n += find_cases(out + n, room - n, folder, e->d_name);
    }
    closedir(dir);
    qsort(out, n, sizeof *out, by_name);
    return n;
}

golden_case golden_named(const char *name) {
    golden_case *all = calloc(MAX_CASES, sizeof *all), found = {0};
    size_t n = find_goldens(all, MAX_CASES, VL2_TEST_GOLDEN);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i].name, name) == 0) found = all[i];
    }
    free(all);
    if (!found.name[0]) fail_msg("no golden %s", name);
    return found;
}

static vl2_role role_of(const char *name) {
    if (strcmp(name, "system") == 0) return VL2_ROLE_SYSTEM;
    if (strcmp(name, "<|User|>") == 0 || strcmp(name, "user") == 0) return VL2_ROLE_USER;
    return VL2_ROLE_ASSISTANT;
}

static void read_pictures(conversation *out, const vl2_json *names, const char *path) {
    vl2_error err = {0};
    int folder = (int)(strrchr(path, '/') - path);
    for (size_t i = 0; i < vl2_json_size(names); i++) {
        char file[MAX_PATH_SIZE];
        vl2_picture *picture;
        snprintf(file, sizeof file, "%.*s/%s", folder, path,
                 vl2_json_text(vl2_json_at(names, i), NULL));
        must(err, vl2_picture_open(&picture, file, NULL, &err));
        assert_true(out->n_pictures < MAX_PICTURES);
        out->pictures[out->n_pictures++] = picture;
    }
}

void read_conversation(conversation *out, const char *path) {
    vl2_error err = {0};
    vl2_json_doc *doc;
    *out = (conversation){0};
    must(err, vl2_json_read(&doc, path, 1 << 20, &err));
    const vl2_json *root = vl2_json_root(doc);
    out->n_messages = vl2_json_size(root);
    assert_true(out->n_messages > 0 && out->n_messages <= MAX_MESSAGES);
    for (size_t i = 0; i < out->n_messages; i++) {
        const vl2_json *m = vl2_json_at(root, i), *images = vl2_json_get(m, "images");
        size_t size;
        const char *text = vl2_json_text(vl2_json_get(m, "content"), &size);
        const vl2_picture **first = out->pictures + out->n_pictures;
        read_pictures(out, images, path);
        out->messages[i] = (vl2_message){
            .role = role_of(vl2_json_text(vl2_json_get(m, "role"), NULL)),
            .text = vl2_mem_strdup(text, size),
            .text_size = size,
            .pictures = first,
            .n_pictures = vl2_json_size(images),
        };
    }
    vl2_json_free(doc);
}

void free_conversation(conversation *c) {
    for (size_t i = 0; i < c->n_pictures; i++) vl2_picture_free(c->pictures[i]);
    for (size_t i = 0; i < c->n_messages; i++) free((void *)(uintptr_t)c->messages[i].text);
}

vl2_engine *open_engine(const char *model, vl2_compute compute, int threads, const char *level) {
    vl2_error err = {0};
    vl2_engine *engine;
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    options.ctx_tokens =
        4096; /* a fixture's dynamic rope has few positions, and its prompts more */
    options.compute = compute;
    options.threads = threads;
    options.cpu_level = level;
    options.kv_tokens = 16384;
    must(err, vl2_engine_open(&engine, model, &options, &err));
    return engine;
}

vl2_prompt *open_prompt(vl2_engine *engine, const char *conversation_path) {
    vl2_error err = {0};
    conversation c;
    vl2_prompt *prompt;
    read_conversation(&c, conversation_path);
    must(err, vl2_prompt_build(&prompt, engine, c.messages, c.n_messages, NULL, &err));
    free_conversation(&c);
    return prompt;
}

vl2_prompt *text_prompt(vl2_engine *engine, const char *text) {
    vl2_error err = {0};
    vl2_prompt *prompt;
    vl2_message ask = {.role = VL2_ROLE_USER, .text = text, .text_size = strlen(text)};
    must(err, vl2_prompt_build(&prompt, engine, &ask, 1, NULL, &err));
    return prompt;
}

size_t golden_ids(int32_t *out, size_t room, const golden_case *c) {
    vl2_error err = {0};
    vl2_checkpoint *file;
    must(err, vl2_checkpoint_open_file(&file, c->trace, &err));
    const vl2_tensor *ids = vl2_checkpoint_find(file, "greedy_ids");
    assert_non_null(ids);
    size_t n = ids->shape[0];
    assert_true(n <= room);
    memcpy(out, ids->data, n * sizeof *out);
    vl2_checkpoint_close(file);
    return n;
}
