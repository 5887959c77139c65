#include "download.h"

#if VL2_HAS_CURL

#include "base/err.h"
#include "base/mem.h"
#include "clock.h"
#include "progress.h"
#include "terminal.h"
#include "vl2/vl2_dev.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 5, CONNECT_SECONDS = 30, STALL_SECONDS = 60 };

struct cli_download {
    CURL *curl;
    char *base;
    char reason[CURL_ERROR_SIZE];
};

vl2_status cli_download_open(cli_download **out, const char *base, vl2_error *err) {
    bool is_http = !strncmp(base, "http://", 7);
    if (!is_http && strncmp(base, "https://", 8)) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "--from takes a URL with https:// or http://, not \"%s\"", base);
    }
    cli_download *d = vl2_mem_calloc(1, sizeof *d);
    if (!d) return vl2_fail_memory(err, "a download", sizeof *d);
    size_t n = strlen(base);
    while (n && base[n - 1] == '/') n--;
    d->base = vl2_mem_strdup(base, n);
    d->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == 0 ? curl_easy_init() : NULL;
    if (!d->base || !d->curl) {
        cli_download_close(d);
        return vl2_fail(err, VL2_ERR_MEMORY, "libcurl cannot be started");
    }
    curl_easy_setopt(d->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(d->curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(d->curl, CURLOPT_MAXREDIRS, 8L);
    curl_easy_setopt(d->curl, CURLOPT_PROTOCOLS_STR, is_http ? "http,https" : "https");
    curl_easy_setopt(d->curl, CURLOPT_REDIR_PROTOCOLS_STR, is_http ? "http,https" : "https");
    curl_easy_setopt(d->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(d->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(d->curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(d->curl, CURLOPT_USERAGENT, "vl2");
    curl_easy_setopt(d->curl, CURLOPT_ERRORBUFFER, d->reason);
    *out = d;
    return VL2_OK;
}

void cli_download_close(cli_download *d) {
    if (!d) return;
    if (d->curl) curl_easy_cleanup(d->curl);
    curl_global_cleanup();
    vl2_mem_free(d->base);
    vl2_mem_free(d);
}

uint64_t cli_download_have(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

static vl2_status set_url(cli_download *d, vl2_buf *url, const char *path, vl2_error *err) {
    VL2_TRY(vl2_buf_addf(url, err, "%s", d->base));
    for (const char *c = path; *c; c++) { /* of a file's name, all but letters is escaped */
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || strchr("/-._~?=&", *c);
        VL2_TRY(plain ? vl2_buf_add(url, c, 1, err)
                      : vl2_buf_addf(url, err, "%%%02X", (unsigned)(unsigned char)*c));
    }
    curl_easy_setopt(d->curl, CURLOPT_URL, url->data);
    return VL2_OK;
}

static const char *why(const cli_download *d, CURLcode code) {
    return d->reason[0] ? d->reason : curl_easy_strerror(code);
}

/* ---- into memory ----------------------------------------------------------------------------------- */

typedef struct memory {
    vl2_buf *out;
    size_t max;
} memory;

static size_t to_memory(char *data, size_t one, size_t n, void *user) {
    memory *m = user;
    (void)one;
    if (m->out->size + n > m->max || vl2_buf_add(m->out, data, n, NULL) != VL2_OK) return 0;
    return n;
}

static int hear(void *user, curl_off_t total, curl_off_t now, curl_off_t up, curl_off_t up_now) {
    (void)user, (void)total, (void)now, (void)up, (void)up_now;
    return cli_terminal_interrupted();
}

vl2_status cli_download_text(vl2_buf *out, cli_download *d, const char *path, size_t max_bytes,
                             vl2_error *err) {
    memory m = {.out = out, .max = max_bytes};
    vl2_buf url = {0};
    long code = 0;
    vl2_status status = set_url(d, &url, path, err);
    if (status != VL2_OK) goto done;
    d->reason[0] = 0;
    curl_easy_setopt(d->curl, CURLOPT_RANGE, NULL);
    curl_easy_setopt(d->curl, CURLOPT_WRITEFUNCTION, to_memory);
    curl_easy_setopt(d->curl, CURLOPT_WRITEDATA, &m);
    curl_easy_setopt(d->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(d->curl, CURLOPT_XFERINFOFUNCTION, hear);
    CURLcode result = curl_easy_perform(d->curl);
    curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &code);
    if (cli_terminal_interrupted()) {
        status = VL2_ERR_CANCELLED;
    } else if (result != CURLE_OK) {
        status = vl2_fail(err, VL2_ERR_IO, "%s: %s", url.data, why(d, result));
    } else if (code != 200) {
        bool absent = code == 401 || code == 403 || code == 404;
        status =
            vl2_fail(err, absent ? VL2_ERR_ARGUMENT : VL2_ERR_IO, "%s: the server answers %ld%s",
                     url.data, code, absent ? "; there is no such model, or not for everyone" : "");
    } else {
        status = vl2_buf_add(out, "", 0, err);
    }
done:
    vl2_buf_free(&url);
    return status;
}

/* ---- to disk --------------------------------------------------------------------------------------- */

typedef struct transfer {
    cli_download *download;
    const cli_download_file *file;
    int fd;
    uint64_t have;  /* bytes in the .part file */
    bool appending; /* the answer was seen to continue what is there */
    bool checked;
    int disk_error; /* errno of a failed write */
    bool too_long;
} transfer;

/* Content-Range: bytes FIRST-LAST/ALL, where FIRST must be what is missing. */
static bool continues(const transfer *t) {
    struct curl_header *range = NULL;
    unsigned long long first = 0;
    if (curl_easy_header(t->download->curl, "Content-Range", 0, CURLH_HEADER, -1, &range))
        return false;
    return sscanf(range->value, "bytes %llu-", &first) == 1 && first == t->have;
}

/* The first bytes of an answer: is it the continuation that was asked for (206), or the file from its
 * beginning (200), or a page that says something else? */
static bool is_wanted(transfer *t) {
    long code = 0;
    curl_easy_getinfo(t->download->curl, CURLINFO_RESPONSE_CODE, &code);
    t->checked = true;
    if (code == 206) return continues(t);
    if (code != 200) return false;
    if (t->have && (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) != 0)) {
        t->disk_error = errno;
        return false;
    }
    t->have = 0;
    return true;
}

static size_t to_disk(char *data, size_t one, size_t n, void *user) {
    transfer *t = user;
    (void)one;
    if (!t->checked) t->appending = is_wanted(t);
    if (!t->appending) return t->disk_error ? 0 : n; /* an error page: read it and drop it */
    if (t->have + n > t->file->size) {
        t->too_long = true;
        return 0;
    }
    for (size_t done = 0; done < n;) {
        ssize_t wrote = write(t->fd, data + done, n - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) {
            t->disk_error = errno;
            return 0;
        }
        done += (size_t)wrote;
        t->have += (uint64_t)wrote;
    }
    return n;
}

static int show(void *user, curl_off_t total, curl_off_t now, curl_off_t up, curl_off_t up_now) {
    const transfer *t = user;
    (void)total, (void)now, (void)up, (void)up_now;
    cli_progress_show("pull", t->file->done_before + t->have, t->file->total, "bytes");
    return cli_terminal_interrupted();
}

/* One connection. *again: it broke in a way that another may mend. */
static vl2_status attempt(transfer *t, bool *again, vl2_error *err) {
    cli_download *d = t->download;
    vl2_buf url = {0};
    char range[32];
    long code = 0;
    vl2_status status = set_url(d, &url, t->file->path, err);
    if (status != VL2_OK) goto done;
    t->checked = t->appending = false;
    d->reason[0] = 0;
    snprintf(range, sizeof range, "%llu-", (unsigned long long)t->have);
    curl_easy_setopt(d->curl, CURLOPT_RANGE, t->have ? range : NULL);
    curl_easy_setopt(d->curl, CURLOPT_WRITEFUNCTION, to_disk);
    curl_easy_setopt(d->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(d->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(d->curl, CURLOPT_XFERINFOFUNCTION, show);
    curl_easy_setopt(d->curl, CURLOPT_XFERINFODATA, t);
    CURLcode result = curl_easy_perform(d->curl);
    curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &code);
    if (cli_terminal_interrupted()) {
        status = VL2_ERR_CANCELLED;
    } else if (t->disk_error) {
        status = vl2_fail(err, VL2_ERR_IO, "%s.part: %s", t->file->target, strerror(t->disk_error));
    } else if (t->too_long) {
        status = vl2_fail(err, VL2_ERR_FORMAT, "%s: longer than the %llu bytes that were announced",
                          url.data, (unsigned long long)t->file->size);
    } else if (code == 416) { /* it cannot go on from there */
        if (ftruncate(t->fd, 0) != 0) status = vl2_fail(err, VL2_ERR_IO, "%s", strerror(errno));
        lseek(t->fd, 0, SEEK_SET);
        *again = t->have > 0;
        t->have = 0;
    } else if (result != CURLE_OK || code >= 500 || code == 429) {
        *again = true;
        status = vl2_fail(err, VL2_ERR_IO, "%s: %s", url.data,
                          result != CURLE_OK ? why(d, result) : "the server is busy or broken");
    } else if (!t->appending && t->checked && code == 206) {
        status = vl2_fail(err, VL2_ERR_IO, "%s: the server gives another part than was asked for",
                          url.data);
    } else if (code != 200 && code != 206) {
        status = vl2_fail(err, VL2_ERR_IO, "%s: the server answers %ld", url.data, code);
    }
done:
    vl2_buf_free(&url);
    return status;
}

static void wait_before(int try) { /* 0.5, 1, 2, 4 seconds, in steps that hear Ctrl-C */
    double until = cli_clock_ms() + 500.0 * (double)(1 << try);
    struct timespec step = {.tv_nsec = 50000000};
    while (cli_clock_ms() < until && !cli_terminal_interrupted()) nanosleep(&step, NULL);
}

static vl2_status transfer_all(transfer *t, vl2_error *err) {
    int failures = 0;
    while (t->have < t->file->size) {
        bool again = false;
        uint64_t before = t->have;
        vl2_error local = {0};
        vl2_status status = attempt(t, &again, &local);
        if (status == VL2_ERR_CANCELLED) return status;
        if (t->have >= t->file->size) return VL2_OK;
        if (t->have > before) failures = 0; /* it moves: the tries begin anew */
        if ((status != VL2_OK && !again) || ++failures >= TRIES) {
            return vl2_fail(err, status != VL2_OK ? status : VL2_ERR_IO, "%s",
                            local.text[0] ? local.text : "the server ends the file too early");
        }
        wait_before(failures - 1);
    }
    return VL2_OK;
}

static vl2_status check_sum(const char *path, const char *expected, vl2_error *err) {
    uint8_t sum[32];
    char hex[65];
    if (!expected) return VL2_OK;
    VL2_TRY(vl2_dev_sha256_file(sum, path, err));
    for (size_t i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    if (!strcmp(hex, expected)) return VL2_OK;
    unlink(path);
    return vl2_fail(err, VL2_ERR_FORMAT,
                    "%s: its SHA-256 is %s, expected %s; the file was removed, pull it again", path,
                    hex, expected);
}

static vl2_status finish(transfer *t, const char *part, vl2_error *err) {
    if (fsync(t->fd) != 0 && errno != EINVAL) {
        return vl2_fail(err, VL2_ERR_IO, "%s: %s", part, strerror(errno));
    }
    VL2_TRY(check_sum(part, t->file->size ? t->file->sha256 : NULL, err));
    if (rename(part, t->file->target) != 0) {
        return vl2_fail(err, VL2_ERR_IO, "%s: %s", t->file->target, strerror(errno));
    }
    return VL2_OK;
}

vl2_status cli_download_fetch(cli_download *d, const cli_download_file *file, vl2_error *err) {
    vl2_buf part = {0};
    transfer t = {.download = d, .file = file};
    VL2_TRY(vl2_buf_addf(&part, err, "%s.part", file->target));
    vl2_status status = VL2_OK;
    t.fd = open(part.data, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (t.fd < 0) {
        status = vl2_fail(err, VL2_ERR_IO, "%s: %s", part.data, strerror(errno));
        goto done;
    }
    off_t end = lseek(t.fd, 0, SEEK_END);
    t.have = end > 0 ? (uint64_t)end : 0;
    if (t.have > file->size) { /* of another version */
        if (ftruncate(t.fd, 0) == 0) t.have = 0;
        lseek(t.fd, 0, SEEK_SET);
    }
    status = transfer_all(&t, err);
    if (status == VL2_OK) status = finish(&t, part.data, err);
    close(t.fd);
done:
    vl2_buf_free(&part);
    return status;
}

#endif
