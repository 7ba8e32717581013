/* Ordered sums over the memory of GPUs. The array is cut into one part a rank, part r summed by rank r: with ranks a
 * power of two that divides the leaves, every rank first sums its own leaves, so that as much travels as for any
 * reduce-scatter and all-gather. */
#include "dist/comm_nccl_impl.h"

#include "dist/tree.h"

typedef struct sum {
    ec_nccl_comm *n;
    float *leaves;
    int32_t shown; /* leaves that a rank shows the others */
    int64_t count;
    float *out;
    float *room;
} sum;

static bool small(const ec_nccl_comm *n, int32_t shown, int64_t count) {
    return (int64_t)shown * n->base.size * count <= (int64_t)(EC_NCCL_SMALL / sizeof(float));
}

static int64_t part_of(const ec_nccl_comm *n, int64_t count) { return (count + n->base.size - 1) / n->base.size; }

static ec_status sum_small(const sum *s) {
    const size_t bytes = (size_t)s->shown * (size_t)s->count * sizeof *s->room;
    EC_RETURN_IF(ec__nccl_link_all_gather(s->n, s->leaves, s->room, bytes));
    return ec__nccl_tree_sum(s->n->now, s->room, s->count, s->shown * s->n->base.size, s->count, s->out);
}

/* To where the others' come. */
static ec_status copy_own_parts(const sum *s) {
    const ec_nccl_comm *n = s->n;
    const int32_t rank = n->base.rank;
    const int64_t part = part_of(n, s->count), mine = ec__nccl_part(part, s->count, rank);
    float *own = s->room + rank * s->shown * part;
    for (int32_t l = 0; l < s->shown && mine > 0; l++)
        EC_RETURN_IF(EC_CUDA(cudaMemcpyAsync(own + l * part, s->leaves + l * s->count + rank * part,
                                             (size_t)mine * sizeof *own, cudaMemcpyDeviceToDevice, n->now->queue)));
    return EC_OK;
}

/* This rank's part of the sums, to out. */
static ec_status sum_part(const sum *s, float *out) {
    ec_nccl_comm *n = s->n;
    const int32_t rank = n->base.rank;
    const int64_t part = part_of(n, s->count), mine = ec__nccl_part(part, s->count, rank);
    EC_RETURN_IF(copy_own_parts(s));
    EC_RETURN_IF(ec__nccl_link_exchange(n, s->leaves, s->shown, s->count, part, s->room));
    return ec__nccl_tree_sum(n->now, s->room, part, s->shown * n->base.size, mine, out);
}

static ec_status begin(ec_nccl_comm *n, ec_comm_call call, float *leaves, int32_t local_leaves, int64_t count,
                       float *out, sum *s) {
    void *room = NULL;
    const bool fold = ec__nccl_folds(n->base.size, local_leaves);
    EC_RETURN_IF(ec__nccl_room(n, ec__nccl_reduce_bytes(n->base.size, local_leaves, count), &room));
    *s = (sum){.n = n, .leaves = leaves, .shown = fold ? 1 : local_leaves, .count = count, .out = out, .room = room};
    if (fold) EC_RETURN_IF(ec__nccl_tree_sum(n->now, leaves, count, local_leaves, count, leaves));
    return ec__nccl_mark(n->now, n->counter, n->place, call, (size_t)count * (size_t)local_leaves * sizeof *leaves);
}

static ec_status all_reduce(ec_nccl_comm *n, float *leaves, int32_t local_leaves, int64_t count, float *out) {
    sum s;
    const int64_t part = part_of(n, count);
    EC_RETURN_IF(begin(n, EC_CALL_ALL_REDUCE_ORDERED, leaves, local_leaves, count, out, &s));
    if (small(n, s.shown, count)) return sum_small(&s);
    EC_RETURN_IF(sum_part(&s, out + n->base.rank * part));
    return ec__nccl_link_share_parts(n, out, part, count);
}

static ec_status reduce_scatter(ec_nccl_comm *n, float *leaves, int32_t local_leaves, int64_t count, float *out) {
    sum s;
    EC_RETURN_IF(begin(n, EC_CALL_REDUCE_SCATTER_ORDERED, leaves, local_leaves, count, out, &s));
    return sum_part(&s, out);
}

static ec_status keep(ec_nccl_comm *n, ec_status status) {
    if (status != EC_OK) n->broken = true;
    return status;
}

ec_status ec__nccl_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out) {
    ec_nccl_comm *n = ec__nccl(comm);
    if (!n->link) return ec__nccl_tree_sum(n->now, leaves, count, local_leaves, count, out);
    return keep(n, all_reduce(n, leaves, local_leaves, count, out));
}

ec_status ec__nccl_reduce_scatter_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count,
                                          float *out) {
    ec_nccl_comm *n = ec__nccl(comm);
    if (!n->link) return ec__nccl_tree_sum(n->now, leaves, count, local_leaves, count, out);
    return keep(n, reduce_scatter(n, leaves, local_leaves, count, out));
}

/* Pieces of one array, each with room of its own. */
typedef struct batch {
    ec_nccl_comm *n;
    float *from, *to, *room;
    const ec_comm_piece *piece;
    int32_t pieces;
    bool whole; /* every rank sums all of it, not its part */
} batch;

typedef ec_status (*piece_fn)(const batch *b, const sum *s);

static ec_status of_each(const batch *b, piece_fn fn) {
    float *room = b->room;
    for (int32_t i = 0; i < b->pieces; i++) {
        const int64_t at = b->piece[i].at, count = b->piece[i].count;
        const sum s = {.n = b->n, .leaves = b->from + at, .shown = 1, .count = count, .out = b->to + at, .room = room};
        EC_RETURN_IF(fn(b, &s));
        room += b->n->base.size * (b->whole ? count : part_of(b->n, count));
    }
    return EC_OK;
}

static ec_status together(const batch *b, piece_fn fn) {
    EC_RETURN_IF(ec__nccl_link_together(b->n));
    return ec__nccl_link_together_end(b->n, of_each(b, fn));
}

static ec_status copy_own(const batch *b, const sum *s) {
    return b->whole ? EC_OK : copy_own_parts(s);
}

static ec_status show(const batch *b, const sum *s) {
    if (b->whole) return ec__nccl_link_all_gather(s->n, s->leaves, s->room, (size_t)s->count * sizeof *s->room);
    return ec__nccl_link_exchange(s->n, s->leaves, 1, s->count, part_of(s->n, s->count), s->room);
}

static ec_status add_up(const batch *b, const sum *s) {
    const int32_t rank = s->n->base.rank, size = s->n->base.size;
    const int64_t part = b->whole ? s->count : part_of(s->n, s->count);
    if (b->whole) return ec__nccl_tree_sum(s->n->now, s->room, part, size, s->count, s->out);
    return ec__nccl_tree_sum(s->n->now, s->room, part, size, ec__nccl_part(part, s->count, rank), s->out + rank * part);
}

static ec_status share(const batch *b, const sum *s) {
    (void)b;
    return ec__nccl_link_share_parts(s->n, s->out, part_of(s->n, s->count), s->count);
}

static ec_status in_place(const batch *b, const sum *s) {
    (void)b;
    return ec__nccl_link_all_reduce(s->n, s->out, s->count);
}

/* Four steps of all pieces in place of those of each. */
static ec_status reduce_batch(batch *b, int64_t total) {
    const int32_t size = b->n->base.size;
    void *room = NULL;
    if (!b->from) return together(b, in_place);
    EC_RETURN_IF(ec__nccl_room(b->n, ec__nccl_reduce_bytes(size, 1, total + (int64_t)b->pieces * size), &room));
    b->room = room;
    b->whole = small(b->n, 1, total);
    EC_RETURN_IF(of_each(b, copy_own));
    EC_RETURN_IF(together(b, show));
    EC_RETURN_IF(of_each(b, add_up));
    return b->whole ? EC_OK : together(b, share);
}

ec_status ec__nccl_all_reduce_pieces(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces,
                                     float *to) {
    ec_nccl_comm *n = ec__nccl(comm);
    int64_t total = 0;
    batch b = {.n = n, .from = from, .to = to, .piece = piece, .pieces = pieces};
    if (!n->link) return ec__comm_piece_by_piece(comm, from, piece, pieces, to);
    for (int32_t i = 0; i < pieces; i++) total += piece[i].count;
    if (total == 0) return EC_OK;
    EC_RETURN_IF(keep(n, ec__nccl_mark(n->now, n->counter, n->place,
                                       from ? EC_CALL_ALL_REDUCE_ORDERED : EC_CALL_ALL_REDUCE_FAST,
                                       (size_t)total * sizeof *to)));
    return keep(n, reduce_batch(&b, total));
}
