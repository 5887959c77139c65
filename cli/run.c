/* vl2 run: one answer, streamed to stdout. */
#include "commands.h"
#include "conversation.h"
#include "json_out.h"
#include "models.h"
#include "terminal.h"
#include "turn.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct work {
    const cli_options *options;
    cli_conversation conversation;
    vl2_engine *engine;
    vl2_prompt *prompt;
    vl2_answer *answer;
    double load_ms;
    bool wrote; /* something of the answer is on stdout */
    vl2_error write_error;
} work;

/* ---- the question ------------------------------------------------------------------------------- */

static const char *wrong_usage(const cli_options *o) {
    size_t from_stdin = o->conversation && !strcmp(o->conversation, "-");
    for (size_t i = 0; i < o->images.n; i++) from_stdin += !strcmp(o->images.items[i], "-");
    if (o->conversation && (o->arguments.n || o->images.n)) {
        return "--conversation has the question and its pictures; leave out PROMPT and --image";
    }
    if (from_stdin > 1) return "stdin can give one thing only; - is there twice";
    if (!o->conversation && !o->arguments.n && from_stdin) {
        return "stdin gives the picture, so the prompt must be an argument";
    }
    if (!o->conversation && !o->arguments.n && isatty(STDIN_FILENO)) {
        return "what is the question? Write it behind the options, or pipe it in";
    }
    if (o->draw) {
        const char *dot = strrchr(o->draw, '.');
        if (!dot || (strcmp(dot, ".png") && strcmp(dot, ".jpg") && strcmp(dot, ".jpeg"))) {
            return "--draw takes a name that ends in .png, .jpg or .jpeg";
        }
        if (!o->conversation && !o->images.n) return "--draw needs a picture: -i FILE";
    }
    return NULL;
}

static vl2_status add_question(cli_conversation *c, const cli_options *o, vl2_error *err) {
    char *piped = NULL;
    size_t size = 0;
    const char *text = o->arguments.n ? o->arguments.items[0] : NULL;
    if (!text) {
        VL2_TRY(cli_conversation_stdin(&piped, &size, 64 << 20, err));
        text = piped;
    } else {
        size = strlen(text);
    }
    vl2_status status = cli_conversation_add(c, VL2_ROLE_USER, text, size, err);
    vl2_mem_free(piped);
    for (size_t i = 0; i < o->images.n && status == VL2_OK; i++) {
        status = cli_conversation_add_picture(c, o->images.items[i], err);
    }
    return status;
}

static vl2_status read_question(work *w, vl2_error *err) {
    const cli_options *o = w->options;
    cli_conversation *c = &w->conversation;
    vl2_picture_options_init(&c->picture_options);
    c->picture_options.apply_exif = o->exif;
    if (o->conversation) {
        VL2_TRY(cli_conversation_read(c, o->conversation, err));
    } else {
        VL2_TRY(add_question(c, o, err));
    }
    if (o->draw && !cli_conversation_last_picture(c, NULL)) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "--draw: the conversation has no picture");
    }
    return cli_conversation_add_system(c, o->system, err);
}

/* ---- the answer --------------------------------------------------------------------------------- */

static int show(void *user, const char *text, size_t size) {
    work *w = user;
    w->wrote = true;
    return cli_terminal_write(text, size, &w->write_error) != VL2_OK;
}

static vl2_status draw(const work *w, vl2_error *err) {
    size_t n = 0, image = 0;
    const vl2_box *boxes = vl2_answer_boxes(w->answer, &n);
    const vl2_picture *picture = cli_conversation_last_picture(&w->conversation, &image);
    vl2_picture *drawn = NULL;
    if (!n && !w->options->quiet) {
        cli_terminal_say("there are no boxes in the answer; %s is the picture as it was",
                         w->options->draw);
    }
    VL2_TRY(vl2_boxes_draw(&drawn, picture, boxes, n, image, err));
    vl2_status status = vl2_picture_write(drawn, w->options->draw, err);
    vl2_picture_free(drawn);
    return status;
}

/* The library's, and reading the pictures, which happened outside it. */
static vl2_timings timings_of(const work *w) {
    vl2_timings t = vl2_answer_timings(w->answer);
    t.image_ms += w->conversation.picture_ms;
    return t;
}

static void say_timings(const work *w) {
    vl2_timings t = timings_of(w);
    vl2_usage u = vl2_answer_usage(w->answer);
    char pictures[96] = "";
    if (u.image_tokens) {
        snprintf(pictures, sizeof pictures, "pictures %.2f s, ", (t.image_ms + t.vision_ms) / 1e3);
    }
    cli_terminal_note(
        "%s%zu prompt tokens in %.2f s (%.0f/s), %zu tokens of answer in %.2f s (%.1f/s)", pictures,
        u.prompt_tokens, t.prefill_ms / 1e3, t.prefill_tokens_per_s, u.completion_tokens,
        t.decode_ms / 1e3, t.decode_tokens_per_s);
}

static void say_prompt(const work *w) {
    size_t n = 0, n_spans = 0;
    vl2_prompt_ids(w->prompt, &n);
    const vl2_span *spans = vl2_prompt_spans(w->prompt, &n_spans);
    cli_terminal_note("prompt: %zu tokens, %zu of them for %zu picture%s", n,
                      vl2_prompt_image_tokens(w->prompt), n_spans, n_spans == 1 ? "" : "s");
    for (size_t i = 0; i < n_spans; i++) {
        cli_terminal_note(
            "  picture %zu: %zu x %zu pixels in %zu views (%zu x %zu tiles), %zu tokens", i + 1,
            vl2_picture_width(spans[i].picture), vl2_picture_height(spans[i].picture),
            1 + spans[i].tiles_wide * spans[i].tiles_high, spans[i].tiles_wide, spans[i].tiles_high,
            spans[i].n_tokens);
    }
}

static vl2_status write_json(const work *w, vl2_error *err) {
    vl2_buf out = {0};
    vl2_status status = cli_json_out_answer(&out, w->answer, timings_of(w), w->load_ms, err);
    if (status == VL2_OK) status = vl2_buf_addf(&out, err, "\n");
    if (status == VL2_OK) status = cli_terminal_write(out.data, out.size, err);
    vl2_buf_free(&out);
    return status;
}

static vl2_status answer(work *w, vl2_error *err) {
    const cli_options *o = w->options;
    vl2_generate_options options;
    VL2_TRY(read_question(w, err));
    VL2_TRY(cli_models_open(&w->engine, o, 0, &w->load_ms, err));
    VL2_TRY(
        cli_conversation_prompt(&w->prompt, &w->conversation, w->engine, !o->conversation, err));
    if (o->verbose) say_prompt(w);
    cli_turn_options(&options, o);
    options.user = w;
    if (!o->json) options.on_text = show;
    cli_terminal_keep();
    VL2_TRY(vl2_generate(&w->answer, w->engine, w->prompt, &options, err));
    if (w->write_error.status != VL2_OK) {
        return vl2_fail(err, w->write_error.status, "%s", w->write_error.text);
    }
    if (o->json) return write_json(w, err);
    if (!w->wrote && cli_terminal_interrupted()) return VL2_OK;
    return cli_terminal_write("\n", 1, err);
}

int cli_run_main(cli_options *options) {
    work w = {.options = options};
    vl2_error err = {0};
    const char *wrong = wrong_usage(options);
    if (wrong) return cli_main_usage("run", wrong);
    int status = 0;
    vl2_status result = answer(&w, &err);
    if (result == VL2_OK && options->draw) result = draw(&w, &err);
    if (result == VL2_OK && (options->verbose || (cli_terminal_is_err() && !options->quiet))) {
        say_timings(&w);
    }
    if (result != VL2_OK && !cli_terminal_interrupted()) status = cli_main_fail("run", &err);
    if (cli_terminal_interrupted()) status = CLI_INTERRUPTED;
    vl2_answer_free(w.answer);
    vl2_prompt_free(w.prompt);
    cli_conversation_free(&w.conversation);
    vl2_engine_close(w.engine);
    return status;
}
