/* Forward pass of ShortChunkCNN_Res. */
#include "nn/shortchunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "media/logmel.h"
#include "nn/encoder_net.h"

enum { SAMPLES = 59049, WIDTH = 128, BUFFERS = 3 };

typedef struct layer {
    ec_conv *conv_1, *conv_2, *conv_3;
    ec_maps in, out;
} layer;

typedef struct shortchunk {
    /* n: clips of a task, the batch of the convolutions, always filled up: so bits do not depend on how many came. */
    int32_t n, c, samples, frames;
    ec_pooling pooling;
    ec_spectra *spectra; /* with spec_bn behind them */
    layer layers[EC_SHORTCHUNK_LAYERS];
} shortchunk;

/* Arrays of one task in its workspace. */
typedef struct scratch {
    float *clips;         /* (n, L) */
    float *input;         /* (n, 1, mels, T) plain */
    float *maps[BUFFERS]; /* each large enough for the output of any layer, and for the work of the spectra */
    float *result;        /* (n, D) */
} scratch;

static scratch carve(const shortchunk *net, ec_backend *be, ec_arena *arena) {
    size_t largest = be->encoder->maps_bytes(be, &net->layers[0].in);
    const size_t n = (size_t)net->n, work = net->spectra ? be->encoder->spectra_bytes(be, net->spectra) : 0;
    if (work > largest) largest = work;
    for (int i = 0; i < EC_SHORTCHUNK_LAYERS; i++) {
        const size_t bytes = be->encoder->maps_bytes(be, &net->layers[i].out);
        if (bytes > largest) largest = bytes;
    }
    scratch s = {
        .clips = ec__arena_take(arena, n * (size_t)net->samples, sizeof(float)),
        .input = ec__arena_take(arena, n * EC_SHORTCHUNK_MELS * (size_t)net->frames, sizeof(float)),
    };
    for (int i = 0; i < BUFFERS; i++) s.maps[i] = ec__arena_take(arena, largest, 1);
    s.result = ec__arena_take(arena, n * 4 * (size_t)net->c, sizeof(float));
    return s;
}

/* Normalised log-mel spectrograms of the clips into maps[0]; missing clips are silence. */
static ec_status load_input(const shortchunk *net, const ec_encode *call, const scratch *s) {
    ec_backend *be = call->be;
    const size_t bytes = sizeof(float) * (size_t)call->count * (size_t)net->samples;
    EC_RETURN_IF(be->memory->upload(be, call->stream, s->clips, call->inputs, bytes));
    EC_RETURN_IF(be->encoder->spectra(be, call->stream, net->spectra, call->count, s->clips, s->maps[1], s->input));
    return be->encoder->maps_load(be, call->stream, &net->layers[0].in, s->input, s->maps[0]);
}

/* Shows a layer's maps to the probe. */
static ec_status show(const ec_encode *call, int32_t number, const ec_maps *maps, const float *x) {
    ec_status status = EC_OK;
    void *plain = NULL;
    float *host = NULL;
    char name[32];
    const int64_t per_sample = (int64_t)maps->channels * maps->height * maps->width;
    const size_t bytes = sizeof(float) * (size_t)maps->batch * (size_t)per_sample;
    if (!call->probe) return EC_OK;
    host = malloc(bytes);
    if (!host) EC_FAIL(EC_ERR_MEMORY, "no memory to show a layer");
    EC_TRY(call->be->memory->alloc(call->be, bytes, &plain));
    EC_TRY(call->be->encoder->maps_store(call->be, call->stream, maps, x, plain));
    EC_TRY(call->be->memory->download(call->be, call->stream, host, plain, bytes));
    EC_TRY(call->be->synchronize(call->be));
    snprintf(name, sizeof name, "layer%d", number);
    call->probe(call->probe_arg, name, call->first, call->count, host, per_sample);
done:
    call->be->memory->free(call->be, plain);
    free(host);
    return status;
}

static ec_status forward(const void *state, const ec_encode *call) {
    const shortchunk *net = state;
    const ec_encoder_ops *ops = call->be->encoder;
    ec_arena arena = ec__arena_over(call->workspace, call->workspace_bytes);
    scratch s = carve(net, call->be, &arena);
    const ec_maps *last = &net->layers[EC_SHORTCHUNK_LAYERS - 1].out;
    EC_RETURN_IF(load_input(net, call, &s));
    float *x = s.maps[0], *inner = s.maps[1], *y = s.maps[2];
    for (int32_t i = 0; i < EC_SHORTCHUNK_LAYERS; i++) {
        const layer *l = &net->layers[i];
        EC_RETURN_IF(ops->conv(call->be, call->stream, l->conv_3, x, y));
        EC_RETURN_IF(ops->conv(call->be, call->stream, l->conv_1, x, inner));
        EC_RETURN_IF(ops->conv(call->be, call->stream, l->conv_2, inner, y)); /* adds to y, then relu */
        EC_RETURN_IF(show(call, i + 1, &l->out, y));
        float *free_map = x;
        x = y;
        y = free_map;
    }
    EC_RETURN_IF(ops->pool(call->be, call->stream, last, net->pooling, x, s.result));
    return call->be->memory->download(call->be, call->stream, call->embeddings, s.result,
                                      sizeof(float) * (size_t)call->count * (size_t)last->channels);
}

static void net_free(void *state, ec_backend *be) {
    shortchunk *net = state;
    if (!net) return;
    for (int i = 0; i < EC_SHORTCHUNK_LAYERS; i++) {
        be->encoder->conv_free(be, net->layers[i].conv_1);
        be->encoder->conv_free(be, net->layers[i].conv_2);
        be->encoder->conv_free(be, net->layers[i].conv_3);
    }
    be->encoder->spectra_free(be, net->spectra);
    free(net);
}

static ec_status pack_conv(ec_backend *be, const ec_weights *weights, int32_t number, int32_t which,
                           const ec_conv_desc *desc, ec_conv **out) {
    ec_status status = EC_OK;
    const size_t inner = (size_t)desc->in_channels * 9, channels = (size_t)desc->out_channels;
    float *weight = malloc(sizeof(float) * inner * channels), *bias = malloc(sizeof(float) * channels);
    if (!weight || !bias) EC_FAIL(EC_ERR_MEMORY, "no memory to fold a BatchNorm");
    ec__shortchunk_fold(weights, number, which, desc->out_channels, (int64_t)inner, weight, bias);
    EC_TRY(be->encoder->conv_new(be, desc, weight, bias, out));
done:
    free(weight);
    free(bias);
    return status;
}

static void set_shapes(shortchunk *net, int32_t clips) {
    net->n = clips;
    ec_maps maps = {clips, 1, EC_SHORTCHUNK_MELS, net->frames};
    for (int32_t i = 0; i < EC_SHORTCHUNK_LAYERS; i++) {
        net->layers[i].in = maps;
        maps = (ec_maps){clips, ec__shortchunk_channels(net->c, i + 1), ec__conv_size(maps.height, 3, 2, 1),
                         ec__conv_size(maps.width, 3, 2, 1)};
        net->layers[i].out = maps;
    }
}

static size_t task_bytes(const shortchunk *net, ec_backend *be) {
    ec_arena arena = ec__arena_counting();
    carve(net, be, &arena);
    return ec__arena_used(&arena);
}

/* As many clips a task as the back end likes and as fit into its workspace. */
static void choose_shapes(ec_backend *be, shortchunk *net) {
    int32_t clips = be->grain.clips;
    set_shapes(net, clips);
    while (clips > 1 && task_bytes(net, be) > be->grain.task_bytes) set_shapes(net, clips /= 2);
}

static ec_status build_layers(ec_backend *be, const ec_weights *weights, shortchunk *net) {
    for (int32_t i = 0; i < EC_SHORTCHUNK_LAYERS; i++) {
        layer *l = &net->layers[i];
        ec_conv_desc desc = {.batch = net->n, .in_channels = l->in.channels, .in_height = l->in.height,
                             .in_width = l->in.width, .out_channels = l->out.channels, .kernel = 3, .stride = 2,
                             .padding = 1};
        EC_RETURN_IF(pack_conv(be, weights, i + 1, 3, &desc, &l->conv_3));
        desc.relu = true;
        EC_RETURN_IF(pack_conv(be, weights, i + 1, 1, &desc, &l->conv_1));
        desc.in_channels = l->out.channels;
        desc.in_height = l->out.height;
        desc.in_width = l->out.width;
        desc.stride = 1;
        desc.add = true;
        EC_RETURN_IF(pack_conv(be, weights, i + 1, 2, &desc, &l->conv_2));
    }
    return EC_OK;
}

static const ec_weight *named(const ec_weights *weights, const char *name) {
    for (int32_t i = 0; i < weights->count; i++)
        if (strcmp(weights->item[i].name, name) == 0) return &weights->item[i];
    return NULL;
}

/* The spectrogram's constants as stored, or computed and put among the weights, so that they count in the hash. */
static ec_status build_spectra(ec_backend *be, ec_weights *weights, shortchunk *net) {
    double scale, offset;
    ec_logmel_config config = ec__logmel_shortchunk();
    const ec_weight *window = named(weights, "spec.spectrogram.window"), *bank = named(weights, "spec.mel_scale.fb");
    if (window->found) {
        config.window = window->data;
    } else {
        ec__hann_window(EC_SHORTCHUNK_FFT, window->data);
    }
    if (bank->found) {
        config.filterbank = bank->data;
    } else {
        double *exact = malloc(sizeof *exact * (size_t)bank->count);
        if (!exact) return EC_ERROR(EC_ERR_MEMORY, "no memory for a mel filterbank");
        ec__mel_filterbank(&config, exact);
        for (int64_t i = 0; i < bank->count; i++) bank->data[i] = (float)exact[i];
        free(exact);
    }
    ec__shortchunk_affine(weights, "spec_bn", 0, &scale, &offset);
    const ec_spectra_desc shape = {.batch = net->n, .samples = net->samples, .scale = (float)scale,
                                   .offset = (float)offset};
    return ec__logmel_open(be, &config, &shape, &net->spectra);
}

static double operations(const shortchunk *net) {
    double sum = 0;
    for (int i = 0; i < EC_SHORTCHUNK_LAYERS; i++) {
        const ec_maps *in = &net->layers[i].in, *out = &net->layers[i].out;
        sum += 2.0 * 9 * out->height * out->width * out->channels * (2.0 * in->channels + out->channels);
    }
    return sum;
}

static void describe(const shortchunk *net, const ec_weights *weights, const char *filterbank, ec_encoder_info *info) {
    const ec_logmel_config mel = ec__logmel_shortchunk();
    info->input = EC_INPUT_WAVEFORM;
    info->samples = net->samples;
    info->sample_rate = mel.rate;
    info->input_count = net->samples;
    info->embedding = 4 * net->c;
    info->operations = operations(net);
    for (int32_t i = 0; i < weights->count; i++) info->parameters += weights->item[i].count;
    snprintf(info->architecture, sizeof info->architecture, "{\"channels\": %d, \"pooling\": \"%s\"}", net->c,
             net->pooling == EC_POOL_MAX ? "max" : "average");
    snprintf(info->preprocess, sizeof info->preprocess,
             "{\"sample_rate\": %d, \"samples\": %d, \"channels\": \"mono\", \"n_fft\": %d, \"hop\": %d, \"mels\": %d, "
             "\"f_min\": %g, \"f_max\": %g, \"mel_scale\": \"htk\", \"decibels\": \"10 log10(max(power, 1e-10))\", "
             "\"filterbank\": \"%s\"}",
             mel.rate, net->samples, mel.n_fft, mel.hop, mel.n_mels, mel.f_min, mel.f_max, filterbank);
}

static ec_status load(ec_backend *be, const ec_encoder_options *options, const ec_tensor_source *source,
                      shortchunk *net, ec_weights *weights) {
    bool prefixed = false;
    net->c = options->width ? options->width : WIDTH;
    if (source) {
        EC_RETURN_IF(ec__shortchunk_prefixed(source, &prefixed));
        EC_RETURN_IF(ec__shortchunk_infer(source, prefixed, &net->c));
    }
    EC_RETURN_IF(ec__shortchunk_declare(net->c, weights));
    if (source) return ec__weights_load(weights, source, ec__shortchunk_name, &prefixed);
    return ec__weights_randomize(weights, be, options->seed);
}

ec_status ec__shortchunk_open(ec_backend *be, const ec_encoder_options *options, const ec_tensor_source *source,
                              ec_net *out, ec_encoder_info *info) {
    ec_status status = EC_OK;
    ec_weights weights = {0};
    shortchunk *net = calloc(1, sizeof *net);
    if (!net) EC_FAIL(EC_ERR_MEMORY, "no memory for ShortChunkCNN");
    if (options->precision != EC_PRECISION_FLOAT32)
        EC_FAIL(EC_ERR_CONFIG, "ShortChunkCNN computes in float32 only; precision bf16 is for clip_vit");
    net->pooling = options->pooling;
    net->samples = options->samples ? options->samples : SAMPLES;
    if (net->samples <= EC_SHORTCHUNK_FFT || net->samples > 1 << 24)
        EC_FAIL(EC_ERR_CONFIG, "ShortChunkCNN: clips of %d samples; expected 513 to 2^24", net->samples);
    EC_TRY(load(be, options, source, net, &weights));
    net->frames = 1 + net->samples / EC_SHORTCHUNK_HOP;
    choose_shapes(be, net);
    EC_TRY(build_spectra(be, &weights, net));
    EC_TRY(ec__weights_hash(&weights, info->sha256));
    EC_TRY(build_layers(be, &weights, net));
    describe(net, &weights, named(&weights, "spec.mel_scale.fb")->found ? "stored" : "computed", info);
    *out = (ec_net){.state = net, .micro_batch = net->n, .filled = true, .workspace = task_bytes(net, be),
                    .forward = forward, .free = net_free};
    net = NULL;
done:
    net_free(net, be);
    ec__weights_release(&weights);
    return status;
}
