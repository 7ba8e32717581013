/* A trained model as it comes out of a checkpoint: ready to embed, evaluate and search with. */
#ifndef EC_TRAIN_TRAINED_H
#define EC_TRAIN_TRAINED_H

#include "cache/cache_format.h"
#include "config/config.h"
#include "core/sha256.h"
#include "nn/heads.h"

typedef struct ec_trained {
    ec_config *config; /* of the run that trained it */
    ec_heads *heads;
    char *path;
    char *features[EC_MODALITIES]; /* where those of the training came from (cache/feature_origin.h); NULL: not known */
    int64_t step;
    char digest[EC_SHA256_HEX]; /* of the checkpoint (ec__checkpoint_digest) */
} ec_trained;

/* Loads and verifies a checkpoint on back end be (borrowed). Not collective: every rank reads the file. Errors as
 * ec__checkpoint_load. ec__trained_release accepts zeros. */
ec_status ec__trained_load(ec_backend *be, const char *path, ec_trained *out);
void ec__trained_release(ec_trained *trained);

/* Do features of this identity come from the encoder and preprocessing that the model was trained on? EC_ERR_DATA says
 * what differs; which clips of a recording were taken may. what: a file or an encoder, for the message. */
ec_status ec__trained_check_features(const ec_trained *trained, ec_modality modality, const char *what,
                                     const ec_cache_identity *identity);

#endif
