/* vl2 chat: a conversation in the terminal. */
#include "commands.h"
#include "conversation.h"
#include "line.h"
#include "models.h"
#include "talk.h"
#include "terminal.h"

#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct chat {
    cli_options *options;
    vl2_engine *engine;
    cli_talk talk;
    cli_conversation conversation;
    cli_conversation draft; /* one message: pictures for the next question */
    char *kept[64];         /* values that /set gave; the options point to them */
    size_t n_kept;
    bool ends;
    vl2_error write_error;
} chat;

static const char *const HELP =
    "  /image PATH    a picture for the next question; dropping a file on the terminal does it too\n"
    "  /retry         answer the last question again\n"
    "  /undo          take back the last question and its answer\n"
    "  /clear         begin anew\n"
    "  /save FILE     write the conversation, for `vl2 run --conversation FILE`\n"
    "  /set           show the settings; /set NAME VALUE changes one (temperature, max-tokens, …)\n"
    "  /help          this list\n"
    "  /quit          end (so does Ctrl-D)\n"
    "A line that ends in \\ goes on in the next. Ctrl-C stops an answer and keeps what was said.\n"
    "<|ref|>what<|/ref|> asks where something is; <|grounding|> in front asks for boxes in the answer.";

/* ---- answering ------------------------------------------------------------------------------------- */

static int show(void *user, const char *text, size_t size) {
    chat *c = user;
    return cli_terminal_write(text, size, &c->write_error) != VL2_OK;
}

static vl2_status say_boxes(chat *c, const cli_turn *turn, vl2_error *err) {
    size_t image = 0, n = 0;
    vl2_box *boxes = NULL;
    const vl2_picture *picture = cli_conversation_last_picture(&c->conversation, &image);
    if (!picture) return VL2_OK;
    VL2_TRY(cli_turn_boxes(&boxes, &n, turn, image, picture, err));
    for (size_t i = 0; i < n && !c->options->quiet; i++) {
        const vl2_box *b = &boxes[i];
        cli_terminal_note("  %s: x %d to %d, y %d to %d of picture %zu", b->label, b->box[0],
                          b->box[2], b->box[1], b->box[3], b->image + 1);
    }
    vl2_free(boxes);
    return VL2_OK;
}

static void say_speed(const chat *c, const cli_turn *turn) {
    double tokens = (double)turn->usage.completion_tokens;
    if (c->options->quiet || !(c->options->verbose || cli_terminal_is_err())) return;
    cli_terminal_note("  %zu new prompt token%s in %.1f s (%zu known), answer at %.1f tokens/s",
                      c->talk.computed, c->talk.computed == 1 ? "" : "s", c->talk.prefill_ms / 1e3,
                      c->talk.reused, c->talk.decode_ms > 0 ? tokens / c->talk.decode_ms * 1e3 : 0);
}

/* What was said becomes a message. An <image> that the model made up is left out: only a user's may
 * stand for a picture. */
static vl2_status add_answer(cli_conversation *talk, const cli_turn *turn, vl2_error *err) {
    static const char TAG[] = "<image>";
    vl2_buf text = {0};
    const char *from = cli_turn_text(turn);
    vl2_status status = VL2_OK;
    for (const char *tag; (tag = strstr(from, TAG)) != NULL && status == VL2_OK;) {
        status = vl2_buf_add(&text, from, (size_t)(tag - from), err);
        from = tag + sizeof TAG - 1;
    }
    if (status == VL2_OK) status = vl2_buf_add(&text, from, strlen(from), err);
    if (status == VL2_OK) {
        status = cli_conversation_add(talk, VL2_ROLE_ASSISTANT, text.data, text.size, err);
    }
    vl2_buf_free(&text);
    return status;
}

static void say_end(const chat *c, const cli_turn *turn) {
    if (c->talk.dropped) {
        cli_terminal_say("the context is full: the %zu oldest turns were dropped", c->talk.dropped);
    }
    if (turn->finish == VL2_FINISH_CANCELLED) cli_terminal_note("  stopped");
    if (turn->finish == VL2_FINISH_LENGTH) {
        cli_terminal_note("  cut off at %zu tokens (/set max-tokens)", turn->n_ids);
    }
}

static vl2_status answer(chat *c, vl2_error *err) {
    vl2_generate_options options;
    cli_turn turn = {0};
    cli_turn_options(&options, c->options);
    options.on_text = show;
    options.user = c;
    cli_terminal_clear();
    VL2_TRY(cli_talk_answer(&turn, &c->talk, &c->conversation, &options, err));
    vl2_status status = cli_terminal_write("\n", 1, err);
    if (status == VL2_OK) {
        status = add_answer(&c->conversation, &turn, err);
    }
    if (status == VL2_OK) status = say_boxes(c, &turn, err);
    if (!c->options->quiet) say_end(c, &turn);
    say_speed(c, &turn);
    cli_terminal_clear();
    cli_turn_free(&turn);
    return status;
}

/* The message that a question makes: the draft's pictures and the text. Where no answer can be had,
 * it is taken back. */
static vl2_status ask(chat *c, const char *text, vl2_error *err) {
    VL2_TRY(cli_conversation_add(&c->conversation, VL2_ROLE_USER, text, strlen(text), err));
    cli_message *question = &c->conversation.messages[c->conversation.n - 1];
    cli_message *draft = &c->draft.messages[0];
    question->pictures = draft->pictures;
    question->paths = draft->paths;
    question->n_pictures = draft->n_pictures;
    draft->pictures = NULL;
    draft->paths = NULL;
    draft->n_pictures = 0;
    vl2_status status = answer(c, err);
    if (status != VL2_OK && c->conversation.messages[c->conversation.n - 1].role == VL2_ROLE_USER) {
        cli_conversation_remove(&c->conversation, c->conversation.n - 1, 1);
    }
    return status;
}

/* ---- pictures -------------------------------------------------------------------------------------- */

/* A path as shells and file managers drop it: quoted, escaped, or file://…%20…; freed by the caller. */
static char *dropped_path(const char *text) {
    size_t n = strlen(text), k = 0;
    char *out = vl2_mem_alloc(n + 1);
    while (n && strchr(" \t\r", text[n - 1])) n--;
    if (!out) return NULL;
    if (n >= 2 && (text[0] == '\'' || text[0] == '"') && text[n - 1] == text[0]) {
        text++;
        n -= 2;
    }
    bool is_url = n > 7 && !strncmp(text, "file://", 7);
    for (size_t i = is_url ? 7 : 0; i < n; i++) {
        char hex[3] = {text[i], i + 2 < n ? text[i + 1] : 0, i + 2 < n ? text[i + 2] : 0};
        if (is_url && hex[0] == '%' && i + 2 < n &&
            strspn(hex + 1, "0123456789abcdefABCDEF") == 2) {
            hex[0] = text[i + 1];
            hex[1] = text[i + 2];
            hex[2] = 0;
            out[k++] = (char)strtol(hex, NULL, 16);
            i += 2;
        } else {
            if (text[i] == '\\' && i + 1 < n) i++;
            out[k++] = text[i];
        }
    }
    out[k] = 0;
    return out;
}

static vl2_status add_image(chat *c, const char *words, vl2_error *err) {
    char *path = dropped_path(words);
    if (!path) return vl2_fail_memory(err, "a path", strlen(words));
    vl2_status status = VL2_ERR_ARGUMENT;
    if (!*path) {
        vl2_fail(err, status, "/image needs a path");
    } else {
        status = cli_conversation_add_picture(&c->draft, path, err);
    }
    const cli_message *draft = &c->draft.messages[0];
    if (status == VL2_OK && !c->options->quiet) {
        const vl2_picture *picture = draft->pictures[draft->n_pictures - 1];
        cli_terminal_note("  picture %zu of the next question: %zu x %zu pixels", draft->n_pictures,
                          vl2_picture_width(picture), vl2_picture_height(picture));
    }
    vl2_mem_free(path);
    return status;
}

/* A line that is nothing but the path of a file was dropped, not said. */
static bool is_dropped(const char *text) {
    if (!strchr("/~.'\"", text[0]) && strncmp(text, "file://", 7)) return false;
    char *path = dropped_path(text);
    bool there = path && vl2_file_exists(path) && !vl2_file_is_folder(path);
    vl2_mem_free(path);
    return there;
}

/* ---- commands -------------------------------------------------------------------------------------- */

static size_t first_message(const cli_conversation *c) {
    return c->n && c->messages[0].role == VL2_ROLE_SYSTEM ? 1 : 0;
}

static void say_done(const chat *c, const char *what) {
    size_t n = c->conversation.n;
    if (!c->options->quiet) {
        cli_terminal_note("  %s; %zu message%s left", what, n, n == 1 ? " is" : "s are");
    }
}

static vl2_status clear(chat *c) {
    size_t first = first_message(&c->conversation);
    if (c->conversation.n > first) {
        cli_conversation_remove(&c->conversation, first, c->conversation.n - first);
    }
    cli_message *draft = &c->draft.messages[0];
    while (draft->n_pictures) {
        draft->n_pictures--;
        vl2_picture_free(draft->pictures[draft->n_pictures]);
        vl2_mem_free(draft->paths[draft->n_pictures]);
    }
    say_done(c, "begun anew");
    return VL2_OK;
}

/* Takes messages off the end until the last is not the assistant's, and one more for an undo. */
static vl2_status undo(chat *c, bool question_too, vl2_error *err) {
    cli_conversation *talk = &c->conversation;
    if (talk->n <= first_message(talk)) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "nothing has been said yet");
    }
    while (talk->n && talk->messages[talk->n - 1].role == VL2_ROLE_ASSISTANT) {
        cli_conversation_remove(talk, talk->n - 1, 1);
    }
    if (question_too && talk->n > first_message(talk)) {
        cli_conversation_remove(talk, talk->n - 1, 1);
        say_done(c, "the last question is taken back");
    }
    return VL2_OK;
}

static vl2_status retry(chat *c, vl2_error *err) {
    VL2_TRY(undo(c, false, err));
    if (c->options->temperature > 0) c->options->seed++; /* the same seed would say the same */
    return answer(c, err);
}

static vl2_status save(chat *c, const char *path, vl2_error *err) {
    vl2_buf text = {0};
    vl2_writer writer;
    if (!*path) return vl2_fail(err, VL2_ERR_ARGUMENT, "/save needs a file's name");
    vl2_status status = cli_conversation_write(&text, &c->conversation, err);
    if (status == VL2_OK) status = vl2_writer_open(&writer, path, err);
    if (status == VL2_OK) {
        status = vl2_writer_add(&writer, text.data, text.size, err);
        if (status == VL2_OK) {
            status = vl2_writer_commit(&writer, err);
        } else {
            vl2_writer_abort(&writer);
        }
    }
    vl2_buf_free(&text);
    if (status == VL2_OK && !c->options->quiet) {
        cli_terminal_note("  %zu messages in %s", c->conversation.n, path);
    }
    return status;
}

static vl2_status set(chat *c, const char *words, vl2_error *err) {
    char name[64];
    size_t n = strcspn(words, " \t=");
    if (!*words) {
        cli_options_show(stderr, c->options);
        return VL2_OK;
    }
    snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), words);
    const char *value = words + n + strspn(words + n, " \t=");
    if (c->n_kept == sizeof c->kept / sizeof *c->kept) {
        return vl2_fail(err, VL2_ERR_LIMIT, "too many settings were changed; begin a new chat");
    }
    char *kept = vl2_mem_strdup(value, strlen(value));
    if (!kept) return vl2_fail_memory(err, "a setting", strlen(value));
    c->kept[c->n_kept++] = kept;
    return cli_options_set(c->options, name, kept, err);
}

static vl2_status command(chat *c, const char *text, vl2_error *err) {
    static const char *const NAMES[] = {"/image", "/retry", "/undo", "/clear",
                                        "/save",  "/set",   "/help", "/quit"};
    size_t n = strcspn(text, " \t"), i = 0;
    const char *words = text + n + strspn(text + n, " \t");
    while (i < 8 && (strlen(NAMES[i]) != n || strncmp(NAMES[i], text, n))) i++;
    switch (i) {
    case 0: return add_image(c, words, err);
    case 1: return retry(c, err);
    case 2: return undo(c, true, err);
    case 3: return clear(c);
    case 4: return save(c, words, err);
    case 5: return set(c, words, err);
    case 6: fprintf(stderr, "%s\n", HELP); return VL2_OK;
    case 7: c->ends = true; return VL2_OK;
    default: break;
    }
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)(n < 31 ? n : 31), text);
    const char *near = cli_options_nearest(name, NAMES, 8);
    return vl2_fail(err, VL2_ERR_ARGUMENT, "there is no %s; %s%s%s", name,
                    near ? "did you mean " : "/help lists what there is", near ? near : "",
                    near ? "?" : "");
}

/* ---- the loop -------------------------------------------------------------------------------------- */

/* The next line, with those that a \ at the end ties to it. */
static cli_line_end read_entry(cli_line *input, vl2_buf *out) {
    const char *text = NULL;
    vl2_buf_clear(out);
    for (;;) {
        cli_line_end end = cli_line_next(input, &text);
        if (end != CLI_LINE_READ) return end;
        size_t n = strlen(text);
        bool goes_on = n && text[n - 1] == '\\';
        if (vl2_buf_add(out, text, goes_on ? n - 1 : n, NULL) != VL2_OK) return CLI_LINE_EOF;
        if (!goes_on) return CLI_LINE_READ;
        if (vl2_buf_add(out, "\n", 1, NULL) != VL2_OK) return CLI_LINE_EOF;
    }
}

static vl2_status entry(chat *c, const char *text, vl2_error *err) {
    text += strspn(text, " \t");
    if (!*text) return VL2_OK;
    if (is_dropped(text)) return add_image(c, text, err);
    if (text[0] == '/') return command(c, text, err);
    return ask(c, text, err);
}

static int talk(chat *c, cli_line *input) {
    vl2_buf text = {0};
    bool interrupted = false;
    int status = 0;
    while (!c->ends) {
        vl2_error err = {0};
        cli_line_end end = read_entry(input, &text);
        if (end == CLI_LINE_EOF) break;
        if (end == CLI_LINE_INTERRUPTED) {
            cli_terminal_clear();
            fputc('\n', stderr);
            if (interrupted || !cli_terminal_is_err()) {
                status = CLI_INTERRUPTED;
                break;
            }
            interrupted = true;
            cli_terminal_note("  once more, or Ctrl-D, to end");
            continue;
        }
        interrupted = false;
        if (entry(c, text.data, &err) != VL2_OK) cli_terminal_error(NULL, err.text);
        if (c->write_error.status != VL2_OK) {
            status = cli_main_fail("chat", &c->write_error);
            break;
        }
    }
    vl2_buf_free(&text);
    return status;
}

static vl2_status begin(chat *c, vl2_error *err) {
    cli_options *o = c->options;
    vl2_picture_options pictures;
    vl2_picture_options_init(&pictures);
    pictures.apply_exif = o->exif;
    c->draft.picture_options = pictures;
    VL2_TRY(cli_conversation_add(&c->draft, VL2_ROLE_USER, "", 0, err));
    VL2_TRY(cli_conversation_add_system(&c->conversation, o->system, err));
    VL2_TRY(cli_models_open(&c->engine, o, 0, NULL, err));
    cli_terminal_keep();
    VL2_TRY(cli_talk_start(&c->talk, c->engine, o->chunk_size, err));
    for (size_t i = 0; i < o->images.n; i++) VL2_TRY(add_image(c, o->images.items[i], err));
    if (!o->quiet && cli_terminal_is_err()) {
        fprintf(stderr, "%s%s%s  /image PATH shows a picture, /help says what else there is\n",
                cli_terminal_bold(), vl2_engine_info(c->engine)->name, cli_terminal_plain());
    }
    return VL2_OK;
}

int cli_chat_main(cli_options *options) {
    static chat c; /* large, and there is one */
    vl2_error err = {0};
    int status = 0;
    c.options = options;
    if (begin(&c, &err) != VL2_OK) {
        status = cli_main_fail("chat", &err);
    } else {
        cli_line *input = cli_line_open();
        if (input) status = talk(&c, input);
        cli_line_close(input);
    }
    cli_talk_free(&c.talk);
    cli_conversation_free(&c.conversation);
    cli_conversation_free(&c.draft);
    for (size_t i = 0; i < c.n_kept; i++) vl2_mem_free(c.kept[i]);
    vl2_engine_close(c.engine);
    return status;
}
