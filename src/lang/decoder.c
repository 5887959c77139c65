#include "lang/decoder.h"

#include <string.h>

#include "base/mem.h"
#include "lang/attn_mha.h"
#include "lang/attn_mla.h"
#include "lang/ffn.h"
#include "lang/head.h"
#include "lang/moe.h"
#include "lang/rope.h"

typedef struct decoder_scratch {
    float *x, *normed;    /* [max_rows, D] */
    float *cos, *sin;     /* [max_rows, half] */
    double *frequency;    /* [half] */
    vl2_attn_part *parts; /* [max_seqs] */
    float **targets;      /* [max_rows]: where each output row's logits go */
    vl2_attn_tables tables;
    /* The rest shares memory: attention, feed-forward and head take turns. */
    vl2_attn_mha_scratch mha;
    vl2_attn_mla_scratch mla;
    float *hidden; /* [max_rows, F] of dense layers */
    vl2_moe_scratch moe;
    float *logits; /* [max_seqs, V] */
} decoder_scratch;

struct vl2_decoder {
    vl2_backend *be;
    const vl2_language_config *lang;
    const vl2_weights *weights;
    size_t max_rows, max_seqs, max_tokens;
    vl2_arena arena;
    decoder_scratch s;
};

/* ---- plan ------------------------------------------------------------------------------------ */

static bool has_dense_layer(const vl2_language_config *lang) {
    for (size_t i = 0; i < lang->layers; i++) {
        if (!vl2_config_is_moe(lang, i)) return true;
    }
    return false;
}

/* Ends one use of the region that began at `start`, and begins the next at the same place. */
static void next_use(vl2_arena *arena, size_t start, size_t *end) {
    if (arena->used > *end) *end = arena->used;
    arena->used = start;
}

static void carve(vl2_arena *arena, decoder_scratch *s, const vl2_language_config *lang,
                  size_t max_rows, size_t max_seqs, size_t max_tokens) {
    const size_t f = sizeof(float), half = vl2_rope_half(lang);
    s->x = vl2_arena_array(arena, max_rows, lang->hidden * f);
    s->normed = vl2_arena_array(arena, max_rows, lang->hidden * f);
    s->cos = vl2_arena_array(arena, max_rows, half * f);
    s->sin = vl2_arena_array(arena, max_rows, half * f);
    s->frequency = vl2_arena_array(arena, half, sizeof *s->frequency);
    s->parts = vl2_arena_array(arena, max_seqs, sizeof *s->parts);
    s->targets = vl2_arena_array(arena, max_rows, sizeof *s->targets);
    vl2_attn_carve(arena, &s->tables, max_seqs, max_tokens);
    const size_t start = arena->used;
    size_t end = start;
    if (lang->use_mla) {
        vl2_attn_mla_carve(arena, &s->mla, lang, max_rows);
    } else {
        vl2_attn_mha_carve(arena, &s->mha, lang, max_rows);
    }
    next_use(arena, start, &end);
    if (has_dense_layer(lang)) {
        s->hidden = vl2_arena_array(arena, max_rows, lang->dense_width * f);
        next_use(arena, start, &end);
    }
    if (lang->experts) vl2_moe_carve(arena, &s->moe, lang, max_rows);
    next_use(arena, start, &end);
    s->logits = vl2_arena_array(arena, max_seqs, lang->vocab * f);
    next_use(arena, start, &end);
    arena->used = end;
}

size_t vl2_decoder_plan(const vl2_config *config, size_t max_rows, size_t max_seqs,
                        size_t max_tokens) {
    vl2_arena plan = {0};
    decoder_scratch s = {0};
    carve(&plan, &s, &config->lang, max_rows, max_seqs, max_tokens);
    return plan.used;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

void vl2_decoder_extent(size_t *rows, size_t *cols, const vl2_config *config, size_t max_rows) {
    const vl2_language_config *lang = &config->lang;
    size_t most = max_rows, widest = larger(lang->hidden, lang->dense_width);
    if (lang->use_mla) {
        size_t query = lang->heads * (lang->nope_dim + lang->rope_dim);
        most = larger(most, VL2_ATTN_MLA_KEYS);
        widest = larger(widest, lang->heads * larger(lang->kv_lora + lang->rope_dim, lang->v_dim));
        widest = larger(widest, larger(lang->q_lora, query));
    } else {
        widest = larger(widest, lang->heads * lang->head_dim);
    }
    if (lang->experts) {
        most = larger(most, max_rows * lang->experts_per_token);
        widest = larger(widest, larger(lang->expert_width, lang->shared_width));
    }
    *rows = most;
    *cols = widest;
}

vl2_status vl2_decoder_create(vl2_decoder **out, vl2_backend *be, const vl2_config *config,
                              const vl2_weights *weights, size_t max_rows, size_t max_seqs,
                              size_t max_tokens, vl2_error *err) {
    const vl2_language_config *lang = &config->lang;
    if (max_rows == 0 || max_seqs == 0 ||
        max_rows > UINT32_MAX / larger(lang->experts_per_token, 1)) {
        return vl2_fail(err, VL2_ERR_ARGUMENT,
                        "a step of %zu rows and %zu sessions is not possible", max_rows, max_seqs);
    }
    size_t scratch_rows, scratch_cols;
    vl2_decoder_extent(&scratch_rows, &scratch_cols, config, max_rows);
    VL2_TRY(vl2_backend_reserve(be, scratch_rows, scratch_cols, err));
    vl2_decoder *decoder = vl2_mem_calloc(1, sizeof *decoder);
    if (!decoder) return vl2_fail_memory(err, "the decoder", sizeof *decoder);
    *decoder = (vl2_decoder){.be = be,
                             .lang = lang,
                             .weights = weights,
                             .max_rows = max_rows,
                             .max_seqs = max_seqs,
                             .max_tokens = max_tokens};
    const vl2_status status =
        vl2_arena_take(&decoder->arena, vl2_decoder_plan(config, max_rows, max_seqs, max_tokens),
                       "the scratch of a step", err);
    if (status != VL2_OK) {
        vl2_mem_free(decoder);
        return status;
    }
    carve(&decoder->arena, &decoder->s, lang, max_rows, max_seqs, max_tokens);
    *out = decoder;
    return VL2_OK;
}

void vl2_decoder_free(vl2_decoder *decoder) {
    if (!decoder) return;
    vl2_arena_free(&decoder->arena);
    vl2_mem_free(decoder);
}

float *vl2_decoder_input(vl2_decoder *decoder) { return decoder->s.x; }

/* ---- a step ---------------------------------------------------------------------------------- */

/* Checks what the caller asks for; *n_rows = all sequences' rows. */
static vl2_status check_step(const vl2_decoder *d, const vl2_decoder_seq *seqs, size_t n_seqs,
                             size_t *n_rows, vl2_error *err) {
    size_t rows = 0;
    if (n_seqs == 0 || n_seqs > d->max_seqs) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "a step of %zu sessions; 1 to %zu are possible",
                        n_seqs, d->max_seqs);
    }
    for (size_t i = 0; i < n_seqs; i++) {
        const vl2_decoder_seq *seq = &seqs[i];
        const size_t past = seq->kv->length;
        if (seq->row != rows || seq->n_rows == 0 || seq->n_rows > d->max_rows - rows ||
            seq->n_out > seq->n_rows) {
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "session %zu of a step: rows %zu to %zu do not follow the %zu before "
                            "them, or the step's %zu",
                            i, seq->row, seq->row + seq->n_rows, rows, d->max_rows);
        }
        if (past > d->max_tokens || seq->n_rows > d->max_tokens - past ||
            past + seq->n_rows > seq->kv->n_blocks * VL2_KV_BLOCK) {
            return vl2_fail(err, VL2_ERR_ARGUMENT,
                            "session %zu of a step: no room for %zu tokens behind %zu", i,
                            seq->n_rows, past);
        }
        rows += seq->n_rows;
    }
    *n_rows = rows;
    return VL2_OK;
}

/* The rows' sequences, positions and rotations. */
static vl2_attn_rows lay_out(const vl2_decoder *d, const vl2_decoder_seq *seqs, size_t n_seqs,
                             size_t n_rows) {
    const size_t half = vl2_rope_half(d->lang);
    const decoder_scratch *s = &d->s;
    for (size_t i = 0; i < n_seqs; i++) {
        const vl2_decoder_seq *seq = &seqs[i];
        s->parts[i] = (vl2_attn_part){
            .kv = seq->kv, .row = seq->row, .n_rows = seq->n_rows, .position = seq->kv->length};
        vl2_rope_frequencies(s->frequency, d->lang, seq->rope_length);
        vl2_rope_rows(s->cos + seq->row * half, s->sin + seq->row * half, d->lang, s->frequency,
                      seq->kv->length, seq->n_rows);
    }
    return (vl2_attn_rows){
        .parts = s->parts, .n_parts = n_seqs, .n_rows = n_rows, .cos = s->cos, .sin = s->sin};
}

static void move_rows(float *rows, size_t to, size_t from, size_t n, size_t width) {
    if (to != from) memmove(rows + to * width, rows + from * width, n * width * sizeof(float));
}

/* Leaves only each sequence's last n_out rows, which alone are needed once the last layer's keys
 * are in the cache. Rows move to the front, so none is overwritten before its turn. */
static void keep_outputs(const vl2_decoder *d, vl2_attn_rows *rows, const vl2_decoder_seq *seqs) {
    const size_t half = vl2_rope_half(d->lang), width = d->lang->hidden;
    size_t kept = 0, parts = 0;
    for (size_t i = 0; i < rows->n_parts; i++) {
        vl2_attn_part part = rows->parts[i];
        const size_t n = seqs[i].n_out, skip = part.n_rows - n;
        if (n == 0) continue;
        move_rows(d->s.x, kept, part.row + skip, n, width);
        move_rows(d->s.normed, kept, part.row + skip, n, width);
        move_rows(rows->cos, kept, part.row + skip, n, half);
        move_rows(rows->sin, kept, part.row + skip, n, half);
        part.row = kept;
        part.n_rows = n;
        part.position += skip;
        rows->parts[parts++] = part;
        kept += n;
    }
    rows->n_parts = parts;
    rows->n_rows = kept;
}

static bool all_kept(const vl2_attn_rows *rows, const vl2_decoder_seq *seqs) {
    for (size_t i = 0; i < rows->n_parts; i++)
        if (seqs[i].n_out < rows->parts[i].n_rows) return false;
    return true;
}

static void normalize(const vl2_decoder *d, const vl2_norm *norm, size_t n_rows) {
    const size_t width = d->lang->hidden;
    d->be->ops->rmsnorm(d->be, d->s.normed, width, d->s.x, width, n_rows, width, &norm->w,
                        (float)d->lang->rms_eps);
}

static void store_keys(const vl2_decoder *d, const vl2_attn_rows *rows, size_t index) {
    const vl2_layer *layer = &d->weights->layers[index];
    if (d->lang->use_mla) {
        vl2_attn_mla_store(d->be, d->s.normed, rows, d->lang, layer, index, &d->s.mla);
    } else {
        vl2_attn_mha_store(d->be, d->s.normed, rows, d->lang, layer, index, &d->s.mha);
    }
}

static void attend(const vl2_decoder *d, const vl2_attn_rows *rows, size_t index) {
    const vl2_layer *layer = &d->weights->layers[index];
    const decoder_scratch *s = &d->s;
    if (d->lang->use_mla) {
        vl2_attn_mla_attend(d->be, s->x, s->normed, rows, d->lang, layer, index, &s->tables,
                            &s->mla);
    } else {
        vl2_attn_mha_attend(d->be, s->x, s->normed, rows, d->lang, layer, index, &s->tables,
                            &s->mha);
    }
}

static vl2_status feed_forward(const vl2_decoder *d, size_t n_rows, size_t index, vl2_error *err) {
    const vl2_layer *layer = &d->weights->layers[index];
    const decoder_scratch *s = &d->s;
    if (!layer->is_moe) {
        vl2_ffn_forward(d->be, s->x, s->normed, n_rows, d->lang, &layer->mlp, s->hidden);
        return VL2_OK;
    }
    if (vl2_moe_forward(d->be, s->x, s->normed, n_rows, d->lang, layer, &s->moe)) return VL2_OK;
    return vl2_fail(err, VL2_ERR_NUMERIC,
                    "layer %zu: the router's scores are not numbers; the weights or a picture's "
                    "rows hold NaN or infinity",
                    index);
}

/* One layer; in the last, `rows` shrinks to those with outputs. */
static vl2_status run_layer(const vl2_decoder *d, vl2_attn_rows *rows, size_t index,
                            const vl2_decoder_seq *seqs, vl2_error *err) {
    const vl2_layer *layer = &d->weights->layers[index];
    const bool last = index + 1 == d->lang->layers;
    rows->queries = !last || all_kept(rows, seqs);
    normalize(d, &layer->input_norm, rows->n_rows);
    store_keys(d, rows, index);
    if (last) keep_outputs(d, rows, seqs);
    if (rows->n_rows == 0) return VL2_OK;
    attend(d, rows, index);
    normalize(d, &layer->post_norm, rows->n_rows);
    return feed_forward(d, rows->n_rows, index, err);
}

/* logits of the rows that are left, [n_out, V] to each sequence. */
static void run_head(const vl2_decoder *d, const vl2_decoder_seq *seqs, size_t n_seqs) {
    const decoder_scratch *s = &d->s;
    size_t m = 0;
    for (size_t i = 0; i < n_seqs; i++) {
        for (size_t j = 0; j < seqs[i].n_out; j++) {
            s->targets[m++] = seqs[i].logits + j * d->lang->vocab;
        }
    }
    vl2_head_forward(d->be, s->targets, s->normed, m, &d->weights->head, s->logits, d->max_seqs);
}

/* Shows the last n_out of n_rows rows of the only sequence. */
static void show(const vl2_tap *tap, const vl2_decoder_seq *seqs, size_t n_seqs, const char *name,
                 size_t index, const float *rows, size_t n_rows, size_t width) {
    if (!tap || n_seqs != 1 || seqs->n_out == 0) return;
    vl2_tap_show(tap, name, index, seqs->kv->length + seqs->n_rows - seqs->n_out,
                 rows + (n_rows - seqs->n_out) * width, seqs->n_out, width);
}

vl2_status vl2_decoder_step(vl2_decoder *decoder, const vl2_decoder_seq *seqs, size_t n_seqs,
                            const vl2_tap *tap, int (*poll)(void *user), void *poll_user,
                            vl2_error *err) {
    const vl2_decoder *d = decoder;
    const vl2_language_config *lang = d->lang;
    size_t n_rows = 0;
    VL2_TRY(check_step(d, seqs, n_seqs, &n_rows, err));
    vl2_attn_rows rows = lay_out(d, seqs, n_seqs, n_rows);
    for (size_t i = 0; i < lang->layers; i++) {
        if (poll && poll(poll_user)) return vl2_fail(err, VL2_ERR_CANCELLED, "cancelled");
        show(tap, seqs, n_seqs, "hidden", i, d->s.x, rows.n_rows, lang->hidden);
        VL2_TRY(run_layer(d, &rows, i, seqs, err));
    }
    if (rows.n_rows == 0) return VL2_OK;
    normalize(d, &d->weights->norm, rows.n_rows);
    show(tap, seqs, n_seqs, "hidden", lang->layers, d->s.normed, rows.n_rows, lang->hidden);
    run_head(d, seqs, n_seqs);
    show(tap, seqs, n_seqs, "logits", 0, seqs->logits, seqs->n_out, lang->vocab);
    return VL2_OK;
}
