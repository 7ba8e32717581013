/* Tagging metrics: area under the ROC curve and average precision, a tag at a time.
 *
 * roc_auc: the chance that a positive scores higher than a negative, ties counting one half (Mann-Whitney).
 * pr_auc: sum over distinct scores, descending, of (recall gained) x (precision there); equal scores are one threshold.
 * Where a figure is undefined (no positive; for roc_auc also no negative) it is NaN, and means leave it out. */
#ifndef EC_EVAL_TAGGING_H
#define EC_EVAL_TAGGING_H

#include <stdint.h>

#include "core/error.h"

typedef struct ec_tagging_result {
    int32_t tags;
    double *roc_auc; /* (tags) */
    double *pr_auc;  /* (tags) */
    int32_t roc_defined, pr_defined;    /* tags that are not NaN */
    double macro_roc_auc, macro_pr_auc; /* means over the defined tags; NaN when there is none */
} ec_tagging_result;

/* truth (n, tags) holds 0 or 1, score (n, tags) finite numbers; host memory, borrowed. EC_ERR_DATA otherwise, naming
 * the row and tag. */
ec_status ec__tagging_evaluate(const int32_t *truth, const float *score, int64_t n, int32_t tags,
                               ec_tagging_result *out);
void ec__tagging_release(ec_tagging_result *result);

#endif
