/* Rules between keys, and values that depend on others. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "core/file.h"
#include "core/utf8.h"

static const ec__place *place_of(const ec_config *config, const char *name) {
    return &config->origin->place[ec__key_number(ec__key_find(name))];
}

static bool given(const ec_config *config, const char *name) {
    return place_of(config, name)->source != EC_FROM_DEFAULT;
}

ec_status ec__place_prefix(const ec_config *config, const ec__key *key) {
    const ec__place *place = &config->origin->place[ec__key_number(key)];
    if (place->source == EC_FROM_COMMAND_LINE) return ec__error_prefix("command line: ");
    if (place->source == EC_FROM_DEFAULT) return ec__error_prefix("%s: ", config->origin->name);
    return ec__error_prefix("%s:%zu:%zu: ", config->origin->name, place->line, place->column);
}

/* The error just raised is about one of these keys: the first that was given, the command line before the file. */
static ec_status at_keys(const ec_config *config, ec_status status, const char *first, const char *second) {
    const char *name = first;
    if (status == EC_OK) return EC_OK;
    if (second && place_of(config, second)->source > place_of(config, first)->source) name = second;
    return ec__place_prefix(config, ec__key_find(name));
}

static ec_status check_required(const ec_config *config) {
    for (size_t i = 0; i < ec__schema_count; i++)
        if (!ec__schema[i].standard && config->origin->place[i].source == EC_FROM_DEFAULT)
            return EC_ERROR(EC_ERR_CONFIG, "%s: %s is missing: %s", config->origin->name, ec__schema[i].name,
                            ec__schema[i].help);
    if (strcmp(config->dataset.image_cache, config->dataset.audio_cache) == 0)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG, "dataset.image_cache and dataset.audio_cache are the same file, %s",
                                config->dataset.image_cache),
                       "dataset.image_cache", "dataset.audio_cache");
    return EC_OK;
}

/* A relative path has the folder in front that it is relative to: what cannot be written down again as YAML would be
 * missed when the first checkpoint is saved. */
static ec_status check_paths(const ec_config *config) {
    for (size_t i = 0; i < ec__schema_count; i++) {
        const ec__key *key = &ec__schema[i];
        const char *path = key->type == EC_KEY_PATH ? *(char *const *)ec__key_value(key, config) : NULL;
        bool good = !path || ec__utf8(path);
        for (const char *p = path; good && p && *p; p++) good = (unsigned char)*p >= 0x20 && *p != 0x7F;
        if (!good)
            return at_keys(config,
                           EC_ERROR(EC_ERR_CONFIG, "%s: the path %s is not UTF-8 text of one line", key->name, path),
                           key->name, NULL);
    }
    return EC_OK;
}

/* What a batch is cut into whole pieces of: shards, or rows where every rank cuts as it likes. */
static int64_t pieces_of_batch(const ec_config *config) {
    return config->distributed.reduction == EC_CONFIG_FAST ? config->training.batch_size : config->distributed.shards;
}

static ec_status check_batch(const ec_config *config) {
    int64_t batch = config->training.batch_size, shards = config->distributed.shards, below = batch / shards * shards;
    int64_t groups = config->training.accumulate;
    char below_or[32] = "";
    if (below > 0) snprintf(below_or, sizeof below_or, "%" PRId64 " or ", below);
    if (config->distributed.reduction == EC_CONFIG_REPRODUCIBLE && batch % shards != 0)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG,
                                "training.batch_size = %" PRId64 " must be a multiple of distributed.shards = %" PRId64
                                ", as %s%" PRId64 " would be",
                                batch, shards, below_or, below + shards),
                       "training.batch_size", "distributed.shards");
    if (groups > pieces_of_batch(config))
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG,
                                "training.accumulate = %" PRId64 " is more than the %" PRId64
                                " pieces that the batch can be cut into",
                                groups, pieces_of_batch(config)),
                       "training.accumulate", "distributed.shards");
    return EC_OK;
}

static ec_status check_training(const ec_config *config) {
    const ec_config_training *t = &config->training;
    const ec_config_loss_weights *w = &t->loss_weights;
    if (w->image2image == 0 && w->audio2audio == 0 && w->image2audio == 0 && w->audio2image == 0)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG, "all four training.loss_weights are 0: there is nothing to learn"),
                       "training.loss_weights.image2image", "training.loss_weights.image2audio");
    if (t->max_steps == 0 && t->max_epochs == 0)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG,
                                "training.max_epochs and training.max_steps are both 0; one says how long "
                                "to train"),
                       "training.max_epochs", "training.max_steps");
    int64_t steps = t->max_steps;
    if (steps == 0 && __builtin_mul_overflow(t->max_epochs, t->steps_per_epoch, &steps)) steps = INT64_MAX;
    if (t->schedule == EC_CONFIG_COSINE && steps > 0 && t->warmup_steps >= steps)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG,
                                "training.warmup_steps = %" PRId64 " leaves nothing of the %" PRId64
                                " steps for the cosine; give fewer",
                                t->warmup_steps, steps),
                       "training.warmup_steps", "training.schedule");
    if (config->checkpoint.best && config->training.validate_every == 0 && given(config, "checkpoint.best"))
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG, "checkpoint.best needs validation, and training.validate_every is 0"),
                       "checkpoint.best", "training.validate_every");
    return EC_OK;
}

static ec_status check_encoders(const ec_config *config) {
    const ec_config_image_backbone *b = &config->image_backbone;
    if (b->width != 64 * b->heads)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG,
                                "image_backbone.width = %" PRId64 " must be 64 * image_backbone.heads = %" PRId64,
                                b->width, 64 * b->heads),
                       "image_backbone.width", "image_backbone.heads");
    if (b->resolution % b->patch != 0)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG,
                                "image_backbone.patch = %" PRId64 " must divide image_backbone.resolution"
                                " = %" PRId64,
                                b->patch, b->resolution),
                       "image_backbone.patch", "image_backbone.resolution");
    if (config->audio_augment.views > 1 && config->audio_augment.crop != EC_CONFIG_CROP_RANDOM &&
        config->audio_augment.crop != EC_CONFIG_CROP_ALL)
        return at_keys(config,
                       EC_ERROR(EC_ERR_CONFIG,
                                "audio_augment.views = %" PRId64 " needs audio_augment.crop: random or all; "
                                "the others give the same clip every time",
                                config->audio_augment.views),
                       "audio_augment.views", "audio_augment.crop");
    return EC_OK;
}

ec_status ec__config_finish(ec_config *config) {
    EC_RETURN_IF(check_required(config));
    EC_RETURN_IF(check_paths(config));
    EC_RETURN_IF(check_batch(config));
    EC_RETURN_IF(check_training(config));
    EC_RETURN_IF(check_encoders(config));
    /* torch.optim's defaults differ in this. */
    if (config->training.optimizer == EC_CONFIG_ADAM && !given(config, "training.weight_decay"))
        config->training.weight_decay = 0;
    if (config->training.validate_every == 0) config->checkpoint.best = false;
    if (!config->checkpoint.folder)
        EC_RETURN_IF(ec__path_join(config->logging.folder, "checkpoints", &config->checkpoint.folder));
    return EC_OK;
}

static bool can_share(const ec_config *config, int64_t ranks) {
    int64_t pieces = pieces_of_batch(config);
    return ranks >= 1 && pieces % ranks == 0 && pieces / ranks >= config->training.accumulate;
}

ec_status ec__config_check_ranks(const ec_config *config, int32_t ranks) {
    bool fast = config->distributed.reduction == EC_CONFIG_FAST;
    const char *key = fast ? "training.batch_size" : "distributed.shards";
    char legal[512] = "";
    size_t used = 0;
    if (can_share(config, ranks)) return EC_OK;
    for (int64_t n = 1; n <= pieces_of_batch(config) && used + 24 < sizeof legal; n++)
        if (can_share(config, n))
            used += (size_t)snprintf(legal + used, sizeof legal - used, "%s%" PRId64, used ? ", " : "", n);
    EC_ERROR(EC_ERR_CONFIG,
             "%" PRId32 " ranks cannot share %s = %" PRId64 " evenly with training.accumulate = %" PRId64
             "; legal numbers of ranks: %s",
             ranks, key, pieces_of_batch(config), config->training.accumulate, legal);
    return ec__place_prefix(config, ec__key_find(key));
}

ec_status ec__config_require(const ec_config *config, const char *name, const char *purpose) {
    const ec__key *key = ec__key_find(name);
    if (!key) return EC_ERROR(EC_ERR_BUG, "there is no key %s", name);
    if (key->type == EC_KEY_PATH && !*(char *const *)ec__key_value(key, config)) {
        EC_ERROR(EC_ERR_CONFIG, "%s needs %s: %s", purpose, name, key->help);
        return ec__place_prefix(config, key);
    }
    return EC_OK;
}
