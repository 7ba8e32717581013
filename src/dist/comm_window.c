#define _GNU_SOURCE
#include "dist/comm_window.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "dist/meeting.h"
#include "dist/mpi_error.h"
#include "dist/shared_memory.h"
#include "dist/tree.h"

/* PIECE: bytes a rank of a message that is copied or summed; longer ones are cut, so that both halves stay in the
 * second-level cache (at 8 MB this is twice as fast as one piece). VIEW_MOST: largest half, for gathered views. SMALL:
 * sums over at most so many bytes are made by every rank for itself, which saves a meeting. */
enum { PIECE = 256 << 10, VIEW_MOST = 64 << 20, SMALL = 32 << 10 };

struct ec_window {
    ec_comm *comm;
    MPI_Comm node;
    ec_meeting meeting;
    size_t seat_bytes;
    char *half[2];     /* back to back */
    size_t half_bytes; /* room in each half */
    size_t piece;      /* bytes of a half that a piece may fill */
    size_t view_most;  /* largest half */
    int turn;          /* half that the next piece goes into */
    void *view;        /* for gathered views that do not fit into a half; grown, never shrunk */
    size_t view_bytes;
};

/* How to wait. Ranks with processors of their own spin for some 5 microseconds: should strangers have put two ranks on
 * one processor, the other one can only come when this one stops spinning. Then the others are let run, which is
 * cheaper than sleep. Where ranks outnumber processors spinning is in vain. */
static ec_status choose_waiting(ec_window *w) {
    ec_status status = EC_OK;
    cpu_set_t mine, all;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine);
    EC_MPI(MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, w->node));
    const bool crowded = CPU_COUNT(&all) < w->comm->size;
    w->meeting.spins = crowded ? 0 : 200;
    w->meeting.yields = 40;
done:
    return status;
}

static ec_status map_halves(ec_window *w, size_t bytes) {
    void *memory = NULL;
    ec__shared_unmap(w->half[0], 2 * w->half_bytes);
    w->half[0] = w->half[1] = NULL;
    w->half_bytes = 0;
    EC_RETURN_IF(ec__shared_map(w->node, 2 * bytes, &memory));
    w->half_bytes = bytes;
    w->half[0] = memory;
    w->half[1] = w->half[0] + bytes;
    return EC_OK;
}

ec_status ec__window_open(ec_comm *comm, MPI_Comm node, ec_window **out) {
    ec_status status = EC_OK;
    void *seats = NULL;
    ec_window *w = calloc(1, sizeof *w);
    if (!w) EC_FAIL(EC_ERR_MEMORY, "no memory for a window of %d ranks", comm->size);
    w->comm = comm;
    w->node = node;
    w->piece = (size_t)comm->size * PIECE;
    w->view_most = VIEW_MOST;
    w->seat_bytes = (size_t)comm->size * sizeof(ec_seat);
    EC_TRY(ec__shared_map(node, w->seat_bytes, &seats));
    w->meeting.comm = comm;
    w->meeting.seat = seats;
    EC_TRY(map_halves(w, w->piece));
    EC_TRY(choose_waiting(w));
    *out = w;
    w = NULL;
done:
    ec__window_close(w);
    return status;
}

void ec__window_close(ec_window *w) {
    if (!w) return;
    ec__shared_unmap(w->half[0], 2 * w->half_bytes);
    ec__shared_unmap(w->meeting.seat, w->seat_bytes);
    free(w->view);
    free(w);
}

void ec__window_set_piece(ec_window *w, size_t bytes) {
    w->piece = bytes;
    w->view_most = 4 * bytes;
}

bool ec__window_has_closed(const ec_window *w) { return w->meeting.closed; }

/* Makes room for bytes in each half; all ranks see alike whether there is. All meet before they grow: a rank that calls
 * something else would otherwise leave the others in MPI. */
static ec_status make_room(ec_window *w, size_t bytes, const ec_ticket *ticket) {
    size_t want = w->half_bytes;
    if (bytes <= w->half_bytes) return EC_OK;
    while (want < bytes) want *= 2;
    EC_RETURN_IF(ec__meet(&w->meeting, ticket));
    return map_halves(w, want);
}

static ec_ticket ticket_for(const ec_window *w, ec_comm_call call, size_t bytes, int32_t root) {
    return (ec_ticket){.call = (int32_t)call, .root = root, .number = w->comm->number, .bytes = bytes};
}

static char *next_half(ec_window *w) {
    w->turn ^= 1;
    return w->half[w->turn];
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static ec_status gather(ec_window *w, const char *mine, char *all, size_t bytes) {
    ec_status status = EC_OK;
    const int32_t rank = w->comm->rank, size = w->comm->size;
    const ec_ticket ticket = ticket_for(w, EC_CALL_ALL_GATHER, bytes, 0);
    const size_t piece = w->piece / (size_t)size;
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

/* Where a larger half cannot be had, on all ranks alike, views of that size are gathered like other messages. */
static ec_status grow_for_view(ec_window *w, size_t total, const ec_ticket *ticket) {
    const size_t before = w->half_bytes;
    ec_status status = make_room(w, total, ticket);
    if (status != EC_ERR_ENV) return status;
    EC_WARN("%s; gathered arrays of %zu bytes are copied instead", ec_error_last()->text, total);
    ec_error_clear();
    w->view_most = before;
    return map_halves(w, before);
}

ec_status ec__window_all_gather_view(ec_window *w, const void *mine, const void **all, size_t bytes) {
    ec_status status = EC_OK;
    const size_t total = bytes * (size_t)w->comm->size;
    const ec_ticket ticket = ticket_for(w, EC_CALL_ALL_GATHER, bytes, 0);
    if (total <= w->view_most) EC_TRY(grow_for_view(w, total, &ticket));
    if (total <= w->view_most) {
        char *half = next_half(w);
        memcpy(half + (size_t)w->comm->rank * bytes, mine, bytes);
        EC_TRY(ec__meet(&w->meeting, &ticket));
        *all = half;
        goto done;
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
    for (size_t at = 0; at < bytes || at == 0; at += w->piece) {
        size_t n = smaller(w->piece, bytes - at);
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
    const float *leaves;  /* (local_leaves, count) of this rank */
    int32_t local_leaves;
    bool fold;            /* this rank's leaves are a whole subtree: it shows the others their sum only, as one leaf */
    int32_t shown, total; /* leaves that a rank and that all ranks show */
    int64_t count, part, piece;
    float *out;
    bool scatter; /* out gets this rank's part only */
} sum;

/* Elements of part r in the piece that begins at at; parts at the end may be shorter. */
static int64_t piece_length(const sum *s, int32_t r, int64_t at) {
    int64_t n = s->part - at < s->piece ? s->part - at : s->piece, left = s->count - r * s->part - at;
    return left < 0 ? 0 : left < n ? left : n;
}

static void show_leaves(const ec_window *w, const sum *s, int64_t at, float *half) {
    const int64_t stride = w->comm->size * s->piece;
    float *to = half + (int64_t)w->comm->rank * s->shown * stride;
    for (int32_t r = 0; r < w->comm->size; r++) {
        const float *from = s->leaves + r * s->part + at;
        const int64_t n = piece_length(s, r, at);
        if (s->fold) ec__tree_sum_to(from, s->count, s->local_leaves, n, to + r * s->piece);
        else
            for (int32_t l = 0; l < s->shown && n > 0; l++)
                memcpy(to + l * stride + r * s->piece, from + l * s->count, (size_t)n * sizeof *to);
    }
}

static ec_status sum_piece(ec_window *w, const sum *s, int64_t at, const ec_ticket *ticket) {
    ec_status status = EC_OK;
    const int32_t rank = w->comm->rank, size = w->comm->size;
    float *half = (float *)(void *)next_half(w);
    float *mine = half + rank * s->piece;
    show_leaves(w, s, at, half);
    EC_TRY(ec__meet(&w->meeting, ticket));
    /* Only this rank reads its part of the leaves, so the sums may take the place of the first of them. */
    ec__tree_sum_to(mine, size * s->piece, s->total, piece_length(s, rank, at), s->scatter ? s->out + at : mine);
    if (s->scatter) goto done;
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
    const int64_t shown = s->shown * s->count;
    float *mine = half + w->comm->rank * shown;
    if (s->fold) ec__tree_sum_to(s->leaves, s->count, s->local_leaves, s->count, mine);
    else if (shown > 0) memcpy(mine, s->leaves, (size_t)shown * sizeof *half);
    EC_TRY(ec__meet(&w->meeting, ticket));
    ec__tree_sum_to(half, s->count, s->total, s->count, s->out);
done:
    return status;
}

ec_status ec__window_reduce(ec_window *w, ec_comm_call call, const float *leaves, int32_t local_leaves, int64_t count,
                            float *out) {
    ec_status status = EC_OK;
    const int32_t size = w->comm->size;
    const bool fold = local_leaves > 1 && ec__tree_aligned(local_leaves * size, size);
    const int32_t shown = fold ? 1 : local_leaves;
    const size_t row = (size_t)shown * (size_t)size * (size_t)size * sizeof(float); /* one element of every part */
    const ec_ticket ticket = ticket_for(w, call, (size_t)count * (size_t)local_leaves * sizeof(float), 0);
    sum s = {.leaves = leaves, .local_leaves = local_leaves, .fold = fold, .shown = shown, .total = shown * size,
             .count = count, .part = (count + size - 1) / size, .out = out,
             .scatter = call == EC_CALL_REDUCE_SCATTER_ORDERED};
    if (w->piece < row) w->piece = row;
    EC_TRY(make_room(w, w->piece, &ticket));
    if (!s.scatter && (size_t)s.total * (size_t)count * sizeof(float) <= smaller(SMALL, w->piece))
        return sum_small(w, &s, &ticket);
    s.piece = (int64_t)(w->piece / row);
    if (s.piece > s.part) s.piece = s.part;
    for (int64_t at = 0; at < s.part; at += s.piece) EC_TRY(sum_piece(w, &s, at, &ticket));
    if (s.part == 0) EC_TRY(ec__meet(&w->meeting, &ticket));
done:
    return status;
}
