/* talk.h - a conversation that remembers: each answer computes only what is new.
 *
 * The session keeps the KV cache of what was said. A new prompt is compared with it token by token
 * (and picture by picture: a third picture changes the tiling of the first two), and only what
 * differs is computed again; picture rows that still fit are taken over. */
#ifndef VL2_CLI_TALK_H
#define VL2_CLI_TALK_H

#include "conversation.h"
#include "turn.h"

typedef struct cli_talk {
    vl2_engine *engine;
    vl2_batch *steps;
    vl2_session *session;
    size_t chunk;
    vl2_prompt *prompt; /* the last one; NULL: none yet */
    int32_t *cached;    /* ids in the session's cache */
    size_t n_cached;
    size_t dropped; /* turns that the last answer had to forget */
    double prefill_ms, decode_ms;
    size_t computed, reused; /* tokens of the last prompt */
} cli_talk;

vl2_status cli_talk_start(cli_talk *out, vl2_engine *engine, size_t chunk_size, vl2_error *err);
/* Answers the conversation's last message; the oldest turns are dropped from it where the context
 * cannot hold all. on_text is told what comes. The answer stays in `turn` (cli_turn_free); a Ctrl-C
 * ends it early, with finish CANCELLED. */
vl2_status cli_talk_answer(cli_turn *turn, cli_talk *talk, cli_conversation *conversation,
                           const vl2_generate_options *options, vl2_error *err);
void cli_talk_free(cli_talk *talk);

#endif
