/* oom/failing.h - malloc and its like, of which one call fails. The linker's --wrap puts these before the
 * C library's for this program's own objects; the libraries behind them are not touched. */
#ifndef VL2_TESTS_OOM_FAILING_H
#define VL2_TESTS_OOM_FAILING_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_size_t n_calls, fail_at; /* counted from 1; fail_at 0: none */
static atomic_size_t n_failed;

static bool fails(void) {
    if (atomic_fetch_add(&n_calls, 1) + 1 != atomic_load(&fail_at)) return false;
    atomic_fetch_add(&n_failed, 1);
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}
int __wrap_posix_memalign(void **out, size_t align, size_t size) {
    return fails() ? ENOMEM : __real_posix_memalign(out, align, size);
}
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (!fails()) return __real_mmap(at, size, protection, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

#endif
