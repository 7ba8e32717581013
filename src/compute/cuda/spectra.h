/* Log-mel spectrograms on a GPU: spectra.c has plans and the table's functions, spectra.cu the kernels before and
 * behind cuFFT. */
#ifndef EC_COMPUTE_CUDA_SPECTRA_H
#define EC_COMPUTE_CUDA_SPECTRA_H

#include "compute/cuda/cuda.h"
#include "compute/spectra.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the kernels read: sizes, and arrays in the memory of the device. */
typedef struct ec_cuda_spectra {
    int32_t samples, n_fft, hop, mels, frames; /* of a clip */
    bool frames_first, power;
    float scale, offset;
    const float *window; /* (n_fft) */
    const ec_mel_band *band;
    const float *weight;
} ec_cuda_spectra;

/* frame (clips * frames, n_fft): every frame of the clips times the window; zeros for clips from count on. */
ec_status ec__cuda_frames(ec_stream *stream, const ec_cuda_spectra *s, int32_t clips, int32_t count, const float *clip,
                          float *frame);
/* y (clips, mels, frames) of spectrum (clips * frames, n_fft/2+1), complex. */
ec_status ec__cuda_mel(ec_stream *stream, const ec_cuda_spectra *s, int32_t clips, const float *spectrum, float *y);
/* Once, before ec__cuda_mel. */
ec_status ec__cuda_mel_prepare(const ec_cuda_spectra *s);

#ifdef __cplusplus
}
#endif

#endif
