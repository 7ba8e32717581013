/* Reading feature caches (format: cache/cache_format.h).
 *
 * A cache is opened once and then read by mmap: a row costs as much as copying it. A file that fits into memory is best
 * read once in order with ec__cache_load; of a larger one, the rows of the batches to come are announced with
 * ec__cache_will_need. Every block of rows is checked against its checksum when it is first touched.
 *
 * The file must not be shortened or rewritten in place while it is open (this program only ever replaces files by
 * rename, which is safe). Where it was all the same, or its disk fails, the error names file and byte (core/mapped.h);
 * only what reads by the pointer of ec__cache_raw gets SIGBUS. Nothing here is collective. */
#ifndef EC_CACHE_FEATURE_CACHE_H
#define EC_CACHE_FEATURE_CACHE_H

#include "cache/cache_format.h"
#include "core/progress.h"

typedef struct ec_cache ec_cache;

typedef struct ec_cache_options {
    bool unchecked;    /* leave out the checksums of the features */
    bool skip_corrupt; /* ec__cache_load passes over a corrupt block, with a warning; see ec__cache_good */
} ec_cache_options;

/* Opens and validates everything besides the features: version, types, shapes that agree, label range, class names,
 * sizes against the file's length, the index checksum. options may be NULL. EC_ERR_DATA names file, data set and row.
 * */
ec_status ec__cache_open(const char *path, const ec_cache_options *options, ec_cache **out);
void ec__cache_close(ec_cache *cache); /* accepts NULL */

/* May a rebuild put another cache in place of the file? EC_ERR_DATA unless it is a feature cache of any version and
 * making, or an HDF5 file that cannot be opened: a cache cut short, as far as one can tell. */
ec_status ec__cache_check_replaceable(const char *path);

/* Valid until the cache is closed. */
const ec_cache_info *ec__cache_info(const ec_cache *cache);

/* EC_ERR_DATA saying what differs; NULL texts of expected are not compared. */
ec_status ec__cache_check_compatible(const ec_cache *cache, const ec_cache_identity *expected);

/* out (count,D) float32: item view[k] (view == NULL: 0) of row[k]. Only of float16 and float32 caches. Any number of
 * threads at once that do not block SIGBUS. EC_ERR_DATA naming file, block and rows when a block is corrupt or cannot
 * be read; EC_ERR_USAGE for a row or view that is not there. */
ec_status ec__cache_rows(ec_cache *cache, const int64_t *row, const int32_t *view, int32_t count, float *out);

/* The same as they are stored, of a float16 cache only. */
ec_status ec__cache_rows_half(ec_cache *cache, const int64_t *row, const int32_t *view, int32_t count, uint16_t *out);

ec_status ec__cache_row(ec_cache *cache, int64_t row, int32_t view, float *out); /* ec__cache_rows for one */

/* *out: the item as it is stored, width numbers of the cache's dtype, aligned to its size; valid until close. */
ec_status ec__cache_raw(ec_cache *cache, int64_t row, int32_t view, const void **out);

/* Can the row be read? Checks its block when that is first touched. A corrupt one, or one that its disk does not give,
 * is named in a warning, once, with its rows. The answer is a function of the file's bytes, so all ranks that read one
 * file get the same. Any number of threads at once. */
bool ec__cache_good(ec_cache *cache, int64_t row);

/* How many blocks ec__cache_good and ec__cache_load have found corrupt so far, and whether this one is among them. Any
 * number of threads at once, as the next one. */
int64_t ec__cache_corrupt(const ec_cache *cache);
bool ec__cache_is_corrupt(const ec_cache *cache, int64_t block);

/* ec__cache_good for a block, which is read and checked again whatever was found before. */
bool ec__cache_recheck(ec_cache *cache, int64_t block);

/* Whether the whole file may be kept in memory: half of what is available to this process at most. */
bool ec__cache_fits_memory(const ec_cache *cache);

/* Reads the whole file in order and checks every block. progress may be NULL. EC_ERR_DATA names the first that is
 * corrupt, unless the cache was opened to skip those. */
ec_status ec__cache_load(ec_cache *cache, const ec_progress *progress);

/* Asks the system to read these rows soon, and a block that is not checked yet as a whole, once; returns at once. Any
 * number of threads at once. */
void ec__cache_will_need(ec_cache *cache, const int64_t *row, int32_t count);

/* Everything that can be checked without the original files: all of the above, and that every number is finite.
 * EC_ERR_DATA names the place. */
ec_status ec__cache_verify(const char *path, const ec_progress *progress);

/* Attributes and counts as JSON (for --json); the caller's reference. */
ec_status ec__cache_json(const ec_cache_info *info, json_t **out);

#endif
