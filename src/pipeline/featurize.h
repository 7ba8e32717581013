/* From media files to feature vectors: decoding, preprocessing and the frozen encoder of one modality.
 *
 * Everything that reads media uses this one way: building a cache, embedding a manifest, searching with a photo. A
 * file's features depend on the file and the configuration alone. */
#ifndef EC_PIPELINE_FEATURIZE_H
#define EC_PIPELINE_FEATURIZE_H

#include "cache/cache_format.h"
#include "compute/backend.h"
#include "config/config.h"
#include "nn/heads.h"

typedef struct ec_media_item {
    const char *path;
    double start_s, end_s; /* of a recording; 0, 0: all of it */
    int64_t index;         /* its number in the manifest: keys random crops */
} ec_media_item;

/* Why an item has no features; text is empty where it has. */
typedef struct ec_media_failure {
    ec_status code;
    char text[512];
} ec_media_failure;

typedef struct ec_featurizer ec_featurizer;

/* Opens the modality's encoder as config says. be is borrowed and must outlive it. Errors as ec__encoder_open. */
ec_status ec__featurizer_open(ec_backend *be, const ec_config *config, ec_modality modality, ec_featurizer **out);
void ec__featurizer_free(ec_featurizer *featurizer);

/* How the features are made, for a cache's header; manifest_sha256 is left NULL. Valid until free. */
const ec_cache_identity *ec__featurizer_identity(const ec_featurizer *featurizer);

/* Items that one call should get, for speed; any number is allowed. */
int32_t ec__featurizer_batch(const ec_featurizer *featurizer);

/* features (count, views, D) in host memory; rows of failed items are undefined. failures[count] says which failed (a
 * broken file); the return value is an error only for what concerns all items. Runs on all threads of the back end; one
 * thread at a time may call it. */
ec_status ec__featurize(ec_featurizer *featurizer, const ec_media_item *items, int32_t count, float *features,
                        ec_media_failure *failures);

#endif
