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

#include <stdint.h>

#include "compute/backend.h"
#include "dist/comm.h"

typedef enum ec_direction {
    EC_IMAGE_TO_IMAGE,
    EC_MUSIC_TO_MUSIC,
    EC_IMAGE_TO_MUSIC, /* anchors are images */
    EC_MUSIC_TO_IMAGE,
    EC_DIRECTIONS
} ec_direction;

typedef struct ec_supcon_config {
    int64_t global_rows; /* G, per modality; a multiple of the number of ranks; at least 2 where an intra weight is not 0 */
    int32_t dim;         /* D >= 1 */
    float temperature;   /* t > 0 */
    float weight[EC_DIRECTIONS]; /* >= 0; a direction of weight 0 is neither computed nor reported */
} ec_supcon_config;

typedef struct ec_supcon ec_supcon;

/* All memory that the loss will need. be and comm are borrowed and must outlive it. Not collective.
 * EC_ERR_CONFIG for values out of range. */
ec_status ec__supcon_new(ec_backend *be, ec_comm *comm, const ec_supcon_config *config, ec_supcon **out);
void ec__supcon_free(ec_supcon *loss); /* accepts NULL */

/* Bytes of back end memory held. */
size_t ec__supcon_bytes(const ec_supcon *loss);

/* Collective; allocates nothing.
 * z_image, z_music: (B, D) rows of unit length of this rank, back end memory, row b of rank r is global row r * B + b.
 * label_image, label_music: (B) class labels of these rows, any integers, host memory.
 * grad_image, grad_music: (B, D) receive the gradient of the weighted sum of losses with respect to z (z taken as free:
 * no derivative of a normalisation), back end memory.
 * losses[d]: mean over the global batch for each direction, the same on every rank, not multiplied by its weight; 0 for a
 * direction of weight 0. The total is sum_d weight[d] * losses[d].
 * EC_ERR_DATA when an embedding is not finite (the message names rank, modality and row). */
ec_status ec__supcon_run(ec_supcon *loss, const float *z_image, const float *z_music, const int32_t *label_image,
                         const int32_t *label_music, float *grad_image, float *grad_music, double losses[EC_DIRECTIONS]);

#endif
