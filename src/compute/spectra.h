/* What back ends share of ops_encoder.h's spectra: the check of a description, and a filterbank without its zeros. */
#ifndef EC_COMPUTE_SPECTRA_H
#define EC_COMPUTE_SPECTRA_H

#include "compute/ops_encoder.h"

/* A band's filter is zero outside a few bins: only [begin, end) is stored and multiplied. */
typedef struct ec_mel_band {
    int32_t begin, end;
    int32_t weight; /* index of begin's weight in weights */
} ec_mel_band;

typedef struct ec_mel_bands {
    ec_mel_band *band; /* (mels) */
    float *weight;     /* (weights) */
    int32_t weights;
} ec_mel_bands;

/* Sizes: EC_ERR_USAGE; clips too short to be reflected: EC_ERR_DATA. */
ec_status ec__spectra_check(const ec_spectra_desc *desc);

/* desc has been checked. EC_ERR_DATA for a weight that is negative or not finite. To be released also after an
 * error. */
ec_status ec__mel_bands_init(const ec_spectra_desc *desc, ec_mel_bands *out);
void ec__mel_bands_release(ec_mel_bands *bands); /* accepts zeros */

#endif
