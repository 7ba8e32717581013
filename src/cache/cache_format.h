/* The feature cache's format: what a file holds, and when two files are of the same making.
 *
 * HDF5, format version 1. N rows, `views` items a row, D numbers an item:
 *
 *     /features     (N,views,D)  float16 or float32; of raw items: uint8 pixels, int16 PCM, float16 log-mel
 *     /label        (N)          int32, in [0,C); or instead of it
 *     /tags         (N,C)        uint8, 0 or 1
 *     /split        (N)          uint8, ec_split
 *     /id           (N)          text
 *     /class_names  (C)          text
 *     /checksum     (blocks)     uint64: XXH3-64 of every block_rows rows of /features
 *     /skipped/id, /skipped/reason  (M)  text: samples of the manifest that are left out
 *
 * and attributes of the root: format, format_version, created_by, the fields of ec_cache_identity (but for views and
 * width, which are the shape of /features), block_rows, and index_checksum: XXH3-64 of everything besides /features, as
 * 16 hex digits.
 * /features is contiguous and begins at a multiple of EC_H5_ALIGN. Rows are in manifest order. */
#ifndef EC_CACHE_CACHE_FORMAT_H
#define EC_CACHE_CACHE_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/checksum.h"
#include "cache/h5.h"

#define EC_CACHE_FORMAT "emoclim feature cache"

enum {
    EC_CACHE_VERSION = 1,
    EC_CACHE_BLOCK_BYTES = 1 << 16, /* aim for a block: small enough that a first touch of a row costs little */
    EC_CACHE_CLASSES = 4096,        /* largest number of classes */
    EC_CACHE_ID = 4096,             /* longest id in bytes */
};

typedef enum ec_split { EC_SPLIT_TRAIN, EC_SPLIT_VALID, EC_SPLIT_TEST, EC_SPLITS } ec_split;

const char *ec__split_name(ec_split split); /* "train", "valid", "test" */

/* What the items were computed from and how: rows of equal identity may be used together. */
typedef struct ec_cache_identity {
    const char *modality;        /* "image" or "music" */
    const char *encoder;         /* kind of encoder, e.g. "clip_vit"; "none" for raw items */
    const char *encoder_sha256;  /* of the weights, 64 hex digits; "" with encoder "none" */
    bool random_weights;         /* the weights were drawn from a seed: features are of no use but for tests */
    const char *preprocessing;   /* a JSON object with all that was done to a file before and behind the encoder */
    const char *manifest_sha256; /* 64 hex digits */
    ec_h5_type dtype;            /* F16, F32, U8 or I16 */
    int32_t views;               /* >= 1 */
    int64_t width;               /* D >= 1 */
} ec_cache_identity;

/* Everything of a cache besides the features. Of an open cache; all borrowed from it. */
typedef struct ec_cache_info {
    ec_cache_identity identity;
    const char *path, *created_by;
    int64_t rows;           /* N >= 1 */
    int32_t class_count;    /* C >= 1 */
    const int32_t *label;   /* (N), or NULL where there are tags */
    const uint8_t *tags;    /* (N,C), or NULL where there are labels */
    const uint8_t *split;   /* (N) */
    ec_h5_strings id, class_names, skipped_id, skipped_reason;
    int64_t row_bytes;      /* of all views of a row */
    int64_t block_rows;     /* a power of two */
    int64_t blocks;
    const uint64_t *checksum; /* (blocks) */
} ec_cache_info;

/* EC_ERR_DATA when a field is missing or makes no sense; the message starts with path. */
ec_status ec__cache_check_identity(const char *path, const ec_cache_identity *identity);

/* Labels in range, splits known, names not empty and different, sizes that multiply without overflow. */
ec_status ec__cache_check_rows(const ec_cache_info *info);

/* Do two caches number the same classes, so that their labels can be compared? EC_ERR_DATA names the first
 * difference. */
ec_status ec__cache_check_classes(const ec_cache_info *a, const ec_cache_info *b);

/* Rows of a checksummed block, from the bytes of a row. */
int64_t ec__cache_block_rows(int64_t row_bytes);

/* XXH3-64 of everything besides /features, in the order of cache_format.c. */
ec_status ec__cache_index_checksum(const ec_cache_info *info, char hex[EC_CHECKSUM_HEX]);

/* Both as JSON; a NULL text of expected (and a manifest not given) is not compared. EC_ERR_DATA naming each field that
 * differs: "PATH: preprocessing.n_fft is 1024, expected 2048; ...". */
ec_status ec__cache_compare_identity(const char *path, const ec_cache_identity *found,
                                     const ec_cache_identity *expected);

/* The identity as a JSON object with the preprocessing in it; the caller's reference. NULL texts are left out. */
ec_status ec__cache_identity_json(const ec_cache_identity *identity, json_t **out);

/* Adds one clause for every member of expected that differs in found: "a.b is 1, expected 2". Returns their number. */
int ec__json_differences(const json_t *found, const json_t *expected, char *text, size_t size);

#endif
