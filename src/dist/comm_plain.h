/* Collectives by MPI alone: between nodes, and the reference of the shared-memory window.
 *
 * They are started without blocking and polled, so that a rank that waits long leaves its processor to others. Messages
 * are cut in pieces well under the 2^31 elements that MPI counts. */
#ifndef EC_DIST_COMM_PLAIN_H
#define EC_DIST_COMM_PLAIN_H

#include <mpi.h>

#include "dist/comm_impl.h"

typedef struct ec_plain {
    ec_comm *comm;
    MPI_Comm world;
    size_t piece;  /* largest message, in bytes */
    char *work[2]; /* work space; grown, never shrunk */
    size_t work_bytes[2];
} ec_plain;

enum { EC_PLAIN_PIECE = 64 << 20 };

void ec__plain_release(ec_plain *plain);

/* The collectives of comm.h; reduce as ec__window_reduce. */
ec_status ec__plain_all_gather(ec_plain *plain, const void *mine, void *all, size_t bytes);
ec_status ec__plain_all_gather_view(ec_plain *plain, const void *mine, const void **all, size_t bytes);
ec_status ec__plain_broadcast(ec_plain *plain, void *x, size_t bytes, int32_t root);
ec_status ec__plain_barrier(ec_plain *plain, ec_comm_call call);
ec_status ec__plain_all_reduce_fast(ec_plain *plain, float *x, int64_t count);
ec_status ec__plain_reduce(ec_plain *plain, ec_comm_call call, const float *leaves, int32_t local_leaves, int64_t count,
                           float *out);

#endif
