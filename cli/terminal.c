#include "terminal.h"

#include "base/err.h"
#include "progress.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted, has_something_to_keep;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (interrupted || !has_something_to_keep) _exit(130);
    interrupted = 1;
}

void cli_terminal_init(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_interrupt; /* without SA_RESTART: a read from the terminal ends too */
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_DFL; /* also where the parent had it ignored */
    sigaction(SIGPIPE, &action, NULL);
    if (!setlocale(LC_CTYPE, "C.UTF-8")) setlocale(LC_CTYPE, ""); /* for libedit's characters */
}

void cli_terminal_keep(void) { has_something_to_keep = 1; }
bool cli_terminal_interrupted(void) { return interrupted != 0; }
void cli_terminal_clear(void) { interrupted = 0; }

int cli_terminal_poll(void *user) {
    (void)user;
    return interrupted;
}

bool cli_terminal_is_out(void) { return isatty(STDOUT_FILENO); }

bool cli_terminal_is_err(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

bool cli_terminal_has_colour(void) {
    const char *no = getenv("NO_COLOR");
    return cli_terminal_is_err() && !(no && *no);
}

int cli_terminal_columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

static const char *coloured(const char *sequence) {
    return cli_terminal_has_colour() ? sequence : "";
}
const char *cli_terminal_dim(void) { return coloured("\033[2m"); }
const char *cli_terminal_bold(void) { return coloured("\033[1m"); }
const char *cli_terminal_red(void) { return coloured("\033[31m"); }
const char *cli_terminal_plain(void) { return coloured("\033[0m"); }

void cli_terminal_error(const char *command, const char *text) {
    cli_progress_hide();
    fprintf(stderr, "%svl2%s%s:%s %s\n", cli_terminal_red(), command ? " " : "",
            command ? command : "", cli_terminal_plain(), text);
}

void cli_terminal_say(const char *fmt, ...) {
    va_list args;
    cli_progress_hide();
    fputs("vl2: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

void cli_terminal_note(const char *fmt, ...) {
    va_list args;
    cli_progress_hide();
    fputs(cli_terminal_dim(), stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "%s\n", cli_terminal_plain());
}

static vl2_status failed(vl2_error *err) {
    return vl2_fail(err, VL2_ERR_IO, "standard output: %s", strerror(errno));
}

/* What a terminal would obey rather than show: C0 but for newline and tab, DEL, and C1 in UTF-8. */
static bool is_control(const char *text, size_t left) {
    unsigned char c = (unsigned char)text[0], next = left > 1 ? (unsigned char)text[1] : 0;
    return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ||
           (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

/* Only what a person sees is changed; a file or a pipe gets every byte. */
static bool write_shown(const char *text, size_t size) {
    static const char MARK[] = "\xef\xbf\xbd"; /* U+FFFD */
    for (size_t i = 0; i < size; i++) {
        bool hidden = is_control(text + i, size - i);
        if (hidden && (unsigned char)text[i] == 0xc2) i++;
        if (hidden ? fputs(MARK, stdout) == EOF : putchar(text[i]) == EOF) return false;
    }
    return true;
}

vl2_status cli_terminal_write(const char *text, size_t size, vl2_error *err) {
    cli_progress_hide();
    bool written =
        cli_terminal_is_out() ? write_shown(text, size) : fwrite(text, 1, size, stdout) == size;
    return written ? cli_terminal_flush(err) : failed(err);
}

vl2_status cli_terminal_flush(vl2_error *err) {
    if (fflush(stdout) != 0 || ferror(stdout)) return failed(err);
    return VL2_OK;
}
