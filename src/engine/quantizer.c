/* A model as a GGUF file: types chosen by name, weights converted piece by piece, written at once or
 * not at all. docs/QUANTIZATION.md tells of the mixes. */
#include "engine/engine.h"
#include "engine/source.h"
#include "vl2/vl2_dev.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/gguf_config.h"
#include "model/imatrix.h"
#include "model/quantize.h"
#include "prompt/tokenizer_gguf.h"

enum {
    PIECE_BYTES = 8 << 20, /* of converted rows, before they are written */
    TASK_ELEMENTS = 1 << 15,
    MAX_FILE = 64 << 20
};

/* ---- which type a tensor gets ------------------------------------------------------------------- */

typedef struct mix {
    const char *name;
    unsigned file_type;  /* general.file_type */
    vl2_dtype most;      /* of most matrices */
    vl2_dtype short_row; /* where 256 does not divide the row */
    vl2_dtype careful;   /* of the head, and of small matrices that much depends on */
    vl2_dtype plain;     /* where 32 does not divide the row either, and of the vision half */
} mix;

static const mix MIXES[] = {
    {"F32", 0, VL2_F32, VL2_F32, VL2_F32, VL2_F32},
    {"F16", 1, VL2_F16, VL2_F16, VL2_F16, VL2_F16},
    {"BF16", 32, VL2_BF16, VL2_BF16, VL2_BF16, VL2_BF16},
    {"Q8_0", 7, VL2_Q8_0, VL2_Q8_0, VL2_Q8_0, VL2_BF16},
    {"Q6_K", 18, VL2_Q6_K, VL2_Q8_0, VL2_Q8_0, VL2_BF16},
    {"Q5_K_M", 17, VL2_Q5_K, VL2_Q5_0, VL2_Q6_K, VL2_BF16},
    {"Q5_K_S", 16, VL2_Q5_K, VL2_Q5_0, VL2_Q5_K, VL2_BF16},
    {"Q4_K_M", 15, VL2_Q4_K, VL2_IQ4_NL, VL2_Q6_K, VL2_BF16},
    {"Q4_K_S", 14, VL2_Q4_K, VL2_IQ4_NL, VL2_Q4_K, VL2_BF16},
    {"IQ4_NL", 25, VL2_IQ4_NL, VL2_IQ4_NL, VL2_Q6_K, VL2_BF16},
    {"Q4_0", 2, VL2_Q4_0, VL2_Q4_0, VL2_Q6_K, VL2_BF16},
};
enum { N_MIXES = sizeof MIXES / sizeof *MIXES };

static const mix *find_mix(const char *name, vl2_error *err) {
    char names[256] = "";
    size_t used = 0;
    for (int i = 0; i < N_MIXES; i++) {
        if (strcmp(MIXES[i].name, name) == 0) return &MIXES[i];
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                 MIXES[i].name);
    }
    (void)vl2_fail(err, VL2_ERR_ARGUMENT, "type \"%.40s\" is unknown, expected one of %s", name,
                   names);
    return NULL;
}

const char *vl2_dev_quantize_type(size_t i) { return i < N_MIXES ? MIXES[i].name : NULL; }

typedef struct plan {
    const vl2_source *source;
    const mix *mix;
    const vl2_dev_quantize_options *options;
    vl2_dtype vision; /* of the vision half's matrices, where rows allow it */
    vl2_gguf_out head;
    uint64_t total, done; /* bytes of tensors */
    bool writing;         /* the second walk */
    vl2_writer *writer;
    vl2_pool *pool;
    uint8_t *piece;
    float *rows; /* a row a thread */
    size_t row_size;
    vl2_imatrix *imatrix; /* NULL: none */
    float *weights;       /* [row_size] of columns, with an imatrix */
} plan;

static bool divides(vl2_dtype type, size_t cols) { return cols % vl2_dtype_of(type)->block == 0; }

/* The widest matrices hold most of the bytes; these few hold little, and much depends on them. */
static bool is_careful(const char *name) {
    static const char *const parts[] = {"output.weight", "attn_v.", "attn_kv_a_mqa.", "attn_k_b.",
                                        "attn_v_b."};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i]) && !strstr(name, "attn_output")) return true;
    return false;
}

static vl2_dtype fitting(const mix *m, bool careful, size_t cols) {
    vl2_dtype type = careful ? m->careful : m->most;
    if (!divides(type, cols)) type = careful ? VL2_Q8_0 : m->short_row;
    return divides(type, cols) ? type : m->plain;
}

static vl2_status by_pattern(vl2_dtype *out, const plan *p, const char *name, size_t cols,
                             vl2_error *err) {
    for (size_t i = 0; i < p->options->n_tensors; i++) {
        const char *text = p->options->tensors[i], *equals = strrchr(text, '=');
        char pattern[128];
        if (!equals || equals == text || (size_t)(equals - text) >= sizeof pattern)
            return vl2_fail(err, VL2_ERR_ARGUMENT, "--tensor %.80s: expected PATTERN=TYPE", text);
        snprintf(pattern, sizeof pattern, "%.*s", (int)(equals - text), text);
        vl2_dtype type = vl2_dtype_by_name(equals + 1, strlen(equals + 1));
        if (type == VL2_DTYPE_COUNT || (type > VL2_BF16 && !vl2_quantize_can(type)))
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "--tensor %.80s: type \"%.20s\" cannot be written, expected F32, F16, "
                            "BF16, Q8_0, Q6_K, Q5_K, Q5_0, Q4_K, Q4_0 or IQ4_NL",
                            text, equals + 1);
        if (fnmatch(pattern, name, 0) != 0) continue;
        if (!divides(type, cols))
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "--tensor %.80s: %s has rows of %zu, which blocks of %zu do not divide",
                            text, name, cols, vl2_dtype_of(type)->block);
        *out = type;
    }
    return VL2_OK;
}

static vl2_status choose(vl2_dtype *out, const plan *p, const char *name, bool vision, size_t rank,
                         size_t cols, vl2_error *err) {
    const mix *m = p->mix;
    if (strstr(name, "ffn_gate_inp"))
        *out = VL2_F32; /* routers stay what they are: a choice is no number */
    else if (vision)
        *out = rank == 2 && divides(p->vision, cols) ? p->vision : m->plain;
    else
        *out = fitting(m, is_careful(name), cols);
    return by_pattern(out, p, name, cols, err);
}

/* ---- converting --------------------------------------------------------------------------------- */

typedef enum part { WHOLE, KEYS, VALUES } part; /* of kv_b, for the halves that files have */

typedef struct conversion {
    const plan *p;
    const vl2_mat *mat;
    part part;
    size_t rows, cols, first; /* of the result; row of the piece's first */
    vl2_dtype type;
    size_t row_bytes, per_task, n;
    const float *weights; /* of columns, of a quantized type; NULL: all count alike */
} conversion;

/* Row `row` of what is written: of the matrix, or of a half of kv_b [H*(Dn+Dvh),C]. */
static void read_row(float *out, const conversion *c, size_t row) {
    const vl2_language_config *lang = &c->p->source->config.lang;
    const size_t both = lang->nope_dim + lang->v_dim, low = lang->kv_lora;
    const char *data = c->mat->data;
    if (c->part == KEYS) { /* head h, column: its keys' numbers there */
        const size_t h = row / low, column = row % low;
        for (size_t n = 0; n < lang->nope_dim; n++)
            vl2_dtype_to_f32_from(out + n, data + (h * both + n) * c->mat->stride, c->mat->type,
                                  column, 1);
        return;
    }
    if (c->part == VALUES) row = row / lang->v_dim * both + lang->nope_dim + row % lang->v_dim;
    vl2_dtype_to_f32(out, data + row * c->mat->stride, c->mat->type, c->cols);
}

static void convert_task(void *context, size_t i, int thread) {
    const conversion *c = context;
    float *row = c->p->rows + (size_t)thread * c->p->row_size;
    size_t end = (i + 1) * c->per_task < c->n ? (i + 1) * c->per_task : c->n;
    for (size_t r = i * c->per_task; r < end; r++) {
        uint8_t *out = c->p->piece + r * c->row_bytes;
        if (c->part == WHOLE && c->mat->type == c->type) {
            memcpy(out, (const char *)c->mat->data + (c->first + r) * c->mat->stride, c->row_bytes);
        } else {
            read_row(row, c, c->first + r);
            if (c->weights)
                vl2_quantize_row(out, row, c->weights, c->type, c->cols);
            else
                vl2_dtype_from_f32(out, row, c->type, c->cols);
        }
    }
}

static vl2_status write_bytes(plan *p, const void *data, size_t size, vl2_error *err) {
    VL2_TRY(vl2_writer_add(p->writer, data, size, err));
    p->done += size;
    if (p->options->progress)
        p->options->progress(p->options->progress_user, "quantizing", (size_t)p->done,
                             (size_t)p->total);
    if (p->options->poll && p->options->poll(p->options->progress_user))
        return vl2_fail(err, VL2_ERR_CANCELLED, "stopped; nothing was written");
    return VL2_OK;
}

static vl2_status write_matrix(plan *p, conversion *c, vl2_error *err) {
    size_t at_once = PIECE_BYTES / c->row_bytes;
    if (at_once == 0) at_once = 1;
    c->p = p;
    c->per_task = TASK_ELEMENTS / c->cols ? TASK_ELEMENTS / c->cols : 1;
    for (c->first = 0; c->first < c->rows; c->first += c->n) {
        c->n = c->rows - c->first < at_once ? c->rows - c->first : at_once;
        vl2_pool_run(p->pool, (c->n + c->per_task - 1) / c->per_task, convert_task, c);
        VL2_TRY(write_bytes(p, p->piece, c->n * c->row_bytes, err));
    }
    return VL2_OK;
}

/* What matrix i of a tensor's n was calibrated with; kv_b's halves never are. */
static vl2_status find_weights(conversion *c, plan *p, const char *name, size_t i, size_t n,
                               vl2_error *err) {
    bool known = false;
    c->weights = NULL;
    if (!p->imatrix || c->part != WHOLE || !vl2_dtype_is_quantized(c->type)) return VL2_OK;
    VL2_TRY(vl2_imatrix_weights(p->weights, &known, p->imatrix, name, i, n, c->cols, err));
    if (known) c->weights = p->weights;
    return VL2_OK;
}

static vl2_status write_padding(plan *p, uint64_t bytes, vl2_error *err) {
    static const uint8_t zeros[VL2_GGUF_ALIGN] = {0};
    return vl2_writer_add(p->writer, zeros, vl2_gguf_padding(bytes), err);
}

/* ---- one tensor: announced on the first walk, written on the second ------------------------------- */

static vl2_status put_matrix(plan *p, const vl2_weights_tensor *t, const char *name,
                             const size_t *shape, size_t rank, part which, vl2_error *err) {
    conversion c = {.part = which, .rows = 1, .cols = t->mat->cols};
    if (which == KEYS) c.cols = shape[rank - 1];
    for (size_t i = 0; i < rank; i++) c.rows *= shape[i];
    c.rows /= t->n * c.cols;
    const size_t file_rank = t->n > 1 ? 2 : rank; /* experts are matrices */
    VL2_TRY(choose(&c.type, p, name, t->vision, file_rank, c.cols, err));
    VL2_TRY(vl2_dtype_row_bytes(&c.row_bytes, c.type, c.cols)
                ? VL2_OK
                : vl2_fail(err, VL2_ERR_UNSUPPORTED, "%s: rows of %zu", name, c.cols));
    const uint64_t bytes = (uint64_t)c.row_bytes * c.rows * t->n;
    if (!p->writing) {
        p->total += bytes;
        if (c.cols > p->row_size) p->row_size = c.cols;
        return vl2_gguf_add_tensor(&p->head, name, c.type, shape, rank, (size_t)bytes, err);
    }
    for (size_t i = 0; i < t->n; i++) {
        c.mat = (const vl2_mat *)(const void *)((const char *)t->mat + i * t->step);
        VL2_TRY(find_weights(&c, p, name, i, t->n, err));
        VL2_TRY(write_matrix(p, &c, err));
    }
    return write_padding(p, bytes, err);
}

static vl2_status put_vector(plan *p, const vl2_weights_tensor *t, vl2_error *err) {
    const size_t bytes = t->vec->size * sizeof(float);
    if (!p->writing) {
        p->total += bytes;
        return vl2_gguf_add_tensor(&p->head, t->name, VL2_F32, t->shape, t->rank, bytes, err);
    }
    VL2_TRY(write_bytes(p, t->vec->data, bytes, err));
    return write_padding(p, bytes, err);
}

/* kv_b as its two halves: what programs of this family expect, and what one token reads fastest. */
static vl2_status put_halves(plan *p, const vl2_weights_tensor *t, vl2_error *err) {
    const vl2_language_config *lang = &p->source->config.lang;
    const size_t keys[] = {lang->heads, lang->kv_lora, lang->nope_dim};
    const size_t values[] = {lang->heads, lang->v_dim, lang->kv_lora};
    char name[64];
    snprintf(name, sizeof name, "blk.%zu.attn_k_b.weight", t->layer);
    VL2_TRY(put_matrix(p, t, name, keys, 3, KEYS, err));
    snprintf(name, sizeof name, "blk.%zu.attn_v_b.weight", t->layer);
    return put_matrix(p, t, name, values, 3, VALUES, err);
}

static vl2_status put_tensor(void *context, const vl2_weights_tensor *t, vl2_error *err) {
    plan *p = context;
    const vl2_dev_half half = p->options->half;
    if (t->vision ? half == VL2_DEV_TEXT_HALF : half == VL2_DEV_VISION_HALF) return VL2_OK;
    if (t->vec) return put_vector(p, t, err);
    if (strstr(t->name, "attn_kv_b.weight")) return put_halves(p, t, err);
    return put_matrix(p, t, t->name, t->shape, t->rank, WHOLE, err);
}

/* ---- keys --------------------------------------------------------------------------------------- */

/* A text of the source: a key of its GGUF file, or a file in its folder; *out NULL where there is none. */
static vl2_status read_text(char **out, size_t *size, const plan *p, const char *path,
                            const char *key, const char *file, vl2_error *err) {
    const vl2_gguf *keys = vl2_checkpoint_keys(p->source->checkpoint);
    const vl2_gguf *other = vl2_checkpoint_mmproj_keys(p->source->checkpoint);
    *out = NULL;
    if (keys) {
        const char *text;
        VL2_TRY(vl2_gguf_text(&text, size, keys, key, err));
        if (!text && other) VL2_TRY(vl2_gguf_text(&text, size, other, key, err));
        if (text && !(*out = vl2_mem_strdup(text, *size))) return vl2_fail_memory(err, key, *size);
        return VL2_OK;
    }
    char *name;
    VL2_TRY(vl2_path_join(&name, path, file, err));
    vl2_status status =
        vl2_file_exists(name) ? vl2_file_read(out, size, name, MAX_FILE, err) : VL2_OK;
    vl2_mem_free(name);
    return status;
}

static vl2_status copy_text(plan *p, const char *path, const char *key, const char *file,
                            vl2_error *err) {
    char *text;
    size_t size;
    VL2_TRY(read_text(&text, &size, p, path, key, file, err));
    vl2_status status = text ? vl2_gguf_add_text(&p->head, key, text, size, err) : VL2_OK;
    vl2_mem_free(text);
    return status;
}

static vl2_status add_tokenizer(plan *p, const char *path, vl2_error *err) {
    char *json;
    size_t size = 0;
    VL2_TRY(read_text(&json, &size, p, path, "tokenizer.huggingface.json", "tokenizer.json", err));
    vl2_status status = vl2_tokenizer_gguf_add(&p->head, p->source->tokenizer,
                                               p->source->config.lang.vocab, json, size, err);
    vl2_mem_free(json);
    return status;
}

/* As the source calls itself, or by its file. */
static vl2_status name_of(char **out, const plan *p, const char *path, vl2_error *err) {
    const char *text;
    size_t size;
    VL2_TRY(vl2_gguf_text(&text, &size, vl2_checkpoint_keys(p->source->checkpoint), "general.name",
                          err));
    if (!text) return vl2_engine_base_name(out, path, err);
    *out = vl2_mem_strdup(text, size);
    return *out ? VL2_OK : vl2_fail_memory(err, "a name", size + 1);
}

static vl2_status add_general(plan *p, const char *path, vl2_error *err) {
    vl2_gguf_out *head = &p->head;
    const bool vision = p->options->half == VL2_DEV_VISION_HALF;
    const char *arch = vision ? "clip" : vl2_gguf_config_architecture(&p->source->config.lang);
    char *name;
    VL2_TRY(name_of(&name, p, path, err));
    vl2_status status = vl2_gguf_add_text(head, "general.architecture", arch, strlen(arch), err);
    if (status == VL2_OK) status = vl2_gguf_add_text(head, "general.name", name, strlen(name), err);
    vl2_mem_free(name);
    VL2_TRY(status);
    const char *type = vision ? "mmproj" : "model";
    VL2_TRY(vl2_gguf_add_text(head, "general.type", type, strlen(type), err));
    VL2_TRY(vl2_gguf_add_u32(head, "general.alignment", VL2_GGUF_ALIGN, err));
    VL2_TRY(vl2_gguf_add_u32(head, "general.quantization_version", 2, err));
    VL2_TRY(vl2_gguf_add_u32(head, "general.file_type", p->mix->file_type, err));
    if (p->source->is_demo) VL2_TRY(vl2_gguf_add_bool(head, "vl2.demo", true, err));
    return VL2_OK;
}

static vl2_status add_keys(plan *p, const char *path, vl2_error *err) {
    const vl2_config *config = &p->source->config;
    VL2_TRY(add_general(p, path, err));
    VL2_TRY(copy_text(p, path, "vl2.config", "config.json", err));
    VL2_TRY(copy_text(p, path, "vl2.processor_config", "processor_config.json", err));
    if (config->has_vision && p->options->half != VL2_DEV_TEXT_HALF)
        VL2_TRY(vl2_gguf_config_add_vision(&p->head, config, err));
    if (p->options->half == VL2_DEV_VISION_HALF) return VL2_OK;
    VL2_TRY(vl2_gguf_config_add_language(&p->head, &config->lang, err));
    return add_tokenizer(p, path, err);
}

/* ---- the file ----------------------------------------------------------------------------------- */

static vl2_status write_all(plan *p, vl2_error *err) {
    vl2_buf head = {0};
    vl2_status status = vl2_gguf_head(&head, &p->head, err);
    if (status == VL2_OK) status = vl2_writer_add(p->writer, head.data, head.size, err);
    vl2_buf_free(&head);
    p->writing = true;
    if (status == VL2_OK)
        status = vl2_weights_each(&p->source->weights, &p->source->config, put_tensor, p, err);
    return status;
}

static vl2_status take_scratch(plan *p, vl2_error *err) {
    VL2_TRY(vl2_pool_create(&p->pool, p->options->threads, err));
    size_t row = p->row_size * sizeof(float), bytes = PIECE_BYTES > row ? PIECE_BYTES : row;
    p->piece = vl2_mem_alloc(bytes);
    p->rows = vl2_mem_array((size_t)vl2_pool_threads(p->pool), row + sizeof(float));
    p->weights = vl2_mem_array(p->row_size + 1, sizeof *p->weights);
    if (!p->piece || !p->rows || !p->weights)
        return vl2_fail_memory(err, "rows under conversion", bytes);
    return VL2_OK;
}

static vl2_status write_file(plan *p, const char *path, const char *target, vl2_error *err) {
    vl2_writer writer;
    VL2_TRY(add_keys(p, path, err));
    VL2_TRY(vl2_weights_each(&p->source->weights, &p->source->config, put_tensor, p, err));
    VL2_TRY(take_scratch(p, err));
    VL2_TRY(vl2_writer_open(&writer, target, err));
    p->writer = &writer;
    vl2_status status = write_all(p, err);
    if (status == VL2_OK) return vl2_writer_commit(&writer, err);
    vl2_writer_abort(&writer);
    return status;
}

static vl2_status check_options(plan *p, vl2_error *err) {
    const vl2_dev_quantize_options *o = p->options;
    if (!(p->mix = find_mix(o->type ? o->type : "", err))) return VL2_ERR_ARGUMENT;
    const char *vision = o->vision_type ? o->vision_type : vl2_dtype_of(p->mix->plain)->name;
    p->vision = vl2_dtype_by_name(vision, strlen(vision));
    if (p->vision == VL2_DTYPE_COUNT || (p->vision > VL2_BF16 && !vl2_quantize_can(p->vision)))
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "vision type \"%.40s\" is unknown, expected BF16, F16, F32 or Q8_0",
                        vision);
    return VL2_OK;
}

static vl2_status quantize(plan *p, vl2_source *source, const char *path, const char *target,
                           vl2_error *err) {
    VL2_TRY(check_options(p, err));
    VL2_TRY(vl2_source_open(source, path, p->options->mmproj, err));
    if (p->options->imatrix) VL2_TRY(vl2_imatrix_open(&p->imatrix, p->options->imatrix, err));
    if (p->options->half == VL2_DEV_VISION_HALF && !source->config.has_vision)
        return vl2_fail(err, VL2_ERR_UNSUPPORTED, "%s has no vision half to write", path);
    return write_file(p, path, target, err);
}

void vl2_dev_quantize_options_init(vl2_dev_quantize_options *options) {
    *options = (vl2_dev_quantize_options){.struct_size = sizeof *options, .type = "Q8_0"};
}

vl2_status vl2_dev_quantize(const char *source, const char *target,
                            const vl2_dev_quantize_options *options, vl2_error *err) {
    vl2_source opened = {0};
    plan p = {.source = &opened, .options = options};
    vl2_status status = quantize(&p, &opened, source, target, err);
    vl2_gguf_out_free(&p.head);
    vl2_pool_free(p.pool);
    vl2_mem_free(p.piece);
    vl2_mem_free(p.rows);
    vl2_mem_free(p.weights);
    vl2_imatrix_close(p.imatrix);
    vl2_source_close(&opened);
    return status;
}
