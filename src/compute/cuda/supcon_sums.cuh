/* What the kernels that make sums of powers share: sums with shifts of their own, where sums go, and sums over the rows
 * of a fragment. */
#ifndef EC_COMPUTE_CUDA_SUPCON_SUMS_CUH
#define EC_COMPUTE_CUDA_SUPCON_SUMS_CUH

#include "compute/cuda/launch.h"
#include "compute/cuda/mma.cuh"
#include "compute/cuda/supcon.h"

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

/* Where sums of own rows go. total NULL: those over each strip to a place of their own, (strips, B). Else (B): sum gets
 * those over one strip, and total those over the strips before. shift, total_shift: where rows have their own. */
struct sums_place {
    double *sum;
    float *shift;
    double *total;
    float *total_shift;
};

/* Adds to the sum of an own row over a strip; is_first: nothing was added to it before. */
template <bool ROW_SHIFT>
static __device__ __forceinline__ void keep_sum(const sums_place &to, int strip, int rows, int own, bool is_first,
                                                shifted part) {
    const int64_t at = to.total ? own : (int64_t)strip * rows + own;
    if (!ROW_SHIFT) {
        if (is_first && to.total) to.total[own] += to.sum[at];
        to.sum[at] = is_first ? part.sum : to.sum[at] + part.sum;
        return;
    }
    if (is_first && to.total) {
        const shifted total = merged({to.total[own], to.total_shift[own]}, {to.sum[at], to.shift[at]});
        to.total[own] = total.sum;
        to.total_shift[own] = total.shift;
    }
    if (!is_first) part = merged({to.sum[at], to.shift[at]}, part);
    to.sum[at] = part.sum;
    to.shift[at] = part.shift;
}

/* A row's sum over a strip is put together of parts. Where the part begins and ends that has the terms of a column. */
static __device__ __forceinline__ int part_begin(int column, int strip) {
    return max(column / EC_SUPCON_CUDA_STEP * EC_SUPCON_CUDA_STEP, column / strip * strip);
}

static __device__ __forceinline__ int part_end(int column, int strip) {
    return min((column / EC_SUPCON_CUDA_STEP + 1) * EC_SUPCON_CUDA_STEP, (column / strip + 1) * strip);
}

/* Does a part that begins there begin the row's sum over a strip? same: a modality with itself, whose rows of tiles
 * begin on the diagonal. */
static __device__ __forceinline__ bool begins_strip(int column, int row, bool same, int strip) {
    return column % strip == 0 || (same && column == row);
}

/* Where the sums of one side of a block of the matrix go; those of rows (0) have this direction in a stream. */
static inline sums_place sums_place_of(const ec_supcon_cuda *plan, int32_t side, int32_t direction) {
    const int64_t at = (int64_t)direction * plan->rows;
    if (!plan->block) return {plan->strip_sum[side], plan->strip_shift[side], NULL, NULL};
    return {plan->strip_sum[0] + at, plan->strip_shift[0] + at, plan->strip_sum[1] + at, plan->strip_shift[1] + at};
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
