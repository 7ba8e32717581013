/* cuDNN's handles, made when the first layer needs them, and its workspaces: one of each a stream. */
#ifndef EC_COMPUTE_CUDA_DNN_H
#define EC_COMPUTE_CUDA_DNN_H

#include "compute/cuda/cuda.h"

#include <cudnn.h>

struct ec_cuda_dnn {
    cudnnHandle_t handle[EC_CUDA_STREAMS];
    void *workspace[EC_CUDA_STREAMS];
    size_t workspace_bytes;
};

/* Opens be->dnn where that was not done; ec__cuda_dnn_close (cuda.h) closes it. */
ec_status ec__cuda_dnn_open(ec_backend *be);
/* At least so many bytes of workspace for every stream. Outside of sections and recordings. */
ec_status ec__cuda_dnn_reserve(ec_backend *be, size_t bytes);

#define EC_CUDNN(call) ec__cuda_cudnn_status((call), #call, __FILE__, __LINE__, __func__)
ec_status ec__cuda_cudnn_status(cudnnStatus_t outcome, const char *call, const char *file, int line,
                                const char *function);

#endif
