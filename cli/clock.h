/* clock.h - milliseconds since some moment in the past, never going back. */
#ifndef VL2_CLI_CLOCK_H
#define VL2_CLI_CLOCK_H

#include <time.h>

static inline double cli_clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

#endif
