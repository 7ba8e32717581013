/* The cut of weight gradients: into items, which are tasks, and into buckets, which ranks sum in one go. */
#include <stdlib.h>

#include "nn/heads_pass.h"

/* The matrix of a projector that an item is a slice of: (rows, width) as stored. */
typedef struct matrix {
    int32_t projector, rows, width;
    bool second;
} matrix;

static matrix matrix_of(const ec_heads_pass *pass, int32_t projector, bool second) {
    const ec_projector *p = &pass->heads->projector[projector];
    return (matrix){projector, second ? p->hidden : p->in, second ? p->out : p->hidden, second};
}

/* A function of back end and matrix alone, since the bits of a product may depend on its cut. */
static int32_t slices(const ec_heads_pass *pass, const matrix *w) {
    const ec_grain *grain = &pass->be->grain;
    int32_t most = grain->bucket / w->width < grain->gradient_rows ? grain->bucket / w->width : grain->gradient_rows;
    if (most < 1) most = 1;
    return (w->rows + most - 1) / most;
}

static int64_t elements(const ec_heads_pass *pass, const ec_grad_item *item) {
    return (int64_t)item->rows * matrix_of(pass, item->projector, item->second).width;
}

static int64_t bucket_elements(const ec_heads_pass *pass, const ec_grad_bucket *bucket) {
    int64_t count = 0;
    for (int32_t i = bucket->first; i < bucket->end; i++) count += elements(pass, &pass->item[i]);
    return count;
}

/* To the last bucket, or to a new one where that belongs to another stage or is full. */
static void add_to_buckets(ec_heads_pass *pass, int32_t number, int32_t stage) {
    ec_grad_bucket *last = pass->buckets ? &pass->bucket[pass->buckets - 1] : NULL;
    if (last && last->stage == stage &&
        bucket_elements(pass, last) + elements(pass, &pass->item[number]) <= pass->be->grain.bucket) {
        last->end = number + 1;
    } else {
        pass->bucket[pass->buckets++] = (ec_grad_bucket){number, number + 1, stage};
    }
}

/* The first factor pair of a level belongs to the second Linear, whose products come before the sums of BatchNorm. */
static void add_items(ec_heads_pass *pass, const matrix *w) {
    const int32_t count = slices(pass, w), level = pass->heads->projector[w->projector].level;
    const int32_t stage = pass->heads->levels - level - (w->second ? 1 : 0);
    for (int32_t i = 0; i < count; i++) {
        const int32_t first = (int32_t)((int64_t)w->rows * i / count);
        const int32_t end = (int32_t)((int64_t)w->rows * (i + 1) / count);
        pass->item[pass->items++] = (ec_grad_item){w->projector, w->second, first, end - first};
        add_to_buckets(pass, pass->items - 1, stage);
    }
}

ec_status ec__heads_cut_gradients(ec_heads_pass *pass) {
    const ec_heads *heads = pass->heads;
    int32_t count = 0;
    for (int32_t i = 0; i < 2 * heads->projector_count; i++) {
        const matrix w = matrix_of(pass, i / 2, i % 2 != 0);
        count += slices(pass, &w);
    }
    pass->item = calloc((size_t)count, sizeof *pass->item);
    pass->bucket = calloc((size_t)count, sizeof *pass->bucket);
    if (!pass->item || !pass->bucket) return EC_ERROR(EC_ERR_MEMORY, "no memory for %d pieces of gradients", count);
    for (int32_t level = heads->levels - 1; level >= 0; level--)
        for (int second = 1; second >= 0; second--)
            for (int32_t i = 0; i < heads->projector_count; i++) {
                const matrix w = matrix_of(pass, i, second != 0);
                if (heads->projector[i].level == level) add_items(pass, &w);
            }
    return EC_OK;
}

int64_t ec__heads_largest_sum(const ec_heads_pass *pass) {
    int64_t most = 0;
    if (!ec__pass_in_buckets(pass)) return pass->heads->params.total;
    for (int32_t i = 0; i < pass->buckets; i++) {
        /* In a piece a projector at most, each rounded up to a multiple of the ranks. */
        const int64_t count = bucket_elements(pass, &pass->bucket[i]) + EC_PROJECTORS * pass->comm->size;
        if (count > most) most = count;
    }
    return most;
}
