/* Matrix products by cuBLASLt: ops_dense.h, and the same for other types of elements. */
#ifndef EC_COMPUTE_CUDA_MATMUL_H
#define EC_COMPUTE_CUDA_MATMUL_H

#include <cublasLt.h>

#include "compute/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A product of ops_dense.h whose a and b, and whose c, have these types. Bias (always float32) and activation are part
 * of it where everything is float32; else there must be none, and ec__cuda_bias_activation adds them afterwards. */
typedef struct ec_cuda_matmul {
    ec_gemm gemm;
    ec_precision input, output;
} ec_cuda_matmul;

/* Opens and closes be->dense. */
ec_status ec__cuda_matmul_open(ec_cuda_backend *be);
void ec__cuda_matmul_close(ec_cuda_backend *be); /* also when it was not opened */

/* Chooses algorithms and allocates workspaces. Outside of sections and recordings. */
ec_status ec__cuda_matmul_prepare(ec_cuda_backend *be, const ec_cuda_matmul *desc);

/* Prepares first where that was not done. */
ec_status ec__cuda_matmul(ec_cuda_backend *be, ec_stream *stream, const ec_cuda_matmul *desc, const void *a,
                          const void *b, const float *bias, void *c);

/* "cuBLASLt 13.1.0" */
void ec__cuda_matmul_about(char *text, size_t size);

#define EC_CUBLAS(call) ec__cuda_cublas_status((call), #call, __FILE__, __LINE__, __func__)
ec_status ec__cuda_cublas_status(cublasStatus_t outcome, const char *call, const char *file, int line,
                                 const char *function);

#ifdef __cplusplus
}
#endif

#endif
