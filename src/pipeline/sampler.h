/* Which rows make the batch of a step: a pure function of seed and step.
 *
 * A batch has G positions per modality. Position p belongs to rank p / B, so the union of what ranks read does not
 * depend on their number, and any step can be asked for at any time: a run goes on after a restart as if nothing had
 * been.
 *
 * class_balanced (as Emo-CLIM, ICASSP 2024): for every position a class, uniformly among those that the modality has;
 *   then a row of that class, uniformly. With replacement; images and music independently.
 * shuffled: an epoch is one pass over the images in a new random order (Fisher-Yates), its last incomplete batch left
 *   out. Music goes round in random orders of its own, whole ones, whatever its number of rows.
 * indices: rows are read from an HDF5 file, data sets image_index and audio_index (steps, G) int32.
 *
 * A sampler belongs to one thread at a time, unless it is pure. After it was made it allocates nothing. */
#ifndef EC_PIPELINE_SAMPLER_H
#define EC_PIPELINE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "nn/heads.h"

typedef enum ec_sampling { EC_SAMPLE_CLASS_BALANCED, EC_SAMPLE_SHUFFLED } ec_sampling;

/* The rows of one modality that may be drawn: those of a split, say. Borrowed only while the sampler is made. */
typedef struct ec_sample_pool {
    int64_t rows;             /* of the cache, >= 1 */
    int64_t count;            /* N: rows that may be drawn; >= 1 */
    const int64_t *candidate; /* (N) those rows, in [0, rows); NULL: all rows, N = rows */
    const int32_t *label;     /* (rows) class of every row of the cache, any integers; only for class_balanced */
} ec_sample_pool;

typedef struct ec_sampler_config {
    int64_t global_rows; /* G >= 1 */
    ec_sampling sampling;
    const char *indices; /* file that replaces sampling, or NULL */
    uint64_t seed;
} ec_sampler_config;

typedef struct ec_sampler ec_sampler;

/* EC_ERR_CONFIG where fewer images than G are to be shuffled or a pool is empty. EC_ERR_DATA for an indices file of
 * another shape, of a size that its bytes cannot hold, or with a row that does not exist; the message names file, data
 * set and position. Not collective. */
ec_status ec__sampler_new(const ec_sampler_config *config, const ec_sample_pool pool[EC_MODALITIES], ec_sampler **out);
void ec__sampler_free(ec_sampler *sampler); /* accepts NULL */

/* row (count) receives the rows of positions [first, first + count) of step's batch, 0 <= step < 2^32. EC_ERR_DATA for
 * a step that the indices file does not have. */
ec_status ec__sampler_rows(ec_sampler *sampler, ec_modality modality, int64_t step, int64_t first, int32_t count,
                           int64_t *row);

/* May several threads at a time call ec__sampler_rows? Where classes are balanced: nothing is kept then. */
bool ec__sampler_is_pure(const ec_sampler *sampler);

/* The rows that may be drawn, count of them, borrowed; NULL where an indices file names them. */
const int64_t *ec__sampler_candidates(const ec_sampler *sampler, ec_modality modality, int64_t *count);

/* shuffled: steps of one pass over the images. class_balanced: steps in which as many rows are drawn as the smaller
 * modality has, at least 1. indices: steps of the file. */
int64_t ec__sampler_steps_per_epoch(const ec_sampler *sampler);

/* Steps that can be asked for: those of the indices file, else 2^32. */
int64_t ec__sampler_steps(const ec_sampler *sampler);

#endif
