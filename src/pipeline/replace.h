/* A row in place of one that cannot be read. */
#ifndef EC_PIPELINE_REPLACE_H
#define EC_PIPELINE_REPLACE_H

#include "core/rng.h"
#include "pipeline/loader.h"

/* Draws, by rng, one of the candidates (count) that is good and has the class of row; where the class has none, one of
 * any class. A function of its arguments and of which rows are good, so every rank would choose the same. EC_ERR_DATA
 * when no candidate is good. */
ec_status ec__replacement(const ec_row_source *from, const int64_t *candidate, int64_t count, ec_rng *rng, int64_t row,
                          int64_t *out);

#endif
