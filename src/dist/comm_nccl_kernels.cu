/* Kernels of the communicator over a GPU's memory. */
#include "compute/cuda/launch.h"
#include "dist/comm_nccl_kernels.h"

namespace {

enum { THREADS = 256, MOST_BLOCKS = 4096, MOST_LEAVES = 16 };

__global__ void mark_kernel(uint64_t *counter, volatile ec_nccl_place *place, uint64_t call, uint64_t bytes) {
    const uint64_t number = *counter + 1;
    *counter = number;
    place->bytes = bytes;
    __threadfence_system(); /* the host sees the number last */
    place->place = number << 8 | call;
}

/* The tree of dist/tree.h over N leaves, unrolled: all loads are under way at once. */
template <int N> __device__ __forceinline__ float tree(const float *x, int64_t stride) {
    if constexpr (N == 1) return *x;
    else return tree<N / 2>(x, stride) + tree<N - N / 2>(x + (N / 2) * stride, stride);
}

/* out may be the first leaf: a thread reads all leaves of an element before it writes it. */
template <int N> __global__ void tree_kernel(const float *leaves, int64_t stride, int64_t count, float *out) {
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        out[i] = tree<N>(leaves + i, stride);
}

template <int N>
ec_status launch_tree(const ec_nccl_queue *queue, const float *leaves, int64_t stride, int32_t n, int64_t count,
                      float *out) {
    if constexpr (N > 1)
        if (n < N) return launch_tree<N - 1>(queue, leaves, stride, n, count, out);
    return EC_LAUNCH((tree_kernel<N>), ec__cuda_blocks(count, THREADS, MOST_BLOCKS), THREADS, 0, queue, leaves, stride,
                     count, out);
}

} // namespace

ec_status ec__nccl_mark(const ec_nccl_queue *queue, uint64_t *counter, volatile ec_nccl_place *place, int32_t call,
                        size_t bytes) {
    return EC_LAUNCH(mark_kernel, 1, 1, 0, queue, counter, place, (uint64_t)call, (uint64_t)bytes);
}

/* Trees too large for a kernel are cut where they are joined: both halves into their first leaves, then the sum of
 * two. */
ec_status ec__nccl_tree_sum(const ec_nccl_queue *queue, float *leaves, int64_t stride, int32_t leaf_count,
                            int64_t count, float *out) {
    const int32_t left = leaf_count / 2;
    float *right = leaves + left * stride;
    if (count == 0 || (leaf_count == 1 && out == leaves)) return EC_OK;
    if (leaf_count <= MOST_LEAVES) return launch_tree<MOST_LEAVES>(queue, leaves, stride, leaf_count, count, out);
    EC_RETURN_IF(ec__nccl_tree_sum(queue, leaves, stride, left, count, leaves));
    EC_RETURN_IF(ec__nccl_tree_sum(queue, right, stride, leaf_count - left, count, right));
    return launch_tree<2>(queue, leaves, left * stride, 2, count, out);
}
