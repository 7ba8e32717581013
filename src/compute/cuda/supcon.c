/* The CUDA back end's operations of compute/ops_supcon.h: the plan, and which kernels an operation is. */
#include "compute/cuda/supcon_pieces.h"

#include <stdlib.h>

static int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

ec_supcon_cuda ec__supcon_cuda_plan(ec_math math, bool hopper, int64_t global_rows, int32_t dim, int32_t rows,
                                    int32_t classes, ec_arena *arena) {
    enum { TILE = EC_SUPCON_CUDA_TILE, STRIPS = EC_SUPCON_CUDA_STRIPS };
    const int64_t tiles = (global_rows + TILE - 1) / TILE, element = math == EC_MATH_BF16 ? 2 : 4;
    ec_supcon_cuda plan = {
        .math = math, .global_rows = (int32_t)global_rows, .dim = dim, .rows = rows, .classes = classes};
    plan.padded_rows = (int32_t)(tiles * TILE);
    plan.pitch = round_up(dim * element, 128);
    plan.strip = (int32_t)((tiles + STRIPS - 1) / STRIPS * TILE);
    plan.strips = (int32_t)((global_rows + plan.strip - 1) / plan.strip);
    plan.chunks = (int32_t)((2 * global_rows + EC_SUPCON_CUDA_CHUNK - 1) / EC_SUPCON_CUDA_CHUNK);
    plan.term_blocks = (int32_t)((2 * global_rows + EC_SUPCON_CUDA_TERMS - 1) / EC_SUPCON_CUDA_TERMS);
    const size_t width = (size_t)dim, strip_values = (size_t)plan.strips * (size_t)rows;
    for (int m = 0; m < 2; m++) {
        plan.copy[m] = ec__arena_take(arena, (size_t)plan.padded_rows, (size_t)plan.pitch);
        if (hopper && dim <= EC_SUPCON_CUDA_NARROW) plan.panels[m] = plan.copy[m];
        if (hopper && dim > EC_SUPCON_CUDA_NARROW)
            plan.panels[m] = ec__arena_take(arena, (size_t)plan.padded_rows, (size_t)plan.pitch);
        plan.strip_sum[m] = ec__arena_take(arena, strip_values, sizeof(double));
        plan.strip_shift[m] = ec__arena_take(arena, strip_values, sizeof(float));
    }
    if (dim > EC_SUPCON_CUDA_NARROW) {
        plan.edge = ec__supcon_cuda_edge(global_rows, dim, element);
        plan.piece = ec__arena_take(arena, (size_t)plan.edge * (size_t)plan.edge, (size_t)element);
        for (int s = 0; s < 2 && rows < global_rows; s++)
            plan.part[s] = ec__arena_take(arena, (size_t)plan.edge * width, sizeof(float));
    }
    plan.class_sum = ec__arena_take(arena, 2 * (size_t)classes * width, sizeof(double));
    plan.chunk_sum = ec__arena_take(arena, 2 * (size_t)plan.chunks * width, sizeof(double));
    plan.term_sum = ec__arena_take(arena, EC_SUPCON_DIRECTIONS * (size_t)plan.term_blocks, sizeof(double));
    return plan;
}

/* An operation that is not told how many classes there are finds what it needs in front of the class sums. */
static ec_supcon_cuda plan_of(ec_backend *be, const ec_supcon_problem *p, int32_t classes) {
    const bool hopper = ec__cuda(be)->hopper;
    ec_arena counting = ec__arena_counting();
    ec__supcon_cuda_plan(be->math, hopper, p->global_rows, p->dim, p->rows, classes, &counting);
    ec_arena arena = ec__arena_over(p->scratch, ec__arena_used(&counting));
    ec_supcon_cuda plan = ec__supcon_cuda_plan(be->math, hopper, p->global_rows, p->dim, p->rows, classes, &arena);
    plan.first = (int32_t)p->first;
    return plan;
}

/* Where there is no scratch yet. */
static ec_supcon_cuda plan_of_sizes(ec_backend *be, const ec_supcon_problem *p) {
    ec_arena counting = ec__arena_counting();
    ec_supcon_cuda plan =
        ec__supcon_cuda_plan(be->math, ec__cuda(be)->hopper, p->global_rows, p->dim, p->rows, 0, &counting);
    plan.first = (int32_t)p->first;
    return plan;
}

static size_t scratch_bytes(ec_backend *be, int64_t global_rows, int32_t dim, int32_t rows, int32_t classes) {
    ec_arena arena = ec__arena_counting();
    ec__supcon_cuda_plan(be->math, ec__cuda(be)->hopper, global_rows, dim, rows, classes, &arena);
    return ec__arena_used(&arena);
}

static ec_status reserve(ec_backend *be, const ec_supcon_problem *problem) {
    if (problem->dim <= EC_SUPCON_CUDA_NARROW) return EC_OK;
    const ec_supcon_cuda plan = plan_of_sizes(be, problem);
    return ec__supcon_cuda_reserve(be, &plan);
}

/* A block of the matrix of a modality with itself: sums make a pair of own rows once for both of them, a pair with
 * another rank's row for the own one; the gradient of narrow rows takes a score and a product, each 2 D, for every own
 * row and each of all rows. The cross-modal block is twice as large, and costs as much for each of its directions. */
static double flops(ec_backend *be, const ec_supcon_problem *p) {
    const double own = p->rows, all = (double)p->global_rows, dim = p->dim;
    const double blocks = (p->intra[0] ? 1 : 0) + (p->intra[1] ? 1 : 0) + (p->cross ? 2 : 0);
    const double sums = blocks * (dim * own * own + 2 * dim * own * (all - own));
    if (p->dim <= EC_SUPCON_CUDA_NARROW) return sums + blocks * 4 * dim * own * all;
    const ec_supcon_cuda plan = plan_of_sizes(be, p);
    return sums + ec__supcon_cuda_piece_flops(&plan, p);
}

static ec_status inspect(ec_backend *be, const float *z, int32_t rows, int32_t dim, float norm2_most,
                         ec_supcon_finding *finding) {
    return ec__supcon_cuda_inspect(be->main_stream(be), z, rows, dim, norm2_most, finding);
}

static ec_status prepare(ec_backend *be, const ec_supcon_problem *problem) {
    const ec_supcon_cuda plan = plan_of(be, problem, 0);
    ec_stream *stream = be->main_stream(be);
    return plan.panels[0] ? ec__supcon_hopper_copy(stream, &plan, problem->z)
                          : ec__supcon_cuda_copy(stream, &plan, problem->z);
}

static ec_status sums(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_rows *own) {
    ec_stream *stream = be->main_stream(be);
    const ec_supcon_cuda plan = plan_of(be, problem, 0);
    for (int32_t m = 0; m < 2; m++)
        if (problem->intra[m]) EC_RETURN_IF(ec__supcon_cuda_sums(stream, &plan, problem, m, m, own));
    if (problem->cross) EC_RETURN_IF(ec__supcon_cuda_sums(stream, &plan, problem, 0, 1, own));
    return EC_OK;
}

static ec_status positives(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                           const double coefficient[EC_SUPCON_DIRECTIONS], const ec_supcon_rows *own,
                           float *const grad[2]) {
    const ec_supcon_cuda plan = plan_of(be, problem, classes->most);
    return ec__supcon_cuda_positives(be->main_stream(be), &plan, problem, classes, coefficient, own, grad);
}

static ec_status weights(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                         const double coefficient[EC_SUPCON_DIRECTIONS], const void *pieces, float *weight,
                         float *shift, double *loss) {
    const ec_supcon_cuda plan = plan_of(be, problem, classes->most);
    return ec__supcon_cuda_weights(be->main_stream(be), &plan, problem, classes, coefficient, pieces, weight, shift,
                                   loss);
}

/* Half tiles where whole ones leave multiprocessors without work. EMOCLIM_SUPCON_ROWS=64|128 decides otherwise, for
 * tests: no bit depends on it. */
static int32_t own_rows_of(ec_backend *be, int32_t rows) {
    enum { WHOLE = EC_SUPCON_CUDA_TILE, HALF = WHOLE / 2 };
    const char *asked = getenv("EMOCLIM_SUPCON_ROWS");
    if (asked) return atoi(asked) == HALF ? HALF : WHOLE;
    return 2 * ((rows + WHOLE - 1) / WHOLE) < ec__cuda(be)->multiprocessors ? HALF : WHOLE;
}

static ec_status gradient(ec_backend *be, const ec_supcon_problem *problem, const float *weight, const float *shift,
                          float *const grad[2]) {
    ec_stream *stream = be->main_stream(be);
    const ec_supcon_cuda plan = plan_of(be, problem, 0);
    const int32_t own_rows = own_rows_of(be, problem->rows);
    if (problem->dim > EC_SUPCON_CUDA_NARROW)
        return ec__supcon_cuda_gradient_wide(be, &plan, problem, weight, shift, grad);
    return plan.panels[0] ? ec__supcon_hopper_gradient(stream, &plan, problem, own_rows, weight, shift, grad)
                          : ec__supcon_cuda_gradient(stream, &plan, problem, own_rows, weight, shift, grad);
}

const ec_supcon_ops ec__cuda_supcon_ops = {
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
