#include "options.h"

#include "base/err.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { FLAG, TEXT, LIST, SIZE, REAL } kind;
typedef enum group { MODEL, QUESTION, ANSWER, OUTPUT, SERVER, OTHER, N_GROUPS } group;

typedef struct option {
    const char *name;
    char letter; /* 0: none */
    kind kind;
    group group;
    unsigned commands;
    size_t field;        /* offset in cli_options */
    const char *value;   /* its name in --help; NULL for a flag */
    double min, max;     /* of SIZE and REAL */
    const char *choices; /* of TEXT: "a|b"; NULL: any */
    const char *help;
} option;

#define AT(field) offsetof(cli_options, field)
#define ASKING (CLI_RUN | CLI_CHAT | CLI_BATCH)
#define ENGINE (ASKING | CLI_BENCH | CLI_INSPECT | CLI_TRACE | CLI_SERVE)
#define SAMPLING (ASKING | CLI_SERVE)
#define EVERY 0xffffffffU
#define HUGE 1e9

/* clang-format off */
static const option OPTIONS[] = {
    {"model", 'm', TEXT, MODEL, ENGINE | CLI_TOKENIZE | CLI_DETOKENIZE, AT(model), "MODEL", 0, 0, NULL,
     "a folder, a .gguf file, or a name that `vl2 pull` fetched; without it the demo checkpoint"},
    {"mmproj", 0, TEXT, MODEL, ENGINE | CLI_QUANTIZE, AT(mmproj), "FILE", 0, 0, NULL,
     "the .gguf file with the vision half of a .gguf model that has none"},
    {"threads", 't', SIZE, MODEL, ENGINE | CLI_QUANTIZE, AT(threads), "N", 0, 1024, NULL,
     "threads to compute with (0: one a core)"},
    {"cpu", 0, TEXT, MODEL, ENGINE, AT(cpu), "LEVEL", 0, 0, NULL,
     "instructions to use at most; `vl2 version` lists this machine's"},
    {"compute", 0, TEXT, MODEL, ENGINE, AT(compute), "MODE", 0, 0, "auto|f32",
     "auto: the fastest for the weights; f32: float32 throughout (auto)"},
    {"vision", 0, TEXT, MODEL, ENGINE, AT(vision), "MODE", 0, 0, "auto|int8",
     "int8: the vision tower computes in bytes, faster and less exact (auto: as stored)"},
    {"ctx-size", 0, SIZE, MODEL, ENGINE, AT(ctx_size), "N", 0, HUGE, NULL,
     "tokens that prompt and answer may take together (0: what the model says)"},

    {"image", 'i', LIST, QUESTION, CLI_RUN | CLI_CHAT, AT(images), "FILE", 0, 0, NULL,
     "a picture, more with more -i; - reads one from stdin"},
    {"conversation", 0, TEXT, QUESTION, CLI_RUN | CLI_TRACE, AT(conversation), "FILE", 0, 0, NULL,
     "a JSON array of messages {\"role\", \"content\", \"images\"}; - reads it from stdin"},
    {"system", 0, TEXT, QUESTION, SAMPLING, AT(system), "TEXT", 0, 0, NULL,
     "a system message in front of all"},
    {"exif", 0, FLAG, QUESTION, ASKING | CLI_TRACE, AT(exif), NULL, 0, 0, NULL,
     "turn photos upright as their EXIF data say (the reference does not)"},

    {"max-tokens", 'n', SIZE, ANSWER, SAMPLING, AT(max_tokens), "N", 1, HUGE, NULL,
     "tokens of the answer at most (512)"},
    {"temperature", 0, REAL, ANSWER, SAMPLING, AT(temperature), "X", 0, 100, NULL,
     "0 takes the likeliest token each time; higher is more varied (0)"},
    {"top-p", 0, REAL, ANSWER, SAMPLING, AT(top_p), "X", 0, 1, NULL,
     "draw from the likeliest tokens that make up this share (1: off)"},
    {"top-k", 0, SIZE, ANSWER, SAMPLING, AT(top_k), "N", 0, HUGE, NULL,
     "draw from this many likeliest tokens (0: off)"},
    {"min-p", 0, REAL, ANSWER, SAMPLING, AT(min_p), "X", 0, 1, NULL,
     "draw from tokens at least this likely, measured by the likeliest (0: off)"},
    {"repetition-penalty", 0, REAL, ANSWER, SAMPLING, AT(repetition_penalty), "X", 1e-6, 100, NULL,
     "above 1 makes tokens of prompt and answer less likely (1: off)"},
    {"presence-penalty", 0, REAL, ANSWER, SAMPLING, AT(presence_penalty), "X", -100, 100, NULL,
     "taken off tokens that the answer has (0: off)"},
    {"frequency-penalty", 0, REAL, ANSWER, SAMPLING, AT(frequency_penalty), "X", -100, 100, NULL,
     "taken off for each time that the answer has a token (0: off)"},
    {"seed", 0, SIZE, ANSWER, SAMPLING, AT(seed), "N", 0, 9e15, NULL,
     "the same seed draws the same answer (0)"},
    {"stop", 0, LIST, ANSWER, SAMPLING, AT(stop), "TEXT", 0, 0, NULL,
     "a text that ends the answer, more with more --stop"},
    {"skip-special-tokens", 0, FLAG, ANSWER, SAMPLING, AT(skip_special_tokens), NULL, 0, 0, NULL,
     "leave <|ref|> and its like out of the text; boxes are found all the same"},
    {"chunk-size", 0, SIZE, ANSWER, SAMPLING | CLI_TRACE | CLI_BENCH | CLI_INSPECT, AT(chunk_size), "N", 0, HUGE, NULL,
     "prompt tokens computed at a time (512; 0: all at once)"},

    {"output", 'o', TEXT, OUTPUT, CLI_BATCH | CLI_TRACE, AT(output), "FILE", 0, 0, NULL,
     "where the results go"},
    {"draw", 0, TEXT, OUTPUT, CLI_RUN, AT(draw), "FILE", 0, 0, NULL,
     "write the picture with the answer's boxes on it: .png or .jpg"},
    {"json", 0, FLAG, OUTPUT, CLI_RUN | CLI_BENCH | CLI_INSPECT, AT(json), NULL, 0, 0, NULL,
     "everything as one JSON object"},
    {"csv", 0, FLAG, OUTPUT, CLI_BENCH, AT(csv), NULL, 0, 0, NULL, "the table as CSV"},
    {"jsonl", 0, FLAG, OUTPUT, CLI_TOKENIZE | CLI_DETOKENIZE, AT(jsonl), NULL, 0, 0, NULL,
     "a text a line as a JSON string, ids a line as a JSON array"},
    {"tensors", 0, FLAG, OUTPUT, CLI_INSPECT, AT(tensors), NULL, 0, 0, NULL,
     "list every tensor"},
    {"verbose", 'v', FLAG, OUTPUT, EVERY & ~CLI_VERSION, AT(verbose), NULL, 0, 0, NULL,
     "say on stderr what is loaded, what memory it takes and how long things took"},
    {"quiet", 'q', FLAG, OUTPUT, EVERY & ~CLI_VERSION, AT(quiet), NULL, 0, 0, NULL,
     "say nothing on stderr but errors"},

    {"parallel", 0, SIZE, OTHER, CLI_BATCH | CLI_SERVE, AT(parallel), "N", 1, 1024, NULL,
     "conversations answered at once (8)"},
    {"dummy", 0, TEXT, OTHER, CLI_BENCH, AT(dummy), "SHAPES", 0, 0, NULL,
     "made-up weights in the shapes of tiny, small, base, a config.json; tiny:Q4_K for that type"},
    {"stages", 0, TEXT, OTHER, CLI_BENCH, AT(stages), "LIST", 0, 0, NULL,
     "which of load,image,vision,prefill,decode,memory to time (all)"},
    {"full", 0, FLAG, OTHER, CLI_BENCH, AT(full), NULL, 0, 0, NULL,
     "long prompts, long contexts, many sequences and views too: minutes"},
    {"prompt", 0, LIST, OTHER, CLI_BENCH, AT(prompt_tokens), "N,…", 0, 0, NULL,
     "lengths of prompts in tokens (128,512; with --full also 2048,4096)"},
    {"context", 0, LIST, OTHER, CLI_BENCH, AT(contexts), "N,…", 0, 0, NULL,
     "tokens before decoding (100,1000; with --full also 4000)"},
    {"sequences", 0, LIST, OTHER, CLI_BENCH, AT(sequences), "N,…", 0, 0, NULL,
     "sequences decoded at once, after the first context (1,4,8; with --full also 16)"},
    {"views", 0, LIST, OTHER, CLI_BENCH, AT(views), "N,…", 0, 0, NULL,
     "views through the vision tower (1,3; with --full also 7,10)"},
    {"decode-tokens", 0, SIZE, OTHER, CLI_BENCH, AT(decode_tokens), "N", 1, 4096, NULL,
     "tokens to decode in a run (16)"},
    {"repeat", 0, SIZE, OTHER, CLI_BENCH, AT(repeat), "N", 1, 1000, NULL,
     "runs of each stage; their median is shown (3)"},
    {"greedy", 0, SIZE, OTHER, CLI_TRACE, AT(greedy), "N", 0, 65536, NULL,
     "tokens to decode after the prompt (24)"},
    {"positions", 0, TEXT, OTHER, CLI_TRACE, AT(positions), "WHICH", 0, 0, "last|all",
     "hidden states and logits of the last 8 positions, or of all (last)"},
    {"type", 0, TEXT, OTHER, CLI_QUANTIZE, AT(type), "TYPE", 0, 0, NULL,
     "Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, IQ4_NL, Q4_0, BF16, F16 or F32 (Q8_0)"},
    {"tensor", 0, LIST, OTHER, CLI_QUANTIZE, AT(tensor), "PATTERN=TYPE", 0, 0, NULL,
     "another type for tensors whose names match, as in the shell; the last match counts"},
    {"vision-type", 0, TEXT, OTHER, CLI_QUANTIZE, AT(vision_type), "TYPE", 0, 0, "BF16|F16|F32|Q8_0",
     "how matrices of the vision half are stored (BF16)"},
    {"half", 0, TEXT, OTHER, CLI_QUANTIZE, AT(half), "HALF", 0, 0, "both|text|vision",
     "what to write: text is what other programs read, vision is for --mmproj (both)"},
    {"imatrix", 0, TEXT, OTHER, CLI_QUANTIZE, AT(imatrix), "FILE", 0, 0, NULL,
     "weigh errors by an importance matrix, of `vl2 batch --imatrix` (all count alike)"},
    {"imatrix", 0, TEXT, OTHER, CLI_BATCH, AT(imatrix), "FILE", 0, 0, NULL,
     "sum up what each matrix is multiplied with, for `vl2 quantize --imatrix`"},
    {"from", 0, TEXT, OTHER, CLI_PULL, AT(from), "URL", 0, 0, NULL,
     "the hub that has the files (https://huggingface.co)"},
    {"host", 0, TEXT, SERVER, CLI_SERVE, AT(host), "ADDRESS", 0, 0, NULL,
     "where to listen (127.0.0.1: this machine only)"},
    {"port", 0, SIZE, SERVER, CLI_SERVE, AT(port), "N", 0, 65535, NULL,
     "where to listen (37914; 0: any that is free)"},
    {"host-name", 0, LIST, SERVER, CLI_SERVE, AT(host_names), "NAME", 0, 0, NULL,
     "a name besides localhost that a proxy passes on, more with more of them"},
    {"root-path", 0, TEXT, SERVER, CLI_SERVE, AT(root_path), "/PREFIX", 0, 0, NULL,
     "what a proxy puts in front of our paths"},
    {"name", 0, TEXT, SERVER, CLI_SERVE, AT(name), "NAME", 0, 0, NULL,
     "the model's name for clients (that of its folder)"},
    {"api-key", 0, TEXT, SERVER, CLI_SERVE, AT(api_key), "KEY", 0, 0, NULL,
     "clients must show it; others on this machine can see it here: prefer --api-key-file"},
    {"api-key-file", 0, TEXT, SERVER, CLI_SERVE, AT(api_key_file), "FILE", 0, 0, NULL,
     "a file with keys, one a line; lines that begin with # are notes"},
    {"cors-origin", 0, TEXT, SERVER, CLI_SERVE, AT(cors_origin), "ORIGIN", 0, 0, NULL,
     "pages of this origin may use the API (none)"},
    {"media-dir", 0, TEXT, SERVER, CLI_SERVE, AT(media_dir), "FOLDER", 0, 0, NULL,
     "requests may name pictures in it as file: (none)"},
    {"allow-remote-images", 0, FLAG, SERVER, CLI_SERVE, AT(remote_images), NULL, 0, 0, NULL,
     "requests may name pictures by http(s), of public addresses only"},
    {"trust-special-tokens", 0, FLAG, SERVER, CLI_SERVE, AT(trust_special_tokens), NULL, 0, 0, NULL,
     "role tokens, bos and eos in a request's text count"},
    {"queue", 0, SIZE, SERVER, CLI_SERVE, AT(queue), "N", 0, 100000, NULL,
     "requests that may wait; more are told to come back (64)"},
    {"kv-tokens", 0, SIZE, SERVER, CLI_SERVE, AT(kv_tokens), "N", 64, HUGE, NULL,
     "tokens the KV pool holds, all requests together (4 contexts)"},
    {"max-connections", 0, SIZE, SERVER, CLI_SERVE, AT(connections), "N", 1, 100000, NULL,
     "open connections at most (256)"},
    {"max-body", 0, SIZE, SERVER, CLI_SERVE, AT(max_body), "MIB", 1, 4096, NULL,
     "a request's size at most, in MiB (64)"},
    {"max-images", 0, SIZE, SERVER, CLI_SERVE, AT(max_images), "N", 0, 4096, NULL,
     "pictures of a request at most (16)"},
    {"image-cache", 0, SIZE, SERVER, CLI_SERVE, AT(image_cache), "MIB", 0, 1e6, NULL,
     "memory for pictures that may come again, in MiB (256)"},
    {"prefix-cache", 0, SIZE, SERVER, CLI_SERVE, AT(prefixes), "N", 0, 4096, NULL,
     "finished answers whose KV is kept for the next question on them (64)"},
    {"request-seconds", 0, REAL, SERVER, CLI_SERVE, AT(request_seconds), "S", 0, 1e6, NULL,
     "a request may take so long (600; 0: any)"},
    {"lazy-load", 0, FLAG, SERVER, CLI_SERVE, AT(lazy_load), NULL, 0, 0, NULL,
     "load the model with the first request"},
    {"idle-seconds", 0, REAL, SERVER, CLI_SERVE, AT(idle), "S", 0, 1e7, NULL,
     "let the weights go after so long without a request (0: never)"},
    {"log-json", 0, FLAG, SERVER, CLI_SERVE, AT(log_json), NULL, 0, 0, NULL,
     "a JSON object for each request, instead of a line for people"},
    {"help", 'h', FLAG, OTHER, EVERY, AT(help), NULL, 0, 0, NULL, "this text"},
};
/* clang-format on */
enum { N_OPTIONS = sizeof OPTIONS / sizeof *OPTIONS };

static const char *const GROUPS[N_GROUPS] = {
    [MODEL] = "The model",       [QUESTION] = "The question", [ANSWER] = "The answer",
    [OUTPUT] = "What comes out", [SERVER] = "The server",     [OTHER] = "Others",
};

void cli_options_init(cli_options *options) {
    *options = (cli_options){
        .max_tokens = 512,
        .top_p = 1,
        .repetition_penalty = 1,
        .chunk_size = 512,
        .parallel = 8,
        .repeat = 3,
        .decode_tokens = 16,
        .greedy = 24,
        .host = "127.0.0.1",
        .root_path = "",
        .port = 37914,
        .queue = 64,
        .connections = 256,
        .max_body = 64,
        .max_images = 16,
        .image_cache = 256,
        .prefixes = 64,
        .request_seconds = 600,
    };
}

/* ---- near names ------------------------------------------------------------------------------- */

static size_t smallest(size_t a, size_t b, size_t c) {
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Letters to add, drop or change to make b of a (Levenshtein), over words of up to 31 letters. */
static size_t distance(const char *a, const char *b) {
    size_t na = strnlen(a, 32), nb = strnlen(b, 32), row[32];
    if (na > 31 || nb > 31) return 32;
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t above = row[j];
            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[nb];
}

const char *cli_options_nearest(const char *word, const char *const *names, size_t n) {
    const char *nearest = NULL;
    size_t best = 32, length = strlen(word);
    for (size_t i = 0; i < n; i++) {
        bool begins = length >= 2 && strncmp(word, names[i], length) == 0;
        size_t d = begins ? 1 : distance(word, names[i]);
        if (d < best) {
            best = d;
            nearest = names[i];
        }
    }
    return best <= 1 + length / 3 ? nearest : NULL;
}

static const char *nearest_option(const char *name, unsigned bit, bool answer_only) {
    const char *names[N_OPTIONS];
    size_t n = 0;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if ((OPTIONS[i].commands & bit) && (!answer_only || OPTIONS[i].group == ANSWER)) {
            names[n++] = OPTIONS[i].name;
        }
    }
    return cli_options_nearest(name, names, n);
}

/* ---- values ------------------------------------------------------------------------------------ */

static void *field_of(cli_options *options, const option *o) { return (char *)options + o->field; }

static vl2_status number(double *out, const option *o, const char *text, vl2_error *err) {
    char *end = NULL;
    errno = 0;
    double x = strtod(text, &end);
    bool hex = strpbrk(text, "xX") != NULL; /* strtod also reads 0x10, inf and nan */
    if (end == text || *end || hex || !isfinite(x)) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "--%s takes a number, not \"%s\"", o->name, text);
    }
    if (o->kind == SIZE && x != floor(x)) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "--%s takes a whole number, not %s", o->name, text);
    }
    if (x < o->min || x > o->max) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "--%s takes %g to %g, not %s", o->name, o->min,
                        o->max, text);
    }
    *out = x;
    return VL2_OK;
}

static bool is_choice(const char *choices, const char *text) {
    size_t n = strlen(text);
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL) {
        if (strncmp(c, text, n) == 0 && (c[n] == '|' || !c[n])) return n > 0;
    }
    return false;
}

static vl2_status store(cli_options *out, const option *o, const char *text, vl2_error *err) {
    void *field = field_of(out, o);
    cli_list *list = field;
    double x = 0;
    switch (o->kind) {
    case FLAG: *(bool *)field = true; break;
    case TEXT:
        if (o->choices && !is_choice(o->choices, text)) {
            return vl2_fail(err, VL2_ERR_ARGUMENT, "--%s takes %s, not \"%s\"", o->name, o->choices,
                            text);
        }
        *(const char **)field = text;
        break;
    case LIST:
        if (list->n == CLI_MAX_LIST) {
            return vl2_fail(err, VL2_ERR_LIMIT, "--%s is given more than %d times", o->name,
                            CLI_MAX_LIST);
        }
        list->items[list->n++] = text;
        break;
    case SIZE:
        VL2_TRY(number(&x, o, text, err));
        *(size_t *)field = (size_t)x;
        break;
    case REAL: VL2_TRY(number(field, o, text, err)); break;
    }
    return VL2_OK;
}

/* ---- the command line -------------------------------------------------------------------------- */

static const option *by_name(const char *name, size_t size, unsigned bit) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const option *o = &OPTIONS[i];
        if ((o->commands & bit) && strlen(o->name) == size && !strncmp(o->name, name, size)) {
            return o;
        }
    }
    return NULL;
}

static const option *by_letter(char letter, unsigned bit) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if ((OPTIONS[i].commands & bit) && OPTIONS[i].letter == letter) return &OPTIONS[i];
    }
    return NULL;
}

static vl2_status unknown(const char *word, const char *name, unsigned bit, vl2_error *err) {
    const char *near = name ? nearest_option(name, bit, false) : NULL;
    if (!near) return vl2_fail(err, VL2_ERR_ARGUMENT, "unknown option %s", word);
    return vl2_fail(err, VL2_ERR_ARGUMENT, "unknown option %s; did you mean --%s?", word, near);
}

/* One option at argv[*i]: --name value, --name=value, -x value or -xvalue. */
static vl2_status one_option(cli_options *out, unsigned bit, int argc, const char *const *argv,
                             int *i, vl2_error *err) {
    const char *word = argv[*i], *value = NULL;
    const option *o = NULL;
    if (word[1] == '-') {
        size_t size = strcspn(word + 2, "=");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(size < 63 ? size : 63), word + 2);
        o = by_name(word + 2, size, bit);
        if (!o) return unknown(word, name, bit, err);
        if (word[2 + size] == '=') value = word + 3 + size;
    } else {
        o = by_letter(word[1], bit);
        if (!o) return unknown(word, NULL, bit, err);
        if (word[2]) value = word + 2;
    }
    if (o->kind == FLAG) {
        if (value) return vl2_fail(err, VL2_ERR_ARGUMENT, "--%s takes no value", o->name);
    } else if (!value) {
        if (*i + 1 >= argc) {
            return vl2_fail(err, VL2_ERR_ARGUMENT, "--%s needs a value: %s", o->name, o->value);
        }
        value = argv[++*i];
    }
    return store(out, o, value, err);
}

vl2_status cli_options_parse(cli_options *out, const cli_command *command, int argc,
                             const char *const *argv, vl2_error *err) {
    bool words_only = false;
    for (int i = 0; i < argc; i++) {
        if (!words_only && !strcmp(argv[i], "--")) {
            words_only = true;
        } else if (!words_only && argv[i][0] == '-' && argv[i][1]) {
            VL2_TRY(one_option(out, command->bit, argc, argv, &i, err));
        } else if (out->arguments.n == command->max_args || out->arguments.n == CLI_MAX_LIST) {
            return vl2_fail(err, VL2_ERR_ARGUMENT, "\"%s\" is one word too many%s", argv[i],
                            command->max_args == 1 ? "; put a text of several words in quotes"
                                                   : "");
        } else {
            out->arguments.items[out->arguments.n++] = argv[i];
        }
    }
    if (!out->help && out->arguments.n < command->min_args) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "something is missing: vl2 %s %.*s", command->name,
                        (int)strcspn(command->usage, "\n"), command->usage);
    }
    return VL2_OK;
}

vl2_status cli_options_set(cli_options *out, const char *name, const char *value, vl2_error *err) {
    const option *o = by_name(name, strlen(name), CLI_CHAT);
    if (!o || o->group != ANSWER) {
        const char *near = nearest_option(name, CLI_CHAT, true);
        return vl2_fail(err, VL2_ERR_ARGUMENT, "there is no setting %s; %s%s%s", name,
                        near ? "did you mean " : "/set shows them", near ? near : "",
                        near ? "?" : "");
    }
    if (o->kind == FLAG) {
        bool on = !strcmp(value, "on");
        if (!on && strcmp(value, "off")) {
            return vl2_fail(err, VL2_ERR_ARGUMENT, "%s takes on or off, not \"%s\"", name, value);
        }
        *(bool *)field_of(out, o) = on;
        return VL2_OK;
    }
    return store(out, o, value, err);
}

void cli_options_show(FILE *out, const cli_options *options) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const option *o = &OPTIONS[i];
        const void *field = (const char *)options + o->field;
        if (o->group != ANSWER || !(o->commands & CLI_CHAT)) continue;
        fprintf(out, "  %-20s ", o->name);
        switch (o->kind) {
        case FLAG: fputs(*(const bool *)field ? "on" : "off", out); break;
        case SIZE: fprintf(out, "%zu", *(const size_t *)field); break;
        case REAL: fprintf(out, "%g", *(const double *)field); break;
        case TEXT: fputs(*(const char *const *)field, out); break;
        case LIST:
            for (size_t k = 0; k < ((const cli_list *)field)->n; k++) {
                fprintf(out, "\"%s\" ", ((const cli_list *)field)->items[k]);
            }
            break;
        }
        fputc('\n', out);
    }
}

/* ---- --help -------------------------------------------------------------------------------------- */

static void lines(FILE *out, const char *before, const char *text) {
    while (*text) {
        size_t n = strcspn(text, "\n");
        fprintf(out, "%s%.*s\n", before, (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void help_group(FILE *out, unsigned bit, group which) {
    bool first = true;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const option *o = &OPTIONS[i];
        char left[64];
        if (!(o->commands & bit) || o->group != which) continue;
        if (first) fprintf(out, "\n%s\n", GROUPS[which]);
        first = false;
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ',
                 o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        if (o->choices) {
            snprintf(left, sizeof left, "    --%s %s", o->name, o->choices);
        }
        fprintf(out, "  %-27s %s\n", left, o->help);
    }
}

void cli_options_help(FILE *out, const cli_command *command) {
    char before[64];
    snprintf(before, sizeof before, "vl2 %s ", command->name);
    lines(out, before, command->usage);
    fputc('\n', out);
    lines(out, "", command->about);
    for (int g = 0; g < N_GROUPS; g++) help_group(out, command->bit, (group)g);
    fprintf(out, "\nExamples\n");
    lines(out, "  ", command->examples);
}
