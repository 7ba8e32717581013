/* A trained model: from a picture or a recording to a point in the space where both meet.
 *
 * An embedding is ec_model_width floats of unit length; the closer two are (dot product: cosine), the closer their
 * emotion. It depends on the file and the checkpoint alone, bit for bit, and not on the number of threads. Multi-task
 * models give their cross-modal embedding.
 *
 * Several models may be open. One model may be used by one thread at a time, any one. */
#ifndef EMOCLIM_MODEL_H
#define EMOCLIM_MODEL_H

#include <stdint.h>

#include "emoclim/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ec_model ec_model;

/* Opens a checkpoint that "emoclim train" wrote (HDF5). threads: CPU threads to compute with, the caller's included;
 * 0: the processors that this process may use; at most 4096. *out belongs to the caller (ec_model_close). The
 * encoders, whose weights are in the files that the checkpoint's configuration names (relative to the checkpoint
 * where it says so), are opened when they are first needed.
 * EC_ERR_USAGE for a number of threads out of range; EC_ERR_DATA: no such file, damaged, or of another format;
 * EC_ERR_ENV, EC_ERR_MEMORY: what this machine lacks. */
ec_status ec_model_open(const char *path, int32_t threads, ec_model **out);
void ec_model_close(ec_model *model); /* accepts NULL */

/* Floats of an embedding. */
int32_t ec_model_width(const ec_model *model);

/* Training steps behind the model. */
int64_t ec_model_step(const ec_model *model);

/* SHA-256 of what was trained, 64 hex digits; equal digests are equal models. Valid until closed. */
const char *ec_model_digest(const ec_model *model);

/* Open one encoder now rather than at the first call that needs it: a second or so for ViT-B/32, and the time to learn
 * that something is wrong. EC_ERR_DATA where the weights are missing or are not those that the model was trained on
 * (the message says what differs). Once it succeeded, further calls do nothing. */
ec_status ec_model_prepare_image(ec_model *model);
ec_status ec_model_prepare_music(ec_model *model);

/* embedding: ec_model_width floats, the caller's. path: JPEG or PNG, and what FFmpeg reads where the library was
 * built with it. EC_ERR_DATA for a file that is missing or is no picture, EC_ERR_MEMORY, and as
 * ec_model_prepare_image. */
ec_status ec_model_embed_image(ec_model *model, const char *path, float *embedding);

/* The same for a recording from start_s to end_s, in seconds; end_s 0: to its end. path: WAV, and what FFmpeg reads
 * where the library was built with it. Which clips of it are heard, and how many, is the configuration's choice;
 * several have the mean of their embeddings. Besides, EC_ERR_USAGE for seconds that are negative or no numbers, and for
 * an end that is not behind the start. */
ec_status ec_model_embed_music(ec_model *model, const char *path, double start_s, double end_s, float *embedding);

#ifdef __cplusplus
}
#endif
#endif
