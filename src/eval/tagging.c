#include "eval/tagging.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct scored {
    float score;
    int32_t positive;
} scored;

static int descending(const void *a, const void *b) {
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return x > y ? -1 : x < y;
}

/* Both areas of one tag; sorts rows. */
static void areas(scored *row, int64_t n, double *roc_auc, double *pr_auc) {
    int64_t positives = 0;
    for (int64_t i = 0; i < n; i++) positives += row[i].positive;
    int64_t negatives = n - positives;
    qsort(row, (size_t)n, sizeof *row, descending);
    double pairs = 0, precision_sum = 0;
    int64_t true_seen = 0, false_seen = 0;
    for (int64_t i = 0; i < n;) {
        int64_t true_here = 0, false_here = 0;
        float score = row[i].score;
        for (; i < n && row[i].score == score; i++) row[i].positive ? true_here++ : false_here++;
        /* Negatives further down are beaten by the positives here, those of the same score count one half. */
        pairs += (double)true_here * ((double)(negatives - false_seen - false_here) + 0.5 * (double)false_here);
        true_seen += true_here;
        false_seen += false_here;
        precision_sum += (double)true_here * (double)true_seen / (double)(true_seen + false_seen);
    }
    *roc_auc = positives && negatives ? pairs / ((double)positives * (double)negatives) : NAN;
    *pr_auc = positives ? precision_sum / (double)positives : NAN;
}

static double mean_of_defined(const double *x, int32_t count, int32_t *defined) {
    double sum = 0;
    *defined = 0;
    for (int32_t i = 0; i < count; i++)
        if (!isnan(x[i])) {
            sum += x[i];
            ++*defined;
        }
    return *defined ? sum / *defined : NAN;
}

ec_status ec__tagging_evaluate(const int32_t *truth, const float *score, int64_t n, int32_t tags,
                               ec_tagging_result *out) {
    ec_status status = EC_OK;
    ec_tagging_result r = {.tags = tags};
    scored *row = NULL;
    if (n < 1 || tags < 1)
        EC_FAIL(EC_ERR_DATA, "tagging needs at least one row and one tag; found %lld and %d", (long long)n, tags);
    row = malloc(sizeof *row * (size_t)n);
    r.roc_auc = calloc((size_t)tags, sizeof *r.roc_auc);
    r.pr_auc = calloc((size_t)tags, sizeof *r.pr_auc);
    if (!row || !r.roc_auc || !r.pr_auc) EC_FAIL(EC_ERR_MEMORY, "no memory to score %lld rows", (long long)n);
    for (int32_t t = 0; t < tags; t++) {
        for (int64_t i = 0; i < n; i++) {
            row[i] = (scored){score[i * tags + t], truth[i * tags + t]};
            if (!isfinite(row[i].score))
                EC_FAIL(EC_ERR_DATA, "score of row %lld, tag %d is not finite", (long long)i, t);
            if (row[i].positive != 0 && row[i].positive != 1)
                EC_FAIL(EC_ERR_DATA, "truth of row %lld, tag %d is %d, expected 0 or 1", (long long)i, t,
                        row[i].positive);
        }
        areas(row, n, &r.roc_auc[t], &r.pr_auc[t]);
    }
    r.macro_roc_auc = mean_of_defined(r.roc_auc, tags, &r.roc_defined);
    r.macro_pr_auc = mean_of_defined(r.pr_auc, tags, &r.pr_defined);
    *out = r;
    memset(&r, 0, sizeof r);
done:
    free(row);
    ec__tagging_release(&r);
    return status;
}

void ec__tagging_release(ec_tagging_result *r) {
    free(r->roc_auc);
    free(r->pr_auc);
    memset(r, 0, sizeof *r);
}
