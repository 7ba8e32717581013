/* Training passes of the projection heads over the global batch: forward, and backward to parameter gradients.
 *
 * BatchNorm is over the global batch of G rows. This rank's B = G / size rows are cut into shards; work is done per
 * (modality, shard). Every sum over rows is made inside a shard, in row order, and then over all shards in the tree of
 * dist/tree.h, so in reproducible mode bits depend neither on the number of threads nor of ranks, and not on
 * accumulate.
 *
 * Dropout is counter-based: element j of row i (global) of projector p is kept iff the 16-bit number (EC_RNG_DROPOUT,
 * step, index = (p << 32) + i, position j) is at least round(65536 dropout); low half of a 32-bit number first. Kept
 * elements are divided by the exact probability of being kept. */
#ifndef EC_NN_HEADS_TRAIN_H
#define EC_NN_HEADS_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dist/comm.h"
#include "nn/heads.h"

typedef struct ec_heads_plan {
    int64_t global_rows; /* G >= 2, a multiple of the number of ranks */
    bool reproducible;   /* else: cut as suits this rank's threads, sums over ranks in the library's order */
    int32_t shards;      /* V, reproducible mode only: a multiple of the number of ranks, at most G */
    int32_t accumulate;  /* k >= 1 groups of this rank's shards share activation memory; what a later pass needs again
                            is computed again. At most the shards of a rank (reproducible) or its rows (fast). */
    uint64_t seed;       /* of dropout */
} ec_heads_plan;

typedef struct ec_heads_pass ec_heads_pass;

/* All memory that training will need. heads and comm are borrowed and must outlive it. Not collective.
 * EC_ERR_CONFIG for a plan that the number of ranks does not fit. */
ec_status ec__heads_pass_new(ec_heads *heads, ec_comm *comm, const ec_heads_plan *plan, ec_heads_pass **out);
void ec__heads_pass_free(ec_heads_pass *pass);

/* Bytes of back end memory held, for activations and for gradient leaves; for plans and reports. */
size_t ec__heads_pass_bytes(const ec_heads_pass *pass);

/* To be called before the forward pass of step `step` (from 0; keys dropout). turn: 0 or 1, which of two places of the
 * host's the step uses; the one before it there must have ended. Counts num_batches_tracked. Not collective; allocates
 * nothing. */
ec_status ec__heads_begin(ec_heads_pass *pass, int64_t step, int32_t turn);

/* Told that all embeddings of a modality are enqueued; those of the other may be still to come. */
typedef ec_status (*ec_heads_ready_fn)(void *arg, ec_modality modality);

/* Collective; allocates nothing; may be recorded. Training-mode forward. x[m]: (B, input_dim) of modality m, row b of
 * rank r is global row r * B + b; back end memory, must stay unchanged until backward has ended. Updates the running
 * statistics. ready (may be NULL) is called for each modality, where ranks exchange beside their work as early as can
 * be. */
ec_status ec__heads_forward(ec_heads_pass *pass, const float *const x[EC_MODALITIES], ec_heads_ready_fn ready,
                            void *arg);

/* Embeddings (B, output_dim) of the last forward, and where their gradients go (same shape) before backward. Owned by
 * the pass. e < ec__heads_embeddings(). */
const float *ec__heads_z(const ec_heads_pass *pass, ec_modality modality, int32_t e);
float *ec__heads_grad_z(ec_heads_pass *pass, ec_modality modality, int32_t e);

/* Collective; allocates nothing; may be recorded. From the gradients at ec__heads_grad_z to that of every parameter,
 * summed over all ranks, in grad (params.total, back end memory; gaps and zero_gradient tensors get 0). */
ec_status ec__heads_backward(ec_heads_pass *pass, float *grad);

#endif
