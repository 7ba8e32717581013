/* What the kernels of the gradient share: from a tile's scores to its weights, and from sums to the gradient. */
#ifndef EC_COMPUTE_CUDA_SUPCON_WEIGH_CUH
#define EC_COMPUTE_CUDA_SUPCON_WEIGH_CUH

#include "compute/cuda/supcon_tile.cuh"

struct gradient_arguments {
    const char *z[2]; /* copies */
    int64_t pitch;
    int32_t panels, global_rows, padded_rows, first, rows, dim;
    bool wanted[2][2];
    float scale, shared_shift;
    const float *weight, *shift; /* (4, G); shift NULL: one for all */
    float *grad[2];              /* (B, D) */
};

/* A tile of the matrix as the gradient sees it: row r is own row row + r of modality a, column c is row column + c of
 * modality b. */
struct gradient_tile {
    int a, b;
    int row;    /* of the own rows */
    int column; /* of all rows */
};

/* What rows and columns are weighed with: value 0 of a direction that points from row to column, 1 back. */
struct column_weights {
    float weight[TILE], shift[TILE];
};

/* Starts the copies of what COLUMNS columns are weighed with. */
template <bool ROW_SHIFT, int COLUMNS>
static __device__ __forceinline__ void load_column_weights(const gradient_arguments &p, const gradient_tile &tile,
                                                           column_weights *to) {
    const int c = (int)threadIdx.x, row = tile.column + c;
    if (c >= COLUMNS) return;
    if (row >= p.global_rows) {
        to->weight[c] = 0; /* times 0, of a power that does not count, is a number */
        to->shift[c] = 0;
        return;
    }
    const int64_t at = (int64_t)direction_of(tile.b, tile.a) * p.global_rows + row;
    ec__copy4(&to->weight[c], p.weight + at);
    if (ROW_SHIFT) ec__copy4(&to->shift[c], p.shift + at);
}

/* A thread's four rows. */
struct row_weights {
    float weight[4], shift[4];
};

template <bool ROW_SHIFT>
static __device__ __forceinline__ row_weights load_row_weights(const gradient_arguments &p, const place &at,
                                                               const gradient_tile &tile) {
    row_weights w;
#pragma unroll
    for (int r = 0; r < 4; r++) {
        const int own = tile.row + tile_row(at, r / 2, r % 2 * 2);
        const int64_t from = (int64_t)direction_of(tile.a, tile.b) * p.global_rows + p.first + own;
        w.weight[r] = own < p.rows ? p.weight[from] : 0.f;
        w.shift[r] = ROW_SHIFT && own < p.rows ? p.shift[from] : 0.f;
    }
    return w;
}

/* Weights of the tile's values: store(row, column, w0, w1) gets two neighbours of a row of the tile, column even.
 * Values past the last row of Z, and of a row with itself, get 0. */
template <class M, bool ROW_SHIFT, int COLUMNS, int NT, class Store>
static __device__ __forceinline__ void weigh(const gradient_arguments &p, const place &at, const gradient_tile &tile,
                                             const row_weights &rows, const column_weights &columns,
                                             tile_sums<NT> &dots, const Store &store) {
    const int diagonal = tile.a == tile.b ? p.first + tile.row - tile.column : NO_DIAGONAL;
    exclude(at, {COLUMNS, TILE, p.global_rows - tile.column, diagonal}, dots);
#pragma unroll
    for (int n = 0; n < NT; n++) {
        const int c = tile_column<NT>(at, n, 0);
#pragma unroll
        for (int r = 0; r < 4; r++) {
            float w[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float dot = dots.at[r / 2][n][r % 2 * 2 + i];
                if (ROW_SHIFT) {
                    /* Roundings spelt out: kernels for tiles of 64 and of 128 rows must make the same of them. */
                    const float y = __fmul_rn(dot, p.scale);
                    w[i] = fmaf(rows.weight[r], ec__exp2(y - rows.shift[r]),
                                __fmul_rn(columns.weight[c + i], ec__exp2(y - columns.shift[c + i])));
                } else {
                    w[i] = ec__exp2(fmaf(dot, p.scale, -p.shared_shift)) * (rows.weight[r] + columns.weight[c + i]);
                }
            }
            store(tile_row(at, r / 2, r % 2 * 2), c, w[0], w[1]);
        }
    }
}

/* grad += sums, which are 128 of its columns from first on. */
template <int NT>
static __device__ __forceinline__ void add_to_gradient(const gradient_arguments &p, const place &at, float *grad,
                                                       int tile_first, int first, const tile_sums<NT> &sums) {
    const bool pairs = p.dim % 2 == 0;
#pragma unroll
    for (int r = 0; r < 4; r++) {
        const int own = tile_first + tile_row(at, r / 2, r % 2 * 2);
        float *row = grad + (int64_t)own * p.dim;
        __syncwarp(); /* one row's loads under way are enough, and what registers last for */
#pragma unroll
        for (int n = 0; n < NT; n++) {
            const int c = first + tile_column<NT>(at, n, 0), left = own < p.rows ? p.dim - c : 0;
            const float x = sums.at[r / 2][n][r % 2 * 2], y = sums.at[r / 2][n][r % 2 * 2 + 1];
            if (pairs && left > 0) {
                float2 *to = (float2 *)(row + c);
                const float2 old = *to;
                *to = make_float2(old.x + x, old.y + y);
            } else {
                if (left > 0) row[c] += x;
                if (left > 1) row[c + 1] += y;
            }
        }
    }
}

static inline gradient_arguments gradient_arguments_of(const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                                       const float *weight, const float *shift, float *const grad[2]) {
    return {{(const char *)plan->copy[0], (const char *)plan->copy[1]},
            plan->pitch,
            (int32_t)(plan->pitch / ROW_BYTES),
            plan->global_rows,
            plan->padded_rows,
            plan->first,
            plan->rows,
            plan->dim,
            {{problem->intra[0], problem->cross}, {problem->cross, problem->intra[1]}},
            problem->scale,
            problem->shared_shift,
            weight,
            shift,
            {grad[0], grad[1]}};
}

#endif
