/* Small pieces that kernels share: values of several columns at a time, sums over a warp, and the block that comes
 * last. In .cu files only, behind launch.h. */
#ifndef EC_COMPUTE_CUDA_DEVICE_CUH
#define EC_COMPUTE_CUDA_DEVICE_CUH

#include "compute/cuda/launch.h"

enum : unsigned { EC_ALL_LANES = 0xffffffffu };

/* V neighbouring floats of a row: 4 are one access of 16 bytes, and must be aligned to it. */
template <int V> struct ec_pack {
    float v[V];
};

template <int V> __device__ inline ec_pack<V> ec_load(const float *from) {
    ec_pack<V> p;
    if constexpr (V == 4) {
        const float4 q = *reinterpret_cast<const float4 *>(from);
        p.v[0] = q.x, p.v[1] = q.y, p.v[2] = q.z, p.v[3] = q.w;
    } else {
        for (int i = 0; i < V; i++) p.v[i] = from[i];
    }
    return p;
}

/* The same past the first-level cache: what other blocks of this kernel wrote. */
template <int V> __device__ inline ec_pack<V> ec_load_shared_by_blocks(const float *from) {
    ec_pack<V> p;
    if constexpr (V == 4) {
        const float4 q = __ldcg(reinterpret_cast<const float4 *>(from));
        p.v[0] = q.x, p.v[1] = q.y, p.v[2] = q.z, p.v[3] = q.w;
    } else {
        for (int i = 0; i < V; i++) p.v[i] = __ldcg(from + i);
    }
    return p;
}

template <int V> __device__ inline void ec_store(float *to, const ec_pack<V> &p) {
    if constexpr (V == 4) {
        *reinterpret_cast<float4 *>(to) = make_float4(p.v[0], p.v[1], p.v[2], p.v[3]);
    } else {
        for (int i = 0; i < V; i++) to[i] = p.v[i];
    }
}

template <int V> __device__ inline ec_pack<V> ec_zeros() {
    ec_pack<V> p;
#pragma unroll
    for (int i = 0; i < V; i++) p.v[i] = 0.f;
    return p;
}

/* May rows of that width at these addresses be taken four floats at a time? */
template <class... A> static inline bool ec_in_fours(int64_t width, const A *...address) {
    return width % 4 == 0 && ((reinterpret_cast<uintptr_t>(address) % 16 == 0) && ...);
}

/* Sum and maximum over a warp, the same bits in every lane: partners add the same two numbers. All lanes take part. */
template <class T> __device__ inline T ec_warp_sum(T value) {
#pragma unroll
    for (int other = 16; other > 0; other /= 2) value += __shfl_xor_sync(EC_ALL_LANES, value, other);
    return value;
}

__device__ inline float ec_warp_max(float value) {
#pragma unroll
    for (int other = 16; other > 0; other /= 2) value = fmaxf(value, __shfl_xor_sync(EC_ALL_LANES, value, other));
    return value;
}

/* Is this the last of so many blocks to come here? What the others wrote before is then visible. All threads of a block
 * call it. The ticket is 0 again afterwards. */
__device__ inline bool ec_last_block(unsigned *ticket, unsigned blocks) {
    int last = 0;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        last = atomicAdd(ticket, 1u) == blocks - 1;
        if (last) *ticket = 0;
    }
    last = __syncthreads_or(last);
    __threadfence();
    return last != 0;
}

#endif
