#include "pipeline/featurize.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "media/audio.h"
#include "media/clip.h"
#include "media/clip_preprocess.h"
#include "media/image.h"
#include "media/resample.h"
#include "nn/encoder.h"

struct ec_featurizer {
    ec_backend *be;
    ec_modality modality;
    ec_encoder *encoder;
    ec_clip_config clip; /* music */
    ec_cache_identity identity;
    char *preprocessing; /* what identity points to */
    int32_t batch;       /* items that fill all threads and the back end */
    float *inputs;       /* (batch, views, input_count), the back end's host memory */
};

static ec_encoder_options encoder_options(const ec_config *config, ec_modality modality) {
    if (modality == EC_IMAGE) {
        const ec_config_image_backbone *b = &config->image_backbone;
        return (ec_encoder_options){
            .kind = EC_ENCODER_CLIP_VIT,
            .path = b->weights,
            .seed = (uint64_t)b->seed,
            .precision = b->precision == EC_CONFIG_PRECISION_BF16 ? EC_PRECISION_BF16 : EC_PRECISION_FLOAT32,
            .heads = b->weights ? 0 : (int32_t)b->heads,
            .width = (int32_t)b->width,
            .layers = (int32_t)b->layers,
            .patch = (int32_t)b->patch,
            .resolution = (int32_t)b->resolution,
            .output = (int32_t)b->output_dim,
        };
    }
    const ec_config_audio_backbone *b = &config->audio_backbone;
    return (ec_encoder_options){
        .kind = EC_ENCODER_SHORTCHUNK,
        .path = b->weights,
        .seed = (uint64_t)b->seed,
        .pooling = b->pooling == EC_CONFIG_POOLING_AVERAGE ? EC_POOL_AVERAGE : EC_POOL_MAX,
        .width = (int32_t)b->n_channels,
    };
}

static const char *const crop_names[] = {[EC_CONFIG_CROP_FIRST] = "first",
                                         [EC_CONFIG_CROP_CENTER] = "center",
                                         [EC_CONFIG_CROP_RANDOM] = "random",
                                         [EC_CONFIG_CROP_ALL] = "all"};

static const char *const short_names[] = {[EC_CONFIG_SHORT_ERROR] = "error",
                                          [EC_CONFIG_SHORT_ZERO] = "zero",
                                          [EC_CONFIG_SHORT_REPEAT] = "repeat",
                                          [EC_CONFIG_SHORT_REPEAT_PAD] = "repeat_pad"};

/* What was done to a file before and behind the encoder, as one JSON object. */
static ec_status describe(ec_featurizer *f, const ec_config *config) {
    ec_status status = EC_OK;
    const ec_encoder_info *info = ec__encoder_info(f->encoder);
    json_error_t error;
    json_t *object = json_loads(info->preprocess, 0, &error), *architecture = json_loads(info->architecture, 0, &error);
    if (!object || !architecture)
        EC_FAIL(EC_ERR_BUG, "encoder %s describes itself in no JSON: %s", info->name, error.text);
    json_object_set_new(object, "precision", json_string(info->precision == EC_PRECISION_BF16 ? "bf16" : "float32"));
    json_object_set(object, "architecture", architecture);
    if (f->modality == EC_MUSIC) {
        json_object_set_new(object, "crop", json_string(crop_names[config->audio_augment.crop]));
        json_object_set_new(object, "short_clips", json_string(short_names[config->audio_augment.short_clips]));
        if (config->audio_augment.crop == EC_CONFIG_CROP_ALL)
            json_object_set_new(object, "overlap", json_real(config->audio_augment.overlap));
        if (config->audio_augment.crop == EC_CONFIG_CROP_RANDOM)
            json_object_set_new(object, "crop_seed", json_integer((json_int_t)f->clip.seed));
    }
    f->preprocessing = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (!f->preprocessing) EC_FAIL(EC_ERR_MEMORY, "no memory for the description of the preprocessing");
done:
    json_decref(object);
    json_decref(architecture);
    return status;
}

static ec_clip_config clip_config(const ec_config *config, int64_t length) {
    static const ec_clip_mode modes[] = {[EC_CONFIG_CROP_FIRST] = EC_CLIP_FIRST,
                                         [EC_CONFIG_CROP_CENTER] = EC_CLIP_CENTER,
                                         [EC_CONFIG_CROP_RANDOM] = EC_CLIP_RANDOM,
                                         [EC_CONFIG_CROP_ALL] = EC_CLIP_ALL};
    static const ec_clip_short shorts[] = {[EC_CONFIG_SHORT_ERROR] = EC_CLIP_SHORT_ERROR,
                                           [EC_CONFIG_SHORT_ZERO] = EC_CLIP_SHORT_ZERO,
                                           [EC_CONFIG_SHORT_REPEAT] = EC_CLIP_SHORT_REPEAT,
                                           [EC_CONFIG_SHORT_REPEAT_PAD] = EC_CLIP_SHORT_REPEAT_PAD};
    return (ec_clip_config){.mode = modes[config->audio_augment.crop],
                            .when_short = shorts[config->audio_augment.short_clips],
                            .overlap = config->audio_augment.overlap,
                            .length = length,
                            .seed = (uint64_t)config->training.seed};
}

/* What the encoder takes is fixed by its architecture; a configuration that says otherwise is mistaken. */
static ec_status check_input(const ec_config *config, const ec_encoder_info *info) {
    const ec_config_audio_backbone *b = &config->audio_backbone;
    if (b->sample_rate != info->sample_rate || b->clip_length != info->samples)
        return EC_ERROR(EC_ERR_CONFIG,
                        "encoder %s takes clips of %d samples at %d Hz; audio_backbone.clip_length is %lld and "
                        "audio_backbone.sample_rate %lld",
                        info->name, info->samples, info->sample_rate, (long long)b->clip_length,
                        (long long)b->sample_rate);
    return EC_OK;
}

ec_status ec__featurizer_open(ec_backend *be, const ec_config *config, ec_modality modality, ec_featurizer **out) {
    ec_status status = EC_OK;
    void *memory = NULL;
    ec_featurizer *f = calloc(1, sizeof *f);
    if (!f) EC_FAIL(EC_ERR_MEMORY, "no memory for an encoder");
    f->be = be;
    f->modality = modality;
    ec_encoder_options options = encoder_options(config, modality);
    EC_TRY(ec__encoder_open(be, &options, &f->encoder));
    const ec_encoder_info *info = ec__encoder_info(f->encoder);
    if (modality == EC_MUSIC) EC_TRY(check_input(config, info));
    f->clip = clip_config(config, info->samples);
    EC_TRY(describe(f, config));
    f->identity = (ec_cache_identity){
        .modality = modality == EC_IMAGE ? "image" : "music",
        .encoder = info->name,
        .encoder_sha256 = info->sha256,
        .random_weights = info->random,
        .preprocessing = f->preprocessing,
        .dtype = config->dataset.cache_dtype == EC_CONFIG_FLOAT16 ? EC_H5_F16 : EC_H5_F32,
        .views = (int32_t)(modality == EC_IMAGE ? config->image_augment.views : config->audio_augment.views),
        .width = info->embedding,
    };
    f->batch = 8 * ec__pool_threads(be->pool);
    if (be->grain.inputs / f->identity.views > f->batch) f->batch = be->grain.inputs / f->identity.views;
    size_t items = (size_t)f->batch * (size_t)f->identity.views;
    EC_TRY(be->memory->alloc_host(be, sizeof *f->inputs * items * (size_t)info->input_count, &memory));
    f->inputs = memory;
    *out = f;
    f = NULL;
done:
    ec__featurizer_free(f);
    return status;
}

void ec__featurizer_free(ec_featurizer *f) {
    if (!f) return;
    f->be->memory->free_host(f->be, f->inputs);
    free(f->preprocessing);
    ec__encoder_free(f->encoder);
    free(f);
}

const ec_cache_identity *ec__featurizer_identity(const ec_featurizer *f) { return &f->identity; }

int32_t ec__featurizer_batch(const ec_featurizer *f) { return f->batch; }

/* input: (views, 3, R, R). Views of an image are copies: augmentation of pixels happens where an encoder is trained. */
static ec_status prepare_image(const ec_featurizer *f, const ec_media_item *item, float *input) {
    ec_status status = EC_OK;
    const ec_encoder_info *info = ec__encoder_info(f->encoder);
    ec_image *image = NULL;
    EC_TRY(ec__image_read(item->path, &image));
    EC_TRY(ec__clip_preprocess(image, info->resolution, input));
    for (int32_t v = 1; v < f->identity.views; v++)
        memcpy(input + v * info->input_count, input, sizeof *input * (size_t)info->input_count);
done:
    ec__image_free(image);
    return status;
}

/* Which clip of count is view v: spread evenly where there are more clips than views, else each in turn. */
static int64_t clip_of_view(int64_t count, int32_t views, int32_t v) {
    return count >= views ? v * count / views : v % count;
}

/* input: (views, L). */
static ec_status prepare_music(const ec_featurizer *f, const ec_media_item *item, float *input) {
    ec_status status = EC_OK;
    const ec_encoder_info *info = ec__encoder_info(f->encoder);
    int32_t views = f->identity.views;
    ec_audio audio = {0};
    ec_resampler *resampler = NULL;
    float *wave = NULL;
    int64_t clips;
    const ec_audio_options options = {.start_s = item->start_s, .end_s = item->end_s};
    EC_TRY(ec__audio_decode(item->path, &options, &audio));
    EC_TRY(ec__resampler_new(audio.rate, info->sample_rate, &resampler));
    int64_t samples = ec__resample_count(resampler, audio.count);
    wave = malloc(sizeof *wave * (size_t)samples);
    if (!wave) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for %lld samples", item->path, (long long)samples);
    ec__resample(resampler, audio.samples, audio.count, wave);
    EC_TRY(ec__clip_count(&f->clip, samples, &clips));
    for (int32_t v = 0; v < views; v++) {
        /* Random crops have no number: the view is the step that keys them. */
        int64_t clip = f->clip.mode == EC_CLIP_RANDOM ? 0 : clip_of_view(clips, views, v);
        int64_t start = ec__clip_start(&f->clip, samples, clip, (uint32_t)v, (uint64_t)item->index);
        ec__clip_copy(&f->clip, wave, samples, start, input + v * info->input_count);
    }
done:
    free(wave);
    ec__resampler_free(resampler);
    ec__audio_release(&audio);
    return status;
}

typedef struct preparation {
    ec_featurizer *f;
    const ec_media_item *items;
    ec_media_failure *failures;
} preparation;

static ec_status prepare(void *arg, int32_t task, int32_t worker) {
    (void)worker;
    preparation *p = arg;
    ec_featurizer *f = p->f;
    const ec_media_item *item = &p->items[task];
    int64_t per_item = f->identity.views * ec__encoder_info(f->encoder)->input_count;
    float *input = f->inputs + task * per_item;
    ec_media_failure *failure = &p->failures[task];
    failure->text[0] = '\0';
    failure->code = f->modality == EC_IMAGE ? prepare_image(f, item, input) : prepare_music(f, item, input);
    if (failure->code == EC_OK) return EC_OK;
    snprintf(failure->text, sizeof failure->text, "%.*s", (int)sizeof failure->text - 1, ec_error_last()->text);
    memset(input, 0, sizeof *input * (size_t)per_item);
    /* A bad file is that item's affair; a lack of memory or of a library is everybody's. */
    return failure->code == EC_ERR_DATA ? EC_OK : failure->code;
}

ec_status ec__featurize(ec_featurizer *f, const ec_media_item *items, int32_t count, float *features,
                        ec_media_failure *failures) {
    int32_t views = f->identity.views;
    for (int32_t first = 0; first < count; first += f->batch) {
        int32_t n = count - first < f->batch ? count - first : f->batch;
        preparation p = {.f = f, .items = items + first, .failures = failures + first};
        EC_RETURN_IF(ec__pool_run(f->be->pool, n, prepare, &p));
        EC_RETURN_IF(ec__encoder_forward(f->encoder, n * views, f->inputs,
                                         features + (int64_t)first * views * f->identity.width));
    }
    return EC_OK;
}
