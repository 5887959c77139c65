/* What each stage computes and reads, counted from the shapes: for shares of a machine's peaks. */
#include "backend/peaks.h"
#include "engine/engine.h"
#include "vl2/vl2_dev.h"

/* Two operations for each weight and row. */
static double product(double rows, double outputs, double inputs) {
    return 2 * rows * outputs * inputs;
}

static double vision_flops(const vl2_vision_config *vision) {
    double n = (double)(vision->grid * vision->grid), width = (double)vision->width;
    double hidden = (double)vision->mlp_width;
    double patch = product(n, width, 3.0 * (double)(vision->patch * vision->patch));
    double block = product(n, 4 * width, width) + 2 * product(n, hidden, width) +
                   2 * product(n, n, width); /* scores and mixtures */
    return patch + (double)vision->layers * block;
}

static double mat_size(const vl2_mat *mat) {
    return mat->data ? (double)mat->rows * (double)mat->cols : 0;
}

static double projector_flops(const vl2_config *config, const vl2_projector_weights *w) {
    double n = (double)(config->projector.grid * config->projector.grid), weights = 0;
    for (size_t i = 0; i < config->projector.linears; i++) weights += mat_size(&w->layers[i].w);
    return 2 * n * (weights + mat_size(&w->pooling.w));
}

typedef double (*mat_measure)(const vl2_mat *mat);

static double mlp_sum(const vl2_mlp *mlp, mat_measure of) {
    return of(&mlp->gate) + of(&mlp->up) + of(&mlp->down);
}

/* Over the weights that one token meets in a layer. */
static double layer_sum(const vl2_layer *layer, const vl2_language_config *lang, mat_measure of) {
    double sum = of(&layer->q.w) + of(&layer->k.w) + of(&layer->v.w) + of(&layer->q_a.w) +
                 of(&layer->q_b) + of(&layer->kv_a.w) + of(&layer->kv_b) + of(&layer->k_b) +
                 of(&layer->v_b) + of(&layer->o.w);
    if (!layer->is_moe) return sum + mlp_sum(&layer->mlp, of);
    return sum + of(&layer->router) + mlp_sum(&layer->shared, of) +
           (double)lang->experts_per_token * mlp_sum(&layer->experts[0], of);
}

/* The bytes of those weights: a row's blocks for each row, whatever type each matrix has. */
static double mat_bytes(const vl2_mat *mat) {
    size_t row = 0;
    if (!mat->data || !vl2_dtype_row_bytes(&row, mat->type, mat->cols)) return 0;
    return (double)row * (double)mat->rows;
}

static double expert_bytes(const vl2_weights *w, const vl2_language_config *lang) {
    double bytes = 0;
    for (size_t i = 0; i < lang->layers; i++) {
        if (w->layers[i].is_moe)
            bytes += (double)lang->experts_per_token * mlp_sum(&w->layers[i].experts[0], mat_bytes);
    }
    return bytes;
}

/* The product that the backend makes of weights of a type: it rounds its input to their kind. */
static const char *product_of(const vl2_engine *engine, const vl2_mat *mat) {
    if (engine->be->kv_type == VL2_F32 || !mat->data) return "float32";
    if (vl2_dtype_of(mat->type)->block > 1 || mat->type == VL2_I8) return "int8";
    return mat->type == VL2_BF16 ? "bfloat16" : "float32";
}

vl2_dev_work vl2_dev_work_of(const vl2_engine *engine) {
    const vl2_language_config *lang = &engine->config.lang;
    const vl2_weights *w = &engine->weights;
    const vl2_layer *last = &w->layers[lang->layers - 1];
    const bool sees = engine->config.has_vision; /* a text half may still have the whole config */
    double weights = 0, bytes = mat_bytes(&w->head);
    for (size_t i = 0; i < lang->layers; i++) {
        weights += layer_sum(&w->layers[i], lang, mat_size);
        bytes += layer_sum(&w->layers[i], lang, mat_bytes);
    }
    double dims =
        lang->use_mla ? (double)(2 * lang->kv_lora + lang->rope_dim) : 2.0 * (double)lang->head_dim;
    return (vl2_dev_work){
        .vision_flops = sees ? vision_flops(&engine->config.vision) : 0,
        .projector_flops = sees ? projector_flops(&engine->config, &w->projector) : 0,
        .token_flops = 2 * weights,
        .attention_flops = 2.0 * (double)(lang->layers * lang->heads) * dims,
        .head_flops = 2 * mat_size(&w->head),
        .token_bytes = bytes,
        .expert_bytes = expert_bytes(w, lang),
        .chosen_experts =
            lang->experts ? (double)lang->experts_per_token / (double)lang->experts : 1,
        .vision_product = product_of(engine, sees ? &w->vision.blocks[0].fc1.w : &w->head),
        .projector_product = product_of(engine, sees ? &w->projector.layers[0].w : &w->head),
        .token_product = product_of(engine, last->is_moe ? &last->experts[0].gate : &last->o.w),
    };
}

vl2_status vl2_dev_measure_peaks(vl2_dev_peaks *out, vl2_engine *engine, vl2_error *err) {
    vl2_peaks peaks;
    VL2_TRY(vl2_peaks_measure(&peaks, engine->be, err));
    *out = (vl2_dev_peaks){.f32_gflops = peaks.f32 / 1e9,
                           .bf16_gflops = peaks.bf16 / 1e9,
                           .int8_gops = peaks.int8 / 1e9,
                           .read_gb_s = peaks.read / 1e9};
    return VL2_OK;
}
