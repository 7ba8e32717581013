/* ops_optim.h on a GPU. */
#include "compute/cuda/launch.h"

#include "compute/cuda/device.cuh"

namespace {

enum { THREADS = 256, WARPS = THREADS / EC_WARP, MOST_BLOCKS = 4096, MOST_PARTS = 2048, LEAST_PART = 4096 };

/* Every product and sum is rounded, as on the CPU: an element has the same bits in both kernels below, and near 0 the
 * quotient makes much of little differences. */
__device__ inline void update(const ec_adam &a, float grad, float &m, float &v, float &param) {
    const float p = param, g = __fadd_rn(__fmul_rn(grad, a.grad_scale), __fmul_rn(a.l2, p));
    m = __fadd_rn(__fmul_rn(a.beta1, m), __fmul_rn(a.one_minus_beta1, g));
    v = __fadd_rn(__fmul_rn(a.beta2, v), __fmul_rn(a.one_minus_beta2, __fmul_rn(g, g)));
    const float size = __fadd_rn(__fmul_rn(sqrtf(v), a.inv_bias2), a.eps);
    param = __fsub_rn(__fmul_rn(p, a.decay), __fmul_rn(a.rate, m) / size);
}

template <int V>
__global__ void __launch_bounds__(THREADS) adam_kernel(const ec_adam *adam, int64_t count, const float *grad, float *m,
                                                       float *v, float *param) {
    const ec_adam a = *adam;
    if (a.grad_scale == 0.f) return;
    const int64_t stride = (int64_t)gridDim.x * blockDim.x * V;
    for (int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * V; at < count; at += stride) {
        const ec_pack<V> g = ec_load<V>(grad + at);
        ec_pack<V> first = ec_load<V>(m + at), second = ec_load<V>(v + at), p = ec_load<V>(param + at);
#pragma unroll
        for (int i = 0; i < V; i++) update(a, g.v[i], first.v[i], second.v[i], p.v[i]);
        ec_store<V>(m + at, first);
        ec_store<V>(v + at, second);
        ec_store<V>(param + at, p);
    }
}

/* The last elements, where count is no multiple of four, go one at a time. */
ec_status adam(ec_backend *, ec_stream *stream, const ec_adam *a, int64_t count, const float *grad, float *m, float *v,
               float *param) {
    int64_t done = 0;
    if (ec_in_fours(4, grad, m, v, param)) done = count / 4 * 4;
    if (done > 0)
        EC_RETURN_IF(EC_LAUNCH(adam_kernel<4>, ec__cuda_blocks(done / 4, THREADS, MOST_BLOCKS), THREADS, 0, stream, a,
                               done, grad, m, v, param));
    if (done == count) return EC_OK;
    return EC_LAUNCH(adam_kernel<1>, ec__cuda_blocks(count - done, THREADS, MOST_BLOCKS), THREADS, 0, stream, a,
                     count - done, grad + done, m + done, v + done, param + done);
}

/* Sum over the threads of a block, the same in all of them: lanes by ec_warp_sum, then warps ascending. */
__device__ double over_block(double mine, double space[WARPS]) {
    double sum = 0;
    mine = ec_warp_sum(mine);
    __syncthreads(); /* readers of the last time have done */
    if (threadIdx.x % EC_WARP == 0) space[threadIdx.x / EC_WARP] = mine;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += space[w];
    return sum;
}

/* Block b makes the sum of part b; the one that comes last adds the parts, thread t those at t, t + THREADS ... */
__global__ void __launch_bounds__(THREADS) square_sum_kernel(int64_t count, int64_t part, const float *x, double *parts,
                                                             unsigned *ticket, double *out) {
    __shared__ double space[WARPS];
    const int64_t first = blockIdx.x * part, end = first + part < count ? first + part : count;
    double sum = 0;
#pragma unroll 8
    for (int64_t at = first + threadIdx.x; at < end; at += THREADS) sum = fma((double)x[at], (double)x[at], sum);
    sum = over_block(sum, space);
    if (gridDim.x > 1) {
        if (threadIdx.x == 0) parts[blockIdx.x] = sum;
        if (!ec_last_block(ticket, gridDim.x)) return;
        sum = 0;
        for (unsigned b = threadIdx.x; b < gridDim.x; b += THREADS) sum += __ldcg(parts + b);
        sum = over_block(sum, space);
    }
    if (threadIdx.x == 0) *out = sum;
}

/* The cut into parts is a function of count alone, so the bits are too. */
ec_status square_sum(ec_backend *, ec_stream *stream, int64_t count, const float *x, double *sum) {
    int64_t part = LEAST_PART;
    while (part * MOST_PARTS < count) part *= 2;
    static_assert(MOST_PARTS * sizeof(double) <= EC_CUDA_SCRATCH_BYTES, "the parts must fit");
    return EC_LAUNCH(square_sum_kernel, ec__cuda_blocks(count, part, MOST_PARTS), THREADS, 0, stream, count, part, x,
                     static_cast<double *>(stream->scratch), stream->ticket, sum);
}

/* One warp reads, and adds what it read one after another. */
__global__ void __launch_bounds__(EC_WARP) clip_kernel(int parts, const double *part, double limit, ec_adam *adam,
                                                       ec_gradient_norm *norm) {
    double sum = 0;
    for (int first = 0; first < parts; first += EC_WARP) {
        const int at = first + (int)threadIdx.x;
        const double mine = at < parts ? part[at] : 0;
        for (int lane = 0; lane < EC_WARP; lane++) sum += __shfl_sync(EC_ALL_LANES, mine, lane);
    }
    if (threadIdx.x != 0) return;
    const double length = sqrt(sum);
    norm->norm = length;
    if (!isfinite(length)) norm->spoiled = 1;
    adam->grad_scale = norm->spoiled ? 0.f : limit > 0 && length > limit ? (float)(limit / length) : 1.f;
}

ec_status clip(ec_backend *, ec_stream *stream, int32_t parts, const double *part, double limit, ec_adam *adam,
               ec_gradient_norm *norm) {
    return EC_LAUNCH(clip_kernel, 1, EC_WARP, 0, stream, parts, part, limit, adam, norm);
}

} // namespace

const ec_optim_ops ec__cuda_optim_ops = {.adam = adam, .square_sum = square_sum, .clip = clip};
