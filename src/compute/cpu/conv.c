/* Convolutions by oneDNN, over maps with channels in blocks of a vector register (the layout of its kernels, of the
 * direct algorithm and of Winograd's alike), weights packed once.
 *
 * Numbers of channels are filled up to whole blocks with weights of zero: oneDNN has its fast kernels for those
 * only.
 *
 * Winograd's transform (stride 1, 3x3) needs 2.25 times fewer products or better, and differs from the direct sum by
 * some 1e-6; its cut of the work may depend on the batch, which is therefore part of the layer. */
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/dnnl.h"
#include "compute/cpu/encoder.h"

/* Channels of a block: what fits into a vector register of oneDNN's kernels. */
static int32_t block_size(void) {
    return ((unsigned)dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core ? 16 : 8;
}

struct ec_conv {
    ec_conv_desc desc;
    float *bias;
    void *weight;
};

/* Compared byte by byte. */
typedef struct conv_key {
    int32_t batch, in_channels, in_height, in_width, out_channels, kernel, stride, padding, add, relu;
} conv_key;

static int32_t blocks_of(int32_t channels) { return (channels + block_size() - 1) / block_size(); }
static int32_t padded(int32_t channels) { return channels == 1 ? 1 : blocks_of(channels) * block_size(); }

static conv_key key_of(const ec_conv_desc *desc) {
    conv_key key;
    memset(&key, 0, sizeof key);
    key.batch = desc->batch;
    key.in_channels = padded(desc->in_channels);
    key.in_height = desc->in_height;
    key.in_width = desc->in_width;
    key.out_channels = blocks_of(desc->out_channels) * block_size();
    key.kernel = desc->kernel;
    key.stride = desc->stride;
    key.padding = desc->padding;
    key.add = desc->add;
    key.relu = desc->relu;
    return key;
}

/* A single channel is stored plain: a block would be 15/16 padding. */
static ec_status maps_layout(int32_t n, int32_t c, int32_t h, int32_t w, dnnl_memory_desc_t *out) {
    const dnnl_dims_t dims = {n, c, h, w};
    const dnnl_format_tag_t tag = c == 1 ? dnnl_nchw : block_size() == 16 ? dnnl_nChw16c : dnnl_nChw8c;
    return ec__cpu_dnnl_status(dnnl_memory_desc_init_by_tag(out, 4, dims, dnnl_f32, tag), "a layout of maps");
}

static ec_status try_descriptor(ec_cpu_dnnl *dnnl, const conv_key *key, dnnl_alg_kind_t algorithm,
                                const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *out) {
    ec_status status = EC_OK;
    dnnl_memory_desc_t x, y, w, b;
    dnnl_convolution_desc_t desc;
    const int32_t height = ec__conv_size(key->in_height, key->kernel, key->stride, key->padding);
    const int32_t width = ec__conv_size(key->in_width, key->kernel, key->stride, key->padding);
    const dnnl_dims_t w_dims = {key->out_channels, key->in_channels, key->kernel, key->kernel};
    const dnnl_dims_t b_dims = {key->out_channels};
    const dnnl_dims_t strides = {key->stride, key->stride}, padding = {key->padding, key->padding};
    /* Behind the last row and column only as much padding as the stride really reaches. */
    const dnnl_dims_t after = {(height - 1) * key->stride + key->kernel - key->in_height - key->padding,
                               (width - 1) * key->stride + key->kernel - key->in_width - key->padding};
    EC_TRY(maps_layout(key->batch, key->in_channels, key->in_height, key->in_width, &x));
    EC_TRY(maps_layout(key->batch, key->out_channels, height, width, &y));
    EC_DNNL(dnnl_memory_desc_init_by_tag(&w, 4, w_dims, dnnl_f32, dnnl_format_tag_any));
    EC_DNNL(dnnl_memory_desc_init_by_tag(&b, 1, b_dims, dnnl_f32, dnnl_a));
    EC_DNNL(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference, algorithm, &x, &w, &b, &y, strides,
                                               padding, after));
    EC_DNNL(dnnl_primitive_desc_create(out, &desc, attr, ec__cpu_dnnl_engine(dnnl), NULL));
done:
    return status;
}

static bool winograd_pays(const conv_key *key) {
    return key->stride == 1 && key->kernel == 3 && key->in_channels > 1;
}

static ec_status make_descriptor(ec_cpu_dnnl *dnnl, const conv_key *key, dnnl_primitive_desc_t *out) {
    ec_status status = EC_OK;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    EC_DNNL(dnnl_post_ops_create(&post));
    if (key->add) EC_DNNL(dnnl_post_ops_append_sum(post, 1.f));
    EC_TRY(ec__cpu_dnnl_append_activation(post, key->relu ? EC_ACT_RELU : EC_ACT_NONE));
    EC_DNNL(dnnl_primitive_attr_create(&attr));
    EC_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    EC_DNNL(dnnl_primitive_attr_set_post_ops(attr, post));
    if (winograd_pays(key)) {
        status = try_descriptor(dnnl, key, dnnl_convolution_winograd, attr, out);
        if (status == EC_OK) goto done;
        if (status != EC_ERR_ENV) goto done; /* only "not implemented" leads on to the direct algorithm */
        ec_error_clear();
    }
    EC_TRY(try_descriptor(dnnl, key, dnnl_convolution_direct, attr, out));
done:
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (post) dnnl_post_ops_destroy(post);
    return status;
}

static ec_status make_conv(ec_cpu_dnnl *dnnl, const void *key, ec_dnnl_op *op) {
    ec_status status = EC_OK;
    dnnl_primitive_desc_t pd = NULL;
    const int args[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    EC_TRY(make_descriptor(dnnl, key, &pd));
    EC_TRY(ec__cpu_dnnl_make(dnnl, op, pd, args, 5));
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return status;
}

ec_status ec__cpu_conv(ec_backend *be, ec_stream *stream, const ec_conv *layer, const float *x, float *y) {
    (void)be;
    ec_dnnl_op *op;
    const conv_key key = key_of(&layer->desc);
    EC_RETURN_IF(ec__cpu_dnnl_get(stream->dnnl, make_conv, &key, sizeof key, &op));
    EC_RETURN_IF(ec__cpu_dnnl_run(stream->dnnl, op, (void *[]){(void *)x, layer->weight, layer->bias, y, NULL}));
    return EC_OK;
}

void ec__cpu_conv_free(ec_backend *be, ec_conv *layer) {
    if (!layer) return;
    be->memory->free(be, layer->weight);
    be->memory->free(be, layer->bias);
    free(layer);
}

/* Weights with the channels of key, zeros where desc has none. Owned by the caller. */
static ec_status pad_weights(const ec_conv_desc *desc, const conv_key *key, const float *weight, float **out) {
    const size_t area = (size_t)desc->kernel * (size_t)desc->kernel, in = (size_t)key->in_channels;
    float *all = calloc((size_t)key->out_channels * in * area, sizeof *all);
    if (!all) return EC_ERROR(EC_ERR_MEMORY, "no memory for a convolution");
    const size_t row = (size_t)desc->in_channels * area;
    for (size_t o = 0; o < (size_t)desc->out_channels; o++)
        memcpy(all + o * in * area, weight + o * row, row * sizeof *all);
    *out = all;
    return EC_OK;
}

static ec_status pack(ec_backend *be, ec_conv *layer, const float *weight, const float *bias) {
    ec_status status = EC_OK;
    ec_cpu_dnnl *dnnl = be->main_stream(be)->dnnl;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_memory_desc_t plain;
    void *memory = NULL;
    float *all = NULL;
    const conv_key key = key_of(&layer->desc);
    const dnnl_dims_t dims = {key.out_channels, key.in_channels, key.kernel, key.kernel};
    const size_t bias_bytes = sizeof(float) * (size_t)key.out_channels;
    EC_TRY(make_descriptor(dnnl, &key, &pd));
    const dnnl_memory_desc_t *packed = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    EC_TRY(be->memory->alloc(be, dnnl_memory_desc_get_size(packed), &layer->weight));
    EC_TRY(be->memory->alloc(be, bias_bytes, &memory));
    layer->bias = memory;
    memset(layer->bias, 0, bias_bytes);
    memcpy(layer->bias, bias, sizeof(float) * (size_t)layer->desc.out_channels);
    EC_TRY(pad_weights(&layer->desc, &key, weight, &all));
    EC_DNNL(dnnl_memory_desc_init_by_tag(&plain, 4, dims, dnnl_f32, dnnl_oihw));
    EC_TRY(ec__cpu_dnnl_reorder(dnnl, &plain, all, packed, layer->weight));
done:
    free(all);
    if (pd) dnnl_primitive_desc_destroy(pd);
    return status;
}

ec_status ec__cpu_conv_new(ec_backend *be, const ec_conv_desc *desc, const float *weight, const float *bias,
                           ec_conv **out) {
    ec_status status = EC_OK;
    ec_conv *layer = calloc(1, sizeof *layer);
    if (!layer) EC_FAIL(EC_ERR_MEMORY, "no memory for a convolution");
    layer->desc = *desc;
    EC_TRY(pack(be, layer, weight, bias));
    *out = layer;
    layer = NULL;
done:
    ec__cpu_conv_free(be, layer);
    return status;
}

size_t ec__cpu_maps_bytes(ec_backend *be, const ec_maps *maps) {
    (void)be;
    const size_t channels = (size_t)padded(maps->channels);
    return sizeof(float) * (size_t)maps->batch * channels * (size_t)maps->height * (size_t)maps->width;
}

/* Calls for every channel c of every sample n: its place is at + i*step for pixel i. */
typedef struct place {
    size_t at, step;
} place;

static place channel_place(const ec_maps *maps, int32_t n, int32_t c) {
    const size_t area = (size_t)maps->height * (size_t)maps->width;
    if (maps->channels == 1) return (place){(size_t)n * area, 1};
    const size_t block = (size_t)block_size(), before = (size_t)n * (size_t)blocks_of(maps->channels);
    return (place){(before + (size_t)c / block) * area * block + (size_t)c % block, block};
}

ec_status ec__cpu_maps_load(ec_backend *be, ec_stream *stream, const ec_maps *maps, const float *nchw, float *y) {
    (void)stream;
    const size_t area = (size_t)maps->height * (size_t)maps->width;
    memset(y, 0, ec__cpu_maps_bytes(be, maps)); /* the padding of the last block takes part in products */
    for (int32_t n = 0; n < maps->batch; n++)
        for (int32_t c = 0; c < maps->channels; c++, nchw += area) {
            const place p = channel_place(maps, n, c);
            for (size_t i = 0; i < area; i++) y[p.at + i * p.step] = nchw[i];
        }
    return EC_OK;
}

ec_status ec__cpu_maps_store(ec_backend *be, ec_stream *stream, const ec_maps *maps, const float *x, float *nchw) {
    (void)be, (void)stream;
    const size_t area = (size_t)maps->height * (size_t)maps->width;
    for (int32_t n = 0; n < maps->batch; n++)
        for (int32_t c = 0; c < maps->channels; c++, nchw += area) {
            const place p = channel_place(maps, n, c);
            for (size_t i = 0; i < area; i++) nchw[i] = x[p.at + i * p.step];
        }
    return EC_OK;
}

ec_status ec__cpu_pool(ec_backend *be, ec_stream *stream, const ec_maps *maps, ec_pooling pooling, const float *x,
                       float *y) {
    (void)be, (void)stream;
    const size_t area = (size_t)maps->height * (size_t)maps->width;
    for (int32_t n = 0; n < maps->batch; n++)
        for (int32_t c = 0; c < maps->channels; c++) {
            const place p = channel_place(maps, n, c);
            double sum = 0;
            float largest = x[p.at];
            for (size_t i = 0; i < area; i++) {
                const float value = x[p.at + i * p.step];
                sum += value;
                if (value > largest || value != value) largest = value; /* a NaN wins and stays */
            }
            const float mean = (float)(sum / (double)area);
            y[(size_t)n * (size_t)maps->channels + (size_t)c] = pooling == EC_POOL_MAX ? largest : mean;
        }
    return EC_OK;
}
