#define _GNU_SOURCE
#include "dist/roll_call.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "dist/mpi_error.h"

enum { TAG_ASK = 1, TAG_ANSWER = 2 };

/* Long against the interval at which waiting ranks look for questions, and against any network's latency. */
static const double answer_time_s = 2.0;

typedef struct place {
    uint64_t number; /* of the collective; 0: no answer */
    int64_t call;    /* ec_comm_call */
} place;

/* The message is small enough to be sent at once, and outlives the call in any case. */
static ec_status send_place(ec_comm *comm, MPI_Comm world, ec_comm_call call, int to, int tag) {
    ec_status status = EC_OK;
    static place here;
    MPI_Request request;
    here = (place){comm->number, call};
    EC_MPI(MPI_Isend(&here, (int)sizeof here, MPI_BYTE, to, tag, world, &request));
    EC_MPI(MPI_Request_free(&request));
done:
    return status;
}

/* Takes one message of that tag, if there is one. */
static ec_status receive_place(MPI_Comm world, int tag, bool *got, int *from, place *there) {
    ec_status status = EC_OK;
    MPI_Status info;
    int flag = 0;
    EC_MPI(MPI_Iprobe(MPI_ANY_SOURCE, tag, world, &flag, &info));
    *got = flag != 0;
    if (!flag) goto done;
    *from = info.MPI_SOURCE;
    EC_MPI(MPI_Recv(there, (int)sizeof *there, MPI_BYTE, *from, tag, world, MPI_STATUS_IGNORE));
done:
    return status;
}

ec_status ec__roll_answer(ec_comm *comm, MPI_Comm world, ec_comm_call call) {
    ec_status status = EC_OK;
    bool got = true;
    int from = 0;
    place there;
    for (;;) {
        EC_TRY(receive_place(world, TAG_ASK, &got, &from, &there));
        if (!got) break;
        EC_TRY(send_place(comm, world, call, from, TAG_ANSWER));
    }
done:
    return status;
}

/* Notes who answers, and who asks at the same time. */
static ec_status collect(ec_comm *comm, MPI_Comm world, ec_comm_call call, place *at) {
    ec_status status = EC_OK;
    const int64_t start_ns = ec__now_ns();
    int heard = 1, from = 0;
    bool got = false;
    place there;
    for (int32_t r = 0; r < comm->size; r++)
        if (r != comm->rank) EC_TRY(send_place(comm, world, call, r, TAG_ASK));
    while (heard < comm->size && ec__seconds_since(start_ns) < answer_time_s) {
        for (int tag = TAG_ASK; tag <= TAG_ANSWER; tag++) {
            EC_TRY(receive_place(world, tag, &got, &from, &there));
            if (!got) continue;
            if (at[from].number == 0) heard++;
            at[from] = there;
            if (tag == TAG_ASK) EC_TRY(send_place(comm, world, call, from, TAG_ANSWER));
        }
        sched_yield();
    }
done:
    return status;
}

void ec__roll_ask(ec_comm *comm, MPI_Comm world, ec_comm_call call, char *text, size_t size) {
    place *at = calloc((size_t)comm->size, sizeof *at);
    size_t used = 0;
    text[0] = '\0';
    if (!at || collect(comm, world, call, at) != EC_OK) goto done;
    for (int32_t r = 0; r < comm->size && used + 80 < size; r++)
        if (r != comm->rank && at[r].number == 0)
            used += (size_t)snprintf(text + used, size - used, "%s%d", used ? ", " : "", r);
    for (int32_t r = 0; r < comm->size && used + 80 < size; r++)
        if (at[r].number != 0 && (at[r].number != comm->number || at[r].call != call))
            used += (size_t)snprintf(text + used, size - used, "%s%d (waits in %s, number %llu)", used ? ", " : "", r,
                                     ec__comm_call_name((ec_comm_call)at[r].call), (unsigned long long)at[r].number);
done:
    free(at);
}
