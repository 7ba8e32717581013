/* What the files of the CUDA back end share. To be included first, by C and CUDA files alike.
 *
 * Everything is enqueued on a stream's queue and returns at once; no operation allocates, synchronises or lets its bits
 * depend on grid size, device or ranks. */
#ifndef EC_COMPUTE_CUDA_H
#define EC_COMPUTE_CUDA_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "compute/backend.h"
#include "compute/ops_dense.h"
#include "compute/ops_encoder.h"
#include "compute/ops_head.h"
#include "compute/ops_optim.h"
#include "compute/ops_supcon.h"

/* Streams of a back end: enough for the independent tasks of a step to fill a device. */
enum { EC_CUDA_STREAMS = 8 };

/* What each has for the sums of its kernels. */
enum { EC_CUDA_SCRATCH_BYTES = 1 << 20, EC_CUDA_TICKETS = 256 };

typedef struct ec_cuda_dnn ec_cuda_dnn;     /* dnn.c: cuDNN */
typedef struct ec_cuda_dense ec_cuda_dense; /* gemm.c: cuBLASLt and the algorithms that prepare chose */

struct ec_stream {
    cudaStream_t queue;
    cudaEvent_t joined; /* marks the end of a section's work on this stream */
    int32_t index;
    void *scratch;    /* EC_CUDA_SCRATCH_BYTES, for what blocks of one kernel tell each other */
    unsigned *ticket; /* EC_CUDA_TICKETS zeros; a kernel that counts its blocks leaves zeros again */
};

typedef struct ec_cuda_backend {
    ec_backend base; /* first: an ec_backend* of this back end is an ec_cuda_backend* */
    int32_t device, multiprocessors;
    bool deterministic;
    bool hopper; /* SupCon by the kernels for compute capability 9.0 (supcon_hopper*.cu) */
    ec_stream stream[EC_CUDA_STREAMS]; /* 0: the main one */
    ec_stream ahead;                   /* uploads beside all others; without scratch */
    cudaEvent_t forked;
    ec_stream *inside; /* the stream of the task that for_each is in; NULL outside */
    ec_cuda_dense *dense;
    ec_cuda_dnn *dnn; /* NULL until the first convolution */
} ec_cuda_backend;

static inline ec_cuda_backend *ec__cuda(ec_backend *be) { return (ec_cuda_backend *)be; }

/* The outcome of a CUDA call as ours: EC_TRY(EC_CUDA(cudaEventRecord(event, queue))). */
#define EC_CUDA(call) ec__cuda_status((call), #call, __FILE__, __LINE__, __func__)
ec_status ec__cuda_status(cudaError_t error, const char *call, const char *file, int line, const char *function);

/* One table a file, as in compute/cpu. */
extern const ec_memory_ops ec__cuda_memory_ops;
extern const ec_dense_ops ec__cuda_dense_ops;
extern const ec_head_ops ec__cuda_head_ops;
extern const ec_optim_ops ec__cuda_optim_ops;
extern const ec_supcon_ops ec__cuda_supcon_ops;
extern const ec_encoder_ops ec__cuda_encoder_ops;

/* widen.cu: count float16 numbers to float32. */
ec_status ec__cuda_widen(ec_stream *stream, int64_t count, const void *from, float *to);

/* dnn.c; also when it was not opened. */
void ec__cuda_dnn_close(ec_cuda_backend *be);

/* A back end on a device that can be used. */
ec_status ec__cuda_backend_open(const ec_backend_options *options, ec_backend **out);

/* One without a device: ec__backend_open_sizes of compute/backend.h. */
ec_status ec__cuda_backend_open_sizes(const ec_backend_options *options, ec_backend **out);

#ifdef __cplusplus
}
#endif

#endif
