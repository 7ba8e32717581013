#include "compute/cuda/dnn.h"

#include <stdlib.h>
#include <string.h>

ec_status ec__cuda_cudnn_status(cudnnStatus_t outcome, const char *call, const char *file, int line,
                                const char *function) {
    if (outcome == CUDNN_STATUS_SUCCESS) return EC_OK;
    return ec__error_raise(EC_ERR_ENV, file, line, function, "%.*s: %s", (int)strcspn(call, "("), call,
                           cudnnGetErrorString(outcome));
}

ec_status ec__cuda_dnn_open(ec_backend *base) {
    ec_cuda_backend *be = ec__cuda(base);
    if (!be->dnn) be->dnn = calloc(1, sizeof *be->dnn);
    if (!be->dnn) return EC_ERROR(EC_ERR_MEMORY, "no memory for convolutions");
    EC_RETURN_IF(EC_CUDA(cudaSetDevice(be->device)));
    for (int32_t s = 0; s < EC_CUDA_STREAMS; s++) {
        cudnnHandle_t *handle = &be->dnn->handle[s];
        if (!*handle) EC_RETURN_IF(EC_CUDNN(cudnnCreate(handle)));
        EC_RETURN_IF(EC_CUDNN(cudnnSetStream(*handle, be->stream[s].queue)));
    }
    return EC_OK;
}

ec_status ec__cuda_dnn_reserve(ec_backend *be, size_t bytes) {
    ec_cuda_dnn *dnn = ec__cuda(be)->dnn;
    if (bytes <= dnn->workspace_bytes) return EC_OK;
    EC_RETURN_IF(be->synchronize(be)); /* nobody uses the smaller ones any more */
    dnn->workspace_bytes = 0;
    for (int32_t s = 0; s < EC_CUDA_STREAMS; s++) {
        be->memory->free(be, dnn->workspace[s]);
        dnn->workspace[s] = NULL;
    }
    for (int32_t s = 0; s < EC_CUDA_STREAMS; s++) EC_RETURN_IF(be->memory->alloc(be, bytes, &dnn->workspace[s]));
    dnn->workspace_bytes = bytes;
    return EC_OK;
}

void ec__cuda_dnn_close(ec_cuda_backend *be) {
    if (!be->dnn) return;
    for (int32_t s = 0; s < EC_CUDA_STREAMS; s++) {
        be->base.memory->free(&be->base, be->dnn->workspace[s]);
        if (be->dnn->handle[s]) (void)cudnnDestroy(be->dnn->handle[s]);
    }
    free(be->dnn);
    be->dnn = NULL;
}
