#include "models.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "clock.h"
#include "progress.h"
#include "terminal.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- paths ----------------------------------------------------------------------------------- */

static vl2_status data_home(vl2_buf *out, vl2_error *err) {
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (xdg && xdg[0] == '/') return vl2_buf_addf(out, err, "%s/vl2", xdg);
    if (home && home[0] == '/') return vl2_buf_addf(out, err, "%s/.local/share/vl2", home);
    return vl2_fail(err, VL2_ERR_IO,
                    "neither XDG_DATA_HOME nor HOME says where fetched models live; name a folder");
}

static bool is_word(const char *text, size_t size) {
    if (size == 0 || size > 96 || text[0] == '.' || text[0] == '-') return false;
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i])) return false;
    }
    return true;
}

vl2_status cli_models_folder(char **out, char **full, const char *name, vl2_error *err) {
    const char *slash = strchr(name, '/');
    size_t owner = slash ? (size_t)(slash - name) : 0;
    const char *model = slash ? slash + 1 : name;
    vl2_buf path = {0}, whole = {0};
    vl2_status status = VL2_OK;
    if ((slash && !is_word(name, owner)) || !is_word(model, strlen(model))) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "\"%s\" is no model's name: NAME or OWNER/NAME in letters, digits, . _ -",
                        name);
    }
    VL2_GOTO(done, status,
             vl2_buf_addf(&whole, err, "%.*s/%s", slash ? (int)owner : 11,
                          slash ? name : "deepseek-ai", model));
    VL2_GOTO(done, status, data_home(&path, err));
    VL2_GOTO(done, status, vl2_buf_addf(&path, err, "/%s", whole.data));
    VL2_GOTO(done, status, vl2_buf_detach(&path, out, NULL, err));
    if (full) {
        status = vl2_buf_detach(&whole, full, NULL, err);
        if (status != VL2_OK) vl2_mem_free(*out);
    }
done:
    vl2_buf_free(&path);
    vl2_buf_free(&whole);
    return status;
}

vl2_status cli_models_make_folders(const char *path, vl2_error *err) {
    char *copy = vl2_mem_strdup(path, strlen(path));
    if (!copy) return vl2_fail_memory(err, "a path", strlen(path));
    vl2_status status = VL2_OK;
    for (char *c = copy + 1; status == VL2_OK; c++) {
        if (*c && *c != '/') continue;
        char end = *c;
        *c = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            status = vl2_fail(err, VL2_ERR_IO, "%s: %s", copy, strerror(errno));
        }
        *c = end;
        if (!end) break;
    }
    vl2_mem_free(copy);
    return status;
}

/* The demo checkpoint lies beside the program where both were installed, or in the source tree. */
static vl2_status find_demo(char **out, vl2_error *err) {
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    vl2_buf beside = {0};
    vl2_status status = VL2_OK;
    const char *tried[3] = {NULL, VL2_DEMO_INSTALLED, VL2_DEMO_SOURCE};
    if (n > 0) {
        program[n] = 0;
        char *slash = strrchr(program, '/');
        if (slash) *slash = 0;
        VL2_GOTO(done, status, vl2_buf_addf(&beside, err, "%s/" VL2_DEMO_FROM_PROGRAM, program));
        tried[0] = beside.data;
    }
    for (size_t i = 0; i < 3; i++) {
        vl2_buf config = {0};
        if (!tried[i]) continue;
        VL2_GOTO(done, status, vl2_buf_addf(&config, err, "%s/config.json", tried[i]));
        bool there = vl2_file_exists(config.data);
        vl2_buf_free(&config);
        if (there) {
            *out = vl2_mem_strdup(tried[i], strlen(tried[i]));
            if (!*out) status = vl2_fail_memory(err, "a path", strlen(tried[i]) + 1);
            goto done;
        }
    }
    status = vl2_fail(err, VL2_ERR_IO,
                      "the demo checkpoint is not in %s; name a model with -m, or fetch one: "
                      "vl2 pull deepseek-vl2-tiny",
                      VL2_DEMO_INSTALLED);
done:
    vl2_buf_free(&beside);
    return status;
}

vl2_status cli_models_find(char **out, const char *model, vl2_error *err) {
    char *folder = NULL;
    if (!model) return find_demo(out, err);
    if (!*model) return vl2_fail(err, VL2_ERR_ARGUMENT, "the model's name is empty");
    if (vl2_file_exists(model) || vl2_file_is_folder(model)) {
        *out = vl2_mem_strdup(model, strlen(model));
        return *out ? VL2_OK : vl2_fail_memory(err, "a path", strlen(model) + 1);
    }
    if (cli_models_folder(&folder, NULL, model, NULL) != VL2_OK) {
        return vl2_fail(err, VL2_ERR_IO, "%s: there is no such folder or file", model);
    }
    if (vl2_file_is_folder(folder)) {
        *out = folder;
        return VL2_OK;
    }
    vl2_fail(err, VL2_ERR_IO,
             "%s: there is no such folder, and no fetched model in %s; `vl2 pull %s` fetches it",
             model, folder, model);
    vl2_mem_free(folder);
    return VL2_ERR_IO;
}

/* ---- opening ---------------------------------------------------------------------------------- */

static void log_line(void *user, const char *line) {
    (void)user;
    cli_terminal_note("%s", line);
}

vl2_status cli_models_engine_options(vl2_engine_options *out, const cli_options *options,
                                     vl2_error *err) {
    const char *const *levels = vl2_cpu_levels();
    vl2_engine_options_init(out);
    out->threads = (int)options->threads;
    out->ctx_tokens = options->ctx_size;
    out->cpu_level = options->cpu;
    out->mmproj = options->mmproj;
    if (options->compute && !strcmp(options->compute, "f32")) out->compute = VL2_COMPUTE_F32;
    if (options->vision && !strcmp(options->vision, "int8")) out->vision = VL2_VISION_INT8;
    if (options->verbose) out->log = log_line;
    if (!options->quiet) out->progress = cli_progress_stage;
    for (; options->cpu && *levels; levels++) {
        if (!strcmp(*levels, options->cpu)) return VL2_OK;
    }
    if (options->cpu) {
        vl2_buf list = {0};
        for (levels = vl2_cpu_levels(); *levels; levels++) {
            VL2_TRY(vl2_buf_addf(&list, err, " %s", *levels));
        }
        vl2_fail(err, VL2_ERR_ARGUMENT, "--cpu takes one of this machine's levels:%s; not \"%s\"",
                 list.data ? list.data : "", options->cpu);
        vl2_buf_free(&list);
        return VL2_ERR_ARGUMENT;
    }
    return VL2_OK;
}

static void say_loaded(const cli_options *options, const vl2_info *info, const char *path,
                       double ms) {
    if (info->is_demo && !options->quiet) {
        cli_terminal_note(
            "demo checkpoint: it knows drawn scenes only, no photos (-m names another "
            "model, `vl2 pull` fetches one)");
    }
    if (info->ctx_tokens > info->max_positions && !options->quiet && !options->verbose) {
        cli_terminal_say("warning: --ctx-size %zu is more than the %zu tokens that the model was "
                         "made for; answers past them may be poor",
                         info->ctx_tokens, info->max_positions);
    }
    if (options->verbose) cli_terminal_note("%s opened in %.0f ms", path, ms);
}

vl2_status cli_models_open(vl2_engine **out, const cli_options *options, size_t kv_tokens,
                           double *load_ms, vl2_error *err) {
    vl2_engine_options wanted;
    char *path = NULL;
    double begun = cli_clock_ms();
    VL2_TRY(cli_models_engine_options(&wanted, options, err));
    wanted.kv_tokens = kv_tokens;
    VL2_TRY(cli_models_find(&path, options->model, err));
    vl2_status status = vl2_engine_open(out, path, &wanted, err);
    cli_progress_hide();
    if (status == VL2_OK) {
        double ms = cli_clock_ms() - begun;
        if (load_ms) *load_ms = ms;
        say_loaded(options, vl2_engine_info(*out), path, ms);
    }
    vl2_mem_free(path);
    return status;
}

/* ---- licence ---------------------------------------------------------------------------------- */

/* The value of "key:" at a line's beginning within the front matter of a model card. */
static bool front_matter(char *out, size_t room, const char *text, const char *key) {
    size_t size = strlen(key);
    if (strncmp(text, "---\n", 4)) return false;
    for (const char *line = text + 4; *line && strncmp(line, "---", 3);) {
        size_t n = strcspn(line, "\n");
        if (!strncmp(line, key, size) && line[size] == ':') {
            const char *value = line + size + 1;
            while (value < line + n && (*value == ' ' || *value == '"')) value++;
            size_t length = strcspn(value, "\"\n");
            snprintf(out, room, "%.*s", (int)length, value);
            return length > 0;
        }
        line += n + (line[n] == '\n');
    }
    return false;
}

void cli_models_licence(char *out, size_t room, const char *folder) {
    char *path = NULL, *text = NULL;
    size_t size = 0;
    snprintf(out, room, "not stated in the folder");
    if (vl2_path_join(&path, folder, "README.md", NULL) == VL2_OK &&
        vl2_file_read(&text, &size, path, 1 << 20, NULL) == VL2_OK) {
        (void)(front_matter(out, room, text, "license_name") ||
               front_matter(out, room, text, "license"));
    }
    if (strstr(out, "deepseek")) snprintf(out, room, "DeepSeek Model License");
    vl2_mem_free(text);
    vl2_mem_free(path);
}
