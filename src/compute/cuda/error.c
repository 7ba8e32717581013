#include "compute/cuda/cuda.h"

#include <string.h>

ec_status ec__cuda_status(cudaError_t error, const char *call, const char *file, int line, const char *function) {
    if (error == cudaSuccess) return EC_OK;
    (void)cudaGetLastError(); /* errors of a call are kept by CUDA until somebody reads them */
    const ec_status code = error == cudaErrorMemoryAllocation ? EC_ERR_MEMORY : EC_ERR_ENV;
    const int name = strncmp(call, "cuda", 4) == 0 ? (int)strcspn(call, "(") : (int)strlen(call);
    return ec__error_raise(code, file, line, function, "%.*s: %s (%s)", name, call, cudaGetErrorString(error),
                           cudaGetErrorName(error));
}
