/* The sums over rows of ops_head.h. A block of threads makes the sum of EC_HEAD_BLOCK rows: row r of them belongs to
 * warp r % WARPS, a lane adds its rows ascending, and the warps' sums are added ascending. The sums of the blocks are
 * joined to the leaf one after another, in row order, by the block that happens to come last. So the bits depend on the
 * rows alone. */
#include "compute/cuda/launch.h"

#include "compute/cuda/device.cuh"
#include "compute/cuda/head.h"

namespace {

enum { WARPS = 8, THREADS = WARPS * EC_WARP, ROWS_OF_WARP = EC_HEAD_BLOCK / WARPS, AHEAD = 4 };

/* Where blocks put their sums, and the tickets by which the last one is found, one for each grid column. */
struct part_space {
    float *sum;
    unsigned *ticket;
};

__device__ inline int rows_here(int rows) {
    const int left = rows - (int)blockIdx.y * EC_HEAD_BLOCK;
    return left < EC_HEAD_BLOCK ? left : EC_HEAD_BLOCK;
}

/* Adds up what the warps have for a column; every warp gets the sum. */
template <int V> __device__ ec_pack<V> over_warps(const ec_pack<V> &mine, float (*space)[EC_WARP * V]) {
    __syncthreads(); /* readers of the last time have done */
    ec_store<V>(&space[threadIdx.y][threadIdx.x * V], mine);
    __syncthreads();
    ec_pack<V> sum = ec_load<V>(&space[0][threadIdx.x * V]);
#pragma unroll
    for (int w = 1; w < WARPS; w++) {
        const ec_pack<V> next = ec_load<V>(&space[w][threadIdx.x * V]);
#pragma unroll
        for (int i = 0; i < V; i++) sum.v[i] += next.v[i];
    }
    return sum;
}

/* Mean and m2 over count rows, joined by those of n further rows (Chan et al. 1979). Multiply-adds are spelt out where
 * two places must round alike. */
template <int V>
__device__ inline void join(int count, ec_pack<V> &mean, ec_pack<V> &m2, int n, const ec_pack<V> &mean_b,
                            const ec_pack<V> &m2_b) {
    if (count == 0) {
        mean = mean_b;
        m2 = m2_b;
        return;
    }
    const float share = (float)n / (float)(count + n), weight = (float)count * share;
#pragma unroll
    for (int i = 0; i < V; i++) {
        const float delta = mean_b.v[i] - mean.v[i];
        mean.v[i] = fmaf(delta, share, mean.v[i]);
        m2.v[i] += fmaf(delta * delta, weight, m2_b.v[i]);
    }
}

/* Joins the blocks' statistics (mean, m2: two rows of width a block) to the leaf. */
template <int V>
__device__ void join_blocks(int rows, int width, int column, int before, const float *part, float *mean, float *m2) {
    ec_pack<V> all_mean = ec_zeros<V>(), all_m2 = ec_zeros<V>();
    const int blocks = (rows + EC_HEAD_BLOCK - 1) / EC_HEAD_BLOCK;
    if (before > 0) {
        all_mean = ec_load<V>(mean + column);
        all_m2 = ec_load<V>(m2 + column);
    }
    for (int block = 0; block < blocks; block += AHEAD) {
        ec_pack<V> next_mean[AHEAD], next_m2[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int there = block + k < blocks ? block + k : blocks - 1;
            const float *from = part + (int64_t)there * 2 * width + column;
            next_mean[k] = ec_load_shared_by_blocks<V>(from);
            next_m2[k] = ec_load_shared_by_blocks<V>(from + width);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int at = (block + k) * EC_HEAD_BLOCK;
            if (block + k >= blocks) continue;
            join<V>(before + at, all_mean, all_m2, rows - at < EC_HEAD_BLOCK ? rows - at : EC_HEAD_BLOCK, next_mean[k],
                    next_m2[k]);
        }
    }
    ec_store<V>(mean + column, all_mean);
    ec_store<V>(m2 + column, all_m2);
}

/* Adds the blocks' sums, stride floats from block to block, to sum, or to nothing where fresh. */
template <int V>
__device__ void add_blocks(int blocks, int64_t stride, bool fresh, const float *part, float *sum) {
    ec_pack<V> all = fresh ? ec_zeros<V>() : ec_load<V>(sum);
    for (int block = 0; block < blocks; block += AHEAD) {
        ec_pack<V> next[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int there = block + k < blocks ? block + k : blocks - 1;
            next[k] = ec_load_shared_by_blocks<V>(part + there * stride);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (block + k >= blocks) continue;
#pragma unroll
            for (int i = 0; i < V; i++) all.v[i] += next[k].v[i];
        }
    }
    ec_store<V>(sum, all);
}

/* The same for a lone block, whose sums need not go through memory. */
template <int V> __device__ inline void add_one(const ec_pack<V> &mine, bool fresh, float *sum) {
    ec_pack<V> all = fresh ? ec_zeros<V>() : ec_load<V>(sum);
#pragma unroll
    for (int i = 0; i < V; i++) all.v[i] += mine.v[i];
    ec_store<V>(sum, all);
}

template <int V>
__global__ void __launch_bounds__(THREADS, 3) bn_leaf_kernel(int rows, int width, float *h, const float *scale,
                                                             const float *bias, int before, float *mean, float *m2,
                                                             part_space part) {
    __align__(16) __shared__ float space[WARPS][EC_WARP * V];
    const int column = (int)(blockIdx.x * EC_WARP + threadIdx.x) * V, n = rows_here(rows);
    const int64_t first = (int64_t)blockIdx.y * EC_HEAD_BLOCK;
    const bool inside = column < width, mine = inside && threadIdx.y == 0;
    ec_pack<V> x[ROWS_OF_WARP], sum = ec_zeros<V>(), square = ec_zeros<V>(), b = ec_zeros<V>();
    if (inside) b = ec_load<V>(bias + column);
#pragma unroll
    for (int k = 0; k < ROWS_OF_WARP; k++) {
        const int r = (int)threadIdx.y + k * WARPS;
        x[k] = inside && r < n ? ec_load<V>(h + (first + r) * width + column) : ec_zeros<V>();
    }
#pragma unroll
    for (int k = 0; k < ROWS_OF_WARP; k++) {
        const int r = (int)threadIdx.y + k * WARPS;
        if (!inside || r >= n) continue;
        const float s = scale ? scale[first + r] : 1.f;
#pragma unroll
        for (int i = 0; i < V; i++) sum.v[i] += x[k].v[i] = fmaf(x[k].v[i], s, b.v[i]);
        ec_store<V>(h + (first + r) * width + column, x[k]);
    }
    sum = over_warps<V>(sum, space);
#pragma unroll
    for (int i = 0; i < V; i++) sum.v[i] /= (float)n;
#pragma unroll
    for (int k = 0; k < ROWS_OF_WARP; k++) {
        if (!inside || (int)threadIdx.y + k * WARPS >= n) continue;
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float away = x[k].v[i] - sum.v[i];
            square.v[i] = fmaf(away, away, square.v[i]);
        }
    }
    square = over_warps<V>(square, space);
    if (gridDim.y == 1) {
        if (!mine) return;
        ec_pack<V> all_mean = sum, all_m2 = square;
        if (before > 0) {
            all_mean = ec_load<V>(mean + column);
            all_m2 = ec_load<V>(m2 + column);
            join<V>(before, all_mean, all_m2, n, sum, square);
        }
        ec_store<V>(mean + column, all_mean);
        ec_store<V>(m2 + column, all_m2);
        return;
    }
    if (mine) {
        float *to = part.sum + (int64_t)blockIdx.y * 2 * width + column;
        ec_store<V>(to, sum);
        ec_store<V>(to + width, square);
    }
    if (ec_last_block(part.ticket + blockIdx.x, gridDim.y) && mine)
        join_blocks<V>(rows, width, column, before, part.sum, mean, m2);
}

struct backward_arrays {
    const float *mean, *inv_std, *h, *a;
    float *d;
};

template <int V>
__global__ void __launch_bounds__(THREADS) bn_backward_leaf_kernel(int rows, int width, backward_arrays x, float scale,
                                                                   int before, float *sum_d, float *sum_dx,
                                                                   part_space part) {
    __align__(16) __shared__ float space[WARPS][EC_WARP * V];
    const int column = (int)(blockIdx.x * EC_WARP + threadIdx.x) * V, n = rows_here(rows);
    const int64_t first = (int64_t)blockIdx.y * EC_HEAD_BLOCK;
    const bool inside = column < width, mine = inside && threadIdx.y == 0;
    ec_pack<V> sum = ec_zeros<V>(), sum_x = ec_zeros<V>(), mean = ec_zeros<V>(), inv_std = ec_zeros<V>();
    if (inside) {
        mean = ec_load<V>(x.mean + column);
        inv_std = ec_load<V>(x.inv_std + column);
    }
#pragma unroll
    for (int k = 0; k < ROWS_OF_WARP; k++) {
        const int r = (int)threadIdx.y + k * WARPS;
        if (!inside || r >= n) continue;
        const int64_t at = (first + r) * width + column;
        const ec_pack<V> h = ec_load<V>(x.h + at), a = ec_load<V>(x.a + at);
        ec_pack<V> d = ec_load<V>(x.d + at);
#pragma unroll
        for (int i = 0; i < V; i++) {
            const float kept = a.v[i] > 0.f ? __fmul_rn(d.v[i], scale) : 0.f;
            d.v[i] = kept;
            sum.v[i] += kept;
            sum_x.v[i] = fmaf(kept, (h.v[i] - mean.v[i]) * inv_std.v[i], sum_x.v[i]);
        }
        ec_store<V>(x.d + at, d);
    }
    sum = over_warps<V>(sum, space);
    sum_x = over_warps<V>(sum_x, space);
    if (gridDim.y == 1) {
        if (!mine) return;
        add_one<V>(sum, before == 0, sum_d + column);
        add_one<V>(sum_x, before == 0, sum_dx + column);
        return;
    }
    float *const to = part.sum + (int64_t)blockIdx.y * 2 * width + column;
    if (mine) {
        ec_store<V>(to, sum);
        ec_store<V>(to + width, sum_x);
    }
    if (!ec_last_block(part.ticket + blockIdx.x, gridDim.y) || !mine) return;
    add_blocks<V>((int)gridDim.y, 2 * width, before == 0, part.sum + column, sum_d + column);
    add_blocks<V>((int)gridDim.y, 2 * width, before == 0, part.sum + width + column, sum_dx + column);
}

/* z . dz of the block's rows, 0 where the norm was clamped. */
template <int V>
__device__ void dots(int n, int width, const float *z, const float *dz, const float *inv_norm, float *along,
                     float *factor) {
    for (int r = (int)threadIdx.y; r < n; r += WARPS) {
        float sum = 0.f;
        for (int column = (int)threadIdx.x * V; column < width; column += EC_WARP * V) {
            const int64_t at = (int64_t)r * width + column;
            const ec_pack<V> p = ec_load<V>(z + at), q = ec_load<V>(dz + at);
#pragma unroll
            for (int i = 0; i < V; i++) sum += p.v[i] * q.v[i];
        }
        sum = ec_warp_sum(sum);
        if (threadIdx.x != 0) continue;
        factor[r] = inv_norm[r];
        along[r] = inv_norm[r] < 1.f / EC_CUDA_SMALLEST_NORM ? sum : 0.f;
    }
}

/* A block of threads takes whole rows: their dot products first, then column after column. */
template <int V>
__global__ void __launch_bounds__(THREADS) l2_backward_kernel(int rows, int width, const float *z,
                                                              const float *inv_norm, const float *dz, float *dy,
                                                              int before, float *sum, part_space part) {
    __align__(16) __shared__ float space[WARPS][EC_WARP * V];
    __shared__ float along[EC_HEAD_BLOCK], factor[EC_HEAD_BLOCK];
    const int n = rows_here(rows);
    const int64_t first = (int64_t)blockIdx.y * EC_HEAD_BLOCK, start = first * width;
    dots<V>(n, width, z + start, dz + start, inv_norm + first, along, factor);
    __syncthreads();
    for (int tile = 0; tile < width; tile += EC_WARP * V) {
        const int column = tile + (int)threadIdx.x * V;
        const bool inside = column < width;
        ec_pack<V> s = ec_zeros<V>();
#pragma unroll
        for (int k = 0; k < ROWS_OF_WARP; k++) {
            const int r = (int)threadIdx.y + k * WARPS;
            if (!inside || r >= n) continue;
            const int64_t at = start + (int64_t)r * width + column;
            const ec_pack<V> p = ec_load<V>(z + at);
            ec_pack<V> q = ec_load<V>(dz + at);
#pragma unroll
            for (int i = 0; i < V; i++) s.v[i] += q.v[i] = __fmul_rn(fmaf(-p.v[i], along[r], q.v[i]), factor[r]);
            ec_store<V>(dy + at, q);
        }
        s = over_warps<V>(s, space);
        if (!inside || threadIdx.y != 0) continue;
        if (gridDim.y == 1) add_one<V>(s, before == 0, sum + column);
        else ec_store<V>(part.sum + (int64_t)blockIdx.y * width + column, s);
    }
    if (gridDim.y == 1 || !ec_last_block(part.ticket, gridDim.y)) return;
    for (int column = (int)(threadIdx.y * EC_WARP + threadIdx.x) * V; column < width; column += THREADS * V)
        add_blocks<V>((int)gridDim.y, width, before == 0, part.sum + column, sum + column);
}

/* Rows of one launch: as many as there is room for their sums, whole blocks. */
int32_t rows_a_launch(int64_t floats_a_block) {
    const int64_t blocks = EC_CUDA_SCRATCH_BYTES / (int64_t)sizeof(float) / floats_a_block, most = 65535;
    return (int32_t)(blocks < most ? blocks : most) * EC_HEAD_BLOCK;
}

int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

dim3 grid_of(int32_t width, int32_t v, int32_t rows) {
    const int32_t columns = EC_WARP * v;
    const int32_t blocks = (rows + EC_HEAD_BLOCK - 1) / EC_HEAD_BLOCK;
    return dim3((unsigned)((width + columns - 1) / columns), (unsigned)blocks);
}

const dim3 threads(EC_WARP, WARPS);

part_space space_of(ec_stream *stream) { return {static_cast<float *>(stream->scratch), stream->ticket}; }

/* The sums of a block, and the tickets, must fit whatever the width. */
ec_status check_width(int32_t width) {
    const int32_t most = (int32_t)EC_CUDA_TICKETS * EC_WARP;
    if (width <= most) return EC_OK;
    return EC_ERROR(EC_ERR_CONFIG, "a projection head of width %d; at most %d on a GPU", width, most);
}

} // namespace

ec_status ec__cuda_bn_leaf(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, float *h, const float *scale,
                           const float *bias, int32_t before, float *mean, float *m2) {
    EC_RETURN_IF(check_width(width));
    const bool fours = ec_in_fours(width, h, bias, mean, m2);
    for (int32_t at = 0, n; at < rows; at += n) {
        n = least(rows - at, rows_a_launch(2 * (int64_t)width));
        float *from = h + (int64_t)at * width;
        const float *s = scale ? scale + at : NULL;
        if (fours)
            EC_RETURN_IF(EC_LAUNCH(bn_leaf_kernel<4>, grid_of(width, 4, n), threads, 0, stream, n, width, from, s, bias,
                                   before + at, mean, m2, space_of(stream)));
        else
            EC_RETURN_IF(EC_LAUNCH(bn_leaf_kernel<1>, grid_of(width, 1, n), threads, 0, stream, n, width, from, s, bias,
                                   before + at, mean, m2, space_of(stream)));
    }
    return EC_OK;
}

ec_status ec__cuda_bn_backward_leaf(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                                    float dropout_scale, const float *h, const float *a, float *d, int32_t before,
                                    float *sum_d, float *sum_dx) {
    EC_RETURN_IF(check_width(width));
    const bool fours = ec_in_fours(width, bn->mean, bn->inv_std, h, a, d, sum_d, sum_dx);
    for (int32_t at = 0, n; at < rows; at += n) {
        n = least(rows - at, rows_a_launch(2 * (int64_t)width));
        const int64_t offset = (int64_t)at * width;
        const backward_arrays x = {bn->mean, bn->inv_std, h + offset, a + offset, d + offset};
        if (fours)
            EC_RETURN_IF(EC_LAUNCH(bn_backward_leaf_kernel<4>, grid_of(width, 4, n), threads, 0, stream, n, width, x,
                                   dropout_scale, before + at, sum_d, sum_dx, space_of(stream)));
        else
            EC_RETURN_IF(EC_LAUNCH(bn_backward_leaf_kernel<1>, grid_of(width, 1, n), threads, 0, stream, n, width, x,
                                   dropout_scale, before + at, sum_d, sum_dx, space_of(stream)));
    }
    return EC_OK;
}

ec_status ec__cuda_l2_backward(ec_backend *, ec_stream *stream, int32_t rows, int32_t width, const float *z,
                               const float *inv_norm, const float *dz, float *dy, int32_t before, float *sum) {
    EC_RETURN_IF(check_width(width));
    const bool fours = ec_in_fours(width, z, dz, dy, sum);
    for (int32_t at = 0, n; at < rows; at += n) {
        n = least(rows - at, rows_a_launch(width));
        const int64_t offset = (int64_t)at * width;
        const dim3 grid(1, grid_of(width, 1, n).y);
        if (fours)
            EC_RETURN_IF(EC_LAUNCH(l2_backward_kernel<4>, grid, threads, 0, stream, n, width, z + offset, inv_norm + at,
                                   dz + offset, dy + offset, before + at, sum, space_of(stream)));
        else
            EC_RETURN_IF(EC_LAUNCH(l2_backward_kernel<1>, grid, threads, 0, stream, n, width, z + offset, inv_norm + at,
                                   dz + offset, dy + offset, before + at, sum, space_of(stream)));
    }
    return EC_OK;
}
