/* What a rank has come for: ranks that meet compare their tickets, so that one that calls something else than the
 * others, or with another size, is found out at once. */
#ifndef EC_DIST_TICKET_H
#define EC_DIST_TICKET_H

#include <stdbool.h>

#include "dist/comm_impl.h"

typedef struct ec_ticket {
    int32_t call; /* ec_comm_call */
    int32_t root;
    uint64_t number; /* of the collective, from 1 */
    uint64_t bytes;  /* per rank */
} ec_ticket;

bool ec__ticket_same(const ec_ticket *a, const ec_ticket *b);

/* The error of ranks whose tickets differ: EC_ERR_DIST that says what this rank called and what the other did. To be
 * raised on all ranks. */
ec_status ec__ticket_mismatch(ec_comm *comm, const ec_ticket *mine, const ec_ticket *theirs, int32_t other);

#endif
