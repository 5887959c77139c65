#include "progress.h"

#include "clock.h"
#include "terminal.h"

#include <stdio.h>
#include <string.h>

static struct { /* the one bar there is */
    char stage[64];
    double begun, drawn; /* milliseconds; drawn 0: not on the screen */
    size_t first;        /* what was done when it began, for the speed */
    bool quiet;
} bar;

void cli_progress_quiet(void) { bar.quiet = true; }

void cli_progress_hide(void) {
    if (bar.drawn > 0) fputs("\r\033[K", stderr);
    bar.drawn = 0;
}

static void amount(char *out, size_t room, double bytes) {
    static const char *const UNITS[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(out, room, unit > 1 ? "%.1f %s" : "%.0f %s", bytes, UNITS[unit]);
}

static void details(char *out, size_t room, size_t done, size_t total, const char *unit,
                    double seconds) {
    char a[32], b[32], c[32];
    if (!unit) {
        out[0] = 0;
    } else if (strcmp(unit, "bytes")) {
        snprintf(out, room, "  %zu of %zu %s", done, total, unit);
    } else {
        amount(a, sizeof a, (double)done);
        amount(b, sizeof b, (double)total);
        amount(c, sizeof c, seconds > 0 ? (double)(done - bar.first) / seconds : 0);
        snprintf(out, room, "  %s of %s, %s/s", a, b, c);
    }
}

static void draw(size_t done, size_t total, const char *unit, double now) {
    static const char *const FULL = "\xe2\x94\x81"; /* a heavy line */
    char text[128];
    int width = cli_terminal_columns() >= 72 ? 24 : 8;
    double share = total ? (double)done / (double)total : 0;
    int full = (int)(share * width);
    details(text, sizeof text, done, total, unit, (now - bar.begun) / 1000);
    fprintf(stderr, "\r%-10.*s ", 40, bar.stage);
    for (int i = 0; i < width; i++) {
        if (i == full) fputs(cli_terminal_dim(), stderr);
        fputs(i < full || cli_terminal_has_colour() ? FULL : " ", stderr);
    }
    fprintf(stderr, "%s %3.0f %%%s\033[K", cli_terminal_plain(), share * 100, text);
    fflush(stderr);
    bar.drawn = now;
}

void cli_progress_show(const char *stage, size_t done, size_t total, const char *unit) {
    double now = cli_clock_ms();
    if (bar.quiet || !cli_terminal_is_err()) return;
    if (strncmp(stage, bar.stage, sizeof bar.stage - 1)) {
        cli_progress_hide();
        snprintf(bar.stage, sizeof bar.stage, "%s", stage);
        bar.begun = now;
        bar.first = done;
    }
    if (done >= total) {
        cli_progress_hide();
        bar.stage[0] = 0;
    } else if (now - bar.begun > 1000 && now - bar.drawn > 100) {
        draw(done, total, unit, now);
    }
}

void cli_progress_stage(void *user, const char *stage, size_t done, size_t total) {
    (void)user;
    if (strcmp(stage, "decode")) cli_progress_show(stage, done, total, NULL);
}
