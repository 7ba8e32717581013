/* The weights of an encoder as a file has them, apart from computing with them: to be recognised, and written again
 * under canonical names. */
#ifndef EC_NN_ENCODER_WEIGHTS_H
#define EC_NN_ENCODER_WEIGHTS_H

#include "nn/encoder.h"
#include "nn/weights.h"

/* Which encoders' weights are in source: sets has[kind]. Not all of them need to be there. */
ec_status ec__encoder_weights_recognize(const ec_tensor_source *source, bool has[EC_ENCODERS]);

/* Declares the weights of kind with the sizes that source has, and reads them. *out is zero at first; the caller
 * releases it, also after an error. Optional weights that source lacks have found = 0. Errors as ec__weights_load. */
ec_status ec__encoder_weights_read(ec_encoder_kind kind, const ec_tensor_source *source, ec_weights *out);

/* Writes what was read as safetensors, float32, under canonical names; optional weights that were not there stay out,
 * so that the file has the hash of the one it was made from. metadata as for ec__safetensors_write. */
ec_status ec__encoder_weights_write(const ec_weights *weights, const char *path, const char *const (*metadata)[2],
                                    int32_t pairs);

#endif
