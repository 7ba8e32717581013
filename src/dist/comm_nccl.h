/* Communicators over the memory of a GPU, in the CUDA module: NCCL between ranks, on top of a host communicator which
 * carries NCCL's id, and by which ranks find out who is missing.
 *
 * Collectives only enqueue, on the queue they were opened with or, between fork and join, on one beside it; all of them
 * may be recorded in a CUDA graph, which is freed before the communicator is closed. Exceptions are barrier and agree,
 * for which the host waits for the queue first.
 *
 * Ordered sums. Data are exchanged by sends and receives, which round nothing, and added by a kernel of ours in the
 * tree of dist/tree.h: the bits are those of every other communicator.
 *
 * Memory. Sums and views need work space as large as what a rank brings to a sum, and as what a view shows. It is
 * allocated at first use, or by ec__comm_prepare before; within a recording a lack of it is an error. It is given back
 * when the communicator is closed and not before, since recordings may point there.
 *
 * Watching. In front of every collective the device counts it and tells its number and kind to memory of the host, in a
 * replayed graph too: so ec__comm_wait knows what the device has come to, and tells the watch (dist/watch.h), which
 * ends the run where others do not come there. When NCCL itself reports an error, the watch has some seconds to find
 * out who has gone; then NCCL's work is ended and the run, with exit code 5. Whoever waits for the queue in another way
 * waits without a deadline. */
#ifndef EC_DIST_COMM_NCCL_H
#define EC_DIST_COMM_NCCL_H

#include <stdbool.h>

#include "dist/comm.h"
#include "dist/tree.h"

/* Sums over at most so many bytes of all ranks' leaves are made by every rank for itself: one exchange instead of two,
 * each of which takes some 10 microseconds whatever its size. */
enum { EC_NCCL_SMALL = 256 << 10 };

/* Whether a rank sums its own leaves first and shows the others their sum only. */
static inline bool ec__nccl_folds(int32_t ranks, int32_t local_leaves) {
    return local_leaves > 1 && ec__tree_aligned(local_leaves * ranks, ranks);
}

/* Work space that is enough for a sum, and for sums of fewer elements. Small sums want all of all ranks' leaves, others
 * this rank's part of them: never less than a smaller sum wants. */
static inline size_t ec__nccl_reduce_bytes(int32_t ranks, int32_t local_leaves, int64_t count) {
    const int32_t shown = ec__nccl_folds(ranks, local_leaves) ? 1 : local_leaves;
    const size_t row = (size_t)shown * (size_t)ranks * sizeof(float), part = (size_t)((count + ranks - 1) / ranks);
    const size_t all = row * (size_t)count < EC_NCCL_SMALL ? row * (size_t)count : EC_NCCL_SMALL;
    return all > row * part ? all : row * part;
}

/* What the module offers to dist/comm_over.c. */
struct ec_cuda_dist {
    /* ec__comm_open_over. */
    ec_status (*open)(ec_comm *host, void *queue, ec_comm **out);
    /* "NCCL 2.28.9", or why this build has none. */
    void (*about)(char *text, size_t size);
};

#endif
