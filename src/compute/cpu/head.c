/* Operations of the projection heads: picks the loops for this processor, and does what is too small to matter. */
#include "compute/ops_head.h"

#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/head_table.h"
#include "core/cpu_feature.h"

static const ec_cpu_head_table *loops(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return &ec__cpu_head_avx512;
    if (ec__cpu_has_avx2_f16c() && __builtin_cpu_supports("fma"))
        return &ec__cpu_head_avx2;
#endif
    return &ec__cpu_head_base;
}

static ec_status row_scales(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *x,
                            float *scale) {
    (void)be, (void)stream;
    loops()->row_scales(rows, width, x, scale);
    return EC_OK;
}

static ec_status scale_rows(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, float *h,
                            const float *scale, const float *bias) {
    (void)be, (void)stream;
    loops()->scale_rows(rows, width, h, scale, bias);
    return EC_OK;
}

static ec_status bn_leaf(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, float *h, const float *scale,
                         const float *bias, int32_t before, float *mean, float *m2) {
    (void)be, (void)stream;
    loops()->bn_leaf(rows, width, h, scale, bias, before, mean, m2);
    return EC_OK;
}

/* Combines leaves in the tree into the first of them and returns their rows. Each node is rounded to float once. */
static int64_t combine(int32_t leaves, const int64_t *row, int32_t width, float *leaf, int64_t stride) {
    if (leaves == 1) return row[0];
    int32_t left = leaves / 2;
    float *other = leaf + left * stride;
    int64_t na = combine(left, row, width, leaf, stride), nb = combine(leaves - left, row + left, width, other, stride);
    double share = (double)nb / (double)(na + nb), weight = (double)na * share;
    float *mean = leaf, *m2 = leaf + width;
    const float *other_mean = other, *other_m2 = other + width;
    for (int32_t j = 0; j < width; j++) {
        double delta = (double)other_mean[j] - mean[j];
        mean[j] = (float)(mean[j] + delta * share);
        m2[j] = (float)((double)m2[j] + other_m2[j] + delta * delta * weight);
    }
    return na + nb;
}

static ec_status bn_combine(ec_backend *be, ec_stream *stream, int32_t leaves, const int64_t *row, int32_t width,
                            float *leaf, int64_t stride) {
    (void)be, (void)stream;
    combine(leaves, row, width, leaf, stride);
    return EC_OK;
}

static const double bn_eps = 1e-5, bn_momentum = 0.1;

static ec_status bn_finish(ec_backend *be, ec_stream *stream, int64_t n, int32_t width, const float *leaf, float *mean,
                           float *inv_std, float *running_mean, float *running_var) {
    (void)be, (void)stream;
    for (int32_t j = 0; j < width; j++) {
        double m2 = leaf[width + j];
        mean[j] = leaf[j];
        inv_std[j] = (float)(1.0 / sqrt(m2 / (double)n + bn_eps));
        running_mean[j] = (float)((1 - bn_momentum) * running_mean[j] + bn_momentum * leaf[j]);
        running_var[j] = (float)((1 - bn_momentum) * running_var[j] + bn_momentum * (m2 / (double)(n - 1)));
    }
    return EC_OK;
}

static ec_status bn_inv_std(ec_backend *be, ec_stream *stream, int32_t width, const float *var, float *inv_std) {
    (void)be, (void)stream;
    for (int32_t j = 0; j < width; j++) inv_std[j] = (float)(1.0 / sqrt((double)var[j] + bn_eps));
    return EC_OK;
}

static ec_status bn_forward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                            const ec_dropout *dropout, int64_t first, const float *h, float *a) {
    (void)be, (void)stream;
    loops()->bn_forward(rows, width, bn, dropout, first, h, a);
    return EC_OK;
}

static ec_status bn_backward_leaf(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                                  float dropout_scale, const float *h, const float *a, float *d, int32_t before,
                                  float *sum_d, float *sum_dx) {
    (void)be, (void)stream;
    loops()->bn_backward_leaf(rows, width, bn, dropout_scale, h, a, d, before, sum_d, sum_dx);
    return EC_OK;
}

static ec_status bn_backward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn, int64_t n,
                             const float *sum_d, const float *sum_dx, const float *scale, const float *h, float *d) {
    (void)be, (void)stream;
    loops()->bn_backward(rows, width, bn, n, sum_d, sum_dx, scale, h, d);
    return EC_OK;
}

static ec_status l2_forward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *y, float *z,
                            float *inv_norm) {
    (void)be, (void)stream;
    loops()->l2_forward(rows, width, y, z, inv_norm);
    return EC_OK;
}

static ec_status l2_backward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *z,
                             const float *inv_norm, const float *dz, float *dy, int32_t before, float *sum) {
    (void)be, (void)stream;
    loops()->l2_backward(rows, width, z, inv_norm, dz, dy, before, sum);
    return EC_OK;
}

static ec_status add(ec_backend *be, ec_stream *stream, int64_t count, const float *from, float *to) {
    (void)be, (void)stream;
    loops()->add(count, from, to);
    return EC_OK;
}

const ec_head_ops ec__cpu_head_ops = {
    .row_scales = row_scales,
    .scale_rows = scale_rows,
    .bn_leaf = bn_leaf,
    .bn_combine = bn_combine,
    .bn_finish = bn_finish,
    .bn_inv_std = bn_inv_std,
    .bn_forward = bn_forward,
    .bn_backward_leaf = bn_backward_leaf,
    .bn_backward = bn_backward,
    .l2_forward = l2_forward,
    .l2_backward = l2_backward,
    .add = add,
};
