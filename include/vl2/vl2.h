/* vl2.h - DeepSeek-VL2 on ordinary computers: the public interface of libvl2.
 *
 * A worked example:
 *
 *     vl2_engine *engine = NULL;
 *     vl2_picture *photo = NULL;
 *     vl2_prompt *prompt = NULL;
 *     vl2_answer *answer = NULL;
 *     vl2_error err = {0};
 *     bool ok = vl2_engine_open(&engine, "deepseek-vl2-tiny", NULL, &err) == VL2_OK &&
 *               vl2_picture_open(&photo, "photo.jpg", NULL, &err) == VL2_OK;
 *     const vl2_picture *pictures[] = {photo};
 *     vl2_message ask = {.role = VL2_ROLE_USER, .text = "<image>\nWhat is this?", .text_size = 21,
 *                        .pictures = pictures, .n_pictures = 1};
 *     ok = ok && vl2_prompt_build(&prompt, engine, &ask, 1, NULL, &err) == VL2_OK &&
 *          vl2_generate(&answer, engine, prompt, NULL, &err) == VL2_OK;
 *     puts(ok ? vl2_answer_text(answer) : err.text);
 *     vl2_answer_free(answer);
 *     vl2_prompt_free(prompt);
 *     vl2_picture_free(photo);
 *     vl2_engine_close(engine);
 *
 * Rules. Texts are UTF-8. A function that can fail returns a vl2_status; on failure its outputs are
 * untouched (an `out` object is not created) and `err`, which may be NULL, holds one line that names
 * the file, tensor, field or option. What an `out` gives is the caller's, freed by the *_free named
 * after its type (NULL is fine), bare memory by vl2_free; what a call returns directly is borrowed and
 * lives as long as the object that was asked. Texts and ids that are passed in are copied where they
 * are kept. Options: call the *_init function, change what you want; NULL means the defaults. The
 * library never exits, prints, reads the environment or keeps state outside its objects; several
 * engines may live in one process.
 * Threads: what computes or holds a KV cache (encode, sessions, batches, generate) is used from one
 * thread at a time per engine. Pictures, vl2_prompt_build and _cut, tokenizing, streams, samplers and
 * vl2_engine_info only read the engine: any thread may use them meanwhile, each object one at a time. */
#ifndef VL2_VL2_H
#define VL2_VL2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(VL2_SHARED) && defined(__GNUC__)
#define VL2_API __attribute__((visibility("default")))
#else
#define VL2_API
#endif

#define VL2_VERSION_MAJOR 0
#define VL2_VERSION_MINOR 1
#define VL2_VERSION_PATCH 0

/* ---- errors ---------------------------------------------------------------------------------- */

#define VL2_STATUS_MAP(X)                                                                          \
    X(OK, "ok")                                                                                    \
    X(ERR_ARGUMENT, "a call or an option is wrong")                                                \
    X(ERR_MEMORY, "out of memory")                                                                 \
    X(ERR_IO, "a file or stream could not be read or written")                                     \
    X(ERR_FORMAT, "a file's content is broken")                                                    \
    X(ERR_UNSUPPORTED, "valid, but not supported")                                                 \
    X(ERR_LIMIT, "over a limit")                                                                   \
    X(ERR_CONTEXT, "the context is full")                                                          \
    X(ERR_KV_FULL, "the KV pool is full")                                                          \
    X(ERR_CANCELLED, "cancelled")                                                                  \
    X(ERR_NUMERIC, "not a number in the results")

typedef enum vl2_status {
#define VL2_STATUS_ENUM(name, text) VL2_##name,
    VL2_STATUS_MAP(VL2_STATUS_ENUM)
#undef VL2_STATUS_ENUM
        VL2_STATUS_COUNT
} vl2_status;

typedef struct vl2_error {
    vl2_status status; /* start with VL2_OK: the first error since then is kept */
    char text[508];    /* one line, no newline at its end */
} vl2_error;

VL2_API const char *vl2_status_text(vl2_status status);
VL2_API const char *vl2_version(void);        /* "0.1.0" */
VL2_API const char *vl2_build_features(void); /* "jpeg png webp …; draw; …", of this build */

/* ---- engine: a loaded model ------------------------------------------------------------------ */

typedef struct vl2_engine vl2_engine;
typedef enum vl2_compute { VL2_COMPUTE_AUTO, VL2_COMPUTE_F32 } vl2_compute;
/* How the vision tower multiplies: AUTO: as the file has its weights; INT8: weights and activations are
 * rounded to bytes, at load and on the way (docs/QUANTIZATION.md says what that costs and brings). */
typedef enum vl2_vision { VL2_VISION_AUTO, VL2_VISION_INT8 } vl2_vision;
typedef void (*vl2_log_fn)(void *user, const char *line);
/* `done` of `total` units of `stage` ("loading", "image", "vision", "prefill", "decode"). */
typedef void (*vl2_progress_fn)(void *user, const char *stage, size_t done, size_t total);

typedef struct vl2_engine_options {
    size_t struct_size;
    int threads; /* 0: one for each core this process may use */
    vl2_compute
        compute; /* F32: float32 arithmetic and KV cache; AUTO: the fastest for the weights */
    const char *cpu_level; /* NULL: the best there is; else a name of vl2_cpu_levels() */
    size_t ctx_tokens;     /* tokens one session may hold; 0: the model's max_position_embeddings */
    size_t kv_tokens;      /* tokens the KV pool holds, all sessions together; 0: kv_contexts */
    vl2_log_fn log;        /* NULL: silent */
    void *log_user;
    vl2_progress_fn progress; /* NULL: none */
    void *progress_user;
    size_t kv_contexts; /* where kv_tokens is 0: the pool holds so many times ctx_tokens; 0: 1 */
    const char *mmproj; /* the GGUF file with the vision half of a GGUF model; NULL: none */
    vl2_vision vision;  /* INT8 takes memory for its weights, and not together with F32 */
} vl2_engine_options;

typedef struct vl2_info {
    const char *name;         /* of the folder or file */
    const char *architecture; /* "deepseek_vl_v2" */
    uint64_t parameters, activated_parameters, weight_bytes;
    size_t vocab_size, hidden_size, layers, experts, experts_per_token;
    size_t max_positions, ctx_tokens, kv_tokens, kv_bytes_per_token;
    size_t kv_block_tokens; /* the pool is given out in blocks of so many tokens */
    size_t view_side, tokens_per_view,
        max_views; /* pixels; tokens of one view; views of one picture */
    int threads;
    const char *cpu_level, *compute; /* in use */
    bool is_demo;                    /* the demo checkpoint: knows drawn scenes only, no photos */
} vl2_info;

VL2_API void vl2_engine_options_init(vl2_engine_options *options);
/* `path`: a folder as published, or a .gguf file. Weights are mapped, and must not change meanwhile. */
VL2_API vl2_status vl2_engine_open(vl2_engine **out, const char *path,
                                   const vl2_engine_options *options, vl2_error *err);
VL2_API void vl2_engine_close(vl2_engine *engine); /* after all that was made from it */
VL2_API const vl2_info *vl2_engine_info(const vl2_engine *engine);
VL2_API const char *const *vl2_cpu_levels(void); /* lowest first, NULL at the end; this machine's */

/* ---- pictures -------------------------------------------------------------------------------- */

typedef struct vl2_picture vl2_picture; /* 8-bit RGB; counted references; immutable */

typedef struct vl2_picture_options {
    size_t struct_size;
    size_t max_file_bytes; /* default 256 MiB */
    uint64_t max_pixels;   /* default 200 million */
    bool apply_exif;       /* turn it as its EXIF says; the reference does not: default false */
} vl2_picture_options;

VL2_API void vl2_picture_options_init(vl2_picture_options *options);
VL2_API vl2_status vl2_picture_open(vl2_picture **out, const char *path,
                                    const vl2_picture_options *options, vl2_error *err);
/* `name` is for error texts. The bytes are not kept. */
VL2_API vl2_status vl2_picture_decode(vl2_picture **out, const void *bytes, size_t n_bytes,
                                      const char *name, const vl2_picture_options *options,
                                      vl2_error *err);
VL2_API vl2_status vl2_picture_from_rgb(vl2_picture **out, const uint8_t *rgb, size_t width,
                                        size_t height, vl2_error *err); /* copied */
VL2_API vl2_picture *vl2_picture_retain(const vl2_picture *picture);
VL2_API void vl2_picture_free(const vl2_picture *picture); /* gives one reference back */
VL2_API size_t vl2_picture_width(const vl2_picture *picture);
VL2_API size_t vl2_picture_height(const vl2_picture *picture);
VL2_API const uint8_t *vl2_picture_rgb(const vl2_picture *picture); /* [height, width, 3] */
VL2_API void vl2_picture_sha256(const vl2_picture *picture, uint8_t out[32]); /* size and pixels */
/* Format by the name's ending: .png, .jpg, .jpeg. Written beside and renamed: never half a file. */
VL2_API vl2_status vl2_picture_write(const vl2_picture *picture, const char *path, vl2_error *err);
/* `format` "png" or "jpeg"; *out is freed with vl2_free. */
VL2_API vl2_status vl2_picture_encode(void **out, size_t *n_bytes, const vl2_picture *picture,
                                      const char *format, vl2_error *err);
VL2_API void vl2_free(void *memory);

/* ---- conversation -> prompt ------------------------------------------------------------------ */

typedef enum vl2_role { VL2_ROLE_USER, VL2_ROLE_ASSISTANT, VL2_ROLE_SYSTEM } vl2_role;

typedef struct vl2_message {
    vl2_role role;
    const char
        *text; /* UTF-8, `text_size` bytes; each "<image>" of a user's is one of `pictures` */
    size_t text_size;
    const vl2_picture *const *pictures;
    size_t n_pictures;
    /* NULL: every "<image>" of the text is a picture. Else [n_pictures] byte offsets of those that
     * are, in order; the others are plain text (what a server's users wrote). */
    const size_t *image_at;
} vl2_message;

typedef struct vl2_prompt_options {
    size_t struct_size;
    bool
        add_image_tags; /* missing "<image>" go in front of the text, one a line; surplus ones go */
    bool plain_control; /* role tokens, bos and eos written in a text are plain text */
} vl2_prompt_options;

typedef struct vl2_prompt vl2_prompt; /* ids, and where the pictures' rows go */

typedef struct vl2_span { /* a picture's run of <image> ids */
    size_t first_token, n_tokens;
    size_t tiles_wide, tiles_high; /* of the local picture; views = 1 + wide*high */
    size_t message;                /* index of its message */
    const vl2_picture *picture;
} vl2_span;

VL2_API void vl2_prompt_options_init(vl2_prompt_options *options);
/* An empty assistant message is appended where the last is the user's. Pictures are retained. */
VL2_API vl2_status vl2_prompt_build(vl2_prompt **out, const vl2_engine *engine,
                                    const vl2_message *messages, size_t n_messages,
                                    const vl2_prompt_options *options, vl2_error *err);
VL2_API void vl2_prompt_free(vl2_prompt *prompt);
VL2_API const int32_t *vl2_prompt_ids(const vl2_prompt *prompt, size_t *n);
VL2_API size_t vl2_prompt_image_tokens(const vl2_prompt *prompt);
VL2_API const vl2_span *vl2_prompt_spans(const vl2_prompt *prompt, size_t *n);

/* A picture's rows: what the vision tower and projector make of it, [n_tokens, hidden size].
 * Counted references; they belong to one picture under one tiling, so cache them under the
 * picture's hash *and* the tiles. */
typedef struct vl2_rows vl2_rows;
/* Cuts pictures that are far larger than their views into these ahead of vl2_prompt_encode. On the
 * calling thread alone, which may be another than the one that computes. */
VL2_API vl2_status vl2_prompt_cut(vl2_prompt *prompt, vl2_error *err);
/* Encodes at most `max_views` more views (0: all) of the prompt's pictures; *left tells how many
 * remain. Rows that were set before cost nothing. */
VL2_API vl2_status vl2_prompt_encode(vl2_prompt *prompt, vl2_engine *engine, size_t max_views,
                                     size_t *left, vl2_error *err);
/* Asked between the tower's layers and a step's: not 0 ends the call with VL2_ERR_CANCELLED, and it
 * can be made again as if it had not been. */
typedef int (*vl2_poll_fn)(void *user);
VL2_API void vl2_prompt_set_poll(vl2_prompt *prompt, vl2_poll_fn poll, void *user);
/* The first n_tokens are in a cache already: pictures that end within them are not encoded. */
VL2_API void vl2_prompt_skip(vl2_prompt *prompt, size_t n_tokens);
VL2_API vl2_rows *vl2_prompt_rows(const vl2_prompt *prompt,
                                  size_t span); /* NULL until encoded; borrowed */
/* The prompt takes a reference of its own; rows of another size are refused. */
VL2_API vl2_status vl2_prompt_set_rows(vl2_prompt *prompt, size_t span, vl2_rows *rows,
                                       vl2_error *err);
VL2_API vl2_rows *vl2_rows_retain(vl2_rows *rows);
VL2_API void vl2_rows_free(vl2_rows *rows);
VL2_API size_t vl2_rows_bytes(const vl2_rows *rows);

/* ---- session: one timeline of tokens, with its KV cache --------------------------------------- */

typedef struct vl2_session vl2_session;

VL2_API vl2_status vl2_session_create(vl2_session **out, vl2_engine *engine, vl2_error *err);
/* A new session that begins with the first `n_tokens` cached ones of `from`; whole KV blocks are
 * shared by reference, the last partial one is copied. */
VL2_API vl2_status vl2_session_fork(vl2_session **out, const vl2_session *from, size_t n_tokens,
                                    vl2_error *err);
VL2_API void vl2_session_free(vl2_session *session);
/* Queues the prompt's tokens from `first_token` on. The prompt must outlive their processing, and
 * be encoded as far as its tokens are processed. */
VL2_API vl2_status vl2_session_feed_prompt(vl2_session *session, const vl2_prompt *prompt,
                                           size_t first_token, vl2_error *err);
VL2_API vl2_status vl2_session_feed_token(vl2_session *session, int32_t id, vl2_error *err);
VL2_API size_t vl2_session_length(const vl2_session *session);  /* tokens in the cache */
VL2_API size_t vl2_session_pending(const vl2_session *session); /* tokens queued */
/* Forgets the tokens past n_tokens, and the queue. */
VL2_API vl2_status vl2_session_truncate(vl2_session *session, size_t n_tokens, vl2_error *err);
/* [vocab_size], of the last token; NULL while tokens are pending. Valid until the next step. */
VL2_API const float *vl2_session_logits(const vl2_session *session);
VL2_API size_t vl2_kv_tokens_free(const vl2_engine *engine); /* room in the KV pool */

/* ---- batch step: many sessions, one pass over the weights ------------------------------------- */

typedef struct vl2_batch vl2_batch; /* scratch for steps, planned and taken once */
typedef struct vl2_step {
    vl2_session *session;
    size_t n_tokens; /* of its queue, at least 1 */
} vl2_step;

VL2_API size_t vl2_batch_plan(const vl2_engine *engine, size_t max_rows,
                              size_t max_sessions); /* bytes */
VL2_API vl2_status vl2_batch_create(vl2_batch **out, vl2_engine *engine, size_t max_rows,
                                    size_t max_sessions, vl2_error *err);
VL2_API void vl2_batch_free(vl2_batch *batch);
/* See vl2_poll_fn; NULL: nobody is asked. */
VL2_API void vl2_batch_set_poll(vl2_batch *batch, vl2_poll_fn poll, void *user);
/* Processes the given tokens of all sessions together. A session's results do not depend on its
 * company. On failure no session has moved (VL2_ERR_KV_FULL: free some, or step fewer). */
VL2_API vl2_status vl2_batch_step(vl2_batch *batch, const vl2_step *steps, size_t n_steps,
                                  vl2_error *err);

/* ---- sampling --------------------------------------------------------------------------------- */

typedef struct vl2_sampling {
    size_t struct_size;
    float temperature;        /* 0: greedy, the default */
    int top_k;                /* 0: off */
    float top_p, min_p;       /* 1, 0: off */
    float repetition_penalty; /* 1: off; > 0; over the prompt's and generated ids */
    float presence_penalty, frequency_penalty; /* 0: off; over generated ids */
    uint64_t seed;
} vl2_sampling;

typedef struct vl2_sampler vl2_sampler;
typedef struct vl2_logprob {
    int32_t id;
    float logprob; /* natural logarithm, of the logits as the model gave them */
} vl2_logprob;

VL2_API void vl2_sampling_init(vl2_sampling *sampling);
VL2_API vl2_status vl2_sampler_create(vl2_sampler **out, const vl2_engine *engine,
                                      const vl2_sampling *sampling, const int32_t *prompt_ids,
                                      size_t n_prompt_ids, vl2_error *err);
VL2_API void vl2_sampler_free(vl2_sampler *sampler);
/* Chooses the next id from [vocab_size] logits (not changed) and remembers it. NaN: ERR_NUMERIC. */
VL2_API vl2_status vl2_sampler_next(vl2_sampler *sampler, const float *logits, int32_t *id,
                                    vl2_error *err);
/* logits: [vocab_size]. *chosen: the logprob of `id`; top: room for the `n_top` most probable ones, most
 * probable first. */
VL2_API void vl2_logprobs(const vl2_engine *engine, const float *logits, int32_t id,
                          vl2_logprob *chosen, vl2_logprob *top, size_t n_top);

/* ---- generate: all of the above in one call ---------------------------------------------------- */

typedef enum vl2_finish { VL2_FINISH_STOP, VL2_FINISH_LENGTH, VL2_FINISH_CANCELLED } vl2_finish;

typedef struct vl2_generate_options {
    size_t struct_size;
    vl2_sampling sampling;
    size_t max_tokens;       /* 512 */
    size_t chunk_tokens;     /* prompt tokens a step: 512; 0: the whole prompt at once */
    const char *const *stop; /* texts that end the answer; they are not part of it */
    size_t n_stop;
    bool
        skip_special_tokens; /* drop <|ref|> and its like from the text; boxes are found all the same */
    /* Text as it comes, whole characters only; NULL: none. Not 0 ends the answer (what was said stays). */
    int (*on_text)(void *user, const char *text, size_t size);
    int (*poll)(void *user); /* asked often, in prefill too; not 0 cancels */
    vl2_progress_fn progress;
    void *user;
} vl2_generate_options;

typedef struct vl2_box {
    const char *label;
    size_t image;   /* index over the conversation */
    int box[4];     /* x1, y1, x2, y2 in pixels of that picture */
    int box_999[4]; /* as the model said them, within 0 … 999, corners in order */
} vl2_box;

typedef struct vl2_usage { /* completion_tokens: all that the model gave, an eos too */
    size_t prompt_tokens, image_tokens, completion_tokens;
} vl2_usage;

typedef struct vl2_timings { /* milliseconds, and tokens per second */
    double image_ms, vision_ms, prefill_ms, decode_ms, prefill_tokens_per_s, decode_tokens_per_s;
} vl2_timings;

typedef struct vl2_answer vl2_answer;

/* Encodes what of the prompt's pictures is not yet. A prompt over the context is VL2_ERR_CONTEXT, an
 * answer that fills it ends with LENGTH. A cancelled answer is VL2_OK, with what was said so far. */
VL2_API void vl2_generate_options_init(vl2_generate_options *options);
VL2_API vl2_status vl2_generate(vl2_answer **out, vl2_engine *engine, vl2_prompt *prompt,
                                const vl2_generate_options *options, vl2_error *err);
VL2_API void vl2_answer_free(vl2_answer *answer);
VL2_API const char *vl2_answer_text(const vl2_answer *answer); /* stripped at both ends */
/* Without the eos. */
VL2_API const int32_t *vl2_answer_ids(const vl2_answer *answer, size_t *n);
VL2_API vl2_finish vl2_answer_finish(const vl2_answer *answer);
VL2_API const vl2_box *vl2_answer_boxes(const vl2_answer *answer, size_t *n);
VL2_API vl2_usage vl2_answer_usage(const vl2_answer *answer);
VL2_API vl2_timings vl2_answer_timings(const vl2_answer *answer);

/* ---- text and boxes ---------------------------------------------------------------------------- */

/* *out: the ids, freed with vl2_free. No token is added; special tokens in the text are honoured. */
VL2_API vl2_status vl2_tokenize(int32_t **out, size_t *n, const vl2_engine *engine,
                                const char *text, size_t size, vl2_error *err);
/* *out: NUL-terminated, `size` bytes, freed with vl2_free. */
VL2_API vl2_status vl2_detokenize(char **out, size_t *size, const vl2_engine *engine,
                                  const int32_t *ids, size_t n, bool skip_special, vl2_error *err);
VL2_API bool vl2_is_eos(const vl2_engine *engine, int32_t id);

/* Ids in, text out, never half a character, nothing that may become a stop text. */
typedef struct vl2_stream vl2_stream;
VL2_API vl2_status vl2_stream_create(vl2_stream **out, const vl2_engine *engine, bool skip_special,
                                     const char *const *stop, size_t n_stop, vl2_error *err);
VL2_API void vl2_stream_free(vl2_stream *stream);
/* *text: what may be shown now (maybe empty), valid until the next call; *stopped: a stop text came. */
VL2_API vl2_status vl2_stream_push(vl2_stream *stream, int32_t id, const char **text, size_t *size,
                                   bool *stopped, vl2_error *err);
VL2_API vl2_status vl2_stream_finish(vl2_stream *stream, const char **text, size_t *size,
                                     vl2_error *err);

/* Boxes in a text with its special tokens, from any text whatever: a malformed pair spoils only
 * itself. Freed with one vl2_free(*out). */
VL2_API vl2_status vl2_boxes_parse(vl2_box **out, size_t *n, const char *text, size_t size,
                                   size_t image, size_t width, size_t height, vl2_error *err);
/* The boxes of picture `image`, and their labels in any script, drawn on a copy of it. */
VL2_API vl2_status vl2_boxes_draw(vl2_picture **out, const vl2_picture *picture,
                                  const vl2_box *boxes, size_t n, size_t image, vl2_error *err);

#ifdef __cplusplus
}
#endif
#endif
