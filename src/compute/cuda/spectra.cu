#include "compute/cuda/launch.h"

#include <math.h>

#include "compute/cuda/spectra.h"

namespace {

enum { THREADS = 256, WARPS = THREADS / EC_WARP, MOST_BLOCKS = 16384, TILE = EC_WARP, STEP = TILE + 1 };

/* Sample `at` of the waveform continued by reflection; `at` lies at most n_fft / 2 outside. */
__device__ inline float reflected(const float *clip, int samples, int at) {
    if (at < 0) at = -at;
    if (at >= samples) at = 2 * (samples - 1) - at;
    return clip[at];
}

__global__ void __launch_bounds__(THREADS) frames_kernel(int64_t numbers, int64_t filled, ec_cuda_spectra s,
                                                         const float *clips, float *frames) {
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < numbers; i += (int64_t)gridDim.x * THREADS) {
        const int64_t row = i / s.n_fft;
        const int k = (int)(i % s.n_fft), frame = (int)(row % s.frames);
        const float *clip = clips + row / s.frames * s.samples;
        frames[i] = i < filled ? reflected(clip, s.samples, frame * s.hop - s.n_fft / 2 + k) * s.window[k] : 0.f;
    }
}

/* A block takes TILE frames of a clip: their power goes to shared memory, bin by bin, and a warp sums up one band after
 * the other, a frame a lane. */
__global__ void __launch_bounds__(THREADS) mel_kernel(ec_cuda_spectra s, const float2 *spectra, float *y) {
    EC_DYNAMIC_SHARED(float, power);
    const int lane = (int)threadIdx.x % EC_WARP, warp = (int)threadIdx.x / EC_WARP, bins = s.n_fft / 2 + 1;
    const int first = (int)blockIdx.x * TILE, frame = first + lane;
    const int64_t clip = blockIdx.y;
    for (int f = warp; f < TILE && first + f < s.frames; f += WARPS) {
        const float2 *from = spectra + (clip * s.frames + first + f) * bins;
        for (int k = lane; k < bins; k += EC_WARP) power[k * STEP + f] = from[k].x * from[k].x + from[k].y * from[k].y;
    }
    __syncthreads();
    if (frame >= s.frames) return;
    for (int m = warp; m < s.mels; m += WARPS) {
        const ec_mel_band band = s.band[m];
        const float *weight = s.weight + band.weight - band.begin;
        float sum = 0.f;
        for (int k = band.begin; k < band.end; k++) sum = fmaf(weight[k], power[k * STEP + lane], sum);
        /* What is not finite stays visible. */
        if (!s.power) sum = sum <= 1e-10f ? -100.f : 10.f * log10f(sum) + (sum - sum);
        const int64_t at = s.frames_first ? (int64_t)frame * s.mels + m : (int64_t)m * s.frames + frame;
        y[clip * s.mels * s.frames + at] = sum * s.scale + s.offset;
    }
}

size_t shared_bytes(const ec_cuda_spectra *s) { return sizeof(float) * STEP * (size_t)(s->n_fft / 2 + 1); }

} // namespace

ec_status ec__cuda_frames(ec_stream *stream, const ec_cuda_spectra *s, int32_t clips, int32_t count, const float *clip,
                          float *frame) {
    const int64_t size = (int64_t)s->frames * s->n_fft, numbers = clips * size;
    return EC_LAUNCH(frames_kernel, ec__cuda_blocks(numbers, THREADS, MOST_BLOCKS), THREADS, 0, stream, numbers,
                     count * size, *s, clip, frame);
}

ec_status ec__cuda_mel_prepare(const ec_cuda_spectra *s) { return EC_SHARED_BYTES(mel_kernel, shared_bytes(s)); }

ec_status ec__cuda_mel(ec_stream *stream, const ec_cuda_spectra *s, int32_t clips, const float *spectrum, float *y) {
    const dim3 grid((unsigned)((s->frames + TILE - 1) / TILE), (unsigned)clips);
    return EC_LAUNCH(mel_kernel, grid, THREADS, shared_bytes(s), stream, *s,
                     reinterpret_cast<const float2 *>(spectrum), y);
}
