#include "vision/siglip.h"

#include <math.h>
#include <string.h>

static const float norm_eps = 1e-6f; /* of every LayerNorm here */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

void vl2_siglip_carve(vl2_arena *arena, vl2_siglip_scratch *out, const vl2_config *config,
                      size_t n) {
    const vl2_vision_config *c = &config->vision;
    const size_t rows = n * c->grid * c->grid;
    const size_t wide = larger(larger(4 * c->width, c->mlp_width), 3 * c->patch * c->patch);
    out->normed = vl2_arena_array(arena, rows, c->width * sizeof(float));
    float *region = vl2_arena_array(arena, rows, wide * sizeof(float));
    out->patches = out->qkv = out->hidden = region;
    out->mixed = region ? region + rows * 3 * c->width : NULL;
    out->seqs = vl2_arena_array(arena, n, sizeof *out->seqs);
    out->blocks = vl2_arena_array(arena, n, sizeof *out->blocks);
}

void vl2_siglip_extent(size_t *max_rows, size_t *max_cols, const vl2_config *config, size_t n) {
    const vl2_vision_config *c = &config->vision;
    *max_rows = n * c->grid * c->grid;
    *max_cols = larger(larger(3 * c->width, c->mlp_width), 3 * c->patch * c->patch);
}

/* table[channel][byte] = the float32 that a byte of a view becomes: docs/MODEL.md §4. */
static void normalize_table(float table[3][256], const vl2_image_config *image) {
    for (size_t channel = 0; channel < 3; channel++) {
        for (size_t byte = 0; byte < 256; byte++) {
            float x = (float)byte / 255.0f;
            if (image->normalize) {
                x = (x - (float)image->mean[channel]) / (float)image->std[channel];
            }
            table[channel][byte] = x;
        }
    }
}

/* out [G*G, 3*P*P] (channel, row, column) of one view [3,S,S]; what P leaves over is unused. */
static void unfold_view(float *out, const uint8_t *view, const vl2_vision_config *c,
                        float table[3][256]) {
    const size_t side = c->side, patch = c->patch, grid = c->grid;
    for (size_t at = 0; at < grid * grid; at++) {
        const uint8_t *corner = view + (at / grid) * patch * side + (at % grid) * patch;
        for (size_t channel = 0; channel < 3; channel++) {
            for (size_t row = 0; row < patch; row++) {
                const uint8_t *pixels = corner + (channel * side + row) * side;
                for (size_t col = 0; col < patch; col++) *out++ = table[channel][pixels[col]];
            }
        }
    }
}

/* feat [n*G*G, Dv] = position embedding + conv(P, P, stride P). */
static void embed_patches(vl2_backend *be, float *feat, const uint8_t *tiles, size_t n,
                          const vl2_config *config, const vl2_vision_weights *w, float *patches) {
    const vl2_vision_config *c = &config->vision;
    const size_t per_view = c->grid * c->grid, features = 3 * c->patch * c->patch;
    float table[3][256];
    normalize_table(table, &config->image);
    for (size_t i = 0; i < n; i++) {
        unfold_view(patches + i * per_view * features, tiles + i * 3 * c->side * c->side, c, table);
        memcpy(feat + i * per_view * c->width, w->pos.data, per_view * c->width * sizeof(float));
    }
    be->ops->linear(be, feat, c->width, patches, features, n * per_view, &w->patch.w, &w->patch.b,
                    VL2_EPI_ADD, false);
}

/* feat += proj(attention(norm1(feat))): full attention inside each view, scale head_dim^-0.5. */
static void attend(vl2_backend *be, float *feat, size_t n, const vl2_vision_config *c,
                   const vl2_vision_block *block, const vl2_siglip_scratch *s) {
    const size_t width = c->width, per_view = c->grid * c->grid, rows = n * per_view;
    const size_t head_dim = width / c->heads, ld = 3 * width;
    be->ops->layernorm(be, s->normed, width, feat, width, rows, width, &block->norm1.w,
                       &block->norm1.b, norm_eps);
    be->ops->linear(be, s->qkv, ld, s->normed, width, rows, &block->qkv.w, &block->qkv.b,
                    VL2_EPI_NONE, false);
    for (size_t i = 0; i < n; i++) {
        const float *keys = s->qkv + i * per_view * ld + width;
        s->blocks[i] = (vl2_kv_block){.k = keys, .v = keys + width, .n = per_view};
        s->seqs[i] = (vl2_attn_seq){
            .row = i * per_view, .n_rows = per_view, .blocks = &s->blocks[i], .n_blocks = 1};
    }
    be->ops->attention(be, &(vl2_attn){
                               .q = s->qkv,
                               .ldq = ld,
                               .out = s->mixed,
                               .ldo = width,
                               .kv_type = VL2_F32,
                               .heads = c->heads,
                               .kv_heads = c->heads,
                               .k_dim = head_dim,
                               .v_dim = head_dim,
                               .k_token = ld,
                               .v_token = ld,
                               .k_head = head_dim,
                               .v_head = head_dim,
                               .scale = 1.0f / sqrtf((float)head_dim),
                               .causal = false,
                               .first = true,
                               .last = true,
                               .seqs = s->seqs,
                               .n_seqs = n,
                           });
    be->ops->linear(be, feat, width, s->mixed, width, rows, &block->proj.w, &block->proj.b,
                    VL2_EPI_ADD, false);
}

/* feat += fc2(gelu_tanh(fc1(norm2(feat)))) */
static void feed_forward(vl2_backend *be, float *feat, size_t rows, const vl2_vision_config *c,
                         const vl2_vision_block *block, const vl2_siglip_scratch *s) {
    be->ops->layernorm(be, s->normed, c->width, feat, c->width, rows, c->width, &block->norm2.w,
                       &block->norm2.b, norm_eps);
    be->ops->linear(be, s->hidden, c->mlp_width, s->normed, c->width, rows, &block->fc1.w,
                    &block->fc1.b, VL2_EPI_GELU_TANH, false);
    be->ops->linear(be, feat, c->width, s->hidden, c->mlp_width, rows, &block->fc2.w, &block->fc2.b,
                    VL2_EPI_ADD, false);
}

vl2_status vl2_siglip_forward(vl2_backend *be, float *feat, const uint8_t *tiles, size_t n,
                              const vl2_config *config, const vl2_vision_weights *w,
                              const vl2_siglip_scratch *scratch, int (*poll)(void *user),
                              void *poll_user, vl2_error *err) {
    const vl2_vision_config *c = &config->vision;
    const size_t rows = n * c->grid * c->grid;
    embed_patches(be, feat, tiles, n, config, w, scratch->patches);
    for (size_t i = 0; i < c->layers; i++) {
        if (poll && poll(poll_user)) return vl2_fail(err, VL2_ERR_CANCELLED, "cancelled");
        attend(be, feat, n, c, &w->blocks[i], scratch);
        feed_forward(be, feat, rows, c, &w->blocks[i], scratch);
    }
    if (c->final_norm) {
        be->ops->layernorm(be, feat, c->width, feat, c->width, rows, c->width, &w->norm.w,
                           &w->norm.b, norm_eps);
    }
    return VL2_OK;
}
