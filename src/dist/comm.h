/* Communicators: how the ranks of a run exchange arrays.
 *
 * Kinds: self (one rank, no library), mpi (host memory; a shared-memory window inside a node), nccl (memory of GPUs).
 *
 * Every function marked "collective" must be called by all ranks in the same order, from the rank's main thread, and
 * blocks until the result is complete on this rank. A rank that cannot go on calls ec__comm_fail, which ends the whole
 * run where the others do not know.
 *
 * Memory. Those above move host memory. One over a back end's memory is opened on top of one of them (`host`): its
 * collectives only enqueue, on the queue it was opened with, and are complete when that queue has come there
 * (ec__comm_wait); sizes are not compared. Where a back end's memory is host memory the two are the same.
 *
 * A rank that calls another collective than the others, or with another size, is noticed: every rank gets EC_ERR_DIST
 * with the names of both. The communicator can then only be closed.
 *
 * Nobody waits in vain: a thread beside each rank finds out, when a collective does not end, which ranks are missing
 * (dist/watch.h). One that has died, was stopped or cut off for longer than the deadline ends the run, with exit code 5
 * and a line that names it and its host; one that is alive and busy elsewhere is waited for, with a warning, up to a
 * longer limit, the patience. */
#ifndef EC_DIST_COMM_H
#define EC_DIST_COMM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct ec_comm ec_comm;

/* Elements [at, at + count) of an array. */
typedef struct ec_comm_piece {
    int64_t at, count;
} ec_comm_piece;

typedef struct ec_comm_ops {
    ec_status (*all_gather)(ec_comm *comm, const void *mine, void *all, size_t bytes);
    ec_status (*all_gather_view)(ec_comm *comm, const void *mine, const void **all, size_t bytes);
    ec_status (*all_gather_part)(ec_comm *comm, const void *mine, size_t bytes, size_t begin, size_t count, void *part);
    ec_status (*all_reduce_ordered)(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out);
    ec_status (*reduce_scatter_ordered)(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out);
    ec_status (*all_reduce_fast)(ec_comm *comm, float *x, int64_t count);
    ec_status (*all_reduce_pieces)(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces, float *to);
    ec_status (*broadcast)(ec_comm *comm, void *x, size_t bytes, int32_t root);
    ec_status (*barrier)(ec_comm *comm);
    ec_status (*fork)(ec_comm *comm);
    ec_status (*join)(ec_comm *comm);
    ec_status (*milestone)(ec_comm *comm);
    ec_status (*pass_milestone)(ec_comm *comm);
    ec_status (*prepare)(ec_comm *comm, int32_t local_leaves, int64_t count);
    ec_status (*mark)(ec_comm *comm, int32_t mark);
    ec_status (*wait)(ec_comm *comm, int32_t mark);
    void (*abort)(ec_comm *comm, int exit_code, const char *why);
    void (*close)(ec_comm *comm);
} ec_comm_ops;

/* Where this rank is: written by its main thread, told to other ranks by another (dist/watch.h). */
typedef struct ec_comm_where {
    _Atomic uint64_t place;         /* number << 8 | the collective that it waits in (ec_comm_call), 0: between two */
    _Atomic int64_t step;           /* as the next two, from ec__comm_set_context */
    _Atomic(const char *) doing;
    _Atomic int64_t doing_since_ns;
    _Atomic uint64_t device, device_bytes; /* like place, what this rank's GPU had come to when the host last looked */
} ec_comm_where;

struct ec_comm {
    const ec_comm_ops *ops;
    const char *kind; /* "self", "mpi", "nccl" */
    ec_comm *host;    /* moves host memory: itself, or the one that this one was opened on, borrowed */
    int32_t rank, size;
    int32_t node_rank, node_size; /* among the ranks of this host */
    bool beside;                  /* between fork and join collectives do run beside other work */
    _Atomic double deadline_s;    /* ec__comm_set_deadline */
    _Atomic double patience_s;
    uint64_t number; /* collectives called so far, for messages */
    uint64_t known;  /* the collective that last ended with an error on all ranks alike; 0: none */
    ec_comm_where where;
};

enum { EC_COMM_DEADLINE_S = 60, EC_COMM_PATIENCE_S = 3600 };

/* Collective. Opens "self", "mpi", "mpi-plain" (mpi without the shared-memory window), or "auto": mpi when the process
 * was started by an MPI launcher with more than one rank, else self (MPI is then not even initialised). Sets the rank
 * in error records and log lines. Several may be open at a time; MPI is initialised by the first and finalised with the
 * last. The caller owns it and ends it with ec__comm_close. EC_ERR_USAGE for another kind, EC_ERR_ENV where Slurm
 * started several tasks without an interface that MPI could use, EC_ERR_DIST with the text of MPI. A rank that fails
 * alone ends the run on all of them. */
ec_status ec__comm_open(const char *kind, ec_comm **out);

/* Collective over host. Opens a communicator over the memory of a back end whose native_queue is queue; NULL: that is
 * host memory, and *out is host itself. host is borrowed. To be closed before host and before the back end, unless it
 * is host. EC_ERR_ENV where two ranks use one GPU, which is named: EMOCLIM_SHARE_GPU=1 on all ranks allows it, for
 * tests. */
ec_status ec__comm_open_over(ec_comm *host, void *queue, ec_comm **out);

/* Collective; accepts NULL. A rank that closes while another is in a collective makes that one fail. */
void ec__comm_close(ec_comm *comm);

/* How long this rank waits inside one collective before it ends the run with exit code 5, in seconds (> 0): deadline_s
 * for a rank that gives no sign of life, patience_s for one that does. EC_COMM_DEADLINE_S and EC_COMM_PATIENCE_S at
 * first. Not collective. */
void ec__comm_set_deadline(ec_comm *comm, double deadline_s, double patience_s);

/* What this rank is doing between two collectives, for messages: the step of training (-1: none), and a literal that
 * completes "rank 2 is ..." ("validating"), NULL: nothing in particular. Stands until the next call; costs some
 * nanoseconds. Not collective. */
void ec__comm_set_context(ec_comm *comm, int64_t step, const char *doing);

/* Collective. all (size * bytes) receives every rank's bytes in rank order. mine may be all + rank * bytes. */
ec_status ec__comm_all_gather(ec_comm *comm, const void *mine, void *all, size_t bytes);

/* Collective. The same, but the result stays in the communicator's memory: *all is valid until the next collective and
 * as long as mine (which is borrowed until then). Inside a node it is written once and read in place by every rank. */
ec_status ec__comm_all_gather_view(ec_comm *comm, const void *mine, const void **all, size_t bytes);

/* Collective. Bytes begin .. begin + count - 1 of what an all_gather would make of every rank's bytes; part (count) may
 * not overlap mine. Every rank asks for the same. */
ec_status ec__comm_all_gather_part(ec_comm *comm, const void *mine, size_t bytes, size_t begin, size_t count,
                                   void *part);

/* Collective. Sums arrays in the fixed tree of dist/tree.h over all leaves of all ranks (rank 0's first), so the bits
 * do not depend on how the leaves are spread over ranks. leaves: local_leaves arrays of count floats, back to back;
 * they are used as work space and undefined afterwards. Every rank brings the same number of leaves. out (count) may
 * not overlap them. */
ec_status ec__comm_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out);

/* Collective. The same sums, of which rank r receives only part r: out (count / size) gets elements
 * [r * count / size, (r + 1) * count / size). count must be a multiple of size. out may not overlap leaves. */
ec_status ec__comm_reduce_scatter_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count,
                                          float *out);

/* Collective. x (count) becomes the sum over ranks, in an order of the library's choice. */
ec_status ec__comm_all_reduce_fast(ec_comm *comm, float *x, int64_t count);

/* Collective. Sums over ranks of several pieces of an array, of which each rank has one, in one go: that costs less than
 * one by one where an exchange takes time whatever its size. Ordered, with from as leaves (one a rank) and to as out
 * above; or, where from is NULL, in place and in the library's order. Pieces do not overlap. */
ec_status ec__comm_all_reduce_pieces(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces, float *to);

/* Collective. Rank root's bytes to all. */
ec_status ec__comm_broadcast(ec_comm *comm, void *x, size_t bytes, int32_t root);
ec_status ec__comm_barrier(ec_comm *comm);

/* Between the two, collectives run beside what the caller enqueues meanwhile; what was enqueued before the fork comes
 * before them, and what is enqueued after the join comes after them. Another fork before the join lets what follows
 * come after what was enqueued meanwhile, too. Without an effect for host memory. */
ec_status ec__comm_fork(ec_comm *comm);
ec_status ec__comm_join(ec_comm *comm);

/* Between fork and join: a milestone behind the collectives called so far, one at a time. What is enqueued after
 * ec__comm_pass_milestone comes after those, while collectives called since the milestone still run beside it. Without
 * an effect for host memory. */
ec_status ec__comm_milestone(ec_comm *comm);
ec_status ec__comm_pass_milestone(ec_comm *comm);

/* Makes ready for ordered sums of so many arrays of count floats a rank (in p pieces: of p * size fewer), and for
 * smaller ones, so that they allocate nothing: to be called before a recording that contains them. Not collective.
 * Without an effect for host memory. */
ec_status ec__comm_prepare(ec_comm *comm, int32_t local_leaves, int64_t count);

/* Waits until the queue has come to the end of what was enqueued; to be used in place of the back end's own synchronize
 * where other ranks' work is waited for, since only here a rank that is missing is noticed. Not within a recording.
 * Without an effect for host memory. */
ec_status ec__comm_wait(ec_comm *comm);

/* The same in two calls, between which more may be enqueued: a mark (0 .. EC_COMM_MARKS - 1) behind what was enqueued
 * so far, and waiting until the queue has come to where it was last set. Not within a recording. */
enum { EC_COMM_MARKS = 2 };
ec_status ec__comm_mark(ec_comm *comm, int32_t mark);
ec_status ec__comm_wait_mark(ec_comm *comm, int32_t mark);

/* Collective. Ranks learn whether all are well: returns EC_OK when every rank passed EC_OK, else on every rank the
 * error record of the lowest failing rank (code, text, rank number, chain of callers). To be called between phases:
 * after opening files, after building a cache. */
ec_status ec__comm_agree(ec_comm *comm, ec_status mine);

/* Not collective. What a rank does with the status that ended its part in a run, before it closes the communicator. An
 * error that it has alone (its rows cannot be read, its disk is full) would leave the others waiting in their next
 * collective: it ends the run on all ranks, at once, with the error's text in the log and its exit code. EC_OK,
 * EC_STOPPED, and errors that all ranks have got from the last collective (ec__comm_agree, another one that failed
 * everywhere) do nothing. */
void ec__comm_fail(ec_comm *comm, ec_status status);

/* Ends the run on all ranks with exit_code, after writing why to the log with this rank's number. Not collective. Does
 * not return in a multi-rank run; with one rank it only writes to the log. */
void ec__comm_abort(ec_comm *comm, int exit_code, const char *why);

#endif
