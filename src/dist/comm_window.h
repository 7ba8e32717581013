/* Collectives among the ranks of one node through memory that they share.
 *
 * A rank writes its part where the others read it; the only message is "I have come to meeting number n", a counter per
 * rank. Data lies in two halves used in turn: who writes into a half again has been through the meeting in between, and
 * so knows that nobody still reads what was there. One meeting is thus enough for a gather.
 *
 * A rank brings a ticket to every meeting: what it is calling, with what size. Tickets that differ are an error on all
 * ranks. */
#ifndef EC_DIST_COMM_WINDOW_H
#define EC_DIST_COMM_WINDOW_H

#include <mpi.h>

#include "dist/comm_impl.h"

typedef struct ec_window ec_window;

/* Collective over node, which holds all ranks of comm in the same order. Both are borrowed. EC_ERR_ENV, on all ranks,
 * where they cannot share memory. */
ec_status ec__window_open(ec_comm *comm, MPI_Comm node, ec_window **out);
void ec__window_close(ec_window *window); /* accepts NULL */

/* Has a rank closed the window while others called something else? Then there are no more meetings. */
bool ec__window_has_closed(const ec_window *window);

/* Sets the size of pieces, and four times that as the largest view that is read in place. */
void ec__window_set_piece(ec_window *window, size_t bytes);

/* The collectives of comm.h. */
ec_status ec__window_all_gather(ec_window *window, const void *mine, void *all, size_t bytes);
ec_status ec__window_all_gather_view(ec_window *window, const void *mine, const void **all, size_t bytes);
ec_status ec__window_broadcast(ec_window *window, void *x, size_t bytes, int32_t root);
ec_status ec__window_barrier(ec_window *window, ec_comm_call call);

/* Sums local_leaves arrays a rank in the fixed tree. out gets all of the sums, or this rank's part where call is
 * EC_CALL_REDUCE_SCATTER_ORDERED. With one leaf a rank, out may be leaves. */
ec_status ec__window_reduce(ec_window *window, ec_comm_call call, const float *leaves, int32_t local_leaves,
                            int64_t count, float *out);

#endif
