#define _GNU_SOURCE /* O_PATH */
#include "base/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SYS_openat2
#include <linux/openat2.h>
#endif

enum { TRIES = 64 };

/* Not blocking: a FIFO that nobody writes to must not hold us. */
static const int to_read = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

static int open_folder(const char *folder) {
    return open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int only_regular(int fd) {
    struct stat info;
    if (fd < 0 || (fstat(fd, &info) == 0 && S_ISREG(info.st_mode))) return fd;
    close(fd);
    return -1;
}

/* The next part of a name, without the slashes before it: its size, and whether nothing follows. */
static const char *next_part(const char *name, size_t *size, bool *last) {
    name += strspn(name, "/");
    *size = strcspn(name, "/");
    *last = !name[*size];
    return name;
}

int vl2_beneath_walk(const char *folder, const char *name) {
    int at = open_folder(folder);
    for (bool last = false; at >= 0 && !last;) {
        char part[NAME_MAX + 1];
        size_t size;
        name = next_part(name, &size, &last);
        bool fits = size > 0 && size <= NAME_MAX && !(size == 2 && memcmp(name, "..", 2) == 0);
        int next = -1;
        if (fits) {
            memcpy(part, name, size);
            part[size] = '\0';
            next =
                openat(at, part, O_NOFOLLOW | (last ? to_read : O_PATH | O_DIRECTORY | O_CLOEXEC));
        }
        close(at);
        at = next;
        name += size;
    }
    return only_regular(at);
}

#ifdef SYS_openat2

/* False: this system cannot. A lookup that a rename crosses is told to try again. */
static bool open_confined(int *out, int at, const char *name) {
    struct open_how how = {.flags = (unsigned)to_read,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int i = 0; i < TRIES; i++) {
        *out = (int)syscall(SYS_openat2, at, name, &how, sizeof how);
        if (*out >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    return *out >= 0 || (errno != ENOSYS && errno != EPERM); /* EPERM: a filter that knows it not */
}

int vl2_beneath_open(const char *folder, const char *name) {
    int fd = -1, at = open_folder(folder);
    if (at < 0) return -1;
    bool can = open_confined(&fd, at, name);
    close(at);
    return can ? only_regular(fd) : vl2_beneath_walk(folder, name);
}

#else

int vl2_beneath_open(const char *folder, const char *name) {
    return vl2_beneath_walk(folder, name);
}

#endif
