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

static double mlp_size(const vl2_mlp *mlp) {
    return mat_size(&mlp->gate) + mat_size(&mlp->up) + mat_size(&mlp->down);
}

/* Weights that one token meets in a layer. */
static double layer_size(const vl2_layer *layer, const vl2_language_config *lang) {
    double size = mat_size(&layer->q.w) + mat_size(&layer->k.w) + mat_size(&layer->v.w) +
                  mat_size(&layer->q_a.w) + mat_size(&layer->q_b) + mat_size(&layer->kv_a.w) +
                  mat_size(&layer->kv_b) + mat_size(&layer->o.w);
    if (!layer->is_moe) return size + mlp_size(&layer->mlp);
    return size + mat_size(&layer->router) + mlp_size(&layer->shared) +
           (double)lang->experts_per_token * mlp_size(&layer->experts[0]);
}

vl2_dev_work vl2_dev_work_of(const vl2_engine *engine) {
    const vl2_language_config *lang = &engine->config.lang;
    double weights = 0, head = mat_size(&engine->weights.head);
    for (size_t i = 0; i < lang->layers; i++) {
        weights += layer_size(&engine->weights.layers[i], lang);
    }
    double dims =
        lang->use_mla ? (double)(2 * lang->kv_lora + lang->rope_dim) : 2.0 * (double)lang->head_dim;
    const vl2_dtype_traits *traits = vl2_dtype_of(engine->weights.head.type);
    return (vl2_dev_work){
        .vision_flops = vision_flops(&engine->config.vision),
        .projector_flops = projector_flops(&engine->config, &engine->weights.projector),
        .token_flops = 2 * weights,
        .attention_flops = 2.0 * (double)(lang->layers * lang->heads) * dims,
        .head_flops = 2 * head,
        .token_bytes = (weights + head) * (double)traits->block_bytes / (double)traits->block,
    };
}

vl2_status vl2_dev_measure_peaks(vl2_dev_peaks *out, vl2_engine *engine, vl2_error *err) {
    vl2_peaks peaks;
    VL2_TRY(vl2_peaks_measure(&peaks, engine->be, err));
    *out = (vl2_dev_peaks){.f32_gflops = peaks.f32 / 1e9,
                           .bf16_gflops = peaks.bf16 / 1e9,
                           .read_gb_s = peaks.read / 1e9};
    return VL2_OK;
}
