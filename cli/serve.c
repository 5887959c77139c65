/* vl2 serve: the server's options, its life, and what it says to the person who started it. */
#include "commands.h"
#include "models.h"
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

enum { LOOK_MS = 200, MAX_KEY_FILE = 65536 };
static const double grace_seconds = 30;

static volatile sig_atomic_t terminated;

static void on_terminate(int signal_number) {
    (void)signal_number;
    terminated = 1;
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
    char *path, *name, *key;
} owned;

static vl2_status read_key(vl2_serve_options *out, owned *texts, const cli_options *o,
                           vl2_error *err) {
    size_t size;
    out->api_key = o->api_key;
    if (o->api_key && !*o->api_key)
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "--api-key is empty; leave it out for a server without one");
    if (!o->api_key_file) return VL2_OK;
    VL2_TRY(vl2_file_read(&texts->key, &size, o->api_key_file, MAX_KEY_FILE, err));
    texts->key[strcspn(texts->key, "\r\n")] = '\0';
    if (!*texts->key)
        return vl2_fail(err, VL2_ERR_ARGUMENT, "%s: its first line is empty; write the key there",
                        o->api_key_file);
    out->api_key = texts->key;
    return VL2_OK;
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
    out->queue = o->queue;
    out->parallel = o->parallel;
    out->max_tokens = o->max_tokens;
    out->chunk_tokens = o->chunk_size ? o->chunk_size : 512;
}

static vl2_status make_options(vl2_serve_options *out, owned *texts, cli_options *o,
                               vl2_error *err) {
    vl2_serve_options_init(out);
    take_limits(out, o);
    take_sampling(&out->sampling, o);
    VL2_TRY(cli_models_find(&texts->path, o->model, err));
    texts->name = vl2_mem_strdup(texts->path, strlen(texts->path));
    if (!texts->name) return vl2_fail_memory(err, "a name", strlen(texts->path));
    out->model_path = texts->path;
    out->model_name = o->name ? o->name : o->model ? base_name(texts->name) : "vl2-demo";
    out->is_demo = !o->model;
    VL2_TRY(cli_models_engine_options(&out->engine, o, err));
    out->engine.kv_tokens = o->kv_tokens;
    out->say = say;
    out->user = o;
    return read_key(out, texts, o, err);
}

static bool is_local(const char *host) {
    return !strcmp(host, "127.0.0.1") || !strcmp(host, "localhost") || !strcmp(host, "::1");
}

static void greet(const vl2_server *server, const vl2_serve_options *s, const cli_options *o) {
    bool v6 = strchr(s->host, ':') != NULL;
    if (!is_local(s->host) && !s->api_key)
        cli_terminal_say("warning: open to other machines without a key; --api-key-file sets one");
    if (s->is_demo) cli_terminal_say("the demo checkpoint: it knows drawn scenes only, no photos");
    if (!o->quiet)
        fprintf(stderr, "vl2: %s at http://%s%s%s:%u%s/  (API: /v1; Ctrl-C ends it)\n",
                s->model_name, v6 ? "[" : "", s->host, v6 ? "]" : "", vl2_server_port(server),
                s->root_path);
}

int cli_serve_main(cli_options *o) {
    vl2_serve_options options;
    owned texts = {0};
    vl2_server *server = NULL;
    vl2_error err = {0};
    listen_to_signals();
    vl2_status status = make_options(&options, &texts, o, &err);
    if (status == VL2_OK) status = vl2_server_start(&server, &options, &err);
    if (status == VL2_OK) {
        cli_terminal_keep();
        greet(server, &options, o);
        while (!cli_terminal_interrupted() && !terminated) poll(NULL, 0, LOOK_MS);
        say(o, "vl2: stopping; running answers have 30 s to finish");
        vl2_server_stop(server, grace_seconds);
    }
    vl2_mem_free(texts.path);
    vl2_mem_free(texts.name);
    vl2_mem_free(texts.key);
    if (cli_terminal_interrupted()) return CLI_INTERRUPTED;
    return status == VL2_OK ? 0 : cli_main_fail("serve", &err);
}
