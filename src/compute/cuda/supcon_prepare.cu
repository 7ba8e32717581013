/* What is done with embeddings before the products: looking for rows that are too long or not finite, and copies in the
 * type that the products read. A warp takes a row. */
#include "compute/cuda/launch.h"
#include "compute/cuda/mma.cuh"
#include "compute/cuda/supcon.h"

namespace {

constexpr int THREADS = 256, ROWS = THREADS / EC_WARP, MOST_BLOCKS = 4096;

__device__ float norm2_of_row(const float *row, int32_t dim, int lane) {
    float sum = 0;
    for (int32_t k = lane; k < dim; k += EC_WARP) sum = fmaf(row[k], row[k], sum);
    for (int other = EC_WARP / 2; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, other);
    return sum;
}

/* finding->bad, as an unsigned number, becomes the smallest of it and the rows that fail. */
__global__ void inspect_kernel(const float *z, int32_t rows, int32_t dim, float norm2_most,
                               ec_supcon_finding *finding) {
    const int lane = threadIdx.x % EC_WARP;
    for (int32_t r = (int32_t)(blockIdx.x * ROWS + threadIdx.x / EC_WARP); r < rows; r += (int32_t)(gridDim.x * ROWS)) {
        const float norm2 = norm2_of_row(z + (int64_t)r * dim, dim, lane);
        if (lane == 0 && !(norm2 <= norm2_most)) /* not for NaN */
            atomicMin((unsigned long long *)&finding->bad, (unsigned long long)r);
    }
}

__global__ void describe_kernel(const float *z, int32_t dim, ec_supcon_finding *finding) {
    const int64_t bad = finding->bad;
    const float norm2 = bad < 0 ? 0.f : norm2_of_row(z + bad * dim, dim, threadIdx.x);
    if (threadIdx.x != 0) return;
    finding->norm2 = norm2;
    finding->unused = 0;
}

struct copy_arguments {
    const float *z[2];
    char *copy[2];
    int64_t pitch;
    int32_t copy_rows, first, rows, dim; /* row first + r of the copy is row r of z */
};

__device__ __forceinline__ float4 four_of_row(const float *row, int32_t k, int32_t dim) {
    if (dim % 4 == 0 && k < dim) return *(const float4 *)(row + k);
    return make_float4(k < dim ? row[k] : 0.f, k + 1 < dim ? row[k + 1] : 0.f, k + 2 < dim ? row[k + 2] : 0.f,
                       k + 3 < dim ? row[k + 3] : 0.f);
}

template <ec_math MATH> __device__ __forceinline__ void store_four(char *row, int32_t k, float4 x) {
    if (MATH == EC_MATH_BF16) {
        *(uint2 *)(row + k * 2) = make_uint2(ec__bf16_pair(x.x, x.y), ec__bf16_pair(x.z, x.w));
        return;
    }
    if (MATH == EC_MATH_TF32)
        x = make_float4(__uint_as_float(ec__tf32(x.x)), __uint_as_float(ec__tf32(x.y)), __uint_as_float(ec__tf32(x.z)),
                        __uint_as_float(ec__tf32(x.w)));
    *(float4 *)(row + k * 4) = x;
}

__device__ __forceinline__ float4 four_of_padded(const copy_arguments &p, int which, int64_t r, int32_t k) {
    r -= p.first;
    return r >= 0 && r < p.rows ? four_of_row(p.z[which] + r * p.dim, k, p.dim) : make_float4(0, 0, 0, 0);
}

template <ec_math MATH> __global__ void copy_kernel(const __grid_constant__ copy_arguments p) {
    const int lane = threadIdx.x % EC_WARP, which = (int)blockIdx.y;
    const int32_t width = (int32_t)(p.pitch / (MATH == EC_MATH_BF16 ? 2 : 4));
    for (int64_t r = (int64_t)blockIdx.x * ROWS + threadIdx.x / EC_WARP; r < p.copy_rows;
         r += (int64_t)gridDim.x * ROWS)
        for (int32_t k = lane * 4; k < width; k += EC_WARP * 4)
            store_four<MATH>(p.copy[which] + r * p.pitch, k, four_of_padded(p, which, r, k));
}

/* Panels of a tile's rows, one after the other: 128 bytes a row, 16-byte units permuted. */
__global__ void panels_kernel(const __grid_constant__ copy_arguments p) {
    constexpr int TILE = EC_SUPCON_CUDA_TILE, ROW_BYTES = 128, DEPTH = ROW_BYTES / 2;
    const int lane = threadIdx.x % EC_WARP, which = (int)blockIdx.y;
    const int32_t width = (int32_t)(p.pitch / 2);
    for (int64_t r = (int64_t)blockIdx.x * ROWS + threadIdx.x / EC_WARP; r < p.copy_rows;
         r += (int64_t)gridDim.x * ROWS) {
        char *tile = p.copy[which] + r / TILE * TILE * p.pitch + r % TILE * ROW_BYTES;
        for (int32_t k = lane * 4; k < width; k += EC_WARP * 4) {
            const int32_t within = k % DEPTH, permuted = within ^ (int32_t)(r % 8 * 8); /* a unit is 8 values */
            store_four<EC_MATH_BF16>(tile + (int64_t)(k / DEPTH) * (TILE * ROW_BYTES), permuted,
                                     four_of_padded(p, which, r, k));
        }
    }
}

dim3 blocks_of(const copy_arguments &p, int32_t modalities) {
    return dim3(ec__cuda_blocks(p.copy_rows, ROWS, MOST_BLOCKS), (unsigned)modalities);
}

template <ec_math MATH> ec_status launch_copy(ec_stream *stream, const copy_arguments &p, int32_t modalities) {
    return EC_LAUNCH(copy_kernel<MATH>, blocks_of(p, modalities), THREADS, 0, stream, p);
}

ec_status copy_rows(ec_stream *stream, const copy_arguments &p, ec_math math, int32_t modalities) {
    switch (math) {
        case EC_MATH_BF16: return launch_copy<EC_MATH_BF16>(stream, p, modalities);
        case EC_MATH_TF32: return launch_copy<EC_MATH_TF32>(stream, p, modalities);
        default: return launch_copy<EC_MATH_FLOAT32>(stream, p, modalities);
    }
}

} // namespace

ec_status ec__supcon_cuda_inspect(ec_stream *stream, const float *z, int32_t rows, int32_t dim, float norm2_most,
                                  ec_supcon_finding *finding) {
    EC_RETURN_IF(EC_CUDA(cudaMemsetAsync(finding, 0xff, sizeof *finding, stream->queue)));
    EC_RETURN_IF(EC_LAUNCH(inspect_kernel, ec__cuda_blocks(rows, ROWS, MOST_BLOCKS), THREADS, 0, stream, z, rows, dim,
                           norm2_most, finding));
    return EC_LAUNCH(describe_kernel, 1, EC_WARP, 0, stream, z, dim, finding);
}

ec_status ec__supcon_cuda_copy(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_copies *copies,
                               const ec_supcon_block *block, int32_t modalities, const float *const z[2]) {
    const int32_t m = block->modality, next = m + modalities - 1;
    copy_arguments p = {{z[0], modalities > 1 ? z[1] : z[0]},
                        {(char *)copies->rows[m], (char *)copies->rows[next]},
                        plan->pitch,
                        copies->end - copies->begin,
                        block->begin - copies->begin,
                        block->rows,
                        plan->dim};
    if (copies->rows[m] != copies->panels[m]) EC_RETURN_IF(copy_rows(stream, p, plan->math, modalities));
    if (!copies->panels[m]) return EC_OK;
    p.copy[0] = (char *)copies->panels[m];
    p.copy[1] = (char *)copies->panels[next];
    return EC_LAUNCH(panels_kernel, blocks_of(p, modalities), THREADS, 0, stream, p);
}
