/* vl2_dev.h - for vl2's own tools: traces, tensor listings, bench stages, tokenizers without weights.
 * No promise of stability. */
#ifndef VL2_VL2_DEV_H
#define VL2_VL2_DEV_H

#include "vl2/vl2.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A tokenizer alone: a tokenizer.json, or a folder with one. Also serves vl2_dev_* below. */
typedef struct vl2_dev_tokenizer vl2_dev_tokenizer;
VL2_API vl2_status vl2_dev_tokenizer_open(vl2_dev_tokenizer **out, const char *path,
                                          vl2_error *err);
VL2_API void vl2_dev_tokenizer_close(vl2_dev_tokenizer *tokenizer);
VL2_API vl2_status vl2_dev_tokenize(int32_t **out, size_t *n, const vl2_dev_tokenizer *tokenizer,
                                    const char *text, size_t size, vl2_error *err);
VL2_API vl2_status vl2_dev_detokenize(char **out, size_t *size, const vl2_dev_tokenizer *tokenizer,
                                      const int32_t *ids, size_t n, bool skip_special,
                                      vl2_error *err);

/* What is in a checkpoint, without loading it. */
typedef struct vl2_dev_tensor {
    const char *name, *type, *file;
    size_t rank;
    const size_t *shape;
    uint64_t bytes;
} vl2_dev_tensor;
typedef struct vl2_dev_checkpoint vl2_dev_checkpoint;
VL2_API vl2_status vl2_dev_checkpoint_open(vl2_dev_checkpoint **out, const char *path,
                                           vl2_error *err);
VL2_API void vl2_dev_checkpoint_close(vl2_dev_checkpoint *checkpoint);
VL2_API size_t vl2_dev_checkpoint_count(const vl2_dev_checkpoint *checkpoint);
VL2_API vl2_dev_tensor vl2_dev_checkpoint_at(const vl2_dev_checkpoint *checkpoint, size_t i);

/* The production path, observed: PRODUCT's trace file of one conversation. */
typedef struct vl2_dev_trace_options {
    size_t struct_size;
    size_t greedy;       /* tokens to generate, 24 */
    size_t chunk_tokens; /* 512; 0: whole prompt at once */
    bool all_positions;  /* hidden and logits of every position, not of the last 8 */
} vl2_dev_trace_options;
VL2_API void vl2_dev_trace_options_init(vl2_dev_trace_options *options);
VL2_API vl2_status vl2_dev_trace(const char *out_path, vl2_engine *engine, vl2_prompt *prompt,
                                 const vl2_dev_trace_options *options, vl2_error *err);

/* An engine of the real shapes with made-up weights: "tiny", "small", "base", or a config.json;
 * with ":Q4_K" or another type behind it, in that type (else bfloat16).
 * Ids stand for themselves: there is no tokenizer, texts cannot be built. */
VL2_API vl2_status vl2_dev_engine_dummy(vl2_engine **out, const char *shapes,
                                        const vl2_engine_options *options, vl2_error *err);
/* Stages by themselves, for timing: n views of noise through the tower, then the projector; milliseconds. */
VL2_API vl2_status vl2_dev_time_views(double *vision_ms, double *projector_ms, vl2_engine *engine,
                                      size_t n, vl2_error *err);
/* A picture resized and cut into its views, as a conversation of one picture has them; dropped. */
VL2_API vl2_status vl2_dev_make_views(size_t *n_views, vl2_engine *engine,
                                      const vl2_picture *picture, vl2_error *err);
VL2_API vl2_status vl2_dev_feed_ids(vl2_session *session, const int32_t *ids, size_t n,
                                    vl2_error *err);
/* What this machine reaches now: multiply-adds counted as two operations; bytes read. */
typedef struct vl2_dev_peaks {
    double f32_gflops, bf16_gflops, int8_gops; /* 0: no such instructions in the level in use */
    double read_gb_s;
} vl2_dev_peaks;
VL2_API vl2_status vl2_dev_measure_peaks(vl2_dev_peaks *out, vl2_engine *engine, vl2_error *err);
/* What each stage computes and reads, counted from the shapes, for a share of those peaks. */
typedef struct vl2_dev_work {
    double vision_flops, projector_flops; /* of one view */
    double token_flops;                   /* of one token through the layers, without attention */
    double attention_flops;               /* of one token for each token that it sees */
    double head_flops;                    /* of one token's logits */
    double token_bytes;                   /* of weights read for one token alone, with its logits */
    double expert_bytes;                  /* of those, of the experts that it chose */
    double chosen_experts;                /* of a layer's, as a share */
    /* the products that do most of it: "float32", "bfloat16" or "int8" */
    const char *vision_product, *projector_product, *token_product;
} vl2_dev_work;
VL2_API vl2_dev_work vl2_dev_work_of(const vl2_engine *engine);
/* Memory, in bytes, that an engine's parts take. */
typedef struct vl2_dev_memory {
    uint64_t weights_mapped, weights_copied; /* in the files; in memory of the program's own */
    uint64_t kv_pool, step_scratch, vision_scratch, backend_scratch, session, vocabulary;
} vl2_dev_memory;
VL2_API vl2_dev_memory vl2_dev_memory_of(const vl2_engine *engine, size_t chunk_tokens);
/* A model written as a GGUF file, its weights in other types. */
typedef enum vl2_dev_half {
    VL2_DEV_BOTH_HALVES,
    VL2_DEV_TEXT_HALF,  /* the language model alone */
    VL2_DEV_VISION_HALF /* tower and projector alone: an mmproj file */
} vl2_dev_half;
typedef struct vl2_dev_quantize_options {
    size_t struct_size;
    const char *type;           /* a mix of vl2_dev_quantize_type */
    const char *vision_type;    /* of the vision half's matrices; NULL: bfloat16 */
    const char *const *tensors; /* "PATTERN=TYPE", later ones win */
    size_t n_tensors;
    const char *mmproj; /* the vision half of a GGUF source; NULL: in the source */
    vl2_dev_half half;
    const char *imatrix; /* an importance matrix, to weigh errors by; NULL: all count alike */
    int threads;
    vl2_progress_fn progress; /* NULL: none */
    int (*poll)(void *user);  /* not 0 stops it */
    void *progress_user;      /* of both */
} vl2_dev_quantize_options;
VL2_API void vl2_dev_quantize_options_init(vl2_dev_quantize_options *options);
/* Whole or not at all: target is there afterwards as it was before, or complete. */
VL2_API vl2_status vl2_dev_quantize(const char *source, const char *target,
                                    const vl2_dev_quantize_options *options, vl2_error *err);
VL2_API const char *vl2_dev_quantize_type(size_t i); /* NULL behind the last */
/* An importance matrix: sums of the squares of what each matrix is multiplied with while the engine
 * works. One at a time; ended before the engine is closed (NULL is none). */
typedef struct vl2_dev_calibration vl2_dev_calibration;
VL2_API vl2_status vl2_dev_calibration_begin(vl2_dev_calibration **out, vl2_engine *engine,
                                             vl2_error *err);
VL2_API vl2_status vl2_dev_calibration_write(const vl2_dev_calibration *calibration,
                                             const char *target, vl2_error *err);
VL2_API void vl2_dev_calibration_end(vl2_dev_calibration *calibration);
/* SHA-256 in pieces, for downloads. */
VL2_API vl2_status vl2_dev_sha256_file(uint8_t out[32], const char *path, vl2_error *err);

#ifdef __cplusplus
}
#endif
#endif
