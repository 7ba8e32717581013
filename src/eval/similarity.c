#include "eval/similarity.h"

#include <math.h>
#include <stdlib.h>

#include "compute/ops_dense.h"

/* Items scored by one matrix product: bounds the sizes that reach the library. */
enum { ITEM_BLOCK = 1 << 14 };

ec_status ec__normalize_rows(const char *what, int64_t first_row, const float *rows, int64_t count, int32_t dim,
                             float *out) {
    for (int64_t r = 0; r < count; r++) {
        double sum = 0;
        for (int32_t d = 0; d < dim; d++) sum += (double)rows[r * dim + d] * rows[r * dim + d];
        if (!(sum > 0) || !isfinite(sum))
            return EC_ERROR(EC_ERR_DATA, "%s row %lld is %s: it has no direction to compare", what,
                            (long long)(first_row + r), sum == 0 ? "all zero" : "not finite");
        double scale = 1 / sqrt(sum);
        for (int32_t d = 0; d < dim; d++) out[r * dim + d] = (float)(rows[r * dim + d] * scale);
    }
    return EC_OK;
}

ec_status ec__similarity_block(ec_backend *be, ec_stream *stream, const float *query, int32_t queries,
                               const float *item, int64_t items, int32_t dim, float *scores) {
    for (int64_t first = 0; first < items; first += ITEM_BLOCK) {
        int32_t n = (int32_t)(items - first < ITEM_BLOCK ? items - first : ITEM_BLOCK);
        const ec_gemm product = {.m = queries, .n = n, .k = dim, .lda = dim, .ldb = dim, .ldc = (int32_t)items,
                                 .transpose_b = true};
        EC_RETURN_IF(be->dense->gemm(be, stream, &product, query, item + first * dim, NULL, scores + first));
    }
    return EC_OK;
}

static int compare(const void *a, const void *b) { return ec__ranked_compare(a, b); }

void ec__ranked_sort(ec_ranked *ranked, int64_t count) { qsort(ranked, (size_t)count, sizeof *ranked, compare); }

/* heap[0] is the worst of the kept: a binary heap whose parents rank after their children. */
static void sift_down(ec_ranked *heap, int32_t count) {
    for (int32_t at = 0;;) {
        int32_t worst = at, left = 2 * at + 1, right = left + 1;
        if (left < count && ec__ranked_compare(&heap[left], &heap[worst]) > 0) worst = left;
        if (right < count && ec__ranked_compare(&heap[right], &heap[worst]) > 0) worst = right;
        if (worst == at) return;
        ec_ranked moved = heap[at];
        heap[at] = heap[worst];
        heap[worst] = moved;
        at = worst;
    }
}

void ec__ranked_top(const float *scores, int64_t count, int32_t k, ec_ranked *top) {
    for (int32_t i = 0; i < k; i++) top[i] = (ec_ranked){scores[i], i};
    /* Worst first is a valid heap. */
    ec__ranked_sort(top, k);
    for (int32_t i = 0; i < k / 2; i++) {
        ec_ranked moved = top[i];
        top[i] = top[k - 1 - i];
        top[k - 1 - i] = moved;
    }
    for (int64_t i = k; i < count; i++) {
        ec_ranked candidate = {scores[i], (int32_t)i};
        if (k == 0 || ec__ranked_compare(&candidate, &top[0]) > 0) continue;
        top[0] = candidate;
        sift_down(top, k);
    }
    ec__ranked_sort(top, k);
}
