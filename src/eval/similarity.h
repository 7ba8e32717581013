/* Cosine similarities of a block of queries with all items, and the ranking they imply. */
#ifndef EC_EVAL_SIMILARITY_H
#define EC_EVAL_SIMILARITY_H

#include <stdint.h>

#include "compute/backend.h"

/* Copies rows (count, dim) into out with unit length; norms are accumulated in double. what names the rows in messages,
 * first_row is added to the row number there. EC_ERR_DATA for a row that is zero or not finite. */
ec_status ec__normalize_rows(const char *what, int64_t first_row, const float *rows, int64_t count, int32_t dim,
                             float *out);

/* scores (queries, items) = query (queries, dim) . item (items, dim)^T, rows of unit length, all in back end memory. On
 * a CPU every score is computed the same way whatever the size of the block. */
ec_status ec__similarity_block(ec_backend *be, ec_stream *stream, const float *query, int32_t queries,
                               const float *item, int64_t items, int32_t dim, float *scores);

typedef struct ec_ranked {
    float score;
    int32_t index;
} ec_ranked;

/* Order of a ranking: larger score first, then lower index. For qsort and heaps: negative when a ranks before b. */
static inline int ec__ranked_compare(const ec_ranked *a, const ec_ranked *b) {
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Sorts into ranking order, in place. */
void ec__ranked_sort(ec_ranked *ranked, int64_t count);

/* The first k of the ranking of scores (count), best first, into top (k <= count). */
void ec__ranked_top(const float *scores, int64_t count, int32_t k, ec_ranked *top);

#endif
