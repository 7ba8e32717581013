/* Operations of the frozen encoders, in evaluation mode: products with weights that never change, the pieces of a
 * vision transformer, convolutions with folded BatchNorm.
 *
 * Rows that leave an operation depend on the same rows that enter it and on nothing else: neither on how many rows
 * there are nor on their place. Only conv and spectra are exceptions: their batch is fixed when they are made. On a
 * back end that is not deterministic this holds up to rounding.
 *
 * Activations are float32 or, between an operation and the linear layer that consumes it, the layer's own precision. */
#ifndef EC_COMPUTE_OPS_ENCODER_H
#define EC_COMPUTE_OPS_ENCODER_H

#include "compute/ops_dense.h"

typedef enum ec_precision { EC_PRECISION_FLOAT32, EC_PRECISION_BF16 } ec_precision;

/* Bytes of one element. */
static inline size_t ec__precision_size(ec_precision precision) { return precision == EC_PRECISION_BF16 ? 2 : 4; }

/* Weights (N,K) and bias (N) of a linear layer, in the layout that the back end multiplies fastest. */
typedef struct ec_linear ec_linear;

typedef struct ec_linear_call {
    int32_t m;                /* rows */
    int32_t ldx, ldy;         /* row distances, in elements. Another ldx may mean another kernel, and other bits */
    bool accumulate;          /* y is added to (y is float32 then); not together with an activation */
    ec_activation activation;
    ec_precision y_precision;
} ec_linear_call;

/* Self-attention without its projections. qkv is (batch*tokens, 3*W) with W = heads*head_width: queries, keys, values
 * side by side, heads side by side in each. y is (batch*tokens, W): softmax(q k^T scale) v per head. */
typedef struct ec_attention {
    int32_t batch, tokens, heads;
    int32_t head_width; /* a multiple of 16, at most 256 */
    float scale;
    ec_precision y_precision;
} ec_attention;

/* A 2-d convolution, square kernel, same stride and padding both ways: y = act(w * x + b [+ old y]). Maps are in the
 * back end's own layout: maps_bytes, maps_load, maps_store. */
typedef struct ec_conv ec_conv;

typedef struct ec_conv_desc {
    int32_t batch; /* every run has exactly this batch */
    int32_t in_channels, in_height, in_width;
    int32_t out_channels, kernel, stride, padding;
    bool add;  /* the old y is added, before the activation */
    bool relu;
} ec_conv_desc;

static inline int32_t ec__conv_size(int32_t size, int32_t kernel, int32_t stride, int32_t padding) {
    return (size + 2 * padding - kernel) / stride + 1;
}

typedef struct ec_maps {
    int32_t batch, channels, height, width;
} ec_maps;

/* Log-mel spectrograms of waveforms. A frame is centred on each multiple of the hop, the waveform being continued at
 * both ends by reflection; window, FFT, power, then the filterbank's bands, and of these the decibels:
 * 10 log10(max(x, 1e-10)), absolute silence being exactly -100. Last an affine map, y = scale * x + offset. */
typedef struct ec_spectra ec_spectra;

typedef struct ec_spectra_desc {
    int32_t batch;     /* every run puts out exactly this many */
    int32_t samples;   /* of a clip, more than n_fft / 2: reflection needs them */
    int32_t n_fft;     /* even, 16 to 65536; a GPU takes at most 1024 */
    int32_t hop;       /* 1 to n_fft */
    int32_t mels;      /* 1 to 1024 */
    bool frames_first; /* a clip's spectrogram is (T, mels) instead of (mels, T) */
    bool power;        /* of the bands, instead of decibels */
    float scale, offset;
    const float *window;     /* (n_fft) */
    const float *filterbank; /* (n_fft/2+1, mels), not negative */
} ec_spectra_desc;

/* T */
static inline int64_t ec__spectra_frames(const ec_spectra_desc *desc) { return 1 + desc->samples / desc->hop; }

typedef enum ec_pooling { EC_POOL_MAX, EC_POOL_AVERAGE } ec_pooling;

struct ec_encoder_ops {
    /* weight (N,K) row-major and bias (N, or NULL) are read from host memory and not kept. EC_ERR_ENV where this
     * machine cannot multiply in that precision at its speed (bf16 without instructions for it). */
    ec_status (*linear_new)(ec_backend *be, ec_precision precision, int32_t n, int32_t k, const float *weight,
                            const float *bias, ec_linear **out);
    void (*linear_free)(ec_backend *be, ec_linear *layer); /* accepts NULL */
    /* y (M,N) = act(x (M,K) W^T + b); x in the layer's precision. */
    ec_status (*linear)(ec_backend *be, ec_stream *stream, const ec_linear *layer, const ec_linear_call *call,
                        const void *x, void *y);

    /* images (batch, C, H, W) -> y (batch * H/P * W/P, C*P*P): the pixels of each PxP patch in the order of a
     * convolution's weights (channel, row, column); patches row by row. H and W are multiples of P. */
    ec_status (*patches)(ec_backend *be, ec_stream *stream, int32_t batch, int32_t channels, int32_t height,
                         int32_t width, int32_t patch, ec_precision y_precision, const float *images, void *y);
    /* tokens (batch, T, W) from patch embeddings (batch, T-1, W): row 0 = first + position[0], row i = patch i-1 +
     * position[i]. */
    ec_status (*tokens)(ec_backend *be, ec_stream *stream, int32_t batch, int32_t t, int32_t w, const float *patch,
                        const float *first, const float *position, float *y);
    /* Each of m rows of W: (x - mean) / sqrt(variance + eps) * gain + offset, biased variance. y has rows of W; y may
     * be x when y_precision is float32 and ldx is W. */
    ec_status (*layernorm)(ec_backend *be, ec_stream *stream, int32_t m, int32_t w, int32_t ldx, float eps,
                           const float *x, const float *gain, const float *offset, ec_precision y_precision, void *y);
    ec_status (*attention)(ec_backend *be, ec_stream *stream, const ec_attention *desc, const float *qkv, void *y);

    /* weight (O,I,kernel,kernel) and bias (O) are read from host memory and not kept. */
    ec_status (*conv_new)(ec_backend *be, const ec_conv_desc *desc, const float *weight, const float *bias,
                          ec_conv **out);
    void (*conv_free)(ec_backend *be, ec_conv *layer); /* accepts NULL */
    ec_status (*conv)(ec_backend *be, ec_stream *stream, const ec_conv *layer, const float *x, float *y);
    /* Bytes of maps in the back end's layout; the layout may pad channels. */
    size_t (*maps_bytes)(ec_backend *be, const ec_maps *maps);
    ec_status (*maps_load)(ec_backend *be, ec_stream *stream, const ec_maps *maps, const float *nchw, float *y);
    ec_status (*maps_store)(ec_backend *be, ec_stream *stream, const ec_maps *maps, const float *x, float *nchw);
    /* Largest or mean value of each map: y (batch, channels). */
    ec_status (*pool)(ec_backend *be, ec_stream *stream, const ec_maps *maps, ec_pooling pooling, const float *x,
                      float *y);

    /* window and filterbank are read from host memory and not kept. EC_ERR_USAGE for sizes outside their range,
     * EC_ERR_DATA for clips that are too short, or a filterbank that is negative or not finite. */
    ec_status (*spectra_new)(ec_backend *be, const ec_spectra_desc *desc, ec_spectra **out);
    void (*spectra_free)(ec_backend *be, ec_spectra *spectra); /* accepts NULL */
    /* Of the work memory that a run needs. */
    size_t (*spectra_bytes)(ec_backend *be, const ec_spectra *spectra);
    /* y (batch, mels, T) of waveforms (count, samples), count <= batch; clips behind them are silence. Samples that are
     * not finite make the numbers of their frames so. work has spectra_bytes, aligned to EC_ARENA_ALIGN. */
    ec_status (*spectra)(ec_backend *be, ec_stream *stream, const ec_spectra *spectra, int32_t count,
                         const float *waveforms, void *work, float *y);
};

#endif
