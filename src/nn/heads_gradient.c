/* Weight gradients, dW = X^T dY, as sums over shards.
 *
 * Tasks are slices of the rows of dW. Compact and in one group, a task walks the tree over this rank's shards depth
 * first with one slice of an array for every level of the tree, which stay in the cache; leaf[0] then holds this rank's
 * sum. Otherwise every shard has an array of its own, and the reduction walks the tree. Fast mode makes no leaves of
 * shards: a product runs over all rows of the group at once, and groups add to leaf[0].
 *
 * Over the memory of GPUs, sums over ranks go in buckets. With one group a bucket's products are made as soon as their
 * factors are there (those of a level's second Linear need nothing but the first stage that reaches the level), and its
 * sum begins at once, beside all that comes behind.
 *
 * All collectives of a communicator run one after another, though. So the exchange of BatchNorm sums, for which the
 * stages behind it wait, goes first and has the products that are due beside it; of sums that could begin between it
 * and another such exchange one bucket does, and the rest is held back, so that the latter waits for little at most.
 * Holding back that one, too, would gain nothing where products take the time, since it then ends before the stage
 * does, and would leave the links idle where exchanges take it. */
#include <assert.h>

#include "compute/ops_dense.h"
#include "compute/ops_head.h"
#include "nn/heads_pass.h"

typedef struct grad_run {
    ec_heads_pass *pass;
    int32_t group, first_shard, shards;
    int32_t first_item;
} grad_run;

/* One item at work. */
typedef struct slice {
    const grad_run *run;
    ec_stream *stream;
    const ec_projector *p;
    const ec_layer *layer;
    ec_grad_item item;
    int64_t at, count; /* the slice's place in a flat array */
} slice;

/* X^T dY over so many rows, a slice of the rows of dW. */
static ec_gemm product_of(const ec_projector *p, const ec_grad_item *item, int32_t rows, bool accumulate) {
    int32_t in = item->second ? p->hidden : p->in, out = item->second ? p->out : p->hidden;
    return (ec_gemm){.m = item->rows, .n = out, .k = rows, .lda = in, .ldb = out, .ldc = out, .transpose_a = true,
                     .accumulate = accumulate};
}

ec_status ec__heads_prepare_gradients(ec_heads_pass *pass, int32_t rows, bool accumulate) {
    for (int32_t i = 0; i < pass->items; i++) {
        const ec_projector *p = &pass->heads->projector[pass->item[i].projector];
        const ec_gemm g = product_of(p, &pass->item[i], rows, accumulate);
        EC_RETURN_IF(pass->be->dense->prepare(pass->be, &g));
    }
    return EC_OK;
}

/* dW slice over rows of this rank [begin, end) into the array to. */
static ec_status product(const slice *s, int32_t begin, int32_t end, bool accumulate, float *to) {
    const ec_heads_pass *pass = s->run->pass;
    const ec_projector *p = s->p;
    int64_t row = begin - pass->bound[s->run->first_shard]; /* in group arrays */
    int32_t in = s->item.second ? p->hidden : p->in, out = s->item.second ? p->out : p->hidden;
    const float *dy = s->item.second ? s->layer->dy : s->layer->d, *x;
    if (s->item.second) x = s->layer->a + row * in;
    else if (p->level == 0) x = pass->x[p->modality] + (int64_t)begin * in;
    else x = pass->layer[p->modality].y + row * in;
    const ec_gemm g = product_of(p, &s->item, end - begin, accumulate);
    return pass->be->dense->gemm(pass->be, s->stream, &g, x + s->item.first, dy + row * out, NULL, to + s->at);
}

static ec_status shard_product(const slice *s, int32_t shard, float *to) {
    const int32_t *bound = s->run->pass->bound;
    return product(s, bound[shard], bound[shard + 1], false, to);
}

/* Sum over shards [first, first + count) into leaf[depth], with leaf[depth + 1] and further as work space. */
static ec_status subtree(const slice *s, int32_t first, int32_t count, int32_t depth) {
    ec_heads_pass *pass = s->run->pass;
    if (count == 1) return shard_product(s, first, pass->leaf[depth]);
    int32_t left = count / 2;
    EC_RETURN_IF(subtree(s, first, left, depth));
    EC_RETURN_IF(subtree(s, first + left, count - left, depth + 1));
    return pass->be->head->add(pass->be, s->stream, s->count, pass->leaf[depth + 1] + s->at, pass->leaf[depth] + s->at);
}

/* Place of an item in a flat array. */
static int64_t place_of(const ec_heads_pass *pass, const ec_grad_item *item, int64_t *count) {
    const ec_projector *p = &pass->heads->projector[item->projector];
    const int64_t width = item->second ? p->out : p->hidden;
    *count = item->rows * width;
    return pass->heads->params.items[item->second ? p->weight4 : p->weight0].offset + item->first * width;
}

static ec_status run_item(void *arg, int32_t task, ec_stream *stream) {
    const grad_run *run = arg;
    ec_heads_pass *pass = run->pass;
    const ec_grad_item item = pass->item[run->first_item + task];
    slice s = {.run = run, .stream = stream, .p = &pass->heads->projector[item.projector],
               .layer = &pass->layer[item.projector], .item = item};
    s.at = place_of(pass, &item, &s.count);
    if (!pass->plan.reproducible)
        return product(&s, pass->bound[run->first_shard], pass->bound[run->first_shard + run->shards], run->group > 0,
                       pass->leaf[0]);
    if (pass->compact && pass->groups == 1) return subtree(&s, 0, pass->shards, 0);
    for (int32_t i = run->first_shard; i < run->first_shard + run->shards; i++)
        EC_RETURN_IF(shard_product(&s, i, pass->leaf[i]));
    return EC_OK;
}

/* Items [first, end) of a group. */
static ec_status make_items(ec_heads_pass *pass, int32_t group, int32_t first, int32_t end) {
    grad_run run = {.pass = pass, .group = group, .first_shard = ec__pass_group_begin(pass, group),
                    .first_item = first};
    run.shards = ec__pass_group_begin(pass, group + 1) - run.first_shard;
    return pass->be->for_each(pass->be, end - first, run_item, &run);
}

/* Sums of elements [begin, begin + count) of the leaves over all ranks into grad. */
static ec_status reduce(ec_heads_pass *pass, int64_t begin, int64_t count, float *grad) {
    ec_comm *comm = pass->comm;
    if (!pass->plan.reproducible)
        return comm->size > 1 ? ec__comm_all_reduce_fast(comm, grad + begin, count) : EC_OK;
    if (pass->direct) return EC_OK;
    return ec__comm_all_reduce_ordered(comm, pass->leaf[0] + begin, ec__pass_shown_leaves(pass), count, grad + begin);
}

/* Runs of items that lie back to back, in one go. */
static ec_status reduce_bucket(ec_heads_pass *pass, const ec_grad_bucket *bucket, float *grad) {
    ec_comm_piece piece[EC_PROJECTORS]; /* a stage makes factors of one Linear of a projector */
    int32_t pieces = 0;
    for (int32_t i = bucket->first; i < bucket->end; i++) {
        ec_comm_piece next = {0};
        next.at = place_of(pass, &pass->item[i], &next.count);
        ec_comm_piece *last = pieces ? &piece[pieces - 1] : NULL;
        if (last && last->at + last->count == next.at) {
            last->count += next.count;
        } else {
            assert(pieces < EC_PROJECTORS);
            piece[pieces++] = next;
        }
    }
    return ec__comm_all_reduce_pieces(pass->comm, pass->plan.reproducible ? pass->leaf[0] : NULL, piece, pieces, grad);
}

/* The sums of buckets up to `end`, beside what is enqueued from here on. */
static ec_status sum_until(ec_heads_pass *pass, int32_t end, float *grad) {
    if (pass->summed < end) EC_RETURN_IF(ec__comm_fork(pass->comm));
    for (; pass->summed < end; pass->summed++)
        EC_RETURN_IF(reduce_bucket(pass, &pass->bucket[pass->summed], grad));
    return EC_OK;
}

ec_status ec__heads_stage_gradients(ec_heads_pass *pass, int32_t stage, float *grad) {
    int32_t b = 0;
    if (stage == 0) pass->summed = 0;
    while (b < pass->buckets && pass->bucket[b].stage < stage) b++;
    /* Before the last exchange of BatchNorm sums one bucket, behind it all: first those that were held back. */
    const int32_t most = stage < pass->heads->levels - 1 ? pass->summed + 1 : pass->buckets;
    EC_RETURN_IF(sum_until(pass, b < most ? b : most, grad));
    for (; b < pass->buckets && pass->bucket[b].stage == stage; b++) {
        EC_RETURN_IF(make_items(pass, 0, pass->bucket[b].first, pass->bucket[b].end));
        EC_RETURN_IF(sum_until(pass, b + 1 < most ? b + 1 : most, grad));
    }
    return EC_OK;
}

/* Of a group all of whose factors are there. */
static ec_status reduce_in_buckets(ec_heads_pass *pass, int32_t group, float *grad) {
    pass->summed = 0;
    for (int32_t b = 0; b < pass->buckets; b++) {
        EC_RETURN_IF(make_items(pass, group, pass->bucket[b].first, pass->bucket[b].end));
        EC_RETURN_IF(sum_until(pass, b + 1, grad));
    }
    return EC_OK;
}

ec_status ec__heads_weight_gradients(ec_heads_pass *pass, int32_t group, float *grad) {
    const bool last = group == pass->groups - 1;
    if (last && ec__pass_in_buckets(pass)) return reduce_in_buckets(pass, group, grad);
    EC_RETURN_IF(make_items(pass, group, 0, pass->items));
    return last ? reduce(pass, 0, pass->heads->params.total, grad) : EC_OK;
}
