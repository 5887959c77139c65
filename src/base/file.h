/* base/file.h - files: mapped, read with a limit, written so that a failure loses nothing. */
#ifndef VL2_BASE_FILE_H
#define VL2_BASE_FILE_H

#include "base/err.h"

typedef struct vl2_map { /* a file, mapped read-only */
    const uint8_t *data;
    size_t size;
} vl2_map;

vl2_status vl2_map_open(vl2_map *out, const char *path, vl2_error *err);
void vl2_map_close(vl2_map *map);
/* Tells the system that [offset, offset+size) is wanted soon. */
void vl2_map_prefetch(const vl2_map *map, size_t offset, size_t size);

/* *out: the whole file, NUL-terminated (vl2_mem_free); over max_bytes is VL2_ERR_LIMIT. */
vl2_status vl2_file_read(char **out, size_t *size, const char *path, size_t max_bytes,
                         vl2_error *err);
/* The same of a descriptor, which stays open; `name` is for error texts. */
vl2_status vl2_file_read_fd(char **out, size_t *size, int fd, const char *name, size_t max_bytes,
                            vl2_error *err);
bool vl2_file_exists(const char *path);
bool vl2_file_is_folder(const char *path);
/* *out = folder/name or, for an absolute name, a copy of it (vl2_mem_free). */
vl2_status vl2_path_join(char **out, const char *folder, const char *name, vl2_error *err);
/* *out = the folder part of a path, "." if it has none (vl2_mem_free). */
vl2_status vl2_path_folder(char **out, const char *path, vl2_error *err);

/* A file in the making: written beside its path under another name, renamed at commit. */
typedef struct vl2_writer {
    int fd;
    char *path, *temporary;
    uint64_t written;
} vl2_writer;

vl2_status vl2_writer_open(vl2_writer *out, const char *path, vl2_error *err);
/* A failure removes the temporary and closes: nothing more is to be done. */
vl2_status vl2_writer_add(vl2_writer *writer, const void *data, size_t size, vl2_error *err);
vl2_status vl2_writer_commit(vl2_writer *writer, vl2_error *err); /* closes, also on failure */
void vl2_writer_abort(vl2_writer *writer);                        /* removes what was written */

#endif
