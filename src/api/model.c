#include "emoclim/model.h"

#include <stdlib.h>
#include <string.h>

#include "api/threads.h"
#include "pipeline/embed.h"
#include "pipeline/embed_media.h"
#include "train/trained.h"

struct ec_model {
    ec_backend *be;
    ec_trained trained;
    ec_featurizer *featurizer[EC_MODALITIES]; /* NULL until needed */
};

ec_status ec_model_open(const char *path, int32_t threads, ec_model **out) {
    ec_status status = EC_OK;
    ec_model *model = calloc(1, sizeof *model);
    if (!model) EC_FAIL(EC_ERR_MEMORY, "no memory for a model");
    EC_TRY(ec__api_backend(threads, &model->be));
    EC_TRY(ec__trained_load(model->be, path, &model->trained));
    *out = model;
    model = NULL;
done:
    ec_model_close(model);
    return status;
}

void ec_model_close(ec_model *model) {
    if (!model) return;
    for (int m = 0; m < EC_MODALITIES; m++) ec__featurizer_free(model->featurizer[m]);
    ec__trained_release(&model->trained);
    if (model->be) model->be->close(model->be);
    free(model);
}

int32_t ec_model_width(const ec_model *model) { return model->trained.heads->config.output_dim; }

int64_t ec_model_step(const ec_model *model) { return model->trained.step; }

const char *ec_model_digest(const ec_model *model) { return model->trained.digest; }

static ec_status prepare(ec_model *model, ec_modality modality) {
    ec_status status = EC_OK;
    ec_featurizer *featurizer = NULL;
    if (model->featurizer[modality]) goto done;
    EC_TRY(ec__featurizer_open(model->be, model->trained.config, modality, &featurizer));
    const ec_cache_identity *identity = ec__featurizer_identity(featurizer);
    EC_TRY(ec__trained_check_features(&model->trained, modality, "the encoder as it is now", identity));
    EC_TRY(ec__embed_check_encoder(model->trained.heads, modality, identity));
    model->featurizer[modality] = featurizer;
    featurizer = NULL;
done:
    ec__featurizer_free(featurizer);
    return status;
}

ec_status ec_model_prepare_image(ec_model *model) { return prepare(model, EC_IMAGE); }

ec_status ec_model_prepare_music(ec_model *model) { return prepare(model, EC_MUSIC); }

static ec_status embed(ec_model *model, ec_modality modality, const ec_media_item *item, float *embedding) {
    ec_status status = EC_OK;
    float *features = NULL, *z[EC_EMBEDDINGS] = {0};
    ec_media_failure failure;
    ec_heads *heads = model->trained.heads;
    EC_TRY(prepare(model, modality));
    const ec_cache_identity *identity = ec__featurizer_identity(model->featurizer[modality]);
    const size_t seen = (size_t)identity->views * (size_t)identity->width, width = (size_t)ec_model_width(model);
    features = malloc(sizeof *features * (seen + width));
    if (!features) EC_FAIL(EC_ERR_MEMORY, "no memory for the features of %s", item->path);
    EC_TRY(ec__featurize(model->featurizer[modality], item, 1, features, &failure));
    if (failure.text[0]) EC_FAIL(failure.code, "%s", failure.text);
    /* Not at once to the caller's, which an error leaves as they were. */
    z[ec__heads_embedding(&heads->config, EC_CROSS)] = features + seen;
    EC_TRY(ec__embed_features(heads, modality, features, 1, identity->views, z));
    memcpy(embedding, features + seen, sizeof *embedding * width);
done:
    free(features);
    return status;
}

ec_status ec_model_embed_image(ec_model *model, const char *path, float *embedding) {
    const ec_media_item item = {.path = path};
    return embed(model, EC_IMAGE, &item, embedding);
}

ec_status ec_model_embed_music(ec_model *model, const char *path, double start_s, double end_s, float *embedding) {
    const ec_media_item item = {.path = path, .start_s = start_s, .end_s = end_s};
    return embed(model, EC_MUSIC, &item, embedding);
}
