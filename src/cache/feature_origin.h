/* Where the features that a model was trained on came from, as text to be kept with the model, and whether other
 * features are of the same making: a model means nothing on the features of another encoder.
 *
 * The text is a JSON object: modality, encoder, encoder_sha256, random_weights, width, and preprocessing in full. What
 * does not change the meaning of a feature is not in it: dtype, number of views, manifest. */
#ifndef EC_CACHE_FEATURE_ORIGIN_H
#define EC_CACHE_FEATURE_ORIGIN_H

#include "cache/cache_format.h"

/* *out is owned by the caller (free). Equal origins are equal texts. */
ec_status ec__feature_origin(const ec_cache_identity *identity, char **out);

/* EC_ERR_DATA naming each field in which found differs from origin (a text as above; name says whose it is, what says
 * what was found: a file, an encoder). With any_clips, which pieces of a recording were taken (crop, overlap,
 * crop_seed, short_clips) may differ: a model trained on random clips may be used on all clips. */
ec_status ec__feature_origin_check(const char *name, const char *origin, const char *what,
                                   const ec_cache_identity *found, bool any_clips);

#endif
