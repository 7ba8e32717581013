/* Element-wise work of the projection heads: row norms, BatchNorm, ReLU, dropout, and their backward passes.
 *
 * Matrices are dense (ld = width). A sum over rows is made in row order in fixed blocks, so its bits depend on the rows
 * alone. "leaf" operations work on one shard, in pieces: before counts the shard's rows that earlier calls have put
 * into the leaf (0: the leaf is written anew). Cut a shard at multiples of EC_HEAD_BLOCK to get the same bits. */
#ifndef EC_COMPUTE_OPS_HEAD_H
#define EC_COMPUTE_OPS_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/backend.h"

enum { EC_HEAD_BLOCK = 32 };

/* Dropout of a layer: see nn/heads_train.h for which number decides. */
typedef struct ec_dropout {
    uint32_t threshold; /* of 65536; 0: nothing is dropped */
    float scale;        /* 65536 / (65536 - threshold) */
    uint64_t seed;
    const uint32_t *step; /* back end memory */
    uint32_t layer;
} ec_dropout;

/* A BatchNorm as applied; all (width). */
typedef struct ec_bn {
    const float *mean, *inv_std, *gamma, *beta;
} ec_bn;

struct ec_head_ops {
    /* scale[i] = 1 / max(|x_i|, 1e-12), row i of x (rows,width). */
    ec_status (*row_scales)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *x,
                            float *scale);

    /* In place h = h * scale[row] + bias (scale NULL: 1). */
    ec_status (*scale_rows)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, float *h,
                            const float *scale, const float *bias);

    /* scale_rows, and statistics of the result: mean and m2 (width) become mean and sum of squared deviations
     * of its columns over before + rows rows. */
    ec_status (*bn_leaf)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, float *h, const float *scale,
                         const float *bias, int32_t before, float *mean, float *m2);

    /* Combines leaves (mean, m2 back to back; stride floats from leaf to leaf; row[i] rows each, host memory) in the
     * tree of dist/tree.h into leaf 0 (Chan et al. 1979). The other leaves are used as work space. */
    ec_status (*bn_combine)(ec_backend *be, ec_stream *stream, int32_t leaves, const int64_t *row, int32_t width,
                            float *leaf, int64_t stride);

    /* From a combined leaf over n rows (n >= 2): mean, inv_std = 1 / sqrt(m2 / n + 1e-5); running statistics with
     * momentum 0.1 and the unbiased variance m2 / (n - 1). */
    ec_status (*bn_finish)(ec_backend *be, ec_stream *stream, int64_t n, int32_t width, const float *leaf, float *mean,
                           float *inv_std, float *running_mean, float *running_var);

    /* inv_std = 1 / sqrt(var + 1e-5). */
    ec_status (*bn_inv_std)(ec_backend *be, ec_stream *stream, int32_t width, const float *var, float *inv_std);

    /* a = dropout(relu((h - mean) * inv_std * gamma + beta)); row i is global row first + i. In place (a = h) is fine.
     * dropout may be NULL: nothing is dropped. */
    ec_status (*bn_forward)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                            const ec_dropout *dropout, int64_t first, const float *h, float *a);

    /* In place: d (gradient of a) becomes the gradient of BatchNorm's output, which is 0 where a is 0 and else
     * d * dropout scale. sum_d and sum_dx (width): column sums of it and of it times the normalised h. */
    ec_status (*bn_backward_leaf)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                                  float dropout_scale, const float *h, const float *a, float *d, int32_t before,
                                  float *sum_d, float *sum_dx);

    /* In place: d (gradient of BatchNorm's output) becomes the gradient of its input, over n rows with the total sums:
     * gamma * inv_std * (d - sum_d / n - normalised h * sum_dx / n), times scale[row] (NULL: 1). bn->beta is not
     * read. */
    ec_status (*bn_backward)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn, int64_t n,
                             const float *sum_d, const float *sum_dx, const float *scale, const float *h, float *d);

    /* z = y / max(|y|, 1e-12) by rows; inv_norm (rows) is the factor; NULL: not wanted. In place (z = y) is fine. */
    ec_status (*l2_forward)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *y, float *z,
                            float *inv_norm);

    /* dy = inv_norm * (dz - z (z . dz)), without the second term where the norm was clamped; the column sums of dy go
     * into sum (width), a leaf. */
    ec_status (*l2_backward)(ec_backend *be, ec_stream *stream, int32_t rows, int32_t width, const float *z,
                             const float *inv_norm, const float *dz, float *dy, int32_t before, float *sum);

    /* to (count) += from. */
    ec_status (*add)(ec_backend *be, ec_stream *stream, int64_t count, const float *from, float *to);
};

#endif
