/* vl2 pull: a model's files from a hub, whole and checked before the model can be used. */
#include "commands.h"
#include "download.h"
#include "models.h"
#include "progress.h"
#include "terminal.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#if VL2_HAS_CURL

static const char *const HUB = "https://huggingface.co";
enum { MAX_FILES = 4096, MAX_LISTING = 16 << 20, MAX_PATH = 512 };
static const uint64_t MAX_SIZE = (uint64_t)1 << 42; /* of a file */

typedef struct entry {
    char *path; /* under the model's folder, checked */
    uint64_t size;
    char sha256[65]; /* "" where the hub gives none */
} entry;

typedef struct pull {
    const cli_options *options;
    cli_download *download;
    char *name;    /* OWNER/NAME */
    char *folder;  /* where the model will be */
    char *working; /* where its files come together */
    int lock;
    entry *files;
    size_t n;
    uint64_t total, have;
} pull;

/* ---- the listing ----------------------------------------------------------------------------------- */

/* A path from elsewhere must stay in the folder and be no more than it seems: letters, digits and
 * . _ - + in each part, no part beginning with a dot. */
static bool is_safe(const char *path, size_t size) {
    static const char *const PLAIN =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+ ";
    if (!size || size > MAX_PATH || strlen(path) != size) return false;
    for (const char *part = path;;) {
        size_t n = strcspn(part, "/");
        if (!n || part[0] == '.' || strspn(part, PLAIN) < n) return false;
        if (!part[n]) return n < 5 || strcmp(part + n - 5, ".part") != 0;
        part += n + 1;
    }
}

static bool is_hidden(const char *path) { /* .gitattributes and its like: not of the model */
    const char *slash = strrchr(path, '/');
    return (slash ? slash[1] : path[0]) == '.' && !strstr(path, "..");
}

static vl2_status add_sum(entry *file, const vl2_json *lfs, vl2_error *err) {
    size_t size = 0;
    const char *oid = vl2_json_text(vl2_json_get(lfs, "oid"), &size);
    if (!oid) return VL2_OK;
    if (!strncmp(oid, "sha256:", 7)) {
        oid += 7;
        size -= 7;
    }
    if (size != 64 || strspn(oid, "0123456789abcdef") != 64) {
        return vl2_fail(err, VL2_ERR_FORMAT, "the hub's list: \"%s\" of %s is no SHA-256", oid,
                        file->path);
    }
    memcpy(file->sha256, oid, 65);
    return VL2_OK;
}

static vl2_status add_entry(pull *p, const vl2_json *item, vl2_error *err) {
    size_t size = 0;
    const char *type = vl2_json_text(vl2_json_get(item, "type"), NULL);
    const char *path = vl2_json_text(vl2_json_get(item, "path"), &size);
    const vl2_json *lfs = vl2_json_get(item, "lfs"), *bytes = vl2_json_get(item, "size");
    if (!type || !path) return vl2_fail(err, VL2_ERR_FORMAT, "the hub's list has a nameless entry");
    if (strcmp(type, "file") || is_hidden(path)) return VL2_OK;
    if (!is_safe(path, size)) {
        return vl2_fail(err, VL2_ERR_FORMAT,
                        "nothing was fetched: the hub's list has the name \"%.200s\", which may "
                        "lead out of the folder",
                        path);
    }
    if (vl2_json_kind_of(vl2_json_get(lfs, "size")) == VL2_JSON_INT) {
        bytes = vl2_json_get(lfs, "size");
    }
    int64_t n = vl2_json_kind_of(bytes) == VL2_JSON_INT ? vl2_json_int(bytes) : -1;
    if (n < 0 || (uint64_t)n > MAX_SIZE) {
        return vl2_fail(err, VL2_ERR_FORMAT, "the hub's list: %s has no possible size", path);
    }
    entry *file = &p->files[p->n];
    *file = (entry){.path = vl2_mem_strdup(path, size), .size = (uint64_t)n};
    if (!file->path) return vl2_fail_memory(err, "a path", size);
    p->n++;
    p->total += file->size;
    return add_sum(file, lfs, err);
}

static vl2_status list(pull *p, vl2_error *err) {
    vl2_buf path = {0}, text = {0};
    vl2_json_doc *doc = NULL;
    vl2_status status = VL2_OK;
    VL2_GOTO(done, status,
             vl2_buf_addf(&path, err, "/api/models/%s/tree/main?recursive=1", p->name));
    VL2_GOTO(done, status, cli_download_text(&text, p->download, path.data, MAX_LISTING, err));
    VL2_GOTO(done, status, vl2_json_parse(&doc, text.data, text.size, "the hub's list", err));
    const vl2_json *root = vl2_json_root(doc);
    size_t n = vl2_json_size(root);
    if (vl2_json_kind_of(root) != VL2_JSON_ARRAY || n > MAX_FILES) {
        status = vl2_fail(err, VL2_ERR_FORMAT,
                          "the hub's list: expected an array of up to %d files", MAX_FILES);
        goto done;
    }
    p->files = vl2_mem_calloc(n + 1, sizeof *p->files);
    if (!p->files) status = vl2_fail_memory(err, "a list of files", n * sizeof *p->files);
    for (size_t i = 0; i < n && status == VL2_OK; i++) {
        status = add_entry(p, vl2_json_at(root, i), err);
    }
    if (status == VL2_OK && !p->n) {
        status = vl2_fail(err, VL2_ERR_FORMAT, "%s has no files", p->name);
    }
done:
    vl2_json_free(doc);
    vl2_buf_free(&text);
    vl2_buf_free(&path);
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------ */

/* A model that is there is brought up to date in its place; a new one comes together beside it, and
 * takes its name when it is whole. */
static vl2_status open_folder(pull *p, vl2_error *err) {
    vl2_buf path = {0};
    bool there = vl2_file_is_folder(p->folder);
    VL2_TRY(vl2_buf_addf(&path, err, there ? "%s" : "%s.partial", p->folder));
    VL2_TRY(vl2_buf_detach(&path, &p->working, NULL, err));
    VL2_TRY(cli_models_make_folders(p->working, err));
    p->lock = open(p->working, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->lock < 0) return vl2_fail(err, VL2_ERR_IO, "%s: %s", p->working, strerror(errno));
    if (flock(p->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        return vl2_fail(err, VL2_ERR_IO, "%s: another vl2 is fetching it", p->working);
    }
    return VL2_OK;
}

static vl2_status target_of(char **out, const pull *p, const char *path, vl2_error *err) {
    char *folder = NULL;
    VL2_TRY(vl2_path_join(out, p->working, path, err));
    vl2_status status = vl2_path_folder(&folder, *out, err);
    if (status == VL2_OK) status = cli_models_make_folders(folder, err);
    vl2_mem_free(folder);
    return status;
}

static bool is_whole(const pull *p, const entry *file) {
    char *path = NULL;
    if (vl2_path_join(&path, p->working, file->path, NULL) != VL2_OK) return false;
    bool whole = vl2_file_exists(path) && cli_download_have(path) == file->size;
    vl2_mem_free(path);
    return whole;
}

static vl2_status check_room(const pull *p, vl2_error *err) {
    struct statvfs disk;
    if (statvfs(p->working, &disk) != 0) return VL2_OK;
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize, missing = p->total - p->have;
    if (missing <= room) return VL2_OK;
    return vl2_fail(err, VL2_ERR_IO, "%s: %.1f GB are missing, but the disk has room for %.1f GB",
                    p->working, (double)missing / 1e9, (double)room / 1e9);
}

static vl2_status fetch(pull *p, const entry *file, vl2_error *err) {
    vl2_buf path = {0};
    char *target = NULL;
    vl2_status status = VL2_OK;
    VL2_GOTO(done, status, vl2_buf_addf(&path, err, "/%s/resolve/main/%s", p->name, file->path));
    VL2_GOTO(done, status, target_of(&target, p, file->path, err));
    cli_download_file wanted = {.path = path.data,
                                .target = target,
                                .size = file->size,
                                .sha256 = file->sha256[0] ? file->sha256 : NULL,
                                .done_before = p->have,
                                .total = p->total};
    status = cli_download_fetch(p->download, &wanted, err);
    if (status == VL2_OK) p->have += file->size;
done:
    vl2_mem_free(target);
    vl2_buf_free(&path);
    return status;
}

static vl2_status fetch_all(pull *p, vl2_error *err) {
    for (size_t i = 0; i < p->n; i++) {
        if (is_whole(p, &p->files[i])) p->have += p->files[i].size;
    }
    VL2_TRY(check_room(p, err));
    if (!p->options->quiet) {
        cli_terminal_say("%s: %zu files, %.2f GB, %.2f GB of them here already", p->name, p->n,
                         (double)p->total / 1e9, (double)p->have / 1e9);
    }
    for (size_t i = 0; i < p->n; i++) {
        if (is_whole(p, &p->files[i])) continue;
        VL2_TRY(fetch(p, &p->files[i], err));
        if (p->options->verbose) cli_terminal_note("  %s", p->files[i].path);
    }
    if (strcmp(p->working, p->folder) && rename(p->working, p->folder) != 0) {
        return vl2_fail(err, VL2_ERR_IO, "%s: %s", p->folder, strerror(errno));
    }
    return VL2_OK;
}

static vl2_status work(pull *p, vl2_error *err) {
    const cli_options *o = p->options;
    VL2_TRY(cli_models_folder(&p->folder, &p->name, o->arguments.items[0], err));
    VL2_TRY(cli_download_open(&p->download, o->from ? o->from : HUB, err));
    VL2_TRY(list(p, err));
    VL2_TRY(open_folder(p, err));
    return fetch_all(p, err);
}

static void say_end(const pull *p) {
    char licence[128];
    cli_progress_hide();
    if (p->options->quiet) return;
    cli_models_licence(licence, sizeof licence, p->folder);
    cli_terminal_say("%s is in %s", p->name, p->folder);
    cli_terminal_say("licence of the model: %s", licence);
    cli_terminal_say("try: vl2 run -m %s -i photo.jpg \"What is this?\"",
                     p->options->arguments.items[0]);
}

int cli_pull_main(cli_options *options) {
    pull p = {.options = options, .lock = -1};
    vl2_error err = {0};
    int status = 0;
    cli_terminal_keep();
    vl2_status result = work(&p, &err);
    if (cli_terminal_interrupted()) {
        cli_terminal_say("stopped; the same command goes on from here");
        status = CLI_INTERRUPTED;
    } else if (result != VL2_OK) {
        status = cli_main_fail("pull", &err);
    } else {
        say_end(&p);
    }
    for (size_t i = 0; i < p.n; i++) vl2_mem_free(p.files[i].path);
    vl2_mem_free(p.files);
    if (p.lock >= 0) close(p.lock);
    cli_download_close(p.download);
    vl2_mem_free(p.name);
    vl2_mem_free(p.folder);
    vl2_mem_free(p.working);
    return status;
}

#else

int cli_pull_main(cli_options *options) {
    char text[256];
    snprintf(text, sizeof text,
             "this build has no libcurl; put the files of %.96s in a folder and name that with -m",
             options->arguments.items[0]);
    cli_terminal_error("pull", text);
    return CLI_FAILED;
}

#endif
