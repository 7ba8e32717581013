#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "dist/comm_impl.h"
#include "dist/comm_plain.h"
#include "dist/comm_window.h"
#include "dist/mpi_error.h"
#include "dist/watch.h"

typedef struct mpi_comm {
    ec_comm base; /* first: an ec_comm of this kind is an mpi_comm */
    MPI_Comm world, node;
    ec_plain plain;
    ec_window *window; /* NULL: by messages */
    ec_watch *watch;   /* NULL with one rank */
    bool broken;       /* a collective has failed on this rank */
    struct mpi_comm *left_before; /* see abandon */
} mpi_comm;

/* Communicators open in this process. MPI can be initialised only once in a process, whatever we are called for. */
static int open_count;

ec_status ec__mpi_status(int code, const char *call) {
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0, name = 0;
    if (code == MPI_SUCCESS) return EC_OK;
    MPI_Error_string(code, text, &length);
    while (call[name] && call[name] != '(') name++;
    return EC_ERROR(EC_ERR_DIST, "%.*s: %s", name, call, text);
}

static mpi_comm *self(ec_comm *comm) { return (mpi_comm *)(void *)comm; }

/* What a collective returned; remembers a failure. */
static ec_status keep(ec_comm *comm, ec_status status) {
    if (status != EC_OK) self(comm)->broken = true;
    return status;
}

/* By the window where there is one, else by messages. */
#define BY_EITHER(comm, name, ...)                                                    \
    keep(comm, self(comm)->window ? ec__window_##name(self(comm)->window, __VA_ARGS__) \
                                  : ec__plain_##name(&self(comm)->plain, __VA_ARGS__))

static ec_status mpi_all_gather(ec_comm *comm, const void *mine, void *all, size_t bytes) {
    return BY_EITHER(comm, all_gather, mine, all, bytes);
}

static ec_status mpi_all_gather_view(ec_comm *comm, const void *mine, const void **all, size_t bytes) {
    return BY_EITHER(comm, all_gather_view, mine, all, bytes);
}

static ec_status mpi_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out) {
    return BY_EITHER(comm, reduce, EC_CALL_ALL_REDUCE_ORDERED, leaves, local_leaves, count, out);
}

static ec_status mpi_reduce_scatter_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count,
                                            float *out) {
    return BY_EITHER(comm, reduce, EC_CALL_REDUCE_SCATTER_ORDERED, leaves, local_leaves, count, out);
}

/* Through the window the fixed order costs nothing. */
static ec_status mpi_all_reduce_fast(ec_comm *comm, float *x, int64_t count) {
    mpi_comm *m = self(comm);
    return keep(comm, m->window ? ec__window_reduce(m->window, EC_CALL_ALL_REDUCE_FAST, x, 1, count, x)
                                : ec__plain_all_reduce_fast(&m->plain, x, count));
}

static ec_status mpi_broadcast(ec_comm *comm, void *x, size_t bytes, int32_t root) {
    return BY_EITHER(comm, broadcast, x, bytes, root);
}

static ec_status mpi_barrier(ec_comm *comm) { return BY_EITHER(comm, barrier, EC_CALL_BARRIER); }

static void mpi_abort(ec_comm *comm, int exit_code, const char *why) {
    ec__log(EC_LOG_ERROR, "%s (ending all ranks with exit code %d)", why, exit_code);
    ec__watch_end_soon(self(comm)->watch, exit_code);
    MPI_Abort(MPI_COMM_WORLD, exit_code);
}

/* What failed communicators leave behind: messages may be under way into their memory for as long as the process
 * lasts. */
static mpi_comm *abandoned;

/* Without MPI_Finalize the launcher knows that something went wrong, and ends ranks that do not. */
static void abandon(mpi_comm *m) {
    ec__watch_close(m->watch);
    m->watch = NULL;
    m->left_before = abandoned;
    abandoned = m;
}

static void release(mpi_comm *m) {
    ec__window_close(m->window);
    ec__plain_release(&m->plain);
    if (m->node != MPI_COMM_NULL) MPI_Comm_free(&m->node);
    if (m->world != MPI_COMM_NULL) MPI_Comm_free(&m->world);
    if (--open_count == 0) MPI_Finalize(); /* waits for all ranks: still under watch */
    ec__watch_close(m->watch);
    free(m);
}

/* All ranks come to the end together: one that closes while others call something else makes these fail. */
static void mpi_close(ec_comm *comm) {
    mpi_comm *m = self(comm);
    const bool in_step = m->window ? !ec__window_has_closed(m->window) : !m->broken;
    ec__comm_enter(comm, EC_CALL_CLOSE);
    /* By messages a rank that closes alone cannot leave in good order: the others would not let it. */
    if (in_step && BY_EITHER(comm, barrier, EC_CALL_CLOSE) != EC_OK && !m->window)
        mpi_abort(comm, ec_status_exit_code(EC_ERR_DIST), ec_error_last()->text);
    if (m->broken && !m->window) abandon(m);
    else release(m);
}

static const ec_comm_ops mpi_ops = {
    .all_gather = mpi_all_gather,
    .all_gather_view = mpi_all_gather_view,
    .all_gather_part = ec__comm_part_by_broadcasts,
    .all_reduce_ordered = mpi_all_reduce_ordered,
    .reduce_scatter_ordered = mpi_reduce_scatter_ordered,
    .all_reduce_fast = mpi_all_reduce_fast,
    .all_reduce_pieces = ec__comm_piece_by_piece,
    .broadcast = mpi_broadcast,
    .barrier = mpi_barrier,
    .fork = ec__comm_nothing,
    .join = ec__comm_nothing,
    .milestone = ec__comm_nothing,
    .pass_milestone = ec__comm_nothing,
    .prepare = ec__comm_no_prepare,
    .mark = ec__comm_no_mark,
    .wait = ec__comm_no_mark,
    .abort = mpi_abort,
    .close = mpi_close,
};

static ec_status start_mpi(void) {
    ec_status status = EC_OK;
    int started = 0, ended = 0, level = 0;
    EC_MPI(MPI_Initialized(&started));
    EC_MPI(MPI_Finalized(&ended));
    if (ended) EC_FAIL(EC_ERR_USAGE, "MPI cannot be started again in the same process");
    if (!started) EC_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level));
    else EC_MPI(MPI_Query_thread(&level));
    if (level < MPI_THREAD_FUNNELED)
        EC_FAIL(EC_ERR_ENV, "this MPI library cannot be used by a program with threads (it offers level %d)", level);
    EC_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    EC_MPI(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
done:
    return status;
}

static ec_status find_ranks(mpi_comm *m) {
    ec_status status = EC_OK;
    EC_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &m->world));
    EC_MPI(MPI_Comm_rank(m->world, &m->base.rank));
    EC_MPI(MPI_Comm_size(m->world, &m->base.size));
    EC_MPI(MPI_Comm_split_type(m->world, MPI_COMM_TYPE_SHARED, m->base.rank, MPI_INFO_NULL, &m->node));
    EC_MPI(MPI_Comm_rank(m->node, &m->base.node_rank));
    EC_MPI(MPI_Comm_size(m->node, &m->base.node_size));
done:
    return status;
}

/* Ranks that cannot share memory (containers of their own) use messages: all of them, or none. */
static ec_status open_window(mpi_comm *m) {
    ec_status status = ec__window_open(&m->base, m->node, &m->window);
    if (status != EC_ERR_ENV) return status;
    if (m->base.rank == 0) EC_WARN("%s; messages are used instead, which is slower", ec_error_last()->text);
    ec_error_clear();
    return EC_OK;
}

/* What failed here alone (a thread that cannot be started) would leave the others waiting in MPI, where nobody watches
 * over them yet. */
static void give_up_opening(mpi_comm *m, ec_status status) {
    char why[EC_ERROR_TEXT + 64];
    snprintf(why, sizeof why, "rank %d cannot join the others: %s", m->base.rank, ec_error_last()->text);
    mpi_abort(&m->base, ec_status_exit_code(status), why);
}

ec_status ec__comm_open_mpi(bool window, ec_comm **out) {
    ec_status status = EC_OK;
    mpi_comm *m = NULL;
    EC_TRY(start_mpi());
    m = calloc(1, sizeof *m);
    if (!m) EC_FAIL(EC_ERR_MEMORY, "no memory for a communicator");
    open_count++;
    m->world = m->node = m->plain.desk = MPI_COMM_NULL;
    m->base.kind = "mpi";
    m->base.ops = &mpi_ops;
    ec__comm_init(&m->base);
    EC_TRY(find_ranks(m));
    EC_TRY(ec__plain_init(&m->plain, &m->base, m->world));
    if (m->base.size > 1) EC_TRY(ec__watch_open(&m->base, m->world, &m->watch));
    if (window && m->base.node_size == m->base.size && m->base.size > 1) EC_TRY(open_window(m));
    *out = &m->base;
    m = NULL;
done:
    if (m && m->base.size > 1) give_up_opening(m, status);
    if (m) release(m);
    return status;
}

void ec__comm_set_piece(ec_comm *comm, size_t bytes) {
    if (comm->ops != &mpi_ops) return;
    self(comm)->plain.piece = bytes;
    if (self(comm)->window) ec__window_set_piece(self(comm)->window, bytes);
}
