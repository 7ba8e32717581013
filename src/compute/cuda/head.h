/* What the files of ops_head.h share on a GPU: head.cu has the table and what goes element by element or row by row,
 * head_leaf.cu the sums over rows, head_combine.cu what works on statistics. Arguments as in ops_head.h. */
#ifndef EC_COMPUTE_CUDA_HEAD_H
#define EC_COMPUTE_CUDA_HEAD_H

#include "compute/cuda/cuda.h"

#define EC_CUDA_SMALLEST_NORM 1e-12f /* shorter vectors are divided by this */

#ifdef __cplusplus
extern "C" {
#endif

/* head_leaf.cu */
ec_status ec__cuda_bn_leaf(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, float *h, const float *scale,
                           const float *bias, int32_t before, float *mean, float *m2);
ec_status ec__cuda_bn_backward_leaf(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                                    float dropout_scale, const float *h, const float *a, float *d, int32_t before,
                                    float *sum_d, float *sum_dx);
ec_status ec__cuda_l2_backward(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *z,
                               const float *inv_norm, const float *dz, float *dy, int32_t before, float *sum);

/* head_combine.cu */
ec_status ec__cuda_bn_combine(ec_backend *be, ec_stream *stream, int32_t leaves, const int64_t *row, int32_t width,
                              float *leaf, int64_t stride);
ec_status ec__cuda_bn_finish(ec_backend *be, ec_stream *stream, int64_t n, int32_t width, const float *leaf,
                             float *mean, float *inv_std, float *running_mean, float *running_var);
ec_status ec__cuda_bn_inv_std(ec_backend *be, ec_stream *stream, int32_t width, const float *var, float *inv_std);

#ifdef __cplusplus
}
#endif

#endif
