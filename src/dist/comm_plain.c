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

/* Seconds in which all ranks compare their tickets, when one has failed. */
static const double comparison_s = 2;

ec_status ec__plain_init(ec_plain *p, ec_comm *comm, MPI_Comm world) {
    ec_status status = EC_OK;
    *p = (ec_plain){.comm = comm, .world = world, .desk = MPI_COMM_NULL, .comparison = MPI_REQUEST_NULL,
                    .piece = EC_PLAIN_PIECE};
    EC_MPI(MPI_Comm_dup(world, &p->desk));
done:
    return status;
}

void ec__plain_release(ec_plain *p) {
    if (p->desk != MPI_COMM_NULL) MPI_Comm_free(&p->desk);
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

/* A turn of waiting that began at start_ns: not burning a processor for long. */
static void rest(int64_t polls, int64_t start_ns) {
    const struct timespec nap = {.tv_nsec = NAP_NS};
    if (polls < POLLS) return;
    if (ec__now_ns() - start_ns < YIELD_NS) sched_yield();
    else nanosleep(&nap, NULL);
}

/* Shows this rank's ticket. The largest of every word and of its complement tell whether all are equal. */
static ec_status show_ticket(ec_plain *p, ec_comm_call call, size_t bytes, int32_t root) {
    ec_status status = EC_OK;
    p->ticket = (ec_ticket){.call = (int32_t)call, .root = root, .number = p->comm->number, .bytes = bytes};
    const uint64_t word[EC_TICKET_WORDS] = {p->ticket.number, bytes, (uint64_t)root << 8 | (uint64_t)call};
    for (int i = 0; i < EC_TICKET_WORDS; i++) {
        p->shown[i] = word[i];
        p->shown[EC_TICKET_WORDS + i] = ~word[i];
    }
    EC_MPI(MPI_Iallreduce(p->shown, p->seen, 2 * EC_TICKET_WORDS, MPI_UINT64_T, MPI_MAX, p->desk, &p->comparison));
done:
    return status;
}

/* All ranks have seen that tickets differ, and now show them in full. */
static ec_status name_the_other(ec_plain *p) {
    ec_status status = EC_OK;
    const int64_t start_ns = ec__now_ns();
    MPI_Request request;
    int done = 0;
    int32_t other = 0;
    ec_ticket *all = malloc((size_t)p->comm->size * sizeof *all);
    if (!all) EC_FAIL(EC_ERR_MEMORY, "no memory for the tickets of %d ranks", p->comm->size);
    EC_MPI(MPI_Iallgather(&p->ticket, (int)sizeof *all, MPI_BYTE, all, (int)sizeof *all, MPI_BYTE, p->desk, &request));
    for (int64_t polls = 0; !done; polls++) {
        EC_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (!done) rest(polls, start_ns);
    }
    while (ec__ticket_same(&p->ticket, &all[other])) other++;
    status = ec__ticket_mismatch(p->comm, &p->ticket, &all[other], other);
done:
    free(all);
    return status;
}

/* Polls the comparison. EC_ERR_DIST, on all ranks, where tickets differ. */
static ec_status compare(ec_plain *p, int *done) {
    ec_status status = EC_OK;
    if (p->comparison == MPI_REQUEST_NULL) {
        *done = 1;
        return EC_OK;
    }
    EC_MPI(MPI_Test(&p->comparison, done, MPI_STATUS_IGNORE));
    for (int i = 0; *done && i < EC_TICKET_WORDS; i++)
        if (p->seen[i] != ~p->seen[EC_TICKET_WORDS + i]) return name_the_other(p);
done:
    return status;
}

/* Waits for what was started, and for the comparison. Where MPI fails because ranks call different things, that is what
 * is told. */
static ec_status finish(ec_plain *p, MPI_Request *request) {
    const int64_t start_ns = ec__now_ns();
    int done = 0, compared = 0, code = MPI_SUCCESS;
    for (int64_t polls = 0; !done || !compared; polls++) {
        if (!done && code == MPI_SUCCESS) code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (!compared) EC_RETURN_IF(compare(p, &compared));
        if (code != MPI_SUCCESS && (compared || ec__seconds_since(start_ns) > comparison_s)) break;
        if (!done || !compared) rest(polls, start_ns);
    }
    return ec__mpi_status(code, "MPI_Test");
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

ec_status ec__plain_all_gather(ec_plain *p, const void *mine, void *all, size_t bytes) {
    ec_status status = EC_OK;
    const size_t size = (size_t)p->comm->size;
    char *own = (char *)all + (size_t)p->comm->rank * bytes;
    char *work = NULL;
    MPI_Request request;
    EC_TRY(show_ticket(p, EC_CALL_ALL_GATHER, bytes, 0));
    if (bytes <= p->piece) {
        EC_MPI(MPI_Iallgather(mine == own ? MPI_IN_PLACE : mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE,
                              p->world, &request));
        return finish(p, &request);
    }
    EC_TRY(make_room(p, SENT, size * p->piece, &work));
    for (size_t at = 0; at < bytes; at += p->piece) {
        size_t n = smaller(p->piece, bytes - at);
        EC_MPI(MPI_Iallgather((const char *)mine + at, (int)n, MPI_BYTE, work, (int)n, MPI_BYTE, p->world, &request));
        EC_TRY(finish(p, &request));
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
    EC_TRY(show_ticket(p, EC_CALL_BROADCAST, bytes, root));
    for (size_t at = 0; at < bytes || at == 0; at += p->piece) {
        EC_MPI(MPI_Ibcast((char *)x + at, (int)smaller(p->piece, bytes - at), MPI_BYTE, root, p->world, &request));
        EC_TRY(finish(p, &request));
    }
done:
    return status;
}

ec_status ec__plain_barrier(ec_plain *p, ec_comm_call call) {
    ec_status status = EC_OK;
    MPI_Request request;
    EC_TRY(show_ticket(p, call, 0, 0));
    EC_MPI(MPI_Ibarrier(p->world, &request));
    EC_TRY(finish(p, &request));
done:
    return status;
}

ec_status ec__plain_all_reduce_fast(ec_plain *p, float *x, int64_t count) {
    ec_status status = EC_OK;
    MPI_Request request;
    const int64_t piece = (int64_t)(p->piece / sizeof *x);
    EC_TRY(show_ticket(p, EC_CALL_ALL_REDUCE_FAST, (size_t)count * sizeof *x, 0));
    for (int64_t at = 0; at < count || at == 0; at += piece) {
        int n = (int)(count - at < piece ? count - at : piece);
        EC_MPI(MPI_Iallreduce(MPI_IN_PLACE, x + at, n, MPI_FLOAT, MPI_SUM, p->world, &request));
        EC_TRY(finish(p, &request));
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
    EC_TRY(finish(p, &request));
    ec__tree_sum_to(s->received, s->piece, s->total, mine, s->scatter ? s->out + at : s->received);
    if (s->scatter) goto done;
    EC_MPI(
        MPI_Iallgather(s->received, (int)s->piece, MPI_FLOAT, s->sent, (int)s->piece, MPI_FLOAT, p->world, &request));
    EC_TRY(finish(p, &request));
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
    EC_TRY(show_ticket(p, call, (size_t)count * (size_t)local_leaves * sizeof(float), 0));
    sum s = {.leaves = leaves, .local_leaves = local_leaves, .fold = fold, .shown = shown, .total = shown * size,
             .count = count, .part = (count + size - 1) / size, .piece = (int64_t)(p->piece / row), .out = out,
             .scatter = call == EC_CALL_REDUCE_SCATTER_ORDERED};
    if (s.piece < 1) s.piece = 1;
    if (s.piece > s.part) s.piece = s.part;
    if (count == 0) return finish(p, &(MPI_Request){MPI_REQUEST_NULL});
    EC_TRY(make_room(p, SENT, row * (size_t)s.piece, &sent));
    EC_TRY(make_room(p, RECEIVED, row * (size_t)s.piece, &received));
    s.sent = (float *)(void *)sent;
    s.received = (float *)(void *)received;
    for (int64_t at = 0; at < s.part; at += s.piece) EC_TRY(sum_piece(p, &s, at));
done:
    return status;
}
