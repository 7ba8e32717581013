/* The CUDA back end's operations of compute/ops_supcon.h: the plan, and which kernels an operation is. */
#include "compute/cuda/supcon_pieces.h"

#include <stdlib.h>
#include <string.h>

static int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

/* Tiles of rows begin .. end - 1 of the batch. */
static ec_supcon_copies span_of(int32_t begin, int32_t end) {
    enum { TILE = EC_SUPCON_CUDA_TILE };
    return (ec_supcon_copies){.begin = begin / TILE * TILE, .end = (int32_t)round_up(end, TILE)};
}

/* As many tiles as so many rows can have a part in, wherever they begin. */
static size_t room_of(int32_t rows) {
    enum { TILE = EC_SUPCON_CUDA_TILE };
    return (size_t)round_up(rows, TILE) + (rows % TILE ? TILE : 0);
}

/* Whether the gradient is made of pieces. EMOCLIM_SUPCON_GRADIENT=pieces decides so for narrow rows, too, to be
 * measured: fewer operations, more memory traffic (docs/loss.md). */
static bool in_pieces(int32_t dim) {
    const char *asked = getenv("EMOCLIM_SUPCON_GRADIENT");
    return dim > EC_SUPCON_CUDA_NARROW || (asked && strcmp(asked, "pieces") == 0);
}

static void place_copies(const ec_supcon_cuda *plan, bool hopper, size_t rows, int32_t modalities, ec_arena *arena,
                         ec_supcon_copies *copies) {
    const bool both = hopper && plan->edge;
    for (int32_t m = 0; m < modalities; m++) {
        copies->rows[m] = ec__arena_take(arena, rows, (size_t)plan->pitch);
        if (hopper) copies->panels[m] = both ? ec__arena_take(arena, rows, (size_t)plan->pitch) : copies->rows[m];
    }
    if (modalities == 2) return;
    copies->rows[1] = copies->rows[0];
    copies->panels[1] = copies->panels[0];
}

static void place_sums(ec_supcon_cuda *plan, ec_arena *arena) {
    const size_t places = (size_t)(plan->block ? EC_SUPCON_DIRECTIONS : plan->strips) * (size_t)plan->rows;
    for (int i = 0; i < 2; i++) {
        plan->strip_sum[i] = ec__arena_take(arena, places, sizeof(double));
        plan->strip_shift[i] = ec__arena_take(arena, places, sizeof(float));
    }
}

/* Where every rank has whole pieces, none has rows of others in a product. In a stream one side has a product. */
static void place_piece(ec_supcon_cuda *plan, int64_t value_bytes, ec_arena *arena) {
    const size_t edge = (size_t)plan->edge;
    plan->piece = ec__arena_take(arena, edge * edge, (size_t)value_bytes);
    if (plan->rows == plan->global_rows || plan->rows % plan->edge == 0) return;
    plan->part[0] = ec__arena_take(arena, edge * (size_t)plan->dim, sizeof(float));
    plan->part[1] = plan->block ? plan->part[0] : ec__arena_take(arena, edge * (size_t)plan->dim, sizeof(float));
}

ec_supcon_cuda ec__supcon_cuda_plan(ec_math math, bool hopper, const ec_supcon_problem *p, int32_t classes,
                                    ec_arena *arena) {
    enum { TILE = EC_SUPCON_CUDA_TILE, STRIPS = EC_SUPCON_CUDA_STRIPS };
    const int64_t G = p->global_rows, tiles = (G + TILE - 1) / TILE, element = math == EC_MATH_BF16 ? 2 : 4;
    const int64_t strip = tiles <= STRIPS ? 1 : round_up((tiles + STRIPS - 1) / STRIPS, 2);
    ec_supcon_cuda plan = {.math = math, .global_rows = (int32_t)G, .dim = p->dim, .rows = p->rows,
                           .first = (int32_t)p->first, .block = p->block, .classes = classes};
    const size_t width = (size_t)p->dim, all_classes = (size_t)classes;
    plan.pitch = round_up(p->dim * element, 128);
    plan.strip = (int32_t)(strip * TILE);
    plan.strips = (int32_t)((G + plan.strip - 1) / plan.strip);
    plan.term_blocks = (int32_t)((2 * G + EC_SUPCON_CUDA_TERMS - 1) / EC_SUPCON_CUDA_TERMS);
    if (in_pieces(p->dim)) plan.edge = ec__supcon_cuda_edge(G, p->dim, element);
    plan.own = plan.block ? span_of(plan.first, plan.first + plan.rows) : span_of(0, plan.global_rows);
    place_copies(&plan, hopper, plan.block ? room_of(plan.rows) : (size_t)plan.own.end, 2, arena, &plan.own);
    plan.other = plan.own;
    if (plan.block) place_copies(&plan, hopper, (size_t)plan.block, 1, arena, &plan.other);
    place_sums(&plan, arena);
    if (plan.edge) place_piece(&plan, element, arena);
    plan.class_sum = ec__arena_take(arena, 2 * all_classes * width, sizeof(double));
    if (classes <= EC_SUPCON_CUDA_FEW)
        plan.step_sum = ec__arena_take(arena, (plan.block ? 1 : 2) * EC_SUPCON_CUDA_STEPS * all_classes * width,
                                       sizeof(double));
    plan.term_sum = ec__arena_take(arena, EC_SUPCON_DIRECTIONS * (size_t)plan.term_blocks, sizeof(double));
    return plan;
}

/* Where there is no scratch yet. */
static ec_supcon_cuda plan_of_sizes(ec_backend *be, const ec_supcon_problem *p, int32_t classes, size_t *bytes) {
    ec_arena counting = ec__arena_counting();
    const ec_supcon_cuda plan = ec__supcon_cuda_plan(be->math, ec__cuda(be)->hopper, p, classes, &counting);
    *bytes = ec__arena_used(&counting);
    return plan;
}

/* An operation that is not told how many classes there are finds what it needs in front of the class sums. */
static ec_supcon_cuda plan_of(ec_backend *be, const ec_supcon_problem *p, int32_t classes) {
    size_t bytes = 0;
    (void)plan_of_sizes(be, p, classes, &bytes);
    ec_arena arena = ec__arena_over(p->scratch, bytes);
    return ec__supcon_cuda_plan(be->math, ec__cuda(be)->hopper, p, classes, &arena);
}

static ec_supcon_cuda plan_of_block(ec_backend *be, const ec_supcon_problem *p, int32_t classes,
                                    const ec_supcon_block *block) {
    ec_supcon_cuda plan = plan_of(be, p, classes);
    plan.other.begin = block->begin;
    plan.other.end = span_of(block->begin, block->begin + block->rows).end;
    return plan;
}

static size_t scratch_bytes(ec_backend *be, const ec_supcon_problem *problem, int32_t classes) {
    size_t bytes = 0;
    (void)plan_of_sizes(be, problem, classes, &bytes);
    return bytes;
}

static ec_status reserve(ec_backend *be, const ec_supcon_problem *problem) {
    size_t bytes = 0;
    const ec_supcon_cuda plan = plan_of_sizes(be, problem, 0, &bytes);
    return plan.edge ? ec__supcon_cuda_reserve(be, &plan) : EC_OK;
}

/* A block of the matrix of a modality with itself: sums make a pair of own rows once for both of them, a pair with
 * another rank's row for the own one; the gradient of narrow rows takes a score and a product, each 2 D, for every own
 * row and each of all rows. The cross-modal block is twice as large, and costs as much for each of its directions. In a
 * stream every pair is made for each of its sides. */
static double flops(ec_backend *be, const ec_supcon_problem *p) {
    const double own = p->rows, all = (double)p->global_rows, dim = p->dim;
    const double blocks = (p->intra[0] ? 1 : 0) + (p->intra[1] ? 1 : 0) + (p->cross ? 2 : 0);
    const double once = p->block ? 0 : own; /* rows that own ones meet once for both */
    const double sums = blocks * (dim * own * once + 2 * dim * own * (all - once));
    size_t bytes = 0;
    const ec_supcon_cuda plan = plan_of_sizes(be, p, 0, &bytes);
    return sums + (plan.edge ? ec__supcon_cuda_piece_flops(&plan, p) : blocks * 4 * dim * own * all);
}

static ec_status inspect(ec_backend *be, const float *z, int32_t rows, int32_t dim, float norm2_most,
                         ec_supcon_finding *finding) {
    return ec__supcon_cuda_inspect(be->main_stream(be), z, rows, dim, norm2_most, finding);
}

static ec_status prepare(ec_backend *be, const ec_supcon_problem *problem) {
    const ec_supcon_cuda plan = plan_of(be, problem, 0);
    const ec_supcon_block all = {0, plan.block ? plan.first : 0, plan.block ? plan.rows : plan.global_rows};
    ec_stream *stream = be->main_stream(be);
    EC_RETURN_IF(ec__supcon_cuda_copy(stream, &plan, &plan.own, &all, 2, problem->z));
    return plan.block ? ec__supcon_cuda_sums_begin(stream, &plan) : EC_OK;
}

static ec_status sums(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_rows *own) {
    ec_stream *stream = be->main_stream(be);
    const ec_supcon_cuda plan = plan_of(be, problem, 0);
    if (plan.block) return ec__supcon_cuda_sums_end(stream, &plan, problem, own);
    for (int32_t m = 0; m < 2; m++)
        if (problem->intra[m]) EC_RETURN_IF(ec__supcon_cuda_sums(stream, &plan, problem, m, m, own));
    if (problem->cross) EC_RETURN_IF(ec__supcon_cuda_sums(stream, &plan, problem, 0, 1, own));
    return EC_OK;
}

static ec_status positives(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                           const double coefficient[EC_SUPCON_DIRECTIONS], const ec_supcon_rows *own,
                           float *const grad[2]) {
    const ec_supcon_cuda plan = plan_of(be, problem, classes->most);
    const ec_supcon_block all = {0, 0, plan.global_rows};
    ec_stream *stream = be->main_stream(be);
    if (!plan.block) EC_RETURN_IF(ec__supcon_cuda_class_sums(stream, &plan, classes, &all, 2, problem->z));
    return ec__supcon_cuda_positives(stream, &plan, problem, classes, coefficient, own, grad);
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

static ec_status gradient_of(ec_backend *be, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                             const ec_supcon_block *block, const float *weight, const float *shift,
                             float *const grad[2]) {
    ec_stream *stream = be->main_stream(be);
    const int32_t own_rows = own_rows_of(be, problem->rows);
    if (plan->edge)
        return ec__supcon_cuda_gradient_wide(be, plan, problem, block, weight, shift, grad);
    return plan->own.panels[0]
               ? ec__supcon_hopper_gradient(stream, plan, problem, block, own_rows, weight, shift, grad)
               : ec__supcon_cuda_gradient(stream, plan, problem, block, own_rows, weight, shift, grad);
}

static ec_status gradient(ec_backend *be, const ec_supcon_problem *problem, const float *weight, const float *shift,
                          float *const grad[2]) {
    const ec_supcon_cuda plan = plan_of(be, problem, 0);
    return gradient_of(be, &plan, problem, NULL, weight, shift, grad);
}

/* A quarter of the own rows: a block and its copy then are little beside them. Whole steps, and pieces (either is a
 * power of 2). EMOCLIM_SUPCON_BLOCK decides otherwise, for tests. */
static int32_t block_rows(ec_backend *be, const ec_supcon_problem *problem) {
    enum { MOST = 16384, STEP = EC_SUPCON_CUDA_STEP };
    size_t bytes = 0;
    const char *asked = getenv("EMOCLIM_SUPCON_BLOCK");
    const int32_t edge = plan_of_sizes(be, problem, 0, &bytes).edge, unit = edge > STEP ? edge : STEP;
    const int32_t wanted = asked ? atoi(asked) : least(problem->rows / 4, MOST);
    return (wanted > unit ? wanted / unit : 1) * unit;
}

static ec_status take(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                      const ec_supcon_block *block, const float *z) {
    const ec_supcon_cuda plan = plan_of_block(be, problem, classes ? classes->most : 0, block);
    const float *const rows[2] = {z, NULL};
    ec_stream *stream = be->main_stream(be);
    EC_RETURN_IF(ec__supcon_cuda_copy(stream, &plan, &plan.other, block, 1, rows));
    return classes ? ec__supcon_cuda_class_sums(stream, &plan, classes, block, 1, rows) : EC_OK;
}

static ec_status block_sums(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_block *block) {
    const ec_supcon_cuda plan = plan_of_block(be, problem, 0, block);
    for (int32_t m = 0; m < 2; m++)
        if (m == block->modality ? problem->intra[m] : problem->cross)
            EC_RETURN_IF(ec__supcon_cuda_sums_add(be->main_stream(be), &plan, problem, block, m));
    return EC_OK;
}

static ec_status block_gradient(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_block *block,
                                const float *weight, const float *shift, float *const grad[2]) {
    const ec_supcon_cuda plan = plan_of_block(be, problem, 0, block);
    return gradient_of(be, &plan, problem, block, weight, shift, grad);
}

static const ec_supcon_stream_ops stream_ops = {
    .block_rows = block_rows, .take = take, .sums = block_sums, .gradient = block_gradient};

static bool special(const ec_backend *be) { return ((const ec_cuda_backend *)(const void *)be)->hopper; }

static void use_portable(ec_backend *be) { ec__cuda(be)->hopper = false; }

const ec_supcon_ops ec__cuda_supcon_ops = {
    .special = special,
    .use_portable = use_portable,
    .stream = &stream_ops,
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
