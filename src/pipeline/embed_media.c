#include "pipeline/embed_media.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "dist/share.h"
#include "pipeline/embed.h"

ec_status ec__embed_check_encoder(const ec_heads *heads, ec_modality modality, const ec_cache_identity *identity) {
    int32_t width = ec__heads_input_dim(&heads->config, modality);
    if (identity->width != width)
        return EC_ERROR(EC_ERR_DATA, "encoder %s makes features of width %lld; the %s heads of the model take %d",
                        identity->encoder, (long long)identity->width, identity->modality, width);
    return EC_OK;
}

/* A share of the items into their rows of z. */
static ec_status embed_share(ec_heads *heads, ec_embedding which, ec_modality modality, ec_featurizer *featurizer,
                            const ec_media_item *items, ec_share share, const ec_progress *progress, float *z,
                            uint8_t *good) {
    ec_status status = EC_OK;
    const ec_cache_identity *identity = ec__featurizer_identity(featurizer);
    int32_t batch = ec__featurizer_batch(featurizer), index = ec__heads_embedding(&heads->config, which);
    int64_t width = heads->config.output_dim, per_item = identity->views * identity->width;
    float *features = malloc(sizeof *features * (size_t)batch * (size_t)per_item);
    ec_media_failure *failures = calloc((size_t)batch, sizeof *failures);
    if (!features || !failures) EC_FAIL(EC_ERR_MEMORY, "no memory for a batch of %d", batch);
    ec__progress(progress, "files", 0, share.last - share.first);
    for (int64_t at = share.first; at < share.last; at += batch) {
        int32_t n = (int32_t)(share.last - at < batch ? share.last - at : batch);
        float *into[EC_EMBEDDINGS] = {0};
        into[index] = z + at * width;
        EC_TRY(ec__featurize(featurizer, items + at, n, features, failures));
        EC_TRY(ec__embed_features(heads, modality, features, n, identity->views, into));
        for (int32_t i = 0; i < n; i++) {
            good[at + i] = failures[i].text[0] == '\0';
            if (good[at + i]) continue;
            EC_WARN("left out: %s", failures[i].text);
            memset(z + (at + i) * width, 0, sizeof *z * (size_t)width);
        }
        ec__progress(progress, "files", at + n - share.first, share.last - share.first);
    }
done:
    free(failures);
    free(features);
    return status;
}

ec_status ec__embed_media(ec_heads *heads, ec_embedding which, ec_comm *comm, ec_modality modality,
                          ec_featurizer *featurizer, const ec_media_item *items, int64_t count,
                          const ec_progress *progress, float *z, uint8_t *good) {
    const ec_share share = ec__share_of(comm->rank, comm->size, count);
    ec_status mine = ec__embed_check_encoder(heads, modality, ec__featurizer_identity(featurizer));
    if (mine == EC_OK) mine = embed_share(heads, which, modality, featurizer, items, share, progress, z, good);
    EC_RETURN_IF(ec__comm_agree(comm, mine));
    EC_RETURN_IF(ec__share_rows(comm, z, count, sizeof *z * (size_t)heads->config.output_dim));
    return ec__share_rows(comm, good, count, sizeof *good);
}
