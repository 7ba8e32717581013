/* Checkpoints: named arrays, where in the run they were taken, and the configuration.
 *
 * HDF5, format version 1:
 *     /params/NAME, /buffers/NAME                              under the names of the original's state dict
 *     /optimizer/exp_avg/NAME, /optimizer/exp_avg_sq/NAME
 *     /config                     (1) text: the resolved configuration
 *     /checksum/name (A) text, /checksum/xxh3 (A) uint64: XXH3-64 of every array, in the order of the names' bytes
 * and attributes of the root: format, format_version, program, the fields of ec_checkpoint_meta (image_features and
 * music_features where known, validation_due where true), and index_checksum: XXH3-64 of everything besides the arrays'
 * elements, as 16 hex digits. Equal contents are equal bytes.
 *
 * A file appears under its name when it is complete and flushed to disk. Nothing here is collective: rank 0 saves,
 * every rank may load. */
#ifndef EC_TRAIN_CHECKPOINT_H
#define EC_TRAIN_CHECKPOINT_H

#include <jansson.h>
#include <stdint.h>

#include "cache/h5.h"
#include "config/config.h"
#include "core/sha256.h"

#define EC_CHECKPOINT_FORMAT "emoclim checkpoint"

enum { EC_CHECKPOINT_VERSION = 1, EC_CHECKPOINT_ARRAYS = 1 << 20, EC_CHECKPOINT_ORIGINS = 2 };

/* One array. name is its path in the file: a section, '/', and a name without '/'. The sections are "params",
 * "buffers", "optimizer/exp_avg" and "optimizer/exp_avg_sq". */
typedef struct ec_checkpoint_array {
    const char *name;
    ec_h5_type type; /* F32, F64, I64, I32 or U8 */
    int32_t rank;    /* number of dimensions; 0 for a scalar */
    int64_t dim[EC_H5_DIMS];
    void *data;      /* product of dim elements, row-major; NULL where only the shape is meant */
} ec_checkpoint_array;

/* Where the run is. */
typedef struct ec_checkpoint_meta {
    int64_t step;             /* steps done: the number of the next step */
    int64_t epoch;
    int64_t sampler_position; /* batches drawn since the epoch began */
    uint64_t seed;            /* with step, the whole state of every random number */
    int32_t ranks, shards;    /* of the run that saved; ranks is for information only */
    double best_metric;       /* the best validation metric so far; NaN: none yet */
    bool validation_due;      /* the run was stopped before the validation that belongs to this step */
    const char *config;       /* resolved configuration, YAML */
    const char *features[EC_CHECKPOINT_ORIGINS]; /* of images and music: cache/feature_origin.h; NULL: not known */
} ec_checkpoint_meta;

typedef struct ec_checkpoint {
    char *path;
    char *program;              /* name and version of the program that saved it */
    ec_checkpoint_meta meta;
    ec_checkpoint_array *array; /* ascending by name */
    int32_t count;
    char *config, *features[EC_CHECKPOINT_ORIGINS]; /* what meta points to */
    char **names;
} ec_checkpoint;

size_t ec__checkpoint_array_bytes(const ec_checkpoint_array *array);

/* Writes path. arrays (count) in any order, borrowed. EC_ERR_IO when the folder or the disk refuses; path is then as it
 * was before. EC_ERR_BUG for names that are doubled or in no section. */
ec_status ec__checkpoint_save(const char *path, const ec_checkpoint_meta *meta, const ec_checkpoint_array *arrays,
                              int32_t count);

/* Reads and verifies all of it; the caller owns *out. EC_ERR_DATA says what is wrong and where: no such file,
 * truncated, a checksum that differs (of which array), another format version, an array missing or too many. */
ec_status ec__checkpoint_load(const char *path, ec_checkpoint **out);
void ec__checkpoint_free(ec_checkpoint *checkpoint); /* accepts NULL */

/* The array of that name, or NULL. Borrowed. */
const ec_checkpoint_array *ec__checkpoint_find(const ec_checkpoint *checkpoint, const char *name);

/* Are these (names, types, shapes) exactly the arrays of the checkpoint? EC_ERR_DATA names the first that is missing,
 * that the model does not have, or whose type or shape differs. */
ec_status ec__checkpoint_expect(const ec_checkpoint *checkpoint, const ec_checkpoint_array *expected, int32_t count);

/* May a run with this configuration go on from the checkpoint? EC_ERR_CONFIG names the keys that differ and may not. */
ec_status ec__checkpoint_check_config(const ec_checkpoint *checkpoint, const ec_config *now);

/* SHA-256 of what training computed: for every array in ascending order of names the name with its NUL, the name of the
 * type with its NUL, the number of dimensions, the dimensions, the elements; then the step. Numbers are 64-bit
 * integers, all little-endian. Equal digests mean equal bits, whatever else the files say. */
ec_status ec__checkpoint_digest(const ec_checkpoint *checkpoint, char hex[EC_SHA256_HEX]);

/* The same without a file, of arrays in any order. */
ec_status ec__checkpoint_digest_arrays(const ec_checkpoint_array *arrays, int32_t count, int64_t step,
                                       char hex[EC_SHA256_HEX]);

/* Meta data and the list of arrays; the caller's reference. */
ec_status ec__checkpoint_json(const ec_checkpoint *checkpoint, json_t **out);

#endif
