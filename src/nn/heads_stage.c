/* The stages of a training pass for one block of rows: see heads_pass.h. */
#include "compute/ops_dense.h"
#include "compute/ops_head.h"
#include "nn/heads_pass.h"

/* One projector at work on one block of rows. */
typedef struct block {
    ec_heads_pass *pass;
    ec_backend *be;
    ec_stream *stream;
    const ec_projector *p;
    ec_layer *layer;
    int32_t number;
    ec_rows r;
} block;

static float *weights(const block *b, int32_t number) { return ec__heads_param_at(b->pass->heads, number); }

static ec_bn norm_of(const block *b) {
    return (ec_bn){b->layer->mean, b->layer->inv_std, weights(b, b->p->gamma), weights(b, b->p->beta)};
}

/* The block's rows of a group array of that width. */
static float *rows_of(const block *b, float *array, int32_t width) { return array + (int64_t)b->r.at * width; }

/* The same of an array over all rows of this rank. */
static float *all_rows_of(const block *b, float *array, int32_t width) { return array + (int64_t)b->r.row * width; }

static float *leaf_of(const block *b, const ec_leaves *leaves, int64_t at) {
    return leaves->local + b->r.shard * leaves->width + at;
}

/* 1 / length of the input rows, or NULL. */
static float *scale_of(const block *b) {
    float *scale = b->pass->scale[b->p->modality];
    return b->p->level == 0 && scale ? scale + b->r.at : NULL;
}

static const float *input_of(const block *b) {
    const ec_heads_pass *pass = b->pass;
    if (b->p->level == 0) return pass->x[b->p->modality] + (int64_t)b->r.row * b->p->in;
    return rows_of(b, pass->layer[b->p->modality].y, b->p->in);
}

/* The four products of a projector over so many rows: each Linear, and the gradients of their inputs. */
static ec_gemm first_product(const ec_projector *p, int32_t rows) {
    return (ec_gemm){.m = rows, .n = p->hidden, .k = p->in, .lda = p->in, .ldb = p->hidden, .ldc = p->hidden};
}

static ec_gemm second_product(const ec_projector *p, int32_t rows) {
    return (ec_gemm){.m = rows, .n = p->out, .k = p->hidden, .lda = p->hidden, .ldb = p->out, .ldc = p->out,
                     .bias = true};
}

static ec_gemm second_product_backward(const ec_projector *p, int32_t rows) {
    return (ec_gemm){.m = rows, .n = p->hidden, .k = p->out, .lda = p->out, .ldb = p->out, .ldc = p->hidden,
                     .transpose_b = true};
}

/* The projectors that read one input add their gradients, in their order. */
static ec_gemm first_product_backward(const ec_projector *p, int32_t rows) {
    return (ec_gemm){.m = rows, .n = p->in, .k = p->hidden, .lda = p->hidden, .ldb = p->hidden, .ldc = p->in,
                     .transpose_b = true, .accumulate = p->embedding != EC_INTRA};
}

ec_status ec__heads_prepare_stages(ec_heads_pass *pass, int32_t rows) {
    const ec_heads *heads = pass->heads;
    for (int32_t i = 0; i < heads->projector_count; i++) {
        const ec_projector *p = &heads->projector[i];
        const ec_gemm product[] = {first_product(p, rows), second_product(p, rows), second_product_backward(p, rows),
                                   first_product_backward(p, rows)};
        for (int32_t k = 0; k < (p->level > 0 ? 4 : 3); k++)
            EC_RETURN_IF(pass->be->dense->prepare(pass->be, &product[k]));
    }
    return EC_OK;
}

static ec_status first_linear(block *b) {
    const ec_projector *p = b->p;
    const ec_head_ops *ops = b->be->head;
    float *h = rows_of(b, b->layer->h, p->hidden), *scale = scale_of(b);
    float *leaf = leaf_of(b, &b->pass->stats[p->level], b->layer->stat_at);
    const float *x = input_of(b);
    const ec_gemm product = first_product(p, b->r.rows);
    if (scale) EC_RETURN_IF(ops->row_scales(b->be, b->stream, b->r.rows, p->in, x, scale));
    EC_RETURN_IF(b->be->dense->gemm(b->be, b->stream, &product, x, weights(b, p->weight0), NULL, h));
    EC_RETURN_IF(ops->bn_leaf(b->be, b->stream, b->r.rows, p->hidden, h, scale, weights(b, p->bias0), b->r.before, leaf,
                              leaf + p->hidden));
    return EC_OK;
}

static ec_status second_linear(block *b) {
    const ec_projector *p = b->p;
    const ec_head_ops *ops = b->be->head;
    const ec_bn bn = norm_of(b);
    float *h = rows_of(b, b->layer->h, p->hidden), *a = rows_of(b, b->layer->a, p->hidden);
    float *y = p->last ? all_rows_of(b, b->layer->y, p->out) : rows_of(b, b->layer->y, p->out);
    const ec_gemm product = second_product(p, b->r.rows);
    EC_RETURN_IF(ops->bn_forward(b->be, b->stream, b->r.rows, p->hidden, &bn, &b->pass->dropout[b->number],
                                 b->pass->first_row + b->r.row, h, a));
    EC_RETURN_IF(b->be->dense->gemm(b->be, b->stream, &product, a, weights(b, p->weight4), weights(b, p->bias4), y));
    if (p->last)
        EC_RETURN_IF(ops->l2_forward(b->be, b->stream, b->r.rows, p->out, y, y, b->layer->inv_norm + b->r.row));
    return EC_OK;
}

static ec_status second_linear_backward(block *b) {
    const ec_projector *p = b->p;
    const ec_head_ops *ops = b->be->head;
    const ec_bn bn = norm_of(b);
    float *h = rows_of(b, b->layer->h, p->hidden), *a = rows_of(b, b->layer->a, p->hidden);
    float *d = rows_of(b, b->layer->d, p->hidden), *dy = rows_of(b, b->layer->dy, p->out);
    float *sum = leaf_of(b, &b->pass->sums[p->level], b->layer->sum_at);
    const ec_gemm product = second_product_backward(p, b->r.rows);
    if (p->last)
        EC_RETURN_IF(ops->l2_backward(b->be, b->stream, b->r.rows, p->out, all_rows_of(b, b->layer->y, p->out),
                                      b->layer->inv_norm + b->r.row, all_rows_of(b, b->layer->grad_z, p->out), dy,
                                      b->r.before, sum + 2 * p->hidden));
    EC_RETURN_IF(b->be->dense->gemm(b->be, b->stream, &product, dy, weights(b, p->weight4), NULL, d));
    EC_RETURN_IF(ops->bn_backward_leaf(b->be, b->stream, b->r.rows, p->hidden, &bn, b->pass->dropout[b->number].scale,
                                       h, a, d, b->r.before, sum, sum + p->hidden));
    return EC_OK;
}

/* The gradient of h; and of the input, where another projector made it: the sum over the projectors that read it. */
static ec_status first_linear_backward(block *b) {
    const ec_projector *p = b->p;
    const ec_bn bn = norm_of(b);
    const float *sum = b->pass->sums[p->level].exchange + b->layer->sum_at;
    float *h = rows_of(b, b->layer->h, p->hidden), *d = rows_of(b, b->layer->d, p->hidden);
    EC_RETURN_IF(b->be->head->bn_backward(b->be, b->stream, b->r.rows, p->hidden, &bn, b->pass->plan.global_rows, sum,
                                          sum + p->hidden, scale_of(b), h, d));
    if (p->level == 0) return EC_OK;
    const ec_gemm product = first_product_backward(p, b->r.rows);
    float *dx = rows_of(b, b->pass->layer[p->modality].dy, p->in);
    return b->be->dense->gemm(b->be, b->stream, &product, d, weights(b, p->weight0), NULL, dx);
}

/* Runs one of the four parts for every projector of a level and modality. */
static ec_status each(ec_heads_pass *pass, ec_stream *stream, int32_t level, ec_modality modality, ec_rows r,
                      ec_status (*part)(block *b)) {
    const ec_heads *heads = pass->heads;
    for (int32_t i = 0; i < heads->projector_count; i++) {
        const ec_projector *p = &heads->projector[i];
        if (p->level != level || p->modality != modality) continue;
        block b = {.pass = pass, .be = pass->be, .stream = stream, .p = p, .layer = &pass->layer[i], .number = i,
                   .r = r};
        EC_RETURN_IF(part(&b));
    }
    return EC_OK;
}

ec_status ec__heads_forward_stage(ec_heads_pass *pass, ec_stream *stream, int32_t stage, ec_modality modality,
                                  ec_rows r) {
    if (stage > 0) EC_RETURN_IF(each(pass, stream, stage - 1, modality, r, second_linear));
    if (stage < pass->heads->levels) EC_RETURN_IF(each(pass, stream, stage, modality, r, first_linear));
    return EC_OK;
}

ec_status ec__heads_backward_stage(ec_heads_pass *pass, ec_stream *stream, int32_t stage, ec_modality modality,
                                   ec_rows r) {
    int32_t levels = pass->heads->levels;
    if (stage > 0) EC_RETURN_IF(each(pass, stream, levels - stage, modality, r, first_linear_backward));
    if (stage < levels) EC_RETURN_IF(each(pass, stream, levels - 1 - stage, modality, r, second_linear_backward));
    return EC_OK;
}
