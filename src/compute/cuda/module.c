/* The entry of the module, and which devices there are. */
#include "compute/cuda/module.h"

#include <stdio.h>
#include <string.h>

#include "compute/cuda/matmul.h"
#include "core/module.h"

/* Tensor cores with bfloat16 and asynchronous copies begin here. */
enum { LEAST_MAJOR = 8 };

/* What a block of the widest kernels takes: A100 and H100 have it, smaller cards of the same generations have not. */
enum { LEAST_SHARED_KIB = 163 };

static void versions(ec_cuda_versions *out) {
    int driver = 0, runtime = 0;
    *out = (ec_cuda_versions){0};
    if (cudaDriverGetVersion(&driver) == cudaSuccess) out->driver = driver;
    if (cudaRuntimeGetVersion(&runtime) == cudaSuccess) out->runtime = runtime;
    (void)cudaGetLastError();
    ec__cuda_matmul_about(out->libraries, sizeof out->libraries);
}

static ec_status device_count(int32_t *out) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return EC_ERROR(EC_ERR_ENV, "no GPU can be used: %s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
    }
    if (count == 0) return EC_ERROR(EC_ERR_ENV, "no GPU can be used: the driver shows none");
    *out = count;
    return EC_OK;
}

static ec_status device(int32_t number, ec_cuda_device *out) {
    int32_t count = 0;
    struct cudaDeviceProp properties;
    EC_RETURN_IF(device_count(&count));
    if (number < 0 || number >= count)
        return EC_ERROR(EC_ERR_ENV, "there is no GPU %d: the driver shows %d, counted from 0", number, count);
    EC_RETURN_IF(EC_CUDA(cudaGetDeviceProperties(&properties, number)));
    *out = (ec_cuda_device){.major = properties.major,
                            .minor = properties.minor,
                            .multiprocessors = properties.multiProcessorCount,
                            .memory = (int64_t)properties.totalGlobalMem,
                            .memory_free = -1};
    snprintf(out->name, sizeof out->name, "%.*s", EC_CUDA_TEXT - 1, properties.name);
    EC_RETURN_IF(EC_CUDA(cudaDeviceGetPCIBusId(out->bus, sizeof out->bus, number)));
    if (properties.major < LEAST_MAJOR)
        snprintf(out->unusable, sizeof out->unusable, "compute capability %d.%d; this program needs %d.0 or newer",
                 properties.major, properties.minor, LEAST_MAJOR);
    else if (properties.sharedMemPerBlockOptin < (size_t)LEAST_SHARED_KIB << 10)
        snprintf(out->unusable, sizeof out->unusable, "%zu KiB of shared memory for a block; this program needs %d",
                 properties.sharedMemPerBlockOptin >> 10, LEAST_SHARED_KIB);
    return EC_OK;
}

static ec_status open(const ec_backend_options *options, ec_backend **out) {
    ec_cuda_device found;
    EC_RETURN_IF(device(options->device, &found));
    if (*found.unusable) return EC_ERROR(EC_ERR_ENV, "GPU %d (%s): %s", options->device, found.name, found.unusable);
    EC_RETURN_IF(ec__cuda_backend_open(options, out));
    return EC_OK;
}

static void kernels(int32_t number, char out[EC_CUDA_TEXT]) {
    ec_backend *be = NULL;
    const ec_backend_options options = {.device = number, .math = EC_MATH_BF16};
    if (open(&options, &be) == EC_OK) {
        snprintf(out, EC_CUDA_TEXT, "SupCon in bf16 by %s kernels", ec__cuda(be)->hopper ? "wgmma" : "portable");
        be->close(be);
    } else {
        snprintf(out, EC_CUDA_TEXT, "%.*s", EC_CUDA_TEXT - 1, ec_error_last()->text);
        ec_error_clear();
    }
}

static const struct ec_cuda_compute compute = {
    .versions = versions, .device_count = device_count, .device = device, .kernels = kernels, .open = open,
    .open_sizes = ec__cuda_backend_open_sizes};

/* Made of another floor's sources (dist/comm_nccl*.c), so only its name is known here. */
extern const struct ec_cuda_dist ec__cuda_dist __attribute__((weak));

#ifdef EMOCLIM_CUEMU
#define KIND "emulated cuda"
#else
#define KIND "cuda"
#endif

extern const ec_module ec_module_table;
__attribute__((visibility("default"))) const ec_module ec_module_table = {
    .version = EC_MODULE_VERSION,
    .program = EMOCLIM_VERSION,
    .kind = KIND,
    .compute = &compute,
    .dist = &ec__cuda_dist,
};
