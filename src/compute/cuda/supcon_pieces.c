/* Cutting the matrix into pieces, and a piece's products with the rows on either side (supcon_pieces.h). */
#include "compute/cuda/supcon_pieces.h"

#include "compute/cuda/matmul.h"

enum { TILE = EC_SUPCON_CUDA_TILE };

/* Large pieces make few and large products: each has edge x D values, in tiles for all multiprocessors. What limits
 * them:
 *   - a piece takes no more memory than G x D floats, and no batch of more than a tile is one piece;
 *   - a rank makes its products for whole pieces, so on up to 8 ranks pieces above 2048 are not larger than a rank's
 *     rows;
 *   - at 32 MiB (4096 rows of bfloat16) a launch takes longer than to launch it; and where rows come in blocks, a block
 *     is a piece at least: larger ones would be much beside a rank's own rows. */
int32_t ec__supcon_cuda_edge(int64_t global_rows, int32_t dim, int64_t value_bytes) {
    enum { FEW_RANKS = 8, SMALL = 2048, MOST_BYTES = 32 << 20 };
    const int64_t G = global_rows, memory = (int64_t)sizeof(float) * G * dim;
    int64_t edge = TILE;
    for (int64_t next = 2 * edge; next * next * value_bytes <= memory && next < G; next *= 2) {
        if (next > SMALL && FEW_RANKS * next > G) break;
        if (next * next * value_bytes > MOST_BYTES) break;
        edge = next;
    }
    return (int32_t)edge;
}

/* Those of count rows from begin on that are own ones. */
typedef struct range {
    int32_t begin, end;
} range;

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

static range own_of(const ec_supcon_cuda *plan, int32_t begin, int32_t count) {
    return (range){most(begin, plan->first), least(begin + count, plan->first + plan->rows)};
}

typedef ec_status (*piece_fn)(void *arg, const ec_supcon_piece *piece);

/* Calls fn for every piece that this rank has a part in, in the order of the whole matrix. */
static ec_status for_each_piece(const ec_supcon_cuda *plan, const ec_supcon_problem *problem, piece_fn fn, void *arg) {
    const int32_t edge = plan->edge, all = plan->global_rows, pieces = (all + edge - 1) / edge;
    for (int block = 0; block < 3; block++) {
        ec_supcon_piece piece = {.a = block == 2, .b = block > 0};
        const bool same = piece.a == piece.b;
        if (!(same ? problem->intra[piece.a] : problem->cross)) continue;
        for (int32_t i = 0; i < pieces; i++)
            for (int32_t j = same ? i : 0; j < pieces; j++) {
                const int32_t place[2] = {i, j};
                for (int s = 0; s < 2; s++) {
                    piece.begin[s] = place[s] * edge;
                    piece.count[s] = least(edge, all - piece.begin[s]);
                    const range own = own_of(plan, piece.begin[s], piece.count[s]);
                    piece.side[s] = own.begin < own.end && !(s == 1 && same && i == j);
                }
                if (piece.side[0] || piece.side[1]) EC_RETURN_IF(fn(arg, &piece));
            }
    }
    return EC_OK;
}

/* The same of a stream: pieces of rows of block, each with every own piece. */
static ec_status for_each_in_stream(const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                    const ec_supcon_block *block, piece_fn fn, void *arg) {
    const int32_t edge = plan->edge, all = plan->global_rows, end = block->begin + block->rows, b = block->modality;
    for (int32_t m = 0; m < 2; m++) {
        if (!(m == b ? problem->intra[m] : problem->cross)) continue;
        for (int32_t own = plan->first / edge * edge; own < plan->first + plan->rows; own += edge)
            for (int32_t other = block->begin; other < end; other += edge) {
                const int side = m < b || (m == b && own <= other) ? 0 : 1;
                ec_supcon_piece piece = {.a = side == 0 ? m : b, .b = side == 0 ? b : m};
                piece.begin[side] = own;
                piece.begin[1 - side] = other;
                for (int s = 0; s < 2; s++) piece.count[s] = least(edge, all - piece.begin[s]);
                piece.side[side] = true;
                EC_RETURN_IF(fn(arg, &piece));
            }
    }
    return EC_OK;
}

/* Rows of a side that lie in tiles with own ones. */
static double served(const ec_supcon_cuda *plan, const ec_supcon_piece *piece, int side) {
    const range own = own_of(plan, piece->begin[side], piece->count[side]);
    if (!piece->side[side]) return 0;
    return least(piece->count[side], (own.end - piece->begin[side] + TILE - 1) / TILE * TILE) -
           (own.begin - piece->begin[side]) / TILE * TILE;
}

typedef struct tally {
    const ec_supcon_cuda *plan;
    double products; /* of a row with a row, or of a weight with a row */
} tally;

static ec_status count_piece(void *arg, const ec_supcon_piece *piece) {
    tally *t = arg;
    const double rows = piece->count[0], columns = piece->count[1], r = served(t->plan, piece, 0);
    t->products += r * columns + (rows - r) * served(t->plan, piece, 1);
    t->products += rows * columns * ((piece->side[0] ? 1 : 0) + (piece->side[1] ? 1 : 0));
    return EC_OK;
}

double ec__supcon_cuda_piece_flops(const ec_supcon_cuda *plan, const ec_supcon_problem *problem) {
    tally t = {.plan = plan};
    for (int32_t m = 0; m < 2 && plan->block; m++) {
        const ec_supcon_block all = {m, 0, plan->global_rows};
        (void)for_each_in_stream(plan, problem, &all, count_piece, &t); /* counting does not fail */
    }
    if (!plan->block) (void)for_each_piece(plan, problem, count_piece, &t);
    return 2 * t.products * plan->dim;
}

/* Adds the weights, or their transpose, times depth rows of a copy of Z to rows of the gradient. */
static ec_cuda_matmul product_of(const ec_supcon_cuda *plan, int32_t rows, int32_t depth, bool transpose) {
    const ec_precision precision = plan->math == EC_MATH_BF16 ? EC_PRECISION_BF16 : EC_PRECISION_FLOAT32;
    return (ec_cuda_matmul){
        .gemm = {.m = rows, .n = plan->dim, .k = depth, .lda = plan->edge,
                 .ldb = (int32_t)(plan->pitch / (int64_t)ec__precision_size(precision)), .ldc = plan->dim,
                 .transpose_a = transpose, .accumulate = true},
        .input = precision,
        .output = EC_PRECISION_FLOAT32,
    };
}

ec_status ec__supcon_cuda_reserve(ec_backend *be, const ec_supcon_cuda *plan) {
    const int32_t all = plan->global_rows, edge = least(plan->edge, all), last = (all - 1) % plan->edge + 1;
    const int32_t size[2] = {edge, last};
    for (int variant = 0; variant < 8; variant++) {
        const ec_cuda_matmul product = product_of(plan, size[variant % 2], size[variant / 2 % 2], variant / 4 != 0);
        EC_RETURN_IF(ec__cuda_matmul_prepare(ec__cuda(be), &product));
    }
    return EC_OK;
}

typedef struct walk {
    ec_backend *be;
    const ec_supcon_cuda *plan;
    const ec_supcon_problem *problem;
    const float *weight, *shift;
    float *const *grad;
    const ec_supcon_piece *piece;
} walk;

/* A piece's product for one of its sides. The other side's may run beside it: they have no row in common. */
static ec_status add_side(void *arg, int32_t side, ec_stream *stream) {
    const walk *w = arg;
    const ec_supcon_cuda *plan = w->plan;
    const ec_supcon_piece *piece = w->piece;
    const ec_memory_ops *memory = w->be->memory;
    const int32_t other = 1 - side, begin = piece->begin[side], count = piece->count[side];
    const range own = own_of(plan, begin, count);
    const bool is_whole = own.end - own.begin == count;
    const size_t width = (size_t)plan->dim, bytes = (size_t)(own.end - own.begin) * width * sizeof(float);
    float *grad = w->grad[side == 0 ? piece->a : piece->b] + (size_t)(own.begin - plan->first) * width;
    float *part = is_whole ? NULL : plan->part[side] + (size_t)(own.begin - begin) * width;
    const ec_supcon_copies *copies = ec__supcon_piece_copies(plan, piece, other);
    const char *z = (const char *)copies->rows[side == 0 ? piece->b : piece->a] +
                    (piece->begin[other] - copies->begin) * plan->pitch;
    const ec_cuda_matmul product = product_of(plan, count, piece->count[other], side == 1);
    if (!is_whole) EC_RETURN_IF(memory->copy(w->be, stream, part, grad, bytes));
    EC_RETURN_IF(
        ec__cuda_matmul(ec__cuda(w->be), stream, &product, plan->piece, z, NULL, is_whole ? grad : plan->part[side]));
    return is_whole ? EC_OK : memory->copy(w->be, stream, grad, part, bytes);
}

static ec_status add_piece(void *arg, const ec_supcon_piece *piece) {
    walk *w = arg;
    ec_stream *stream = w->be->main_stream(w->be);
    w->piece = piece;
    EC_RETURN_IF(w->plan->own.panels[0] ? ec__supcon_hopper_weigh(stream, ec__cuda(w->be)->multiprocessors, w->plan,
                                                              w->problem, piece, w->weight, w->shift)
                                    : ec__supcon_cuda_weigh(stream, w->plan, w->problem, piece, w->weight, w->shift));
    if (piece->side[0] && piece->side[1]) return w->be->for_each(w->be, 2, add_side, w);
    return add_side(w, piece->side[0] ? 0 : 1, stream);
}

ec_status ec__supcon_cuda_gradient_wide(ec_backend *be, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                        const ec_supcon_block *block, const float *weight, const float *shift,
                                        float *const grad[2]) {
    walk w = {.be = be, .plan = plan, .problem = problem, .weight = weight, .shift = shift, .grad = grad};
    return block ? for_each_in_stream(plan, problem, block, add_piece, &w)
                 : for_each_piece(plan, problem, add_piece, &w);
}
