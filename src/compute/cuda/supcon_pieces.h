/* The gradient of rows wider than 128, whose sums do not fit into registers: the matrix is made piece by piece in
 * memory, and both products of a piece, with the rows of its columns and, transposed, with those of its rows, are
 * cuBLASLt's.
 *
 * A piece is a square of edge rows and columns, or what is left of one at the end of the batch. Its rows begin at a
 * multiple of edge in the global batch, and edge is a function of G, D and the type of products only; so are the shapes
 * of all products, and with them their algorithms and bits, whoever owns which rows. Of a modality with itself only
 * pieces on and above the diagonal are made; one on it has a product for its rows alone. A product is added to the
 * gradient of own rows as it is made; where a rank owns some of the rows only, in a copy of their gradient with room
 * for the others. Pieces come in one order, so every row gets its products in the same order on any number of ranks:
 * those with images, then those with music, either in ascending order. In a stream (ec_supcon_stream_ops) a block of
 * other rows is some pieces long, and meets all own pieces; a piece is made for its own side, as rows or as columns as
 * in the whole matrix, so one whose two sides have own rows is made twice.
 *
 * Floating-point operations, one rank: 2 G^2 D for the scores of a pair of modalities and 2 G^2 D for either side's
 * product. A rank among many makes every piece that has own rows or columns, but scores only for tiles (of 128) that
 * have some. */
#ifndef EC_COMPUTE_CUDA_SUPCON_PIECES_H
#define EC_COMPUTE_CUDA_SUPCON_PIECES_H

#include "compute/cuda/supcon.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of modality a, columns of modality b. */
typedef struct ec_supcon_piece {
    int32_t a, b;
    int32_t begin[2], count[2]; /* of rows, of columns, in the global batch */
    bool side[2];               /* whether its rows, its columns have a product on this rank */
} ec_supcon_piece;

/* Rows of a piece where a value of it has so many bytes. */
int32_t ec__supcon_cuda_edge(int64_t global_rows, int32_t dim, int64_t value_bytes);

/* Chooses the products' algorithms. */
ec_status ec__supcon_cuda_reserve(ec_backend *be, const ec_supcon_cuda *plan);

/* Operations of the gradient. */
double ec__supcon_cuda_piece_flops(const ec_supcon_cuda *plan, const ec_supcon_problem *problem);

/* Adds the gradient, as ops_supcon.h has it; on the main stream and a second one beside it. block: NULL, or the only
 * rows that own ones meet, whole pieces. */
ec_status ec__supcon_cuda_gradient_wide(ec_backend *be, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                        const ec_supcon_block *block, const float *weight, const float *shift,
                                        float *const grad[2]);

/* Where a side's rows are. In a stream a piece has a product for one side only, whose rows are own ones. */
static inline const ec_supcon_copies *ec__supcon_piece_copies(const ec_supcon_cuda *plan, const ec_supcon_piece *piece,
                                                              int side) {
    return piece->side[side] ? &plan->own : &plan->other;
}

/* supcon_piece_weights.cu: plan->piece becomes the weights of the piece, rows edge values apart. Tiles of 128 x 128
 * that serve no own row are left as they are. */
ec_status ec__supcon_cuda_weigh(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                const ec_supcon_piece *piece, const float *weight, const float *shift);
/* supcon_hopper_pieces.cu: the same from plan->panels. blocks: about so many, as no bit depends on. */
ec_status ec__supcon_hopper_weigh(ec_stream *stream, int32_t blocks, const ec_supcon_cuda *plan,
                                  const ec_supcon_problem *problem, const ec_supcon_piece *piece, const float *weight,
                                  const float *shift);

#ifdef __cplusplus
}
#endif

#endif
