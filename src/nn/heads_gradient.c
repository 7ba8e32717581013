/* Weight gradients, dW = X^T dY, as sums over shards.
 *
 * Tasks are slices of the rows of dW. Compact and in one group, a task walks the tree over this rank's shards depth first
 * with one slice of an array for every level of the tree, which stay in the cache; leaf[0] then holds this rank's sum.
 * Otherwise every shard has an array of its own, and the reduction walks the tree. Fast mode makes no leaves of shards: a
 * product runs over all rows of the group at once, and groups add to leaf[0]. */
#include "compute/ops_dense.h"
#include "compute/ops_head.h"
#include "nn/heads_pass.h"

typedef struct grad_run {
    ec_heads_pass *pass;
    int32_t group, first_shard, shards;
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
        const ec_gemm g = product_of(&pass->heads->projector[pass->item[i].projector], &pass->item[i], rows, accumulate);
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

static ec_status run_item(void *arg, int32_t task, ec_stream *stream) {
    const grad_run *run = arg;
    ec_heads_pass *pass = run->pass;
    const ec_grad_item item = pass->item[task];
    const ec_projector *p = &pass->heads->projector[item.projector];
    int64_t width = item.second ? p->out : p->hidden;
    const slice s = {.run = run, .stream = stream, .p = p, .layer = &pass->layer[item.projector], .item = item,
                     .at = pass->heads->params.items[item.second ? p->weight4 : p->weight0].offset + item.first * width,
                     .count = item.rows * width};
    if (!pass->plan.reproducible)
        return product(&s, pass->bound[run->first_shard], pass->bound[run->first_shard + run->shards], run->group > 0,
                       pass->leaf[0]);
    if (pass->compact && pass->groups == 1) return subtree(&s, 0, pass->shards, 0);
    for (int32_t i = run->first_shard; i < run->first_shard + run->shards; i++)
        EC_RETURN_IF(shard_product(&s, i, pass->leaf[i]));
    return EC_OK;
}

ec_status ec__heads_weight_gradients(ec_heads_pass *pass, int32_t group) {
    grad_run run = {.pass = pass, .group = group, .first_shard = ec__pass_group_begin(pass, group)};
    run.shards = ec__pass_group_begin(pass, group + 1) - run.first_shard;
    return pass->be->for_each(pass->be, pass->items, run_item, &run);
}

ec_status ec__heads_reduce_gradients(ec_heads_pass *pass, float *grad) {
    ec_comm *comm = pass->comm;
    int64_t total = pass->heads->params.total;
    if (!pass->plan.reproducible)
        return comm->size > 1 ? ec__comm_all_reduce_fast(comm, grad, total) : EC_OK;
    if (pass->direct) return EC_OK;
    return ec__comm_all_reduce_ordered(comm, pass->leaf[0], ec__pass_shown_leaves(pass), total, grad);
}
