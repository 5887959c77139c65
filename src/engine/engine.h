/* engine/engine.h - what the files of this room share: the objects behind vl2.h.
 *
 *   engine.c    open, close, info            prompt.c    messages -> ids, spans, rows
 *   rows.c      views -> a picture's rows    session.c   a timeline: KV cache and queue
 *   batch.c     one step of many sessions    generate.c  all of it in one call
 *   answer.c    what came out                text.c      tokenizer and streams, in public
 *   trace.c dummy.c dev.c calibrate.c quantizer.c   vl2_dev.h
 *
 * This room alone wires stages together. */
#ifndef VL2_ENGINE_ENGINE_H
#define VL2_ENGINE_ENGINE_H

#include "backend/ops.h"
#include "base/tap.h"
#include "lang/decoder.h"
#include "model/weights.h"
#include "output/stream.h"
#include "prompt/tokenizer.h"
#include "vision/int8.h"
#include "vision/projector.h"
#include "vision/siglip.h"

/* Scratch of the vision side for one view at a time; taken at the first picture. */
typedef struct vl2_view_scratch {
    vl2_arena arena;
    vl2_siglip_scratch siglip;
    vl2_projector_scratch projector;
    float *feat; /* [G*G,Dv] */
    float *rows; /* [g*g,D] */
} vl2_view_scratch;

struct vl2_engine {
    vl2_config config;
    vl2_checkpoint *checkpoint; /* NULL with made-up weights */
    vl2_weights weights;
    void *int8; /* weights of the vision tower as bytes, or NULL */
    size_t int8_bytes;
    vl2_tokenizer *tokenizer; /* NULL with made-up weights */
    vl2_backend *be;
    vl2_kv_pool *kv;
    vl2_view_scratch views;
    size_t ctx_tokens, kv_tokens;
    vl2_info info;
    char *name;
    vl2_log_fn log;
    void *log_user;
    vl2_progress_fn progress;
    void *progress_user;
};

/* The part of opening that does not depend on where the weights come from: backend, KV pool, info. */
vl2_status vl2_engine_start(vl2_engine *engine, const vl2_engine_options *options, const char *name,
                            vl2_error *err);
/* Options as given or the defaults, checked. */
vl2_status vl2_engine_options_read(vl2_engine_options *out, const vl2_engine_options *options,
                                   vl2_error *err);
void vl2_engine_log(const vl2_engine *engine, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The last part of a path, without slashes or .gguf at its end (vl2_mem_free). */
vl2_status vl2_engine_base_name(char **out, const char *path, vl2_error *err);
void vl2_engine_progress(const vl2_engine *engine, const char *stage, size_t done, size_t total);
/* The tokenizer, or an error that says why there is none. */
vl2_status vl2_engine_tokenizer(const vl2_tokenizer **out, const vl2_engine *engine,
                                vl2_error *err);
/* Milliseconds of a clock that only moves forward. */
double vl2_engine_clock_ms(void);

/* Bytes of the scratch of one view; and its taking, once. */
size_t vl2_rows_plan(const vl2_config *config);
vl2_status vl2_rows_scratch(vl2_engine *engine, vl2_error *err);

struct vl2_rows {
    _Atomic size_t references;
    size_t n, width;
    float *data; /* [n,width] */
};

/* A picture on its way to rows. */
typedef struct vl2_encoding {
    vl2_rows *rows; /* NULL: none begun */
    uint8_t *tiles; /* u8 [n_views,3,S,S] */
    size_t n_views, next;
} vl2_encoding;

typedef struct vl2_encode_times {
    double image_ms, vision_ms;
} vl2_encode_times;

typedef struct vl2_encode_request {
    size_t max_views;   /* 0: all */
    const vl2_tap *tap; /* maybe NULL; else shown "vision" and "projector" of every picture */
    /* maybe NULL; else told the views u8 [n_views,3,S,S] of each picture before they are encoded */
    void (*on_tiles)(void *user, size_t span, const uint8_t *tiles, size_t n_views);
    void *user;
    int (*poll)(void *user); /* maybe NULL; else asked within each view: not 0 cancels */
    void *poll_user;
} vl2_encode_request;

/* With the picture's views where they are made already (then *tiles is taken and NULL), else these are
 * made by the engine's threads. */
vl2_status vl2_rows_begin(vl2_encoding *out, vl2_engine *engine, const vl2_span *span,
                          uint8_t **tiles, vl2_error *err);
/* The next view through the tower and the projector, into its places. After VL2_ERR_CANCELLED it is
 * still the next one. */
vl2_status vl2_rows_next_view(vl2_encoding *encoding, vl2_engine *engine, const vl2_span *span,
                              const vl2_encode_request *request, vl2_error *err);
void vl2_rows_abandon(vl2_encoding *encoding);

struct vl2_prompt {
    const vl2_engine *engine;
    int32_t *ids; /* [n_ids] */
    size_t n_ids, image_tokens;
    vl2_span *spans; /* [n_spans] */
    vl2_rows **rows; /* [n_spans], NULL until encoded */
    uint8_t **tiles; /* [n_spans], views that were made ahead; else NULL */
    size_t n_spans;
    size_t n_skipped; /* first tokens that are in a cache already */
    vl2_encoding now; /* of the first span without rows */
    vl2_poll_fn poll; /* of vl2_prompt_encode; maybe NULL */
    void *poll_user;
    vl2_encode_times times;
};

vl2_status vl2_prompt_encode_views(vl2_prompt *prompt, vl2_engine *engine,
                                   const vl2_encode_request *request, size_t *left, vl2_error *err);
/* Drops all rows, so that the next encoding makes every one. */
void vl2_prompt_forget_rows(vl2_prompt *prompt);
/* ERR_CONTEXT that says what text and each picture take, unless `used` + the prompt's tokens from
 * `first` on fit the context. */
vl2_status vl2_prompt_fits(const vl2_prompt *prompt, size_t first, size_t used, vl2_error *err);
/* out[i] = the embedding of token first + i: rows of D floats. ERR_ARGUMENT at an <image> whose
 * picture is not encoded. */
vl2_status vl2_prompt_embed(float *out, const vl2_prompt *prompt, vl2_engine *engine, size_t first,
                            size_t n, vl2_error *err);

/* vl2_tokenize and vl2_detokenize of a tokenizer by itself; *out is the caller's (vl2_free). */
vl2_status vl2_text_encode(int32_t **out, size_t *n, const vl2_tokenizer *tokenizer,
                           const char *text, size_t size, vl2_error *err);
vl2_status vl2_text_decode(char **out, size_t *size, const vl2_tokenizer *tokenizer,
                           const int32_t *ids, size_t n, bool skip_special, vl2_error *err);

/* A piece of a session's queue: tokens [next, end) of a prompt, or one id. */
typedef struct vl2_feed {
    const vl2_prompt *prompt; /* NULL: the token `id` */
    size_t next, end;
    int32_t id;
} vl2_feed;

struct vl2_session {
    vl2_engine *engine;
    vl2_kv_seq kv;
    size_t rope_length; /* T of the dynamic rope form: the longest prompt fed */
    vl2_feed *queue;    /* [head, tail) of room */
    size_t head, tail, room;
    size_t pending;
    float *logits; /* [V] */
    bool has_logits;
};

/* A trace's share in a step of one session: more output rows, and a tap. */
typedef struct vl2_step_watch {
    const vl2_tap *tap;
    size_t n_out;  /* last rows that go through norm and head */
    float *logits; /* [n_out,V] */
} vl2_step_watch;

/* vl2_batch_step with a caller that may cancel, and an observer (with one session only). */
vl2_status vl2_batch_run(vl2_batch *batch, const vl2_step *steps, size_t n_steps,
                         const vl2_step_watch *watch, int (*poll)(void *user), void *user,
                         vl2_error *err);

#endif
