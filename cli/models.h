/* models.h - which model is meant: a folder, a fetched name, or the demo checkpoint. */
#ifndef VL2_CLI_MODELS_H
#define VL2_CLI_MODELS_H

#include "options.h"

/* *out (vl2_mem_free): the path of what `model` names; NULL: the demo checkpoint. */
vl2_status cli_models_find(char **out, const char *model, vl2_error *err);
/* *out (vl2_mem_free): where a fetched model lives, $XDG_DATA_HOME/vl2/OWNER/NAME; `name` is
 * "NAME" or "OWNER/NAME" (owner deepseek-ai unless said), checked for tricks. *full, which may be
 * NULL, is that name with its owner (vl2_mem_free). */
vl2_status cli_models_folder(char **out, char **full, const char *name, vl2_error *err);
/* Opens what -m names with the options' threads, level, compute and context; bars and log on stderr.
 * `kv_tokens` 0: one session's. *load_ms may be NULL. */
vl2_status cli_models_open(vl2_engine **out, const cli_options *options, size_t kv_tokens,
                           double *load_ms, vl2_error *err);
/* The engine options that the command line asks for. */
vl2_status cli_models_engine_options(vl2_engine_options *out, const cli_options *options,
                                     vl2_error *err);
/* mkdir -p */
vl2_status cli_models_make_folders(const char *path, vl2_error *err);
/* What `licence` the folder's README.md states, into a buffer; or that it says none. */
void cli_models_licence(char *out, size_t room, const char *folder);

#endif
