/* vl2 serve: the server's options, its life, and what it says to the person who started it. */
#include "commands.h"
#include "models.h"
#include "progress.h"
#include "server/server.h"
#include "terminal.h"
#include "vl2/vl2_dev.h"

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { LOOK_MS = 100, GRACE_MS = 30000, MAX_KEY_FILE = 1 << 20, OTHER_FILES = 128 };

static volatile sig_atomic_t terminated;

static void on_terminate(int signal_number) {
    (void)signal_number;
    if (terminated < 2) terminated++;
}

static void listen_to_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_terminate;
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN; /* a client that goes is no reason to end */
    sigaction(SIGPIPE, &action, NULL);
}

static void say(void *user, const char *line) {
    const cli_options *o = user;
    if (!o->quiet) fprintf(stderr, "%s\n", line);
}

/* The last part of a path. */
static const char *base_name(char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

typedef struct owned { /* texts that the options point to */
    char *path, *name, *key_file;
    const char **keys;
} owned;

/* Cuts the file into lines, in place; every one that is neither empty nor a note is a key. */
static vl2_status cut_keys(owned *texts, size_t *n, vl2_error *err) {
    size_t lines = 1;
    for (const char *c = texts->key_file; *c; c++) lines += *c == '\n';
    texts->keys = vl2_mem_array(lines, sizeof *texts->keys);
    if (!texts->keys) return vl2_fail_memory(err, "the keys", lines * sizeof *texts->keys);
    for (char *line = texts->key_file, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        line += strspn(line, " \t");
        size_t size = strcspn(line, "\r");
        while (size && (line[size - 1] == ' ' || line[size - 1] == '\t')) size--;
        line[size] = '\0';
        if (*line && *line != '#') texts->keys[(*n)++] = line;
    }
    return VL2_OK;
}

static vl2_status read_keys(vl2_serve_options *out, owned *texts, const cli_options *o,
                            vl2_error *err) {
    size_t size;
    if (o->api_key && o->api_key_file)
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "--api-key and --api-key-file: take one; the file may hold several keys");
    if (o->api_key && !*o->api_key)
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "--api-key is empty; leave it out for a server without one");
    if (o->api_key) {
        out->api_keys = &o->api_key;
        out->n_api_keys = 1;
    }
    if (!o->api_key_file) return VL2_OK;
    VL2_TRY(vl2_file_read(&texts->key_file, &size, o->api_key_file, MAX_KEY_FILE, err));
    VL2_TRY(cut_keys(texts, &out->n_api_keys, err));
    out->api_keys = texts->keys;
    if (out->n_api_keys) return VL2_OK;
    return vl2_fail(err, VL2_ERR_ARGUMENT, "%s: there is no key in it; write one a line",
                    o->api_key_file);
}

static void take_sampling(vl2_sampling *s, const cli_options *o) {
    s->temperature = (float)o->temperature;
    s->top_p = (float)o->top_p;
    s->top_k = (int)o->top_k;
    s->min_p = (float)o->min_p;
    s->repetition_penalty = (float)o->repetition_penalty;
    s->presence_penalty = (float)o->presence_penalty;
    s->frequency_penalty = (float)o->frequency_penalty;
    s->seed = o->seed;
}

static void take_defaults(vl2_serve_options *out, const cli_options *o) {
    take_sampling(&out->sampling, o);
    out->max_tokens = o->max_tokens;
    out->system = o->system;
    out->stop = o->stop.items;
    out->n_stop = o->stop.n;
    out->skip_special = o->skip_special_tokens;
}

static void take_limits(vl2_serve_options *out, const cli_options *o) {
    out->host = o->host;
    out->port = (unsigned)o->port;
    out->root_path = o->root_path;
    out->cors_origin = o->cors_origin;
    out->media_dir = o->media_dir;
    out->allow_remote_images = o->remote_images;
    out->trust_special_tokens = o->trust_special_tokens;
    out->log_json = o->log_json;
    out->lazy_load = o->lazy_load;
    out->idle_seconds = o->idle;
    out->request_seconds = o->request_seconds;
    out->max_connections = o->connections;
    out->max_body = o->max_body << 20;
    out->max_images = o->max_images;
    out->image_cache = o->image_cache << 20;
    out->prefixes = o->prefixes;
    out->host_names = o->host_names.items;
    out->n_host_names = o->host_names.n;
    out->log_all = o->verbose;
    out->queue = o->queue;
    out->parallel = o->parallel;
    out->chunk_tokens = o->chunk_size;
}

static vl2_status make_options(vl2_serve_options *out, owned *texts, cli_options *o,
                               vl2_error *err) {
    vl2_serve_options_init(out);
    take_limits(out, o);
    take_defaults(out, o);
    VL2_TRY(cli_models_find(&texts->path, o->model, err));
    texts->name = vl2_mem_strdup(texts->path, strlen(texts->path));
    if (!texts->name) return vl2_fail_memory(err, "a name", strlen(texts->path));
    out->model_path = texts->path;
    out->model_name = o->name ? o->name : o->model ? base_name(texts->name) : "vl2-demo";
    out->is_demo = !o->model;
    const size_t contexts = out->engine.kv_contexts; /* of a server, which the next line forgets */
    VL2_TRY(cli_models_engine_options(&out->engine, o, err));
    out->engine.kv_contexts = contexts;
    out->engine.kv_tokens = o->kv_tokens;
    out->say = say;
    out->user = o;
    return read_keys(out, texts, o, err);
}

/* Each connection takes a file; so few as a shell allows by default would not do. */
static void take_files(vl2_serve_options *options) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    rlim_t want = options->max_connections + OTHER_FILES;
    if (limit.rlim_cur < want) {
        limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= want) return;
    size_t left = limit.rlim_cur > 2 * OTHER_FILES ? limit.rlim_cur - OTHER_FILES
                                                   : (size_t)limit.rlim_cur / 2;
    options->max_connections = left ? left : 1;
    cli_terminal_say("warning: this process may open %zu files only, so --max-connections is %zu",
                     (size_t)limit.rlim_cur, options->max_connections);
}

static double mib(size_t bytes) { return (double)bytes / (1 << 20); }

static void say_resources(const vl2_server *server, const vl2_serve_options *s) {
    vl2_info info;
    if (!vl2_server_info(server, &info)) {
        cli_terminal_say("the weights are loaded with the first request");
        return;
    }
    cli_terminal_say(
        "%d thread(s); %.0f MiB of weights (mapped); %.0f MiB of KV for %zu tokens and "
        "%.0f MiB of scratch, as they are used",
        info.threads, mib(info.weight_bytes), mib(info.kv_tokens * info.kv_bytes_per_token),
        info.kv_tokens, mib(vl2_server_scratch(server)));
    cli_terminal_say(
        "at most, for requests: %.0f MiB of picture rows, %.0f MiB of decoded pictures, "
        "%.0f MiB of bodies",
        mib(s->image_cache), mib(s->picture_memory), mib(s->body_memory));
}

static void greet(const vl2_server *server, const vl2_serve_options *s, const cli_options *o) {
    bool v6 = strchr(s->host, ':') != NULL;
    if (!vl2_server_is_local(s->host) && !s->n_api_keys)
        cli_terminal_say("warning: open to other machines without a key; --api-key-file sets one");
    if (o->quiet) return;
    if (s->is_demo) cli_terminal_say("the demo checkpoint: it knows drawn scenes only, no photos");
    say_resources(server, s);
    fprintf(stderr, "vl2: %s at http://%s%s%s:%u%s/  (API: /v1; Ctrl-C ends it)\n", s->model_name,
            v6 ? "[" : "", s->host, v6 ? "]" : "", vl2_server_port(server), s->root_path);
}

static bool is_told_to_end(void) { return terminated || cli_terminal_interrupted(); }

/* Serves until it is told to end; then those inside may finish, unless it is told again. */
static void serve(vl2_server *server, cli_options *o) {
    while (!is_told_to_end()) poll(NULL, 0, LOOK_MS);
    vl2_server_close(server);
    if (vl2_server_is_busy(server)) say(o, "vl2: stopping; running answers have 30 s to finish");
    for (int ms = 0; ms < GRACE_MS && terminated < 2 && vl2_server_is_busy(server); ms += LOOK_MS)
        poll(NULL, 0, LOOK_MS);
    vl2_server_stop(server);
    say(o, "vl2: stopped");
}

int cli_serve_main(cli_options *o) {
    vl2_serve_options options;
    owned texts = {0};
    vl2_server *server = NULL;
    vl2_error err = {0};
    listen_to_signals();
    vl2_status status = make_options(&options, &texts, o, &err);
    if (status == VL2_OK) take_files(&options);
    if (status == VL2_OK) status = vl2_server_start(&server, &options, &err);
    cli_progress_hide();
    if (status == VL2_OK) {
        cli_terminal_keep();
        greet(server, &options, o);
        serve(server, o);
    }
    vl2_mem_free(texts.path);
    vl2_mem_free(texts.name);
    vl2_mem_free(texts.key_file);
    vl2_mem_free(texts.keys);
    if (cli_terminal_interrupted()) return CLI_INTERRUPTED;
    return status == VL2_OK ? 0 : cli_main_fail("serve", &err);
}
