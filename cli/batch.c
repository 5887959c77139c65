/* vl2 batch: many conversations at once. Sessions join as others leave; every step takes a token of
 * each running one together with one chunk of the oldest prompt that is still being read. Chunk
 * borders depend on the prompt alone, so an answer is the same in any company. */
#include "commands.h"
#include "conversation.h"
#include "json_out.h"
#include "jsonl.h"
#include "models.h"
#include "progress.h"
#include "terminal.h"
#include "turn.h"
#include "vl2/vl2_dev.h"

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct slot { /* a conversation on its way */
    bool used;
    size_t order; /* of joining: the oldest prompt is read first */
    char *id;     /* as JSON text */
    cli_conversation conversation;
    vl2_prompt *prompt;
    vl2_session *session;
    cli_turn turn;
    size_t reserved; /* tokens of the KV pool that it may come to need */
} slot;

typedef struct batch {
    const cli_options *options;
    vl2_generate_options answer;
    vl2_engine *engine;
    vl2_batch *steps;
    vl2_dev_calibration *calibration; /* NULL: none is asked for */
    size_t chunk;
    FILE *in;
    const char *in_name;
    char *folder; /* that picture paths start from */
    char *line;
    size_t line_room, line_number, total;
    bool at_end;
    cli_results results; /* with the ids that an earlier run answered */
    cli_results seen;    /* no file: the ids of this run */
    slot *slots;
    size_t n_used, joined;
    slot waiting;          /* read, but without room in the KV pool yet */
    size_t pool, reserved; /* tokens */
    size_t answered, failed, skipped;
} batch;

enum {
    KV_BLOCK = 64,      /* the pool gives room in blocks of this many tokens, or smaller ones */
    POOL_TOKENS = 32768 /* of all running conversations; memory that is not used costs nothing */
};

/* ---- results ---------------------------------------------------------------------------------------- */

static vl2_status write_line(batch *b, const char *id, const cli_turn *turn, const vl2_box *boxes,
                             size_t n_boxes, const char *error, vl2_error *err) {
    vl2_buf out = {0};
    vl2_status status = VL2_OK;
    const char *text = turn ? cli_turn_text(turn) : "";
    vl2_usage usage = turn ? turn->usage : (vl2_usage){0};
    VL2_GOTO(done, status, vl2_buf_addf(&out, err, "{\"id\": %s, ", id));
    VL2_GOTO(done, status, cli_json_out_text(&out, text, err));
    VL2_GOTO(done, status,
             vl2_buf_addf(&out, err,
                          turn ? ", \"finish_reason\": \"%s\", " : ", \"finish_reason\": null, ",
                          turn ? cli_json_out_finish(turn->finish) : ""));
    VL2_GOTO(done, status, cli_json_out_grounding(&out, boxes, n_boxes, err));
    VL2_GOTO(done, status, vl2_buf_addf(&out, err, ", "));
    VL2_GOTO(done, status, cli_json_out_usage(&out, usage, err));
    VL2_GOTO(done, status, vl2_buf_addf(&out, err, ", \"error\": "));
    if (error) {
        VL2_GOTO(done, status, vl2_json_quote(&out, error, strlen(error), err));
    } else {
        VL2_GOTO(done, status, vl2_buf_addf(&out, err, "null"));
    }
    VL2_GOTO(done, status, vl2_buf_addf(&out, err, "}\n"));
    status = cli_results_append(&b->results, out.data, out.size, err);
done:
    vl2_buf_free(&out);
    return status;
}

static void empty_slot(batch *b, slot *s) {
    b->reserved -= s->reserved;
    b->n_used -= s->used;
    vl2_session_free(s->session);
    cli_turn_free(&s->turn);
    vl2_prompt_free(s->prompt);
    cli_conversation_free(&s->conversation);
    vl2_mem_free(s->id);
    *s = (slot){0};
}

/* A conversation that cannot be answered is a line in OUT, and no reason to stop the others. */
static vl2_status reject(batch *b, slot *s, const vl2_error *why, vl2_error *err) {
    b->failed++;
    vl2_status status = write_line(b, s->id, NULL, NULL, 0, why->text, err);
    empty_slot(b, s);
    return status;
}

static vl2_status complete(batch *b, slot *s, vl2_error *err) {
    vl2_error why = {0};
    vl2_box *boxes = NULL;
    size_t n = 0, image = 0;
    const vl2_picture *picture = cli_conversation_last_picture(&s->conversation, &image);
    vl2_status status = cli_turn_finish(&s->turn, &why);
    if (status == VL2_OK && picture) {
        status = cli_turn_boxes(&boxes, &n, &s->turn, image, picture, &why);
    }
    if (status != VL2_OK) return reject(b, s, &why, err);
    status = write_line(b, s->id, &s->turn, boxes, n, NULL, err);
    vl2_free(boxes);
    empty_slot(b, s);
    b->answered++;
    return status;
}

/* ---- joining ---------------------------------------------------------------------------------------- */

/* The line's id as JSON text: a string or an integer; without one, "line N". */
static vl2_status read_id(char **out, const vl2_json *line, size_t number, vl2_error *err) {
    const vl2_json *id = vl2_json_get(line, "id");
    vl2_buf text = {0};
    size_t size = 0;
    const char *string = vl2_json_text(id, &size);
    vl2_status status = VL2_OK;
    if (string) {
        status = vl2_json_quote(&text, string, size, err);
    } else if (vl2_json_kind_of(id) == VL2_JSON_INT) {
        status = vl2_buf_addf(&text, err, "%" PRId64, vl2_json_int(id));
    } else {
        status = vl2_buf_addf(&text, err, "\"line %zu\"", number);
    }
    if (status == VL2_OK) status = vl2_buf_detach(&text, out, NULL, err);
    vl2_buf_free(&text);
    return status;
}

/* Everything of a line before its first step, in the order in which it is cheap to refuse. */
static vl2_status prepare(batch *b, slot *s, const vl2_json *line, vl2_error *err) {
    char where[64];
    size_t n = 0;
    snprintf(where, sizeof where, "line %zu", b->line_number);
    vl2_json_kind id = vl2_json_kind_of(vl2_json_get(line, "id"));
    if (vl2_json_kind_of(line) != VL2_JSON_OBJECT) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: expected {\"id\", \"messages\"}", where);
    }
    if (id != VL2_JSON_STRING && id != VL2_JSON_INT && id != VL2_JSON_ABSENT) {
        return vl2_fail(err, VL2_ERR_FORMAT, "%s: \"id\" must be a string or an integer", where);
    }
    const vl2_json *messages = vl2_json_get(line, "messages");
    if (!messages) return vl2_fail(err, VL2_ERR_FORMAT, "%s: \"messages\" is missing", where);
    vl2_picture_options_init(&s->conversation.picture_options);
    s->conversation.picture_options.apply_exif = b->options->exif;
    VL2_TRY(cli_conversation_parse(&s->conversation, messages, where, b->folder, err));
    VL2_TRY(cli_conversation_add_system(&s->conversation, b->options->system, err));
    VL2_TRY(cli_conversation_prompt(&s->prompt, &s->conversation, b->engine, false, err));
    VL2_TRY(vl2_session_create(&s->session, b->engine, err));
    VL2_TRY(vl2_session_feed_prompt(s->session, s->prompt, 0, err));
    VL2_TRY(cli_turn_start(&s->turn, b->engine, s->prompt, &b->answer, err));
    vl2_prompt_ids(s->prompt, &n);
    s->reserved = (n + s->turn.max_tokens + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK;
    if (s->reserved > b->pool) {
        size_t reserved = s->reserved;
        s->reserved = 0;
        return vl2_fail(
            err, VL2_ERR_KV_FULL,
            "%s: prompt and answer may take %zu tokens, over the %zu there is room for; "
            "--ctx-size %zu makes room",
            where, reserved, b->pool, reserved);
    }
    b->reserved += s->reserved;
    return VL2_OK;
}

/* One line into `waiting`; it stays empty where there is nothing to do for it. */
static vl2_status read_line(batch *b, size_t size, vl2_error *err) {
    vl2_error why = {0};
    vl2_json_doc *doc = NULL;
    slot *s = &b->waiting;
    bool is_new = true;
    vl2_status fate = vl2_json_parse(&doc, b->line, size, b->in_name, &why);
    const vl2_json *line = fate == VL2_OK ? vl2_json_root(doc) : NULL;
    vl2_status status = read_id(&s->id, line, b->line_number, err);
    if (status == VL2_OK) status = cli_results_add_id(&b->seen, s->id, &is_new, err);
    if (status == VL2_OK && (!is_new || cli_results_has(&b->results, s->id))) {
        if (!is_new) {
            cli_terminal_say("%s: line %zu has the id %s of an earlier line; left out", b->in_name,
                             b->line_number, s->id);
            b->failed++;
        } else {
            b->skipped++;
        }
        empty_slot(b, s);
    } else if (status == VL2_OK) {
        if (fate == VL2_OK) fate = prepare(b, s, line, &why);
        if (fate != VL2_OK) status = reject(b, s, &why, err);
    }
    vl2_json_free(doc);
    return status;
}

/* Reads lines until one is waiting, or the end. */
static vl2_status read_waiting(batch *b, vl2_error *err) {
    while (!b->waiting.id && !b->at_end && !cli_terminal_interrupted()) {
        size_t size = 0;
        if (!cli_jsonl_next(b->in, &b->line, &b->line_room, &size, b->in_name, err)) {
            b->at_end = true;
            return err->status;
        }
        b->line_number++;
        if (size) VL2_TRY(read_line(b, size, err));
        size_t done = b->answered + b->failed + b->skipped;
        cli_progress_show("batch", done, b->total, "lines");
    }
    return VL2_OK;
}

/* A Ctrl-C on the way is no failure of the conversation: its line is read again the next time. */
static vl2_status encode(batch *b, slot *s, vl2_error *err) {
    vl2_error stop = {0};
    vl2_prompt_set_poll(s->prompt, cli_terminal_poll, NULL);
    vl2_status status = vl2_prompt_encode(s->prompt, b->engine, 0, NULL, &stop);
    if (status == VL2_OK || status == VL2_ERR_CANCELLED) return VL2_OK;
    return vl2_fail(err, status, "%s", stop.text);
}

/* Fills free slots, as far as the KV pool surely has room to the end of every answer. */
static vl2_status join(batch *b, vl2_error *err) {
    while (b->n_used < b->options->parallel && !cli_terminal_interrupted()) {
        slot *s = b->slots;
        vl2_error why = {0};
        VL2_TRY(read_waiting(b, err));
        if (!b->waiting.id || (b->n_used && b->reserved > b->pool)) return VL2_OK;
        while (s->used) s++;
        *s = b->waiting;
        b->waiting = (slot){0};
        s->used = true;
        s->order = b->joined++;
        b->n_used++;
        if (encode(b, s, &why) != VL2_OK) VL2_TRY(reject(b, s, &why, err));
    }
    return VL2_OK;
}

/* ---- stepping --------------------------------------------------------------------------------------- */

static size_t plan_step(const batch *b, vl2_step *steps, slot **stepped) {
    const slot *reading = NULL; /* the oldest whose prompt is not through */
    size_t n = 0;
    for (size_t i = 0; i < b->options->parallel; i++) {
        const slot *s = &b->slots[i];
        if (s->used && !s->turn.n_ids && (!reading || s->order < reading->order)) reading = s;
    }
    for (size_t i = 0; i < b->options->parallel; i++) {
        slot *s = &b->slots[i];
        if (!s->used || (!s->turn.n_ids && s != reading)) continue;
        size_t pending = vl2_session_pending(s->session);
        steps[n].session = s->session;
        steps[n].n_tokens = pending < b->chunk ? pending : b->chunk;
        stepped[n++] = s;
    }
    return n;
}

static vl2_status step(batch *b, vl2_step *steps, slot **stepped, vl2_error *err) {
    size_t n = plan_step(b, steps, stepped);
    vl2_error stop = {0};
    vl2_status status = vl2_batch_step(b->steps, steps, n, &stop);
    if (status == VL2_ERR_CANCELLED) return VL2_OK;
    if (status != VL2_OK) return vl2_fail(err, status, "%s", stop.text);
    for (size_t i = 0; i < n; i++) {
        slot *s = stepped[i];
        vl2_error why = {0};
        if (vl2_session_pending(s->session)) continue;
        if (cli_turn_take(&s->turn, s->session, &why) != VL2_OK) {
            VL2_TRY(reject(b, s, &why, err));
        } else if (s->turn.done) {
            VL2_TRY(complete(b, s, err));
        }
    }
    return VL2_OK;
}

static vl2_status run_all(batch *b, vl2_error *err) {
    size_t n = b->options->parallel;
    vl2_step *steps = vl2_mem_calloc(n, sizeof *steps);
    slot **stepped = vl2_mem_calloc(n, sizeof *stepped);
    vl2_status status = VL2_OK;
    if (!steps || !stepped) status = vl2_fail_memory(err, "a step", n * sizeof *steps);
    while (status == VL2_OK && !cli_terminal_interrupted()) {
        status = join(b, err);
        if (status != VL2_OK || cli_terminal_interrupted()) break;
        if (!b->n_used && !b->waiting.id) {
            if (b->at_end) break;
            continue;
        }
        if (b->n_used) status = step(b, steps, stepped, err);
        cli_progress_show("batch", b->answered + b->failed + b->skipped, b->total, "lines");
    }
    vl2_mem_free(steps);
    vl2_mem_free(stepped);
    return status;
}

/* ---- beginning and end ------------------------------------------------------------------------------- */

static vl2_status open_input(batch *b, const char *path, vl2_error *err) {
    struct stat in, out;
    const char *to = b->options->output;
    if (!strcmp(path, "-")) {
        b->in = stdin;
        b->in_name = "standard input";
        return vl2_path_folder(&b->folder, ".", err);
    }
    b->in_name = path;
    b->in = fopen(path, "rb");
    if (!b->in) return vl2_fail(err, VL2_ERR_IO, "%s: %s", path, strerror(errno));
    if (stat(path, &in) == 0 && stat(to, &out) == 0 && S_ISREG(in.st_mode) &&
        in.st_dev == out.st_dev && in.st_ino == out.st_ino) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "-o %s is the file of the questions", to);
    }
    b->total = cli_jsonl_count(path);
    return vl2_path_folder(&b->folder, path, err);
}

static vl2_status open_engine(batch *b, vl2_error *err) {
    const cli_options *o = b->options;
    size_t room = o->ctx_size > POOL_TOKENS ? o->ctx_size : POOL_TOKENS;
    VL2_TRY(cli_models_open(&b->engine, o, room, NULL, err));
    cli_terminal_keep();
    size_t ctx = vl2_engine_info(b->engine)->ctx_tokens;
    b->pool = vl2_engine_info(b->engine)->kv_tokens;
    b->chunk = o->chunk_size && o->chunk_size < ctx ? o->chunk_size : ctx;
    cli_turn_options(&b->answer, o);
    VL2_TRY(vl2_batch_create(&b->steps, b->engine, b->chunk + o->parallel, o->parallel, err));
    vl2_batch_set_poll(b->steps, cli_terminal_poll, NULL);
    return o->imatrix ? vl2_dev_calibration_begin(&b->calibration, b->engine, err) : VL2_OK;
}

/* That a file can be written there, before hours of work are in it. */
static vl2_status check_target(const char *path, vl2_error *err) {
    vl2_writer writer;
    VL2_TRY(vl2_writer_open(&writer, path, err));
    vl2_writer_abort(&writer);
    return VL2_OK;
}

static vl2_status begin(batch *b, vl2_error *err) {
    const cli_options *o = b->options;
    VL2_TRY(open_input(b, o->arguments.items[0], err));
    if (o->imatrix) VL2_TRY(check_target(o->imatrix, err));
    VL2_TRY(cli_results_open(&b->results, o->output, err));
    if (b->results.repaired && !o->quiet) {
        cli_terminal_say(
            "%s: cut off a torn last line of %zu bytes; its conversation is answered anew",
            o->output, b->results.repaired);
    }
    b->slots = vl2_mem_calloc(o->parallel, sizeof *b->slots);
    if (!b->slots) return vl2_fail_memory(err, "slots", o->parallel * sizeof *b->slots);
    return open_engine(b, err);
}

static void say_end(const batch *b) {
    cli_progress_hide();
    if (b->options->quiet) return;
    cli_terminal_say("%zu answered, %zu failed, %zu were there already%s", b->answered, b->failed,
                     b->skipped,
                     cli_terminal_interrupted() ? "; the same command goes on from here" : "");
}

static void free_all(batch *b) {
    for (size_t i = 0; b->slots && i < b->options->parallel; i++) empty_slot(b, &b->slots[i]);
    empty_slot(b, &b->waiting);
    vl2_mem_free(b->slots);
    vl2_mem_free(b->folder);
    free(b->line);
    if (b->in && b->in != stdin) fclose(b->in);
    cli_results_close(&b->seen, NULL);
    vl2_batch_free(b->steps);
    vl2_dev_calibration_end(b->calibration);
    vl2_engine_close(b->engine);
}

int cli_batch_main(cli_options *options) {
    batch b = {.options = options, .results = {.fd = -1}, .seen = {.fd = -1}};
    vl2_error err = {0};
    int status = 0;
    if (!options->output) {
        return cli_main_usage("batch", "where should the answers go? -o OUT.jsonl");
    }
    vl2_status result = begin(&b, &err);
    bool begun = result == VL2_OK;
    if (begun) result = run_all(&b, &err);
    if (result == VL2_OK && b.calibration && !cli_terminal_interrupted())
        result = vl2_dev_calibration_write(b.calibration, options->imatrix, &err);
    vl2_status closed = cli_results_close(&b.results, &err);
    if (result == VL2_OK) result = closed;
    if (begun) say_end(&b);
    if (result != VL2_OK) status = cli_main_fail("batch", &err);
    if (status == 0 && b.failed) status = CLI_FAILED;
    if (cli_terminal_interrupted()) status = CLI_INTERRUPTED;
    free_all(&b);
    return status;
}
