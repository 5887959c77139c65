/* options.h - what can be said on the command line: one table that parses and makes --help.
 *
 * Everything a person may write is a field of cli_options; a row of the table in options.c names
 * it, checks it and explains it, and says which commands take it. */
#ifndef VL2_CLI_OPTIONS_H
#define VL2_CLI_OPTIONS_H

#include "vl2/vl2.h"

#include <stdio.h>

typedef enum cli_command_bit { /* which commands take an option */
                               CLI_RUN = 1 << 0,
                               CLI_CHAT = 1 << 1,
                               CLI_BATCH = 1 << 2,
                               CLI_BENCH = 1 << 3,
                               CLI_INSPECT = 1 << 4,
                               CLI_TOKENIZE = 1 << 5,
                               CLI_DETOKENIZE = 1 << 6,
                               CLI_TRACE = 1 << 7,
                               CLI_PULL = 1 << 8,
                               CLI_VERSION = 1 << 9,
                               CLI_SERVE = 1 << 10,
                               CLI_QUANTIZE = 1 << 11
} cli_command_bit;

enum {
    CLI_MAX_LIST = 256,
    CLI_USAGE = 2,
    CLI_FAILED = 1,
    CLI_INTERRUPTED = 130
}; /* the latter three: exit statuses */

typedef struct cli_list { /* of an option that may be given several times */
    const char *items[CLI_MAX_LIST];
    size_t n;
} cli_list;

typedef struct cli_options {
    const char *model, *cpu, *compute, *vision;
    size_t threads, ctx_size;

    cli_list images, arguments;
    const char *conversation, *system;
    bool exif;

    size_t max_tokens, top_k, seed;
    double temperature, top_p, min_p;
    double repetition_penalty, presence_penalty, frequency_penalty;
    cli_list stop;
    size_t chunk_size;
    bool skip_special_tokens;

    bool json, csv, jsonl, verbose, quiet, tensors, help;
    const char *draw, *output;
    size_t parallel;
    const char *dummy, *stages;
    cli_list prompt_tokens, contexts, sequences, views;
    size_t repeat, decode_tokens;
    bool full;
    size_t greedy;
    const char *positions, *from;
    const char *mmproj, *type, *vision_type, *half, *imatrix;
    cli_list tensor;

    const char *host, *root_path, *api_key, *api_key_file, *cors_origin, *media_dir, *name;
    size_t port, queue, connections, max_body, max_images, image_cache, kv_tokens, prefixes;
    cli_list host_names;
    double idle, request_seconds;
    bool remote_images, trust_special_tokens, log_json, lazy_load;
} cli_options;

typedef struct cli_command {
    const char *name;
    cli_command_bit bit;
    const char *usage;          /* lines, each behind "vl2 NAME " */
    const char *summary;        /* a line for `vl2 --help` */
    const char *about;          /* a paragraph for `vl2 NAME --help` */
    const char *examples;       /* lines */
    size_t min_args, max_args;  /* words that are no options */
    int (*run)(cli_options *o); /* returns the exit status */
} cli_command;

void cli_options_init(cli_options *options);
/* Reads argv (the words behind the command). On wrong usage one line goes to `err`. */
vl2_status cli_options_parse(cli_options *out, const cli_command *command, int argc,
                             const char *const *argv, vl2_error *err);
/* One option of the answer by name, as chat's /set gives it. */
vl2_status cli_options_set(cli_options *out, const char *name, const char *value, vl2_error *err);
/* The settings of the answer, as chat's /set shows them. */
void cli_options_show(FILE *out, const cli_options *options);
void cli_options_help(FILE *out, const cli_command *command);
/* The nearest of `n` names to what was written, or NULL when none is near. */
const char *cli_options_nearest(const char *word, const char *const *names, size_t n);

#endif
