/* The communicator over a GPU's memory: opening, closing, and all collectives but ordered sums. */
#include "dist/comm_nccl.h"

#include <assert.h>
#include <stdlib.h>

#include "core/log.h"
#include "dist/comm_nccl_impl.h"

static bool recording(const ec_nccl_comm *n) {
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    if (cudaStreamIsCapturing(n->main.queue, &status) != cudaSuccess) (void)cudaGetLastError();
    return status != cudaStreamCaptureStatusNone;
}

ec_status ec__nccl_room(ec_nccl_comm *n, size_t bytes, void **out) {
    if (bytes > n->room_bytes) {
        const size_t twice = 2 * n->room_bytes, want = bytes > twice ? bytes : twice;
        void *room = NULL;
        if (recording(n))
            return EC_ERROR(EC_ERR_USAGE, "a collective within a recording needs %zu bytes of work space, and %zu were "
                            "prepared", bytes, n->room_bytes);
        assert(n->rooms < EC_NCCL_ROOMS);
        EC_RETURN_IF(EC_CUDA(cudaMalloc(&room, want)));
        n->room[n->rooms++] = room;
        n->room_bytes = want;
    }
    *out = n->rooms ? n->room[n->rooms - 1] : NULL;
    return EC_OK;
}

static ec_status nccl_prepare(ec_comm *comm, int32_t local_leaves, int64_t count) {
    ec_nccl_comm *n = ec__nccl(comm);
    void *room = NULL;
    return n->link ? ec__nccl_room(n, ec__nccl_reduce_bytes(n->base.size, local_leaves, count), &room) : EC_OK;
}

/* Before work for the others is enqueued. */
static ec_status come_to(ec_nccl_comm *n, ec_comm_call call, size_t bytes) {
    if (n->broken)
        return EC_ERROR(EC_ERR_DIST, "%s on a communicator that has failed before", ec__comm_call_name(call));
    return ec__nccl_mark(n->now, n->counter, n->place, call, bytes);
}

/* What a collective returned; remembers a failure. */
static ec_status keep(ec_nccl_comm *n, ec_status status) {
    if (status != EC_OK) n->broken = true;
    return status;
}

static ec_status copy(ec_nccl_comm *n, void *to, const void *from, size_t bytes) {
    if (bytes == 0 || to == from) return EC_OK;
    return EC_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, n->now->queue));
}

static ec_status gather(ec_nccl_comm *n, const void *mine, void *all, size_t bytes) {
    EC_RETURN_IF(come_to(n, EC_CALL_ALL_GATHER, bytes));
    return bytes ? ec__nccl_link_all_gather(n, mine, all, bytes) : EC_OK;
}

static ec_status nccl_all_gather(ec_comm *comm, const void *mine, void *all, size_t bytes) {
    ec_nccl_comm *n = ec__nccl(comm);
    return n->link ? keep(n, gather(n, mine, all, bytes)) : copy(n, all, mine, bytes);
}

static ec_status nccl_all_gather_view(ec_comm *comm, const void *mine, const void **all, size_t bytes) {
    ec_status status = EC_OK;
    ec_nccl_comm *n = ec__nccl(comm);
    void *room = NULL;
    if (!n->link) {
        *all = mine;
        goto done;
    }
    EC_TRY(ec__nccl_room(n, (size_t)comm->size * bytes, &room));
    EC_TRY(keep(n, gather(n, mine, room, bytes)));
    *all = room;
done:
    return status;
}

static ec_status gather_part(ec_nccl_comm *n, const void *mine, size_t bytes, size_t begin, size_t count, void *part) {
    EC_RETURN_IF(come_to(n, EC_CALL_ALL_GATHER, count));
    return count ? ec__nccl_link_gather_part(n, mine, bytes, begin, count, part) : EC_OK;
}

static ec_status nccl_all_gather_part(ec_comm *comm, const void *mine, size_t bytes, size_t begin, size_t count,
                                      void *part) {
    ec_nccl_comm *n = ec__nccl(comm);
    return n->link ? keep(n, gather_part(n, mine, bytes, begin, count, part))
                   : copy(n, part, (const char *)mine + begin, count);
}

static ec_status broadcast(ec_nccl_comm *n, void *x, size_t bytes, int32_t root) {
    EC_RETURN_IF(come_to(n, EC_CALL_BROADCAST, bytes));
    return bytes ? ec__nccl_link_broadcast(n, x, bytes, root) : EC_OK;
}

static ec_status nccl_broadcast(ec_comm *comm, void *x, size_t bytes, int32_t root) {
    ec_nccl_comm *n = ec__nccl(comm);
    return n->link ? keep(n, broadcast(n, x, bytes, root)) : EC_OK;
}

static ec_status all_reduce_fast(ec_nccl_comm *n, float *x, int64_t count) {
    EC_RETURN_IF(come_to(n, EC_CALL_ALL_REDUCE_FAST, (size_t)count * sizeof *x));
    return count ? ec__nccl_link_all_reduce(n, x, count) : EC_OK;
}

static ec_status nccl_all_reduce_fast(ec_comm *comm, float *x, int64_t count) {
    ec_nccl_comm *n = ec__nccl(comm);
    return n->link ? keep(n, all_reduce_fast(n, x, count)) : EC_OK;
}

/* A meeting of hosts, after what they have enqueued. */
static ec_status nccl_barrier(ec_comm *comm) {
    EC_RETURN_IF(ec__comm_wait(comm));
    return ec__comm_barrier(comm->host);
}

/* One rank has nothing to overlap with. */
static ec_status nccl_fork(ec_comm *comm) {
    ec_nccl_comm *n = ec__nccl(comm);
    if (!n->link) return EC_OK;
    EC_RETURN_IF(EC_CUDA(cudaEventRecord(n->forked, n->main.queue)));
    EC_RETURN_IF(EC_CUDA(cudaStreamWaitEvent(n->side.queue, n->forked, 0)));
    n->now = &n->side;
    return EC_OK;
}

static ec_status nccl_join(ec_comm *comm) {
    ec_nccl_comm *n = ec__nccl(comm);
    if (n->now == &n->main) return EC_OK;
    n->now = &n->main;
    EC_RETURN_IF(EC_CUDA(cudaEventRecord(n->joined, n->side.queue)));
    return EC_CUDA(cudaStreamWaitEvent(n->main.queue, n->joined, 0));
}

static ec_status nccl_milestone(ec_comm *comm) {
    ec_nccl_comm *n = ec__nccl(comm);
    return n->now == &n->main ? EC_OK : EC_CUDA(cudaEventRecord(n->milestone, n->side.queue));
}

static ec_status nccl_pass_milestone(ec_comm *comm) {
    ec_nccl_comm *n = ec__nccl(comm);
    return n->now == &n->main ? EC_OK : EC_CUDA(cudaStreamWaitEvent(n->main.queue, n->milestone, 0));
}

static void nccl_abort(ec_comm *comm, int exit_code, const char *why) {
    ec__nccl_link_abort(ec__nccl(comm));
    ec__comm_abort(comm->host, exit_code, why);
}

/* Collective where all is well: NCCL's own ending waits for what was enqueued. */
static void nccl_close(ec_comm *comm) {
    ec_nccl_comm *n = ec__nccl(comm);
    ec__nccl_link_close(n);
    if (n->side.queue) {
        (void)cudaStreamSynchronize(n->side.queue);
        (void)cudaStreamDestroy(n->side.queue);
    }
    ec__nccl_watch_close(n);
    for (int32_t i = 0; i < n->rooms; i++) (void)cudaFree(n->room[i]);
    (void)cudaGetLastError();
    free(n);
}

static const ec_comm_ops nccl_ops = {
    .all_gather = nccl_all_gather,
    .all_gather_view = nccl_all_gather_view,
    .all_gather_part = nccl_all_gather_part,
    .all_reduce_ordered = ec__nccl_all_reduce_ordered,
    .reduce_scatter_ordered = ec__nccl_reduce_scatter_ordered,
    .all_reduce_fast = nccl_all_reduce_fast,
    .all_reduce_pieces = ec__nccl_all_reduce_pieces,
    .broadcast = nccl_broadcast,
    .barrier = nccl_barrier,
    .fork = nccl_fork,
    .join = nccl_join,
    .milestone = nccl_milestone,
    .pass_milestone = nccl_pass_milestone,
    .prepare = nccl_prepare,
    .mark = ec__nccl_mark_queue,
    .wait = ec__nccl_wait,
    .abort = nccl_abort,
    .close = nccl_close,
};

/* Connections are made when they are first used, which takes long and may fail: here, and not in the first step,
 * perhaps inside a recording. */
static ec_status try_all(ec_nccl_comm *n) {
    ec_status status = EC_OK;
    ec_comm *comm = &n->base;
    const int64_t count = 32 * (int64_t)comm->size;
    float *x = NULL, *y = NULL;
    EC_TRY(EC_CUDA(cudaMalloc((void **)&x, (size_t)(2 * count) * sizeof *x)));
    y = x + count;
    EC_TRY(EC_CUDA(cudaMemsetAsync(x, 0, (size_t)(2 * count) * sizeof *x, n->main.queue)));
    EC_TRY(ec__comm_all_gather(comm, x + comm->rank * 32, x, 32 * sizeof *x));
    EC_TRY(ec__comm_reduce_scatter_ordered(comm, x, 1, count, y));
    EC_TRY(ec__comm_all_reduce_fast(comm, y, count));
    EC_TRY(ec__comm_broadcast(comm, y, (size_t)count * sizeof *y, 0));
    EC_TRY(ec__nccl_link_share_parts(n, y, 1, comm->size - 1));
    EC_TRY(ec__comm_wait(comm));
done:
    if (x) (void)cudaFree(x);
    return status;
}

static ec_status open_link(ec_nccl_comm *n) {
    int device = 0;
    EC_RETURN_IF(EC_CUDA(cudaGetDevice(&device)));
    EC_RETURN_IF(ec__nccl_check_sharing(n->base.host, device));
    EC_RETURN_IF(ec__nccl_link_open(n));
    return try_all(n);
}

static ec_status nccl_open(ec_comm *host, void *queue, ec_comm **out) {
    ec_status status = EC_OK;
    ec_nccl_comm *n = calloc(1, sizeof *n);
    if (!n) EC_FAIL(EC_ERR_MEMORY, "no memory for a communicator");
    ec__comm_init(&n->base);
    n->base.ops = &nccl_ops;
    n->base.kind = "nccl";
    n->base.host = host;
    n->base.rank = host->rank;
    n->base.size = host->size;
    n->base.node_rank = host->node_rank;
    n->base.node_size = host->node_size;
    n->base.beside = host->size > 1;
    n->main.queue = queue;
    n->now = &n->main;
    EC_TRY(ec__comm_agree(host, ec__nccl_open_marks(n)));
    if (host->size > 1) {
        EC_TRY(ec__comm_agree(host, ec__nccl_watch_open(n)));
        EC_TRY(EC_CUDA(cudaStreamCreateWithFlags(&n->side.queue, cudaStreamNonBlocking)));
        EC_TRY(open_link(n));
    }
    *out = &n->base;
    n = NULL;
done:
    if (n) nccl_close(&n->base);
    return status;
}

const struct ec_cuda_dist ec__cuda_dist = {.open = nccl_open, .about = ec__nccl_about};
