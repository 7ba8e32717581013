/* Batches that are given, not drawn: an HDF5 file with data sets image_index and audio_index, (steps, G) int32. */
#ifndef EC_PIPELINE_SAMPLER_INDICES_H
#define EC_PIPELINE_SAMPLER_INDICES_H

#include "nn/heads.h"

typedef struct ec_indices ec_indices;

/* rows: of the cache of each modality. Errors: see ec__sampler_new. */
ec_status ec__indices_read(const char *path, int64_t global_rows, const int64_t rows[EC_MODALITIES], ec_indices **out);
void ec__indices_free(ec_indices *indices); /* accepts NULL */
int64_t ec__indices_steps(const ec_indices *indices);
ec_status ec__indices_rows(const ec_indices *indices, ec_modality modality, int64_t step, int64_t first, int32_t count,
                           int64_t *row);

#endif
