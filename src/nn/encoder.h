/* Frozen encoders in evaluation mode: what turns a preprocessed image or a piece of audio into a feature vector.
 *
 * Rows are independent, bit for bit: an input's embedding depends neither on the other inputs of the batch, nor on its
 * place among them, nor on the number of threads; on a back end that is not deterministic, up to rounding. */
#ifndef EC_NN_ENCODER_H
#define EC_NN_ENCODER_H

#include <stdbool.h>

#include "compute/backend.h"
#include "compute/ops_encoder.h"
#include "core/sha256.h"
#include "nn/tensor_source.h"

typedef enum ec_encoder_kind { EC_ENCODER_CLIP_VIT, EC_ENCODER_SHORTCHUNK, EC_ENCODERS } ec_encoder_kind;
typedef enum ec_encoder_input { EC_INPUT_IMAGE, EC_INPUT_WAVEFORM } ec_encoder_input;

/* Sees inner layers (tests, visualisation): count samples from sample first on, per_sample values each, valid during
 * the call. May be called from several threads at a time. CLIP: "conv1" (tokens, W), "ln_pre" and "block0" ...
 * (tokens+1, W). ShortChunkCNN: "layer1" ... "layer7" (C, H, W). */
typedef void (*ec_encoder_probe)(void *arg, const char *layer, int32_t first, int32_t count, const float *values,
                                 int64_t per_sample);

/* Zero is the default of every field. */
typedef struct ec_encoder_options {
    ec_encoder_kind kind;
    const char *path;               /* safetensors file with the weights */
    const ec_tensor_source *source; /* or weights from elsewhere, read during open; neither: random weights */
    uint64_t seed;                  /* of random weights */
    ec_precision precision;         /* of the products (CLIP); all else stays float32 */
    ec_pooling pooling;             /* ShortChunkCNN */
    int32_t heads;                  /* CLIP; 0: width / 64. Shapes do not tell */
    /* Sizes of random weights; 0: those of ViT-B/32 (768, 12, 32, 224, 512) and of the real ShortChunkCNN (128). */
    int32_t width, layers, patch, resolution, output;
    int32_t samples;        /* ShortChunkCNN: of a clip; 0: 59049 */
    ec_encoder_probe probe; /* NULL: nobody looks */
    void *probe_arg;
} ec_encoder_options;

enum { EC_ENCODER_TEXT = 512 };

typedef struct ec_encoder_info {
    ec_encoder_kind kind;
    const char *name; /* "clip_vit", "shortchunk" */
    ec_encoder_input input;
    int32_t resolution;  /* image: (3, R, R), normalised; else 0 */
    int32_t samples;     /* waveform: L samples, mono, in [-1, 1]; else 0 */
    int32_t sample_rate; /* Hz; 0 for images */
    int64_t input_count; /* floats an input */
    int32_t embedding;   /* D */
    ec_precision precision;
    bool random;         /* the weights are random: embeddings mean nothing */
    uint64_t seed;       /* then */
    int64_t parameters;
    double operations; /* multiplications and additions of one input's forward pass, as the definition counts them */
    char sha256[EC_SHA256_HEX];         /* of the weights (nn/weights.h): equal for all file formats */
    char architecture[EC_ENCODER_TEXT]; /* JSON object: sizes */
    char preprocess[EC_ENCODER_TEXT];   /* JSON object: what was done to an input before, in full */
} ec_encoder_info;

typedef struct ec_encoder ec_encoder;

/* "clip_vit" or "shortchunk"; EC_ERR_CONFIG for another name. */
ec_status ec__encoder_kind_parse(const char *name, ec_encoder_kind *out);

/* Reads (or draws) the weights and packs them. be is borrowed and must outlive the encoder. EC_ERR_DATA where the file
 * or its tensors are not what the network needs; EC_ERR_ENV for a precision that this machine lacks. Random weights are
 * announced in the log as a warning. */
ec_status ec__encoder_open(ec_backend *be, const ec_encoder_options *options, ec_encoder **out);
void ec__encoder_free(ec_encoder *encoder); /* accepts NULL */
const ec_encoder_info *ec__encoder_info(const ec_encoder *encoder);

/* embeddings (batch, D) of inputs (batch, input_count), both in host memory (inputs for speed in the back end's); not
 * normalised. Runs on all threads of the back end; one thread at a time may call it. batch >= 0. The first calls, and
 * larger ones than before, allocate what they compute in. */
ec_status ec__encoder_forward(ec_encoder *encoder, int32_t batch, const float *inputs, float *embeddings);

#endif
