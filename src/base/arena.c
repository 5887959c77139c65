#include "base/arena.h"

#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define VL2_ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VL2_ARENA_ASAN 1
#endif
#endif
#ifdef VL2_ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { RED_ZONE = VL2_ALIGN };
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
enum { RED_ZONE = 0 };
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

/* From here on memory comes straight from the system: huge pages, and none touched before use. */
enum { MAP_FROM = 1 << 20 };

/* Bytes of an array with its padding up to the next one; false on overflow. */
static bool padded_size(size_t *out, size_t n, size_t bytes) {
    size_t total;
    if (!vl2_mul(&total, n, bytes) || !vl2_add(&total, total, VL2_ALIGN - 1)) return false;
    return vl2_add(out, total / VL2_ALIGN * VL2_ALIGN, RED_ZONE);
}

void *vl2_arena_array(vl2_arena *arena, size_t n, size_t bytes) {
    size_t size, end;
    if (!padded_size(&size, n, bytes) || !vl2_add(&end, arena->used, size) ||
        (arena->memory && end > arena->size)) {
        arena->used = SIZE_MAX;
        return NULL;
    }
    char *array = arena->memory ? arena->memory + arena->used : NULL;
    arena->used = end;
    if (array) UNPOISON(array, n * bytes);
    return array;
}

vl2_status vl2_arena_take(vl2_arena *arena, size_t bytes, const char *what, vl2_error *err) {
    char *memory = bytes == SIZE_MAX  ? NULL
                   : bytes < MAP_FROM ? vl2_mem_aligned(bytes)
                                      : vl2_mem_map(bytes);
    if (!memory) return vl2_fail_memory(err, what, bytes);
    POISON(memory, bytes);
    *arena = (vl2_arena){.memory = memory, .size = bytes};
    return VL2_OK;
}

void vl2_arena_free(vl2_arena *arena) {
    if (arena->memory) {
        UNPOISON(arena->memory, arena->size);
        if (arena->size < MAP_FROM)
            vl2_mem_free(arena->memory);
        else
            vl2_mem_unmap(arena->memory, arena->size);
    }
    *arena = (vl2_arena){0};
}
