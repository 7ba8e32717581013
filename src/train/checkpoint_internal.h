/* What saving and loading a checkpoint share. */
#ifndef EC_TRAIN_CHECKPOINT_INTERNAL_H
#define EC_TRAIN_CHECKPOINT_INTERNAL_H

#include "cache/checksum.h"
#include "train/checkpoint.h"

enum { EC_CHECKPOINT_SECTIONS = 4 };

extern const char *const ec__checkpoint_section[EC_CHECKPOINT_SECTIONS];
extern const char *const ec__checkpoint_origin[EC_CHECKPOINT_ORIGINS]; /* attributes */

/* Pointers to the arrays in ascending order of their names; owned by the caller. EC_ERR_BUG for a name that is doubled
 * or in no section. */
ec_status ec__checkpoint_sort(const ec_checkpoint_array *arrays, int32_t count, const ec_checkpoint_array ***out);

/* Writes path itself: a temporary name. EC_ERR_IO, EC_ERR_BUG as ec__checkpoint_save. */
ec_status ec__checkpoint_write(const char *path, const ec_checkpoint_meta *meta, const ec_checkpoint_array *arrays,
                               int32_t count);

/* XXH3-64 of everything besides the elements. sorted and sum (count): arrays by name and their checksums. */
ec_status ec__checkpoint_index_checksum(const ec_checkpoint_meta *meta, const char *program,
                                        const ec_checkpoint_array *const *sorted, const uint64_t *sum, int32_t count,
                                        char hex[EC_CHECKSUM_HEX]);

#endif
