/* float16 to float32, which is exact. */
#include "compute/cuda/launch.h"

#include <cstring>

#include "compute/cuda/device.cuh"

namespace {

enum { THREADS = 256, MOST_BLOCKS = 1024 };

__global__ void __launch_bounds__(THREADS) widen_fours(int64_t fours, const uint2 *from, float *to) {
    const int64_t stride = (int64_t)gridDim.x * THREADS;
    for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < fours; at += stride) {
        const uint2 word = from[at];
        __half2 pair[2];
        memcpy(pair, &word, sizeof pair);
        const float2 low = __half22float2(pair[0]), high = __half22float2(pair[1]);
        ec_store<4>(to + 4 * at, {{low.x, low.y, high.x, high.y}});
    }
}

__global__ void __launch_bounds__(THREADS) widen_each(int64_t count, const __half *from, float *to) {
    const int64_t stride = (int64_t)gridDim.x * THREADS;
    for (int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x; at < count; at += stride)
        to[at] = __half2float(from[at]);
}

} // namespace

ec_status ec__cuda_widen(ec_stream *stream, int64_t count, const void *from, float *to) {
    const int64_t fours = ec_in_fours(4, (const float *)from, to) ? count / 4 : 0, left = count - 4 * fours;
    if (fours > 0)
        EC_RETURN_IF(EC_LAUNCH(widen_fours, ec__cuda_blocks(fours, THREADS, MOST_BLOCKS), THREADS, 0, stream, fours,
                               static_cast<const uint2 *>(from), to));
    if (left == 0) return EC_OK;
    return EC_LAUNCH(widen_each, ec__cuda_blocks(left, THREADS, MOST_BLOCKS), THREADS, 0, stream, left,
                     static_cast<const __half *>(from) + 4 * fours, to + 4 * fours);
}
