/* server/budget.h - bytes that many requests share: taken before memory is, given back with it. */
#ifndef VL2_SERVER_BUDGET_H
#define VL2_SERVER_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct vl2_budget {
    atomic_size_t used;
    size_t max;
} vl2_budget;

/* All or nothing. */
static inline bool vl2_budget_take(vl2_budget *budget, size_t bytes) {
    size_t used = atomic_load(&budget->used);
    do {
        if (bytes > budget->max || used > budget->max - bytes) return false;
    } while (!atomic_compare_exchange_weak(&budget->used, &used, used + bytes));
    return true;
}

static inline void vl2_budget_give(vl2_budget *budget, size_t bytes) {
    if (bytes) atomic_fetch_sub(&budget->used, bytes);
}

#endif
