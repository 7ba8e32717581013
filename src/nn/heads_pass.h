/* Inside of a training pass: memory, and the cut into shards, groups, stages and exchange slots.
 *
 * Stages. With L levels of projectors, forward has stages 0 .. L and backward has stages 0 .. L; between two stages
 * lies a sum over the global batch:
 *
 *     forward s:  (s > 0) level s-1: BatchNorm, ReLU, dropout, second Linear, L2 norm if last
 *                 (s < L) level s: first Linear and a leaf of BatchNorm statistics             -> combined, all ranks
 *     backward s: (s > 0) level L-s: BatchNorm backward; gradient of the level's input where that is another projector
 *                 (s < L) level L-1-s: L2 backward if last, second Linear, dropout, ReLU backward and a leaf of sums
 *                                                                                              -> combined, all ranks
 *
 * A stage of a shard needs nothing but earlier stages of the same shard and combined sums. With accumulate > 1 a stage
 * is therefore run group by group, each time from forward stage 0 on: memory for one group is enough, bits are the
 * same.
 *
 * Leaves. A leaf is one shard's part of a sum. Where the tree of dist/tree.h, cut at the ranks, is a tree over this
 * rank's leaves and one over ranks (compact), the former is done here and one slot a rank is exchanged; else every leaf
 * is. */
#ifndef EC_NN_HEADS_PASS_H
#define EC_NN_HEADS_PASS_H

#include "compute/ops_head.h"
#include "core/arena.h"
#include "nn/heads_internal.h"
#include "nn/heads_train.h"

enum {
    EC_HEADS_MAX_LEVELS = 2,
};

/* What one projector holds. "group" rows are those of the current group of shards. */
typedef struct ec_layer {
    float *h;        /* (group, hidden): input of BatchNorm */
    float *a;        /* (group, hidden): after dropout */
    float *d;        /* (group, hidden): gradient of a, then of h */
    float *y;        /* last: (B, out) embeddings; else (group, out) */
    float *dy;       /* (group, out): gradient of the second Linear's output */
    float *inv_norm; /* (B), last */
    float *grad_z;   /* (B, out), last */
    float *mean, *inv_std; /* (hidden), of the global batch */
    int64_t stat_at; /* offset in a leaf of statistics: mean, m2 (hidden each) */
    int64_t sum_at;  /* offset in a leaf of sums: sum_d, sum_dx (hidden each), then sum_dy (out) if last */
} ec_layer;

/* Leaves of one kind of sum at one level, and their exchange. */
typedef struct ec_leaves {
    int64_t width;   /* floats of a leaf */
    float *local;    /* (local shards, width) */
    float *exchange; /* (slots of all ranks, width); after combining, slot 0 is the sum */
} ec_leaves;

/* A task: a slice of the gradient of a weight matrix, rows [first, first + rows) of it as stored ([in,out]). */
typedef struct ec_grad_item {
    int32_t projector;
    bool second; /* weight4, else weight0 */
    int32_t first, rows;
} ec_grad_item;

/* Items [first, end), whose sums over ranks are made together where they run beside other work: of at most grain.bucket
 * elements, unless one item has more. Their factors are there after backward stage `stage`. */
typedef struct ec_grad_bucket {
    int32_t first, end, stage;
} ec_grad_bucket;

struct ec_heads_pass {
    ec_heads *heads;
    ec_backend *be;
    ec_comm *comm;
    ec_heads_plan plan;

    int32_t rows;          /* B */
    int64_t first_row;     /* global number of this rank's row 0 */
    int32_t shards;        /* of this rank */
    int32_t *bound;        /* (shards + 1): shard s is rows bound[s] .. bound[s+1] of this rank */
    int32_t groups;
    int32_t group_rows;    /* of the largest group */
    bool compact;          /* one exchange slot a rank */
    int32_t slots;         /* exchange slots of all ranks */
    int64_t *slot_rows;    /* (slots) */
    int64_t *shard_rows;   /* (shards) */

    ec_layer layer[EC_PROJECTORS];
    ec_leaves stats[EC_HEADS_MAX_LEVELS], sums[EC_HEADS_MAX_LEVELS];
    float *scale[EC_MODALITIES]; /* (group): 1 / length of an input row; NULL where inputs are not normalised */

    /* Weight gradients: leaf[i] is a whole flat array of parameters. */
    float **leaf;
    int32_t leaves;
    bool direct;           /* sums are made in the caller's array, leaf[0] */
    ec_grad_item *item;    /* in the order in which their factors come up */
    int32_t items;
    ec_grad_bucket *bucket;
    int32_t buckets;
    int32_t summed;        /* buckets of this backward pass whose sums over ranks are enqueued */

    void *activations, *leaf_memory;
    size_t activation_bytes, leaf_bytes;

    /* Of the steps under way. */
    uint32_t *step;      /* (1) its number, back end memory */
    uint32_t *step_told; /* (EC_TURNS) the same, host memory that it is uploaded from */
    ec_dropout dropout[EC_PROJECTORS];
    const float *x[EC_MODALITIES];
};

/* First shard of a group; that of group number `groups` is the number of shards. */
static inline int32_t ec__pass_group_begin(const ec_heads_pass *pass, int32_t group) {
    return (int32_t)((int64_t)pass->shards * group / pass->groups);
}

/* Arrays that this rank brings to the sum of weight gradients. */
static inline int32_t ec__pass_shown_leaves(const ec_heads_pass *pass) {
    return pass->compact && pass->groups == 1 ? 1 : pass->shards;
}

/* Row block [row, row + rows) of this rank, which is in shard `shard`; at = its place in group buffers. */
typedef struct ec_rows {
    int32_t row, rows, at, shard;
    int32_t before; /* rows of the shard in front of it */
} ec_rows;

ec_status ec__heads_forward_stage(ec_heads_pass *pass, ec_stream *stream, int32_t stage, ec_modality modality,
                                  ec_rows r);
ec_status ec__heads_backward_stage(ec_heads_pass *pass, ec_stream *stream, int32_t stage, ec_modality modality,
                                   ec_rows r);

/* Make ready the products that stages make over blocks of so many rows, and gradients over so many rows. */
ec_status ec__heads_prepare_stages(ec_heads_pass *pass, int32_t rows);
ec_status ec__heads_prepare_gradients(ec_heads_pass *pass, int32_t rows, bool accumulate);

/* Runs forward stages .. up to (forward, backward) for one group: everything from the start where activations are
 * shared among groups, only the last stage else. backward < 0: a forward stage; else forward is the number of
 * levels. */
ec_status ec__heads_run_group(ec_heads_pass *pass, int32_t group, int32_t forward, int32_t backward);

/* heads_buckets.c: lists items and buckets. */
ec_status ec__heads_cut_gradients(ec_heads_pass *pass);
/* Elements to prepare sums of weight gradients over ranks for. */
int64_t ec__heads_largest_sum(const ec_heads_pass *pass);

/* Whether sums of weight gradients over ranks run in buckets beside other work: possible where a rank brings one array,
 * of which any piece is an array. */
static inline bool ec__pass_in_buckets(const ec_heads_pass *pass) {
    return pass->comm->beside && (!pass->plan.reproducible || ec__pass_shown_leaves(pass) == 1);
}

/* Weight gradients of one group, all of whose stages have run, into the leaves; after the last group, collective, their
 * sum over all ranks into grad. To be followed by ec__comm_join. */
ec_status ec__heads_weight_gradients(ec_heads_pass *pass, int32_t group, float *grad);

/* Collective, with one group and in buckets: the same for those whose factors come of backward stage `stage`. Between
 * ec__comm_fork and ec__comm_join, and between milestone and passing it where an exchange of sums follows the stage.
 * Stages ascending; after the last one all sums are enqueued. */
ec_status ec__heads_stage_gradients(ec_heads_pass *pass, int32_t stage, float *grad);

#endif
