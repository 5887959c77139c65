/* turn.h - one answer in the making, token by token: what chat and batch do between steps.
 *
 * The caller owns prompt and session, encodes, feeds and steps; after each step that leaves nothing
 * pending it calls cli_turn_take, which samples, says what may be shown and queues the token. */
#ifndef VL2_CLI_TURN_H
#define VL2_CLI_TURN_H

#include "base/buf.h"
#include "options.h"

typedef struct cli_turn {
    vl2_engine *engine;
    vl2_sampler *sampler;
    vl2_stream *stream;
    vl2_buf text; /* as it came */
    size_t shown; /* bytes of it that were shown */
    int32_t *ids; /* generated, without the eos */
    size_t n_ids, max_tokens;
    vl2_usage usage;
    vl2_finish finish;
    bool done;
} cli_turn;

/* How answers are made, from the options; `out` borrows their texts. */
void cli_turn_options(vl2_generate_options *out, const cli_options *options);
/* max_tokens is cut to what the context leaves. */
vl2_status cli_turn_start(cli_turn *out, vl2_engine *engine, const vl2_prompt *prompt,
                          const vl2_generate_options *options, vl2_error *err);
vl2_status cli_turn_take(cli_turn *turn, vl2_session *session, vl2_error *err);
/* Text that came since the last call and may be shown; white space at its end waits. */
const char *cli_turn_news(cli_turn *turn, size_t *size);
/* Ends the stream; white space at the text's end goes. */
vl2_status cli_turn_finish(cli_turn *turn, vl2_error *err);
const char *cli_turn_text(const cli_turn *turn); /* the whole answer, stripped at both ends */
/* The answer's boxes on picture `image` of that size; *out is freed with vl2_free. */
vl2_status cli_turn_boxes(vl2_box **out, size_t *n, const cli_turn *turn, size_t image,
                          const vl2_picture *picture, vl2_error *err);
void cli_turn_free(cli_turn *turn);

#endif
