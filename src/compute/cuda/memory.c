/* Memory of a device, pinned memory of the host, and copies between them. Allocating names the device: a thread that
 * CUDA has not seen before would get the first one. */
#include "compute/cuda/cuda.h"

static ec_status cuda_alloc(ec_backend *be, size_t bytes, void **out) {
    void *memory = NULL;
    EC_RETURN_IF(EC_CUDA(cudaSetDevice(ec__cuda(be)->device)));
    const cudaError_t error = cudaMalloc(&memory, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        size_t left = 0, all = 0;
        (void)cudaGetLastError();
        if (cudaMemGetInfo(&left, &all) != cudaSuccess) (void)cudaGetLastError();
        return EC_ERROR(EC_ERR_MEMORY, "the GPU has no %zu bytes left: %zu of %zu are free", bytes, left, all);
    }
    EC_RETURN_IF(ec__cuda_status(error, "cudaMalloc", __FILE__, __LINE__, __func__));
    *out = memory;
    return EC_OK;
}

static void cuda_free(ec_backend *be, void *memory) {
    (void)be;
    if (memory && cudaFree(memory) != cudaSuccess) (void)cudaGetLastError();
}

static ec_status cuda_alloc_host(ec_backend *be, size_t bytes, void **out) {
    void *memory = NULL;
    EC_RETURN_IF(EC_CUDA(cudaSetDevice(ec__cuda(be)->device)));
    const cudaError_t error = cudaHostAlloc(&memory, bytes ? bytes : 1, cudaHostAllocDefault);
    if (error == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return EC_ERROR(EC_ERR_MEMORY, "no memory for %zu bytes of pinned host memory", bytes);
    }
    EC_RETURN_IF(ec__cuda_status(error, "cudaHostAlloc", __FILE__, __LINE__, __func__));
    *out = memory;
    return EC_OK;
}

static void cuda_free_host(ec_backend *be, void *memory) {
    (void)be;
    if (memory && cudaFreeHost(memory) != cudaSuccess) (void)cudaGetLastError();
}

static ec_status cuda_zero(ec_backend *be, ec_stream *stream, void *to, size_t bytes) {
    (void)be;
    return bytes ? EC_CUDA(cudaMemsetAsync(to, 0, bytes, stream->queue)) : EC_OK;
}

static ec_status move(ec_stream *stream, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    return bytes ? EC_CUDA(cudaMemcpyAsync(to, from, bytes, kind, stream->queue)) : EC_OK;
}

static ec_status cuda_copy(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t bytes) {
    (void)be;
    return move(stream, to, from, bytes, cudaMemcpyDeviceToDevice);
}

static ec_status cuda_copy_rows(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t rows,
                                size_t bytes, size_t step) {
    (void)be;
    if (rows == 0 || bytes == 0) return EC_OK;
    return EC_CUDA(cudaMemcpy2DAsync(to, bytes, from, step, bytes, rows, cudaMemcpyDeviceToDevice, stream->queue));
}

static ec_status cuda_upload(ec_backend *be, ec_stream *stream, void *to, const void *from_host, size_t bytes) {
    (void)be;
    return move(stream, to, from_host, bytes, cudaMemcpyHostToDevice);
}

static ec_status cuda_download(ec_backend *be, ec_stream *stream, void *to_host, const void *from, size_t bytes) {
    (void)be;
    return move(stream, to_host, from, bytes, cudaMemcpyDeviceToHost);
}

/* The main stream waits for what was enqueued on the other. */
static ec_status join_ahead(ec_cuda_backend *be) {
    EC_RETURN_IF(EC_CUDA(cudaEventRecord(be->ahead.joined, be->ahead.queue)));
    return EC_CUDA(cudaStreamWaitEvent(be->stream[0].queue, be->ahead.joined, 0));
}

static ec_status cuda_upload_ahead(ec_backend *base, void *to, const void *from_host, size_t bytes) {
    ec_cuda_backend *be = ec__cuda(base);
    EC_RETURN_IF(move(&be->ahead, to, from_host, bytes, cudaMemcpyHostToDevice));
    return join_ahead(be);
}

static ec_status cuda_upload_half_ahead(ec_backend *base, float *to, const uint16_t *from_host, size_t count,
                                        void *scratch) {
    ec_cuda_backend *be = ec__cuda(base);
    if (count == 0) return EC_OK;
    EC_RETURN_IF(move(&be->ahead, scratch, from_host, count * sizeof *from_host, cudaMemcpyHostToDevice));
    EC_RETURN_IF(ec__cuda_widen(&be->ahead, (int64_t)count, scratch, to));
    return join_ahead(be);
}

const ec_memory_ops ec__cuda_memory_ops = {
    .alloc = cuda_alloc,
    .free = cuda_free,
    .zero = cuda_zero,
    .copy = cuda_copy,
    .copy_rows = cuda_copy_rows,
    .upload = cuda_upload,
    .download = cuda_download,
    .upload_ahead = cuda_upload_ahead,
    .upload_half_ahead = cuda_upload_half_ahead,
    .alloc_host = cuda_alloc_host,
    .free_host = cuda_free_host,
};
