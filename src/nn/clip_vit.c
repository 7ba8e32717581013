/* Forward pass of CLIP's image encoder. */
#include "nn/clip_vit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "nn/encoder_net.h"

enum { NORMS = 2 };

static const float EPS = 1e-5f; /* of LayerNorm */

typedef struct norm {
    float *gain, *offset; /* in the back end's memory */
} norm;

typedef struct block {
    norm ln_1, ln_2;
    ec_linear *qkv, *out, *fc, *proj;
} block;

typedef struct clip_vit {
    ec_clip_vit_shape shape;
    ec_precision precision;
    int32_t tokens, patch_size; /* patch_size: numbers in a patch, 3 P P */
    float *vectors;             /* the allocation behind all vectors below */
    float *first, *position;
    norm ln_pre, ln_post;
    ec_linear *conv1, *proj;
    block *blocks;
} clip_vit;

/* Arrays of one task, carved out of its workspace. */
typedef struct scratch {
    float *images;  /* (n, 3, R, R) */
    float *x;       /* (n, T, W): the residual stream */
    float *qkv;     /* (n, T, 3W); before the blocks: patch embeddings (n, T-1, W) */
    void *normed;   /* (n, T, W): what enters a product; also attention's result */
    void *hidden;   /* (n, T, hidden); before the blocks: patches (n, T-1, 3PP) */
    float *result;  /* (n, output) */
} scratch;

static scratch carve(const clip_vit *net, int32_t n, ec_arena *arena) {
    const ec_clip_vit_shape *s = &net->shape;
    const size_t rows = (size_t)n * (size_t)net->tokens, w = (size_t)s->width;
    const size_t side = (size_t)s->patch * (size_t)s->grid;
    const size_t wide = (size_t)(s->hidden > net->patch_size ? s->hidden : net->patch_size);
    const size_t size = ec__precision_size(net->precision);
    return (scratch){
        .images = ec__arena_take(arena, (size_t)n * 3 * side * side, sizeof(float)),
        .x = ec__arena_take(arena, rows * w, sizeof(float)),
        .qkv = ec__arena_take(arena, rows * 3 * w, sizeof(float)),
        .normed = ec__arena_take(arena, rows * w, size),
        .hidden = ec__arena_take(arena, rows * wide, size),
        .result = ec__arena_take(arena, (size_t)n * (size_t)s->output, sizeof(float)),
    };
}

/* Shows rows of x to the probe; the back end's memory is brought to the host. */
static ec_status show(const ec_encode *call, const char *layer, const float *x, int64_t per_sample) {
    ec_status status = EC_OK;
    float *host = NULL;
    if (!call->probe) return EC_OK;
    const size_t bytes = sizeof(float) * (size_t)call->count * (size_t)per_sample;
    host = malloc(bytes);
    if (!host) EC_FAIL(EC_ERR_MEMORY, "no memory to show a layer");
    EC_TRY(call->be->memory->download(call->be, call->stream, host, x, bytes));
    EC_TRY(call->be->synchronize(call->be));
    call->probe(call->probe_arg, layer, call->first, call->count, host, per_sample);
done:
    free(host);
    return status;
}

static ec_status embed_patches(const clip_vit *net, const ec_encode *call, const scratch *s) {
    const ec_encoder_ops *ops = call->be->encoder;
    const int32_t n = call->count, w = net->shape.width, side = net->shape.patch * net->shape.grid, t = net->tokens;
    const size_t bytes = sizeof(float) * (size_t)n * 3 * (size_t)side * (size_t)side;
    const ec_linear_call conv = {.m = n * (t - 1), .ldx = net->patch_size, .ldy = w};
    EC_RETURN_IF(call->be->memory->upload(call->be, call->stream, s->images, call->inputs, bytes));
    EC_RETURN_IF(ops->patches(call->be, call->stream, n, 3, side, side, net->shape.patch, net->precision, s->images,
                              s->hidden));
    EC_RETURN_IF(ops->linear(call->be, call->stream, net->conv1, &conv, s->hidden, s->qkv));
    EC_RETURN_IF(show(call, "conv1", s->qkv, (int64_t)(t - 1) * w));
    EC_RETURN_IF(ops->tokens(call->be, call->stream, n, t, w, s->qkv, net->first, net->position, s->x));
    EC_RETURN_IF(ops->layernorm(call->be, call->stream, n * t, w, w, EPS, s->x, net->ln_pre.gain, net->ln_pre.offset,
                                EC_PRECISION_FLOAT32, s->x));
    return show(call, "ln_pre", s->x, (int64_t)t * w);
}

static ec_status attend(const clip_vit *net, const block *b, const ec_encode *call, const scratch *s) {
    const ec_encoder_ops *ops = call->be->encoder;
    const int32_t w = net->shape.width, rows = call->count * net->tokens;
    const ec_attention attention = {.batch = call->count, .tokens = net->tokens, .heads = net->shape.heads,
                                    .head_width = w / net->shape.heads, .y_precision = net->precision,
                                    .scale = 1.f / sqrtf((float)(w / net->shape.heads))};
    const ec_linear_call qkv = {.m = rows, .ldx = w, .ldy = 3 * w};
    EC_RETURN_IF(ops->layernorm(call->be, call->stream, rows, w, w, EPS, s->x, b->ln_1.gain, b->ln_1.offset,
                                net->precision, s->normed));
    EC_RETURN_IF(ops->linear(call->be, call->stream, b->qkv, &qkv, s->normed, s->qkv));
    return ops->attention(call->be, call->stream, &attention, s->qkv, s->normed);
}

/* What follows attention, for the first rows rows of x and normed. */
static ec_status mix(const clip_vit *net, const block *b, const ec_encode *call, const scratch *s, int32_t rows) {
    const ec_encoder_ops *ops = call->be->encoder;
    const int32_t w = net->shape.width, hidden = net->shape.hidden;
    const ec_linear_call out = {.m = rows, .ldx = w, .ldy = w, .accumulate = true};
    const ec_linear_call fc = {.m = rows, .ldx = w, .ldy = hidden, .activation = EC_ACT_QUICK_GELU,
                               .y_precision = net->precision};
    const ec_linear_call proj = {.m = rows, .ldx = hidden, .ldy = w, .accumulate = true};
    EC_RETURN_IF(ops->linear(call->be, call->stream, b->out, &out, s->normed, s->x));
    EC_RETURN_IF(ops->layernorm(call->be, call->stream, rows, w, w, EPS, s->x, b->ln_2.gain, b->ln_2.offset,
                                net->precision, s->normed));
    EC_RETURN_IF(ops->linear(call->be, call->stream, b->fc, &fc, s->normed, s->hidden));
    return ops->linear(call->be, call->stream, b->proj, &proj, s->hidden, s->x);
}

/* Class tokens of x and normed alone, one row an image: they go where qkv was, which is not needed any more. */
static ec_status keep_class(const clip_vit *net, const ec_encode *call, scratch *s) {
    const ec_memory_ops *memory = call->be->memory;
    const size_t n = (size_t)call->count, w = (size_t)net->shape.width, t = (size_t)net->tokens;
    const size_t x_row = w * sizeof(float), row = w * ec__precision_size(net->precision);
    float *const x = s->qkv;
    void *const normed = s->qkv + n * w;
    EC_RETURN_IF(memory->copy_rows(call->be, call->stream, x, s->x, n, x_row, t * x_row));
    EC_RETURN_IF(memory->copy_rows(call->be, call->stream, normed, s->normed, n, row, t * row));
    s->x = x;
    s->normed = normed;
    return EC_OK;
}

/* Of the last block only the class tokens go on, so behind its attention the other rows are left out (6 % of the work
 * of ViT-B/32), unless somebody looks. Leaves one row an image, row_distance apart, in x. */
static ec_status run_blocks(const clip_vit *net, const ec_encode *call, scratch *s, int32_t *row_distance) {
    const int32_t w = net->shape.width, layers = net->shape.layers, rows = call->count * net->tokens;
    for (int32_t i = 0; i < layers; i++) {
        const bool class_only = i == layers - 1 && !call->probe;
        char name[32];
        snprintf(name, sizeof name, "block%d", i);
        EC_RETURN_IF(attend(net, &net->blocks[i], call, s));
        if (class_only) EC_RETURN_IF(keep_class(net, call, s));
        EC_RETURN_IF(mix(net, &net->blocks[i], call, s, class_only ? call->count : rows));
        EC_RETURN_IF(show(call, name, s->x, (int64_t)net->tokens * w));
    }
    *row_distance = call->probe ? net->tokens * w : w;
    return EC_OK;
}

static ec_status forward(const void *state, const ec_encode *call) {
    const clip_vit *net = state;
    const ec_encoder_ops *ops = call->be->encoder;
    const int32_t n = call->count, w = net->shape.width, output = net->shape.output;
    int32_t row_distance = 0;
    ec_arena arena = ec__arena_over(call->workspace, call->workspace_bytes);
    scratch s = carve(net, n, &arena);
    const ec_linear_call proj = {.m = n, .ldx = w, .ldy = output};
    EC_RETURN_IF(embed_patches(net, call, &s));
    EC_RETURN_IF(run_blocks(net, call, &s, &row_distance));
    EC_RETURN_IF(ops->layernorm(call->be, call->stream, n, w, row_distance, EPS, s.x, net->ln_post.gain,
                                net->ln_post.offset, net->precision, s.normed));
    EC_RETURN_IF(ops->linear(call->be, call->stream, net->proj, &proj, s.normed, s.result));
    return call->be->memory->download(call->be, call->stream, call->embeddings, s.result,
                                      sizeof(float) * (size_t)n * (size_t)output);
}

static void net_free(void *state, ec_backend *be) {
    clip_vit *net = state;
    if (!net) return;
    for (int32_t i = 0; net->blocks && i < net->shape.layers; i++) {
        block *b = &net->blocks[i];
        be->encoder->linear_free(be, b->qkv);
        be->encoder->linear_free(be, b->out);
        be->encoder->linear_free(be, b->fc);
        be->encoder->linear_free(be, b->proj);
    }
    be->encoder->linear_free(be, net->conv1);
    be->encoder->linear_free(be, net->proj);
    be->memory->free(be, net->vectors);
    free(net->blocks);
    free(net);
}

/* A vector of the host, copied into the arena of vectors; while that only counts, only counted. */
static ec_status place(ec_backend *be, ec_arena *arena, const float *from, size_t count, float **out) {
    *out = ec__arena_take(arena, count, sizeof(float));
    if (!*out) return EC_OK;
    return be->memory->upload(be, be->main_stream(be), *out, from, count * sizeof(float));
}

static ec_status place_norm(ec_backend *be, ec_arena *arena, const ec_weights *weights, const char *name, size_t w,
                            norm *out) {
    EC_RETURN_IF(place(be, arena, ec__weights_get(weights, "%s.weight", name), w, &out->gain));
    return place(be, arena, ec__weights_get(weights, "%s.bias", name), w, &out->offset);
}

static ec_status place_vectors(ec_backend *be, ec_arena *arena, const ec_weights *weights, clip_vit *net) {
    const size_t w = (size_t)net->shape.width;
    EC_RETURN_IF(place(be, arena, ec__weights_get(weights, "visual.class_embedding"), w, &net->first));
    EC_RETURN_IF(place(be, arena, ec__weights_get(weights, "visual.positional_embedding"), w * (size_t)net->tokens,
                       &net->position));
    EC_RETURN_IF(place_norm(be, arena, weights, "visual.ln_pre", w, &net->ln_pre));
    EC_RETURN_IF(place_norm(be, arena, weights, "visual.ln_post", w, &net->ln_post));
    for (int32_t i = 0; i < net->shape.layers; i++)
        for (int j = 0; j < NORMS; j++) {
            char name[EC_NAME];
            snprintf(name, sizeof name, "visual.transformer.resblocks.%d.ln_%d", i, j + 1);
            EC_RETURN_IF(place_norm(be, arena, weights, name, w, j ? &net->blocks[i].ln_2 : &net->blocks[i].ln_1));
        }
    return EC_OK;
}

static ec_status pack_linear(ec_backend *be, const clip_vit *net, const ec_weights *weights, int32_t number,
                             const char *layer, const char *separator, int32_t n, int32_t k, ec_linear **out) {
    char prefix[EC_NAME];
    snprintf(prefix, sizeof prefix, "visual.transformer.resblocks.%d.%s%s", number, layer, separator);
    return be->encoder->linear_new(be, net->precision, n, k, ec__weights_get(weights, "%sweight", prefix),
                                   ec__weights_get(weights, "%sbias", prefix), out);
}

static ec_status pack_blocks(ec_backend *be, const ec_weights *weights, clip_vit *net) {
    const int32_t w = net->shape.width, hidden = net->shape.hidden;
    for (int32_t i = 0; i < net->shape.layers; i++) {
        block *b = &net->blocks[i];
        EC_RETURN_IF(pack_linear(be, net, weights, i, "attn.in_proj", "_", 3 * w, w, &b->qkv));
        EC_RETURN_IF(pack_linear(be, net, weights, i, "attn.out_proj", ".", w, w, &b->out));
        EC_RETURN_IF(pack_linear(be, net, weights, i, "mlp.c_fc", ".", hidden, w, &b->fc));
        EC_RETURN_IF(pack_linear(be, net, weights, i, "mlp.c_proj", ".", w, hidden, &b->proj));
    }
    return EC_OK;
}

/* proj is stored (W, output); a linear layer wants (output, W). */
static ec_status pack_projection(ec_backend *be, const ec_weights *weights, clip_vit *net) {
    const size_t w = (size_t)net->shape.width, n = (size_t)net->shape.output;
    const float *from = ec__weights_get(weights, "visual.proj");
    float *turned = malloc(sizeof(float) * w * n);
    if (!turned) return EC_ERROR(EC_ERR_MEMORY, "no memory for CLIP's projection");
    for (size_t i = 0; i < w; i++)
        for (size_t j = 0; j < n; j++) turned[j * w + i] = from[i * n + j];
    const ec_status status = be->encoder->linear_new(be, net->precision, (int32_t)n, (int32_t)w, turned, NULL,
                                                     &net->proj);
    free(turned);
    return status;
}

static ec_status build(ec_backend *be, const ec_weights *weights, clip_vit *net) {
    void *memory = NULL;
    ec_arena arena = ec__arena_counting();
    EC_RETURN_IF(place_vectors(be, &arena, weights, net));
    EC_RETURN_IF(be->memory->alloc(be, ec__arena_used(&arena), &memory));
    net->vectors = memory;
    arena = ec__arena_over(memory, ec__arena_used(&arena));
    EC_RETURN_IF(place_vectors(be, &arena, weights, net));
    EC_RETURN_IF(be->synchronize(be)); /* the weights are not kept */
    EC_RETURN_IF(be->encoder->linear_new(be, net->precision, net->shape.width, net->patch_size,
                                         ec__weights_get(weights, "visual.conv1.weight"), NULL, &net->conv1));
    EC_RETURN_IF(pack_blocks(be, weights, net));
    return pack_projection(be, weights, net);
}

static double operations(const clip_vit *net) {
    const double t = net->tokens, w = net->shape.width;
    const double one_block = t * w * (4 * w + 2 * (double)net->shape.hidden) + 2 * t * t * w;
    return 2 * ((t - 1) * w * net->patch_size + net->shape.layers * one_block + w * net->shape.output);
}

static void describe(const clip_vit *net, const ec_weights *weights, ec_encoder_info *info) {
    const ec_clip_vit_shape *s = &net->shape;
    info->input = EC_INPUT_IMAGE;
    info->resolution = s->patch * s->grid;
    info->input_count = (int64_t)3 * info->resolution * info->resolution;
    info->embedding = s->output;
    info->operations = operations(net);
    for (int32_t i = 0; i < weights->count; i++) info->parameters += weights->item[i].count;
    snprintf(info->architecture, sizeof info->architecture,
             "{\"width\": %d, \"layers\": %d, \"heads\": %d, \"mlp\": %d, \"patch\": %d, \"resolution\": %d, "
             "\"output\": %d}",
             s->width, s->layers, s->heads, s->hidden, s->patch, info->resolution, s->output);
    /* Mean and deviation of the channels: CLIP's preprocessing. */
    snprintf(info->preprocess, sizeof info->preprocess,
             "{\"resize\": %d, \"interpolation\": \"bicubic\", \"antialias\": true, \"center_crop\": %d, "
             "\"mode\": \"RGB\", "
             "\"mean\": [0.48145466, 0.4578275, 0.40821073], \"std\": [0.26862954, 0.26130258, 0.27577711]}",
             info->resolution, info->resolution);
}

static ec_status shape_of(const ec_encoder_options *o, const ec_tensor_source *source, ec_clip_vit_shape *out) {
    if (source) return ec__clip_vit_infer(source, o->heads, out);
    ec_clip_vit_shape s = {.width = o->width ? o->width : 768, .layers = o->layers ? o->layers : 12,
                           .patch = o->patch ? o->patch : 32, .output = o->output ? o->output : 512};
    const int32_t resolution = o->resolution ? o->resolution : 224;
    s.heads = o->heads ? o->heads : s.width / 64;
    s.hidden = 4 * s.width;
    if (s.patch < 1 || resolution % s.patch != 0)
        return EC_ERROR(EC_ERR_CONFIG, "CLIP: a resolution of %d is no multiple of the patch size %d", resolution,
                        s.patch);
    s.grid = resolution / s.patch;
    EC_RETURN_IF(ec__clip_vit_check(&s));
    *out = s;
    return EC_OK;
}

static size_t task_bytes(const clip_vit *net, int32_t images) {
    ec_arena arena = ec__arena_counting();
    carve(net, images, &arena);
    return ec__arena_used(&arena);
}

/* Images a task: at least some hundreds of rows, so that reading the weights is hidden behind the arithmetic. */
static int32_t images_of(const ec_grain *grain, const clip_vit *net) {
    int32_t images = grain->images;
    while (images > 1 && task_bytes(net, images) > grain->task_bytes) images /= 2;
    return images;
}

ec_status ec__clip_vit_open(ec_backend *be, const ec_encoder_options *options, const ec_tensor_source *source,
                            ec_net *net, ec_encoder_info *info) {
    ec_status status = EC_OK;
    ec_weights weights = {0};
    clip_vit *vit = calloc(1, sizeof *vit);
    if (!vit) EC_FAIL(EC_ERR_MEMORY, "no memory for CLIP");
    vit->precision = options->precision;
    EC_TRY(shape_of(options, source, &vit->shape));
    vit->tokens = vit->shape.grid * vit->shape.grid + 1;
    vit->patch_size = 3 * vit->shape.patch * vit->shape.patch;
    vit->blocks = calloc((size_t)vit->shape.layers, sizeof *vit->blocks);
    if (!vit->blocks) EC_FAIL(EC_ERR_MEMORY, "no memory for CLIP");
    EC_TRY(ec__clip_vit_declare(&vit->shape, &weights));
    if (source) EC_TRY(ec__weights_load(&weights, source, ec__clip_vit_name, NULL));
    else EC_TRY(ec__weights_randomize(&weights, be, options->seed));
    EC_TRY(ec__weights_hash(&weights, info->sha256));
    EC_TRY(build(be, &weights, vit));
    describe(vit, &weights, info);
    const int32_t images = images_of(&be->grain, vit);
    *net = (ec_net){.state = vit, .micro_batch = images, .workspace = task_bytes(vit, images), .forward = forward,
                    .free = net_free};
    vit = NULL;
done:
    net_free(vit, be);
    ec__weights_release(&weights);
    return status;
}
