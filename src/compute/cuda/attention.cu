/* Attention of one head without its projections: scores, softmax and the weighted sum of values in one kernel; the
 * matrix of scores is never stored.
 *
 * A block takes QUERIES queries of a head and walks over its keys and values, KEYS at a time, in shared memory. A warp
 * has MINE queries: for the scores a lane has one key, for the sums it has columns of the values. The softmax is made
 * on the way (largest score so far, sum so far; Milakov and Gimelshein 2018), always over the same groups of keys: a
 * row depends on its image alone. Everything is float32. */
#include "compute/cuda/launch.h"

#include "compute/cuda/device.cuh"
#include "compute/cuda/encoder.h"

namespace {

enum { WARPS = 4, THREADS = WARPS * EC_WARP, MINE = 8, QUERIES = WARPS * MINE, KEYS = EC_WARP, PAD = 4 };

struct head_rows {
    const float *q, *k, *v; /* first token of the image, first column of the head */
    int64_t ld;
    int tokens, width;
};

/* Rows first .. first + count - 1 of x into shared memory, `step` floats apart, zeros behind the last token. */
__device__ inline void bring(float *to, int step, const float *x, const head_rows &h, int first, int count) {
    const int fours = h.width / 4;
    for (int i = (int)threadIdx.x; i < count * fours; i += THREADS) {
        const int row = i / fours, column = i % fours * 4;
        ec_pack<4> p = ec_zeros<4>();
        if (first + row < h.tokens) p = ec_load<4>(x + (first + row) * h.ld + column);
        ec_store<4>(to + row * step + column, p);
    }
}

/* score[i] = query i of the warp times the lane's key. */
__device__ inline void multiply_key(const float *queries, const float *key, int width, float score[MINE]) {
#pragma unroll
    for (int i = 0; i < MINE; i++) score[i] = 0.f;
    for (int c = 0; c < width; c += 4) {
        const ec_pack<4> k = ec_load<4>(key + c);
#pragma unroll
        for (int i = 0; i < MINE; i++) {
            const ec_pack<4> q = ec_load<4>(queries + i * width + c);
#pragma unroll
            for (int e = 0; e < 4; e++) score[i] = fmaf(q.v[e], k.v[e], score[i]);
        }
    }
}

/* sum[i][n] += the weights of query i times column lane + 32 n of the values. */
template <int N>
__device__ inline void add_values(const float *weight, const float *values, int width, float sum[MINE][N]) {
    for (int j = 0; j < KEYS; j += 4) {
        float v[4][N];
#pragma unroll
        for (int e = 0; e < 4; e++)
#pragma unroll
            for (int n = 0; n < N; n++) {
                const int column = (int)threadIdx.x % EC_WARP + n * EC_WARP;
                v[e][n] = column < width ? values[(j + e) * width + column] : 0.f;
            }
#pragma unroll
        for (int i = 0; i < MINE; i++) {
            const ec_pack<4> w = ec_load<4>(weight + i * KEYS + j);
#pragma unroll
            for (int e = 0; e < 4; e++)
#pragma unroll
                for (int n = 0; n < N; n++) sum[i][n] = fmaf(w.v[e], v[e][n], sum[i][n]);
        }
    }
}

/* N: columns of a head that a lane sums up. */
template <int N>
__global__ void __launch_bounds__(THREADS) attention_kernel(ec_attention d, const float *qkv, float *y) {
    EC_DYNAMIC_SHARED(float, shared);
    const int lane = (int)threadIdx.x % EC_WARP, warp = (int)threadIdx.x / EC_WARP, w = d.head_width;
    const int64_t wide = (int64_t)d.heads * w, first_row = (int64_t)blockIdx.z * d.tokens;
    const float *start = qkv + first_row * 3 * wide + (int64_t)blockIdx.y * w;
    const head_rows h = {start, start + wide, start + 2 * wide, 3 * wide, d.tokens, w};
    const int first = (int)blockIdx.x * QUERIES, mine = warp * MINE;
    float *queries = shared, *keys = queries + QUERIES * w, *values = keys + KEYS * (w + PAD);
    float *weight = values + KEYS * w + mine * KEYS;
    float most[MINE], total[MINE], sum[MINE][N];
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        most[i] = -INFINITY;
        total[i] = 0.f;
#pragma unroll
        for (int n = 0; n < N; n++) sum[i][n] = 0.f;
    }
    bring(queries, w, h.q, h, first, QUERIES);
    for (int at = 0; at < d.tokens; at += KEYS) {
        float score[MINE];
        __syncthreads(); /* the last keys and values have been used */
        bring(keys, w + PAD, h.k, h, at, KEYS);
        bring(values, w, h.v, h, at, KEYS);
        __syncthreads();
        multiply_key(queries + mine * w, keys + lane * (w + PAD), w, score);
#pragma unroll
        for (int i = 0; i < MINE; i++) {
            if (at + lane >= d.tokens) score[i] = -INFINITY;
            const float top = fmaxf(most[i], ec_warp_max(score[i]));
            const float p = expf((score[i] - top) * d.scale), before = expf((most[i] - top) * d.scale);
            total[i] = fmaf(total[i], before, ec_warp_sum(p));
            most[i] = top;
            weight[i * KEYS + lane] = p;
#pragma unroll
            for (int n = 0; n < N; n++) sum[i][n] *= before;
        }
        __syncwarp();
        add_values<N>(weight, values, w, sum);
    }
#pragma unroll
    for (int i = 0; i < MINE; i++)
#pragma unroll
        for (int n = 0; n < N; n++) {
            const int row = first + mine + i, column = lane + n * EC_WARP;
            if (row < d.tokens && column < w)
                y[(first_row + row) * wide + (int64_t)blockIdx.y * w + column] = sum[i][n] / total[i];
        }
}

size_t shared_bytes(int32_t w) {
    return sizeof(float) * (size_t)(QUERIES * w + KEYS * (w + PAD) + KEYS * w + QUERIES * KEYS);
}

template <int N> ec_status attend(ec_stream *stream, const ec_attention *d, const float *qkv, float *y) {
    const dim3 grid((unsigned)((d->tokens + QUERIES - 1) / QUERIES), (unsigned)d->heads, (unsigned)d->batch);
    EC_RETURN_IF(EC_SHARED_BYTES(attention_kernel<N>, shared_bytes(N * EC_WARP)));
    return EC_LAUNCH(attention_kernel<N>, grid, THREADS, shared_bytes(d->head_width), stream, *d, qkv, y);
}

} // namespace

ec_status ec__cuda_attention(ec_backend *, ec_stream *stream, const ec_attention *desc, const float *qkv, void *y) {
    if (desc->head_width % 16 != 0 || desc->head_width > 256)
        return EC_ERROR(EC_ERR_USAGE, "attention heads of width %d; a multiple of 16 up to 256 is needed",
                        desc->head_width);
    if (!ec_in_fours(4, qkv, static_cast<const float *>(y)))
        return EC_ERROR(EC_ERR_USAGE, "attention on rows that are not aligned to 16 bytes");
    if (desc->batch == 0 || desc->tokens == 0) return EC_OK;
    if (desc->y_precision == EC_PRECISION_BF16) return ec__cuda_attention_bf16(stream, desc, qkv, y);
    float *to = static_cast<float *>(y);
    if (desc->head_width <= EC_WARP) return attend<1>(stream, desc, qkv, to);
    if (desc->head_width <= 2 * EC_WARP) return attend<2>(stream, desc, qkv, to);
    if (desc->head_width <= 4 * EC_WARP) return attend<4>(stream, desc, qkv, to);
    return attend<8>(stream, desc, qkv, to);
}
