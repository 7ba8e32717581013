/* Forward and backward over the global batch: stages over groups, and the sums between them. */
#include <string.h>

#include "compute/ops_head.h"
#include "nn/heads_pass.h"

typedef struct group_run {
    ec_heads_pass *pass;
    int32_t group, first_shard, shards;
    ec_modality first_modality;
    int32_t forward, backward; /* last stage of each; backward < 0: none */
    bool from_start;
} group_run;

static ec_status run_stages(const group_run *run, ec_stream *stream, ec_modality modality, ec_rows r) {
    ec_heads_pass *pass = run->pass;
    int32_t forward = run->from_start ? 0 : run->backward < 0 ? run->forward : run->forward + 1;
    for (; forward <= run->forward; forward++)
        EC_RETURN_IF(ec__heads_forward_stage(pass, stream, forward, modality, r));
    for (int32_t backward = run->from_start ? 0 : run->backward; backward >= 0 && backward <= run->backward; backward++)
        EC_RETURN_IF(ec__heads_backward_stage(pass, stream, backward, modality, r));
    return EC_OK;
}

/* Task = modality (from the first one) * shards of the group + shard in the group: image, the wider input, first. */
static ec_status run_shard(void *arg, int32_t task, ec_stream *stream) {
    const group_run *run = arg;
    const ec_heads_pass *pass = run->pass;
    ec_modality modality = (ec_modality)((int32_t)run->first_modality + task / run->shards);
    int32_t shard = run->first_shard + task % run->shards, begin = pass->bound[shard], end = pass->bound[shard + 1];
    int32_t block = pass->be->grain.row_block;
    for (int32_t row = begin, rows; row < end; row += rows) {
        rows = end - row < block ? end - row : block;
        const ec_rows r = {.row = row, .rows = rows,
                           .at = row - pass->bound[run->first_shard], .shard = shard, .before = row - begin};
        EC_RETURN_IF(run_stages(run, stream, modality, r));
    }
    return EC_OK;
}

ec_status ec__heads_run_group(ec_heads_pass *pass, int32_t group, int32_t forward, int32_t backward) {
    group_run run = {.pass = pass, .group = group, .forward = forward, .backward = backward,
                     .from_start = pass->groups > 1, .first_shard = ec__pass_group_begin(pass, group)};
    run.shards = ec__pass_group_begin(pass, group + 1) - run.first_shard;
    return pass->be->for_each(pass->be, EC_MODALITIES * run.shards, run_shard, &run);
}

static ec_status run_all(ec_heads_pass *pass, int32_t forward, int32_t backward) {
    for (int32_t g = 0; g < pass->groups; g++) EC_RETURN_IF(ec__heads_run_group(pass, g, forward, backward));
    return EC_OK;
}

/* Sums `count` leaves of a kind, `row` rows each, into the first. */
typedef ec_status (*combine_fn)(ec_heads_pass *pass, int32_t level, int32_t count, const int64_t *row, float *leaf);

static ec_status combine_stats(ec_heads_pass *pass, int32_t level, int32_t count, const int64_t *row, float *leaf) {
    ec_backend *be = pass->be;
    for (int32_t i = 0; i < pass->heads->projector_count; i++) {
        const ec_projector *p = &pass->heads->projector[i];
        if (p->level != level) continue;
        EC_RETURN_IF(be->head->bn_combine(be, be->main_stream(be), count, row, p->hidden, leaf + pass->layer[i].stat_at,
                                          pass->stats[level].width));
    }
    return EC_OK;
}

/* In the tree of dist/tree.h. */
static ec_status combine_sums(ec_heads_pass *pass, int32_t level, int32_t count, const int64_t *row, float *leaf) {
    if (count == 1) return EC_OK;
    ec_backend *be = pass->be;
    int64_t width = pass->sums[level].width;
    int32_t left = count / 2;
    float *right = leaf + left * width;
    EC_RETURN_IF(combine_sums(pass, level, left, row, leaf));
    EC_RETURN_IF(combine_sums(pass, level, count - left, row + left, right));
    return be->head->add(be, be->main_stream(be), width, right, leaf);
}

/* An exchange of sums: this rank's leaves become what it shows, that goes to all, and becomes the sum over all ranks in
 * slot 0 of the exchange. */
static ec_status fold_leaves(ec_heads_pass *pass, const ec_leaves *leaves, int32_t level, combine_fn combine) {
    return pass->compact ? combine(pass, level, pass->shards, pass->shard_rows, leaves->local) : EC_OK;
}

static ec_status gather_leaves(ec_heads_pass *pass, const ec_leaves *leaves) {
    ec_backend *be = pass->be;
    int32_t mine = pass->slots / pass->comm->size;
    size_t bytes = (size_t)(mine * leaves->width) * sizeof(float);
    if (pass->comm->size == 1)
        return be->memory->copy(be, be->main_stream(be), leaves->exchange, leaves->local, bytes);
    return ec__comm_all_gather(pass->comm, leaves->local, leaves->exchange, bytes);
}

static ec_status combine_leaves(ec_heads_pass *pass, const ec_leaves *leaves, int32_t level, combine_fn combine) {
    return combine(pass, level, pass->slots, pass->slot_rows, leaves->exchange);
}

static ec_status exchange(ec_heads_pass *pass, const ec_leaves *leaves, int32_t level, combine_fn combine) {
    EC_RETURN_IF(fold_leaves(pass, leaves, level, combine));
    EC_RETURN_IF(gather_leaves(pass, leaves));
    return combine_leaves(pass, leaves, level, combine);
}

static ec_status finish_statistics(ec_heads_pass *pass, int32_t level) {
    ec_heads *heads = pass->heads;
    ec_backend *be = pass->be;
    EC_RETURN_IF(exchange(pass, &pass->stats[level], level, combine_stats));
    for (int32_t i = 0; i < heads->projector_count; i++) {
        const ec_projector *p = &heads->projector[i];
        ec_layer *layer = &pass->layer[i];
        if (p->level != level) continue;
        EC_RETURN_IF(be->head->bn_finish(be, be->main_stream(be), pass->plan.global_rows, p->hidden,
                                         pass->stats[level].exchange + layer->stat_at, layer->mean, layer->inv_std,
                                         ec__heads_buffer_at(heads, p->running_mean),
                                         ec__heads_buffer_at(heads, p->running_var)));
    }
    return EC_OK;
}

ec_status ec__heads_begin(ec_heads_pass *pass, int64_t step, int32_t turn) {
    ec_heads *heads = pass->heads;
    ec_backend *be = pass->be;
    for (int32_t i = 0; i < heads->projector_count; i++) heads->counter[heads->projector[i].batches]++;
    pass->step_told[turn] = (uint32_t)step;
    return be->memory->upload(be, be->main_stream(be), pass->step, &pass->step_told[turn], sizeof *pass->step);
}

/* The last stage. Where the ranks' exchange of one modality can run beside the work on the other, one after the
 * other. */
static ec_status make_embeddings(ec_heads_pass *pass, ec_heads_ready_fn ready, void *arg) {
    const ec_comm *comm = pass->comm;
    const bool beside = ready && comm->beside && pass->groups == 1;
    group_run run = {.pass = pass, .shards = pass->shards, .forward = pass->heads->levels, .backward = -1};
    if (!beside) EC_RETURN_IF(run_all(pass, pass->heads->levels, -1));
    for (ec_modality m = EC_IMAGE; m < EC_MODALITIES && ready; m++) {
        run.first_modality = m;
        if (beside) EC_RETURN_IF(pass->be->for_each(pass->be, run.shards, run_shard, &run));
        EC_RETURN_IF(ready(arg, m));
    }
    return EC_OK;
}

ec_status ec__heads_forward(ec_heads_pass *pass, const float *const x[EC_MODALITIES], ec_heads_ready_fn ready,
                            void *arg) {
    memcpy(pass->x, x, sizeof pass->x);
    for (int32_t stage = 0; stage < pass->heads->levels; stage++) {
        EC_RETURN_IF(run_all(pass, stage, -1));
        EC_RETURN_IF(finish_statistics(pass, stage));
    }
    return make_embeddings(pass, ready, arg);
}

/* Gradients of vectors are sums that every rank already has: gamma, beta and the last Linear's bias. Biases in front of
 * a BatchNorm, and the gaps between tensors, get 0. */
static ec_status vector_gradients(ec_heads_pass *pass, float *grad) {
    const ec_heads *heads = pass->heads;
    ec_backend *be = pass->be;
    const ec_memory_ops *memory = be->memory;
    ec_stream *stream = be->main_stream(be);
    const ec_param *item = heads->params.items;
    for (int32_t i = 0; i < heads->params.count; i++) {
        int64_t begin = item[i].zero_gradient ? item[i].offset : item[i].offset + item[i].count;
        int64_t end = i + 1 < heads->params.count ? item[i + 1].offset : heads->params.total;
        if (end > begin) EC_RETURN_IF(memory->zero(be, stream, grad + begin, (size_t)(end - begin) * sizeof *grad));
    }
    for (int32_t i = 0; i < heads->projector_count; i++) {
        const ec_projector *p = &heads->projector[i];
        const float *sum = pass->sums[p->level].exchange + pass->layer[i].sum_at;
        size_t hidden = (size_t)p->hidden;
        EC_RETURN_IF(memory->copy(be, stream, grad + item[p->beta].offset, sum, hidden * sizeof *grad));
        EC_RETURN_IF(memory->copy(be, stream, grad + item[p->gamma].offset, sum + hidden, hidden * sizeof *grad));
        if (p->last)
            EC_RETURN_IF(memory->copy(be, stream, grad + item[p->bias4].offset, sum + 2 * hidden,
                                      (size_t)p->out * sizeof *grad));
    }
    return EC_OK;
}

/* One group: weight gradients that a stage allows are made and summed beside the exchange and the stages behind it. */
static ec_status run_beside(ec_heads_pass *pass, float *grad) {
    int32_t levels = pass->heads->levels;
    for (int32_t stage = 0; stage < levels; stage++) {
        int32_t level = levels - 1 - stage;
        const ec_leaves *sums = &pass->sums[level];
        EC_RETURN_IF(run_all(pass, levels, stage));
        EC_RETURN_IF(fold_leaves(pass, sums, level, combine_sums));
        EC_RETURN_IF(ec__comm_fork(pass->comm));
        EC_RETURN_IF(gather_leaves(pass, sums));
        EC_RETURN_IF(ec__comm_milestone(pass->comm));
        EC_RETURN_IF(ec__heads_stage_gradients(pass, stage, grad));
        EC_RETURN_IF(ec__comm_pass_milestone(pass->comm));
        EC_RETURN_IF(combine_leaves(pass, sums, level, combine_sums));
    }
    EC_RETURN_IF(run_all(pass, levels, levels));
    return ec__heads_stage_gradients(pass, levels, grad);
}

/* Stage by stage, with all weight gradients behind the last one. */
static ec_status run_in_turn(ec_heads_pass *pass, float *grad) {
    int32_t levels = pass->heads->levels;
    for (int32_t stage = 0; stage < levels; stage++) {
        int32_t level = levels - 1 - stage;
        EC_RETURN_IF(run_all(pass, levels, stage));
        EC_RETURN_IF(exchange(pass, &pass->sums[level], level, combine_sums));
    }
    for (int32_t g = 0; g < pass->groups; g++) {
        EC_RETURN_IF(ec__heads_run_group(pass, g, levels, levels));
        EC_RETURN_IF(ec__heads_weight_gradients(pass, g, grad));
    }
    return EC_OK;
}

/* The join comes after an error, too: a recording must not end with loose streams. */
ec_status ec__heads_backward(ec_heads_pass *pass, float *grad) {
    if (pass->direct) pass->leaf[0] = grad;
    const bool beside = pass->groups == 1 && ec__pass_in_buckets(pass);
    const ec_status status = beside ? run_beside(pass, grad) : run_in_turn(pass, grad);
    const ec_status joined = ec__comm_join(pass->comm);
    EC_RETURN_IF(status);
    EC_RETURN_IF(joined);
    return vector_gradients(pass, grad);
}

static int32_t layer_of(const ec_heads_pass *pass, ec_modality modality, int32_t e) {
    return pass->heads->config.multi_task ? EC_MODALITIES + EC_EMBEDDINGS * (int32_t)modality + e : (int32_t)modality;
}

const float *ec__heads_z(const ec_heads_pass *pass, ec_modality modality, int32_t e) {
    return pass->layer[layer_of(pass, modality, e)].y;
}

float *ec__heads_grad_z(ec_heads_pass *pass, ec_modality modality, int32_t e) {
    return pass->layer[layer_of(pass, modality, e)].grad_z;
}
