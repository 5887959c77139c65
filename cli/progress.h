/* progress.h - a bar on stderr for what takes over a second, on a terminal only.
 *
 * One bar at a time; it is drawn when its stage has run for a second, at most ten times a second,
 * and taken away when the stage ends or something else is written. */
#ifndef VL2_CLI_PROGRESS_H
#define VL2_CLI_PROGRESS_H

#include <stddef.h>

/* unit: "bytes", or what is counted ("lines"); NULL: per cent only. */
void cli_progress_show(const char *stage, size_t done, size_t total, const char *unit);
void cli_progress_hide(void);
void cli_progress_quiet(void); /* no bars from now on */
/* A vl2_progress_fn. */
void cli_progress_stage(void *user, const char *stage, size_t done, size_t total);

#endif
