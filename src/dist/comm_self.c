#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "dist/comm_impl.h"
#include "dist/tree.h"

static ec_status self_all_gather(ec_comm *comm, const void *mine, void *all, size_t bytes) {
    (void)comm;
    if (mine != all && bytes > 0) memcpy(all, mine, bytes);
    return EC_OK;
}

static ec_status self_all_gather_view(ec_comm *comm, const void *mine, const void **all, size_t bytes) {
    (void)comm, (void)bytes;
    *all = mine;
    return EC_OK;
}

static ec_status self_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count,
                                         float *out) {
    (void)comm;
    ec__tree_sum_to(leaves, count, local_leaves, count, out);
    return EC_OK;
}

static ec_status self_all_reduce_fast(ec_comm *comm, float *x, int64_t count) {
    (void)comm, (void)x, (void)count;
    return EC_OK;
}

static ec_status self_broadcast(ec_comm *comm, void *x, size_t bytes, int32_t root) {
    (void)comm, (void)x, (void)bytes, (void)root;
    return EC_OK;
}

static void self_abort(ec_comm *comm, int exit_code, const char *why) {
    (void)comm;
    ec__log(EC_LOG_ERROR, "%s (exit code %d)", why, exit_code);
}

static void self_close(ec_comm *comm) { free(comm); }

/* With one rank, part 0 of the sums is all of them. */
const ec_comm_ops ec__comm_self_ops = {
    .all_gather = self_all_gather,
    .all_gather_view = self_all_gather_view,
    .all_gather_part = ec__comm_part_by_broadcasts,
    .all_reduce_ordered = self_all_reduce_ordered,
    .reduce_scatter_ordered = self_all_reduce_ordered,
    .all_reduce_fast = self_all_reduce_fast,
    .all_reduce_pieces = ec__comm_piece_by_piece,
    .broadcast = self_broadcast,
    .barrier = ec__comm_nothing,
    .fork = ec__comm_nothing,
    .join = ec__comm_nothing,
    .milestone = ec__comm_nothing,
    .pass_milestone = ec__comm_nothing,
    .prepare = ec__comm_no_prepare,
    .mark = ec__comm_no_mark,
    .wait = ec__comm_no_mark,
    .abort = self_abort,
    .close = self_close,
};

ec_status ec__comm_open_self(ec_comm **out) {
    ec_comm *comm = calloc(1, sizeof *comm);
    if (!comm) return EC_ERROR(EC_ERR_MEMORY, "no memory for a communicator");
    comm->ops = &ec__comm_self_ops;
    comm->kind = "self";
    comm->size = comm->node_size = 1;
    ec__comm_init(comm);
    *out = comm;
    return EC_OK;
}
