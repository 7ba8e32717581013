/* Attention whose result is wanted in bf16, on the tensor cores: queries, keys, values and the weights of the softmax
 * are rounded to bf16, everything else is float32.
 *
 * A block takes QUERIES queries of a head, 16 a warp, and walks over its keys and values, KEYS at a time, in shared
 * memory. The scores of a warp stay in its registers: as they leave the first product (rows g and g + 8 of a lane,
 * columns 2t and 2t + 1) they are the left factor of the second. The softmax is made on the way, as in attention.cu. */
#include "compute/cuda/launch.h"

#include "compute/cuda/device.cuh"
#include "compute/cuda/encoder.h"
#include "compute/cuda/mma.cuh"

namespace {

enum { WARPS = 4, THREADS = WARPS * EC_WARP, TILE = 16, QUERIES = WARPS * TILE, KEYS = 32, PAD = 8, HALVES = 2 };

/* Rows of x from `first` on into shared memory as bf16, `step` numbers apart, zeros behind the last token. */
__device__ inline void bring(uint16_t *to, int step, const float *x, int64_t ld, int width, int first, int count,
                             int tokens) {
    const int fours = width / 4;
    for (int i = (int)threadIdx.x; i < count * fours; i += THREADS) {
        const int row = i / fours, column = i % fours * 4;
        ec_pack<4> p = ec_zeros<4>();
        if (first + row < tokens) p = ec_load<4>(x + (first + row) * ld + column);
        *reinterpret_cast<uint2 *>(to + row * step + column) =
            make_uint2(ec__bf16_pair(p.v[0], p.v[1]), ec__bf16_pair(p.v[2], p.v[3]));
    }
}

/* score[n] = the warp's queries times keys 8 n .. 8 n + 7. */
__device__ inline void multiply_keys(const uint16_t *queries, const uint16_t *keys, int step, int width,
                                     float score[KEYS / 8][4]) {
    const int lane = (int)threadIdx.x % EC_WARP;
    const uint16_t *query = queries + (lane / 8 % 2 * 8 + lane % 8) * step + lane / 16 * 8;
    const uint16_t *key = keys + (lane / 16 * 8 + lane % 8) * step + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) score[n][e] = 0.f;
    for (int c = 0; c < width; c += TILE) {
        uint32_t a[4], b[4];
        ec__load_matrices(a, query + c);
#pragma unroll
        for (int p = 0; p < KEYS / TILE; p++) {
            ec__load_matrices(b, key + p * TILE * step + c);
            ec__mma_bf16(score[2 * p], a, b[0], b[1]);
            ec__mma_bf16(score[2 * p + 1], a, b[2], b[3]);
        }
    }
}

/* Over the four lanes that share a row. */
__device__ inline float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(EC_ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(EC_ALL_LANES, x, 2));
}

__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(EC_ALL_LANES, x, 1);
    return x + __shfl_xor_sync(EC_ALL_LANES, x, 2);
}

/* Turns the scores of `left` keys (those behind them count for nothing) into weights relative to the largest so far.
 * before[h]: what row half h's earlier sums are to be multiplied with. */
__device__ inline void soften(float score[KEYS / 8][4], int left, float factor, float most[HALVES], float total[HALVES],
                              float before[HALVES]) {
    const int t = (int)threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        float top = most[h], sum = 0.f;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 2 * h; e < 2 * h + 2; e++) {
                if (n * 8 + 2 * t + e % 2 >= left) score[n][e] = -INFINITY;
                top = fmaxf(top, score[n][e]);
            }
        top = row_max(top);
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 2 * h; e < 2 * h + 2; e++) sum += score[n][e] = ec__exp2((score[n][e] - top) * factor);
        before[h] = ec__exp2((most[h] - top) * factor);
        total[h] = fmaf(total[h], before[h], row_sum(sum));
        most[h] = top;
    }
}

/* sum[n] += weights times columns 8 n .. 8 n + 7 of the values. */
template <int N>
__device__ inline void add_values(const float weight[KEYS / 8][4], const uint16_t *values, int step, int width,
                                  float sum[N][4]) {
    const int lane = (int)threadIdx.x % EC_WARP;
    const uint16_t *value = values + (lane / 8 % 2 * 8 + lane % 8) * step + lane / 16 * 8;
#pragma unroll
    for (int p = 0; p < KEYS / TILE; p++) {
        const float *left = weight[2 * p], *right = weight[2 * p + 1];
        const uint32_t a[4] = {ec__bf16_pair(left[0], left[1]), ec__bf16_pair(left[2], left[3]),
                               ec__bf16_pair(right[0], right[1]), ec__bf16_pair(right[2], right[3])};
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t b[4];
            if (n * 8 >= width) continue;
            ec__load_matrices_transposed(b, value + p * TILE * step + n * 8);
            ec__mma_bf16(sum[n], a, b[0], b[1]);
            ec__mma_bf16(sum[n + 1], a, b[2], b[3]);
        }
    }
}

/* N: eights of columns of a head, at most. */
template <int N>
__global__ void __launch_bounds__(THREADS) attention_bf16_kernel(ec_attention d, const float *qkv, uint16_t *y) {
    EC_DYNAMIC_SHARED(uint16_t, shared);
    const int lane = (int)threadIdx.x % EC_WARP, warp = (int)threadIdx.x / EC_WARP, w = d.head_width, step = w + PAD;
    const int64_t wide = (int64_t)d.heads * w, first_row = (int64_t)blockIdx.z * d.tokens;
    const float *q = qkv + first_row * 3 * wide + (int64_t)blockIdx.y * w;
    const int first = (int)blockIdx.x * QUERIES;
    const float factor = d.scale * 1.44269504f; /* log2(e): powers of two are what the device makes */
    uint16_t *queries = shared, *keys = queries + QUERIES * step, *values = keys + KEYS * step;
    float most[HALVES] = {-INFINITY, -INFINITY}, total[HALVES] = {}, before[HALVES], sum[N][4] = {};
    bring(queries, step, q, 3 * wide, w, first, QUERIES, d.tokens);
    for (int at = 0; at < d.tokens; at += KEYS) {
        float score[KEYS / 8][4];
        __syncthreads(); /* the last keys and values have been used */
        bring(keys, step, q + wide, 3 * wide, w, at, KEYS, d.tokens);
        bring(values, step, q + 2 * wide, 3 * wide, w, at, KEYS, d.tokens);
        __syncthreads();
        multiply_keys(queries + warp * TILE * step, keys, step, w, score);
        soften(score, d.tokens - at, factor, most, total, before);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) sum[n][e] *= before[e / 2];
        add_values<N>(score, values, step, w, sum);
    }
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        const int row = first + warp * TILE + lane / 4 + 8 * h;
        uint16_t *to = y + (first_row + row) * wide + (int64_t)blockIdx.y * w + lane % 4 * 2;
        if (row >= d.tokens) continue;
#pragma unroll
        for (int n = 0; n < N; n++)
            if (n * 8 < w)
                *reinterpret_cast<uint32_t *>(to + n * 8) =
                    ec__bf16_pair(sum[n][2 * h] / total[h], sum[n][2 * h + 1] / total[h]);
    }
}

size_t shared_bytes(int32_t w) { return sizeof(uint16_t) * (size_t)(QUERIES + 2 * KEYS) * (size_t)(w + PAD); }

template <int N> ec_status attend(ec_stream *stream, const ec_attention *d, const float *qkv, void *y) {
    const dim3 grid((unsigned)((d->tokens + QUERIES - 1) / QUERIES), (unsigned)d->heads, (unsigned)d->batch);
    EC_RETURN_IF(EC_SHARED_BYTES(attention_bf16_kernel<N>, shared_bytes(8 * N)));
    return EC_LAUNCH(attention_bf16_kernel<N>, grid, THREADS, shared_bytes(d->head_width), stream, *d, qkv,
                     static_cast<uint16_t *>(y));
}

} // namespace

ec_status ec__cuda_attention_bf16(ec_stream *stream, const ec_attention *desc, const float *qkv, void *y) {
    if (desc->head_width <= 64) return attend<8>(stream, desc, qkv, y);
    if (desc->head_width <= 128) return attend<16>(stream, desc, qkv, y);
    return attend<32>(stream, desc, qkv, y);
}
