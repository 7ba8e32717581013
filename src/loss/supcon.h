/* Supervised contrastive loss between images and music over the global batch, and its gradient, without a G x G matrix.
 *
 * Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, one view a sample, in the form of Emo-CLIM (ICASSP
 * 2024): four directions, each with a weight. With s_ij = z_i . z_j / t, an anchor i with candidates N(i) and positives
 * P(i) (candidates of the same label) has
 *
 *     l_i = -1/|P(i)| sum_{p in P(i)} ( s_ip - log sum_{k in N(i)} exp(s_ik) ),     l_i = 0 where P(i) is empty,
 *
 * and a direction's loss is the mean of l_i over all G anchors. In an intra-modal direction N(i) leaves out i itself.
 *
 * Bits of losses and gradients depend neither on the number of threads nor on the number of ranks. */
#ifndef EC_LOSS_SUPCON_H
#define EC_LOSS_SUPCON_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/backend.h"
#include "dist/comm.h"
#include "loss/labels.h"

typedef enum ec_direction {
    EC_IMAGE_TO_IMAGE,
    EC_MUSIC_TO_MUSIC,
    EC_IMAGE_TO_MUSIC, /* anchors are images */
    EC_MUSIC_TO_IMAGE,
    EC_DIRECTIONS
} ec_direction;

/* How a rank comes by the embeddings of the others; no bit depends on it. */
typedef enum ec_supcon_gather {
    EC_SUPCON_AUTO,     /* streamed on several GPUs where the loss would else hold more than 1 GiB; else whole */
    EC_SUPCON_WHOLE,    /* all of them, while others are still being made */
    EC_SUPCON_STREAMED, /* block by block, twice; needs a GPU; on one rank as the others */
} ec_supcon_gather;

typedef struct ec_supcon_config {
    /* G, per modality; a multiple of the number of ranks; at least 2 where an intra weight is not 0. */
    int64_t global_rows;
    int32_t dim;         /* D >= 1 */
    float temperature;   /* t > 0 */
    float weight[EC_DIRECTIONS]; /* >= 0; a direction of weight 0 is neither computed nor reported */
    float norm2_most;    /* largest squared length of a row that is met; 0: of unit vectors, rounded */
    const ec_labels *labels; /* borrowed: shared with other losses over the same rows; NULL: its own */
    int32_t classes;     /* of its own labels, at most; 0: as many as rows. Costs memory on a GPU */
    ec_supcon_gather gather;
} ec_supcon_config;

typedef struct ec_supcon ec_supcon;

/* All memory that the loss will need. be and comm are borrowed and must outlive it. Not collective.
 * EC_ERR_CONFIG for values out of range, and for a gather that the back end does not know. */
ec_status ec__supcon_new(ec_backend *be, ec_comm *comm, const ec_supcon_config *config, ec_supcon **out);
void ec__supcon_free(ec_supcon *loss); /* accepts NULL */

/* Bytes of back end memory held, and of host memory that it uploads from. */
size_t ec__supcon_bytes(const ec_supcon *loss);

/* Does it stream? */
bool ec__supcon_streams(const ec_supcon *loss);

/* Operations of the products that a step makes on this rank. */
double ec__supcon_flops(const ec_supcon *loss);

/* A step of the loss is begin, gather of both modalities, enqueue, tell, result: gather and enqueue can be recorded
 * (compute/backend.h), and the next step be begun before the result of this one is looked at. None of them allocates.
 * turn: 0 or 1, which of two places of the host's the step uses; the one before it there must have ended.
 *
 * begin (collective): label[m] (B) are the class labels, any integers, of this rank's rows in modality m, host memory;
 * row b of rank r is global row r * B + b. EC_ERR_DATA for more different ones than announced. A loss over the caller's
 * labels has no begin: theirs takes its place.
 * gather (collective): everybody's z of modality m to everybody, beside what is enqueued between it and enqueue;
 * where embeddings are streamed, that is left to enqueue.
 * enqueue (collective): the same z[m] (B, D) rows of unit length, grad[m] (B, D) receives the gradient of the weighted
 * sum of losses with respect to z (z taken as free: no derivative of a normalisation); back end memory.
 * tell: what result needs, to the host.
 * result, when the back end has come there: losses[d] is the mean over the global batch for each direction, the same on
 * every rank, not multiplied by its weight; 0 for a direction of weight 0. The total is sum_d weight[d] * losses[d].
 * EC_ERR_DATA, on every rank, when an embedding is not finite or longer than norm2_most allows: the message names rank,
 * modality and row; gradients are then not to be used. */
ec_status ec__supcon_begin(ec_supcon *loss, const int32_t *const label[2], int32_t turn);
ec_status ec__supcon_gather(ec_supcon *loss, int32_t m, const float *z);
ec_status ec__supcon_enqueue(ec_supcon *loss, const float *const z[2], float *const grad[2]);
ec_status ec__supcon_tell(ec_supcon *loss, int32_t turn);
ec_status ec__supcon_result(const ec_supcon *loss, int32_t turn, double losses[EC_DIRECTIONS]);

/* Collective. All of them, waiting for the back end. */
ec_status ec__supcon_run(ec_supcon *loss, const float *z_image, const float *z_music, const int32_t *label_image,
                         const int32_t *label_music, float *grad_image, float *grad_music,
                         double losses[EC_DIRECTIONS]);

#endif
