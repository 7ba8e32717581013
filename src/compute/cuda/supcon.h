/* How the CUDA back end cuts the matrix of the SupCon loss (compute/ops_supcon.h), and what it keeps in scratch.
 *
 * Floating-point operations, cross-modal pair, b own rows of G, width D: the sums make each tile once for its rows and
 * its columns, 2 G^2 D on one rank (up to 4 b G D on many, where a tile between ranks is made by both owners). The
 * gradient of narrow rows makes scores again, for each side, and multiplies them into the owner's rows, 8 b G D; that
 * of wide ones, or of all where the environment asks for it, makes them once for both sides, 6 G^2 D on one rank
 * (supcon_pieces.h). An intra-modal block costs half.
 *
 * Memory beside the caller's arrays, a rank: the copies of Z that the products read, 2 G D values of 2 or 4 bytes, or
 * where other ranks' rows come in blocks (ec_supcon_stream_ops), 2 b D of own rows and T D of a block; for wide rows a
 * piece of the matrix, at most G D floats and 32 MiB, and where other ranks have rows of it, its products; class sums,
 * 4 C D floats, and 32 more for up to 128 classes; row sums of strips, at most 192 floats a row. So on one rank at most
 * 3 b D floats and O(b + C D), beside 4 b D of embeddings and gradients. */
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
    /* Rows whose terms are put together before they are added to those of rows before them: of a strip's sums (the terms
     * of columns), and of class sums. A divisor of every block of a stream, so that a block ends nothing that the whole
     * batch does not. */
    EC_SUPCON_CUDA_STEP = 512,
    EC_SUPCON_CUDA_FEW = 128, /* classes up to which the sums of several steps are made at the same time: */
    EC_SUPCON_CUDA_STEPS = 8, /* so many steps */
    EC_SUPCON_CUDA_TERMS = 1024 /* positions whose loss terms one block sums */
};

/* y of an entry that does not count, and the shift of a sum without terms. */
#define EC_SUPCON_CUDA_NO_SCORE (-1e30f)

/* Copies of rows in the type that products read. */
typedef struct ec_supcon_copies {
    int32_t begin, end; /* which rows of the global batch; multiples of a tile, rows that are not there are 0 */
    void *rows[2];      /* (end - begin, pitch), by modality */
    /* The same as panels (supcon_hopper.cuh), for the kernels for compute capability 9.0; NULL: they are not used. Up
     * to EC_SUPCON_CUDA_NARROW wide they lie where rows do, which then are not made. */
    void *panels[2];
} ec_supcon_copies;

typedef struct ec_supcon_cuda {
    ec_math math;
    int32_t global_rows, dim, rows, first;
    int64_t pitch;       /* bytes of a row of a copy: a multiple of 128, padded with 0 */
    int32_t strip;       /* rows whose sums are put together before they meet those of others; whole tiles, one or an
                          * even number */
    int32_t strips;
    int32_t block;       /* rows of a block of a stream; 0: all rows are there */
    ec_supcon_copies own;   /* own rows; or of all ranks, where they are there */
    ec_supcon_copies other; /* what own rows meet: the same, or a block of one modality at a time */

    /* Sums of the rows of a block of the matrix over the columns of each strip, and of its columns over the rows of
     * each strip: (strips, B), with a shift each where rows have their own. Used by one block of the matrix after the
     * other. In a stream (4, B) by direction: sums over the strip that the stream is in, and over those before it. */
    double *strip_sum[2];
    float *strip_shift[2];

    /* Where the gradient is made of pieces of the matrix (supcon_pieces.h): one of them, and the gradients of its rows
     * and of its columns where other ranks have some of them. */
    int32_t edge; /* 0: it is not */
    void *piece;    /* (edge, edge) bfloat16 or float */
    float *part[2]; /* (edge, D) */

    double *class_sum;  /* (2, classes, D): music after image */
    double *step_sum;   /* (modalities, STEPS, classes, D) of some steps; NULL for more than EC_SUPCON_CUDA_FEW */
    double *term_sum;   /* (4, blocks of terms) */
    int32_t classes;    /* most */
    int32_t term_blocks;
} ec_supcon_cuda;

/* Where row 0 of the batch would lie beside the rows that are there: kernels count rows from there. */
static inline const char *ec__supcon_cuda_row0(const ec_supcon_cuda *plan, const ec_supcon_copies *copies,
                                               const void *from) {
    return (const char *)((uintptr_t)from - (uintptr_t)copies->begin * (uintptr_t)plan->pitch);
}

/* Which rows and columns of a block of the matrix are to be summed, and for whom. */
typedef struct ec_supcon_range {
    int32_t begin[2], end[2]; /* of rows, of columns; begin a multiple of a tile */
    int32_t step[2];          /* that a block of threads takes: whole tiles */
    bool side[2];             /* whether own rows, own columns get sums; who gets none is looked for in plan->other */
} ec_supcon_range;

/* Everything but memory; then places the arrays (counting when arena does). hopper: for the kernels of
 * supcon_hopper*.cu, which are for bfloat16 only. Of the problem its sizes are looked at. */
ec_supcon_cuda ec__supcon_cuda_plan(ec_math math, bool hopper, const ec_supcon_problem *problem, int32_t classes,
                                    ec_arena *arena);

/* What be->hopper would be on a device of compute capability 9.0 where those kernels are right. */
bool ec__supcon_hopper_expected(ec_math math);

/* Decides be->hopper, once: compute capability 9.0, bfloat16, and the same results as from the portable kernels on
 * small problems that are run for it; else it warns. EC_ERR_ENV where the environment asks for what there is not. */
ec_status ec__supcon_choose(ec_cuda_backend *be);

/* Each enqueues its kernels on the stream. */
ec_status ec__supcon_cuda_inspect(ec_stream *stream, const float *z, int32_t rows, int32_t dim, float norm2_most,
                                  ec_supcon_finding *finding);
/* Rows of block, z (rows, D), to their places in copies, whose rows that they are not among become 0. modalities: 2 for
 * the same rows of music behind those of images, in z[1]. */
ec_status ec__supcon_cuda_copy(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_copies *copies,
                               const ec_supcon_block *block, int32_t modalities, const float *const z[2]);
/* The sums of one block of the matrix: rows of modality a, columns of modality b, a <= b. */
ec_status ec__supcon_cuda_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                               int32_t a, int32_t b, const ec_supcon_rows *own);
/* In a stream: begins, adds what a block of rows is for own ones of modality m, and ends. */
ec_status ec__supcon_cuda_sums_begin(ec_stream *stream, const ec_supcon_cuda *plan);
ec_status ec__supcon_cuda_sums_add(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   const ec_supcon_block *block, int32_t m);
ec_status ec__supcon_cuda_sums_end(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   const ec_supcon_rows *own);
/* D up to EC_SUPCON_CUDA_NARROW. own_rows: of a block of threads, a tile or half of one. block: NULL, or the only
 * columns. */
ec_status ec__supcon_cuda_gradient(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   const ec_supcon_block *block, int32_t own_rows, const float *weight,
                                   const float *shift, float *const grad[2]);
/* The same from plan->panels, each of which is a part of the operation before. */
ec_status ec__supcon_hopper_strip_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                       int32_t a, int32_t b, const ec_supcon_range *range);
ec_status ec__supcon_hopper_gradient(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                     const ec_supcon_block *block, int32_t own_rows, const float *weight,
                                     const float *shift, float *const grad[2]);
/* Adds the rows of block to the class sums; those of row 0 begin them. Blocks of a modality come in ascending order.
 * modalities, z: as above. */
ec_status ec__supcon_cuda_class_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_classes *classes,
                                     const ec_supcon_block *block, int32_t modalities, const float *const z[2]);
/* From class sums; problem->z are those of own rows, or of all. */
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
