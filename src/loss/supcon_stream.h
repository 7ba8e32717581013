/* Embeddings of other ranks that are not gathered: they pass by in blocks, once for the sums and once for the gradient,
 * one block under way beside the products of the block before. */
#ifndef EC_LOSS_SUPCON_STREAM_H
#define EC_LOSS_SUPCON_STREAM_H

#include "compute/backend.h"
#include "compute/ops_supcon.h"
#include "dist/comm.h"

typedef struct ec_supcon_stream {
    ec_backend *be; /* one that has ec_supcon_stream_ops */
    ec_comm *comm;
    const ec_supcon_problem *problem; /* with blocks */
    float *landing;                   /* (problem->block, D), back end memory */
} ec_supcon_stream;

/* Collective. Class sums, and the sums of own rows but for their end (ec_supcon_ops.sums); after prepare. */
ec_status ec__supcon_stream_sums(const ec_supcon_stream *s, const ec_supcon_classes *classes);

/* Collective. As ec_supcon_ops.gradient. */
ec_status ec__supcon_stream_gradient(const ec_supcon_stream *s, const float *weight, const float *shift,
                                     float *const grad[2]);

#endif
