/* An open cache from the inside. */
#ifndef EC_CACHE_CACHE_READER_H
#define EC_CACHE_CACHE_READER_H

#include <inttypes.h>
#include <stdatomic.h>

#include "cache/feature_cache.h"
#include "core/mapped.h"

/* ASKED: unknown, but the system was asked to read it. */
typedef enum ec_block_state { EC_BLOCK_UNKNOWN, EC_BLOCK_ASKED, EC_BLOCK_GOOD, EC_BLOCK_CORRUPT } ec_block_state;

struct ec_cache {
    ec_cache_info info; /* points into the arrays below */
    char *path, *created_by, *modality, *encoder, *encoder_sha256, *preprocessing, *manifest_sha256;
    int32_t *label;
    uint8_t *tags, *split;
    uint64_t *checksum;

    bool unchecked;
    bool skip_corrupt;
    atomic_uchar *verified; /* (blocks) ec_block_state */
    _Atomic int64_t corrupt; /* blocks that are EC_BLOCK_CORRUPT */
    int block_shift;        /* block of a row: row >> block_shift */
    int64_t item_bytes;
    void *map;
    size_t map_bytes;
    ec_mapped mapped;       /* the same for ec__mapped_read */
    const char *features;   /* in the map: to be read within ec__mapped_read */
};

/* Fills everything but the mapping and checks it; *offset: where the features begin in the file. What was allocated so
 * far is released by ec__cache_release_index, also after an error. */
ec_status ec__cache_read_index(const char *path, ec_cache *cache, int64_t *offset);
void ec__cache_release_index(ec_cache *cache);

/* EC_ERR_DATA names the first feature of rows first .. end - 1 that is not a finite number. */
ec_status ec__cache_check_finite(const ec_cache *cache, int64_t first, int64_t end);

#endif
