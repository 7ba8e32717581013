/* A training run while it lasts: what trainer.c opens, steps through and closes, in pieces of one idea each. */
#ifndef EC_TRAIN_RUN_H
#define EC_TRAIN_RUN_H

#include "cache/feature_cache.h"
#include "pipeline/loader.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

typedef struct ec_validator ec_validator;
typedef struct ec_snapshots ec_snapshots;

/* Rows of a split, by modality. */
typedef struct ec_split_rows {
    int64_t *row[EC_MODALITIES]; /* owned */
    int64_t count[EC_MODALITIES];
} ec_split_rows;

typedef struct ec_run {
    const ec_config *config; /* borrowed, as the next two */
    ec_backend *be;
    ec_comm *comm;

    /* data.c */
    ec_cache *cache[EC_MODALITIES];
    ec_row_source source[EC_MODALITIES];
    ec_split_rows train, valid;
    ec_sampler *sampler;

    /* damage.c */
    /* (blocks) that all ranks know to be corrupt; NULL where corrupt blocks end the run. */
    uint8_t *agreed[EC_MODALITIES];
    int64_t agreed_count[EC_MODALITIES];

    /* model.c */
    ec_heads *heads;
    ec_trainer_core *core;

    /* trainer.c */
    int32_t turns;                     /* steps under way at a time: 1 or EC_TURNS */
    float *x[EC_TURNS][EC_MODALITIES]; /* (B, D) of step s at s mod turns, back end memory */
    void *half;                        /* scratch of uploads of float16 numbers; NULL: there are none */
    int64_t steps_per_epoch, total_steps, first_step;
    double best;         /* best validation figure so far; NAN before the first */
    bool validation_due; /* at the step that the run is at: it was stopped before */
    ec_loader *loader;
    ec_validator *validator;
    ec_snapshots *snapshots;
} ec_run;

/* data.c. Opens both caches and checks that they fit each other and the configuration. Not collective. */
ec_status ec__run_open_data(ec_run *run);
void ec__run_close_data(ec_run *run);

/* Collective. Where corrupt blocks are skipped, leaves their rows out of run->valid, the same ones on all ranks: each
 * looks at a share of the rows. Training replaces such rows when it comes to them. */
ec_status ec__run_drop_corrupt(ec_run *run);

/* damage.c. Ranks may read copies of a cache that are damaged in different places, as local disks are; skipping would
 * give them different ideas of what may be drawn. ec__run_damage_is_new: has this rank come upon a corrupt block that
 * was not agreed upon? Not collective. */
bool ec__run_damage_is_new(const ec_run *run);

/* Collective. Every rank looks at the blocks that others found corrupt: EC_ERR_DATA on all where a copy is sound, with
 * the hosts of both; else they are skipped everywhere from now on. Nothing where corrupt blocks end the run. */
ec_status ec__run_agree_on_damage(ec_run *run);

/* Rows of one split of both caches. ec__split_rows_release accepts zeros. */
ec_status ec__split_rows_list(const ec_run *run, ec_split split, ec_split_rows *out);
void ec__split_rows_release(ec_split_rows *rows);

/* model.c. Heads and optimizer as the configuration describes them, for features as wide as the caches'. */
ec_status ec__run_open_model(ec_run *run);
void ec__run_close_model(ec_run *run);

/* Widths and options of the heads that config describes, for these feature widths. */
ec_heads_config ec__heads_config_of(const ec_config *config, int64_t image_dim, int64_t audio_dim);

/* batches.c. Are features of float16 caches uploaded as they are? */
bool ec__run_uploads_half(const ec_run *run);

/* Room for the features of the steps under way: of two where the back end works beside the host. Frees
 * zeros. */
ec_status ec__run_open_batches(ec_run *run);
void ec__run_close_batches(ec_run *run);

/* Collective; waits for the loader. Starts step, for which the one before the one before it must have been finished.
 * Not finished: its features are in use. */
ec_status ec__run_start_step(ec_run *run, int64_t step);

/* init.c. Parameters and running statistics from a checkpoint of this program or a safetensors file with the original's
 * names, told apart by content. Optimizer state is left alone. EC_ERR_DATA names a tensor that is missing or
 * misshaped. */
ec_status ec__heads_load(ec_heads *heads, const char *path);
ec_status ec__heads_from_checkpoint(ec_heads *heads, const ec_checkpoint *checkpoint);

/* validate.c. What validation needs; *out is NULL where there is nothing to validate on or it is switched off (and the
 * log says why). Not collective. */
ec_status ec__validator_new(ec_run *run, ec_validator **out);
void ec__validator_free(ec_validator *validator);

/* Collective. Fills record besides step and epoch; best tells whether it beats run->best, which is then replaced. */
ec_status ec__validate(ec_validator *validator, ec_run *run, ec_validation_record *record);

/* snapshot.c. Checkpoints of this run: rank 0 writes, a thread of its own does the waiting. */
ec_status ec__snapshots_open(ec_run *run, ec_snapshots **out);
ec_status ec__snapshots_close(ec_snapshots *snapshots); /* waits for the last one; accepts NULL */

/* Collective. Saves the state after `step` steps; also as the best one where best is set. *path (may be NULL) is the
 * file's name, valid until the next call. */
ec_status ec__snapshots_save(ec_snapshots *snapshots, ec_run *run, int64_t step, bool best, const char **path);

/* Has a save of this rank failed, and is that to end the run? ec__snapshots_check: its error, once. Not collective. */
bool ec__snapshots_failed(ec_snapshots *snapshots);
ec_status ec__snapshots_check(ec_snapshots *snapshots);

/* Collective. Restores the run from options->resume (see trainer.h): sets first_step, best, validation_due,
 * heads and moments.
 * *from names the file, or is NULL where there was nothing to resume from; valid until close. */
ec_status ec__snapshots_resume(ec_snapshots *snapshots, ec_run *run, const char *resume, const char **from);

#endif
