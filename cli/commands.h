/* commands.h - the commands, a file each. Each returns the exit status, having said what failed. */
#ifndef VL2_CLI_COMMANDS_H
#define VL2_CLI_COMMANDS_H

#include "options.h"

int cli_run_main(cli_options *options);
int cli_chat_main(cli_options *options);
int cli_batch_main(cli_options *options);
int cli_bench_main(cli_options *options);
int cli_inspect_main(cli_options *options);
int cli_tokenize_main(cli_options *options);
int cli_detokenize_main(cli_options *options);
int cli_trace_main(cli_options *options);
int cli_quantize_main(cli_options *options);
int cli_pull_main(cli_options *options);
int cli_serve_main(cli_options *options);
int cli_version_main(cli_options *options);

/* The exit status of a failed command; says `err` in the command's name. */
int cli_main_fail(const char *command, const vl2_error *err);
/* The same for wrong usage, which a pointer to --help goes with. */
int cli_main_usage(const char *command, const char *text);

#endif
