/* Statistics of BatchNorm on a GPU, a thread a column: leaves joined in the tree of dist/tree.h, and what follows. */
#include "compute/cuda/launch.h"

#include "compute/cuda/device.cuh"
#include "compute/cuda/head.h"

namespace {

enum { THREADS = 64, MOST_LEAVES = 64, DEPTH = 7, AHEAD = 8 };

/* The joins of a tree in the order in which a walk over its leaves can make them: leaf i is put on a stack, then
 * joins[i] times the two topmost become one. share and weight are those of the joins in this order. */
struct tree_plan {
    int32_t leaves;
    uint8_t joins[MOST_LEAVES];
    double share[MOST_LEAVES], weight[MOST_LEAVES];
};

__global__ void __launch_bounds__(THREADS) bn_combine_kernel(tree_plan plan, int width, float *leaf, int64_t stride) {
    __shared__ float mean[DEPTH][THREADS], m2[DEPTH][THREADS];
    const int column = (int)(blockIdx.x * THREADS + threadIdx.x), t = (int)threadIdx.x;
    int top = 0, join = 0;
    if (column >= width) return;
    for (int first = 0; first < plan.leaves; first += AHEAD) {
        float next_mean[AHEAD], next_m2[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (first + k >= plan.leaves) continue;
            next_mean[k] = leaf[(first + k) * stride + column];
            next_m2[k] = leaf[(first + k) * stride + width + column];
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (first + k >= plan.leaves) continue;
            mean[top][t] = next_mean[k];
            m2[top][t] = next_m2[k];
            top++;
            for (int j = plan.joins[first + k]; j > 0; j--, join++) {
                top--;
                const double delta = (double)mean[top][t] - mean[top - 1][t];
                const double square = (double)m2[top - 1][t] + m2[top][t];
                mean[top - 1][t] = (float)(mean[top - 1][t] + delta * plan.share[join]);
                m2[top - 1][t] = (float)(square + delta * delta * plan.weight[join]);
            }
        }
    }
    leaf[column] = mean[0][t];
    leaf[width + column] = m2[0][t];
}

/* Puts the joins of leaves first .. first + leaves - 1 into the plan; returns their rows. */
int64_t plan_joins(tree_plan *plan, int32_t *made, int32_t first, int32_t leaves, const int64_t *row) {
    if (leaves == 1) return row[first];
    const int32_t left = leaves / 2;
    const int64_t na = plan_joins(plan, made, first, left, row);
    const int64_t nb = plan_joins(plan, made, first + left, leaves - left, row);
    const double share = (double)nb / (double)(na + nb);
    plan->share[*made] = share;
    plan->weight[*made] = (double)na * share;
    plan->joins[first + leaves - 1]++;
    ++*made;
    return na + nb;
}

unsigned blocks_of(int32_t width) { return (unsigned)((width + THREADS - 1) / THREADS); }

ec_status combine_few(ec_stream *stream, int32_t leaves, const int64_t *row, int32_t width, float *leaf,
                      int64_t stride) {
    tree_plan plan = {};
    int32_t made = 0;
    plan.leaves = leaves;
    plan_joins(&plan, &made, 0, leaves, row);
    return EC_LAUNCH(bn_combine_kernel, blocks_of(width), THREADS, 0, stream, plan, width, leaf, stride);
}

/* A tree that is too large for one launch: both sides, then the two of them. Returns its rows in *rows. */
ec_status combine(ec_stream *stream, int32_t leaves, const int64_t *row, int32_t width, float *leaf, int64_t stride,
                  int64_t *rows) {
    *rows = 0;
    for (int32_t i = 0; i < leaves; i++) *rows += row[i];
    if (leaves == 1) return EC_OK;
    if (leaves <= MOST_LEAVES) return combine_few(stream, leaves, row, width, leaf, stride);
    const int32_t left = leaves / 2;
    int64_t side[2];
    EC_RETURN_IF(combine(stream, left, row, width, leaf, stride, &side[0]));
    EC_RETURN_IF(combine(stream, leaves - left, row + left, width, leaf + left * stride, stride, &side[1]));
    return combine_few(stream, 2, side, width, leaf, left * stride);
}

__device__ inline double inverse_deviation(double variance) { return 1.0 / sqrt(variance + 1e-5); }

struct statistics {
    float *mean, *inv_std, *running_mean, *running_var;
};

__global__ void __launch_bounds__(THREADS) bn_finish_kernel(double n, int width, const float *leaf, statistics to) {
    const double momentum = 0.1;
    const int column = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (column >= width) return;
    const double mean = leaf[column], m2 = leaf[width + column];
    to.mean[column] = (float)mean;
    to.inv_std[column] = (float)inverse_deviation(m2 / n);
    to.running_mean[column] = (float)((1 - momentum) * to.running_mean[column] + momentum * mean);
    to.running_var[column] = (float)((1 - momentum) * to.running_var[column] + momentum * (m2 / (n - 1)));
}

__global__ void __launch_bounds__(THREADS) bn_inv_std_kernel(int width, const float *var, float *inv_std) {
    const int column = (int)(blockIdx.x * THREADS + threadIdx.x);
    if (column < width) inv_std[column] = (float)inverse_deviation(var[column]);
}

} // namespace

ec_status ec__cuda_bn_combine(ec_backend *, ec_stream *stream, int32_t leaves, const int64_t *row, int32_t width,
                              float *leaf, int64_t stride) {
    int64_t rows;
    return combine(stream, leaves, row, width, leaf, stride, &rows);
}

ec_status ec__cuda_bn_finish(ec_backend *, ec_stream *stream, int64_t n, int32_t width, const float *leaf, float *mean,
                             float *inv_std, float *running_mean, float *running_var) {
    const statistics to = {mean, inv_std, running_mean, running_var};
    return EC_LAUNCH(bn_finish_kernel, blocks_of(width), THREADS, 0, stream, (double)n, width, leaf, to);
}

ec_status ec__cuda_bn_inv_std(ec_backend *, ec_stream *stream, int32_t width, const float *var, float *inv_std) {
    return EC_LAUNCH(bn_inv_std_kernel, blocks_of(width), THREADS, 0, stream, width, var, inv_std);
}
