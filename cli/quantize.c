/* vl2 quantize: a model as a GGUF file, its weights in another type. */
#include "clock.h"
#include "commands.h"
#include "models.h"
#include "progress.h"
#include "terminal.h"
#include "vl2/vl2_dev.h"

#include "base/err.h"
#include "base/mem.h"

#include <string.h>
#include <sys/stat.h>

static int stopped(void *user) {
    (void)user;
    return cli_terminal_interrupted();
}

static void say_done(const char *target, double ms) {
    struct stat file;
    if (stat(target, &file) != 0) return;
    cli_terminal_note("%s: %.1f MB in %.1f s", target, (double)file.st_size * 1e-6, ms * 1e-3);
}

static vl2_status quantize(const cli_options *o, const char *target, vl2_error *err) {
    vl2_dev_quantize_options options;
    char *path = NULL;
    double begun = cli_clock_ms();
    vl2_dev_quantize_options_init(&options);
    if (o->type) options.type = o->type;
    options.vision_type = o->vision_type;
    options.tensors = o->tensor.items;
    options.n_tensors = o->tensor.n;
    options.mmproj = o->mmproj;
    options.imatrix = o->imatrix;
    options.threads = (int)o->threads;
    options.poll = stopped;
    if (!o->quiet) options.progress = cli_progress_stage;
    if (o->half && !strcmp(o->half, "text")) options.half = VL2_DEV_TEXT_HALF;
    if (o->half && !strcmp(o->half, "vision")) options.half = VL2_DEV_VISION_HALF;
    VL2_TRY(cli_models_find(&path, o->arguments.items[0], err));
    vl2_status status = vl2_dev_quantize(path, target, &options, err);
    cli_progress_hide();
    vl2_mem_free(path);
    if (status == VL2_OK && !o->quiet) say_done(target, cli_clock_ms() - begun);
    return status;
}

int cli_quantize_main(cli_options *options) {
    const char *target = options->arguments.items[1];
    size_t size = strlen(target);
    vl2_error err = {0};
    if (size <= 5 || strcmp(target + size - 5, ".gguf") != 0)
        return cli_main_usage("quantize", "the second name is that of the new file, and ends in "
                                          ".gguf");
    vl2_status status = quantize(options, target, &err);
    if (status == VL2_ERR_CANCELLED) return CLI_INTERRUPTED;
    return status == VL2_OK ? 0 : cli_main_fail("quantize", &err);
}
