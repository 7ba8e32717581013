/* Collectives by MPI alone: between nodes, and the reference of the shared-memory window.
 *
 * They are started without blocking and polled, so that a rank that waits long leaves its processor to others. Messages
 * are cut in pieces well under the 2^31 elements that MPI counts.
 *
 * Beside the message a small sum compares the ranks' tickets: MPI does not notice that ranks call different things, and
 * may even give a result. It costs about a microsecond, where a gather of 64 KB takes 18 (two ranks of one host). After
 * a failure MPI must not be called any more: its messages may still be under way. */
#ifndef EC_DIST_COMM_PLAIN_H
#define EC_DIST_COMM_PLAIN_H

#include <mpi.h>

#include "dist/ticket.h"

enum { EC_TICKET_WORDS = 3 };

typedef struct ec_plain {
    ec_comm *comm;
    MPI_Comm world;
    MPI_Comm desk; /* where tickets are compared: ranks whose calls differ still call the same thing here */
    ec_ticket ticket;
    uint64_t shown[2 * EC_TICKET_WORDS], seen[2 * EC_TICKET_WORDS]; /* of the comparison under way */
    MPI_Request comparison;
    size_t piece;  /* largest message, in bytes */
    char *work[2]; /* work space; grown, never shrunk */
    size_t work_bytes[2];
} ec_plain;

enum { EC_PLAIN_PIECE = 64 << 20 };

/* Collective over world, which is borrowed. */
ec_status ec__plain_init(ec_plain *plain, ec_comm *comm, MPI_Comm world);
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
