#include "dist/comm_count.h"

#include <stdlib.h>

#include "dist/comm_impl.h"
#include "dist/comm_nccl.h"

typedef struct count_comm {
    ec_comm base; /* first */
    bool device;
    ec_exchange *exchange;
} count_comm;

static ec_status count(ec_comm *comm, double bytes) {
    ec_exchange *x = ((count_comm *)(void *)comm)->exchange;
    x->collectives++;
    x->bytes += bytes;
    return EC_OK;
}

static ec_status count_prepare(ec_comm *comm, int32_t local_leaves, int64_t floats) {
    const count_comm *c = (count_comm *)(void *)comm;
    if (!c->device || comm->size == 1) return EC_OK;
    const size_t bytes = ec__nccl_reduce_bytes(comm->size, local_leaves, floats);
    if (bytes > c->exchange->work_bytes) c->exchange->work_bytes = bytes;
    return EC_OK;
}

static double others(const ec_comm *comm) { return comm->size - 1; }

static ec_status count_all_gather(ec_comm *comm, const void *mine, void *all, size_t bytes) {
    (void)mine, (void)all;
    return count(comm, others(comm) * (double)bytes);
}

static ec_status count_all_gather_view(ec_comm *comm, const void *mine, const void **all, size_t bytes) {
    *all = mine;
    return count(comm, others(comm) * (double)bytes);
}

/* Of the part, all that is not this rank's. */
static ec_status count_all_gather_part(ec_comm *comm, const void *mine, size_t bytes, size_t begin, size_t part_bytes,
                                       void *part) {
    (void)mine, (void)part;
    return count(comm, (double)(part_bytes - ec__comm_share(bytes, begin, part_bytes, comm->rank).count));
}

/* Every rank receives its part of each leaf of the others, then the parts of the sum. */
static ec_status count_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t floats,
                                          float *out) {
    (void)leaves, (void)out;
    const double part = (double)floats * sizeof(float) / comm->size;
    return count(comm, others(comm) * part * (local_leaves + 1));
}

static ec_status count_reduce_scatter_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t floats,
                                              float *out) {
    (void)leaves, (void)out;
    return count(comm, others(comm) * (double)floats * sizeof(float) / comm->size * local_leaves);
}

static ec_status count_all_reduce_fast(ec_comm *comm, float *x, int64_t floats) {
    (void)x;
    return count(comm, 2 * others(comm) * (double)floats * sizeof(float) / comm->size);
}

/* One collective. */
static ec_status count_all_reduce_pieces(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces,
                                         float *to) {
    int64_t floats = 0;
    for (int32_t i = 0; i < pieces; i++) floats += piece[i].count;
    return from ? count_all_reduce_ordered(comm, from, 1, floats, to) : count_all_reduce_fast(comm, to, floats);
}

static ec_status count_broadcast(ec_comm *comm, void *x, size_t bytes, int32_t root) {
    (void)x, (void)root;
    return count(comm, (double)bytes);
}

static ec_status count_barrier(ec_comm *comm) { return count(comm, 0); }

static void count_abort(ec_comm *comm, int exit_code, const char *why) { (void)comm, (void)exit_code, (void)why; }

static void count_close(ec_comm *comm) { free(comm); }

static const ec_comm_ops count_ops = {
    .all_gather = count_all_gather,
    .all_gather_view = count_all_gather_view,
    .all_gather_part = count_all_gather_part,
    .all_reduce_ordered = count_all_reduce_ordered,
    .reduce_scatter_ordered = count_reduce_scatter_ordered,
    .all_reduce_fast = count_all_reduce_fast,
    .all_reduce_pieces = count_all_reduce_pieces,
    .broadcast = count_broadcast,
    .barrier = count_barrier,
    .fork = ec__comm_nothing,
    .join = ec__comm_nothing,
    .milestone = ec__comm_nothing,
    .pass_milestone = ec__comm_nothing,
    .prepare = count_prepare,
    .mark = ec__comm_no_mark,
    .wait = ec__comm_no_mark,
    .abort = count_abort,
    .close = count_close,
};

ec_status ec__comm_open_count(int32_t ranks, bool device, ec_exchange *exchange, ec_comm **out) {
    count_comm *c = calloc(1, sizeof *c);
    if (!c) return EC_ERROR(EC_ERR_MEMORY, "no memory for a communicator");
    c->base.ops = &count_ops;
    c->base.kind = "count";
    c->base.size = c->base.node_size = ranks;
    c->base.host = &c->base;
    c->base.beside = device && ranks > 1;
    c->device = device;
    c->exchange = exchange;
    *out = &c->base;
    return EC_OK;
}
