#include "eval/retrieval.h"

#include <stdlib.h>
#include <string.h>

#include "dist/share.h"
#include "eval/similarity.h"

/* Queries scored at a time by one task. A constant, so that the cut does not depend on threads or ranks. */
enum { QUERY_BLOCK = 16 };

/* Scores at a time where they are made by another back end than the CPU. */
enum { ROUND_SCORES = 1 << 24 };

void ec__retrieval_score(const bool *relevant, int64_t count, double metrics[EC_METRICS]) {
    static const int64_t cutoffs[] = {[EC_P_AT_1] = 1, [EC_P_AT_5] = 5, [EC_P_AT_10] = 10};
    int64_t found = 0;
    double precision_sum = 0, reciprocal_rank = 0;
    for (int m = EC_P_AT_1; m <= EC_P_AT_10; m++) metrics[m] = 0;
    for (int64_t r = 0; r < count; r++) {
        if (!relevant[r]) continue;
        found++;
        if (found == 1) reciprocal_rank = 1.0 / (double)(r + 1);
        precision_sum += (double)found / (double)(r + 1);
        for (int m = EC_P_AT_1; m <= EC_P_AT_10; m++)
            if (r < cutoffs[m]) metrics[m] += 1.0 / (double)cutoffs[m];
    }
    metrics[EC_MRR] = reciprocal_rank;
    metrics[EC_MAP] = found ? precision_sum / (double)found : 0;
}

/* One evaluation while it runs. */
typedef struct evaluation {
    ec_backend *be;
    const ec_retrieval_side *query, *item;
    int32_t dim;
    bool exclude_self;
    ec_share share;                  /* this rank's queries */
    float *query_unit;               /* (queries of the share, dim) */
    float *item_unit;                /* (items, dim) */
    double (*per_query)[EC_METRICS]; /* of all queries; this rank fills its own */
} evaluation;

/* Metrics of queries [begin, begin + rows) from their scores (rows, items). */
static ec_status rank_rows(const evaluation *e, int64_t begin, int32_t rows, const float *scores) {
    ec_status status = EC_OK;
    const int64_t items = e->item->count;
    ec_ranked *ranked = malloc(sizeof *ranked * (size_t)items);
    bool *relevant = malloc((size_t)items);
    if (!ranked || !relevant) EC_FAIL(EC_ERR_MEMORY, "no memory to rank %lld items", (long long)items);
    for (int32_t q = 0; q < rows; q++) {
        int64_t query = begin + q, count = 0;
        for (int64_t i = 0; i < items; i++)
            if (!(e->exclude_self && i == query)) ranked[count++] = (ec_ranked){scores[q * items + i], (int32_t)i};
        ec__ranked_sort(ranked, count);
        for (int64_t r = 0; r < count; r++) relevant[r] = e->item->label[ranked[r].index] == e->query->label[query];
        ec__retrieval_score(relevant, count, e->per_query[query]);
    }
done:
    free(relevant);
    free(ranked);
    return status;
}

static int32_t rows_from(const evaluation *e, int64_t begin, int32_t most) {
    return (int32_t)(e->share.last - begin < most ? e->share.last - begin : most);
}

static ec_status score_block(void *arg, int32_t task, ec_stream *stream) {
    const evaluation *e = arg;
    ec_status status = EC_OK;
    const int64_t items = e->item->count, begin = e->share.first + (int64_t)task * QUERY_BLOCK;
    const int32_t rows = rows_from(e, begin, QUERY_BLOCK);
    float *scores = malloc(sizeof *scores * (size_t)items * QUERY_BLOCK);
    if (!scores) EC_FAIL(EC_ERR_MEMORY, "no memory for the scores of %lld items", (long long)items);
    EC_TRY(ec__similarity_block(e->be, stream, e->query_unit + (begin - e->share.first) * e->dim, rows, e->item_unit,
                                items, e->dim, scores));
    EC_TRY(rank_rows(e, begin, rows, scores));
done:
    free(scores);
    return status;
}

/* A round of queries whose scores were made where the host cannot look and have been brought here. */
typedef struct round {
    const evaluation *e;
    int64_t begin;
    int32_t rows;
    float *scores; /* (rows, items) */
} round;

static ec_status rank_block(void *arg, int32_t task, int32_t worker) {
    const round *r = arg;
    const int32_t at = task * QUERY_BLOCK, left = r->rows - at;
    (void)worker;
    return rank_rows(r->e, r->begin + at, left < QUERY_BLOCK ? left : QUERY_BLOCK, r->scores + at * r->e->item->count);
}

/* The same as score_block for all own queries, on a back end with memory of its own: large products there, ranking by
 * the threads of the host. */
static ec_status score_rounds(const evaluation *e) {
    ec_status status = EC_OK;
    ec_backend *be = e->be;
    ec_stream *stream = be->main_stream(be);
    const int64_t items = e->item->count;
    const int32_t most = (int32_t)(items < ROUND_SCORES / QUERY_BLOCK ? ROUND_SCORES / items : QUERY_BLOCK);
    const size_t row = sizeof(float) * (size_t)e->dim, scores_bytes = sizeof(float) * (size_t)items * (size_t)most;
    void *item = NULL, *query = NULL, *scores = NULL, *host = NULL;
    EC_TRY(be->memory->alloc(be, row * (size_t)items, &item));
    EC_TRY(be->memory->alloc(be, row * (size_t)most, &query));
    EC_TRY(be->memory->alloc(be, scores_bytes, &scores));
    EC_TRY(be->memory->alloc_host(be, scores_bytes, &host));
    EC_TRY(be->memory->upload(be, stream, item, e->item_unit, row * (size_t)items));
    for (round r = {.e = e, .begin = e->share.first, .scores = host}; r.begin < e->share.last; r.begin += r.rows) {
        r.rows = rows_from(e, r.begin, most);
        EC_TRY(be->memory->upload(be, stream, query, e->query_unit + (r.begin - e->share.first) * e->dim,
                                  row * (size_t)r.rows));
        EC_TRY(ec__similarity_block(be, stream, query, r.rows, item, items, e->dim, scores));
        EC_TRY(be->memory->download(be, stream, host, scores, sizeof(float) * (size_t)items * (size_t)r.rows));
        EC_TRY(be->synchronize(be));
        EC_TRY(ec__pool_run(be->pool, (r.rows + QUERY_BLOCK - 1) / QUERY_BLOCK, rank_block, &r));
    }
done:
    be->memory->free_host(be, host);
    be->memory->free(be, scores);
    be->memory->free(be, query);
    be->memory->free(be, item);
    return status;
}

static int compare_int32(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* Fills the class and macro figures from per_query, in the order of the queries. */
static ec_status summarize(const int32_t *label, ec_retrieval_result *r) {
    ec_status status = EC_OK;
    int32_t *sorted = malloc(sizeof *sorted * (size_t)r->queries);
    if (!sorted) EC_FAIL(EC_ERR_MEMORY, "no memory for %lld labels", (long long)r->queries);
    memcpy(sorted, label, sizeof *sorted * (size_t)r->queries);
    qsort(sorted, (size_t)r->queries, sizeof *sorted, compare_int32);
    for (int64_t q = 0; q < r->queries; q++)
        if (r->classes == 0 || sorted[q] != sorted[r->classes - 1]) sorted[r->classes++] = sorted[q];
    r->class_label = calloc((size_t)r->classes, sizeof *r->class_label);
    r->class_queries = calloc((size_t)r->classes, sizeof *r->class_queries);
    r->per_class = calloc((size_t)r->classes, sizeof *r->per_class);
    if (!r->class_label || !r->class_queries || !r->per_class)
        EC_FAIL(EC_ERR_MEMORY, "no memory for %d classes", r->classes);
    memcpy(r->class_label, sorted, sizeof *sorted * (size_t)r->classes);
    for (int64_t q = 0; q < r->queries; q++) {
        const int32_t *at = bsearch(&label[q], r->class_label, (size_t)r->classes, sizeof label[q], compare_int32);
        int64_t c = at - r->class_label;
        r->class_queries[c]++;
        for (int m = 0; m < EC_METRICS; m++) r->per_class[c][m] += r->per_query[q][m];
    }
    for (int32_t c = 0; c < r->classes; c++)
        for (int m = 0; m < EC_METRICS; m++) {
            r->per_class[c][m] /= (double)r->class_queries[c];
            r->macro[m] += r->per_class[c][m] / r->classes;
        }
done:
    free(sorted);
    return status;
}

static ec_status check_sides(const ec_retrieval_side *query, const ec_retrieval_side *item, bool exclude_self) {
    if (query->count < 1 || item->count < 1)
        return EC_ERROR(EC_ERR_DATA, "retrieval needs at least one query and one item; found %lld and %lld",
                        (long long)query->count, (long long)item->count);
    if (item->count > INT32_MAX / 2) return EC_ERROR(EC_ERR_DATA, "at most %d items can be ranked", INT32_MAX / 2);
    if (exclude_self && query->count != item->count)
        return EC_ERROR(EC_ERR_USAGE, "intra-modal evaluation needs the same rows as queries and items");
    return EC_OK;
}

static ec_status score_own_part(evaluation *e) {
    ec_status status = EC_OK;
    int64_t first = e->share.first, own = e->share.last - first, items = e->item->count;
    e->query_unit = malloc(sizeof *e->query_unit * (size_t)(own * e->dim + 1));
    e->item_unit = malloc(sizeof *e->item_unit * (size_t)(items * e->dim));
    if (!e->query_unit || !e->item_unit || !e->per_query)
        EC_FAIL(EC_ERR_MEMORY, "no memory for %lld embeddings and their scores", (long long)(own + items));
    EC_TRY(ec__normalize_rows("query", first, e->query->embedding + first * e->dim, own, e->dim, e->query_unit));
    EC_TRY(ec__normalize_rows("item", 0, e->item->embedding, items, e->dim, e->item_unit));
    const int32_t blocks = (int32_t)((own + QUERY_BLOCK - 1) / QUERY_BLOCK);
    EC_TRY(e->be->native_queue(e->be) ? score_rounds(e) : e->be->for_each(e->be, blocks, score_block, e));
done:
    free(e->query_unit);
    free(e->item_unit);
    return status;
}

ec_status ec__retrieval_evaluate(ec_backend *be, ec_comm *comm, const ec_retrieval_side *query,
                                 const ec_retrieval_side *item, int32_t dim, bool exclude_self,
                                 ec_retrieval_result *out) {
    ec_status status = EC_OK;
    ec_retrieval_result result = {.queries = query->count};
    evaluation e = {.be = be, .query = query, .item = item, .dim = dim, .exclude_self = exclude_self};
    EC_TRY(ec__comm_agree(comm, check_sides(query, item, exclude_self)));
    e.share = ec__share_of(comm->rank, comm->size, query->count);
    result.per_query = calloc((size_t)query->count, sizeof *result.per_query);
    e.per_query = result.per_query;
    EC_TRY(ec__comm_agree(comm, score_own_part(&e)));
    EC_TRY(ec__share_rows(comm, result.per_query, result.queries, sizeof *result.per_query));
    EC_TRY(ec__comm_agree(comm, summarize(query->label, &result)));
    *out = result;
    memset(&result, 0, sizeof result);
done:
    ec__retrieval_release(&result);
    return status;
}

void ec__retrieval_release(ec_retrieval_result *r) {
    free(r->per_query);
    free(r->class_label);
    free(r->class_queries);
    free(r->per_class);
    memset(r, 0, sizeof *r);
}
