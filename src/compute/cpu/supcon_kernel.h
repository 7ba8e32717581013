/* Tiles of the streaming SupCon loss on one core. One source, supcon_kernel.inc.h, is compiled for several instruction
 * sets; the best one that the processor has is taken at run time.
 *
 * A tile is rows x columns dot products, the rows of block A against the rows of block B. It is worked in micro tiles
 * of mr x nr that start at the tile's first row and column, and each of them does the same arithmetic whichever others
 * are made with it: asking for a part of the rows or columns changes no bit of that part. */
#ifndef EC_COMPUTE_CPU_SUPCON_KERNEL_H
#define EC_COMPUTE_CPU_SUPCON_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EC_SUPCON_TILE = 128,   /* most rows and columns of a tile */
    EC_SUPCON_TILE_LD = 160 /* row distance of a tile in memory: no power of two, so columns spread over the L1 sets */
};

/* y of an entry that does not count, and the shift of a sum without terms: 2 to its power is 0, or below any normal
 * float. */
#define EC_SUPCON_NO_SCORE (-1e30f)

typedef struct ec_supcon_tile {
    const float *a;      /* (rows, dim) rows of A, row-major */
    const float *panels; /* columns of B, by pack_columns */
    int32_t rows, columns, dim;
    int32_t row_begin, row_end;       /* the part that is made, widened to whole micro tiles */
    int32_t column_begin, column_end;
    bool diagonal;       /* A and B are the same rows: terms with row = column are 0 */
    float scale, shift;
} ec_supcon_tile;

typedef struct ec_supcon_kernel {
    const char *name;
    int32_t mr, nr;

    /* panels[p][k][c] = z[p * nr + c][k], 0 past the last row. z is (rows, dim). */
    void (*pack_columns)(const float *z, int32_t rows, int32_t dim, float *panels);
    /* The last dim % nr columns of z: tail[r][c], nr wide, 0 past the last column. Nothing where nr divides dim. */
    void (*pack_tail)(const float *z, int32_t rows, int32_t dim, float *tail);

    /* e = 2^(scale * a . b - shift). row_sum (rows) and column_sum (columns, rounded up to nr) receive the sums of e
     * over the part made; values for rows or columns outside of the part are undefined. */
    void (*sums)(const ec_supcon_tile *tile, float *row_sum, float *column_sum);
    /* w[r][c] = e * (row_weight[r] + column_weight[c]). column_weight is readable up to a multiple of nr. w holds rows
     * rounded up to mr, and columns rounded up to nr; padding becomes 0. */
    void (*weights)(const ec_supcon_tile *tile, const float *row_weight, const float *column_weight, float *w);
    /* w[r][c] = scale * a . b; padding, and the diagonal's own terms, become EC_SUPCON_NO_SCORE. */
    void (*scores)(const ec_supcon_tile *tile, float *w);

    /* Over y made by scores, columns rounded up to nr: continues sums that have their own, growing shift. */
    void (*row_sums)(const float *y, int32_t columns, double *sum, float *shift);                /* one row */
    void (*column_sums)(const float *y, int32_t rows, double sum[], float shift[], int32_t columns); /* all columns */
    /* y[c] = row_weight 2^(y[c] - row_shift) + column_weight[c] 2^(y[c] - column_shift[c]), one row, in place. */
    void (*row_weights)(float *y, int32_t columns, float row_weight, float row_shift, const float *column_weight,
                        const float *column_shift);

    /* c (rows, dim) += a (rows, depth) * b (depth, dim), all but a with rows dim apart; element (r, k) of a is
     * a[r * row_step + k * k_step]. tail is that of b, by pack_tail. Each sum over k is made from 0 and then added. */
    void (*product)(const float *a, ptrdiff_t row_step, ptrdiff_t k_step, int32_t rows, int32_t depth, const float *b,
                    const float *tail, int32_t dim, float *c);

    /* Sum of x[i]^2, a fixed order. */
    float (*norm2)(const float *x, int32_t dim);

    /* For the positives. sum += z; the products z . own, z . other and z . z; grad = by * z - towards. */
    void (*add_to_sum)(double *sum, const float *z, int32_t dim);
    void (*class_dots)(const float *z, const double *own, const double *other, int32_t dim, double dots[3]);
    void (*pull)(float *grad, const float *z, float by, const float *towards, int32_t dim);
} ec_supcon_kernel;

extern const ec_supcon_kernel ec__supcon_kernel_generic;
extern const ec_supcon_kernel ec__supcon_kernel_avx2;
extern const ec_supcon_kernel ec__supcon_kernel_avx512;

/* The kernels to use on this processor. EMOCLIM_SUPCON_KERNEL=generic|avx2|avx512 picks a slower one, for tests. */
const ec_supcon_kernel *ec__supcon_kernel_pick(void);

#endif
