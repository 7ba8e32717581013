/* The quadratic part of the SupCon loss (loss/supcon.h), streamed: tiles of the matrix Z Z^T of all embeddings
 * Z = [images; music] (2G rows) are made, used for their rows and their columns, and dropped.
 *
 * Row i of modality a has, towards the candidates of modality b, the direction ec__supcon_direction(a, b); everything
 * below that is "(4, ...)" is indexed by it. With y_ij = scale * z_i . z_j the operations work in powers of two:
 *
 *     sum_d,i = sum_j 2^(y_ij - shift_d,i)            (intra-modal: without j = i)
 *     grad_i += sum_j z_j ( weight_d,i 2^(y_ij - shift_d,i) + weight_d',j 2^(y_ij - shift_d',j) )
 *
 * where d' is the direction of j towards i. Every y_ij is one chain of multiply-adds over ascending k, and a row
 * receives its terms in an order that is a function of G and D only, so bits depend neither on threads nor on who owns
 * which rows.
 *
 * All arrays are back end memory. An operation is parallel inside and enqueued as if on the main stream; it may be
 * recorded. Not to be called from within for_each. */
#ifndef EC_COMPUTE_OPS_SUPCON_H
#define EC_COMPUTE_OPS_SUPCON_H

#include <stdbool.h>

#include "compute/backend.h"

enum { EC_SUPCON_DIRECTIONS = 4 }; /* as numbered by ec_direction in loss/supcon.h */

/* Modalities: 0 image, 1 music. */
static inline int32_t ec__supcon_direction(int32_t anchor, int32_t candidate) {
    return anchor == candidate ? anchor : 2 + anchor;
}

typedef struct ec_supcon_problem {
    int64_t global_rows; /* G, per modality; at most 2^30 */
    int32_t dim;         /* D */
    int64_t first;       /* own rows: first .. first + rows - 1 of each modality */
    int32_t rows;        /* B */
    bool intra[2], cross; /* which blocks of the matrix are wanted: image-image, music-music; image-music */
    double inverse_t;    /* 1 / t */
    float scale;         /* log2(e) / t */
    bool row_shift;      /* every row has a shift of its own: its largest y; else all share one */
    float shared_shift;  /* not less than any y, nor more than 115 above the smallest: 2^(y - shift) stays normal */
    int32_t block;       /* 0: z has the rows of all ranks; else others' rows come in blocks of at most so many */
    const float *z[2];   /* (G, D) embeddings of all ranks; with blocks (B, D), the own rows */
    void *scratch;       /* scratch_bytes of back end memory; keeps what prepare left until the gradient is made */
} ec_supcon_problem;

/* Rows begin .. begin + rows - 1 of a modality: a whole block, or what is left at the end. begin is a multiple of
 * problem->block. */
typedef struct ec_supcon_block {
    int32_t modality;
    int32_t begin, rows;
} ec_supcon_block;

/* What inspect found in the rows of one modality. */
typedef struct ec_supcon_finding {
    int64_t bad; /* first row whose squared length is not finite or above the most; -1: none */
    float norm2; /* the squared length of that row; 0 where there is none */
    int32_t unused;
} ec_supcon_finding;

/* Rows of both modalities sorted by class. Positions of class c in order are start[c] .. start[c+1]-1: its image rows
 * ascending, then from music[c] on its music rows ascending. A row is a global row; music rows are stored as G +
 * row. */
typedef struct ec_supcon_classes {
    int32_t most;         /* at least as many as there are classes */
    const int32_t *count; /* (1) how many there are */
    const int32_t *order; /* (2G) */
    const int32_t *start; /* (count + 1) */
    const int32_t *music; /* (count) */
} ec_supcon_classes;

/* What a rank found for its own rows, by direction: a piece of memory that ranks exchange as a whole. */
typedef struct ec_supcon_rows {
    double *sum;      /* (4, B) */
    double *positive; /* (4, B) */
    float *shift;     /* (4, B); without meaning unless row_shift is set */
} ec_supcon_rows;

static inline size_t ec__supcon_rows_bytes(int32_t rows) {
    return EC_SUPCON_DIRECTIONS * (size_t)rows * (2 * sizeof(double) + sizeof(float));
}

/* The arrays inside a piece. */
static inline ec_supcon_rows ec__supcon_rows_in(void *piece, int32_t rows) {
    const size_t count = EC_SUPCON_DIRECTIONS * (size_t)rows;
    double *d = (double *)piece;
    ec_supcon_rows r = {d, d + count, (float *)(d + 2 * count)};
    return r;
}

/* For rows of other ranks that are not all there at a time. A step then is
 *
 *     prepare; each block of either modality: take with its classes, sums; then sums, positives and weights of
 *     ec_supcon_ops, which look at no rows but own ones; each block: take without classes, gradient.
 *
 * The blocks of a modality come in ascending order, those of images first: a row then receives its terms in the order
 * that it does where all rows are there, and the bits are the same. Own rows are among those of blocks. */
typedef struct ec_supcon_stream_ops {
    /* How many rows a block should have, for rows own ones: something that no bit depends on. */
    int32_t (*block_rows)(ec_backend *be, const ec_supcon_problem *problem);

    /* Makes the rows z of a block (block->rows, D) ready for the next two; z is not needed any more afterwards.
     * classes: they are added to the class sums. NULL: they are not. */
    ec_status (*take)(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                      const ec_supcon_block *block, const float *z);

    /* Of the block taken last: terms of the sums of own rows, of their gradient. */
    ec_status (*sums)(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_block *block);
    ec_status (*gradient)(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_block *block,
                          const float *weight, const float *shift, float *const grad[2]);
} ec_supcon_stream_ops;

struct ec_supcon_ops {
    /* Whether the kernels that the back end chose for itself are others than its portable ones, whose bits differ; and
     * to have the portable ones from now on, before anything else was asked of this table. */
    bool (*special)(const ec_backend *be);
    void (*use_portable)(ec_backend *be);

    const ec_supcon_stream_ops *stream; /* NULL: this back end wants all rows at once */

    /* Scratch for problems of these sizes in at most so many classes. z and scratch are not looked at. */
    size_t (*scratch_bytes)(ec_backend *be, const ec_supcon_problem *problem, int32_t classes);

    /* Makes ready what gradient needs beside scratch (a GPU's library of products), so that it allocates nothing.
     * Outside of recordings; z and scratch are not looked at. */
    ec_status (*reserve)(ec_backend *be, const ec_supcon_problem *problem);

    /* Multiplications and additions of the products that sums and gradient make together; runs nothing. z and scratch
     * are not looked at. */
    double (*flops)(ec_backend *be, const ec_supcon_problem *problem);

    /* Looks through z (rows, dim) for rows of squared length above most. */
    ec_status (*inspect)(ec_backend *be, const float *z, int32_t rows, int32_t dim, float most,
                         ec_supcon_finding *finding);

    /* To be called once the embeddings of all ranks, or with blocks the own ones, are there, before the operations
     * below; reads nothing but z. */
    ec_status (*prepare)(ec_backend *be, const ec_supcon_problem *problem);

    /* own->sum and, where row_shift is set, own->shift. Directions outside the wanted blocks are left as they are. */
    ec_status (*sums)(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_rows *own);

    /* Positives by class sums. P_c is the sum of the rows of class c of one modality, n the number of positives.
     * own->positive: z_i . P_c / n (intra-modal: P_c - z_i, n - 1), 0 where there is none.
     * grad[a] (B, D) is set to the positives' part of the gradient, given coefficient[d] = weight of direction d / (G
     * t). */
    ec_status (*positives)(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                           const double coefficient[EC_SUPCON_DIRECTIONS], const ec_supcon_rows *own,
                           float *const grad[2]);

    /* From the pieces of all ranks, back to back (rank r has rows r B .. r B + B - 1): the losses, and what gradient
     * needs of every row. weight (4, G) = coefficient / sum, 0 for anchors without a positive and where the coefficient
     * is 0; shift (4, G) where row_shift is set; loss[d] = 1/G sum_i (ln2 shift_i + ln sum_i - positive_i / t) over
     * anchors with a positive, 0 where the coefficient is 0. */
    ec_status (*weights)(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_classes *classes,
                         const double coefficient[EC_SUPCON_DIRECTIONS], const void *pieces, float *weight,
                         float *shift, double *loss);

    /* Adds the sums over j above to grad[a] (B, D). weight, shift: (4, G), rows of all ranks; shift is not looked at
     * unless row_shift is set. */
    ec_status (*gradient)(ec_backend *be, const ec_supcon_problem *problem, const float *weight, const float *shift,
                          float *const grad[2]);
};

#endif
