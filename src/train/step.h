/* One training step: heads forward, contrastive loss over the global batch, backward, reduction, clipping, update. */
#ifndef EC_TRAIN_STEP_H
#define EC_TRAIN_STEP_H

#include <stdint.h>

#include "dist/comm.h"
#include "loss/supcon.h"
#include "nn/heads.h"
#include "nn/heads_train.h"
#include "train/optimizer.h"

typedef struct ec_train_config {
    ec_heads_plan plan;
    ec_optimizer_config optimizer;
    float temperature;           /* > 0 */
    float weight[EC_DIRECTIONS]; /* of each direction's loss, >= 0, not all 0 */
    int32_t classes;             /* labels have at most so many values; 0: not known */
    ec_supcon_gather gather;     /* of embeddings */
} ec_train_config;

typedef struct ec_step_result {
    double losses[EC_DIRECTIONS]; /* mean over the global batch, before the update; 0 where the weight is 0 */
    double total;                 /* sum of weight * loss */
    double grad_norm;             /* before clipping */
    double learning_rate;         /* that this step used */
} ec_step_result;

/* What a step enqueues, for features that lie in the same place every time; see compute/backend.h. */
typedef struct ec_step_recording {
    struct ec_trainer_core *core;
    const float *x[EC_MODALITIES];
    ec_recording *recording; /* owned; NULL: not made */
} ec_step_recording;

enum { EC_STEP_RECORDINGS = 2 }; /* a step's features may lie in two places by turns */

/* The state of a run between two steps is: heads (params, buffers, counters), optimizer (exp_avg, exp_avg_sq) and the
 * number of the next step. Fields are for reading and for checkpoints. */
typedef struct ec_trainer_core {
    ec_heads *heads; /* borrowed */
    ec_comm *comm;   /* borrowed */
    ec_train_config config;
    ec_optimizer *optimizer;
    ec_heads_pass *pass;
    ec_labels *labels; /* of the global batch, for all losses */
    /* Single task: [0] has all four directions; multi task: intra, cross. NULL if unused. */
    ec_supcon *loss[EC_EMBEDDINGS];
    float *grad;                    /* (params.total) of the last step */
    ec_step_recording recorded[EC_STEP_RECORDINGS];
    int32_t next_recording;         /* which of them is given up first */
    int64_t started, finished;      /* steps, at most EC_TURNS more started */
} ec_trainer_core;

/* Makes the loss over embedding e: all directions in single-task heads, intra- or cross-modal ones in multi-task heads.
 * *out is NULL where their weights are 0. be, comm and labels (NULL: the loss has its own) are borrowed. Not
 * collective. */
ec_status ec__train_loss_new(ec_backend *be, ec_comm *comm, const ec_heads_config *heads, const ec_train_config *config,
                             const ec_labels *labels, ec_embedding e, ec_supcon **out);

/* All memory of training. heads and comm are borrowed and must outlive it. Every rank must hold the same parameters.
 * EC_ERR_CONFIG for values out of range. Not collective. */
ec_status ec__trainer_core_new(ec_heads *heads, ec_comm *comm, const ec_train_config *config, ec_trainer_core **out);
void ec__trainer_core_free(ec_trainer_core *core);

/* Bytes of back end memory held besides the heads' parameters. */
size_t ec__trainer_core_bytes(const ec_trainer_core *core);

/* Collective. A step in two calls: start enqueues it, finish waits for it and reads the result. One more step may be
 * started before the result of the one before is read, in the order of their numbers, and so on: then a GPU never waits
 * for the host. x must stay unchanged until the step has been finished, label until start returns. Otherwise as
 * ec__train_step.
 *
 * After an error of finish no step is under way: one that was started behind the bad one has ended too, and the
 * parameters and moments are those from before the bad one where its gradient was not finite. BatchNorm's running
 * statistics have both steps in them: nothing is to be saved after an error. */
ec_status ec__train_step_start(ec_trainer_core *core, int64_t step, const float *const x[EC_MODALITIES],
                               const int32_t *const label[EC_MODALITIES]);
ec_status ec__train_step_finish(ec_trainer_core *core, int64_t step, ec_step_result *result);

/* Collective. Step number `step` (from 0): it keys dropout, the learning rate and Adam's bias correction. x[m]:
 * (B, input_dim) features of this rank's rows in back end memory, label[m]: (B) class labels in host memory; both
 * unchanged until the call returns. Allocates nothing once it has seen the same x before. */
ec_status ec__train_step(ec_trainer_core *core, int64_t step, const float *const x[EC_MODALITIES],
                         const int32_t *const label[EC_MODALITIES], ec_step_result *result);

#endif
