/* Batches on their way from the loader into steps.
 *
 * Where a GPU computes, a step is enqueued while the one before it runs: its features are uploaded beside that one, and
 * its labels sorted meanwhile. So features lie in two places by turns. Those of a float16 cache are uploaded as they
 * are: the bus carries half. Where the host computes, a step has ended when it was started, and there is nothing to
 * gain. */
#include "train/run.h"

bool ec__run_uploads_half(const ec_run *run) { return run->be->native_queue(run->be) != NULL; }

ec_status ec__run_open_batches(ec_run *run) {
    ec_backend *be = run->be;
    const size_t rows = (size_t)(run->config->training.batch_size / run->comm->size);
    size_t most = 0;
    run->turns = be->native_queue(be) ? EC_TURNS : 1;
    for (int m = 0; m < EC_MODALITIES; m++) {
        const size_t count = rows * (size_t)run->source[m].width;
        if (ec__run_uploads_half(run) && run->source[m].read_half && count > most) most = count;
    }
    if (most > 0) EC_RETURN_IF(be->memory->alloc(be, most * sizeof(uint16_t), &run->half));
    for (int i = 0; i < run->turns; i++)
        for (int m = 0; m < EC_MODALITIES; m++)
            EC_RETURN_IF(be->memory->alloc(be, sizeof(float) * rows * (size_t)run->source[m].width,
                                           (void **)&run->x[i][m]));
    return EC_OK;
}

void ec__run_close_batches(ec_run *run) {
    for (int i = 0; i < run->turns; i++)
        for (int m = 0; m < EC_MODALITIES; m++) run->be->memory->free(run->be, run->x[i][m]);
    if (run->half) run->be->memory->free(run->be, run->half);
}

ec_status ec__run_start_step(ec_run *run, int64_t step) {
    ec_backend *be = run->be;
    const ec_batch *batch;
    const size_t rows = (size_t)(run->config->training.batch_size / run->comm->size);
    float *const *x = run->x[step % run->turns];
    ec__comm_set_context(run->comm, step, "waiting for rows of the caches");
    EC_RETURN_IF(ec__loader_next(run->loader, &batch));
    ec__comm_set_context(run->comm, step, "computing");
    for (int m = 0; m < EC_MODALITIES; m++) {
        const size_t count = rows * (size_t)run->source[m].width;
        if (batch->half[m]) EC_RETURN_IF(be->memory->upload_half_ahead(be, x[m], batch->half[m], count, run->half));
        else EC_RETURN_IF(be->memory->upload_ahead(be, x[m], batch->x[m], count * sizeof(float)));
    }
    return ec__train_step_start(run->core, step, (const float *const *)x, batch->label);
}
