#define _GNU_SOURCE
#include "dist/comm_plain.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "dist/mpi_error.h"
#include "dist/tree.h"

/* Work space 0 is what is sent or gathered, 1 what is received of a sum. */
enum { SENT, RECEIVED };

/* Polls before a rank looks at the clock; then it lets others run, and after YIELD_NS it naps between polls. */
enum { POLLS = 200, YIELD_NS = 2000000, NAP_NS = 20000 };

void ec__plain_release(ec_plain *p) {
    free(p->work[SENT]);
    free(p->work[RECEIVED]);
}

static ec_status make_room(ec_plain *p, int which, size_t bytes, char **out) {
    if (p->work_bytes[which] < bytes) {
        free(p->work[which]);
        p->work_bytes[which] = 0;
        p->work[which] = malloc(bytes);
        if (!p->work[which]) return EC_ERROR(EC_ERR_MEMORY, "no memory for a message of %zu bytes", bytes);
        p->work_bytes[which] = bytes;
    }
    *out = p->work[which];
    return EC_OK;
}

/* Waits for what was started, not burning a processor for long. */
static ec_status finish(MPI_Request *request) {
    ec_status status = EC_OK;
    const int64_t start_ns = ec__now_ns();
    const struct timespec nap = {.tv_nsec = NAP_NS};
    int done = 0;
    for (int64_t polls = 0; !done; polls++) {
        EC_MPI(MPI_Test(request, &done, MPI_STATUS_IGNORE));
        if (done || polls < POLLS) continue;
        if (ec__now_ns() - start_ns < YIELD_NS) sched_yield();
        else nanosleep(&nap, NULL);
    }
done:
    return status;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

ec_status ec__plain_all_gather(ec_plain *p, const void *mine, void *all, size_t bytes) {
    ec_status status = EC_OK;
    const size_t size = (size_t)p->comm->size;
    char *own = (char *)all + (size_t)p->comm->rank * bytes;
    char *work = NULL;
    MPI_Request request;
    if (bytes <= p->piece) {
        EC_MPI(MPI_Iallgather(mine == own ? MPI_IN_PLACE : mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, p->world,
                              &request));
        return finish(&request);
    }
    EC_TRY(make_room(p, SENT, size * p->piece, &work));
    for (size_t at = 0; at < bytes; at += p->piece) {
        size_t n = smaller(p->piece, bytes - at);
        EC_MPI(MPI_Iallgather((const char *)mine + at, (int)n, MPI_BYTE, work, (int)n, MPI_BYTE, p->world, &request));
        EC_TRY(finish(&request));
        for (size_t r = 0; r < size; r++) memcpy((char *)all + r * bytes + at, work + r * n, n);
    }
done:
    return status;
}

ec_status ec__plain_all_gather_view(ec_plain *p, const void *mine, const void **all, size_t bytes) {
    ec_status status = EC_OK;
    char *work = NULL;
    EC_TRY(make_room(p, RECEIVED, (size_t)p->comm->size * bytes + 1, &work));
    EC_TRY(ec__plain_all_gather(p, mine, work, bytes));
    *all = work;
done:
    return status;
}

ec_status ec__plain_broadcast(ec_plain *p, void *x, size_t bytes, int32_t root) {
    ec_status status = EC_OK;
    MPI_Request request;
    for (size_t at = 0; at < bytes || at == 0; at += p->piece) {
        EC_MPI(MPI_Ibcast((char *)x + at, (int)smaller(p->piece, bytes - at), MPI_BYTE, root, p->world, &request));
        EC_TRY(finish(&request));
    }
done:
    return status;
}

ec_status ec__plain_barrier(ec_plain *p, ec_comm_call call) {
    ec_status status = EC_OK;
    MPI_Request request;
    (void)call;
    EC_MPI(MPI_Ibarrier(p->world, &request));
    EC_TRY(finish(&request));
done:
    return status;
}

ec_status ec__plain_all_reduce_fast(ec_plain *p, float *x, int64_t count) {
    ec_status status = EC_OK;
    MPI_Request request;
    const int64_t piece = (int64_t)(p->piece / sizeof *x);
    for (int64_t at = 0; at < count || at == 0; at += piece) {
        int n = (int)(count - at < piece ? count - at : piece);
        EC_MPI(MPI_Iallreduce(MPI_IN_PLACE, x + at, n, MPI_FLOAT, MPI_SUM, p->world, &request));
        EC_TRY(finish(&request));
    }
done:
    return status;
}

/* A sum under way, cut as in comm_window.c: one part a rank, parts into pieces. Sent as [rank it goes to][leaf][piece],
 * received as [leaf of all ranks][piece]. */
typedef struct sum {
    const float *leaves;
    int32_t local_leaves;
    bool fold;            /* this rank's leaves are a whole subtree: only their sum is sent, as one leaf */
    int32_t shown, total; /* leaves that a rank and that all ranks send */
    int64_t count, part, piece;
    float *out;
    bool scatter;
    float *sent, *received;
} sum;

static int64_t piece_length(const sum *s, int32_t r, int64_t at) {
    int64_t n = s->part - at < s->piece ? s->part - at : s->piece, left = s->count - r * s->part - at;
    return left < 0 ? 0 : left < n ? left : n;
}

/* What lies past the end of the array is sent as zero, so that messages have one size; its sums are not used. */
static void pack(const ec_plain *p, const sum *s, int64_t at) {
    float *to = s->sent;
    for (int32_t r = 0; r < p->comm->size; r++)
        for (int32_t l = 0; l < s->shown; l++, to += s->piece) {
            const float *from = s->leaves + l * s->count + r * s->part + at;
            int64_t n = piece_length(s, r, at);
            if (s->fold) ec__tree_sum_to(from, s->count, s->local_leaves, n, to);
            else if (n > 0) memcpy(to, from, (size_t)n * sizeof *to);
            memset(to + n, 0, (size_t)(s->piece - n) * sizeof *to);
        }
}

static ec_status sum_piece(ec_plain *p, const sum *s, int64_t at) {
    ec_status status = EC_OK;
    const int32_t size = p->comm->size;
    const int message = (int)(s->shown * s->piece);
    const int64_t mine = piece_length(s, p->comm->rank, at);
    MPI_Request request;
    pack(p, s, at);
    EC_MPI(MPI_Ialltoall(s->sent, message, MPI_FLOAT, s->received, message, MPI_FLOAT, p->world, &request));
    EC_TRY(finish(&request));
    ec__tree_sum_to(s->received, s->piece, s->total, mine, s->scatter ? s->out + at : s->received);
    if (s->scatter) goto done;
    EC_MPI(MPI_Iallgather(s->received, (int)s->piece, MPI_FLOAT, s->sent, (int)s->piece, MPI_FLOAT, p->world, &request));
    EC_TRY(finish(&request));
    for (int32_t r = 0; r < size; r++) {
        int64_t n = piece_length(s, r, at);
        if (n > 0) memcpy(s->out + r * s->part + at, s->sent + r * s->piece, (size_t)n * sizeof *s->out);
    }
done:
    return status;
}

ec_status ec__plain_reduce(ec_plain *p, ec_comm_call call, const float *leaves, int32_t local_leaves, int64_t count,
                           float *out) {
    ec_status status = EC_OK;
    const int32_t size = p->comm->size;
    const bool fold = local_leaves > 1 && ec__tree_aligned(local_leaves * size, size);
    const int32_t shown = fold ? 1 : local_leaves;
    const size_t row = (size_t)shown * (size_t)size * sizeof(float); /* one element of every part */
    char *sent = NULL, *received = NULL;
    if (count == 0) return ec__plain_barrier(p, call);
    sum s = {.leaves = leaves, .local_leaves = local_leaves, .fold = fold, .shown = shown, .total = shown * size,
             .count = count, .part = (count + size - 1) / size, .piece = (int64_t)(p->piece / row), .out = out,
             .scatter = call == EC_CALL_REDUCE_SCATTER_ORDERED};
    if (s.piece < 1) s.piece = 1;
    if (s.piece > s.part) s.piece = s.part;
    EC_TRY(make_room(p, SENT, row * (size_t)s.piece, &sent));
    EC_TRY(make_room(p, RECEIVED, row * (size_t)s.piece, &received));
    s.sent = (float *)(void *)sent;
    s.received = (float *)(void *)received;
    for (int64_t at = 0; at < s.part; at += s.piece) EC_TRY(sum_piece(p, &s, at));
done:
    return status;
}
