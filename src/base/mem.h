/* base/mem.h - the one place of the library that takes memory from the system.
 *
 * All return NULL when there is none (callers say so with vl2_fail_memory); sizes of 0 give a valid
 * pointer. Tests make each allocation fail in turn by wrapping malloc, calloc, realloc and
 * posix_memalign at link time (tests/oom), and prove by the same means that a step takes none. */
#ifndef VL2_BASE_MEM_H
#define VL2_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#define VL2_ALIGN 64 /* bytes: a cache line, and the widest vector */

void *vl2_mem_alloc(size_t bytes);
void *vl2_mem_calloc(size_t n, size_t bytes); /* zeroed; NULL if n * bytes overflows */
void *vl2_mem_array(size_t n, size_t bytes);  /* not zeroed; NULL if n * bytes overflows */
void *vl2_mem_grow(void *memory, size_t n,
                   size_t bytes);                    /* realloc to n * bytes; NULL: old stays */
void *vl2_mem_aligned(size_t bytes);                 /* VL2_ALIGN; freed with vl2_mem_free */
char *vl2_mem_strdup(const char *text, size_t size); /* copy with a NUL behind */
void vl2_mem_free(void *memory);

/* Large zeroed memory straight from the system: pages cost nothing until touched; transparent huge
 * pages are asked for. NULL when refused. */
void *vl2_mem_map(size_t bytes);
void vl2_mem_unmap(void *memory, size_t bytes);

/* *out = a * b (a + b); false on overflow. */
static inline bool vl2_mul(size_t *out, size_t a, size_t b) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool vl2_add(size_t *out, size_t a, size_t b) {
    return !__builtin_add_overflow(a, b, out);
}

#endif
