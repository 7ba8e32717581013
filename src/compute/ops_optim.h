/* Optimizer updates over flat arrays. Cut an array where you like: updates are element-wise, and sums of squares are
 * made a chunk a call. */
#ifndef EC_COMPUTE_OPS_OPTIM_H
#define EC_COMPUTE_OPS_OPTIM_H

#include <stdint.h>

#include "compute/backend.h"

/* What Adam needs to know of a step, in back end memory: with g = grad * grad_scale + l2 * p,
 * p = p * decay; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= rate m / (sqrt(v) * inv_bias2 +
 * eps). */
typedef struct ec_adam {
    float grad_scale; /* by clip; 0: the step is left out, nothing is changed */
    float l2;         /* weight decay of Adam; 0 for AdamW */
    float decay;      /* 1 - learning rate * weight decay (AdamW); 1 for Adam */
    float beta1, beta2, one_minus_beta1, one_minus_beta2;
    float rate;       /* learning rate / (1 - beta1^t) */
    float inv_bias2;  /* 1 / sqrt(1 - beta2^t) */
    float eps;
} ec_adam;

/* What is known of gradients, in back end memory; all 0 at first. */
typedef struct ec_gradient_norm {
    double norm;     /* of the last gradient */
    int32_t spoiled; /* 1: it, or one since this was last set to 0, was not finite */
} ec_gradient_norm;

struct ec_optim_ops {
    /* adam in back end memory */
    ec_status (*adam)(ec_backend *be, ec_stream *stream, const ec_adam *adam, int64_t count, const float *grad,
                      float *m, float *v, float *param);

    /* *sum (back end memory) = sum of x_i^2, in double precision and one fixed order. */
    ec_status (*square_sum)(ec_backend *be, ec_stream *stream, int64_t count, const float *x, double *sum);

    /* From sums of squares (parts), added in order: norm->norm is the square root of their sum, and adam->grad_scale =
     * limit / norm where limit > 0 and the norm is above it, else 1. Where the norm is not finite norm->spoiled is set.
     * Where that is set, now or before, grad_scale is 0: steps that were enqueued behind a bad one change nothing. */
    ec_status (*clip)(ec_backend *be, ec_stream *stream, int32_t parts, const double *part, double limit, ec_adam *adam,
                      ec_gradient_norm *norm);
};

#endif
