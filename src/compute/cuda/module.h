/* What the CUDA module offers to compute/registry.c: the only thing of this folder that the program sees. */
#ifndef EC_COMPUTE_CUDA_MODULE_H
#define EC_COMPUTE_CUDA_MODULE_H

#include "compute/backend.h"

enum { EC_CUDA_TEXT = 160 };

typedef struct ec_cuda_device {
    char name[EC_CUDA_TEXT];
    char bus[32];                /* PCI address: tells two ranks of one host whether they share a device */
    int32_t major, minor;        /* compute capability */
    int32_t multiprocessors;
    int64_t memory, memory_free; /* bytes; free is -1 for a device that was not asked */
    char unusable[EC_CUDA_TEXT]; /* why this program cannot use it; "" if it can */
} ec_cuda_device;

typedef struct ec_cuda_versions {
    int32_t driver, runtime;          /* as CUDA counts: 13000 is 13.0; driver 0: there is none */
    char libraries[2 * EC_CUDA_TEXT]; /* "cuBLASLt 13.1.0, ..." */
} ec_cuda_versions;

struct ec_cuda_compute {
    /* Versions, also where no device can be used. */
    void (*versions)(ec_cuda_versions *out);
    /* How many devices the driver shows. EC_ERR_ENV where it shows none, with the reason. */
    ec_status (*device_count)(int32_t *out);
    ec_status (*device)(int32_t number, ec_cuda_device *out);
    /* Which SupCon kernels a usable device gets in bfloat16, in words; a back end is opened to find out. */
    void (*kernels)(int32_t number, char out[EC_CUDA_TEXT]);
    /* EC_ERR_ENV when options->device cannot be used. (*out)->host and pool are NULL: the
     * caller puts a CPU back end there, which is closed with it, and its pool. */
    ec_status (*open)(const ec_backend_options *options, ec_backend **out);
    /* The same without a device: ec__backend_open_sizes. */
    ec_status (*open_sizes)(const ec_backend_options *options, ec_backend **out);
};

#endif
