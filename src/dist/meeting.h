/* A barrier among processes that share memory.
 *
 * Every rank has a counter of the meetings it has come to, on a cache line of its own; a rank waits until all counters
 * have reached its own. It spins for a while where ranks have processors of their own, then lets others run, then
 * sleeps on the counter of a rank that is missing. */
#ifndef EC_DIST_MEETING_H
#define EC_DIST_MEETING_H

#include <stdatomic.h>

#include "dist/ticket.h"

/* One rank's place in the shared memory. Tickets are kept for two meetings: a rank may come to the next one while
 * others still read the ticket of this one, but not to the one after it. */
typedef struct ec_seat {
    _Alignas(128) _Atomic uint32_t arrived; /* two cache lines: neighbours are fetched in pairs */
    _Atomic uint32_t sleepers;              /* ranks that sleep on arrived */
    ec_ticket ticket[2];
} ec_seat;

typedef struct ec_meeting {
    ec_comm *comm;
    ec_seat *seat;  /* (size), shared, zero at first */
    uint32_t now;   /* meetings this rank has come to */
    int32_t spins;  /* rounds of busy waiting */
    int32_t yields; /* times that others are then let run, before sleep */
    bool closed;    /* some rank came for EC_CALL_CLOSE: it comes no more */
} ec_meeting;

/* Collective: comes to the next meeting and waits for all. EC_ERR_DIST, on all ranks, where tickets differ. */
ec_status ec__meet(ec_meeting *meeting, const ec_ticket *ticket);

#endif
