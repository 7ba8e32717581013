/* What the operations of heads and optimizer cost: floats read and written, each array once. */
#include "compute/count/count.h"
#include "compute/ops_dense.h"
#include "compute/ops_head.h"
#include "compute/ops_optim.h"

static ec_status gemm(ec_backend *be, ec_stream *stream, const ec_gemm *g, const float *a, const float *b,
                      const float *bias, float *c) {
    (void)stream, (void)a, (void)b, (void)bias, (void)c;
    return ec__count(be, 2.0 * g->m * g->n * g->k, 0);
}

static ec_status prepare(ec_backend *be, const ec_gemm *desc) {
    (void)be, (void)desc;
    return EC_OK;
}

const ec_dense_ops ec__count_dense_ops = {.gemm = gemm, .prepare = prepare};

static double area(int32_t rows, int32_t width) { return (double)rows * width; }

static ec_status row_scales(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *x,
                            float *scale) {
    (void)stream, (void)x, (void)scale;
    return ec__count(be, 0, area(rows, width));
}

static ec_status scale_rows(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, float *h,
                            const float *scale, const float *bias) {
    (void)stream, (void)h, (void)scale, (void)bias;
    return ec__count(be, 0, 2 * area(rows, width));
}

static ec_status bn_leaf(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, float *h, const float *scale,
                         const float *bias, int32_t before, float *mean, float *m2) {
    (void)stream, (void)h, (void)scale, (void)bias, (void)before, (void)mean, (void)m2;
    return ec__count(be, 0, 2 * area(rows, width));
}

static ec_status bn_combine(ec_backend *be, ec_stream *stream, int32_t leaves, const int64_t *row, int32_t width,
                            float *leaf, int64_t stride) {
    (void)stream, (void)row, (void)leaf, (void)stride;
    return ec__count(be, 0, 2 * area(leaves, width));
}

static ec_status bn_finish(ec_backend *be, ec_stream *stream, int64_t n, int32_t width, const float *leaf, float *mean,
                           float *inv_std, float *running_mean, float *running_var) {
    (void)stream, (void)n, (void)leaf, (void)mean, (void)inv_std, (void)running_mean, (void)running_var;
    return ec__count(be, 0, area(8, width));
}

static ec_status bn_inv_std(ec_backend *be, ec_stream *stream, int32_t width, const float *var, float *inv_std) {
    (void)stream, (void)var, (void)inv_std;
    return ec__count(be, 0, area(2, width));
}

static ec_status bn_forward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                            const ec_dropout *dropout, int64_t first, const float *h, float *a) {
    (void)stream, (void)bn, (void)dropout, (void)first, (void)h, (void)a;
    return ec__count(be, 0, 2 * area(rows, width));
}

static ec_status bn_backward_leaf(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                                  float dropout_scale, const float *h, const float *a, float *d, int32_t before,
                                  float *sum_d, float *sum_dx) {
    (void)stream, (void)bn, (void)dropout_scale, (void)h, (void)a, (void)d, (void)before, (void)sum_d, (void)sum_dx;
    return ec__count(be, 0, 4 * area(rows, width));
}

static ec_status bn_backward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn, int64_t n,
                             const float *sum_d, const float *sum_dx, const float *scale, const float *h, float *d) {
    (void)stream, (void)bn, (void)n, (void)sum_d, (void)sum_dx, (void)scale, (void)h, (void)d;
    return ec__count(be, 0, 3 * area(rows, width));
}

static ec_status l2_forward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *y, float *z,
                            float *inv_norm) {
    (void)stream, (void)y, (void)z, (void)inv_norm;
    return ec__count(be, 0, 2 * area(rows, width));
}

static ec_status l2_backward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *z,
                             const float *inv_norm, const float *dz, float *dy, int32_t before, float *sum) {
    (void)stream, (void)z, (void)inv_norm, (void)dz, (void)dy, (void)before, (void)sum;
    return ec__count(be, 0, 3 * area(rows, width));
}

static ec_status add(ec_backend *be, ec_stream *stream, int64_t count, const float *from, float *to) {
    (void)stream, (void)from, (void)to;
    return ec__count(be, 0, 3 * (double)count);
}

const ec_head_ops ec__count_head_ops = {
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

static ec_status adam(ec_backend *be, ec_stream *stream, const ec_adam *a, int64_t count, const float *grad, float *m,
                      float *v, float *param) {
    (void)stream, (void)a, (void)grad, (void)m, (void)v, (void)param;
    return ec__count(be, 0, 7 * (double)count);
}

static ec_status square_sum(ec_backend *be, ec_stream *stream, int64_t count, const float *x, double *sum) {
    (void)stream, (void)x, (void)sum;
    return ec__count(be, 0, (double)count);
}

static ec_status clip(ec_backend *be, ec_stream *stream, int32_t parts, const double *part, double limit, ec_adam *a,
                      ec_gradient_norm *norm) {
    (void)stream, (void)part, (void)limit, (void)a, (void)norm;
    return ec__count(be, 0, 2.0 * parts);
}

const ec_optim_ops ec__count_optim_ops = {.adam = adam, .square_sum = square_sum, .clip = clip};
