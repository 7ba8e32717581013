/* The checkpoints of a run: step-000000001200.h5 for each that is kept, and best.h5. */
#ifndef EC_TRAIN_CHECKPOINT_FOLDER_H
#define EC_TRAIN_CHECKPOINT_FOLDER_H

#include "train/checkpoint.h"

/* Path of a step's checkpoint, and of the best one; owned by the caller. */
ec_status ec__checkpoint_step_path(const char *folder, int64_t step, char **out);
ec_status ec__checkpoint_best_path(const char *folder, char **out);

/* Steps of which the folder has a checkpoint, ascending; owned by the caller. A folder that does not exist has none. */
ec_status ec__checkpoint_list(const char *folder, int64_t **steps, int32_t *count);

/* Of the checkpoints up to `newest`, the step just saved, removes all but the keep_last (>= 1) last; and what a killed save
 * left behind. Never best.h5, nor a later step: that one is broken, or the run would have gone on from it. */
ec_status ec__checkpoint_prune(const char *folder, int32_t keep_last, int64_t newest);

/* Makes best.h5 the checkpoint of that step, atomically: by a hard link, or by a copy where the file system has none.
 * */
ec_status ec__checkpoint_mark_best(const char *folder, int64_t step);

/* Loads the newest checkpoint that verifies; each newer one that does not is named in a warning, with the reason. *out
 * is NULL when the folder has no checkpoint at all. EC_ERR_DATA when there are some and none verifies. */
ec_status ec__checkpoint_latest(const char *folder, ec_checkpoint **out);

#endif
