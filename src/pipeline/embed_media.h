/* Joint embeddings straight from media files: decoding, encoder and heads in one go, shared out over ranks. */
#ifndef EC_PIPELINE_EMBED_MEDIA_H
#define EC_PIPELINE_EMBED_MEDIA_H

#include "core/progress.h"
#include "dist/comm.h"
#include "pipeline/featurize.h"

/* EC_ERR_DATA, naming both widths, unless the heads take what the encoder of this identity makes. */
ec_status ec__embed_check_encoder(const ec_heads *heads, ec_modality modality, const ec_cache_identity *identity);

/* Collective. items (count >= 1), the same on every rank; z (count, output_dim), host memory, receives embedding
 * `which` of every item on every rank, and good (count) whether it has one: a broken file is named in the log, its row
 * is zero. EC_ERR_DATA where the encoder's width is not what the heads take. */
ec_status ec__embed_media(ec_heads *heads, ec_embedding which, ec_comm *comm, ec_modality modality,
                          ec_featurizer *featurizer, const ec_media_item *items, int64_t count,
                          const ec_progress *progress, float *z, uint8_t *good);

#endif
