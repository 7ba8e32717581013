/* What the kernels that make sums of powers share: sums with shifts of their own, and sums over the rows of a
 * fragment. */
#ifndef EC_COMPUTE_CUDA_SUPCON_SUMS_CUH
#define EC_COMPUTE_CUDA_SUPCON_SUMS_CUH

#include "compute/cuda/launch.h"
#include "compute/cuda/mma.cuh"

constexpr int COLUMNS = 16; /* that a thread has values of at a time: 2 of each of 8 times 8 */

/* A sum of powers beside the shift that it was made with. */
struct shifted {
    double sum;
    float shift;
};

static __device__ __forceinline__ shifted merged(shifted a, shifted b) {
    const float top = fmaxf(a.shift, b.shift);
    return {a.sum * (double)ec__exp2(a.shift - top) + b.sum * (double)ec__exp2(b.shift - top), top};
}

/* Sums v over the 8 values of g, element by element. Lane g ends with elements 2 g' and 2 g' + 1 in v[0] and v[1], g'
 * the bits of g in reverse. */
template <int HALF, int BIT>
static __device__ __forceinline__ void add_half(float v[COLUMNS], int g) {
    const bool upper = g & BIT;
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        const float away = upper ? v[i] : v[i + HALF], kept = upper ? v[i + HALF] : v[i];
        v[i] = kept + __shfl_xor_sync(0xffffffffu, away, BIT * 4);
    }
}

static __device__ __forceinline__ void add_over_g(float v[COLUMNS], int g) {
    add_half<8, 1>(v, g);
    add_half<4, 2>(v, g);
    add_half<2, 4>(v, g);
}

/* The same elements, of values that are equal in all g. */
template <int HALF>
static __device__ __forceinline__ void pick_half(float v[COLUMNS], bool upper) {
#pragma unroll
    for (int i = 0; i < HALF; i++) v[i] = upper ? v[i + HALF] : v[i];
}

static __device__ __forceinline__ void pick_of_g(float v[COLUMNS], int g) {
    pick_half<8>(v, g & 1);
    pick_half<4>(v, g & 2);
    pick_half<2>(v, g & 4);
}

/* Which of the eights of columns lane g ends with. */
static __device__ __forceinline__ int eight_of_g(int g) { return (g & 1) * 4 + (g & 2) + g / 4; }

#endif
