/* Construction of a training pass: the cut of the rows, and one arena each for activations and gradient leaves. */
#include "nn/heads_pass.h"

#include <math.h>
#include <stdlib.h>

#include "dist/tree.h"

static ec_status check_plan(const ec_heads_plan *p, int32_t ranks) {
    if (p->global_rows < 2 || p->global_rows % ranks != 0)
        return EC_ERROR(EC_ERR_CONFIG,
                        "global batch of %lld rows on %d ranks: expected a multiple of the ranks, at least 2",
                        (long long)p->global_rows, ranks);
    if (p->global_rows / ranks > INT32_MAX / 4)
        return EC_ERROR(EC_ERR_CONFIG, "%lld rows a rank are too many", (long long)(p->global_rows / ranks));
    if (p->reproducible && (p->shards < 1 || p->shards % ranks != 0 || p->shards > p->global_rows))
        return EC_ERROR(EC_ERR_CONFIG,
                        "%d virtual shards on %d ranks: expected a multiple of the ranks, at most the %lld rows of the "
                        "global batch",
                        p->shards, ranks, (long long)p->global_rows);
    int64_t groups = p->reproducible ? p->shards / ranks : p->global_rows / ranks;
    if (p->accumulate < 1 || p->accumulate > groups)
        return EC_ERROR(EC_ERR_CONFIG, "accumulate is %d: expected 1 to %lld, the %s of a rank", p->accumulate,
                        (long long)groups, p->reproducible ? "virtual shards" : "rows");
    return EC_OK;
}

static int32_t round_up(int64_t n, int32_t to) { return (int32_t)((n + to - 1) / to * to); }

/* Shards of this rank. Fast mode: as many as keep the threads busy with equal work, in pieces that fit the cache. */
static int32_t shard_count(const ec_heads_pass *pass) {
    const ec_heads_plan *p = &pass->plan;
    if (p->reproducible) return p->shards / pass->comm->size;
    int32_t unit = pass->be->width(pass->be) * p->accumulate;
    int32_t grain = pass->be->grain.shard_rows, chunks = round_up((pass->rows + grain - 1) / grain, unit);
    return chunks > pass->rows ? (p->accumulate > 1 ? p->accumulate : pass->rows) : chunks;
}

static ec_status cut_rows(ec_heads_pass *pass) {
    const ec_heads_plan *p = &pass->plan;
    const ec_comm *comm = pass->comm;
    pass->rows = (int32_t)(p->global_rows / comm->size);
    pass->first_row = (int64_t)pass->rows * comm->rank;
    pass->shards = shard_count(pass);
    pass->groups = p->accumulate;
    pass->compact = !p->reproducible || ec__tree_aligned(p->shards, comm->size);
    pass->slots = pass->compact ? comm->size : p->shards;
    pass->bound = calloc((size_t)pass->shards + 1, sizeof *pass->bound);
    pass->shard_rows = calloc((size_t)pass->shards, sizeof *pass->shard_rows);
    pass->slot_rows = calloc((size_t)pass->slots, sizeof *pass->slot_rows);
    if (!pass->bound || !pass->shard_rows || !pass->slot_rows)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for %d shards", pass->shards);
    /* The ranks' rows are cut alike, so shard s of any rank has as many rows as shard s of this one. */
    for (int32_t s = 0; s < pass->shards; s++) {
        pass->bound[s + 1] = (int32_t)((int64_t)pass->rows * (s + 1) / pass->shards);
        pass->shard_rows[s] = pass->bound[s + 1] - pass->bound[s];
    }
    for (int32_t i = 0; i < pass->slots; i++)
        pass->slot_rows[i] = pass->compact ? pass->rows : pass->shard_rows[i % pass->shards];
    for (int32_t g = 0; g < pass->groups; g++) {
        int32_t rows = pass->bound[ec__pass_group_begin(pass, g + 1)] - pass->bound[ec__pass_group_begin(pass, g)];
        if (rows > pass->group_rows) pass->group_rows = rows;
    }
    return EC_OK;
}

static float *take(ec_arena *arena, int64_t rows, int64_t width) {
    return ec__arena_take(arena, (size_t)(rows * width), sizeof(float));
}

static void place_layer(ec_arena *arena, const ec_heads_pass *pass, const ec_projector *p, ec_layer *layer) {
    layer->h = take(arena, pass->group_rows, p->hidden);
    layer->a = take(arena, pass->group_rows, p->hidden);
    layer->d = take(arena, pass->group_rows, p->hidden);
    layer->dy = take(arena, pass->group_rows, p->out);
    layer->y = take(arena, p->last ? pass->rows : pass->group_rows, p->out);
    layer->mean = take(arena, 1, p->hidden);
    layer->inv_std = take(arena, 1, p->hidden);
    if (!p->last) return;
    layer->inv_norm = take(arena, pass->rows, 1);
    layer->grad_z = take(arena, pass->rows, p->out);
}

static void place_leaves(ec_arena *arena, const ec_heads_pass *pass, ec_leaves *leaves) {
    leaves->local = take(arena, pass->shards, leaves->width);
    leaves->exchange = take(arena, pass->slots, leaves->width);
}

static void place_activations(ec_arena *arena, ec_heads_pass *pass) {
    const ec_heads *heads = pass->heads;
    for (int32_t i = 0; i < heads->projector_count; i++)
        place_layer(arena, pass, &heads->projector[i], &pass->layer[i]);
    for (int32_t l = 0; l < heads->levels; l++) {
        place_leaves(arena, pass, &pass->stats[l]);
        place_leaves(arena, pass, &pass->sums[l]);
    }
    for (int32_t m = 0; m < EC_MODALITIES && heads->config.normalize_inputs; m++)
        pass->scale[m] = take(arena, pass->group_rows, 1);
    pass->step = ec__arena_take(arena, 1, sizeof *pass->step);
}

static void lay_out_leaves(ec_heads_pass *pass) {
    for (int32_t i = 0; i < pass->heads->projector_count; i++) {
        const ec_projector *p = &pass->heads->projector[i];
        ec_leaves *stats = &pass->stats[p->level], *sums = &pass->sums[p->level];
        pass->layer[i].stat_at = stats->width;
        pass->layer[i].sum_at = sums->width;
        stats->width += 2 * p->hidden;
        sums->width += 2 * p->hidden + (p->last ? p->out : 0);
    }
}

static ec_status make_activations(ec_heads_pass *pass) {
    ec_status status = EC_OK;
    ec_backend *be = pass->be;
    lay_out_leaves(pass);
    ec_arena plan = ec__arena_counting();
    place_activations(&plan, pass);
    pass->activation_bytes = ec__arena_used(&plan);
    EC_TRY(be->memory->alloc(be, pass->activation_bytes, &pass->activations));
    ec_arena arena = ec__arena_over(pass->activations, pass->activation_bytes);
    place_activations(&arena, pass);
    EC_TRY(be->memory->alloc_host(be, EC_TURNS * sizeof *pass->step_told, (void **)&pass->step_told));
done:
    return status;
}

/* How many flat arrays the sum over this rank's leaves needs: see ec__heads_weight_gradients. */
static int32_t leaf_arrays(const ec_heads_pass *pass) {
    if (!pass->plan.reproducible) return 1;
    if (!pass->compact || pass->groups > 1) return pass->shards;
    int32_t depth = 1;
    for (int32_t n = pass->shards; n > 1; n -= n / 2) depth++;
    return depth;
}

static ec_status make_leaves(ec_heads_pass *pass) {
    ec_status status = EC_OK;
    ec_backend *be = pass->be;
    int64_t total = pass->heads->params.total;
    pass->leaves = leaf_arrays(pass);
    pass->direct = !pass->plan.reproducible || (pass->compact && pass->groups == 1 && pass->comm->size == 1);
    pass->leaf = calloc((size_t)pass->leaves, sizeof *pass->leaf);
    if (!pass->leaf) EC_FAIL(EC_ERR_MEMORY, "no memory for %d leaves", pass->leaves);
    pass->leaf_bytes = (size_t)(pass->leaves - pass->direct) * (size_t)total * sizeof(float);
    EC_TRY(be->memory->alloc(be, pass->leaf_bytes, &pass->leaf_memory));
    /* Only weights are ever written; the rest is summed along and must be numbers. */
    EC_TRY(be->memory->zero(be, be->main_stream(be), pass->leaf_memory, pass->leaf_bytes));
    for (int32_t i = pass->direct; i < pass->leaves; i++)
        pass->leaf[i] = (float *)pass->leaf_memory + (i - pass->direct) * total;
    if (!pass->direct)
        EC_TRY(ec__comm_prepare(pass->comm, ec__pass_shown_leaves(pass), ec__heads_largest_sum(pass)));
done:
    return status;
}

/* All products of a step, so that none is met for the first time inside one. Shards, and groups, have at most two
 * different numbers of rows, so most rounds find everything made. */
static ec_status prepare(ec_heads_pass *pass) {
    int32_t shard_rows = 0, group_rows = 0, block = pass->be->grain.row_block;
    for (int32_t s = 0; s < pass->shards; s++) {
        int32_t rows = pass->bound[s + 1] - pass->bound[s], tail = rows % block;
        if (rows == shard_rows) continue;
        shard_rows = rows;
        if (rows >= block) EC_RETURN_IF(ec__heads_prepare_stages(pass, block));
        if (tail > 0) EC_RETURN_IF(ec__heads_prepare_stages(pass, tail));
        if (pass->plan.reproducible) EC_RETURN_IF(ec__heads_prepare_gradients(pass, rows, false));
    }
    for (int32_t g = 0; g < pass->groups && !pass->plan.reproducible; g++) {
        int32_t rows = pass->bound[ec__pass_group_begin(pass, g + 1)] - pass->bound[ec__pass_group_begin(pass, g)];
        if (rows == group_rows && g > 1) continue;
        group_rows = rows;
        EC_RETURN_IF(ec__heads_prepare_gradients(pass, rows, g > 0));
    }
    return EC_OK;
}

static void set_dropout(ec_heads_pass *pass) {
    uint32_t threshold = (uint32_t)lrint(65536.0 * pass->heads->config.dropout);
    if (threshold > 65535) threshold = 65535; /* something must be kept */
    for (int32_t i = 0; i < pass->heads->projector_count; i++)
        pass->dropout[i] = (ec_dropout){.threshold = threshold, .scale = (float)(65536.0 / (65536.0 - threshold)),
                                        .seed = pass->plan.seed, .step = pass->step, .layer = (uint32_t)i};
}

ec_status ec__heads_pass_new(ec_heads *heads, ec_comm *comm, const ec_heads_plan *plan, ec_heads_pass **out) {
    ec_status status = EC_OK;
    ec_heads_pass *pass = NULL;
    EC_TRY(check_plan(plan, comm->size));
    pass = calloc(1, sizeof *pass);
    if (!pass) EC_FAIL(EC_ERR_MEMORY, "no memory for a training pass");
    pass->heads = heads;
    pass->be = heads->be;
    pass->comm = comm;
    pass->plan = *plan;
    EC_TRY(cut_rows(pass));
    EC_TRY(ec__heads_cut_gradients(pass));
    EC_TRY(make_activations(pass));
    set_dropout(pass);
    EC_TRY(make_leaves(pass));
    EC_TRY(prepare(pass));
    *out = pass;
    pass = NULL;
done:
    ec__heads_pass_free(pass);
    return status;
}

void ec__heads_pass_free(ec_heads_pass *pass) {
    if (!pass) return;
    pass->be->memory->free(pass->be, pass->activations);
    pass->be->memory->free(pass->be, pass->leaf_memory);
    pass->be->memory->free_host(pass->be, pass->step_told);
    free(pass->leaf);
    free(pass->item);
    free(pass->bucket);
    free(pass->bound);
    free(pass->shard_rows);
    free(pass->slot_rows);
    free(pass);
}

size_t ec__heads_pass_bytes(const ec_heads_pass *pass) { return pass->activation_bytes + pass->leaf_bytes; }
