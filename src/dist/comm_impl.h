/* What the communicators share behind comm.h. Only src/dist includes it. */
#ifndef EC_DIST_COMM_IMPL_H
#define EC_DIST_COMM_IMPL_H

#include <stdbool.h>

#include "dist/comm.h"

/* What a rank is calling. Names in ec__comm_call_name. */
typedef enum ec_comm_call {
    EC_CALL_NONE, /* between two collectives */
    EC_CALL_ALL_GATHER,
    EC_CALL_ALL_REDUCE_ORDERED,
    EC_CALL_REDUCE_SCATTER_ORDERED,
    EC_CALL_ALL_REDUCE_FAST,
    EC_CALL_BROADCAST,
    EC_CALL_BARRIER,
    EC_CALL_CLOSE,
    EC_CALL_OPEN,
    EC_CALL_DEVICE, /* the host waits for its GPU; where that is stands in ec_comm_where.device */
    EC_CALLS
} ec_comm_call;

const char *ec__comm_call_name(ec_comm_call call);

/* The two halves of ec_comm_where.place. */
static inline uint64_t ec__place_number(uint64_t place) { return place >> 8; }
static inline ec_comm_call ec__place_call(uint64_t place) { return (ec_comm_call)(place & 0xff); }

/* What a communicator of any kind begins with. */
void ec__comm_init(ec_comm *comm);

/* Around every collective: counts it, and tells the watch where this rank is. ec__comm_leave returns status. */
void ec__comm_enter(ec_comm *comm, ec_comm_call call);
ec_status ec__comm_leave(ec_comm *comm, ec_status status);

/* The error that this collective ends with is known to all ranks (ec__comm_fail). */
void ec__comm_all_know(ec_comm *comm);

/* For a communicator over a GPU's memory: the rank begins or ends to wait for the GPU; where that has come to. */
void ec__comm_await_device(ec_comm *host, bool waiting);
void ec__comm_device_at(ec_comm *host, uint64_t place, uint64_t bytes);

ec_status ec__comm_open_self(ec_comm **out);

/* The bytes of a gathered array's part (ec__comm_all_gather_part) that are one rank's. */
typedef struct ec_comm_share {
    size_t from, to, count; /* where they begin among the rank's own, and in the part; how many, perhaps none */
} ec_comm_share;

static inline ec_comm_share ec__comm_share(size_t bytes, size_t begin, size_t count, int32_t rank) {
    const size_t first = (size_t)rank * bytes, end = begin + count;
    const size_t low = first > begin ? first : begin, high = first + bytes < end ? first + bytes : end;
    return (ec_comm_share){low - first, low - begin, high > low ? high - low : 0};
}

/* all_gather_part by a broadcast of every rank that has something of it, for host memory. */
ec_status ec__comm_part_by_broadcasts(ec_comm *comm, const void *mine, size_t bytes, size_t begin, size_t count,
                                      void *part);

/* For all_reduce_pieces where an exchange costs little. */
ec_status ec__comm_piece_by_piece(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces, float *to);

/* For slots that have nothing to do. */
ec_status ec__comm_nothing(ec_comm *comm);
ec_status ec__comm_no_mark(ec_comm *comm, int32_t mark);
ec_status ec__comm_no_prepare(ec_comm *comm, int32_t local_leaves, int64_t count);

/* The collectives of a single rank, for a communicator of another kind that has only one. */
extern const ec_comm_ops ec__comm_self_ops;

/* Collective. window: share memory inside the node where all ranks are on one. */
ec_status ec__comm_open_mpi(bool window, ec_comm **out);

/* Messages above this are cut in pieces; all ranks must set the same. Tests make it small. */
void ec__comm_set_piece(ec_comm *comm, size_t bytes);

#endif
