#include "jsonl.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool cli_jsonl_next(FILE *in, char **line, size_t *room, size_t *size, const char *name,
                    vl2_error *err) {
    errno = 0;
    ssize_t n = getline(line, room, in);
    if (n < 0) {
        if (ferror(in)) vl2_fail(err, VL2_ERR_IO, "%s: %s", name, strerror(errno));
        return false;
    }
    if (n > CLI_JSONL_MAX_LINE) {
        vl2_fail(err, VL2_ERR_LIMIT, "%s: a line of over %d bytes", name, CLI_JSONL_MAX_LINE);
        return false;
    }
    if (n > 0 && (*line)[n - 1] == '\n') (*line)[--n] = 0;
    if (n > 0 && (*line)[n - 1] == '\r') (*line)[--n] = 0;
    *size = (size_t)n;
    return true;
}

size_t cli_jsonl_count(const char *path) {
    struct stat info;
    size_t n = 0, got = 0;
    char block[65536], last = '\n';
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return 0;
    FILE *in = fopen(path, "rb");
    if (!in) return 0;
    while ((got = fread(block, 1, sizeof block, in)) > 0) {
        for (size_t i = 0; i < got; i++) n += block[i] == '\n';
        last = block[got - 1];
    }
    fclose(in);
    return n + (last != '\n');
}

/* ---- the table of ids ---------------------------------------------------------------------------- */

static size_t place_of(const cli_results *r, const char *id) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *c = id; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    size_t place = (size_t)hash & (r->room - 1);
    while (r->ids[place] && strcmp(r->ids[place], id)) place = (place + 1) & (r->room - 1);
    return place;
}

bool cli_results_has(const cli_results *r, const char *id) {
    return r->room && r->ids[place_of(r, id)];
}

static vl2_status grow(cli_results *r, vl2_error *err) {
    cli_results bigger = {.room = r->room ? r->room * 2 : 1024};
    bigger.ids = vl2_mem_calloc(bigger.room, sizeof *bigger.ids);
    if (!bigger.ids) return vl2_fail_memory(err, "a table of ids", bigger.room * sizeof(char *));
    for (size_t i = 0; i < r->room; i++) {
        if (r->ids[i]) bigger.ids[place_of(&bigger, r->ids[i])] = r->ids[i];
    }
    vl2_mem_free(r->ids);
    r->ids = bigger.ids;
    r->room = bigger.room;
    return VL2_OK;
}

vl2_status cli_results_add_id(cli_results *r, const char *id, bool *is_new, vl2_error *err) {
    if (r->n_ids * 2 >= r->room) VL2_TRY(grow(r, err));
    size_t place = place_of(r, id);
    *is_new = !r->ids[place];
    if (!*is_new) return VL2_OK;
    r->ids[place] = vl2_mem_strdup(id, strlen(id));
    if (!r->ids[place]) return vl2_fail_memory(err, "an id", strlen(id) + 1);
    r->n_ids++;
    return VL2_OK;
}

/* ---- the file -------------------------------------------------------------------------------------- */

/* The "id" of a line as JSON text, so that 1 and "1" differ. */
static bool id_of(vl2_buf *out, const char *line, size_t size, vl2_error *err) {
    vl2_json_doc *doc = NULL;
    vl2_buf_clear(out);
    if (vl2_json_parse(&doc, line, size, "a line", NULL) != VL2_OK) return false;
    const vl2_json *id = vl2_json_get(vl2_json_root(doc), "id");
    size_t length = 0;
    const char *text = vl2_json_text(id, &length);
    bool found = true;
    if (text) {
        found = vl2_json_quote(out, text, length, err) == VL2_OK;
    } else if (vl2_json_kind_of(id) == VL2_JSON_INT) {
        found = vl2_buf_addf(out, err, "%" PRId64, vl2_json_int(id)) == VL2_OK;
    } else {
        found = false;
    }
    vl2_json_free(doc);
    return found;
}

/* Reads what an earlier run left; *keep: the bytes up to which lines are whole. */
static vl2_status read_back(cli_results *r, FILE *in, off_t *keep, vl2_error *err) {
    char *line = NULL;
    size_t room = 0;
    ssize_t n = 0;
    vl2_buf id = {0};
    vl2_status status = VL2_OK;
    bool is_new = false;
    *keep = 0;
    for (size_t number = 1; (n = getline(&line, &room, in)) > 0; number++) {
        bool torn = line[n - 1] != '\n';
        bool has_id = !torn && id_of(&id, line, (size_t)n - 1, err);
        if (torn) break; /* nothing can follow it */
        if (!has_id) {
            status = vl2_fail(err, VL2_ERR_FORMAT,
                              "%s: line %zu is no result with an \"id\"; is this the file of "
                              "another program?",
                              r->path, number);
            break;
        }
        VL2_GOTO(done, status, cli_results_add_id(r, id.data, &is_new, err));
        *keep += n;
    }
done:
    free(line);
    vl2_buf_free(&id);
    return status;
}

static vl2_status resume(cli_results *r, vl2_error *err) {
    struct stat info;
    off_t keep = 0;
    FILE *in = fopen(r->path, "rb");
    if (!in) return vl2_fail(err, VL2_ERR_IO, "%s: %s", r->path, strerror(errno));
    vl2_status status = read_back(r, in, &keep, err);
    fclose(in);
    VL2_TRY(status);
    if (fstat(r->fd, &info) == 0 && info.st_size > keep) {
        r->repaired = (size_t)(info.st_size - keep);
        if (ftruncate(r->fd, keep) != 0) {
            return vl2_fail(err, VL2_ERR_IO, "%s: %s", r->path, strerror(errno));
        }
    }
    return VL2_OK;
}

vl2_status cli_results_open(cli_results *out, const char *path, vl2_error *err) {
    struct stat info;
    *out = (cli_results){.fd = STDOUT_FILENO, .path = path};
    VL2_TRY(grow(out, err));
    if (!strcmp(path, "-")) {
        out->path = "standard output";
        return VL2_OK;
    }
    out->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (out->fd < 0) return vl2_fail(err, VL2_ERR_IO, "%s: %s", path, strerror(errno));
    if (flock(out->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        return vl2_fail(err, VL2_ERR_IO, "%s: another run is writing to it", path);
    }
    if (fstat(out->fd, &info) == 0 && !S_ISREG(info.st_mode)) return VL2_OK; /* a device, a pipe */
    return resume(out, err);
}

vl2_status cli_results_append(cli_results *r, const char *line, size_t size, vl2_error *err) {
    struct stat info;
    bool regular = fstat(r->fd, &info) == 0 && S_ISREG(info.st_mode);
    size_t done = 0;
    while (done < size) {
        ssize_t n = write(r->fd, line + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            int reason = errno;
            if (done && regular && ftruncate(r->fd, info.st_size) != 0) reason = errno;
            return vl2_fail(err, VL2_ERR_IO, "%s: %s", r->path, strerror(reason));
        }
        done += (size_t)n;
    }
    return VL2_OK;
}

vl2_status cli_results_close(cli_results *r, vl2_error *err) {
    vl2_status status = VL2_OK;
    for (size_t i = 0; i < r->room; i++) vl2_mem_free(r->ids[i]);
    vl2_mem_free(r->ids);
    r->ids = NULL;
    r->room = 0;
    if (r->fd > STDERR_FILENO && close(r->fd) != 0) {
        status = vl2_fail(err, VL2_ERR_IO, "%s: %s", r->path, strerror(errno));
    }
    r->fd = -1;
    return status;
}
