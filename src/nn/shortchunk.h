/* ShortChunkCNN with residual connections (Won et al., "Evaluation of CNN-based Automatic Music Tagging Models", SMC
 * 2020), the audio encoder of Emo-CLIM, in evaluation mode.
 *
 *     x = bn(log-mel dB of the waveform)                               (1, 128, T)
 *     seven blocks: y = relu(bn_2(conv_2(relu(bn_1(conv_1(x))))) + bn_3(conv_3(x)))
 *     embedding = largest (or mean) value of each channel of the last map
 *
 * All convolutions are 3x3 with padding 1, conv_1 and conv_3 of stride 2; widths c, c, 2c, 2c, 2c, 2c, 4c. Weights are
 * named as the original model names them (layer1.conv_1.weight ...). */
#ifndef EC_NN_SHORTCHUNK_H
#define EC_NN_SHORTCHUNK_H

#include "nn/weights.h"

enum {
    EC_SHORTCHUNK_LAYERS = 7,
    EC_SHORTCHUNK_MELS = 128,
    EC_SHORTCHUNK_BINS = 257,
    EC_SHORTCHUNK_FFT = 512,
    EC_SHORTCHUNK_HOP = 256,
};

/* Channels that layer (1 to 7; 0 is the spectrogram) puts out at width c. */
static inline int32_t ec__shortchunk_channels(int32_t c, int32_t layer) {
    return layer == 0 ? 1 : layer <= 2 ? c : layer <= 6 ? 2 * c : 4 * c;
}

/* Canonical name of a tensor: the model's own, or the wrapper's of an Emo-CLIM checkpoint (spec_layers.0 = spec,
 * spec_batchnorm = spec_bn, cnn_layers.I = layer I+1), with or without "audio_backbone.". arg is a bool: only names
 * with that prefix count. What the embedding does not depend on (tagging layers, batch counters) maps to nothing. */
bool ec__shortchunk_name(void *arg, const char *name, ec_mapped *out);

/* Does any name begin with audio_backbone.? */
ec_status ec__shortchunk_prefixed(const ec_tensor_source *source, bool *out);

/* Width c from the shape of layer1.conv_1.weight. */
ec_status ec__shortchunk_infer(const ec_tensor_source *source, bool prefixed, int32_t *c);

/* Declares all weights, with PyTorch's initial values. The window and the filterbank are optional: "spec.*" keep zeros,
 * to be computed by the caller. */
ec_status ec__shortchunk_declare(int32_t c, ec_weights *weights);

/* A convolution with the BatchNorm behind it folded in, in evaluation mode: bn(conv(x)) = fold.weight * x + fold.bias.
 * weight (O, I*9) and bias (O) are written; arithmetic in double precision. which is 1, 2 or 3. */
void ec__shortchunk_fold(const ec_weights *weights, int32_t layer, int32_t which, int64_t out_channels, int64_t inner,
                         float *weight, float *bias);

/* BatchNorm of one channel in evaluation mode as scale * x + offset. */
void ec__shortchunk_affine(const ec_weights *weights, const char *prefix, int64_t channel, double *scale,
                           double *offset);

#endif
