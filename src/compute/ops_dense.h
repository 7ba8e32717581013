/* Matrix products. */
#ifndef EC_COMPUTE_OPS_DENSE_H
#define EC_COMPUTE_OPS_DENSE_H

#include <stdbool.h>

#include "compute/backend.h"

typedef enum ec_activation { EC_ACT_NONE, EC_ACT_RELU, EC_ACT_GELU, EC_ACT_QUICK_GELU } ec_activation;

/* C (M,N) = act( op(A) (M,K) * op(B) (K,N) + bias (N) ), plus the old C where accumulate is set.
 * op(X) is X, or its transpose where transpose_x is set; ldx is the row distance of X as stored.
 * Every element of C is a sum over k in one fixed order. On a CPU that depends neither on M, N nor on the element's
 * place; on a GPU shape and options decide. */
typedef struct ec_gemm {
    int32_t m, n, k;
    int32_t lda, ldb, ldc;
    bool transpose_a, transpose_b;
    bool bias;       /* a bias is added */
    bool accumulate; /* C is added to; not together with an activation */
    /* A row of C has the same bits whatever M is, on a GPU too, unless the back end is not deterministic; A is not
     * transposed then. */
    bool rows_alike;
    ec_activation activation;
} ec_gemm;

struct ec_dense_ops {
    /* bias may be NULL where desc->bias is false. a, b, c must not overlap. */
    ec_status (*gemm)(ec_backend *be, ec_stream *stream, const ec_gemm *desc, const float *a, const float *b,
                      const float *bias, float *c);

    /* Makes ready on every stream what gemm needs for desc, so that such calls allocate nothing. Outside for_each. */
    ec_status (*prepare)(ec_backend *be, const ec_gemm *desc);
};

#endif
