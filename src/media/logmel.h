/* Log-mel spectrograms as audio encoders want them: which numbers go into compute/ops_encoder.h's spectra.
 *
 * With ec__logmel_shortchunk() it is torchaudio's MelSpectrogram and AmplitudeToDB as ShortChunkCNN uses them, with
 * ec__logmel_htsat() the front end of LAION-CLAP's HTSAT. HTK mel: 2595 log10(1 + f/700). Slaney mel: linear (3/200 mel
 * a Hz) up to 1 kHz, then 27 mel to a factor of 6.4 (M. Slaney, "Auditory Toolbox", 1998). */
#ifndef EC_MEDIA_LOGMEL_H
#define EC_MEDIA_LOGMEL_H

#include "compute/ops_encoder.h"

typedef enum ec_mel_scale { EC_MEL_HTK, EC_MEL_SLANEY } ec_mel_scale;

typedef struct ec_logmel_config {
    int32_t rate;         /* samples a second */
    int32_t n_fft, hop;   /* samples; limits of ec_spectra_desc */
    int32_t n_mels;
    double f_min, f_max;  /* Hz; 0 <= f_min < f_max */
    ec_mel_scale scale;
    bool slaney_norm;     /* divide a band's filter by half its width in Hz: equal area instead of equal peak */
    bool frames_first;    /* result is (T, n_mels) instead of (n_mels, T) */
    /* From a checkpoint, or NULL to be computed in double precision. Borrowed until ec__logmel_open returns. */
    const float *filterbank; /* (n_fft/2+1, n_mels), "spec.mel_scale.fb" */
    const float *window;     /* (n_fft), "spec.spectrogram.window"; computed: periodic Hann */
} ec_logmel_config;

/* 16 kHz, n_fft 512, hop 256, 128 HTK bands 0-8000 Hz, (n_mels, T). */
ec_logmel_config ec__logmel_shortchunk(void);
/* 48 kHz, n_fft 1024, hop 480, 64 Slaney bands 50-14000 Hz of equal area, (T, n_mels). */
ec_logmel_config ec__logmel_htsat(void);

/* Spectra of clips that are filled in from config: sizes, window and filterbank; shape says the rest (batch, samples,
 * power, scale, offset). To be freed by be->encoder->spectra_free. EC_ERR_USAGE for numbers outside their range, else
 * errors of spectra_new. */
ec_status ec__logmel_open(ec_backend *be, const ec_logmel_config *config, const ec_spectra_desc *shape,
                          ec_spectra **out);

/* The filterbank that config's numbers (not config->filterbank) give, in double precision: (n_fft/2+1, n_mels). */
void ec__mel_filterbank(const ec_logmel_config *config, double *out);

/* The periodic Hann window 0.5 - 0.5 cos(2 pi k / n_fft). */
void ec__hann_window(int32_t n_fft, float *out);

#endif
