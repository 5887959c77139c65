/* terminal.h - talking to a person: stdout for answers, stderr for all else, Ctrl-C, colours. */
#ifndef VL2_CLI_TERMINAL_H
#define VL2_CLI_TERMINAL_H

#include "vl2/vl2.h"

/* Signals and locale, once at the start. A closed pipe then ends the program silently; so does
 * Ctrl-C, at once, while there is nothing to keep. */
void cli_terminal_init(void);
/* From now on Ctrl-C only sets a flag, and ends the program when pressed again before anyone looked. */
void cli_terminal_keep(void);
bool cli_terminal_interrupted(void); /* since the start or the last _clear */
void cli_terminal_clear(void);
int cli_terminal_poll(void *user); /* for vl2_generate_options.poll: not 0 after Ctrl-C */

bool cli_terminal_is_out(void);     /* stdout is a terminal */
bool cli_terminal_is_err(void);     /* stderr is one, and no dumb one */
bool cli_terminal_has_colour(void); /* stderr is one, and NO_COLOR is not set */
int cli_terminal_columns(void);     /* of stderr; 80 when unknown */
const char *cli_terminal_dim(void); /* escape sequences for stderr, "" without colours */
const char *cli_terminal_bold(void);
const char *cli_terminal_red(void);
const char *cli_terminal_plain(void);

/* A line on stderr: "vl2: …" for what must be read, "  …" for notes. Takes a progress bar away. */
void cli_terminal_error(const char *command, const char *text);
void cli_terminal_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_terminal_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Answers: to stdout, flushed. A full disk is an error. */
vl2_status cli_terminal_write(const char *text, size_t size, vl2_error *err);
vl2_status cli_terminal_flush(vl2_error *err);

#endif
