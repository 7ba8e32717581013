/* Log-mel spectrogram: power spectrogram (stft.h), mel filterbank, decibels 10 log10(max(power, 1e-10)).
 *
 * With ec__logmel_shortchunk() it is torchaudio's MelSpectrogram and AmplitudeToDB as ShortChunkCNN uses them, with
 * ec__logmel_htsat() the front end of LAION-CLAP's HTSAT. HTK mel: 2595 log10(1 + f/700). Slaney mel: linear (3/200 mel
 * a Hz) up to 1 kHz, then 27 mel to a factor of 6.4 (M. Slaney, "Auditory Toolbox", 1998). */
#ifndef EC_MEDIA_LOGMEL_H
#define EC_MEDIA_LOGMEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum ec_mel_scale { EC_MEL_HTK, EC_MEL_SLANEY } ec_mel_scale;

typedef struct ec_logmel_config {
    int32_t rate;         /* samples a second */
    int32_t n_fft, hop;   /* samples; limits of ec__stft_new */
    int32_t n_mels;       /* 1 to 1024 */
    double f_min, f_max;  /* Hz; 0 <= f_min < f_max */
    ec_mel_scale scale;
    bool slaney_norm;     /* divide a band's filter by half its width in Hz: equal area instead of equal peak */
    bool frames_first;    /* result is (T, n_mels) instead of (n_mels, T) */
    /* From a checkpoint, or NULL to be computed in double precision. Borrowed until ec__logmel_new returns. */
    const float *filterbank; /* (n_fft/2+1, n_mels), "spec.mel_scale.fb" */
    const float *window;     /* (n_fft), "spec.spectrogram.window" */
} ec_logmel_config;

/* 16 kHz, n_fft 512, hop 256, 128 HTK bands 0-8000 Hz, (n_mels, T). */
ec_logmel_config ec__logmel_shortchunk(void);
/* 48 kHz, n_fft 1024, hop 480, 64 Slaney bands 50-14000 Hz of equal area, (T, n_mels). */
ec_logmel_config ec__logmel_htsat(void);

/* Immutable: any number of threads may use one, each with a workspace of its own. */
typedef struct ec_logmel ec_logmel;

/* EC_ERR_USAGE for sizes outside their range, EC_ERR_DATA for a stored filterbank that is negative or not finite. */
ec_status ec__logmel_new(const ec_logmel_config *config, ec_logmel **out);
void ec__logmel_free(ec_logmel *logmel);

int64_t ec__logmel_frames(const ec_logmel *logmel, int64_t samples); /* T = 1 + samples / hop */
size_t ec__logmel_workspace(const ec_logmel *logmel); /* bytes, aligned to EC_ARENA_ALIGN by the caller */

/* waveform[samples] -> out, n_mels x T values in the configured order: decibels (absolute silence is exactly -100), or
 * with ec__mel_power the mel power itself. Allocates nothing; the bits do not depend on threads. EC_ERR_DATA where the
 * waveform has no more than n_fft / 2 samples. */
ec_status ec__logmel(const ec_logmel *logmel, const float *waveform, int64_t samples, void *workspace, float *out);
ec_status ec__mel_power(const ec_logmel *logmel, const float *waveform, int64_t samples, void *workspace, float *out);

/* The filterbank that config's numbers (not config->filterbank) give, in double precision: (n_fft/2+1, n_mels). */
void ec__mel_filterbank(const ec_logmel_config *config, double *out);

#endif
