#include "media/logmel.h"

#include <math.h>
#include <stdlib.h>

ec_logmel_config ec__logmel_shortchunk(void) {
    return (ec_logmel_config){.rate = 16000, .n_fft = 512, .hop = 256, .n_mels = 128, .f_max = 8000};
}

ec_logmel_config ec__logmel_htsat(void) {
    return (ec_logmel_config){.rate = 48000, .n_fft = 1024, .hop = 480, .n_mels = 64, .f_min = 50, .f_max = 14000,
                              .scale = EC_MEL_SLANEY, .slaney_norm = true, .frames_first = true};
}

/* Before arrays of these sizes are made; the back end looks at everything else. */
static ec_status check_config(const ec_logmel_config *c) {
    if (c->rate < 1 || c->n_mels < 1 || c->n_mels > 1024 || c->n_fft < 2 || c->n_fft > 65536)
        return EC_ERROR(EC_ERR_USAGE,
                        "a mel spectrogram with %d bands and n_fft %d at %d Hz: 1 to 1024 bands are possible, and "
                        "n_fft up to 65536",
                        c->n_mels, c->n_fft, c->rate);
    if (!(c->f_min >= 0) || !(c->f_max > c->f_min) || !isfinite(c->f_max))
        return EC_ERROR(EC_ERR_USAGE, "mel bands from %g Hz to %g Hz: the first must be the lower one", c->f_min,
                        c->f_max);
    return EC_OK;
}

void ec__hann_window(int32_t n_fft, float *out) {
    for (int32_t k = 0; k < n_fft; k++) out[k] = (float)(0.5 - 0.5 * cos(6.283185307179586 * k / n_fft));
}

static ec_status compute_filterbank(const ec_logmel_config *config, float *out) {
    const size_t count = (size_t)(config->n_fft / 2 + 1) * (size_t)config->n_mels;
    double *exact = malloc(count * sizeof *exact);
    if (!exact) return EC_ERROR(EC_ERR_MEMORY, "no memory for %d mel bands", config->n_mels);
    ec__mel_filterbank(config, exact);
    for (size_t i = 0; i < count; i++) out[i] = (float)exact[i];
    free(exact);
    return EC_OK;
}

ec_status ec__logmel_open(ec_backend *be, const ec_logmel_config *config, const ec_spectra_desc *shape,
                          ec_spectra **out) {
    ec_status status = EC_OK;
    float *window = NULL, *filterbank = NULL;
    ec_spectra_desc desc = *shape;
    EC_TRY(check_config(config));
    window = malloc(sizeof *window * (size_t)config->n_fft);
    filterbank = malloc(sizeof *filterbank * (size_t)(config->n_fft / 2 + 1) * (size_t)config->n_mels);
    if (!window || !filterbank) EC_FAIL(EC_ERR_MEMORY, "no memory for %d mel bands", config->n_mels);
    if (!config->window) ec__hann_window(config->n_fft, window);
    if (!config->filterbank) EC_TRY(compute_filterbank(config, filterbank));
    desc.n_fft = config->n_fft;
    desc.hop = config->hop;
    desc.mels = config->n_mels;
    desc.frames_first = config->frames_first;
    desc.window = config->window ? config->window : window;
    desc.filterbank = config->filterbank ? config->filterbank : filterbank;
    EC_TRY(be->encoder->spectra_new(be, &desc, out));
done:
    free(window);
    free(filterbank);
    return status;
}
