/* vl2 trace: every stage's numbers of one conversation, in a safetensors file. */
#include "commands.h"
#include "conversation.h"
#include "models.h"
#include "turn.h"
#include "vl2/vl2_dev.h"

#include "base/err.h"

#include <string.h>

static vl2_status trace(const cli_options *o, vl2_engine **engine, vl2_prompt **prompt,
                        cli_conversation *conversation, vl2_error *err) {
    vl2_dev_trace_options options;
    vl2_dev_trace_options_init(&options);
    options.greedy = o->greedy;
    options.chunk_tokens = o->chunk_size;
    options.all_positions = o->positions && !strcmp(o->positions, "all");
    vl2_picture_options_init(&conversation->picture_options);
    conversation->picture_options.apply_exif = o->exif;
    VL2_TRY(cli_conversation_read(conversation, o->conversation, err));
    VL2_TRY(cli_models_open(engine, o, 0, NULL, err));
    VL2_TRY(cli_conversation_prompt(prompt, conversation, *engine, false, err));
    return vl2_dev_trace(o->output, *engine, *prompt, &options, err);
}

int cli_trace_main(cli_options *options) {
    cli_conversation conversation = {0};
    vl2_engine *engine = NULL;
    vl2_prompt *prompt = NULL;
    vl2_error err = {0};
    if (!options->conversation) return cli_main_usage("trace", "--conversation FILE is missing");
    if (!options->output) return cli_main_usage("trace", "-o OUT.safetensors is missing");
    vl2_status status = trace(options, &engine, &prompt, &conversation, &err);
    vl2_prompt_free(prompt);
    cli_conversation_free(&conversation);
    vl2_engine_close(engine);
    return status == VL2_OK ? 0 : cli_main_fail("trace", &err);
}
