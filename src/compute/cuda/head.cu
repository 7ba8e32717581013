/* ops_head.h on a GPU. */
#include "compute/cuda/launch.h"

namespace {

enum { THREADS = 256, MOST_BLOCKS = 4096 };

__global__ void add_kernel(int64_t count, const float *from, float *to) {
    const int64_t stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) to[i] += from[i];
}

ec_status add(ec_backend *, ec_stream *stream, int64_t count, const float *from, float *to) {
    if (count == 0) return EC_OK;
    return EC_LAUNCH(add_kernel, ec__cuda_blocks(count, THREADS, MOST_BLOCKS), THREADS, 0, stream, count, from, to);
}

} // namespace

const ec_head_ops ec__cuda_head_ops = {
    .add = add,
};
