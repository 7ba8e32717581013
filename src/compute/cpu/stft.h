/* Power spectrogram |STFT|^2 as torchaudio.transforms.Spectrogram computes it: a window as long as the transform,
 * frames centred on multiples of the hop, the waveform continued at both ends by reflection. FFT by FFTW in single
 * precision. */
#ifndef EC_COMPUTE_CPU_STFT_H
#define EC_COMPUTE_CPU_STFT_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Immutable after it was made: any number of threads may use one, each with a workspace of its own. */
typedef struct ec_stft ec_stft;

enum { EC_STFT_BLOCK = 32 }; /* frames that are transformed together */

/* n_fft: even, 16 to 65536; hop: 1 to n_fft: they have been checked. window: n_fft values, copied. */
ec_status ec__stft_new(int32_t n_fft, int32_t hop, const float *window, ec_stft **out);
void ec__stft_free(ec_stft *stft);

int32_t ec__stft_bins(const ec_stft *stft);      /* n_fft / 2 + 1 */
size_t ec__stft_workspace(const ec_stft *stft);  /* bytes; to be aligned to EC_ARENA_ALIGN */

/* Power of count <= EC_STFT_BLOCK frames from frame first on: power[bin * EC_STFT_BLOCK + i] for frame first + i. The
 * columns of frames past count are set to 0. samples > n_fft / 2: reflection needs that many. The bits of a frame
 * depend on its samples alone. */
void ec__stft_power(const ec_stft *stft, const float *waveform, int64_t samples, int64_t first, int32_t count,
                    void *workspace, float *power);

#endif
