/* How kernels are written so that nvcc and the emulation of tests/cuemu both take them. In .cu files only; they begin
 * with:  #include "compute/cuda/launch.h"
 *
 * - Kernels are `static __global__ void`, templates welcome. A launch is an ec_status:
 *       return EC_LAUNCH(add, blocks, threads, shared_bytes, stream, count, from, to);
 *   with a template in brackets: EC_LAUNCH((sum<float, 4>), ...). grid and block are a number or a dim3.
 * - Static shared memory is declared as usual, without an initial value; dynamic shared memory by
 *       EC_DYNAMIC_SHARED(float, tile);
 * - No inline PTX outside mma.cuh and wgmma.cuh; no cooperative groups, no textures, no __constant__, no printf.
 * - threadIdx, blockIdx, blockDim, gridDim, __syncthreads (_or, _and, _count), __syncwarp, shuffles, votes, atomics,
 *   bfloat16 and half are there. More than 48 KiB of dynamic shared memory is asked for first: EC_SHARED_BYTES. */
#ifndef EC_COMPUTE_CUDA_LAUNCH_H
#define EC_COMPUTE_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "compute/cuda/cuda.h"

#ifdef EMOCLIM_CUEMU
#define EC_LAUNCH(kernel, grid, block, shared, stream, ...)                                                         \
    ec__cuda_status(cuemu::launch(#kernel, (kernel), dim3(grid), dim3(block), (shared), (stream)->queue, __VA_ARGS__), \
                    "launch of " #kernel, __FILE__, __LINE__, __func__)
#define EC_DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(cuemu::dynamic_shared())
#else
#define EC_LAUNCH(kernel, grid, block, shared, stream, ...)                       \
    ((kernel)<<<dim3(grid), dim3(block), (shared), (stream)->queue>>>(__VA_ARGS__), \
     ec__cuda_status(cudaGetLastError(), "launch of " #kernel, __FILE__, __LINE__, __func__))
#define EC_DYNAMIC_SHARED(type, name)                                        \
    extern __shared__ __align__(128) unsigned char ec__dynamic_shared_[];    \
    type *name = reinterpret_cast<type *>(ec__dynamic_shared_)
#endif

/* Allows a kernel that much dynamic shared memory; once, when a back end is opened. */
#define EC_SHARED_BYTES(kernel, bytes) \
    EC_CUDA(cudaFuncSetAttribute((const void *)(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes)))

enum { EC_WARP = 32 };

/* Blocks of so many threads for count items, at most limit: kernels walk their items in strides of the grid. */
static inline unsigned ec__cuda_blocks(int64_t count, int64_t threads, int64_t limit) {
    int64_t blocks = (count + threads - 1) / threads;
    return (unsigned)(blocks < 1 ? 1 : blocks > limit ? limit : blocks);
}

#endif
