/* Drawing and reading the batches of a loader: what its thread does, in tasks that several threads may share.
 *
 * A task takes EC_READ_PIECE positions of one modality. What it writes is a function of seed, step and position, so
 * the number of threads decides no bit; and of the errors of a batch the one of the first position is told. */
#ifndef EC_PIPELINE_LOADER_READ_H
#define EC_PIPELINE_LOADER_READ_H

#include "core/pool.h"
#include "pipeline/loader.h"

/* READY: batches that are read ahead of those in use. SLOTS: most of both. AHEAD: how many steps before it is read a
 * batch is announced; enough for a disk to answer. RING: batches whose rows are drawn and not yet given back. */
enum {
    EC_LOADER_READY = 2,
    EC_LOADER_SLOTS = EC_LOADER_READY + EC_LOADER_IN_USE,
    EC_LOADER_AHEAD = 8,
    EC_LOADER_RING = EC_LOADER_SLOTS + EC_LOADER_AHEAD,
};

/* Rows of a task: enough that handing it out costs little, few enough that threads end together. */
enum { EC_READ_PIECE = 128 };

typedef struct ec_batch_reader {
    ec_loader_config config;
    ec_sampler *sampler;                   /* borrowed */
    ec_row_source source[EC_MODALITIES];
    bool half[EC_MODALITIES];              /* batches hold the float16 numbers of the cache */
    int32_t rows;                          /* B */
    int64_t *row[EC_LOADER_RING][EC_MODALITIES]; /* (B) rows of step s at s mod RING */
    int32_t *view[EC_MODALITIES];          /* (B) of the batch that is read */
    int64_t drawn;                         /* first step whose rows are not drawn */
    ec_pool *pool;                         /* borrowed; NULL: one thread */
} ec_batch_reader;

/* Memory for a batch's rows, (B, D) and (B). */
typedef struct ec_batch_place {
    void *x[EC_MODALITIES]; /* float, or uint16_t where half is set */
    int32_t *label[EC_MODALITIES];
} ec_batch_place;

/* Fills in all but the memory: row, view and pool. */
void ec__batch_reader_init(ec_batch_reader *reader, const ec_loader_config *config, ec_sampler *sampler,
                           const ec_row_source source[EC_MODALITIES]);

/* The batch of step, which is drawn, after the steps before it, where it has not been; and later ones with it, which
 * are announced. Errors as of the sampler and the sources. To be called by one thread, which is the pool's caller. */
ec_status ec__batch_read(ec_batch_reader *reader, int64_t step, const ec_batch_place *place, ec_batch *batch);

#endif
