/* Names, shapes, initial values and folding of the weights of ShortChunkCNN_Res. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/shortchunk.h"

static const double BN_EPS = 1e-5;

static const char *after_prefix(const char *name, const char *prefix) {
    const size_t length = strlen(prefix);
    return strncmp(name, prefix, length) == 0 ? name + length : NULL;
}

static bool ends_with(const char *name, const char *end) {
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

bool ec__shortchunk_name(void *arg, const char *name, ec_mapped *out) {
    const bool *prefixed = arg;
    const char *rest = after_prefix(name, "audio_backbone.");
    if (*prefixed && !rest) return false;
    if (rest) name = rest;
    if (ends_with(name, ".num_batches_tracked")) return false;
    if (after_prefix(name, "bn.") || after_prefix(name, "dense1.") || after_prefix(name, "dense2.")) return false;
    *out = (ec_mapped){.third = -1};
    if ((rest = after_prefix(name, "spec_layers.0."))) snprintf(out->name, sizeof out->name, "spec.%s", rest);
    else if ((rest = after_prefix(name, "spec_batchnorm."))) snprintf(out->name, sizeof out->name, "spec_bn.%s", rest);
    else if ((rest = after_prefix(name, "cnn_layers.")) && rest[0] >= '0' && rest[0] <= '6' && rest[1] == '.')
        snprintf(out->name, sizeof out->name, "layer%c%s", rest[0] + 1, rest + 1);
    else snprintf(out->name, sizeof out->name, "%s", name);
    return true;
}

ec_status ec__shortchunk_prefixed(const ec_tensor_source *source, bool *out) {
    *out = false;
    for (int32_t i = 0; i < source->count && !*out; i++) {
        ec_tensor_info info;
        EC_RETURN_IF(source->info(source->arg, i, &info));
        *out = after_prefix(info.name, "audio_backbone.") != NULL;
    }
    return EC_OK;
}

ec_status ec__shortchunk_infer(const ec_tensor_source *source, bool prefixed, int32_t *c) {
    int32_t index = -1;
    ec_tensor_info info;
    EC_RETURN_IF(ec__weights_locate(source, ec__shortchunk_name, &prefixed, "layer1.conv_1.weight", &index));
    if (index < 0)
        return EC_ERROR(EC_ERR_DATA, "%s: layer1.conv_1.weight is missing: no ShortChunkCNN_Res (names layer1.* or "
                        "cnn_layers.0.*) is in it", source->origin);
    EC_RETURN_IF(source->info(source->arg, index, &info));
    if (info.rank != 4 || info.dim[0] < 1 || info.dim[0] > 4096) {
        char shape[EC_SHAPE_TEXT];
        ec__shape_text(info.rank, info.dim, shape);
        return EC_ERROR(EC_ERR_DATA, "%s: %s has shape %s; expected (c, 1, 3, 3) with c up to 4096", source->origin,
                        info.name, shape);
    }
    *c = (int32_t)info.dim[0];
    return EC_OK;
}

#define SHAPE(...) (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

static const ec_init ones = {EC_INIT_CONSTANT, 1}, zeros = {EC_INIT_CONSTANT, 0};

static ec_status declare_norm(ec_weights *weights, const char *prefix, int64_t channels) {
    EC_RETURN_IF(ec__weights_add(weights, ones, false, SHAPE(channels), "%s.weight", prefix));
    EC_RETURN_IF(ec__weights_add(weights, zeros, false, SHAPE(channels), "%s.bias", prefix));
    EC_RETURN_IF(ec__weights_add(weights, zeros, false, SHAPE(channels), "%s.running_mean", prefix));
    return ec__weights_add(weights, ones, false, SHAPE(channels), "%s.running_var", prefix);
}

/* torch.nn.Conv2d: weight and bias uniform in +-1/sqrt(inputs of a sum). */
static ec_status declare_conv(ec_weights *weights, int32_t layer, int32_t which, int64_t out, int64_t in) {
    char norm[EC_NAME];
    const ec_init uniform = {EC_INIT_UNIFORM, 1 / sqrt((double)(in * 9))};
    EC_RETURN_IF(ec__weights_add(weights, uniform, false, SHAPE(out, in, 3, 3), "layer%d.conv_%d.weight", layer,
                                 which));
    EC_RETURN_IF(ec__weights_add(weights, uniform, false, SHAPE(out), "layer%d.conv_%d.bias", layer, which));
    snprintf(norm, sizeof norm, "layer%d.bn_%d", layer, which);
    return declare_norm(weights, norm, out);
}

ec_status ec__shortchunk_declare(int32_t c, ec_weights *weights) {
    EC_RETURN_IF(ec__weights_add(weights, zeros, true, SHAPE(EC_SHORTCHUNK_FFT), "spec.spectrogram.window"));
    EC_RETURN_IF(ec__weights_add(weights, zeros, true, SHAPE(EC_SHORTCHUNK_BINS, EC_SHORTCHUNK_MELS),
                                 "spec.mel_scale.fb"));
    EC_RETURN_IF(declare_norm(weights, "spec_bn", 1));
    for (int32_t layer = 1; layer <= EC_SHORTCHUNK_LAYERS; layer++) {
        const int64_t in = ec__shortchunk_channels(c, layer - 1), out = ec__shortchunk_channels(c, layer);
        EC_RETURN_IF(declare_conv(weights, layer, 1, out, in));
        EC_RETURN_IF(declare_conv(weights, layer, 2, out, out));
        EC_RETURN_IF(declare_conv(weights, layer, 3, out, in));
    }
    return EC_OK;
}

void ec__shortchunk_affine(const ec_weights *weights, const char *prefix, int64_t channel, double *scale,
                           double *offset) {
    const double gain = (double)ec__weights_get(weights, "%s.weight", prefix)[channel];
    const double shift = (double)ec__weights_get(weights, "%s.bias", prefix)[channel];
    const double mean = (double)ec__weights_get(weights, "%s.running_mean", prefix)[channel];
    const double variance = (double)ec__weights_get(weights, "%s.running_var", prefix)[channel];
    *scale = gain / sqrt(variance + BN_EPS);
    *offset = shift - mean * *scale;
}

void ec__shortchunk_fold(const ec_weights *weights, int32_t layer, int32_t which, int64_t out_channels, int64_t inner,
                         float *weight, float *bias) {
    const float *w = ec__weights_get(weights, "layer%d.conv_%d.weight", layer, which);
    const float *b = ec__weights_get(weights, "layer%d.conv_%d.bias", layer, which);
    char norm[EC_NAME];
    snprintf(norm, sizeof norm, "layer%d.bn_%d", layer, which);
    for (int64_t c = 0; c < out_channels; c++) {
        double scale, offset;
        ec__shortchunk_affine(weights, norm, c, &scale, &offset);
        for (int64_t i = 0; i < inner; i++) weight[c * inner + i] = (float)((double)w[c * inner + i] * scale);
        bias[c] = (float)((double)b[c] * scale + offset);
    }
}
