/* vl2: the program. Its commands are the rows of this table; their options those of options.c. */
#include "commands.h"
#include "progress.h"
#include "terminal.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
static const cli_command COMMANDS[] = {
    {"run", CLI_RUN, "[-m MODEL] [-i IMAGE]… [options] [PROMPT]\n[-m MODEL] --conversation FILE.json [options]",
     "one answer, streamed to stdout",
     "Answers a question about pictures, or continues a conversation. PROMPT, or a picture with\n"
     "`-i -`, may come from stdin. Pictures beyond the <image> tags of the prompt get tags in front.",
     "vl2 run -i photo.jpg \"What is this?\"\n"
     "vl2 run -i photo.jpg --draw found.png \"<|ref|>The dog in front.<|/ref|>\"\n"
     "vl2 run -m deepseek-vl2-small -i page1.png -i page2.png --json \"Compare the two tables.\"\n"
     "vl2 run --conversation talk.json --temperature 0.4 --top-p 0.9",
     0, 1, cli_run_main},
    {"chat", CLI_CHAT, "[-m MODEL] [-i IMAGE]… [options]", "a conversation in the terminal",
     "Talks in turns; what was said and shown before stays known. /help lists what else can be typed.",
     "vl2 chat -m deepseek-vl2-tiny\nvl2 chat -i photo.jpg --temperature 0.4",
     0, 0, cli_chat_main},
    {"batch", CLI_BATCH, "[-m MODEL] IN.jsonl -o OUT.jsonl [options]", "many conversations at once, from and to JSON lines",
     "Each line of IN is {\"id\", \"messages\"}, with messages as in `run --conversation` and pictures\n"
     "relative to IN. Each line of OUT, in the order in which they end, is\n"
     "{\"id\", \"text\", \"finish_reason\", \"grounding\", \"usage\", \"error\"}. Run it again to go on: ids\n"
     "that OUT has are skipped.",
     "vl2 batch questions.jsonl -o answers.jsonl\nvl2 batch -m deepseek-vl2-tiny --parallel 16 - -o answers.jsonl < questions.jsonl",
     1, 1, cli_batch_main},
#if VL2_HAS_SERVER
    {"serve", CLI_SERVE, "[-m MODEL] [--host 127.0.0.1] [--port 37914] [options]", "the HTTP API and the web page",
     "Answers many people at once: OpenAI's chat API under /v1, and a web page. What a request does not\n"
     "say is as the options here say. Ctrl-C lets running answers finish; a second one ends it.",
     "vl2 serve\nvl2 serve -m deepseek-vl2-tiny --host 0.0.0.0 --api-key-file key.txt --parallel 16",
     0, 0, cli_serve_main},
#endif
    {"bench", CLI_BENCH, "[-m MODEL | --dummy SHAPES] [options]", "how fast each stage is on this machine",
     "Measures this machine's peaks, then times loading (cold and warm), pictures, vision tower, projector,\n"
     "prefill and decoding; shows medians, the share of those peaks that each stage reaches, and the memory\n"
     "taken against the memory planned.",
     "vl2 bench --dummy tiny\nvl2 bench -m deepseek-vl2-tiny --full --csv > bench.csv\n"
     "vl2 bench --dummy tiny --stages prefill,decode --prompt 512,2048 --context 4000 --sequences 1,16",
     0, 0, cli_bench_main},
    {"inspect", CLI_INSPECT, "MODEL [--tensors] [--json]", "what is in a model, and what memory it will take",
     "Says in words what a model is made of and whether it can run here.",
     "vl2 inspect deepseek-vl2-tiny\nvl2 inspect ./checkpoint --tensors",
     0, 1, cli_inspect_main},
    {"tokenize", CLI_TOKENIZE, "[-m MODEL] [TEXT] [--jsonl]", "the ids of a text",
     "Writes the ids of TEXT, or of stdin. -m also takes a tokenizer.json or a folder with one. No token\n"
     "is put in front; special tokens in the text are honoured.",
     "vl2 tokenize \"Hello <image>\"\nvl2 tokenize -m tokenizer.json --jsonl < texts.jsonl",
     0, 1, cli_tokenize_main},
    {"detokenize", CLI_DETOKENIZE, "[-m MODEL] [ID]… [--jsonl]", "the text of ids",
     "Writes the text of the ids given, or of those on stdin; special tokens are kept.",
     "vl2 detokenize 19923 2058\nvl2 tokenize hello | vl2 detokenize",
     0, CLI_MAX_LIST, cli_detokenize_main},
    {"trace", CLI_TRACE, "-m MODEL --conversation FILE -o OUT.safetensors [options]", "every stage's numbers, to compare with the reference",
     "Runs one conversation on the production path and writes what each stage made of it.",
     "vl2 trace -m checkpoint --compute f32 --conversation talk.json -o trace.safetensors --greedy 24",
     0, 0, cli_trace_main},
    {"quantize", CLI_QUANTIZE, "SRC DST.gguf [--type TYPE] [options]", "a smaller, faster copy of a model, in one file",
     "Writes the model SRC (a folder, a .gguf file, or a fetched name) as a GGUF file with its weights in\n"
     "another type. The file appears when it is complete. docs/QUANTIZATION.md says what each type costs.",
     "vl2 quantize deepseek-vl2-tiny tiny-Q4_K_M.gguf --type Q4_K_M\n"
     "vl2 run -m tiny-Q4_K_M.gguf -i photo.jpg \"What is this?\"\n"
     "vl2 quantize deepseek-vl2-tiny tiny-Q8_0.gguf --type Q8_0 --tensor 'blk.0.*=BF16'\n"
     "vl2 quantize deepseek-vl2-tiny text.gguf --half text --type Q8_0\n"
     "vl2 quantize deepseek-vl2-tiny mmproj.gguf --half vision\n"
     "vl2 run -m text.gguf --mmproj mmproj.gguf -i photo.jpg \"What is this?\"",
     2, 2, cli_quantize_main},
    {"pull", CLI_PULL, "NAME [--from URL]", "fetch a model",
     "Downloads a model's files, goes on where a broken download stopped, and checks their sums. NAME is\n"
     "deepseek-vl2-tiny (7 GB), deepseek-vl2-small (32 GB), deepseek-vl2 (55 GB), or OWNER/NAME.",
     "vl2 pull deepseek-vl2-tiny\nvl2 run -m deepseek-vl2-tiny -i photo.jpg \"What is this?\"",
     1, 1, cli_pull_main},
    {"version", CLI_VERSION, "", "this program's version, features and CPU levels",
     "Says what this build can do and which instructions it uses here.", "vl2 version",
     0, 0, cli_version_main},
};
/* clang-format on */
enum { N_COMMANDS = sizeof COMMANDS / sizeof *COMMANDS };

int cli_main_fail(const char *command, const vl2_error *err) {
    cli_terminal_error(command, err->text[0] ? err->text : vl2_status_text(err->status));
    return err->status == VL2_ERR_ARGUMENT ? CLI_USAGE : CLI_FAILED;
}

int cli_main_usage(const char *command, const char *text) {
    cli_terminal_error(command, text);
    fprintf(stderr, "vl2 %s%s--help says how it is used\n", command ? command : "",
            command ? " " : "");
    return CLI_USAGE;
}

static void overview(FILE *out) {
    fprintf(out, "vl2 %s - DeepSeek-VL2: questions about pictures, answered on this computer\n\n",
            vl2_version());
    for (size_t i = 0; i < N_COMMANDS; i++) {
        fprintf(out, "  vl2 %-11s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    }
    fprintf(out,
            "\n`vl2 COMMAND --help` shows a command's options and examples. Without -m all use "
            "the demo\ncheckpoint; `vl2 pull deepseek-vl2-tiny` fetches the smallest published "
            "one (7 GB).\n\n"
            "  vl2 run -i photo.jpg \"What is this?\"\n");
}

static const cli_command *find(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (!strcmp(name, COMMANDS[i].name)) return &COMMANDS[i];
    }
    return NULL;
}

static int unknown(const char *name) {
    const char *names[N_COMMANDS];
    char text[160];
    for (size_t i = 0; i < N_COMMANDS; i++) names[i] = COMMANDS[i].name;
    const char *near = cli_options_nearest(name, names, N_COMMANDS);
    snprintf(text, sizeof text, "unknown %s %.60s%s%s%s", name[0] == '-' ? "option" : "command",
             name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return cli_main_usage(NULL, text);
}

/* What was written to stdout must have arrived; a full disk shows only now. */
static int end(const char *command, int status) {
    vl2_error err = {0};
    cli_progress_hide();
    if (cli_terminal_flush(&err) != VL2_OK && status == 0) return cli_main_fail(command, &err);
    return status;
}

static int help(const char *name) {
    const cli_command *command = name ? find(name) : NULL;
    if (name && !command) return unknown(name);
    if (command) {
        cli_options_help(stdout, command);
    } else {
        overview(stdout);
    }
    return end(NULL, 0);
}

int main(int argc, char **argv) {
    static cli_options options; /* large, and there is one */
    vl2_error err = {0};
    cli_terminal_init();
    if (argc < 2) {
        overview(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        return help(argc > 2 ? argv[2] : NULL);
    }
    const cli_command *command = find(strcmp(argv[1], "--version") ? argv[1] : "version");
    if (!command) return unknown(argv[1]);
    cli_options_init(&options);
    if (cli_options_parse(&options, command, argc - 2, (const char *const *)argv + 2, &err) !=
        VL2_OK) {
        return cli_main_usage(command->name, err.text);
    }
    if (options.help) return help(command->name);
    if (options.quiet) cli_progress_quiet();
    return end(command->name, command->run(&options));
}
