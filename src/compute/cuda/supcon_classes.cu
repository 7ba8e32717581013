/* The linear part of the loss: class sums and the positives, and from sums to losses and weights.
 *
 * A class's rows of one modality are a group. They ascend in the class order, so those among any rows of the batch
 * that follow each other are a part of the group that lies together. Class sums are added to block by block of rows.
 * With few classes groups are long: the sum over each step of the batch (a fixed number of rows) is made by itself, and
 * then the steps' are added in ascending order; with many, a group's sum is one chain. So how the batch was cut into
 * blocks, whole steps, does not show. All of it in double precision. */
#include "compute/cuda/launch.h"
#include "compute/cuda/supcon.h"

namespace {

constexpr int STEP = EC_SUPCON_CUDA_STEP, STEPS = EC_SUPCON_CUDA_STEPS, TERMS = EC_SUPCON_CUDA_TERMS, THREADS = 256,
              MOST_BLOCKS = 4096;

struct class_lists {
    const int32_t *count, *order, *start, *music;
    int32_t global_rows;
};

/* The class that position i of the order is of. */
__device__ int32_t class_at(const class_lists &lists, int32_t i) {
    int32_t low = 0, high = *lists.count - 1; /* start[low] <= i < start[high + 1] */
    while (low < high) {
        const int32_t middle = low + (high - low + 1) / 2;
        if (lists.start[middle] <= i)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Positions of a class's rows of one modality. */
struct group {
    int32_t begin, end;
};

__device__ __forceinline__ group group_of(const class_lists &lists, int32_t c, int modality) {
    return modality == 0 ? group{lists.start[c], lists.music[c]} : group{lists.music[c], lists.start[c + 1]};
}

struct class_arguments {
    class_lists lists;
    const float *z[2];             /* rows from begin on: of modality, and where there are two of the one after it */
    int32_t modality, begin, rows; /* the block */
    int32_t dim, classes;
    double *class_sum; /* (2, classes, D) */
    double *step_sum;  /* (modalities, STEPS, classes, D) */

    __device__ __forceinline__ double *sum_of(int32_t c, int which) const {
        return class_sum + ((int64_t)(modality + which) * classes + c) * dim;
    }
    __device__ __forceinline__ double *step_of(int32_t c, int which, int step) const {
        return step_sum + (((int64_t)which * STEPS + step) * classes + c) * dim;
    }
};

/* The first position of a group whose row is not below row. */
__device__ int32_t position_of(const class_lists &lists, const group &g, int modality, int32_t row) {
    int32_t low = g.begin, high = g.end;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (lists.order[middle] - modality * lists.global_rows < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Positions of a group's rows from begin to end - 1. */
__device__ group group_within(const class_arguments &p, int32_t c, int which, int32_t begin, int32_t end) {
    const group whole = group_of(p.lists, c, p.modality + which);
    return {position_of(p.lists, whole, p.modality + which, begin), position_of(p.lists, whole, p.modality + which, end)};
}

/* sum and what follows it: column k of the rows at these positions, one after the other. */
__device__ double add_positions(const class_arguments &p, int which, const group &g, int32_t k, double sum) {
    const float *z = p.z[which] + k;
    const int32_t base = (p.modality + which) * p.lists.global_rows + p.begin;
#pragma unroll 8
    for (int32_t i = g.begin; i < g.end; i++) sum += (double)z[(int64_t)(p.lists.order[i] - base) * p.dim];
    return sum;
}

/* Few classes: a block of threads a class and a step of at most STEPS, which begin with row begin. */
__global__ void step_kernel(const __grid_constant__ class_arguments p, int32_t begin) {
    const int32_t c = (int32_t)blockIdx.x, step = (int32_t)blockIdx.y, which = (int32_t)blockIdx.z;
    if (c >= *p.lists.count) return;
    const int32_t first = begin + step * STEP;
    const group g = group_within(p, c, which, first, min(p.begin + p.rows, first + STEP));
    double *to = p.step_of(c, which, step);
    for (int32_t k = (int32_t)threadIdx.x; k < p.dim; k += (int32_t)blockDim.x) to[k] = add_positions(p, which, g, k, 0);
}

__global__ void add_steps_kernel(const __grid_constant__ class_arguments p, int32_t begin, int32_t steps) {
    const int32_t c = (int32_t)blockIdx.x, which = (int32_t)blockIdx.y;
    if (c >= *p.lists.count) return;
    double *to = p.sum_of(c, which);
    for (int32_t k = (int32_t)threadIdx.x; k < p.dim; k += (int32_t)blockDim.x) {
        double sum = begin == 0 ? 0 : to[k];
        for (int32_t step = 0; step < steps; step++) sum += p.step_of(c, which, step)[k];
        to[k] = sum;
    }
}

/* Many classes. */
__global__ void class_kernel(const __grid_constant__ class_arguments p) {
    const int32_t which = (int32_t)blockIdx.y;
    for (int32_t c = (int32_t)blockIdx.x; c < *p.lists.count; c += (int32_t)gridDim.x) {
        const group g = group_within(p, c, which, p.begin, p.begin + p.rows);
        double *to = p.sum_of(c, which);
        if (g.begin == g.end && p.begin > 0) continue;
        for (int32_t k = (int32_t)threadIdx.x; k < p.dim; k += (int32_t)blockDim.x)
            to[k] = add_positions(p, which, g, k, p.begin == 0 ? 0 : to[k]);
    }
}

struct positive_arguments {
    class_lists lists;
    const float *z[2]; /* own rows */
    int32_t dim, first, rows, classes;
    const double *class_sum; /* (2, classes, D) */
    double coefficient[EC_SUPCON_DIRECTIONS];
    double *positive; /* (4, B) */
    float *grad[2];
};

__device__ __forceinline__ double sum_of_warp(double x) {
    for (int other = EC_WARP / 2; other > 0; other /= 2) x += __shfl_xor_sync(0xffffffffu, x, other);
    return x;
}

/* A warp an own row: positions of the order that are not owned are passed over. */
__global__ void positive_kernel(const __grid_constant__ positive_arguments p) {
    const unsigned position = blockIdx.x * (blockDim.x / EC_WARP) + threadIdx.x / EC_WARP;
    const int lane = threadIdx.x % EC_WARP;
    if (position >= 2 * (unsigned)p.lists.global_rows) return;
    const int32_t i = (int32_t)position;
    const int32_t c = class_at(p.lists, i);
    const int modality = i < p.lists.music[c] ? 0 : 1;
    const int32_t row = p.lists.order[i] - modality * p.lists.global_rows, own = row - p.first;
    if (own < 0 || own >= p.rows) return;

    const group mine = group_of(p.lists, c, modality), others = group_of(p.lists, c, 1 - modality);
    const int32_t mine_count = mine.end - mine.begin, other_count = others.end - others.begin;
    const double *own_sum = p.class_sum + ((int64_t)modality * p.classes + c) * p.dim;
    const double *other_sum = p.class_sum + ((int64_t)(1 - modality) * p.classes + c) * p.dim;
    /* As an anchor a row pulls towards the mean of its positives; as a positive it is pulled by every anchor of its
     * class. */
    const double by_intra = mine_count > 1 ? 2 * p.coefficient[modality] / (mine_count - 1) : 0;
    const double by_cross =
        other_count > 0 ? p.coefficient[2 + modality] / other_count + p.coefficient[3 - modality] / mine_count : 0;

    const float *z = p.z[modality] + (int64_t)own * p.dim;
    float *grad = p.grad[modality] + (int64_t)own * p.dim;
    double with_own = 0, with_other = 0, square = 0;
    for (int32_t k = lane; k < p.dim; k += EC_WARP) {
        const double x = (double)z[k];
        with_own += x * own_sum[k];
        with_other += x * other_sum[k];
        square += x * x;
        grad[k] = (float)by_intra * z[k] - (float)(by_intra * own_sum[k] + by_cross * other_sum[k]);
    }
    with_own = sum_of_warp(with_own);
    with_other = sum_of_warp(with_other);
    square = sum_of_warp(square);
    if (lane != 0) return;
    p.positive[(int64_t)modality * p.rows + own] = mine_count > 1 ? (with_own - square) / (mine_count - 1) : 0;
    p.positive[(int64_t)(2 + modality) * p.rows + own] = other_count > 0 ? with_other / other_count : 0;
}

struct weight_arguments {
    class_lists lists;
    int32_t rows; /* B */
    bool row_shift;
    float shared_shift;
    double inverse_t;
    double coefficient[EC_SUPCON_DIRECTIONS];
    const char *pieces;
    size_t piece_bytes;
    float *weight, *shift; /* (4, G) */
    double *term_sum;      /* (4, blocks) */
    double *loss;          /* (4) */
};

/* Writes the weight and the shift of a row in direction d; its term of the loss. */
__device__ double weigh_row(const weight_arguments &p, int d, int32_t row, bool has_positive) {
    const int32_t rank = row / p.rows;
    const double *sum = (const double *)(p.pieces + (int64_t)rank * (int64_t)p.piece_bytes);
    const double *positive = sum + (int64_t)EC_SUPCON_DIRECTIONS * p.rows;
    const float *own_shift = (const float *)(positive + (int64_t)EC_SUPCON_DIRECTIONS * p.rows);
    const int64_t from = (int64_t)d * p.rows + (row - rank * p.rows), to = (int64_t)d * p.lists.global_rows + row;
    const float shift = p.row_shift ? own_shift[from] : p.shared_shift;
    const double ln2 = 0.69314718055994531;
    if (p.row_shift) p.shift[to] = shift;
    if (!has_positive || p.coefficient[d] == 0) {
        p.weight[to] = 0;
        return 0;
    }
    p.weight[to] = (float)(p.coefficient[d] / sum[from]);
    return ln2 * (double)shift + log(sum[from]) - p.inverse_t * positive[from];
}

/* Sums v over the block; thread 0 gets it. */
__device__ double sum_of_block(double v, double *shared) {
    v = sum_of_warp(v);
    __syncthreads();
    if (threadIdx.x % EC_WARP == 0) shared[threadIdx.x / EC_WARP] = v;
    __syncthreads();
    double total = 0;
    for (int w = 0; threadIdx.x == 0 && w < THREADS / EC_WARP; w++) total += shared[w];
    return total;
}

__global__ void weight_kernel(const __grid_constant__ weight_arguments p) {
    __shared__ double shared[THREADS / EC_WARP];
    double term[EC_SUPCON_DIRECTIONS] = {0, 0, 0, 0};
    const int32_t begin = (int32_t)blockIdx.x * TERMS, left = 2 * p.lists.global_rows - begin;
    for (int32_t n = (int32_t)threadIdx.x; n < min(TERMS, left); n += THREADS) {
        const int32_t i = begin + n;
        const int32_t c = class_at(p.lists, i);
        const int modality = i < p.lists.music[c] ? 0 : 1;
        const group mine = group_of(p.lists, c, modality), others = group_of(p.lists, c, 1 - modality);
        const int32_t row = p.lists.order[i] - modality * p.lists.global_rows;
        const double intra = weigh_row(p, modality, row, mine.end - mine.begin > 1);
        const double cross = weigh_row(p, 2 + modality, row, others.end > others.begin);
        for (int m = 0; m < 2; m++) {
            term[m] += m == modality ? intra : 0;
            term[2 + m] += m == modality ? cross : 0;
        }
    }
    for (int d = 0; d < EC_SUPCON_DIRECTIONS; d++) {
        const double total = sum_of_block(term[d], shared);
        if (threadIdx.x == 0) p.term_sum[(int64_t)d * gridDim.x + blockIdx.x] = total;
    }
}

/* A block a direction. */
__global__ void loss_kernel(const __grid_constant__ weight_arguments p, int32_t blocks) {
    __shared__ double shared[THREADS / EC_WARP];
    double sum = 0;
    for (int32_t n = (int32_t)threadIdx.x; n < blocks; n += THREADS)
        sum += p.term_sum[(int64_t)blockIdx.x * blocks + n];
    sum = sum_of_block(sum, shared);
    if (threadIdx.x == 0) p.loss[blockIdx.x] = sum / (double)p.lists.global_rows;
}

class_lists lists_of(const ec_supcon_cuda *plan, const ec_supcon_classes *classes) {
    return {classes->count, classes->order, classes->start, classes->music, plan->global_rows};
}

/* Threads along D. */
unsigned across(const ec_supcon_cuda *plan) { return plan->dim > EC_WARP ? 128 : EC_WARP; }

} // namespace

ec_status ec__supcon_cuda_class_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_classes *classes,
                                     const ec_supcon_block *block, int32_t modalities, const float *const z[2]) {
    const class_arguments p = {lists_of(plan, classes), {z[0], modalities > 1 ? z[1] : z[0]},
                               block->modality,         block->begin,
                               block->rows,             plan->dim,
                               plan->classes,           plan->class_sum,
                               plan->step_sum};
    const unsigned most = (unsigned)plan->classes, m = (unsigned)modalities;
    if (!plan->step_sum)
        return EC_LAUNCH(class_kernel, dim3(most < MOST_BLOCKS ? most : MOST_BLOCKS, m), across(plan), 0, stream, p);
    const int64_t end = (int64_t)block->begin + block->rows;
    for (int64_t begin = block->begin; begin < end; begin += STEPS * STEP) {
        const int32_t left = (int32_t)((end - begin + STEP - 1) / STEP), steps = left < STEPS ? left : STEPS;
        EC_RETURN_IF(EC_LAUNCH(step_kernel, dim3(most, (unsigned)steps, m), across(plan), 0, stream, p, (int32_t)begin));
        EC_RETURN_IF(
            EC_LAUNCH(add_steps_kernel, dim3(most, m), across(plan), 0, stream, p, (int32_t)begin, steps));
    }
    return EC_OK;
}

ec_status ec__supcon_cuda_positives(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                    const ec_supcon_classes *classes, const double coefficient[EC_SUPCON_DIRECTIONS],
                                    const ec_supcon_rows *own, float *const grad[2]) {
    const int64_t to_own = problem->block ? 0 : problem->first * problem->dim;
    const positive_arguments p = {lists_of(plan, classes),
                                  {problem->z[0] + to_own, problem->z[1] + to_own},
                                  plan->dim,
                                  plan->first,
                                  plan->rows,
                                  plan->classes,
                                  plan->class_sum,
                                  {coefficient[0], coefficient[1], coefficient[2], coefficient[3]},
                                  own->positive,
                                  {grad[0], grad[1]}};
    const unsigned warps = THREADS / EC_WARP;
    return EC_LAUNCH(positive_kernel, (2 * (unsigned)plan->global_rows + warps - 1) / warps, THREADS, 0, stream, p);
}

ec_status ec__supcon_cuda_weights(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                  const ec_supcon_classes *classes, const double coefficient[EC_SUPCON_DIRECTIONS],
                                  const void *pieces, float *weight, float *shift, double *loss) {
    const weight_arguments p = {lists_of(plan, classes),
                                plan->rows,
                                problem->row_shift,
                                problem->shared_shift,
                                problem->inverse_t,
                                {coefficient[0], coefficient[1], coefficient[2], coefficient[3]},
                                (const char *)pieces,
                                ec__supcon_rows_bytes(plan->rows),
                                weight,
                                shift,
                                plan->term_sum,
                                loss};
    EC_RETURN_IF(EC_LAUNCH(weight_kernel, (unsigned)plan->term_blocks, THREADS, 0, stream, p));
    return EC_LAUNCH(loss_kernel, EC_SUPCON_DIRECTIONS, THREADS, 0, stream, p, plan->term_blocks);
}
