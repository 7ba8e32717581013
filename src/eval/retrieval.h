/* Retrieval metrics: how well the nearest items of a query share its label.
 *
 * Items are ranked by cosine similarity, largest first; equal similarities by ascending item index. For a query, an
 * item is relevant when it carries the query's label.
 *
 *     P@k  = relevant items among the first k, divided by k even where there are fewer than k items
 *     MRR  = 1 / rank of the first relevant item
 *     MAP  = mean over the relevant items of (relevant items up to and including it) / (its rank)
 *
 * A query without a relevant item scores 0 everywhere and counts. per_class is the mean over the queries of a class,
 * macro the unweighted mean over the classes that occur among the queries. */
#ifndef EC_EVAL_RETRIEVAL_H
#define EC_EVAL_RETRIEVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/backend.h"
#include "dist/comm.h"

typedef enum ec_metric { EC_P_AT_1, EC_P_AT_5, EC_P_AT_10, EC_MRR, EC_MAP, EC_METRICS } ec_metric;

/* Embeddings of one side: (count, dim) float32 in host memory, rows of any length (they are normalised here).
 * Borrowed. */
typedef struct ec_retrieval_side {
    const float *embedding;
    const int32_t *label;
    int64_t count;
} ec_retrieval_side;

typedef struct ec_retrieval_result {
    int64_t queries;
    double (*per_query)[EC_METRICS]; /* (queries) */
    int32_t classes;
    int32_t *class_label;            /* (classes) labels that occur among the queries, ascending */
    int64_t *class_queries;          /* (classes) number of queries of each */
    double (*per_class)[EC_METRICS]; /* (classes) */
    double macro[EC_METRICS];
} ec_retrieval_result;

/* Collective. Every rank passes the same arrays and receives the same result, whose bits do not depend on the number of
 * ranks: each rank scores a contiguous part of the queries. exclude_self: intra-modal evaluation, query and item side
 * are the same rows and item i is left out of query i's ranking. be is a CPU back end (be->host of any).
 * EC_ERR_DATA when a row is all zero or not finite (side and row are named), or when a side is empty. */
ec_status ec__retrieval_evaluate(ec_backend *be, ec_comm *comm, const ec_retrieval_side *query,
                                 const ec_retrieval_side *item, int32_t dim, bool exclude_self,
                                 ec_retrieval_result *out);

void ec__retrieval_release(ec_retrieval_result *result);

/* Metrics of one query from its ranking: relevant[r] tells whether the item of rank r + 1 is relevant. */
void ec__retrieval_score(const bool *relevant, int64_t count, double metrics[EC_METRICS]);

#endif
