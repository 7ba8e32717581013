/* What needs NCCL. The communicator does not block: a call may come back before NCCL has taken the work, and is then
 * asked about until it has, with the deadline held. */
#define _GNU_SOURCE
#include <nccl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dist/comm_nccl_impl.h"

/* NCCL's ending of a communicator waits for kernels that may never end. */
enum { ABORT_S = 2 };

struct ec_nccl_link {
    ncclComm_t nccl;
    bool together; /* between ec__nccl_link_together and its end */
    bool aborted;
};

static ec_status failed(ec_nccl_comm *n, ncclResult_t result, const char *call) {
    const ncclComm_t nccl = n->link ? n->link->nccl : NULL;
    const char *detail = ncclGetLastError(nccl);
    return EC_ERROR(EC_ERR_DIST, "%s: %s%s%s", call, ncclGetErrorString(result), detail && *detail ? ": " : "",
                    detail ? detail : "");
}

/* The outcome of a call, waited for. */
static ec_status settle(ec_nccl_comm *n, ncclResult_t result, const char *call) {
    ec_status status = EC_OK;
    if (result == ncclSuccess || (result == ncclInProgress && n->link->together)) return EC_OK;
    ec_nccl_wait wait = ec__nccl_wait_begin(n);
    while (result == ncclInProgress && status == EC_OK) {
        ncclResult_t state = ncclSuccess;
        const ncclResult_t asked = ncclCommGetAsyncError(n->link->nccl, &state);
        result = asked == ncclSuccess ? state : asked;
        if (result == ncclInProgress) status = ec__nccl_look(n, &wait);
    }
    ec__nccl_wait_end(n);
    if (status != EC_OK) return status;
    return result == ncclSuccess ? EC_OK : failed(n, result, call);
}

/* Inside a group nothing is waited for: its end is. */
static ec_status queued(ec_nccl_comm *n, ncclResult_t result, const char *call) {
    return result == ncclSuccess || result == ncclInProgress ? EC_OK : failed(n, result, call);
}

static ec_status get_id(ec_nccl_comm *n, ncclUniqueId *id) {
    ncclResult_t result = ncclSuccess;
    if (n->base.rank == 0) result = ncclGetUniqueId(id);
    return result == ncclSuccess ? EC_OK : failed(n, result, "ncclGetUniqueId");
}

ec_status ec__nccl_link_open(ec_nccl_comm *n) {
    ec_status status = EC_OK;
    ec_comm *host = n->base.host;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId id;
    memset(&id, 0, sizeof id);
    /* All connections at once, rather than some in the middle of a step. */
    setenv("NCCL_RUNTIME_CONNECT", "0", 0);
    EC_TRY(ec__comm_agree(host, get_id(n, &id)));
    EC_TRY(ec__comm_broadcast(host, &id, sizeof id, 0));
    n->link = calloc(1, sizeof *n->link);
    EC_TRY(ec__comm_agree(host, n->link ? EC_OK : EC_ERROR(EC_ERR_MEMORY, "no memory for a communicator")));
    config.blocking = 0;
    EC_TRY(settle(n, ncclCommInitRankConfig(&n->link->nccl, n->base.size, id, n->base.rank, &config),
                  "ncclCommInitRankConfig"));
done:
    if (status != EC_OK) n->broken = true;
    return status;
}

static void *abort_nccl(void *arg) {
    (void)ncclCommAbort((ncclComm_t)arg);
    return NULL;
}

void ec__nccl_link_abort(ec_nccl_comm *n) {
    pthread_t thread;
    struct timespec until;
    if (!n->link || n->link->aborted || !n->link->nccl) return;
    n->link->aborted = true;
    n->broken = true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ABORT_S;
    if (pthread_create(&thread, NULL, abort_nccl, n->link->nccl) != 0) return;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0) pthread_detach(thread);
}

/* ncclCommFinalize waits, without blocking, for what was enqueued; and for ever for the end of graphs in which NCCL has
 * work, so recordings are freed before. */
void ec__nccl_link_close(ec_nccl_comm *n) {
    if (!n->link) return;
    if (n->link->nccl && !n->broken) {
        const ec_status ended = settle(n, ncclCommFinalize(n->link->nccl), "ncclCommFinalize");
        if (ended == EC_OK) {
            /* Whatever it answers, perhaps that it is at it, the communicator is not to be touched again. */
            (void)ncclCommDestroy(n->link->nccl);
            n->link->aborted = true;
        }
    }
    ec__nccl_link_abort(n);
    free(n->link);
    n->link = NULL;
}

ec_status ec__nccl_link_error(ec_nccl_comm *n) {
    ncclResult_t state = ncclSuccess;
    if (!n->link || !n->link->nccl) return EC_OK;
    const ncclResult_t asked = ncclCommGetAsyncError(n->link->nccl, &state);
    if (asked != ncclSuccess) return failed(n, asked, "ncclCommGetAsyncError");
    return queued(n, state, "NCCL on the device");
}

ec_status ec__nccl_link_all_gather(ec_nccl_comm *n, const void *mine, void *all, size_t bytes) {
    return settle(n, ncclAllGather(mine, all, bytes, ncclUint8, n->link->nccl, n->now->queue), "ncclAllGather");
}

ec_status ec__nccl_link_broadcast(ec_nccl_comm *n, void *x, size_t bytes, int32_t root) {
    return settle(n, ncclBroadcast(x, x, bytes, ncclUint8, root, n->link->nccl, n->now->queue), "ncclBroadcast");
}

ec_status ec__nccl_link_all_reduce(ec_nccl_comm *n, float *x, int64_t count) {
    return settle(n, ncclAllReduce(x, x, (size_t)count, ncclFloat32, ncclSum, n->link->nccl, n->now->queue),
                  "ncclAllReduce");
}

/* The end of a group must come whatever happened inside; the first error counts. */
static ec_status end_group(ec_nccl_comm *n, ec_status status) {
    const ncclResult_t ended = ncclGroupEnd();
    return status == EC_OK ? settle(n, ended, "ncclGroupEnd") : status;
}

static ec_status broadcast_parts(ec_nccl_comm *n, float *x, int64_t part, int64_t count) {
    for (int32_t r = 0; r < n->base.size; r++) {
        const size_t length = (size_t)ec__nccl_part(part, count, r);
        float *at = x + r * part;
        if (length == 0) break;
        EC_RETURN_IF(queued(n, ncclBroadcast(at, at, length, ncclFloat32, r, n->link->nccl, n->now->queue),
                            "ncclBroadcast"));
    }
    return EC_OK;
}

ec_status ec__nccl_link_share_parts(ec_nccl_comm *n, float *x, int64_t part, int64_t count) {
    if (part * n->base.size == count)
        return ec__nccl_link_all_gather(n, x + n->base.rank * part, x, (size_t)part * sizeof *x);
    EC_RETURN_IF(queued(n, ncclGroupStart(), "ncclGroupStart"));
    return end_group(n, broadcast_parts(n, x, part, count));
}

/* Who has something of it sends it to all. */
static ec_status broadcast_shares(ec_nccl_comm *n, const char *mine, size_t bytes, size_t begin, size_t count,
                                  char *part) {
    for (int32_t r = 0; r < n->base.size; r++) {
        const ec_comm_share share = ec__comm_share(bytes, begin, count, r);
        char *to = part + share.to;
        if (share.count == 0) continue;
        EC_RETURN_IF(queued(n,
                            ncclBroadcast(r == n->base.rank ? mine + share.from : to, to, share.count, ncclUint8, r,
                                          n->link->nccl, n->now->queue),
                            "ncclBroadcast"));
    }
    return EC_OK;
}

ec_status ec__nccl_link_gather_part(ec_nccl_comm *n, const void *mine, size_t bytes, size_t begin, size_t count,
                                    void *part) {
    EC_RETURN_IF(queued(n, ncclGroupStart(), "ncclGroupStart"));
    return end_group(n, broadcast_shares(n, mine, bytes, begin, count, part));
}

/* Beginning with the next rank, so that not all send to the same one. */
static ec_status send_parts(ec_nccl_comm *n, const float *arrays, int32_t array_count, int64_t count, int64_t part,
                            float *received) {
    const int32_t rank = n->base.rank, size = n->base.size;
    const size_t mine = (size_t)ec__nccl_part(part, count, rank);
    for (int32_t i = 1; i < size; i++) {
        const int32_t to = (rank + i) % size, from = (rank + size - i) % size;
        const size_t theirs = (size_t)ec__nccl_part(part, count, to);
        for (int32_t a = 0; a < array_count && theirs > 0; a++)
            EC_RETURN_IF(queued(n, ncclSend(arrays + a * count + to * part, theirs, ncclFloat32, to, n->link->nccl,
                                            n->now->queue), "ncclSend"));
        for (int32_t a = 0; a < array_count && mine > 0; a++)
            EC_RETURN_IF(queued(n,
                                ncclRecv(received + ((int64_t)from * array_count + a) * part, mine, ncclFloat32, from,
                                         n->link->nccl, n->now->queue),
                                "ncclRecv"));
    }
    return EC_OK;
}

ec_status ec__nccl_link_exchange(ec_nccl_comm *n, const float *arrays, int32_t array_count, int64_t count, int64_t part,
                                 float *received) {
    EC_RETURN_IF(queued(n, ncclGroupStart(), "ncclGroupStart"));
    return end_group(n, send_parts(n, arrays, array_count, count, part, received));
}

ec_status ec__nccl_link_together(ec_nccl_comm *n) {
    EC_RETURN_IF(queued(n, ncclGroupStart(), "ncclGroupStart"));
    n->link->together = true;
    return EC_OK;
}

ec_status ec__nccl_link_together_end(ec_nccl_comm *n, ec_status status) {
    n->link->together = false;
    return end_group(n, status);
}

void ec__nccl_about(char *text, size_t size) {
    int version = 0;
    if (ncclGetVersion(&version) != ncclSuccess) version = 0;
    snprintf(text, size, "NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}
