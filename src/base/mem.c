#define _GNU_SOURCE
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vl2/vl2.h"

void *vl2_mem_alloc(size_t bytes) { return malloc(bytes ? bytes : 1); }

void *vl2_mem_calloc(size_t n, size_t bytes) { return calloc(n ? n : 1, bytes ? bytes : 1); }

void *vl2_mem_array(size_t n, size_t bytes) {
    size_t total;
    return vl2_mul(&total, n, bytes) ? vl2_mem_alloc(total) : NULL;
}

void *vl2_mem_grow(void *memory, size_t n, size_t bytes) {
    size_t total;
    return vl2_mul(&total, n, bytes) ? realloc(memory, total ? total : 1) : NULL;
}

void *vl2_mem_aligned(size_t bytes) {
    void *memory = NULL;
    return posix_memalign(&memory, VL2_ALIGN, bytes ? bytes : 1) == 0 ? memory : NULL;
}

char *vl2_mem_strdup(const char *text, size_t size) {
    size_t total;
    char *copy = vl2_add(&total, size, 1) ? vl2_mem_alloc(total) : NULL;
    if (!copy) return NULL;
    if (size) memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

void vl2_mem_free(void *memory) { free(memory); }

void vl2_free(void *memory) { free(memory); }

void *vl2_mem_map(size_t bytes) {
    void *memory =
        mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE); /* advice: a refusal costs speed, not correctness */
    return memory;
}

void vl2_mem_unmap(void *memory, size_t bytes) {
    if (memory) munmap(memory, bytes ? bytes : 1);
}
