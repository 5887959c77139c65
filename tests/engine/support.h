/* tests/engine/support.h - fixtures of the engine's tests: goldens, conversations, engines. */
#ifndef VL2_TESTS_ENGINE_SUPPORT_H
#define VL2_TESTS_ENGINE_SUPPORT_H

#include "vl2/vl2.h"
#include "vl2/vl2_dev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

enum { MAX_PATH_SIZE = 512, MAX_CASES = 256, MAX_MESSAGES = 16, MAX_PICTURES = 16 };

typedef struct golden_case {
    char model[MAX_PATH_SIZE];        /* the checkpoint's folder */
    char conversation[MAX_PATH_SIZE]; /* …/golden/CASE.json */
    char trace[MAX_PATH_SIZE];        /* …/golden/CASE.safetensors */
    char name[128];                   /* "mini-tiny/one_image" */
} golden_case;

/* All cases of a folder of checkpoints, sorted by name; 0 when it is not there. */
size_t find_goldens(golden_case *out, size_t room, const char *folder);
/* The case of tests/golden with that name; fails the test when there is none. */
golden_case golden_named(const char *name);

typedef struct conversation {
    vl2_message messages[MAX_MESSAGES];
    const vl2_picture *pictures[MAX_PICTURES];
    size_t n_messages, n_pictures;
} conversation;

void read_conversation(conversation *out, const char *path);
void free_conversation(conversation *c);

/* Both fail the test with the error's line. */
vl2_engine *open_engine(const char *model, vl2_compute compute, int threads, const char *level);
vl2_prompt *open_prompt(vl2_engine *engine, const char *conversation_path);
vl2_prompt *text_prompt(vl2_engine *engine, const char *text);

/* The 24 greedy ids of a golden (fewer if eos came); returns how many. */
size_t golden_ids(int32_t *out, size_t room, const golden_case *c);

/* vl2_status `call` with the error object `e` must succeed, or the test ends with its line. */
#define must(e, call)                                                                              \
    do {                                                                                           \
        if ((call) != VL2_OK) fail_msg("%s: %s", #call, (e).text);                                 \
    } while (0)

#endif
