#define _GNU_SOURCE
#include "dist/comm_window.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "dist/meeting.h"
#include "dist/mpi_error.h"
#include "dist/tree.h"

/* HALF_MIN: what a half holds when it is first made. PIECE: most bytes that a half grows to; longer messages are cut.
 * SPINS: some 20 microseconds. SMALL: sums over at most so many bytes are made by every rank for itself, which saves a
 * meeting. */
enum { HALF_MIN = 1 << 20, PIECE = 32 << 20, SPINS = 4000, SMALL = 32 << 10 };

struct ec_window {
    ec_comm *comm;
    MPI_Comm node;
    ec_meeting meeting;
    MPI_Win seats, memory; /* MPI_WIN_NULL before they exist */
    char *half[2];
    size_t half_bytes, half_most;
    int turn; /* half that the next piece goes into */
    void *view; /* for gathered views that do not fit into a half; grown, never shrunk */
    size_t view_bytes;
    const float **leaf; /* addresses of all leaves of a sum */
    int64_t leaf_room;
};

/* One piece of memory for all ranks, asked for by the first: MPI maps it into every process. */
static ec_status share(ec_window *w, size_t bytes, MPI_Win *win, void **base) {
    ec_status status = EC_OK;
    void *mine = NULL;
    MPI_Aint size = 0;
    int unit = 0;
    EC_MPI(MPI_Win_allocate_shared(w->comm->rank == 0 ? (MPI_Aint)bytes : 0, 1, MPI_INFO_NULL, w->node, &mine, win));
    EC_MPI(MPI_Win_set_errhandler(*win, MPI_ERRORS_RETURN));
    EC_MPI(MPI_Win_shared_query(*win, 0, &size, &unit, base));
done:
    return status;
}

/* Rounds to spin: none where ranks outnumber the processors that they may use together. */
static ec_status choose_spins(ec_window *w) {
    ec_status status = EC_OK;
    cpu_set_t mine, all;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine);
    EC_MPI(MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, w->node));
    w->meeting.spins = CPU_COUNT(&all) >= w->comm->size ? SPINS : 0;
done:
    return status;
}

ec_status ec__window_open(ec_comm *comm, MPI_Comm node, ec_window **out) {
    ec_status status = EC_OK;
    void *seats = NULL;
    size_t bytes = (size_t)comm->size * sizeof(ec_seat);
    ec_window *w = calloc(1, sizeof *w);
    if (!w) EC_FAIL(EC_ERR_MEMORY, "no memory for a window of %d ranks", comm->size);
    w->comm = comm;
    w->node = node;
    w->seats = w->memory = MPI_WIN_NULL;
    w->half_most = PIECE;
    /* A seat is aligned to more than MPI promises: one is asked for in excess. */
    EC_TRY(share(w, bytes + sizeof(ec_seat), &w->seats, &seats));
    uintptr_t address = (uintptr_t)seats;
    seats = (char *)seats + (_Alignof(ec_seat) - address % _Alignof(ec_seat)) % _Alignof(ec_seat);
    if (comm->rank == 0) memset(seats, 0, bytes);
    w->meeting.comm = comm;
    w->meeting.seat = seats;
    EC_TRY(choose_spins(w));
    EC_MPI(MPI_Barrier(node));
    *out = w;
    w = NULL;
done:
    ec__window_close(w);
    return status;
}

void ec__window_close(ec_window *w) {
    if (!w) return;
    if (w->memory != MPI_WIN_NULL) MPI_Win_free(&w->memory);
    if (w->seats != MPI_WIN_NULL) MPI_Win_free(&w->seats);
    free(w->leaf);
    free(w->view);
    free(w);
}

void ec__window_set_piece(ec_window *w, size_t bytes) { w->half_most = bytes; }

/* Makes room for bytes in each half, as far as pieces go. All ranks meet before they grow: a rank that calls something
 * else would otherwise leave the others in MPI. */
static ec_status make_room(ec_window *w, size_t bytes, const ec_ticket *ticket) {
    ec_status status = EC_OK;
    size_t want = HALF_MIN;
    void *base = NULL;
    if (bytes > w->half_most) bytes = w->half_most;
    if (w->half_bytes > 0 && bytes <= w->half_bytes) return EC_OK;
    while (want < bytes) want *= 2;
    EC_TRY(ec__meet(&w->meeting, ticket));
    if (w->memory != MPI_WIN_NULL) EC_MPI(MPI_Win_free(&w->memory));
    w->half_bytes = 0;
    EC_TRY(share(w, 2 * want, &w->memory, &base));
    w->half_bytes = want;
    w->half[0] = base;
    w->half[1] = (char *)base + want;
done:
    return status;
}

static ec_ticket ticket_for(const ec_window *w, ec_comm_call call, size_t bytes, int32_t root) {
    return (ec_ticket){.call = (int32_t)call, .root = root, .number = w->comm->number, .bytes = bytes};
}

static char *next_half(ec_window *w) {
    w->turn ^= 1;
    return w->half[w->turn];
}

static size_t room(const ec_window *w) { return w->half_bytes < w->half_most ? w->half_bytes : w->half_most; }

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static ec_status gather(ec_window *w, const char *mine, char *all, size_t bytes) {
    ec_status status = EC_OK;
    const int32_t rank = w->comm->rank, size = w->comm->size;
    const ec_ticket ticket = ticket_for(w, EC_CALL_ALL_GATHER, bytes, 0);
    EC_TRY(make_room(w, bytes * (size_t)size, &ticket));
    const size_t piece = room(w) / (size_t)size;
    for (size_t at = 0; at < bytes || at == 0; at += piece) {
        size_t n = smaller(piece, bytes - at);
        char *half = next_half(w);
        memcpy(half + (size_t)rank * n, mine + at, n);
        EC_TRY(ec__meet(&w->meeting, &ticket));
        for (int32_t i = 1; i < size; i++) {
            size_t r = (size_t)((rank + i) % size);
            memcpy(all + r * bytes + at, half + r * n, n);
        }
    }
    if (mine != all + (size_t)rank * bytes) memcpy(all + (size_t)rank * bytes, mine, bytes);
done:
    return status;
}

ec_status ec__window_all_gather(ec_window *w, const void *mine, void *all, size_t bytes) {
    return gather(w, mine, all, bytes);
}

ec_status ec__window_all_gather_view(ec_window *w, const void *mine, const void **all, size_t bytes) {
    ec_status status = EC_OK;
    const size_t total = bytes * (size_t)w->comm->size;
    const ec_ticket ticket = ticket_for(w, EC_CALL_ALL_GATHER, bytes, 0);
    EC_TRY(make_room(w, total, &ticket));
    if (total <= room(w)) {
        char *half = next_half(w);
        memcpy(half + (size_t)w->comm->rank * bytes, mine, bytes);
        EC_TRY(ec__meet(&w->meeting, &ticket));
        *all = half;
        return EC_OK;
    }
    if (w->view_bytes < total) {
        free(w->view);
        w->view_bytes = 0;
        w->view = malloc(total);
        if (!w->view) EC_FAIL(EC_ERR_MEMORY, "no memory for %zu gathered bytes", total);
        w->view_bytes = total;
    }
    EC_TRY(gather(w, mine, w->view, bytes));
    *all = w->view;
done:
    return status;
}

ec_status ec__window_broadcast(ec_window *w, void *x, size_t bytes, int32_t root) {
    ec_status status = EC_OK;
    const ec_ticket ticket = ticket_for(w, EC_CALL_BROADCAST, bytes, root);
    EC_TRY(make_room(w, bytes, &ticket));
    const size_t piece = room(w);
    for (size_t at = 0; at < bytes || at == 0; at += piece) {
        size_t n = smaller(piece, bytes - at);
        char *half = next_half(w);
        if (w->comm->rank == root) memcpy(half, (char *)x + at, n);
        EC_TRY(ec__meet(&w->meeting, &ticket));
        if (w->comm->rank != root) memcpy((char *)x + at, half, n);
    }
done:
    return status;
}

ec_status ec__window_barrier(ec_window *w, ec_comm_call call) {
    const ec_ticket ticket = ticket_for(w, call, 0, 0);
    return ec__meet(&w->meeting, &ticket);
}

/* A sum under way. The count elements are cut into one part a rank, part r summed by rank r, and parts into pieces of
 * piece elements. A piece of all leaves lies in a half as [leaf][part][piece]. */
typedef struct sum {
    const float *leaves; /* (local_leaves, count) of this rank */
    int32_t local_leaves, leaf_count;
    int64_t count, part, piece;
    float *out;
    bool scatter; /* out gets this rank's part only */
} sum;

/* Elements of part r that piece number at / piece holds; parts at the end may be shorter. */
static int64_t piece_length(const sum *s, int32_t r, int64_t at) {
    int64_t left = s->count - r * s->part - at;
    int64_t n = s->part - at < s->piece ? s->part - at : s->piece;
    if (left < n) n = left;
    return n > 0 ? n : 0;
}

static void write_leaves(const ec_window *w, const sum *s, int64_t at, float *half) {
    const int32_t size = w->comm->size;
    for (int32_t l = 0; l < s->local_leaves; l++) {
        const float *from = s->leaves + l * s->count + at;
        float *to = half + ((int64_t)w->comm->rank * s->local_leaves + l) * size * s->piece;
        for (int32_t r = 0; r < size; r++) {
            int64_t n = piece_length(s, r, at);
            if (n > 0) memcpy(to + r * s->piece, from + r * s->part, (size_t)n * sizeof *to);
        }
    }
}

static ec_status sum_piece(ec_window *w, const sum *s, int64_t at, const ec_ticket *ticket) {
    ec_status status = EC_OK;
    const int32_t rank = w->comm->rank, size = w->comm->size;
    const int64_t mine = piece_length(s, rank, at);
    float *half = (float *)(void *)next_half(w);
    write_leaves(w, s, at, half);
    EC_TRY(ec__meet(&w->meeting, ticket));
    for (int32_t l = 0; l < s->leaf_count; l++) w->leaf[l] = half + ((int64_t)l * size + rank) * s->piece;
    if (s->scatter) {
        ec__tree_sum_to(w->leaf, s->leaf_count, mine, s->out + at);
        goto done;
    }
    /* Only this rank reads its part of the leaves, so the sums may take the place of the first of them. */
    ec__tree_sum_to(w->leaf, s->leaf_count, mine, half + rank * s->piece);
    EC_TRY(ec__meet(&w->meeting, ticket));
    for (int32_t r = 0; r < size; r++) {
        int64_t n = piece_length(s, r, at);
        if (n > 0) memcpy(s->out + r * s->part + at, half + r * s->piece, (size_t)n * sizeof *half);
    }
done:
    return status;
}

/* Every rank sums everything. */
static ec_status sum_small(ec_window *w, const sum *s, const ec_ticket *ticket) {
    ec_status status = EC_OK;
    float *half = (float *)(void *)next_half(w);
    const int64_t mine = s->local_leaves * s->count;
    if (mine > 0) memcpy(half + w->comm->rank * mine, s->leaves, (size_t)mine * sizeof *half);
    EC_TRY(ec__meet(&w->meeting, ticket));
    for (int32_t l = 0; l < s->leaf_count; l++) w->leaf[l] = half + l * s->count;
    ec__tree_sum_to(w->leaf, s->leaf_count, s->count, s->out);
done:
    return status;
}

static ec_status grow_leaf_table(ec_window *w, int32_t leaf_count) {
    if (w->leaf_room >= leaf_count) return EC_OK;
    free(w->leaf);
    w->leaf_room = 0;
    w->leaf = malloc((size_t)leaf_count * sizeof *w->leaf);
    if (!w->leaf) return EC_ERROR(EC_ERR_MEMORY, "no memory for the addresses of %d arrays", leaf_count);
    w->leaf_room = leaf_count;
    return EC_OK;
}

ec_status ec__window_reduce(ec_window *w, ec_comm_call call, float *leaves, int32_t local_leaves, int64_t count,
                            float *out) {
    ec_status status = EC_OK;
    const int32_t size = w->comm->size;
    const ec_ticket ticket = ticket_for(w, call, (size_t)count * (size_t)local_leaves * sizeof(float), 0);
    /* Where this rank's leaves are a whole subtree, their sum is all that the others need. */
    if (local_leaves > 1 && ec__tree_aligned(local_leaves * size, size)) {
        ec__tree_sum(leaves, local_leaves, count);
        local_leaves = 1;
    }
    sum s = {.leaves = leaves, .local_leaves = local_leaves, .leaf_count = local_leaves * size, .count = count,
             .part = (count + size - 1) / size, .out = out, .scatter = call == EC_CALL_REDUCE_SCATTER_ORDERED};
    const size_t row = (size_t)s.leaf_count * (size_t)size * sizeof(float); /* bytes of one element of every part */
    if (w->half_most < row) w->half_most = row;
    EC_TRY(grow_leaf_table(w, s.leaf_count));
    EC_TRY(make_room(w, row * (size_t)s.part, &ticket));
    if (!s.scatter && (size_t)s.leaf_count * (size_t)count * sizeof(float) <= smaller(SMALL, room(w)))
        return sum_small(w, &s, &ticket);
    s.piece = (int64_t)(room(w) / row);
    if (s.piece > s.part) s.piece = s.part;
    for (int64_t at = 0; at < s.part; at += s.piece) EC_TRY(sum_piece(w, &s, at, &ticket));
    if (s.part == 0) EC_TRY(ec__meet(&w->meeting, &ticket));
done:
    return status;
}
