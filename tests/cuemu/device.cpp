/* Devices, versions, errors, the seed. */
#include <cstdio>
#include <cstdlib>

#include "internal.h"

namespace cuemu {

std::recursive_mutex &lock() {
    static std::recursive_mutex mutex;
    return mutex;
}

static thread_local cudaError_t last_error = cudaSuccess;
static thread_local int current_device;

cudaError_t set_error(cudaError_t error) { return last_error = error; }

/* How many; -1 plays a machine without a driver. */
int device_count() {
    const char *text = getenv("EMOCLIM_CUEMU_DEVICES");
    return text ? atoi(text) : 1;
}

unsigned seed() {
    static const unsigned value = [] {
        const char *text = getenv("EMOCLIM_CUEMU_SEED");
        return text ? (unsigned)strtoul(text, nullptr, 10) : 0u;
    }();
    return value;
}

unsigned random_below(unsigned n) {
    static uint64_t state = 0x9e3779b97f4a7c15u * (seed() + 1ull);
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((state >> 33) % n);
}

static cudaError_t no_device() { return set_error(device_count() < 0 ? cudaErrorInsufficientDriver : cudaErrorNoDevice); }

} // namespace cuemu

using namespace cuemu;

extern "C" cudaError_t cudaGetLastError(void) {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

extern "C" cudaError_t cudaPeekAtLastError(void) { return last_error; }

struct ErrorText {
    cudaError_t error;
    const char *name, *text;
};

static const ErrorText error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched", "capture was not initiated in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation", "dependency created on uncaptured work in another stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent", "operation not permitted on an event last recorded in a capturing stream"},
};

extern "C" const char *cudaGetErrorName(cudaError_t error) {
    for (const ErrorText &t : error_texts)
        if (t.error == error) return t.name;
    return "cudaErrorUnknown";
}

extern "C" const char *cudaGetErrorString(cudaError_t error) {
    for (const ErrorText &t : error_texts)
        if (t.error == error) return t.text;
    return "unknown error";
}

extern "C" cudaError_t cudaDriverGetVersion(int *version) {
    *version = device_count() < 0 ? 0 : CUDART_VERSION;
    return cudaSuccess;
}

extern "C" cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGetDeviceCount(int *count) {
    if (device_count() <= 0) return no_device();
    *count = device_count();
    return cudaSuccess;
}

extern "C" cudaError_t cudaGetDevice(int *device) {
    if (device_count() <= 0) return no_device();
    *device = current_device;
    return cudaSuccess;
}

extern "C" cudaError_t cudaSetDevice(int device) {
    if (device_count() <= 0) return no_device();
    if (device < 0 || device >= device_count()) return set_error(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device) {
    if (device < 0 || device >= device_count()) return set_error(cudaErrorInvalidDevice);
    size_t left = 0;
    *out = {};
    snprintf(out->name, sizeof out->name, "emulated GPU %d", device);
    cudaMemGetInfo(&left, &out->totalGlobalMem);
    out->sharedMemPerBlock = 48 << 10;
    const char *shared = getenv("EMOCLIM_CUEMU_SHARED_KIB"); /* of a block, at most */
    out->sharedMemPerBlockOptin = (size_t)(shared ? atoi(shared) : 227) << 10;
    out->sharedMemPerMultiprocessor = 228 << 10;
    out->multiProcessorCount = 3;
    out->major = getenv("EMOCLIM_CUEMU_MAJOR") ? atoi(getenv("EMOCLIM_CUEMU_MAJOR")) : 9;
    out->l2CacheSize = 50 << 20;
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp p;
    const cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess) return error;
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; return cudaSuccess;
    }
    return set_error(cudaErrorInvalidValue);
}

extern "C" cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device) {
    if (device < 0 || device >= device_count()) return set_error(cudaErrorInvalidDevice);
    snprintf(text, (size_t)size, "0000:%02x:00.0", device + 1);
    return cudaSuccess;
}
