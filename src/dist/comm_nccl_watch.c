/* Knowing what the device has come to, and waiting for it. The deadline is kept by the thread that watches over the
 * host communicator (dist/watch.h): while a rank waits here, its place is the device's. */
#define _GNU_SOURCE
#include "dist/comm_nccl_impl.h"

#include <sched.h>
#include <time.h>

#include "core/clock.h"
#include "core/log.h"

/* For so long a waiting rank only looks again; then it naps between looks, the longer the longer it has waited. */
enum { PATIENCE_NS = 2000000, NAP_NS = 20000, LONGEST_NAP_NS = 1000000 };

/* NCCL learns that a peer has gone before anybody knows which rank that was: so much time to find out. */
static const double naming_s = 4;

ec_status ec__nccl_watch_open(ec_nccl_comm *n) {
    ec_status status = EC_OK;
    void *place = NULL;
    EC_TRY(EC_CUDA(cudaEventCreateWithFlags(&n->forked, cudaEventDisableTiming)));
    EC_TRY(EC_CUDA(cudaEventCreateWithFlags(&n->joined, cudaEventDisableTiming)));
    EC_TRY(EC_CUDA(cudaEventCreateWithFlags(&n->milestone, cudaEventDisableTiming)));
    EC_TRY(EC_CUDA(cudaMalloc((void **)&n->counter, sizeof *n->counter)));
    EC_TRY(EC_CUDA(cudaMemsetAsync(n->counter, 0, sizeof *n->counter, n->main.queue)));
    /* Host and device share one address space, so the address is good on both sides. */
    EC_TRY(EC_CUDA(cudaHostAlloc(&place, sizeof *n->place, cudaHostAllocMapped)));
    n->place = place;
    n->place->place = EC_CALL_OPEN;
    n->place->bytes = 0;
    ec__comm_device_at(n->base.host, n->place->place, 0);
done:
    return status;
}

void ec__nccl_watch_close(ec_nccl_comm *n) {
    if (n->forked) (void)cudaEventDestroy(n->forked);
    if (n->joined) (void)cudaEventDestroy(n->joined);
    if (n->milestone) (void)cudaEventDestroy(n->milestone);
    for (int i = 0; i <= EC_COMM_MARKS; i++)
        if (n->reached[i]) (void)cudaEventDestroy(n->reached[i]);
    if (n->counter) (void)cudaFree(n->counter);
    if (n->place) (void)cudaFreeHost((void *)(uintptr_t)n->place);
    (void)cudaGetLastError();
}

static void nap(int64_t ns) {
    const int64_t least = ns < NAP_NS ? NAP_NS : ns;
    const struct timespec time = {.tv_nsec = least < LONGEST_NAP_NS ? least : LONGEST_NAP_NS};
    nanosleep(&time, NULL);
}

/* One look of a rank that waits. Ends the run when NCCL has failed: others may wait for ever for what it should have
 * done. */
ec_status ec__nccl_look(ec_nccl_comm *n, ec_nccl_wait *wait) {
    const int64_t waited_ns = ec__now_ns() - wait->since_ns;
    ec__comm_device_at(n->base.host, n->place->place, n->place->bytes);
    if (wait->failed_ns == 0 && ec__nccl_link_error(n) != EC_OK) {
        wait->failed_ns = ec__now_ns();
        ec__log(EC_LOG_ERROR, "%s", ec_error_last()->text);
    }
    if (wait->failed_ns != 0 && ec__seconds_since(wait->failed_ns) > naming_s) {
        n->broken = true;
        n->base.ops->abort(&n->base, ec_status_exit_code(EC_ERR_DIST), ec_error_last()->text);
        return EC_ERR_DIST;
    }
    if (waited_ns < PATIENCE_NS) sched_yield();
    else nap(waited_ns / 100);
    return EC_OK;
}

ec_nccl_wait ec__nccl_wait_begin(ec_nccl_comm *n) {
    ec__comm_device_at(n->base.host, n->place->place, n->place->bytes);
    ec__comm_await_device(n->base.host, true);
    return (ec_nccl_wait){.since_ns = ec__now_ns()};
}

void ec__nccl_wait_end(ec_nccl_comm *n) {
    ec__comm_device_at(n->base.host, n->place->place, n->place->bytes);
    ec__comm_await_device(n->base.host, false);
}

ec_status ec__nccl_open_marks(ec_nccl_comm *n) {
    for (int i = 0; i <= EC_COMM_MARKS; i++)
        EC_RETURN_IF(EC_CUDA(cudaEventCreateWithFlags(&n->reached[i], cudaEventDisableTiming)));
    return EC_OK;
}

ec_status ec__nccl_mark_queue(ec_comm *comm, int32_t mark) {
    ec_nccl_comm *n = ec__nccl(comm);
    return EC_CUDA(cudaEventRecord(n->reached[mark], n->main.queue));
}

static ec_status has_come(cudaEvent_t reached, bool *out) {
    const cudaError_t error = cudaEventQuery(reached);
    *out = error == cudaSuccess;
    if (error != cudaErrorNotReady) return ec__cuda_status(error, "cudaEventQuery", __FILE__, __LINE__, __func__);
    (void)cudaGetLastError(); /* not an error, but kept as one */
    return EC_OK;
}

static ec_status wait_for_mark(ec_nccl_comm *n, int32_t mark, ec_nccl_wait *wait) {
    bool come = false;
    for (;;) {
        EC_RETURN_IF(has_come(n->reached[mark], &come));
        if (come) return EC_OK;
        EC_RETURN_IF(ec__nccl_look(n, wait));
    }
}

ec_status ec__nccl_wait(ec_comm *comm, int32_t mark) {
    ec_nccl_comm *n = ec__nccl(comm);
    if (!n->link) return EC_CUDA(cudaEventSynchronize(n->reached[mark]));
    ec_nccl_wait wait = ec__nccl_wait_begin(n);
    const ec_status status = wait_for_mark(n, mark, &wait);
    ec__nccl_wait_end(n);
    if (status != EC_OK) n->broken = true;
    return status;
}
