/* Adam and AdamW with gradient clipping and a learning-rate schedule.
 *
 * Kingma & Ba, "Adam", ICLR 2015; Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; in the form
 * of torch.optim. With t = step + 1, m = b1 m + (1-b1) g, v = b2 v + (1-b2) g^2,
 *
 *     p -= lr / (1 - b1^t) * m / ( sqrt(v) / sqrt(1 - b2^t) + eps )
 *
 * AdamW first does p *= 1 - lr * weight_decay, for every parameter; Adam adds weight_decay * p to g instead. */
#ifndef EC_TRAIN_OPTIMIZER_H
#define EC_TRAIN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/backend.h"

typedef enum ec_optimizer_kind { EC_ADAM, EC_ADAMW } ec_optimizer_kind;
typedef enum ec_schedule_kind { EC_SCHEDULE_CONSTANT, EC_SCHEDULE_COSINE } ec_schedule_kind;

typedef struct ec_optimizer_config {
    ec_optimizer_kind kind;
    double learning_rate;         /* > 0 */
    double beta1, beta2, eps;     /* in [0, 1), [0, 1), > 0 */
    double weight_decay;          /* >= 0 */
    double clip_norm;             /* the gradient's Euclidean norm is cut to this; 0: no clipping */
    ec_schedule_kind schedule;
    int64_t warmup_steps;         /* the rate rises linearly: step s of them has (s + 1) / warmup_steps of it */
    int64_t total_steps; /* cosine only: the rate reaches its floor at this step and stays there; > warmup_steps */
    double final_fraction;        /* cosine only: floor as a fraction of learning_rate, in [0, 1] */
} ec_optimizer_config;

/* torch.optim's values: AdamW, 1e-3, 0.9, 0.999, 1e-8, decay 0.01; no clipping, constant rate. */
ec_optimizer_config ec__optimizer_defaults(void);

/* Rate of step (from 0). */
double ec__learning_rate(const ec_optimizer_config *config, int64_t step);

/* The state that a checkpoint keeps is exp_avg, exp_avg_sq and the caller's step number. */
typedef struct ec_optimizer {
    ec_backend *be; /* borrowed */
    ec_optimizer_config config;
    int64_t count;                /* elements of the flat arrays */
    float *exp_avg, *exp_avg_sq;  /* (count), back end memory, owned; 0 at first */
    /* Of the steps under way. Back end memory and the host's side of it, owned. */
    double *part;                 /* sums of squares of chunks of the gradient */
    struct ec_adam *adam, *adam_told; /* _told: (EC_TURNS) each */
    struct ec_gradient_norm *norm, *norm_told;
    int64_t step[EC_TURNS];
} ec_optimizer;

/* EC_ERR_CONFIG for values out of range. Not collective. */
ec_status ec__optimizer_new(ec_backend *be, const ec_optimizer_config *config, int64_t count, ec_optimizer **out);
void ec__optimizer_free(ec_optimizer *optimizer);

/* An update is four calls, so that enqueue can be recorded (compute/backend.h) and the next update begun before the
 * result of this one is looked at. None allocates, none is collective, and the result is the same on every rank where
 * param and grad are. turn: 0 or 1, which of two places of the host's the update uses; the one before it there must
 * have ended.
 *
 * begin: its number, from 0.
 * enqueue: param (count) is updated by grad (count), back end memory; grad is left as it is. Parameters and moments are
 * untouched where grad's norm is not finite, and by all updates after that one until ec__optimizer_resume.
 * tell: what result needs, to the host.
 * result, when the back end has come there: *grad_norm (may be NULL) is the norm of grad before clipping. EC_ERR_DATA
 * when it is not finite. */
ec_status ec__optimizer_begin(ec_optimizer *optimizer, int64_t step, int32_t turn);
ec_status ec__optimizer_enqueue(ec_optimizer *optimizer, float *param, const float *grad);
ec_status ec__optimizer_tell(ec_optimizer *optimizer, int32_t turn);
ec_status ec__optimizer_result(const ec_optimizer *optimizer, int32_t turn, double *grad_norm);

/* Enqueues: updates change parameters again. */
ec_status ec__optimizer_resume(ec_optimizer *optimizer);

/* All of them, waiting for the back end; an update without a finite norm leaves the next ones alone. */
ec_status ec__optimizer_step(ec_optimizer *optimizer, int64_t step, float *param, const float *grad, double *grad_norm);

#endif
