/* A training run from two feature caches to a checkpoint: what `emoclim train` does.
 *
 * The run is a pure function of the configuration, the caches and the code: in reproducible mode the parameters and
 * moments after a step have the same bits on any number of ranks, and whether the run was interrupted or not.
 *
 * The trainer tells what happens through an observer and writes nothing but checkpoints. */
#ifndef EC_TRAIN_TRAINER_H
#define EC_TRAIN_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/backend.h"
#include "config/config.h"
#include "dist/comm.h"
#include "eval/retrieval.h"
#include "train/step.h"

/* Before the first step. */
typedef struct ec_train_start {
    int64_t first_step, total_steps; /* steps first_step .. total_steps - 1 will be made */
    int64_t steps_per_epoch;
    int64_t parameters;              /* scalars that are trained */
    int64_t images, tracks;          /* rows of the training split */
    int32_t classes;
    size_t bytes;                    /* back end memory of this rank */
    const char *resumed_from;        /* checkpoint, or NULL; valid during the call */
} ec_train_start;

/* Means over the steps since the last record, except where it says "last". */
typedef struct ec_train_record {
    int64_t step;          /* steps made so far (last) */
    double epoch;          /* of steps_per_epoch (last) */
    ec_step_result result; /* losses and norm: means; learning_rate: last */
    double step_ms;        /* wall time of a step, waits included */
    double wait_ms;        /* of it, waiting for the loader */
    double samples_per_s;  /* image-music pairs of the global batch */
} ec_train_record;

typedef struct ec_validation_record {
    int64_t step;
    double epoch;
    double losses[EC_DIRECTIONS], total; /* mean over the validation batches */
    double image2music[EC_METRICS], music2image[EC_METRICS]; /* macro metrics */
    double seconds;
    bool best; /* better than every validation before it, by checkpoint.best_metric */
} ec_validation_record;

typedef struct ec_train_observer {
    void *arg;
    void (*started)(void *arg, const ec_train_start *start);
    void (*stepped)(void *arg, const ec_train_record *record);
    void (*validated)(void *arg, const ec_validation_record *record);
    void (*saved)(void *arg, int64_t step, const char *path);
} ec_train_observer;

typedef struct ec_train_options {
    /* NULL: from the start; "auto": from the newest checkpoint that verifies, if any; else a file. EC_ERR_USAGE where
     * the first or the last would begin before the newest checkpoint of the run's folder. */
    const char *resume;
} ec_train_options;

/* Collective. comm moves be's memory. Observer functions are called on rank 0 only, from the calling thread; any may be
 * NULL. Returns EC_STOPPED when a signal asked for a stop (core/stop.h) and a checkpoint was written. */
ec_status ec__train_run(const ec_config *config, ec_backend *be, ec_comm *comm, const ec_train_options *options,
                        const ec_train_observer *observer);

#endif
