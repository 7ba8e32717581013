/* ops_encoder.h on a GPU: the table, and the operations that only move and scale numbers. */
#include "compute/cuda/launch.h"

#include <math.h>

#include "compute/cuda/device.cuh"
#include "compute/cuda/encoder.h"

namespace {

enum { THREADS = 256, WARPS = THREADS / EC_WARP, MOST_BLOCKS = 16384 };

using bf16 = __nv_bfloat16;

/* V neighbouring numbers as float32 from and to either precision; 4 are one access. */
template <int V> __device__ inline ec_pack<V> load_as(const float *from) { return ec_load<V>(from); }
template <int V> __device__ inline void store_as(float *to, const ec_pack<V> &p) { ec_store<V>(to, p); }

template <int V> __device__ inline ec_pack<V> load_as(const bf16 *from) {
    ec_pack<V> p;
    if constexpr (V == 4) {
        const uint2 bits = *reinterpret_cast<const uint2 *>(from);
        p.v[0] = __uint_as_float(bits.x << 16), p.v[1] = __uint_as_float(bits.x & 0xffff0000u);
        p.v[2] = __uint_as_float(bits.y << 16), p.v[3] = __uint_as_float(bits.y & 0xffff0000u);
    } else {
        for (int i = 0; i < V; i++) p.v[i] = __bfloat162float(from[i]);
    }
    return p;
}

__device__ inline unsigned two_bf16(float low, float high) {
    return (unsigned)__bfloat16_as_ushort(__float2bfloat16(low)) |
           (unsigned)__bfloat16_as_ushort(__float2bfloat16(high)) << 16;
}

template <int V> __device__ inline void store_as(bf16 *to, const ec_pack<V> &p) {
    if constexpr (V == 4) {
        *reinterpret_cast<uint2 *>(to) = make_uint2(two_bf16(p.v[0], p.v[1]), two_bf16(p.v[2], p.v[3]));
    } else {
        for (int i = 0; i < V; i++) to[i] = __float2bfloat16(p.v[i]);
    }
}

/* Kernels of both output precisions, of four numbers at a time or one: calls with<type, V>(). */
template <class Call> ec_status with_precision(ec_precision precision, bool fours, Call call) {
    if (precision == EC_PRECISION_BF16)
        return fours ? call(static_cast<bf16 *>(nullptr), std::integral_constant<int, 4>())
                     : call(static_cast<bf16 *>(nullptr), std::integral_constant<int, 1>());
    return fours ? call(static_cast<float *>(nullptr), std::integral_constant<int, 4>())
                 : call(static_cast<float *>(nullptr), std::integral_constant<int, 1>());
}

__device__ inline int64_t first_piece() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline int64_t next_piece() { return (int64_t)gridDim.x * blockDim.x; }

unsigned blocks_for(int64_t pieces) { return ec__cuda_blocks(pieces, THREADS, MOST_BLOCKS); }

struct patch_shape {
    int channels, height, width, patch, down, across;
};

template <class T, int V>
__global__ void __launch_bounds__(THREADS) patches_kernel(int64_t pieces, patch_shape s, const float *images, T *y) {
    for (int64_t piece = first_piece(); piece < pieces; piece += next_piece()) {
        int64_t rest = piece * V;
        const int column = (int)(rest % s.patch);
        const int row = (int)((rest /= s.patch) % s.patch);
        const int channel = (int)((rest /= s.patch) % s.channels);
        const int left = (int)((rest /= s.channels) % s.across);
        const int top = (int)((rest /= s.across) % s.down);
        const int64_t map = rest / s.down * s.channels + channel;
        const int64_t from = (map * s.height + top * s.patch + row) * s.width + left * s.patch + column;
        store_as<V>(y + piece * V, ec_load<V>(images + from));
    }
}

ec_status patches(ec_backend *, ec_stream *stream, int32_t batch, int32_t channels, int32_t height, int32_t width,
                  int32_t patch, ec_precision y_precision, const float *images, void *y) {
    const patch_shape shape = {channels, height, width, patch, height / patch, width / patch};
    const int64_t count = (int64_t)batch * channels * shape.down * patch * shape.across * patch;
    if (count == 0) return EC_OK;
    return with_precision(y_precision, patch % 4 == 0 && ec_in_fours(width, images, (const float *)y),
                          [&](auto *type, auto v) {
                              using T = std::remove_pointer_t<decltype(type)>;
                              return EC_LAUNCH((patches_kernel<T, v>), blocks_for(count / v), THREADS, 0, stream,
                                               count / v, shape, images, static_cast<T *>(y));
                          });
}

template <int V>
__global__ void __launch_bounds__(THREADS) tokens_kernel(int64_t pieces, int t, int w, const float *patch,
                                                         const float *first, const float *position, float *y) {
    for (int64_t piece = first_piece(); piece < pieces; piece += next_piece()) {
        const int64_t row = piece * V / w, image = row / t;
        const int column = (int)(piece * V % w), token = (int)(row % t);
        const float *from = token == 0 ? first : patch + (row - image - 1) * w;
        ec_pack<V> p = ec_load<V>(from + column);
        const ec_pack<V> q = ec_load<V>(position + (int64_t)token * w + column);
#pragma unroll
        for (int i = 0; i < V; i++) p.v[i] += q.v[i];
        ec_store<V>(y + row * w + column, p);
    }
}

ec_status tokens(ec_backend *, ec_stream *stream, int32_t batch, int32_t t, int32_t w, const float *patch,
                 const float *first, const float *position, float *y) {
    const int64_t count = (int64_t)batch * t * w;
    if (count == 0) return EC_OK;
    if (ec_in_fours(w, patch, first, position, y))
        return EC_LAUNCH(tokens_kernel<4>, blocks_for(count / 4), THREADS, 0, stream, count / 4, t, w, patch, first,
                         position, y);
    return EC_LAUNCH(tokens_kernel<1>, blocks_for(count), THREADS, 0, stream, count, t, w, patch, first, position, y);
}

struct norm_vectors {
    const float *gain, *offset;
    float eps;
};

/* A warp a row, which stays in the nearest cache: mean, then the variance of the differences, then the result. */
template <class T, int V>
__global__ void __launch_bounds__(THREADS) layernorm_kernel(int m, int w, int ldx, norm_vectors n, const float *rows,
                                                            T *y) {
    const int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.y;
    if (row >= m) return;
    const float *x = rows + row * ldx;
    float sum = 0.f, square = 0.f;
    for (int i = (int)threadIdx.x * V; i < w; i += EC_WARP * V) {
        const ec_pack<V> p = ec_load<V>(x + i);
#pragma unroll
        for (int k = 0; k < V; k++) sum += p.v[k];
    }
    const float mean = ec_warp_sum(sum) / (float)w;
    for (int i = (int)threadIdx.x * V; i < w; i += EC_WARP * V) {
        const ec_pack<V> p = ec_load<V>(x + i);
#pragma unroll
        for (int k = 0; k < V; k++) square = fmaf(p.v[k] - mean, p.v[k] - mean, square);
    }
    const float scale = 1.f / sqrtf(ec_warp_sum(square) / (float)w + n.eps);
    for (int i = (int)threadIdx.x * V; i < w; i += EC_WARP * V) {
        const ec_pack<V> gain = ec_load<V>(n.gain + i), offset = ec_load<V>(n.offset + i);
        ec_pack<V> p = ec_load<V>(x + i);
#pragma unroll
        for (int k = 0; k < V; k++) p.v[k] = fmaf((p.v[k] - mean) * scale, gain.v[k], offset.v[k]);
        store_as<V>(y + row * w + i, p);
    }
}

ec_status layernorm(ec_backend *, ec_stream *stream, int32_t m, int32_t w, int32_t ldx, float eps, const float *x,
                    const float *gain, const float *offset, ec_precision y_precision, void *y) {
    if (w % 16 != 0) return EC_ERROR(EC_ERR_USAGE, "rows of %d numbers; LayerNorm takes multiples of 16", w);
    if (m == 0) return EC_OK;
    const norm_vectors vectors = {gain, offset, eps};
    const dim3 block(EC_WARP, WARPS);
    const unsigned blocks = (unsigned)((m + WARPS - 1) / WARPS);
    return with_precision(y_precision, ec_in_fours(ldx, x, gain, offset, (const float *)y), [&](auto *type, auto v) {
        using T = std::remove_pointer_t<decltype(type)>;
        return EC_LAUNCH((layernorm_kernel<T, v>), blocks, block, 0, stream, m, w, ldx, vectors, x,
                         static_cast<T *>(y));
    });
}

__device__ inline float activated(float x, int activation) {
    switch (activation) {
    case EC_ACT_RELU: return x < 0.f ? 0.f : x; /* a NaN stays */
    case EC_ACT_GELU: return 0.5f * x * (1.f + erff(x * 0.70710678f));
    case EC_ACT_QUICK_GELU: return x / (1.f + expf(-1.702f * x));
    default: return x;
    }
}

struct rows_shape {
    int64_t pieces;
    int pieces_of_row, ldy;
};

template <class T, int V>
__global__ void __launch_bounds__(THREADS) bias_activation_kernel(rows_shape s, const float *bias, int activation,
                                                                  T *y) {
    for (int64_t piece = first_piece(); piece < s.pieces; piece += next_piece()) {
        const int column = (int)(piece % s.pieces_of_row) * V;
        T *at = y + piece / s.pieces_of_row * s.ldy + column;
        ec_pack<V> p = load_as<V>(at), b = ec_zeros<V>();
        if (bias) b = ec_load<V>(bias + column);
#pragma unroll
        for (int i = 0; i < V; i++) p.v[i] = activated(p.v[i] + b.v[i], activation);
        store_as<V>(at, p);
    }
}

/* A warp a map. */
__global__ void __launch_bounds__(THREADS) pool_kernel(int64_t maps, int area, bool largest, const float *x, float *y) {
    const int64_t map = (int64_t)blockIdx.x * WARPS + threadIdx.y;
    if (map >= maps) return;
    const float *from = x + map * area;
    double sum = 0;
    float most = from[0];
    for (int i = (int)threadIdx.x; i < area; i += EC_WARP) {
        const float value = from[i];
        sum += value;
        if (value > most || value != value) most = value; /* a NaN wins and stays */
    }
    sum = ec_warp_sum(sum);
    const bool nan = __any_sync(EC_ALL_LANES, most != most) != 0;
    most = ec_warp_max(most);
    if (threadIdx.x == 0) y[map] = !largest ? (float)(sum / area) : nan ? NAN : most;
}

ec_status pool(ec_backend *, ec_stream *stream, const ec_maps *maps, ec_pooling pooling, const float *x, float *y) {
    const int64_t count = (int64_t)maps->batch * maps->channels;
    const unsigned blocks = (unsigned)((count + WARPS - 1) / WARPS);
    if (count == 0) return EC_OK;
    return EC_LAUNCH(pool_kernel, blocks, dim3(EC_WARP, WARPS), 0, stream, count, maps->height * maps->width,
                     pooling == EC_POOL_MAX, x, y);
}

/* A map for each column of blocks. */
__global__ void __launch_bounds__(THREADS) bias_maps_kernel(int channels, int area, const float *bias, bool relu,
                                                            float *y) {
    const int at = (int)(blockIdx.y * THREADS + threadIdx.x);
    if (at >= area) return;
    float *to = y + (int64_t)blockIdx.x * area + at;
    const float value = *to + bias[(int)blockIdx.x % channels];
    *to = relu && value < 0.f ? 0.f : value; /* a NaN stays */
}

template <int V> __global__ void __launch_bounds__(THREADS) to_bf16_kernel(int64_t pieces, const float *x, bf16 *y) {
    for (int64_t piece = first_piece(); piece < pieces; piece += next_piece())
        store_as<V>(y + piece * V, ec_load<V>(x + piece * V));
}

size_t maps_bytes(ec_backend *, const ec_maps *maps) {
    return sizeof(float) * (size_t)maps->batch * (size_t)maps->channels * (size_t)maps->height * (size_t)maps->width;
}

ec_status maps_move(ec_backend *be, ec_stream *stream, const ec_maps *maps, const float *from, float *to) {
    return be->memory->copy(be, stream, to, from, maps_bytes(be, maps));
}

} // namespace

ec_status ec__cuda_bias_activation(ec_stream *stream, int32_t m, int32_t n, int32_t ldy, const float *bias,
                                   ec_activation activation, ec_precision y_precision, void *y) {
    const bool fours = n % 4 == 0 && ec_in_fours(ldy, bias, (const float *)y);
    if (m == 0) return EC_OK;
    return with_precision(y_precision, fours, [&](auto *type, auto v) {
        using T = std::remove_pointer_t<decltype(type)>;
        const rows_shape shape = {(int64_t)m * (n / v), n / v, ldy};
        return EC_LAUNCH((bias_activation_kernel<T, v>), blocks_for(shape.pieces), THREADS, 0, stream, shape, bias,
                         (int)activation, static_cast<T *>(y));
    });
}

ec_status ec__cuda_bias_maps(ec_stream *stream, const ec_maps *maps, const float *bias, bool relu, float *y) {
    const int32_t area = maps->height * maps->width;
    const dim3 grid((unsigned)(maps->batch * maps->channels), (unsigned)((area + THREADS - 1) / THREADS));
    return EC_LAUNCH(bias_maps_kernel, grid, THREADS, 0, stream, maps->channels, area, bias, relu, y);
}

ec_status ec__cuda_to_bf16(ec_stream *stream, int64_t count, const float *x, void *y) {
    bf16 *to = static_cast<bf16 *>(y);
    if (ec_in_fours(count, x, (const float *)y))
        return EC_LAUNCH(to_bf16_kernel<4>, blocks_for(count / 4), THREADS, 0, stream, count / 4, x, to);
    return EC_LAUNCH(to_bf16_kernel<1>, blocks_for(count), THREADS, 0, stream, count, x, to);
}

const ec_encoder_ops ec__cuda_encoder_ops = {
    .linear_new = ec__cuda_linear_new,
    .linear_free = ec__cuda_linear_free,
    .linear = ec__cuda_linear,
    .patches = patches,
    .tokens = tokens,
    .layernorm = layernorm,
    .attention = ec__cuda_attention,
    .conv_new = ec__cuda_conv_new,
    .conv_free = ec__cuda_conv_free,
    .conv = ec__cuda_conv,
    .maps_bytes = maps_bytes,
    .maps_load = maps_move,
    .maps_store = maps_move,
    .pool = pool,
    .spectra_new = ec__cuda_spectra_new,
    .spectra_free = ec__cuda_spectra_free,
    .spectra_bytes = ec__cuda_spectra_bytes,
    .spectra = ec__cuda_spectra,
};
