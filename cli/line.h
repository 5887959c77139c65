/* line.h - lines that a person types: with editing and history where there is libedit and a terminal,
 * plainly where not. */
#ifndef VL2_CLI_LINE_H
#define VL2_CLI_LINE_H

#include <stddef.h>

typedef struct cli_line cli_line;
typedef enum cli_line_end { CLI_LINE_READ, CLI_LINE_EOF, CLI_LINE_INTERRUPTED } cli_line_end;

cli_line *cli_line_open(void); /* NULL: out of memory */
/* *text is a line without its newline, valid until the next call. */
cli_line_end cli_line_next(cli_line *line, const char **text);
void cli_line_close(cli_line *line); /* saves the history */

#endif
