/* download.h - files over HTTP(S): into memory, or to disk with resume, checks and an atomic end. */
#ifndef VL2_CLI_DOWNLOAD_H
#define VL2_CLI_DOWNLOAD_H

#include "base/buf.h"

typedef struct cli_download cli_download;

/* base: "https://host/…"; only https is then followed (http too where base says http). */
vl2_status cli_download_open(cli_download **out, const char *base, vl2_error *err);
void cli_download_close(cli_download *download);
/* The bytes of base/path, at most max_bytes. ERR_ARGUMENT when the server has no such thing. */
vl2_status cli_download_text(vl2_buf *out, cli_download *download, const char *path,
                             size_t max_bytes, vl2_error *err);

typedef struct cli_download_file {
    const char *path;            /* under the base */
    const char *target;          /* the file to be made; target.part until it is whole and right */
    uint64_t size;               /* that it must have */
    const char *sha256;          /* 64 hex digits; NULL: not known */
    uint64_t done_before, total; /* bytes of the whole transfer, for the bar */
} cli_download_file;

/* Fetches what is missing of a file; a broken transfer is taken up again a few times, and by the next
 * call. A file whose size or sum is wrong is removed. ERR_CANCELLED after Ctrl-C. */
vl2_status cli_download_fetch(cli_download *download, const cli_download_file *file,
                              vl2_error *err);
uint64_t cli_download_have(const char *path); /* a file's size; 0 where there is none */

#endif
