/* Communicators: how the ranks of a run exchange arrays.
 *
 * Kinds: self (one rank, no library), mpi (host memory; a shared-memory window inside a node). A GPU communicator comes
 * behind the same table.
 *
 * Every function marked "collective" must be called by all ranks in the same order, from the rank's main thread, and
 * blocks until the result is complete on this rank. When a rank cannot go on it calls ec__comm_abort, which ends the
 * whole run; the others then fail with EC_ERR_DIST or are ended. */
#ifndef EC_DIST_COMM_H
#define EC_DIST_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct ec_comm ec_comm;

typedef struct ec_comm_ops {
    ec_status (*all_gather)(ec_comm *comm, const void *mine, void *all, size_t bytes);
    ec_status (*all_reduce_ordered)(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out);
    ec_status (*all_reduce_fast)(ec_comm *comm, float *x, int64_t count);
    ec_status (*broadcast)(ec_comm *comm, void *x, size_t bytes, int32_t root);
    ec_status (*barrier)(ec_comm *comm);
    void (*abort)(ec_comm *comm, int exit_code, const char *why);
    void (*close)(ec_comm *comm);
} ec_comm_ops;

struct ec_comm {
    const ec_comm_ops *ops;
    const char *kind; /* "self", "mpi" */
    int32_t rank, size;
    int32_t node_rank, node_size; /* among the ranks of this host */
};

/* Collective. Opens "self", "mpi", or "auto": mpi when the process was started by an MPI launcher with more than one
 * rank, else self (MPI is then not even initialised). The caller owns it and ends it with ec__comm_close. */
ec_status ec__comm_open(const char *kind, ec_comm **out);
void ec__comm_close(ec_comm *comm); /* collective; accepts NULL */

/* Collective. all (size * bytes) receives every rank's bytes in rank order. mine may be all + rank * bytes. */
ec_status ec__comm_all_gather(ec_comm *comm, const void *mine, void *all, size_t bytes);

/* Collective. Sums arrays in the fixed tree of dist/tree.h over all leaves of all ranks (rank 0's first), so the bits do
 * not depend on how the leaves are spread over ranks. leaves: local_leaves arrays of count floats, back to back; they are
 * used as work space and undefined afterwards. Every rank brings the same number of leaves. out (count) may not overlap
 * them. */
ec_status ec__comm_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out);

/* Collective. x (count) becomes the sum over ranks, in an order of the library's choice. */
ec_status ec__comm_all_reduce_fast(ec_comm *comm, float *x, int64_t count);

/* Collective. Rank root's bytes to all. */
ec_status ec__comm_broadcast(ec_comm *comm, void *x, size_t bytes, int32_t root);
ec_status ec__comm_barrier(ec_comm *comm);

/* Collective. Ranks learn whether all are well: returns EC_OK when every rank passed EC_OK, else on every rank the error
 * record of the lowest failing rank (code, text, rank number). To be called between phases: after opening files, after
 * building a cache. */
ec_status ec__comm_agree(ec_comm *comm, ec_status mine);

/* Ends the run on all ranks with exit_code; why is printed by the launcher's log with this rank's number. Not collective.
 * Does not return in a multi-rank run. */
void ec__comm_abort(ec_comm *comm, int exit_code, const char *why);

#endif
