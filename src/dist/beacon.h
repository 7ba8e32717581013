/* Asking other ranks where they are, beside MPI: one UDP socket a rank, over IPv4.
 *
 * MPI is called by the main thread alone, which may be stuck in it or busy elsewhere; these questions are asked and
 * answered by a thread of their own (dist/watch.h). A process that was stopped, has ended or is cut off does not
 * answer, one that is merely slow does. Nothing is sent unless somebody asks.
 *
 * Every rank tells the others all addresses of its host; the first from which an answer comes is kept. Packets of other
 * runs are told apart by a number that rank 0 draws. */
#ifndef EC_DIST_BEACON_H
#define EC_DIST_BEACON_H

#include <mpi.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "dist/comm_impl.h"

enum { EC_HOST_BYTES = 64, EC_DOING_BYTES = 48 };

/* Where a rank said that it was. */
typedef struct ec_whereabouts {
    uint64_t place, device, device_bytes; /* as ec_comm_where */
    int64_t step;
    double doing_s; /* for how long it has been doing that */
    char doing[EC_DOING_BYTES];
} ec_whereabouts;

/* What is known of a rank. Written by the thread that listens; host never changes. */
typedef struct ec_peer {
    char host[EC_HOST_BYTES];
    _Atomic bool heard; /* it has answered once, so that silence means something */
    bool answered;      /* since the caller set it to false */
    bool refused;       /* likewise: its host says that nobody listens there any more */
    ec_whereabouts at;  /* last answer */
} ec_peer;

typedef struct ec_beacon ec_beacon;

/* Collective over world. *out also where this rank can have no socket: then nobody hears from anybody. */
ec_status ec__beacon_open(ec_comm *comm, MPI_Comm world, ec_beacon **out);
void ec__beacon_close(ec_beacon *beacon); /* accepts NULL */

ec_peer *ec__beacon_peer(ec_beacon *beacon, int32_t rank);

/* Ranks besides this one that have answered once. From any thread. */
int32_t ec__beacon_heard(const ec_beacon *beacon);

/* For the listening thread. Asks a rank; the answer is taken by a later ec__beacon_listen, which answers others'
 * questions and returns after timeout_ns or when ec__beacon_wake was called from another thread. */
void ec__beacon_ask(ec_beacon *beacon, int32_t rank);
void ec__beacon_listen(ec_beacon *beacon, int64_t timeout_ns);
void ec__beacon_wake(ec_beacon *beacon);

#endif
