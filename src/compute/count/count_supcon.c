/* What the operations of the contrastive loss cost. Its quadratic part is counted where the gradient is asked for. */
#include "compute/count/count.h"
#include "compute/ops_supcon.h"

static ec_backend *like(ec_backend *be) { return ((ec_count_backend *)(void *)be)->like; }

static size_t scratch_bytes(ec_backend *be, const ec_supcon_problem *problem, int32_t classes) {
    return like(be)->supcon->scratch_bytes(like(be), problem, classes);
}

static ec_status reserve(ec_backend *be, const ec_supcon_problem *problem) {
    (void)be, (void)problem;
    return EC_OK;
}

static double flops(ec_backend *be, const ec_supcon_problem *problem) {
    return like(be)->supcon->flops(like(be), problem);
}

static ec_status inspect(ec_backend *be, const float *z, int32_t rows, int32_t dim, float most,
                         ec_supcon_finding *finding) {
    (void)z, (void)most, (void)finding;
    return ec__count(be, 0, (double)rows * dim);
}

/* Rows of either modality that the operations without blocks look at. */
static double there(const ec_supcon_problem *p) { return p->block ? p->rows : (double)p->global_rows; }

static ec_status prepare(ec_backend *be, const ec_supcon_problem *p) {
    return ec__count(be, 0, 4.0 * there(p) * p->dim);
}

static ec_status sums(ec_backend *be, const ec_supcon_problem *p, const ec_supcon_rows *own) {
    (void)own;
    return ec__count(be, 0, p->block ? 4.0 * EC_SUPCON_DIRECTIONS * p->rows : 2.0 * (double)p->global_rows * p->dim);
}

/* The class sums read every row of both modalities; dots and gradients, the own rows. */
static ec_status positives(ec_backend *be, const ec_supcon_problem *p, const ec_supcon_classes *classes,
                           const double coefficient[EC_SUPCON_DIRECTIONS], const ec_supcon_rows *own,
                           float *const grad[2]) {
    (void)classes, (void)coefficient, (void)own, (void)grad;
    return ec__count(be, 0, ((p->block ? 0 : 2.0 * (double)p->global_rows) + 4.0 * p->rows) * p->dim);
}

static ec_status weights(ec_backend *be, const ec_supcon_problem *p, const ec_supcon_classes *classes,
                         const double coefficient[EC_SUPCON_DIRECTIONS], const void *pieces, float *weight,
                         float *shift, double *loss) {
    (void)classes, (void)coefficient, (void)pieces, (void)weight, (void)shift, (void)loss;
    return ec__count(be, 0, 7.0 * EC_SUPCON_DIRECTIONS * (double)p->global_rows);
}

static ec_status gradient(ec_backend *be, const ec_supcon_problem *p, const float *weight, const float *shift,
                          float *const grad[2]) {
    (void)weight, (void)shift, (void)grad;
    return ec__count(be, flops(be, p), (2.0 * (double)p->global_rows + 4.0 * p->rows) * p->dim);
}

static int32_t block_rows(ec_backend *be, const ec_supcon_problem *problem) {
    return like(be)->supcon->stream->block_rows(like(be), problem);
}

/* Read and written as a copy, and read once more for class sums. */
static ec_status take(ec_backend *be, const ec_supcon_problem *p, const ec_supcon_classes *classes,
                      const ec_supcon_block *block, const float *z) {
    (void)z;
    return ec__count(be, 0, (classes ? 3.0 : 2.0) * block->rows * p->dim);
}

/* The block and what it meets. */
static ec_status block_sums(ec_backend *be, const ec_supcon_problem *p, const ec_supcon_block *block) {
    return ec__count(be, 0, (block->rows + 2.0 * p->rows) * p->dim);
}

/* Its part of the whole loss's products; the gradient of own rows is read and written. */
static ec_status block_gradient(ec_backend *be, const ec_supcon_problem *p, const ec_supcon_block *block,
                                const float *weight, const float *shift, float *const grad[2]) {
    (void)weight, (void)shift, (void)grad;
    const int m = block->modality, both = p->intra[0] + p->intra[1] + 2 * p->cross, of_block = p->intra[m] + p->cross;
    return ec__count(be, flops(be, p) * of_block / both * block->rows / (double)p->global_rows,
                     (block->rows + 3.0 * of_block * p->rows) * p->dim);
}

const ec_supcon_stream_ops ec__count_supcon_stream_ops = {
    .block_rows = block_rows, .take = take, .sums = block_sums, .gradient = block_gradient};

static bool special(const ec_backend *be) {
    const ec_backend *imitated = ((const ec_count_backend *)(const void *)be)->like;
    return imitated->supcon->special(imitated);
}

static void use_portable(ec_backend *be) { like(be)->supcon->use_portable(like(be)); }

const ec_supcon_ops ec__count_supcon_ops = {
    .special = special,
    .use_portable = use_portable,
    .scratch_bytes = scratch_bytes,
    .reserve = reserve,
    .flops = flops,
    .inspect = inspect,
    .prepare = prepare,
    .sums = sums,
    .positives = positives,
    .weights = weights,
    .gradient = gradient,
};
