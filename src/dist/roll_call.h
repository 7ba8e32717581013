/* Finding out, by messages, who is missing from a collective that does not end.
 *
 * A rank whose deadline has passed asks all others; ranks that wait in a collective answer with what they wait in. Who
 * does not answer has not come. */
#ifndef EC_DIST_ROLL_CALL_H
#define EC_DIST_ROLL_CALL_H

#include <mpi.h>

#include "dist/comm_impl.h"

/* To be called now and then while waiting in call: answers those who ask. */
ec_status ec__roll_answer(ec_comm *comm, MPI_Comm world, ec_comm_call call);

/* Asks all and waits a little for answers. text receives the ranks that gave none ("2, 5"), and after them those that
 * wait elsewhere; "" where all are in call. */
void ec__roll_ask(ec_comm *comm, MPI_Comm world, ec_comm_call call, char *text, size_t size);

#endif
