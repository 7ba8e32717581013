/* The language of kernels, for the emulation: what nvcc knows without being told. */
#ifndef CUEMU_CUDA_RUNTIME_H
#define CUEMU_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"

#ifdef __cplusplus
#include <math.h>
#include <stdint.h>

#include <algorithm>
#include <cmath>

#include "cuemu.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static /* blocks run one after another, so one copy is enough */
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __grid_constant__
#define warpSize 32

#define threadIdx (cuemu::place->thread)
#define blockIdx (cuemu::place->block)
#define blockDim (cuemu::place->block_size)
#define gridDim (cuemu::place->grid_size)

static inline void __syncthreads() { cuemu::block_barrier(cuemu::Barrier::plain, 0); }
static inline int __syncthreads_or(int p) { return cuemu::block_barrier(cuemu::Barrier::any, p); }
static inline int __syncthreads_and(int p) { return cuemu::block_barrier(cuemu::Barrier::all, p); }
static inline int __syncthreads_count(int p) { return cuemu::block_barrier(cuemu::Barrier::count, p); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}

static inline void __syncwarp(unsigned mask = 0xffffffffu) { cuemu::warp_operation(mask, cuemu::Warp::sync, 0, 0, 32); }
static inline unsigned __ballot_sync(unsigned mask, int p) {
    return (unsigned)cuemu::warp_operation(mask, cuemu::Warp::ballot, p != 0, 0, 32);
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, p) == mask; }
template <class T> T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    return cuemu::shuffle(mask, cuemu::Warp::index, value, (unsigned)lane, width);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int other, int width = 32) {
    return cuemu::shuffle(mask, cuemu::Warp::exchange, value, (unsigned)other, width);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return cuemu::shuffle(mask, cuemu::Warp::down, value, by, width);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return cuemu::shuffle(mask, cuemu::Warp::up, value, by, width);
}

/* Fibers take turns only at barriers and warp operations, so plain reads and writes are atomic. */
template <class T> T atomicAdd(T *at, T value) {
    T old = *at;
    *at = old + value;
    return old;
}
template <class T> T atomicMax(T *at, T value) {
    T old = *at;
    if (value > old) *at = value;
    return old;
}
template <class T> T atomicMin(T *at, T value) {
    T old = *at;
    if (value < old) *at = value;
    return old;
}
template <class T> T atomicExch(T *at, T value) {
    T old = *at;
    *at = value;
    return old;
}
template <class T> T atomicCAS(T *at, T expected, T value) {
    T old = *at;
    if (old == expected) *at = value;
    return old;
}
template <class T> T atomicOr(T *at, T value) {
    T old = *at;
    *at = old | value;
    return old;
}

using std::max;
using std::min;

template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> void __stcs(T *p, T value) { *p = value; }
template <class T> void __stcg(T *p, T value) { *p = value; }

static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
static inline double rsqrt(double x) { return 1. / sqrt(x); }
#define __expf(x) expf(x) /* the C library declares functions of these names */
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1.f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fdiv_rn(float a, float b) { return a / b; }
/* A result that is rounded here, and not part of a multiply-add, which other products and sums may become. */
static inline float cuemu_rounded(float x) {
#ifdef __x86_64__
    asm("" : "+x"(x));
#else
    asm("" : "+m"(x));
#endif
    return x;
}
static inline float __fadd_rn(float a, float b) { return cuemu_rounded(cuemu_rounded(a) + cuemu_rounded(b)); }
static inline float __fsub_rn(float a, float b) { return cuemu_rounded(cuemu_rounded(a) - cuemu_rounded(b)); }
static inline float __fmul_rn(float a, float b) { return cuemu_rounded(a * b); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }

static inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
static inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
static inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
static inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
static inline long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
static inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
#endif

#endif
