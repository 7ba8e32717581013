#include "train/trained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/feature_origin.h"
#include "core/file.h"
#include "train/checkpoint.h"
#include "train/run.h"

/* Feature width of a modality: columns of the first weight of its first projector. */
static ec_status feature_width(const ec_checkpoint *checkpoint, bool multi_task, ec_modality modality, int64_t *out) {
    char name[64];
    snprintf(name, sizeof name, "params/%s%s_projector.0.weight", modality == EC_IMAGE ? "image" : "audio",
             multi_task ? "_base" : "");
    const ec_checkpoint_array *array = ec__checkpoint_find(checkpoint, name);
    if (!array || array->rank != 2) return EC_ERROR(EC_ERR_DATA, "%s has no matrix %s", checkpoint->path, name);
    *out = array->dim[1];
    return EC_OK;
}

static ec_status load(ec_backend *be, const ec_checkpoint *checkpoint, ec_trained *t) {
    ec_status status = EC_OK;
    char *folder = NULL;
    int64_t width[EC_MODALITIES];
    EC_TRY(ec__path_folder(checkpoint->path, &folder));
    EC_TRY(ec__config_parse(checkpoint->path, folder, checkpoint->meta.config, strlen(checkpoint->meta.config), NULL, 0,
                            &t->config));
    for (int m = 0; m < EC_MODALITIES; m++)
        EC_TRY(feature_width(checkpoint, t->config->full_model.multi_task, (ec_modality)m, &width[m]));
    const ec_heads_config heads = ec__heads_config_of(t->config, width[EC_IMAGE], width[EC_MUSIC]);
    EC_TRY(ec__heads_new(be, &heads, 0, &t->heads));
    EC_TRY(ec__heads_from_checkpoint(t->heads, checkpoint));
    EC_TRY(ec__checkpoint_digest(checkpoint, t->digest));
    EC_TRY(ec__format(&t->path, "%s", checkpoint->path));
    for (int m = 0; m < EC_MODALITIES; m++)
        if (checkpoint->meta.features[m]) EC_TRY(ec__format(&t->features[m], "%s", checkpoint->meta.features[m]));
    t->step = checkpoint->meta.step;
done:
    free(folder);
    return status;
}

ec_status ec__trained_load(ec_backend *be, const char *path, ec_trained *out) {
    ec_status status = EC_OK;
    ec_checkpoint *checkpoint = NULL;
    ec_trained trained = {0};
    EC_TRY(ec__checkpoint_load(path, &checkpoint));
    EC_TRY(load(be, checkpoint, &trained));
    *out = trained;
    memset(&trained, 0, sizeof trained);
done:
    ec__trained_release(&trained);
    ec__checkpoint_free(checkpoint);
    return status;
}

void ec__trained_release(ec_trained *trained) {
    ec__heads_free(trained->heads);
    ec__config_free(trained->config);
    free(trained->path);
    for (int m = 0; m < EC_MODALITIES; m++) free(trained->features[m]);
    memset(trained, 0, sizeof *trained);
}

ec_status ec__trained_check_features(const ec_trained *trained, ec_modality modality, const char *what,
                                     const ec_cache_identity *identity) {
    if (!trained->features[modality]) return EC_OK;
    return ec__feature_origin_check(trained->path, trained->features[modality], what, identity, true);
}
