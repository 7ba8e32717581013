/* ops_head.h on a GPU: the table, and what goes element by element or row by row. */
#include "compute/cuda/launch.h"

#include "compute/cuda/device.cuh"
#include "compute/cuda/head.h"
#include "core/rng.h"

namespace {

enum { THREADS = 256, WARPS = THREADS / EC_WARP, MOST_BLOCKS = 8192, DRAWN = 8 };

/* Row by row: a warp a row. */

template <int V> __device__ float dot_of_row(int width, const float *x) {
    float sum = 0.f;
    for (int column = (int)threadIdx.x * V; column < width; column += EC_WARP * V) {
        const ec_pack<V> p = ec_load<V>(x + column);
#pragma unroll
        for (int i = 0; i < V; i++) sum = fmaf(p.v[i], p.v[i], sum);
    }
    return ec_warp_sum(sum);
}

__device__ inline float inverse_norm(float square) { return 1.f / fmaxf(sqrtf(square), EC_CUDA_SMALLEST_NORM); }

__device__ inline int64_t row_of_warp() { return (int64_t)blockIdx.x * WARPS + threadIdx.y; }

template <int V>
__global__ void __launch_bounds__(THREADS) row_scales_kernel(int rows, int width, const float *x, float *scale) {
    const int64_t row = row_of_warp();
    if (row >= rows) return;
    const float square = dot_of_row<V>(width, x + row * width);
    if (threadIdx.x == 0) scale[row] = inverse_norm(square);
}

template <int V>
__global__ void __launch_bounds__(THREADS) l2_forward_kernel(int rows, int width, const float *y, float *z,
                                                             float *inv_norm) {
    const int64_t row = row_of_warp();
    if (row >= rows) return;
    const float factor = inverse_norm(dot_of_row<V>(width, y + row * width));
    for (int column = (int)threadIdx.x * V; column < width; column += EC_WARP * V) {
        ec_pack<V> p = ec_load<V>(y + row * width + column);
#pragma unroll
        for (int i = 0; i < V; i++) p.v[i] *= factor;
        ec_store<V>(z + row * width + column, p);
    }
    if (inv_norm && threadIdx.x == 0) inv_norm[row] = factor;
}

const dim3 warps(EC_WARP, WARPS);

unsigned blocks_for_rows(int32_t rows) { return (unsigned)((rows + WARPS - 1) / WARPS); }

ec_status row_scales(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, const float *x, float *scale) {
    if (rows == 0) return EC_OK;
    if (ec_in_fours(width, x))
        return EC_LAUNCH(row_scales_kernel<4>, blocks_for_rows(rows), warps, 0, stream, rows, width, x, scale);
    return EC_LAUNCH(row_scales_kernel<1>, blocks_for_rows(rows), warps, 0, stream, rows, width, x, scale);
}

ec_status l2_forward(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, const float *y, float *z,
                     float *inv_norm) {
    if (rows == 0) return EC_OK;
    if (ec_in_fours(width, y, z))
        return EC_LAUNCH(l2_forward_kernel<4>, blocks_for_rows(rows), warps, 0, stream, rows, width, y, z, inv_norm);
    return EC_LAUNCH(l2_forward_kernel<1>, blocks_for_rows(rows), warps, 0, stream, rows, width, y, z, inv_norm);
}

/* Element by element: a thread takes `step` neighbouring columns of a row, then the next piece a grid further on. */

struct walk {
    int64_t piece, pieces, stride;
    int pieces_of_row;
};

__device__ inline walk walk_rows(int rows, int width, int step) {
    walk w;
    w.pieces_of_row = (width + step - 1) / step;
    w.pieces = (int64_t)rows * w.pieces_of_row;
    w.piece = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    w.stride = (int64_t)gridDim.x * blockDim.x;
    return w;
}

unsigned blocks_for_pieces(int32_t rows, int32_t width, int32_t step) {
    return ec__cuda_blocks((int64_t)rows * ((width + step - 1) / step), THREADS, MOST_BLOCKS);
}

template <int V>
__global__ void __launch_bounds__(THREADS) scale_rows_kernel(int rows, int width, float *h, const float *scale,
                                                             const float *bias) {
    for (walk w = walk_rows(rows, width, V); w.piece < w.pieces; w.piece += w.stride) {
        const int64_t row = w.piece / w.pieces_of_row;
        const int column = (int)(w.piece % w.pieces_of_row) * V;
        const float s = scale ? scale[row] : 1.f;
        const ec_pack<V> b = ec_load<V>(bias + column);
        ec_pack<V> p = ec_load<V>(h + row * width + column);
#pragma unroll
        for (int i = 0; i < V; i++) p.v[i] = fmaf(p.v[i], s, b.v[i]);
        ec_store<V>(h + row * width + column, p);
    }
}

ec_status scale_rows(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, float *h, const float *scale,
                     const float *bias) {
    if (rows == 0) return EC_OK;
    if (ec_in_fours(width, h, bias))
        return EC_LAUNCH(scale_rows_kernel<4>, blocks_for_pieces(rows, width, 4), THREADS, 0, stream, rows, width, h,
                         scale, bias);
    return EC_LAUNCH(scale_rows_kernel<1>, blocks_for_pieces(rows, width, 1), THREADS, 0, stream, rows, width, h, scale,
                     bias);
}

/* Ten rounds of Philox4x32 (core/rng.h). */
__device__ inline void philox(uint32_t k0, uint32_t k1, uint32_t c[4]) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint32_t high0 = __umulhi(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
        const uint32_t high1 = __umulhi(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
        c[0] = high1 ^ c[1] ^ k0;
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ k1;
        c[3] = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* Drops of the DRAWN columns from a multiple of DRAWN on, of global row `row`; one block of random numbers decides. */
__device__ inline void drop(const ec_dropout &dropout, int64_t row, int column, float value[DRAWN]) {
    const uint64_t index = (uint64_t)dropout.layer << 32 | (uint64_t)row;
    uint32_t c[4] = {(uint32_t)column / DRAWN, (uint32_t)index, *dropout.step,
                     ((uint32_t)(index >> 32) << 16) | (uint32_t)EC_RNG_DROPOUT};
    philox((uint32_t)dropout.seed, (uint32_t)(dropout.seed >> 32), c);
#pragma unroll
    for (int j = 0; j < DRAWN; j++) {
        const uint32_t number = j % 2 ? c[j / 2] >> 16 : c[j / 2] & 0xffffu;
        value[j] = number >= dropout.threshold ? value[j] * dropout.scale : 0.f;
    }
}

template <int V>
__global__ void __launch_bounds__(THREADS) bn_forward_kernel(int rows, int width, ec_bn bn, ec_dropout dropout,
                                                             int64_t first, const float *h, float *a) {
    for (walk w = walk_rows(rows, width, DRAWN); w.piece < w.pieces; w.piece += w.stride) {
        const int64_t row = w.piece / w.pieces_of_row;
        const int column = (int)(w.piece % w.pieces_of_row) * DRAWN;
        float value[DRAWN] = {};
#pragma unroll
        for (int at = 0; at < DRAWN; at += V) {
            if (column + at >= width) continue;
            const ec_pack<V> x = ec_load<V>(h + row * width + column + at), mean = ec_load<V>(bn.mean + column + at);
            const ec_pack<V> inv_std = ec_load<V>(bn.inv_std + column + at), gamma = ec_load<V>(bn.gamma + column + at);
            const ec_pack<V> beta = ec_load<V>(bn.beta + column + at);
#pragma unroll
            for (int i = 0; i < V; i++) {
                const float v = fmaf((x.v[i] - mean.v[i]) * inv_std.v[i], gamma.v[i], beta.v[i]);
                value[at + i] = v < 0.f ? 0.f : v; /* a NaN stays */
            }
        }
        if (dropout.threshold > 0) drop(dropout, first + row, column, value);
#pragma unroll
        for (int at = 0; at < DRAWN; at += V) {
            ec_pack<V> p;
            if (column + at >= width) continue;
#pragma unroll
            for (int i = 0; i < V; i++) p.v[i] = value[at + i];
            ec_store<V>(a + row * width + column + at, p);
        }
    }
}

ec_status bn_forward(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                     const ec_dropout *dropout, int64_t first, const float *h, float *a) {
    if (rows == 0) return EC_OK;
    const unsigned blocks = blocks_for_pieces(rows, width, DRAWN);
    const ec_dropout d = dropout ? *dropout : ec_dropout{};
    if (ec_in_fours(width, bn->mean, bn->inv_std, bn->gamma, bn->beta, h, a))
        return EC_LAUNCH(bn_forward_kernel<4>, blocks, THREADS, 0, stream, rows, width, *bn, d, first, h, a);
    return EC_LAUNCH(bn_forward_kernel<1>, blocks, THREADS, 0, stream, rows, width, *bn, d, first, h, a);
}

struct backward_sums {
    const float *d, *dx;
    float inverse_n;
};

/* With x the normalised h: gamma inv_std (d - p - x q), p and q the means of d and d x. */
template <int V>
__global__ void __launch_bounds__(THREADS) bn_backward_kernel(int rows, int width, ec_bn bn, backward_sums sums,
                                                              const float *scale, const float *h, float *d) {
    for (walk w = walk_rows(rows, width, V); w.piece < w.pieces; w.piece += w.stride) {
        const int64_t row = w.piece / w.pieces_of_row;
        const int column = (int)(w.piece % w.pieces_of_row) * V;
        const ec_pack<V> mean = ec_load<V>(bn.mean + column), inv_std = ec_load<V>(bn.inv_std + column);
        const ec_pack<V> gamma = ec_load<V>(bn.gamma + column), sum_d = ec_load<V>(sums.d + column);
        const ec_pack<V> sum_dx = ec_load<V>(sums.dx + column), x = ec_load<V>(h + row * width + column);
        const float s = scale ? scale[row] : 1.f;
        ec_pack<V> g = ec_load<V>(d + row * width + column);
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float p = sum_d.v[i] * sums.inverse_n, q = sum_dx.v[i] * sums.inverse_n * inv_std.v[i];
            g.v[i] = (g.v[i] - p - (x.v[i] - mean.v[i]) * q) * (gamma.v[i] * inv_std.v[i]) * s;
        }
        ec_store<V>(d + row * width + column, g);
    }
}

ec_status bn_backward(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn, int64_t n,
                      const float *sum_d, const float *sum_dx, const float *scale, const float *h, float *d) {
    if (rows == 0) return EC_OK;
    const backward_sums sums = {sum_d, sum_dx, (float)(1.0 / (double)n)};
    const ec_bn given = {bn->mean, bn->inv_std, bn->gamma, NULL};
    if (ec_in_fours(width, bn->mean, bn->inv_std, bn->gamma, sum_d, sum_dx, h, d))
        return EC_LAUNCH(bn_backward_kernel<4>, blocks_for_pieces(rows, width, 4), THREADS, 0, stream, rows, width,
                         given, sums, scale, h, d);
    return EC_LAUNCH(bn_backward_kernel<1>, blocks_for_pieces(rows, width, 1), THREADS, 0, stream, rows, width, given,
                     sums, scale, h, d);
}

template <int V> __global__ void __launch_bounds__(THREADS) add_kernel(int64_t count, const float *from, float *to) {
    const int64_t stride = (int64_t)gridDim.x * blockDim.x * V;
    for (int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V; at < count; at += stride) {
        const ec_pack<V> x = ec_load<V>(from + at);
        ec_pack<V> y = ec_load<V>(to + at);
#pragma unroll
        for (int i = 0; i < V; i++) y.v[i] += x.v[i];
        ec_store<V>(to + at, y);
    }
}

ec_status add(ec_backend *, ec_stream *stream, int64_t count, const float *from, float *to) {
    if (count == 0) return EC_OK;
    if (ec_in_fours(count, from, to))
        return EC_LAUNCH(add_kernel<4>, ec__cuda_blocks(count / 4, THREADS, MOST_BLOCKS), THREADS, 0, stream, count,
                         from, to);
    return EC_LAUNCH(add_kernel<1>, ec__cuda_blocks(count, THREADS, MOST_BLOCKS), THREADS, 0, stream, count, from, to);
}

} // namespace

const ec_head_ops ec__cuda_head_ops = {
    .row_scales = row_scales,
    .scale_rows = scale_rows,
    .bn_leaf = ec__cuda_bn_leaf,
    .bn_combine = ec__cuda_bn_combine,
    .bn_finish = ec__cuda_bn_finish,
    .bn_inv_std = ec__cuda_bn_inv_std,
    .bn_forward = bn_forward,
    .bn_backward_leaf = ec__cuda_bn_backward_leaf,
    .bn_backward = bn_backward,
    .l2_forward = l2_forward,
    .l2_backward = ec__cuda_l2_backward,
    .add = add,
};
