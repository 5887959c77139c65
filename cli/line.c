#define _GNU_SOURCE /* ppoll */
#include "line.h"

#include "models.h"
#include "terminal.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if VL2_HAS_EDIT
#include <histedit.h>
#endif

enum { HISTORY = 1000 };

struct cli_line {
    char *text; /* from getline */
    size_t room;
    bool is_terminal;
    vl2_buf history_path;
#if VL2_HAS_EDIT
    EditLine *edit;
    History *history;
#endif
};

#if VL2_HAS_EDIT
static char PROMPT[] = "> "; /* libedit takes it as char * */
static char *prompt(EditLine *edit) {
    (void)edit;
    return PROMPT;
}

/* $XDG_STATE_HOME/vl2/history; without a home there is none. */
static void find_history(vl2_buf *out) {
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    vl2_buf folder = {0};
    vl2_status status = VL2_ERR_IO;
    if (xdg && xdg[0] == '/') {
        status = vl2_buf_addf(&folder, NULL, "%s/vl2", xdg);
    } else if (home && home[0] == '/') {
        status = vl2_buf_addf(&folder, NULL, "%s/.local/state/vl2", home);
    }
    if (status == VL2_OK && cli_models_make_folders(folder.data, NULL) == VL2_OK) {
        if (vl2_buf_addf(out, NULL, "%s/history", folder.data) != VL2_OK) vl2_buf_free(out);
    }
    vl2_buf_free(&folder);
}

/* A byte of what is typed. Ctrl-C ends the wait, also when it came a moment before: SIGINT is let
 * through only while ppoll waits. */
static int read_byte(char *out) {
    struct pollfd typed = {.fd = STDIN_FILENO, .events = POLLIN};
    sigset_t interrupt, before;
    int ready = -1;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &before);
    while (!cli_terminal_interrupted() && ready < 0) {
        ready = ppoll(&typed, 1, NULL, &before);
        if (ready < 0 && errno != EINTR) break;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return ready > 0 ? (int)read(STDIN_FILENO, out, 1) : -1;
}

/* libedit's way to a character, UTF-8 whatever the locale is; it would wait on after a signal. */
static int read_character(EditLine *edit, wchar_t *out) {
    char bytes[4];
    size_t size = 0, length = 0;
    (void)edit;
    do {
        int n = read_byte(&bytes[size]);
        if (n <= 0) return n;
        size++;
    } while (size < sizeof bytes && vl2_utf8_whole(bytes, size) == 0);
    uint32_t code = vl2_utf8_next(bytes, size, &length);
    *out = code == UINT32_MAX ? L'?' : (wchar_t)code;
    return 1;
}

static void start_editing(cli_line *l) {
    HistEvent event;
    l->edit = el_init("vl2", stdin, stderr, stderr); /* stdout is for answers */
    l->history = history_init();
    if (!l->edit || !l->history) return;
    history(l->history, &event, H_SETSIZE, HISTORY);
    history(l->history, &event, H_SETUNIQUE, 1);
    find_history(&l->history_path);
    if (l->history_path.data) history(l->history, &event, H_LOAD, l->history_path.data);
    el_set(l->edit, EL_PROMPT, prompt);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_SIGNAL, 0);
    el_set(l->edit, EL_GETCFN, read_character);
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(l->edit, NULL);
}

static cli_line_end edited(cli_line *l, const char **text) {
    HistEvent event;
    int n = 0;
    const char *line = el_gets(l->edit, &n);
    if (cli_terminal_interrupted()) {
        el_reset(l->edit);
        return CLI_LINE_INTERRUPTED;
    }
    if (!line || n <= 0) return CLI_LINE_EOF;
    if (line[strspn(line, " \t\r\n")]) history(l->history, &event, H_ENTER, line);
    free(l->text);
    l->text = strdup(line);
    if (!l->text) return CLI_LINE_EOF;
    l->text[strcspn(l->text, "\n")] = 0;
    *text = l->text;
    return CLI_LINE_READ;
}
#endif

cli_line *cli_line_open(void) {
    cli_line *l = vl2_mem_calloc(1, sizeof *l);
    if (!l) return NULL;
    l->is_terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
#if VL2_HAS_EDIT
    if (l->is_terminal) start_editing(l);
#endif
    return l;
}

cli_line_end cli_line_next(cli_line *l, const char **text) {
#if VL2_HAS_EDIT
    if (l->edit) return edited(l, text);
#endif
    if (l->is_terminal) fputs("> ", stderr);
    ssize_t n = getline(&l->text, &l->room, stdin);
    if (cli_terminal_interrupted()) {
        clearerr(stdin);
        return CLI_LINE_INTERRUPTED;
    }
    if (n < 0) return CLI_LINE_EOF;
    l->text[strcspn(l->text, "\n")] = 0;
    *text = l->text;
    return CLI_LINE_READ;
}

void cli_line_close(cli_line *l) {
    if (!l) return;
#if VL2_HAS_EDIT
    HistEvent event;
    if (l->history && l->history_path.data) {
        history(l->history, &event, H_SAVE, l->history_path.data);
    }
    if (l->history) history_end(l->history);
    if (l->edit) el_end(l->edit);
#endif
    vl2_buf_free(&l->history_path);
    free(l->text);
    vl2_mem_free(l);
}
