/* Trained heads out of a checkpoint, for other programs. */
#ifndef EC_TRAIN_EXPORT_H
#define EC_TRAIN_EXPORT_H

#include "train/checkpoint.h"

enum { EC_EXPORT_VERSION = 1 };

/* Writes parameters and BatchNorm buffers (num_batches_tracked as I64) as safetensors under the names of the original's
 * state dict: what torch.nn.Module.load_state_dict(strict=True) takes for projectors built as
 * Sequential(Linear, BatchNorm1d, ReLU, Dropout, Linear). Optimizer state stays out. Metadata, all text: format
 * ("pt", as other programs expect), emoclim_version (EC_EXPORT_VERSION), program, checkpoint_digest, step,
 * config_sha256 (of the configuration's text), and image_features and music_features where the checkpoint has them.
 * *arrays (may be NULL) receives their number. Equal checkpoints are equal bytes. EC_ERR_IO when the disk refuses. */
ec_status ec__export_heads(const ec_checkpoint *checkpoint, const char *path, int32_t *arrays);

#endif
