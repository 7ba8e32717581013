/* Saving in the background: the caller waits only for a copy in memory, a thread does the rest. */
#ifndef EC_TRAIN_CHECKPOINT_WRITER_H
#define EC_TRAIN_CHECKPOINT_WRITER_H

#include "train/checkpoint_folder.h"

typedef struct ec_checkpoint_writer ec_checkpoint_writer;

/* Copies one array to where it is saved from: array->data receives its elements; array is number k of the list that the
 * writer was made with. */
typedef ec_status (*ec_checkpoint_fill)(void *arg, int32_t k, const ec_checkpoint_array *array);

/* Makes the folder, the thread, and room for one copy of the arrays (names, types and shapes; copied). A folder that
 * cannot be written is EC_ERR_IO here, before hours of training. go_on: a failed save is an error in the log and no
 * more, unless it is the last one. */
ec_status ec__checkpoint_writer_new(const char *folder, const ec_checkpoint_keep *keep, bool go_on,
                                    const ec_checkpoint_array *arrays, int32_t count, ec_checkpoint_writer **out);

/* Waits until the save before this one has ended, calls fill for every array, and returns; the thread writes
 * step-<meta->step>.h5, and best.h5 where `best`, and prunes. Returns the error of the save before, once, unless
 * it is to go on; nothing is saved then. meta is copied, but for meta->features, which are borrowed until the writer is
 * freed. One thread at a time. */
ec_status ec__checkpoint_writer_save(ec_checkpoint_writer *writer, const ec_checkpoint_meta *meta, bool best,
                                     ec_checkpoint_fill fill, void *arg);

/* Has a save failed, so that the next call would say so? Returns at once. */
bool ec__checkpoint_writer_failed(ec_checkpoint_writer *writer);

/* Waits until everything is on disk. Returns the error of the last save, once. */
ec_status ec__checkpoint_writer_wait(ec_checkpoint_writer *writer);

/* Waits and frees. An error that nobody asked for goes to the log. Accepts NULL. */
void ec__checkpoint_writer_free(ec_checkpoint_writer *writer);

#endif
