/* Batches read ahead: a thread samples, reads and converts while the main thread computes, with the help of others
 * where one is not enough.
 *
 * Of every global batch this rank gets positions [rank * B, (rank + 1) * B) of each modality. What a batch holds is a
 * function of the sampler, the seed and the step alone, never of timing or of the number of ranks or threads. */
#ifndef EC_PIPELINE_LOADER_H
#define EC_PIPELINE_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/feature_cache.h"
#include "compute/backend.h"
#include "pipeline/sampler.h"

/* Where rows come from. Its functions are called by the loader's threads, several at a time. */
typedef struct ec_row_source {
    void *arg;
    int32_t width;        /* D >= 1 */
    int32_t views;        /* >= 1; above 1 a view is drawn for every position */
    const int32_t *label; /* class of every row, borrowed */
    /* out (count, D): item view[k] of row[k]. */
    ec_status (*read)(void *arg, const int64_t *row, const int32_t *view, int32_t count, float *out);
    /* The same as float16 numbers, from a source that holds such; else NULL. */
    ec_status (*read_half)(void *arg, const int64_t *row, const int32_t *view, int32_t count, uint16_t *out);
    /* Can the row be read? Where not, another row of its class, or if there is none any other that may be drawn, takes
     * its place: a function of seed, step, position and which rows are good. NULL: a row that cannot be read is an
     * error. */
    bool (*good)(void *arg, int64_t row);
    /* Rows that will be read soon; returns at once. NULL: nothing is to be gained. */
    void (*will_need)(void *arg, const int64_t *row, int32_t count);
} ec_row_source;

/* Rows of an open cache, borrowed, of float16 or float32 and with labels (EC_ERR_DATA otherwise). Rows are announced
 * where the cache does not fit into memory. */
ec_status ec__row_source_cache(ec_cache *cache, ec_row_source *out);

/* Makes such a source replace the rows of corrupt blocks (ec__cache_good). */
void ec__row_source_skip_corrupt(ec_row_source *source);

/* Makes such a source announce its rows in any case: for a file that would fit but is not in memory yet. */
void ec__row_source_announce(ec_row_source *source);

enum { EC_LOADER_IN_USE = 2 };

typedef struct ec_loader_config {
    int64_t global_rows;          /* G, a multiple of size */
    int32_t rank, size;
    uint64_t seed;                /* of the views, and of rows in place of others */
    int64_t first_step, end_step; /* steps [first_step, end_step) are loaded */
    ec_backend *be; /* borrowed; batches lie in its host memory, where uploads need not wait. NULL: anywhere */
    int32_t in_use;  /* batches that are valid at a time, EC_LOADER_IN_USE at most; 0: 1 */
    int32_t threads; /* that draw and read, the loader's own included; 0: 1 */
    bool half;       /* batches hold float16 numbers where the source does: half the bytes for memory and bus */
} ec_loader_config;

/* One batch of this rank; valid until ec__loader_next has been called in_use times more. */
typedef struct ec_batch {
    int64_t step;
    /* (B, D), host memory, aligned to EC_ARENA_ALIGN; one of both is NULL. half: see ec_loader_config. */
    const float *x[EC_MODALITIES];
    const uint16_t *half[EC_MODALITIES];
    const int32_t *label[EC_MODALITIES]; /* (B) */
    const int64_t *row[EC_MODALITIES];   /* (B) rows of the cache */
} ec_batch;

typedef struct ec_loader ec_loader;

/* Starts the threads. sampler and sources are borrowed; until the loader is closed they belong to these. Not
 * collective. */
ec_status ec__loader_open(const ec_loader_config *config, ec_sampler *sampler,
                          const ec_row_source source[EC_MODALITIES], ec_loader **out);
void ec__loader_close(ec_loader *loader); /* accepts NULL; ends the threads, whatever they are doing */

/* Threads that read for a GPU where the rank has so many processors: at a batch of some thousands one does not keep up
 * with it. One processor stays for what the host tells the GPU; eight readers are the most. */
int32_t ec__loader_threads(int32_t processors);

/* Bytes of host memory that a loader takes. */
size_t ec__loader_bytes(const ec_loader_config *config, const ec_row_source source[EC_MODALITIES]);

/* The next batch, in the order of steps; *out is NULL after the last. Waits for it. An error of the thread comes here,
 * in place of the batch that it prevented, with the thread's record; and again at every further call. */
ec_status ec__loader_next(ec_loader *loader, const ec_batch **out);

/* Nanoseconds that ec__loader_next has waited so far. */
int64_t ec__loader_wait_ns(const ec_loader *loader);

#endif
