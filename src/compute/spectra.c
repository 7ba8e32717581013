#include "compute/spectra.h"

#include <math.h>
#include <stdlib.h>

ec_status ec__spectra_check(const ec_spectra_desc *d) {
    if (d->n_fft < 16 || d->n_fft > 65536 || d->n_fft % 2 != 0 || d->hop < 1 || d->hop > d->n_fft)
        return EC_ERROR(EC_ERR_USAGE,
                        "a spectrogram with n_fft %d and hop %d: n_fft is even, 16 to 65536, and hop 1 to n_fft",
                        d->n_fft, d->hop);
    if (d->mels < 1 || d->mels > 1024 || d->batch < 1)
        return EC_ERROR(EC_ERR_USAGE, "spectrograms of %d clips with %d mel bands: 1 to 1024 bands are possible",
                        d->batch, d->mels);
    if (d->samples > d->n_fft / 2) return EC_OK;
    return EC_ERROR(EC_ERR_DATA,
                    "a waveform of %d samples is too short for a spectrogram with n_fft %d: more than %d are needed",
                    d->samples, d->n_fft, d->n_fft / 2);
}

ec_status ec__mel_bands_init(const ec_spectra_desc *d, ec_mel_bands *out) {
    const int32_t bins = d->n_fft / 2 + 1, mels = d->mels;
    out->weights = 0;
    out->band = calloc((size_t)mels, sizeof *out->band);
    out->weight = malloc((size_t)bins * (size_t)mels * sizeof *out->weight);
    if (!out->band || !out->weight) return EC_ERROR(EC_ERR_MEMORY, "no memory for %d mel bands", mels);
    for (int32_t m = 0; m < mels; m++) {
        ec_mel_band *b = &out->band[m];
        for (int32_t k = 0; k < bins; k++) {
            const float weight = d->filterbank[k * mels + m];
            if (!(weight >= 0) || !isfinite(weight))
                return EC_ERROR(EC_ERR_DATA, "the stored mel filterbank has weight %g at bin %d of band %d",
                                (double)weight, k, m);
            if (weight == 0) continue;
            if (b->end == 0) b->begin = k;
            b->end = k + 1;
        }
        b->weight = out->weights;
        for (int32_t k = b->begin; k < b->end; k++) out->weight[out->weights++] = d->filterbank[k * mels + m];
    }
    return EC_OK;
}

void ec__mel_bands_release(ec_mel_bands *bands) {
    free(bands->band);
    free(bands->weight);
    *bands = (ec_mel_bands){0};
}
