/* Joint embeddings of the rows of a feature cache: the trained heads in evaluation mode, shared out over ranks.
 *
 * A row with several views (clips of a recording) has the mean of its views' embeddings, brought back to unit
 * length. */
#ifndef EC_PIPELINE_EMBED_H
#define EC_PIPELINE_EMBED_H

#include "cache/feature_cache.h"
#include "dist/comm.h"
#include "nn/heads.h"

/* Collective. rows (count) of cache, the same on every rank; z[e] (count, output_dim), host memory, receives embedding
 * e of every row on every rank (a NULL z[e] is left out). The bits depend on the row alone. EC_ERR_DATA where the
 * cache's width is not what the heads take. */
ec_status ec__embed_rows(ec_heads *heads, ec_comm *comm, ec_modality modality, ec_cache *cache, const int64_t *rows,
                         int64_t count, float *const z[EC_EMBEDDINGS]);

/* The same for features in host memory: (count, views, input_dim). Not collective: this rank's alone. */
ec_status ec__embed_features(ec_heads *heads, ec_modality modality, const float *features, int64_t count, int32_t views,
                             float *const z[EC_EMBEDDINGS]);

/* Back end memory that embedding count rows on this rank takes meanwhile. */
size_t ec__embed_bytes(ec_heads *heads, ec_modality modality, int64_t count, int32_t views);

/* EC_ERR_DATA, naming both widths, unless the heads take the features of this cache, and it is of this modality. */
ec_status ec__embed_check(const ec_heads *heads, ec_modality modality, const ec_cache_info *cache);

#endif
