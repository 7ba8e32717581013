#include "dist/comm.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "dist/comm_impl.h"

const char *ec__comm_call_name(ec_comm_call call) {
    static const char *const name[EC_CALLS] = {
        [EC_CALL_NONE] = "no collective",
        [EC_CALL_ALL_GATHER] = "all_gather",
        [EC_CALL_ALL_REDUCE_ORDERED] = "all_reduce_ordered",
        [EC_CALL_REDUCE_SCATTER_ORDERED] = "reduce_scatter_ordered",
        [EC_CALL_ALL_REDUCE_FAST] = "all_reduce_fast",
        [EC_CALL_BROADCAST] = "broadcast",
        [EC_CALL_BARRIER] = "barrier",
        [EC_CALL_CLOSE] = "close",
        [EC_CALL_OPEN] = "opening NCCL",
        [EC_CALL_DEVICE] = "waiting for the GPU",
    };
    return (unsigned)call < EC_CALLS ? name[call] : "an unknown collective";
}

/* Value of an environment variable as a number; 0 where it is absent. */
static long variable(const char *name) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

/* Did a launcher start this process as one of several ranks? Open MPI and MPICH tell the size; under PMIx (srun, newer
 * mpirun) only the rank is in the environment, and Slurm tells the number of tasks. */
static ec_status launched_as_several(bool *several) {
    long tasks = variable("SLURM_STEP_NUM_TASKS");
    bool pmix = getenv("PMIX_RANK") != NULL;
    const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"};
    *several = false;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (getenv(sizes[i])) {
            *several = variable(sizes[i]) > 1;
            return EC_OK;
        }
    if (pmix) {
        *several = tasks != 1;
        return EC_OK;
    }
    if (getenv("SLURM_PROCID") && tasks > 1)
        return EC_ERROR(EC_ERR_ENV,
                        "srun started %ld tasks without telling MPI about them: each would train on its own. Use "
                        "srun --mpi=pmix (or distributed.comm: self, if that is what you want)",
                        tasks);
    return EC_OK;
}

ec_status ec__comm_open(const char *kind, ec_comm **out) {
    ec_status status = EC_OK;
    ec_comm *comm = NULL;
    bool several = false;
    if (strcmp(kind, "auto") == 0) {
        EC_TRY(launched_as_several(&several));
        kind = several ? "mpi" : "self";
    }
    if (strcmp(kind, "self") == 0) EC_TRY(ec__comm_open_self(&comm));
    else if (strcmp(kind, "mpi") == 0) EC_TRY(ec__comm_open_mpi(true, &comm));
    else if (strcmp(kind, "mpi-plain") == 0) EC_TRY(ec__comm_open_mpi(false, &comm));
    else EC_FAIL(EC_ERR_USAGE, "no communicator is called \"%s\": there are self, mpi, mpi-plain and auto", kind);
    ec__error_set_rank(comm->rank);
    ec__log_set_rank(comm->rank);
    *out = comm;
done:
    return status;
}

void ec__comm_close(ec_comm *comm) {
    if (comm) comm->ops->close(comm);
}

void ec__comm_init(ec_comm *comm) {
    comm->host = comm;
    ec__comm_set_deadline(comm, EC_COMM_DEADLINE_S, EC_COMM_PATIENCE_S);
    ec__comm_set_context(comm, -1, NULL);
}

void ec__comm_set_deadline(ec_comm *comm, double deadline_s, double patience_s) {
    comm->host->deadline_s = deadline_s;
    comm->host->patience_s = patience_s;
}

void ec__comm_set_context(ec_comm *comm, int64_t step, const char *doing) {
    comm = comm->host;
    atomic_store_explicit(&comm->where.doing_since_ns, ec__now_ns(), memory_order_relaxed);
    atomic_store_explicit(&comm->where.step, step, memory_order_relaxed);
    atomic_store_explicit(&comm->where.doing, doing, memory_order_release);
}

void ec__comm_enter(ec_comm *comm, ec_comm_call call) {
    comm->number++;
    atomic_store_explicit(&comm->where.place, comm->number << 8 | (uint64_t)call, memory_order_relaxed);
}

ec_status ec__comm_leave(ec_comm *comm, ec_status status) {
    atomic_store_explicit(&comm->where.place, comm->number << 8, memory_order_relaxed);
    return status;
}

ec_status ec__comm_all_gather(ec_comm *comm, const void *mine, void *all, size_t bytes) {
    ec__comm_enter(comm, EC_CALL_ALL_GATHER);
    return ec__comm_leave(comm, comm->ops->all_gather(comm, mine, all, bytes));
}

ec_status ec__comm_all_gather_view(ec_comm *comm, const void *mine, const void **all, size_t bytes) {
    ec__comm_enter(comm, EC_CALL_ALL_GATHER);
    return ec__comm_leave(comm, comm->ops->all_gather_view(comm, mine, all, bytes));
}

ec_status ec__comm_all_gather_part(ec_comm *comm, const void *mine, size_t bytes, size_t begin, size_t count,
                                   void *part) {
    assert(begin + count <= (size_t)comm->size * bytes);
    ec__comm_enter(comm, EC_CALL_ALL_GATHER);
    return ec__comm_leave(comm, comm->ops->all_gather_part(comm, mine, bytes, begin, count, part));
}

ec_status ec__comm_part_by_broadcasts(ec_comm *comm, const void *mine, size_t bytes, size_t begin, size_t count,
                                      void *part) {
    for (int32_t r = 0; r < comm->size; r++) {
        const ec_comm_share share = ec__comm_share(bytes, begin, count, r);
        char *to = (char *)part + share.to;
        if (share.count == 0) continue;
        if (r == comm->rank) memcpy(to, (const char *)mine + share.from, share.count);
        EC_RETURN_IF(comm->ops->broadcast(comm, to, share.count, r));
    }
    return EC_OK;
}

ec_status ec__comm_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out) {
    assert(local_leaves >= 1 && count >= 0);
    ec__comm_enter(comm, EC_CALL_ALL_REDUCE_ORDERED);
    return ec__comm_leave(comm, comm->ops->all_reduce_ordered(comm, leaves, local_leaves, count, out));
}

ec_status ec__comm_reduce_scatter_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count,
                                          float *out) {
    assert(local_leaves >= 1 && count >= 0 && count % comm->size == 0);
    ec__comm_enter(comm, EC_CALL_REDUCE_SCATTER_ORDERED);
    return ec__comm_leave(comm, comm->ops->reduce_scatter_ordered(comm, leaves, local_leaves, count, out));
}

ec_status ec__comm_all_reduce_fast(ec_comm *comm, float *x, int64_t count) {
    ec__comm_enter(comm, EC_CALL_ALL_REDUCE_FAST);
    return ec__comm_leave(comm, comm->ops->all_reduce_fast(comm, x, count));
}

ec_status ec__comm_all_reduce_pieces(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces,
                                     float *to) {
    ec__comm_enter(comm, from ? EC_CALL_ALL_REDUCE_ORDERED : EC_CALL_ALL_REDUCE_FAST);
    return ec__comm_leave(comm, comm->ops->all_reduce_pieces(comm, from, piece, pieces, to));
}

ec_status ec__comm_broadcast(ec_comm *comm, void *x, size_t bytes, int32_t root) {
    assert(root >= 0 && root < comm->size);
    ec__comm_enter(comm, EC_CALL_BROADCAST);
    return ec__comm_leave(comm, comm->ops->broadcast(comm, x, bytes, root));
}

ec_status ec__comm_barrier(ec_comm *comm) {
    ec__comm_enter(comm, EC_CALL_BARRIER);
    return ec__comm_leave(comm, comm->ops->barrier(comm));
}

ec_status ec__comm_fork(ec_comm *comm) { return comm->ops->fork(comm); }

ec_status ec__comm_join(ec_comm *comm) { return comm->ops->join(comm); }

ec_status ec__comm_milestone(ec_comm *comm) { return comm->ops->milestone(comm); }

ec_status ec__comm_pass_milestone(ec_comm *comm) { return comm->ops->pass_milestone(comm); }

ec_status ec__comm_prepare(ec_comm *comm, int32_t local_leaves, int64_t count) {
    return comm->ops->prepare(comm, local_leaves, count);
}

/* By a mark of its own, behind the caller's. */
ec_status ec__comm_wait(ec_comm *comm) {
    EC_RETURN_IF(comm->ops->mark(comm, EC_COMM_MARKS));
    return comm->ops->wait(comm, EC_COMM_MARKS);
}

ec_status ec__comm_mark(ec_comm *comm, int32_t mark) { return comm->ops->mark(comm, mark); }

ec_status ec__comm_wait_mark(ec_comm *comm, int32_t mark) { return comm->ops->wait(comm, mark); }

void ec__comm_await_device(ec_comm *host, bool waiting) {
    const ec_comm_call call = waiting ? EC_CALL_DEVICE : EC_CALL_NONE;
    atomic_store_explicit(&host->where.place, host->number << 8 | (uint64_t)call, memory_order_relaxed);
}

void ec__comm_device_at(ec_comm *host, uint64_t place, uint64_t bytes) {
    atomic_store_explicit(&host->where.device_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&host->where.device, place, memory_order_relaxed);
}

ec_status ec__comm_nothing(ec_comm *comm) {
    (void)comm;
    return EC_OK;
}

ec_status ec__comm_piece_by_piece(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces, float *to) {
    for (int32_t i = 0; i < pieces; i++) {
        const int64_t at = piece[i].at, count = piece[i].count;
        if (from) EC_RETURN_IF(comm->ops->all_reduce_ordered(comm, from + at, 1, count, to + at));
        else EC_RETURN_IF(comm->ops->all_reduce_fast(comm, to + at, count));
    }
    return EC_OK;
}

ec_status ec__comm_no_mark(ec_comm *comm, int32_t mark) {
    (void)comm, (void)mark;
    return EC_OK;
}

void ec__comm_all_know(ec_comm *comm) { comm->host->known = comm->host->number; }

void ec__comm_fail(ec_comm *comm, ec_status status) {
    if (status == EC_OK || status == EC_STOPPED || comm->size == 1) return;
    comm = comm->host;
    if (comm->known == comm->number && comm->known > 0) return;
    ec__comm_abort(comm, ec_status_exit_code(status), ec_error_last()->text);
}

ec_status ec__comm_no_prepare(ec_comm *comm, int32_t local_leaves, int64_t count) {
    (void)comm, (void)local_leaves, (void)count;
    return EC_OK;
}

void ec__comm_abort(ec_comm *comm, int exit_code, const char *why) { comm->ops->abort(comm, exit_code, why); }

/* An error record between processes: names travel as text, because addresses of literals mean nothing elsewhere. */
typedef struct wire_error {
    int32_t code, rank, frame_count;
    int32_t line[EC_ERROR_FRAMES];
    char file[EC_ERROR_FRAMES][64];
    char function[EC_ERROR_FRAMES][64];
    char text[EC_ERROR_TEXT];
} wire_error;

static void pack_error(wire_error *wire, ec_status mine, int32_t rank) {
    const ec_error *e = ec_error_last();
    memset(wire, 0, sizeof *wire);
    wire->code = (int32_t)mine;
    wire->rank = rank;
    if (e->code != mine) {
        snprintf(wire->text, sizeof wire->text, "rank %d failed: %s", rank, ec_status_name(mine));
        return;
    }
    snprintf(wire->text, sizeof wire->text, "%s", e->text);
    wire->frame_count = e->frame_count;
    for (int i = 0; i < e->frame_count; i++) {
        const char *slash = strrchr(e->frame[i].file, '/');
        snprintf(wire->file[i], sizeof wire->file[i], "%s", slash ? slash + 1 : e->frame[i].file);
        snprintf(wire->function[i], sizeof wire->function[i], "%s", e->frame[i].function);
        wire->line[i] = e->frame[i].line;
    }
}

static ec_status unpack_error(const wire_error *wire) {
    ec_error e = {.code = (ec_status)wire->code, .rank = wire->rank, .frame_count = wire->frame_count};
    for (int i = 0; i < wire->frame_count; i++)
        e.frame[i] = (ec_error_frame){wire->file[i], wire->function[i], wire->line[i]};
    memcpy(e.text, wire->text, sizeof e.text);
    return ec__error_adopt(&e);
}

ec_status ec__comm_agree(ec_comm *comm, ec_status mine) {
    /* The names in an adopted record must live as long as the record, which is the thread's: hence not the
     * communicator's. */
    static _Thread_local wire_error wire;
    const int32_t code = (int32_t)mine;
    const void *all = NULL;
    int32_t failed = 0;
    if (comm->size == 1) return mine;
    comm = comm->host;
    EC_RETURN_IF(ec__comm_all_gather_view(comm, &code, &all, sizeof code));
    const int32_t *codes = all;
    while (failed < comm->size && codes[failed] == EC_OK) failed++;
    if (failed == comm->size) return EC_OK;
    if (failed == comm->rank) pack_error(&wire, mine, comm->rank);
    EC_RETURN_IF(ec__comm_broadcast(comm, &wire, sizeof wire, failed));
    ec__comm_all_know(comm);
    return unpack_error(&wire);
}
