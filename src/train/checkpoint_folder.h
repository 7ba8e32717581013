/* The checkpoints of a run: step-000000001200.h5 for each that is kept, and best.h5. */
#ifndef EC_TRAIN_CHECKPOINT_FOLDER_H
#define EC_TRAIN_CHECKPOINT_FOLDER_H

#include "train/checkpoint.h"

/* Path of a step's checkpoint, and of the best one; owned by the caller. */
ec_status ec__checkpoint_step_path(const char *folder, int64_t step, char **out);
ec_status ec__checkpoint_best_path(const char *folder, char **out);

/* Steps of which the folder has a checkpoint, ascending; owned by the caller. A folder that does not exist has none. */
ec_status ec__checkpoint_list(const char *folder, int64_t **steps, int32_t *count);

/* Which checkpoints stay. */
typedef struct ec_checkpoint_keep {
    int64_t last;  /* >= 1: the youngest ones */
    int64_t every; /* the first one of every so many steps, counted from step `every` on, stays too; 0: none */
} ec_checkpoint_keep;

/* Writes step-<meta->step>.h5 and, where `best`, makes it best.h5 too: first best.h5, so that a kill in between leaves
 * no step whose place as the best is lost; the step is then made again. EC_ERR_IO: what was there before is still
 * there. Files of killed saves are left to ec__checkpoint_prune. */
ec_status ec__checkpoint_save_step(const char *folder, const ec_checkpoint_meta *meta,
                                   const ec_checkpoint_array *arrays, int32_t count, bool best);

/* Of the checkpoints up to `newest`, the step just saved or gone on from, removes those that need not stay; and what a
 * killed save left behind. Never best.h5, nor a later step: that one is broken, or the run would have gone on from
 * it. */
ec_status ec__checkpoint_prune(const char *folder, const ec_checkpoint_keep *keep, int64_t newest);

/* Makes best.h5 the complete checkpoint `from`, in the same folder, atomically: by a hard link, or by a copy where the
 * file system has none. */
ec_status ec__checkpoint_mark_best(const char *folder, const char *from);

/* Loads the newest checkpoint that verifies; each newer one that does not is named in a warning, with the reason. *out
 * is NULL when the folder has no checkpoint at all. EC_ERR_DATA when there are some and none verifies. */
ec_status ec__checkpoint_latest(const char *folder, ec_checkpoint **out);

#endif
