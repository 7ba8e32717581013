/* What the device itself does for the communicator over its memory. Plain C and CUDA alike. */
#ifndef EC_DIST_COMM_NCCL_KERNELS_H
#define EC_DIST_COMM_NCCL_KERNELS_H

#include "compute/cuda/cuda.h" /* how the module turns CUDA's errors into ours */

#ifdef __cplusplus
extern "C" {
#endif

/* A queue in the form in which kernels are launched on it. */
typedef struct ec_nccl_queue {
    cudaStream_t queue;
} ec_nccl_queue;

/* What the device tells the host: mapped memory of the host. */
typedef struct ec_nccl_place {
    uint64_t place; /* number << 8 | kind of the last collective that it has come to, as in ec_comm_where */
    uint64_t bytes; /* its size */
} ec_nccl_place;

/* The device has come to its next collective, of that kind (ec_comm_call) and size. counter: memory of the device. */
ec_status ec__nccl_mark(const ec_nccl_queue *queue, uint64_t *counter, volatile ec_nccl_place *place, int32_t call,
                        size_t bytes);

/* Sums in the tree of dist/tree.h; leaf l begins at leaves + l * stride. leaves may be used as work space; out may be
 * the first of them. */
ec_status ec__nccl_tree_sum(const ec_nccl_queue *queue, float *leaves, int64_t stride, int32_t leaf_count,
                            int64_t count, float *out);

#ifdef __cplusplus
}
#endif

#endif
