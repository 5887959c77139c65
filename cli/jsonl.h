/* jsonl.h - JSON lines: reading them with a cap, and a file of results that can be gone on with. */
#ifndef VL2_CLI_JSONL_H
#define VL2_CLI_JSONL_H

#include "base/buf.h"

#include <stdio.h>

enum { CLI_JSONL_MAX_LINE = 64 << 20 };

/* The next line without its newline, in *line (grown with its room by getline; free()). *size is
 * its length. false: the end, or an error in `err`. */
bool cli_jsonl_next(FILE *in, char **line, size_t *room, size_t *size, const char *name,
                    vl2_error *err);
size_t cli_jsonl_count(const char *path); /* newlines of a regular file; 0 where it cannot know */

/* Results that are appended a whole line at a time. */
typedef struct cli_results {
    int fd;
    const char *path;
    char **ids; /* those that the file has: JSON texts, a hash table of `room` places */
    size_t n_ids, room;
    size_t repaired; /* bytes of a torn last line that were cut off */
} cli_results;

/* Opens or creates; reads the ids of its lines; cuts off a torn last line. "-" is stdout, new. */
vl2_status cli_results_open(cli_results *out, const char *path, vl2_error *err);
bool cli_results_has(const cli_results *results, const char *id);
/* Remembers an id; *is_new false: it was there. */
vl2_status cli_results_add_id(cli_results *results, const char *id, bool *is_new, vl2_error *err);
/* A line with its newline: all of it is there afterwards, or nothing of it. */
vl2_status cli_results_append(cli_results *results, const char *line, size_t size, vl2_error *err);
vl2_status cli_results_close(cli_results *results, vl2_error *err);

#endif
