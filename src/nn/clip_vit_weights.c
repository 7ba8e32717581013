/* Names, shapes and initial values of the weights of CLIP's image encoder. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/clip_vit.h"

typedef struct rename_rule {
    const char *from, *to;
    int32_t third;
    bool transposed;
} rename_rule;

/* Hugging Face -> OpenAI, outside the blocks and inside. */
static const rename_rule outer[] = {
    {"vision_model.embeddings.class_embedding", "visual.class_embedding", -1, false},
    {"vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight", -1, false},
    {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding", -1, false},
    {"vision_model.pre_layrnorm.weight", "visual.ln_pre.weight", -1, false},
    {"vision_model.pre_layrnorm.bias", "visual.ln_pre.bias", -1, false},
    {"vision_model.post_layernorm.weight", "visual.ln_post.weight", -1, false},
    {"vision_model.post_layernorm.bias", "visual.ln_post.bias", -1, false},
    {"visual_projection.weight", "visual.proj", -1, true},
};

static const rename_rule inner[] = {
    {"layer_norm1.weight", "ln_1.weight", -1, false},
    {"layer_norm1.bias", "ln_1.bias", -1, false},
    {"layer_norm2.weight", "ln_2.weight", -1, false},
    {"layer_norm2.bias", "ln_2.bias", -1, false},
    {"self_attn.q_proj.weight", "attn.in_proj_weight", 0, false},
    {"self_attn.k_proj.weight", "attn.in_proj_weight", 1, false},
    {"self_attn.v_proj.weight", "attn.in_proj_weight", 2, false},
    {"self_attn.q_proj.bias", "attn.in_proj_bias", 0, false},
    {"self_attn.k_proj.bias", "attn.in_proj_bias", 1, false},
    {"self_attn.v_proj.bias", "attn.in_proj_bias", 2, false},
    {"self_attn.out_proj.weight", "attn.out_proj.weight", -1, false},
    {"self_attn.out_proj.bias", "attn.out_proj.bias", -1, false},
    {"mlp.fc1.weight", "mlp.c_fc.weight", -1, false},
    {"mlp.fc1.bias", "mlp.c_fc.bias", -1, false},
    {"mlp.fc2.weight", "mlp.c_proj.weight", -1, false},
    {"mlp.fc2.bias", "mlp.c_proj.bias", -1, false},
};

static const rename_rule *rule_for(const rename_rule *rules, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(rules[i].from, name) == 0) return &rules[i];
    return NULL;
}

static const char *after_prefix(const char *name, const char *prefix) {
    const size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 ? name + length : NULL;
}

bool ec__clip_vit_name(void *arg, const char *name, ec_mapped *out) {
    (void)arg;
    const char *rest = after_prefix(name, "image_backbone.model.");
    if (rest) name = rest;
    *out = (ec_mapped){.third = -1};
    if (after_prefix(name, "visual.")) {
        snprintf(out->name, sizeof out->name, "%s", name);
        return true;
    }
    if (!after_prefix(name, "vision_model.") && !after_prefix(name, "visual_projection.")) return false;
    /* An index buffer 0, 1, 2 ... that some versions save. */
    if (strcmp(name, "vision_model.embeddings.position_ids") == 0) return false;
    const rename_rule *rule = rule_for(outer, sizeof outer / sizeof outer[0], name);
    rest = after_prefix(name, "vision_model.encoder.layers.");
    const char *dot = rest ? strchr(rest, '.') : NULL;
    const rename_rule *in_block = dot ? rule_for(inner, sizeof inner / sizeof inner[0], dot + 1) : NULL;
    if (in_block)
        snprintf(out->name, sizeof out->name, "visual.transformer.resblocks.%.*s.%s", (int)(dot - rest), rest,
                 in_block->to);
    else snprintf(out->name, sizeof out->name, "%s", rule ? rule->to : name); /* unknown: reported later */
    if (in_block) rule = in_block;
    if (rule) out->third = rule->third, out->transposed = rule->transposed;
    return true;
}

/* Finds a tensor and checks its number of dimensions. */
static ec_status locate(const ec_tensor_source *source, const char *name, int32_t rank, ec_tensor_info *info) {
    int32_t index = -1;
    EC_RETURN_IF(ec__weights_locate(source, ec__clip_vit_name, NULL, name, &index));
    if (index < 0)
        return EC_ERROR(EC_ERR_DATA,
                        "%s: %s is missing: no CLIP image encoder (names visual.* or vision_model.*) is in it",
                        source->origin, name);
    EC_RETURN_IF(source->info(source->arg, index, info));
    if (info->rank == rank) return EC_OK;
    char shape[EC_SHAPE_TEXT];
    ec__shape_text(info->rank, info->dim, shape);
    return EC_ERROR(EC_ERR_DATA, "%s: %s has shape %s; expected %d dimensions", source->origin, info->name, shape,
                    rank);
}

/* Largest block number that occurs, plus one. */
static ec_status count_layers(const ec_tensor_source *source, int32_t *layers) {
    *layers = 0;
    for (int32_t i = 0; i < source->count; i++) {
        ec_tensor_info info;
        ec_mapped mapped;
        EC_RETURN_IF(source->info(source->arg, i, &info));
        if (!ec__clip_vit_name(NULL, info.name, &mapped)) continue;
        const char *number = after_prefix(mapped.name, "visual.transformer.resblocks.");
        if (!number) continue;
        const long n = strtol(number, NULL, 10);
        if (n < 0 || n >= 1000)
            return EC_ERROR(EC_ERR_DATA, "%s: %s: a block number below 1000 expected", source->origin, info.name);
        if (n >= *layers) *layers = (int32_t)n + 1;
    }
    return EC_OK;
}

static ec_status check_limits(const ec_tensor_source *source, const ec_tensor_info *info) {
    for (int32_t i = 0; i < info->rank; i++)
        if (info->dim[i] < 1 || info->dim[i] > 1 << 20) {
            char shape[EC_SHAPE_TEXT];
            ec__shape_text(info->rank, info->dim, shape);
            return EC_ERROR(EC_ERR_DATA, "%s: %s has shape %s; expected sizes from 1 to 2^20", source->origin,
                            info->name, shape);
        }
    return EC_OK;
}

ec_status ec__clip_vit_infer(const ec_tensor_source *source, int32_t heads, ec_clip_vit_shape *out) {
    ec_tensor_info conv, position, projection, mlp;
    ec_clip_vit_shape shape = {.heads = heads};
    EC_RETURN_IF(locate(source, "visual.conv1.weight", 4, &conv));
    EC_RETURN_IF(locate(source, "visual.positional_embedding", 2, &position));
    EC_RETURN_IF(locate(source, "visual.proj", 2, &projection));
    EC_RETURN_IF(locate(source, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2, &mlp));
    const ec_tensor_info *all[] = {&conv, &position, &projection, &mlp};
    for (int i = 0; i < 4; i++) EC_RETURN_IF(check_limits(source, all[i]));
    ec_mapped mapped;
    ec__clip_vit_name(NULL, projection.name, &mapped);
    EC_RETURN_IF(count_layers(source, &shape.layers));
    shape.width = (int32_t)conv.dim[0];
    shape.patch = (int32_t)conv.dim[2];
    shape.output = (int32_t)projection.dim[mapped.transposed ? 0 : 1];
    shape.hidden = (int32_t)mlp.dim[0];
    shape.grid = (int32_t)lround(sqrt((double)(position.dim[0] - 1)));
    if ((int64_t)shape.grid * shape.grid + 1 != position.dim[0])
        return EC_ERROR(EC_ERR_DATA, "%s: %s has %lld rows; expected a square number of patches and one",
                        source->origin, position.name, (long long)position.dim[0]);
    if (shape.heads == 0) shape.heads = shape.width / 64;
    EC_RETURN_IF(ec__clip_vit_check(&shape));
    *out = shape;
    return EC_OK;
}

ec_status ec__clip_vit_check(const ec_clip_vit_shape *s) {
    if (s->width < 16 || s->layers < 1 || s->patch < 1 || s->grid < 1 || s->output < 1 || s->hidden < 1)
        return EC_ERROR(EC_ERR_DATA,
                        "CLIP: width %d, %d layers, patch %d, grid %d, output %d, MLP %d: all must be positive",
                        s->width, s->layers, s->patch, s->grid, s->output, s->hidden);
    if (s->heads < 1 || s->width % s->heads != 0 || s->width / s->heads % 16 != 0 || s->width / s->heads > 256)
        return EC_ERROR(EC_ERR_DATA,
                        "CLIP: %d heads for width %d; a head's width must be a multiple of 16, at most 256",
                        s->heads, s->width);
    if ((int64_t)s->patch * s->grid > 4096)
        return EC_ERROR(EC_ERR_DATA, "CLIP: images of %lld pixels a side; at most 4096", (long long)s->patch * s->grid);
    return EC_OK;
}

#define SHAPE(...) (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

static const ec_init ones = {EC_INIT_CONSTANT, 1}, zeros = {EC_INIT_CONSTANT, 0};

static ec_init normal(double deviation) { return (ec_init){EC_INIT_NORMAL, deviation}; }

static ec_status declare_norm(ec_weights *weights, const char *prefix, int64_t w) {
    EC_RETURN_IF(ec__weights_add(weights, ones, false, SHAPE(w), "%s.weight", prefix));
    return ec__weights_add(weights, zeros, false, SHAPE(w), "%s.bias", prefix);
}

static ec_status declare_linear(ec_weights *weights, const char *prefix, int64_t n, int64_t k, double deviation) {
    EC_RETURN_IF(ec__weights_add(weights, normal(deviation), false, SHAPE(n, k), "%s.weight", prefix));
    return ec__weights_add(weights, zeros, false, SHAPE(n), "%s.bias", prefix);
}

/* Deviations as OpenAI's model.py initialises its transformers. */
static ec_status declare_block(const ec_clip_vit_shape *s, int32_t number, ec_weights *weights) {
    const int64_t w = s->width;
    const double residual = 1 / sqrt((double)w) / sqrt(2.0 * s->layers);
    char block[EC_NAME / 2], name[EC_NAME];
    snprintf(block, sizeof block, "visual.transformer.resblocks.%d", number);
    snprintf(name, sizeof name, "%s.ln_1", block);
    EC_RETURN_IF(declare_norm(weights, name, w));
    EC_RETURN_IF(ec__weights_add(weights, normal(1 / sqrt((double)w)), false, SHAPE(3 * w, w), "%s.attn.in_proj_weight",
                                 block));
    EC_RETURN_IF(ec__weights_add(weights, zeros, false, SHAPE(3 * w), "%s.attn.in_proj_bias", block));
    snprintf(name, sizeof name, "%s.attn.out_proj", block);
    EC_RETURN_IF(declare_linear(weights, name, w, w, residual));
    snprintf(name, sizeof name, "%s.ln_2", block);
    EC_RETURN_IF(declare_norm(weights, name, w));
    snprintf(name, sizeof name, "%s.mlp.c_fc", block);
    EC_RETURN_IF(declare_linear(weights, name, s->hidden, w, 1 / sqrt(2.0 * (double)w)));
    snprintf(name, sizeof name, "%s.mlp.c_proj", block);
    return declare_linear(weights, name, w, s->hidden, residual);
}

ec_status ec__clip_vit_declare(const ec_clip_vit_shape *s, ec_weights *weights) {
    const int64_t w = s->width, p = s->patch, tokens = (int64_t)s->grid * s->grid + 1;
    const double scale = 1 / sqrt((double)w);
    const ec_init conv = {EC_INIT_UNIFORM, 1 / sqrt((double)(3 * p * p))};
    EC_RETURN_IF(ec__weights_add(weights, normal(scale), false, SHAPE(w), "visual.class_embedding"));
    EC_RETURN_IF(ec__weights_add(weights, normal(scale), false, SHAPE(tokens, w), "visual.positional_embedding"));
    EC_RETURN_IF(ec__weights_add(weights, normal(scale), false, SHAPE(w, s->output), "visual.proj"));
    EC_RETURN_IF(ec__weights_add(weights, conv, false, SHAPE(w, 3, p, p), "visual.conv1.weight"));
    EC_RETURN_IF(declare_norm(weights, "visual.ln_pre", w));
    for (int32_t i = 0; i < s->layers; i++) EC_RETURN_IF(declare_block(s, i, weights));
    return declare_norm(weights, "visual.ln_post", w);
}
