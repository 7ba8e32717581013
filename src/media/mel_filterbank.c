#include <math.h>

#include "media/logmel.h"

/* Slaney's scale is linear below 1000 Hz = 15 mel and logarithmic above, 27 mel to a factor of 6.4. */
static const double knee_hz = 1000, knee_mel = 15, hz_per_mel = 200.0 / 3;

static double to_mel(double hz, ec_mel_scale scale) {
    if (scale == EC_MEL_HTK) return 2595 * log10(1 + hz / 700);
    return hz < knee_hz ? hz / hz_per_mel : knee_mel + log(hz / knee_hz) * 27 / log(6.4);
}

static double to_hz(double mel, ec_mel_scale scale) {
    if (scale == EC_MEL_HTK) return 700 * (pow(10, mel / 2595) - 1);
    return mel < knee_mel ? mel * hz_per_mel : knee_hz * exp((mel - knee_mel) * log(6.4) / 27);
}

void ec__mel_filterbank(const ec_logmel_config *config, double *out) {
    int32_t bins = config->n_fft / 2 + 1, mels = config->n_mels;
    double low = to_mel(config->f_min, config->scale), high = to_mel(config->f_max, config->scale);
    for (int32_t m = 0; m < mels; m++) {
        /* Corners of the triangle: equal steps in mel, one of them shared with each neighbour. */
        double left = to_hz(low + (high - low) * m / (mels + 1), config->scale);
        double peak = to_hz(low + (high - low) * (m + 1) / (mels + 1), config->scale);
        double right = to_hz(low + (high - low) * (m + 2) / (mels + 1), config->scale);
        double norm = config->slaney_norm ? 2 / (right - left) : 1;
        for (int32_t k = 0; k < bins; k++) {
            double hz = (double)k * config->rate / config->n_fft;
            double slope = fmin((hz - left) / (peak - left), (right - hz) / (right - peak));
            out[k * mels + m] = fmax(0, slope) * norm;
        }
    }
}
