/* Small feature caches for tests. */
#ifndef EC_TEST_CACHE_FILES_H
#define EC_TEST_CACHE_FILES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct test_cache {
    const char *modality; /* "image" or "music" */
    int64_t rows;
    int64_t width;
    int32_t classes;
    const float *features; /* (rows, width); stored as float32 unless half is set */
    bool half;             /* stored as float16 */
    const int32_t *label;  /* (rows) in [0, classes) */
    const uint8_t *split;  /* (rows) ec_split */
} test_cache;

/* Writes path; rows are called "image-0000012", classes "class-3". A file that is there is replaced. */
void test_write_cache(const char *path, const test_cache *cache);

#endif
