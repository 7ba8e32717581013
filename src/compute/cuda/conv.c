/* Convolutions by cuDNN, over maps as they are written (batch, channels, height, width): its float32 kernels without
 * tensor cores, the direct ones and Winograd's alike, are made for that order. Weights likewise.
 *
 * The algorithm is the first that cuDNN's heuristics name among those that give the same bits every time (where the
 * back end is deterministic), round nothing (TF32 only where it may) and fit the workspace; it is part of the layer,
 * like the batch. */
#include "compute/cuda/encoder.h"

#include <stdlib.h>

#include "compute/cuda/dnn.h"

enum { CANDIDATES = 16 };
static const size_t WORKSPACE_MOST = (size_t)64 << 20; /* bytes a stream */

struct ec_conv {
    ec_conv_desc desc;
    ec_maps out;
    void *weight;
    float *bias;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t convolution;
    cudnnConvolutionFwdAlgo_t algorithm;
    size_t workspace;
};

static ec_status describe_maps(const ec_maps *maps, cudnnTensorDescriptor_t *out) {
    EC_RETURN_IF(EC_CUDNN(cudnnCreateTensorDescriptor(out)));
    return EC_CUDNN(cudnnSetTensor4dDescriptor(*out, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, maps->batch, maps->channels,
                                               maps->height, maps->width));
}

static cudnnMathType_t math_type(const ec_backend *be) {
    return be->math == EC_MATH_TF32 ? CUDNN_TENSOR_OP_MATH : CUDNN_FMA_MATH;
}

static ec_status describe(const ec_backend *be, ec_conv *layer) {
    const ec_conv_desc *d = &layer->desc;
    const ec_maps in = {d->batch, d->in_channels, d->in_height, d->in_width};
    EC_RETURN_IF(describe_maps(&in, &layer->x));
    EC_RETURN_IF(describe_maps(&layer->out, &layer->y));
    EC_RETURN_IF(EC_CUDNN(cudnnCreateFilterDescriptor(&layer->w)));
    EC_RETURN_IF(EC_CUDNN(cudnnSetFilter4dDescriptor(layer->w, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, d->out_channels,
                                                     d->in_channels, d->kernel, d->kernel)));
    EC_RETURN_IF(EC_CUDNN(cudnnCreateConvolutionDescriptor(&layer->convolution)));
    EC_RETURN_IF(EC_CUDNN(cudnnSetConvolution2dDescriptor(layer->convolution, d->padding, d->padding, d->stride,
                                                          d->stride, 1, 1, CUDNN_CROSS_CORRELATION,
                                                          CUDNN_DATA_FLOAT)));
    return EC_CUDNN(cudnnSetConvolutionMathType(layer->convolution, math_type(be)));
}

static bool usable(ec_backend *be, const cudnnConvolutionFwdAlgoPerf_t *found) {
    const bool same = found->determinism == CUDNN_DETERMINISTIC || !ec__cuda(be)->deterministic;
    const bool exact = found->mathType == CUDNN_FMA_MATH || found->mathType == CUDNN_DEFAULT_MATH;
    return found->status == CUDNN_STATUS_SUCCESS && same && found->memory <= WORKSPACE_MOST &&
           (exact || be->math == EC_MATH_TF32);
}

static ec_status choose_algorithm(ec_backend *be, cudnnHandle_t dnn, ec_conv *layer) {
    cudnnConvolutionFwdAlgoPerf_t found[CANDIDATES];
    const ec_conv_desc *d = &layer->desc;
    int count = 0;
    EC_RETURN_IF(EC_CUDNN(cudnnGetConvolutionForwardAlgorithm_v7(dnn, layer->x, layer->w, layer->convolution, layer->y,
                                                                 CANDIDATES, &count, found)));
    for (int i = 0; i < count; i++) {
        if (!usable(be, &found[i])) continue;
        /* The heuristics promise no more than a guess: an algorithm may still be refused. */
        if (cudnnGetConvolutionForwardWorkspaceSize(dnn, layer->x, layer->w, layer->convolution, layer->y,
                                                    found[i].algo, &layer->workspace) != CUDNN_STATUS_SUCCESS ||
            layer->workspace > WORKSPACE_MOST)
            continue;
        layer->algorithm = found[i].algo;
        return EC_OK;
    }
    return EC_ERROR(EC_ERR_ENV,
                    "cuDNN has no float32 algorithm that can be used for a %dx%d convolution of %d to %d channels",
                    d->kernel, d->kernel, d->in_channels, d->out_channels);
}

static ec_status place(ec_backend *be, ec_conv *layer, const float *weight, const float *bias) {
    const ec_conv_desc *d = &layer->desc;
    const size_t bias_bytes = sizeof(float) * (size_t)d->out_channels;
    const size_t weight_bytes = bias_bytes * (size_t)d->in_channels * (size_t)d->kernel * (size_t)d->kernel;
    ec_stream *stream = be->main_stream(be);
    void *memory = NULL;
    EC_RETURN_IF(be->memory->alloc(be, weight_bytes, &layer->weight));
    EC_RETURN_IF(be->memory->alloc(be, bias_bytes, &memory));
    layer->bias = memory;
    EC_RETURN_IF(be->memory->upload(be, stream, layer->weight, weight, weight_bytes));
    EC_RETURN_IF(be->memory->upload(be, stream, layer->bias, bias, bias_bytes));
    return be->synchronize(be); /* the host's arrays are not kept */
}

ec_status ec__cuda_conv_new(ec_backend *be, const ec_conv_desc *desc, const float *weight, const float *bias,
                            ec_conv **out) {
    ec_status status = EC_OK;
    ec_conv *layer = calloc(1, sizeof *layer);
    if (!layer) EC_FAIL(EC_ERR_MEMORY, "no memory for a convolution");
    layer->desc = *desc;
    layer->out = (ec_maps){desc->batch, desc->out_channels,
                           ec__conv_size(desc->in_height, desc->kernel, desc->stride, desc->padding),
                           ec__conv_size(desc->in_width, desc->kernel, desc->stride, desc->padding)};
    EC_TRY(ec__cuda_dnn_open(be));
    EC_TRY(describe(be, layer));
    EC_TRY(choose_algorithm(be, ec__cuda(be)->dnn->handle[0], layer));
    EC_TRY(ec__cuda_dnn_reserve(be, layer->workspace));
    EC_TRY(place(be, layer, weight, bias));
    *out = layer;
    layer = NULL;
done:
    ec__cuda_conv_free(be, layer);
    return status;
}

void ec__cuda_conv_free(ec_backend *be, ec_conv *layer) {
    if (!layer) return;
    if (layer->convolution) (void)cudnnDestroyConvolutionDescriptor(layer->convolution);
    if (layer->w) (void)cudnnDestroyFilterDescriptor(layer->w);
    if (layer->y) (void)cudnnDestroyTensorDescriptor(layer->y);
    if (layer->x) (void)cudnnDestroyTensorDescriptor(layer->x);
    be->memory->free(be, layer->weight);
    be->memory->free(be, layer->bias);
    free(layer);
}

/* Bias and ReLU are a kernel of ours: every algorithm will do then, and a NaN stays one. */
ec_status ec__cuda_conv(ec_backend *be, ec_stream *stream, const ec_conv *layer, const float *x, float *y) {
    const float one = 1.f, beta = layer->desc.add ? 1.f : 0.f;
    cudnnHandle_t dnn = ec__cuda(be)->dnn->handle[stream->index];
    void *workspace = ec__cuda(be)->dnn->workspace[stream->index];
    EC_RETURN_IF(EC_CUDNN(cudnnConvolutionForward(dnn, &one, layer->x, x, layer->w, layer->weight, layer->convolution,
                                                  layer->algorithm, workspace, layer->workspace, &beta, layer->y, y)));
    return ec__cuda_bias_maps(stream, &layer->out, layer->bias, layer->desc.relu, y);
}
