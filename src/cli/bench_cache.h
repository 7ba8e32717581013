/* A feature cache of random numbers to measure on, which has no name in the file system: whatever ends the process, the
 * disk has its room back. */
#ifndef EC_CLI_BENCH_CACHE_H
#define EC_CLI_BENCH_CACHE_H

#include "cache/feature_cache.h"

/* Opened as often as it is measured: nothing of a cache is mapped before it is read. */
typedef struct bench_cache {
    int fd;
    ec_cache *warm, *cold, *cold_unchecked; /* to be closed, and set to NULL, before the next one is measured */
} bench_cache;

/* Made in a folder of its own under base (NULL: $TMPDIR or /tmp), which is gone when the call returns. Signals that come
 * meanwhile end the making, and are delivered afterwards. */
ec_status bench_cache_make(const char *base, int64_t rows, int64_t width, ec_h5_type dtype, bench_cache *out);
void bench_cache_release(bench_cache *cache); /* fd -1 and NULL are nothing */

/* Puts the file out of the system's memory: its pages must be on disk for that, and mapped by nobody. */
ec_status bench_cache_forget(const bench_cache *cache);

#endif
