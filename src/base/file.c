#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_TRIES = 100, READ_STEP = 1 << 16, WRITE_STEP = 1 << 30 };

/* "cannot `verb` `path`: why" */
static vl2_status fail_system(vl2_error *err, const char *verb, const char *path, int code) {
    char why[128] = "unknown error";
    (void)strerror_r(code, why, sizeof why);
    return vl2_fail(err, VL2_ERR_IO, "cannot %s %s: %s", verb, path, why);
}

/* Not blocking, so that a FIFO nobody writes to cannot hang us before it is looked at. */
static vl2_status open_to_read(int *out, struct stat *info, const char *path, vl2_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail_system(err, "open", path, errno);
    vl2_status status = VL2_OK;
    if (fstat(fd, info) != 0)
        status = fail_system(err, "look at", path, errno);
    else if (S_ISDIR(info->st_mode))
        status = vl2_fail(err, VL2_ERR_IO, "%s is a folder, expected a file", path);
    if (status == VL2_OK)
        *out = fd;
    else
        close(fd);
    return status;
}

vl2_status vl2_map_open(vl2_map *out, const char *path, vl2_error *err) {
    static const uint8_t nothing[1] = {0};
    struct stat info;
    int fd = -1;
    VL2_TRY(open_to_read(&fd, &info, path, err));
    vl2_map map = {.data = nothing, .size = 0};
    vl2_status status = VL2_OK;
    if (!S_ISREG(info.st_mode))
        status = vl2_fail(err, VL2_ERR_IO, "%s is no regular file and cannot be mapped", path);
    else if ((uintmax_t)info.st_size > SIZE_MAX)
        status = vl2_fail(err, VL2_ERR_LIMIT, "%s is too large for this machine", path);
    else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED && errno == ENOMEM)
            status = vl2_fail_memory(err, path, (size_t)info.st_size);
        else if (data == MAP_FAILED)
            status = fail_system(err, "map", path, errno);
        else
            map = (vl2_map){.data = data, .size = (size_t)info.st_size};
        /* What is read anew comes in pages of 2 MB, where the file system has them; advice. */
        if (map.size) madvise(data, map.size, MADV_HUGEPAGE);
    }
    close(fd);
    if (status == VL2_OK) *out = map;
    return status;
}

void vl2_map_close(vl2_map *map) {
    union {
        const uint8_t *data;
        void *memory;
    } v = {.data = map->data};
    if (map->size) munmap(v.memory, map->size);
    *map = (vl2_map){0};
}

void vl2_map_prefetch(const vl2_map *map, size_t offset, size_t size) {
    long page_size = sysconf(_SC_PAGESIZE);
    if (page_size <= 0 || offset >= map->size || size == 0) return;
    size_t first = offset / (size_t)page_size * (size_t)page_size;
    size_t end = size > map->size - offset ? map->size : offset + size;
    union {
        const uint8_t *data;
        void *memory;
    } v = {.data = map->data + first};
    posix_madvise(v.memory, end - first, POSIX_MADV_WILLNEED);
}

/* Makes room for more of a file that is being read; one byte stays for the NUL. */
static vl2_status grow_for_read(char **data, size_t *room, const char *path, vl2_error *err) {
    size_t larger = *room ? *room * 2 : READ_STEP;
    char *grown = larger > *room ? vl2_mem_grow(*data, larger, 1) : NULL;
    if (!grown) return vl2_fail_memory(err, path, larger);
    *data = grown;
    *room = larger;
    return VL2_OK;
}

static vl2_status read_all(char **data, size_t *size, size_t room, int fd, const char *path,
                           size_t max_bytes, vl2_error *err) {
    for (;;) {
        if (*size + 1 >= room) VL2_TRY(grow_for_read(data, &room, path, err));
        size_t step = room - 1 - *size;
        ssize_t n = read(fd, *data + *size, step < WRITE_STEP ? step : WRITE_STEP);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_system(err, "read", path, errno);
        if (n == 0) return VL2_OK;
        *size += (size_t)n;
        if (*size > max_bytes)
            return vl2_fail(err, VL2_ERR_LIMIT, "%s is over the limit of %zu bytes", path,
                            max_bytes);
    }
}

vl2_status vl2_file_read_fd(char **out, size_t *size, int fd, const char *name, size_t max_bytes,
                            vl2_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return fail_system(err, "look at", name, errno);
    int flags = fcntl(fd, F_GETFL); /* a pipe is read like a file: waiting */
    if (flags >= 0) (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    char *data = NULL;
    size_t n = 0, room = 0;
    vl2_status status = VL2_OK;
    if (S_ISREG(info.st_mode) && (uintmax_t)info.st_size > max_bytes)
        status = vl2_fail(err, VL2_ERR_LIMIT, "%s has %jd bytes, over the limit of %zu", name,
                          (intmax_t)info.st_size, max_bytes);
    else if (S_ISREG(info.st_mode) && info.st_size > 0) {
        room = (size_t)info.st_size + 2; /* the last read, which finds the end, needs room too */
        data = vl2_mem_alloc(room);
        if (!data) status = vl2_fail_memory(err, name, room);
    }
    if (status == VL2_OK) status = read_all(&data, &n, room, fd, name, max_bytes, err);
    if (status != VL2_OK) {
        vl2_mem_free(data);
        return status;
    }
    data[n] = '\0';
    *out = data;
    if (size) *size = n;
    return VL2_OK;
}

vl2_status vl2_file_read(char **out, size_t *size, const char *path, size_t max_bytes,
                         vl2_error *err) {
    struct stat info;
    int fd = -1;
    VL2_TRY(open_to_read(&fd, &info, path, err));
    vl2_status status = vl2_file_read_fd(out, size, fd, path, max_bytes, err);
    close(fd);
    return status;
}

bool vl2_file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool vl2_file_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

vl2_status vl2_path_join(char **out, const char *folder, const char *name, vl2_error *err) {
    size_t folder_size = name[0] == '/' ? 0 : strlen(folder), name_size = strlen(name);
    bool slash = folder_size > 0 && folder[folder_size - 1] != '/';
    size_t size = folder_size + slash + name_size;
    char *path = vl2_mem_alloc(size + 1);
    if (!path) return vl2_fail_memory(err, "a path", size + 1);
    memcpy(path, folder, folder_size);
    if (slash) path[folder_size] = '/';
    memcpy(path + folder_size + slash, name, name_size + 1);
    *out = path;
    return VL2_OK;
}

vl2_status vl2_path_folder(char **out, const char *path, vl2_error *err) {
    const char *slash = strrchr(path, '/');
    const char *text = slash ? path : ".";
    size_t size = !slash ? 1 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = vl2_mem_strdup(text, size);
    if (!folder) return vl2_fail_memory(err, "a path", size + 1);
    *out = folder;
    return VL2_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A device or pipe is written as it is: nothing can be renamed over it. */
static vl2_status open_in_place(vl2_writer *writer, vl2_error *err) {
    writer->fd = open(writer->path, O_WRONLY | O_CLOEXEC);
    return writer->fd < 0 ? fail_system(err, "write", writer->path, errno) : VL2_OK;
}

static vl2_status open_beside(vl2_writer *writer, vl2_error *err) {
    size_t room = strlen(writer->path) + 48;
    writer->temporary = vl2_mem_alloc(room);
    if (!writer->temporary) return vl2_fail_memory(err, "a path", room);
    for (int i = 0; i < NAME_TRIES; i++) {
        snprintf(writer->temporary, room, "%s.%ld-%d.part", writer->path, (long)getpid(), i);
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd >= 0) return VL2_OK;
        if (errno != EEXIST) break;
    }
    return fail_system(err, "write", writer->path, errno);
}

vl2_status vl2_writer_open(vl2_writer *out, const char *path, vl2_error *err) {
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode))
        return vl2_fail(err, VL2_ERR_IO, "cannot write %s: it is a folder", path);
    vl2_writer writer = {.fd = -1, .path = vl2_mem_strdup(path, strlen(path))};
    if (!writer.path) return vl2_fail_memory(err, "a path", strlen(path) + 1);
    vl2_status status =
        exists && !S_ISREG(info.st_mode) ? open_in_place(&writer, err) : open_beside(&writer, err);
    if (status != VL2_OK) {
        vl2_mem_free(writer.path);
        vl2_mem_free(writer.temporary);
        return status;
    }
    *out = writer;
    return VL2_OK;
}

static void writer_reset(vl2_writer *writer) {
    vl2_mem_free(writer->path);
    vl2_mem_free(writer->temporary);
    *writer = (vl2_writer){.fd = -1};
}

void vl2_writer_abort(vl2_writer *writer) {
    if (!writer->path) return;
    if (writer->fd >= 0) close(writer->fd);
    if (writer->temporary) unlink(writer->temporary);
    writer_reset(writer);
}

vl2_status vl2_writer_add(vl2_writer *writer, const void *data, size_t size, vl2_error *err) {
    const char *bytes = data;
    if (!writer->path)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "a file is written to after it was closed");
    while (size > 0) {
        ssize_t n = write(writer->fd, bytes, size < WRITE_STEP ? size : WRITE_STEP);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            vl2_status status = fail_system(err, "write", writer->path, errno);
            vl2_writer_abort(writer);
            return status;
        }
        bytes += n;
        size -= (size_t)n;
        writer->written += (uint64_t)n;
    }
    return VL2_OK;
}

vl2_status vl2_writer_commit(vl2_writer *writer, vl2_error *err) {
    if (!writer->path)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "a file is finished after it was closed");
    /* Only a file of ours must be on the disk before its name is: a device may refuse to sync. */
    int code = writer->temporary && fsync(writer->fd) != 0 ? errno : 0;
    if (close(writer->fd) != 0 && code == 0) code = errno;
    writer->fd = -1;
    if (code == 0 && writer->temporary && rename(writer->temporary, writer->path) != 0)
        code = errno;
    if (code != 0) {
        vl2_status status = fail_system(err, "write", writer->path, code);
        vl2_writer_abort(writer);
        return status;
    }
    writer_reset(writer);
    return VL2_OK;
}
