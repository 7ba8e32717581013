/* How the CUDA back end cuts the matrix of the SupCon loss (compute/ops_supcon.h), and what it keeps in scratch.
 *
 * Floating-point operations, cross-modal pair, b own rows of G, width D: the sums make each tile once for its rows and
 * its columns, 2 G^2 D on one rank (up to 4 b G D on many, where a tile between ranks is made by both owners). The
 * gradient of narrow rows makes scores again, for each side, and multiplies them into the owner's rows, 8 b G D; that
 * of wide ones makes them once for both sides, 6 G^2 D on one rank (supcon_pieces.h). An intra-modal block costs half.
 *
 * Memory beside the caller's arrays, a rank: the copies of Z that the products read, 2 G D values of 2 or 4 bytes; for
 * wide rows a piece of the matrix, at most G D floats, and where other ranks have rows of it, its products, at most as
 * much; class sums, 4 C D floats; row sums of strips, at most 192 floats a row. So on one rank at most 3 b D floats and
 * O(b + C D), beside 4 b D of embeddings and gradients. */
#ifndef EC_COMPUTE_CUDA_SUPCON_H
#define EC_COMPUTE_CUDA_SUPCON_H

#include "compute/cuda/cuda.h"
#include "core/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    EC_SUPCON_CUDA_TILE = 128,  /* rows and columns of a tile; tiles begin at multiples of it in the global batch */
    EC_SUPCON_CUDA_STRIPS = 32, /* most strips of a modality */
    EC_SUPCON_CUDA_NARROW = 128, /* D up to which the gradient of a tile's rows stays in registers */
    EC_SUPCON_CUDA_CHUNK = 256, /* positions in class order that one block sums */
    EC_SUPCON_CUDA_TERMS = 1024 /* positions whose loss terms one block sums */
};

/* y of an entry that does not count, and the shift of a sum without terms. */
#define EC_SUPCON_CUDA_NO_SCORE (-1e30f)

typedef struct ec_supcon_cuda {
    ec_math math;
    int32_t global_rows, dim, rows, first;
    int32_t padded_rows; /* a multiple of a tile; rows past the last are 0 */
    int64_t pitch;       /* bytes of a row of a copy: a multiple of 128, padded with 0 */
    int32_t strip;       /* rows whose sums are put together before they meet those of others; whole tiles */
    int32_t strips;
    void *copy[2]; /* (padded_rows, pitch) */
    /* The same as panels (supcon_hopper.cuh), for the kernels for compute capability 9.0; NULL: they are not used. Up
     * to EC_SUPCON_CUDA_NARROW wide it lies where copy does, which then is not made. */
    void *panels[2];

    /* Sums of the rows of a block of the matrix over the columns of each strip, and of its columns over the rows of
     * each strip: (strips, B), with a shift each where rows have their own. Used by one block of the matrix after the
     * other. */
    double *strip_sum[2];
    float *strip_shift[2];

    /* Wide rows only: a piece of the matrix (supcon_pieces.h), and the gradients of its rows and of its columns where
     * other ranks have some of them. */
    int32_t edge;
    void *piece;    /* (edge, edge) bfloat16 or float */
    float *part[2]; /* (edge, D) */

    double *class_sum;  /* (2, classes, D): music after image */
    double *chunk_sum;  /* (chunks, 2, D): of the class that a chunk begins with, and of the one it ends with */
    double *term_sum;   /* (4, blocks of terms) */
    int32_t classes;    /* most */
    int32_t chunks;     /* of the 2G positions */
    int32_t term_blocks;
} ec_supcon_cuda;

/* Everything but memory; then places the arrays (counting when arena does). hopper: for the kernels of
 * supcon_hopper*.cu, which are for bfloat16 only. */
ec_supcon_cuda ec__supcon_cuda_plan(ec_math math, bool hopper, int64_t global_rows, int32_t dim, int32_t rows,
                                    int32_t classes, ec_arena *arena);

/* What be->hopper would be on a device of compute capability 9.0 where those kernels are right. */
bool ec__supcon_hopper_expected(ec_math math);

/* Decides be->hopper, once: compute capability 9.0, bfloat16, and the same results as from the portable kernels on
 * small problems that are run for it; else it warns. EC_ERR_ENV where the environment asks for what there is not. */
ec_status ec__supcon_choose(ec_cuda_backend *be);

/* Each enqueues its kernels on the stream. */
ec_status ec__supcon_cuda_inspect(ec_stream *stream, const float *z, int32_t rows, int32_t dim, float norm2_most,
                                  ec_supcon_finding *finding);
ec_status ec__supcon_cuda_copy(ec_stream *stream, const ec_supcon_cuda *plan, const float *const z[2]);
/* Makes plan->panels, and plan->copy where that is another place. */
ec_status ec__supcon_hopper_copy(ec_stream *stream, const ec_supcon_cuda *plan, const float *const z[2]);
/* The sums of one block of the matrix: rows of modality a, columns of modality b, a <= b. */
ec_status ec__supcon_cuda_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                               int32_t a, int32_t b, const ec_supcon_rows *own);
/* D up to EC_SUPCON_CUDA_NARROW. own_rows: of a block of threads, a tile or half of one. */
ec_status ec__supcon_cuda_gradient(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   int32_t own_rows, const float *weight, const float *shift, float *const grad[2]);
/* The same from plan->panels, each of which is a part of the operation before. */
ec_status ec__supcon_hopper_strip_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                       int32_t a, int32_t b);
ec_status ec__supcon_hopper_gradient(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                     int32_t own_rows, const float *weight, const float *shift, float *const grad[2]);
ec_status ec__supcon_cuda_positives(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                    const ec_supcon_classes *classes, const double coefficient[EC_SUPCON_DIRECTIONS],
                                    const ec_supcon_rows *own, float *const grad[2]);
ec_status ec__supcon_cuda_weights(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                  const ec_supcon_classes *classes, const double coefficient[EC_SUPCON_DIRECTIONS],
                                  const void *pieces, float *weight, float *shift, double *loss);

#ifdef __cplusplus
}
#endif

#endif
