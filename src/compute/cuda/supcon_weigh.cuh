/* What the kernels of the gradient share: from a tile's scores to its weights, and from sums to the gradient. */
#ifndef EC_COMPUTE_CUDA_SUPCON_WEIGH_CUH
#define EC_COMPUTE_CUDA_SUPCON_WEIGH_CUH

#include "compute/cuda/supcon_tile.cuh"

struct gradient_arguments {
    const char *own[2], *z[2]; /* copies: of own rows, of columns, from where row 0 would be */
    int64_t pitch;
    int32_t panels, global_rows, first, rows, dim;
    int32_t own_end;           /* rows that there are a copy of as own ones end here */
    int32_t begin, end;        /* columns to walk through; begin a multiple of a tile */
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

/* f(to, value) for every value of the sums, which are 128 columns of the gradient; to: its place there. With two values
 * at a time, where they may be moved together. */
template <int NT, class Sums, class One, class Pair>
static __device__ __forceinline__ void for_gradient(const gradient_arguments &p, const place &at, float *grad,
                                                    int tile_first, Sums &sums, const One &one, const Pair &pair) {
    const bool pairs = p.dim % 2 == 0;
#pragma unroll
    for (int r = 0; r < 4; r++) {
        const int own = tile_first + tile_row(at, r / 2, r % 2 * 2);
        float *row = grad + (int64_t)own * p.dim;
        __syncwarp(); /* one row's loads under way are enough, and what registers last for */
#pragma unroll
        for (int n = 0; n < NT; n++) {
            const int c = tile_column<NT>(at, n, 0), left = own < p.rows ? p.dim - c : 0;
            auto &x = sums.at[r / 2][n][r % 2 * 2], &y = sums.at[r / 2][n][r % 2 * 2 + 1];
            if (pairs && left > 0) {
                pair((float2 *)(row + c), x, y);
            } else {
                if (left > 0) one(row + c, x);
                if (left > 1) one(row + c + 1, y);
            }
        }
    }
}

/* The gradient so far, and back. */
template <int NT>
static __device__ __forceinline__ void load_gradient(const gradient_arguments &p, const place &at, float *grad,
                                                     int tile_first, tile_sums<NT> &sums) {
    sums.zero();
    for_gradient<NT>(
        p, at, grad, tile_first, sums, [](const float *from, float &x) { x = *from; },
        [](const float2 *from, float &x, float &y) {
            const float2 both = *from;
            x = both.x;
            y = both.y;
        });
}

template <int NT>
static __device__ __forceinline__ void store_gradient(const gradient_arguments &p, const place &at, float *grad,
                                                      int tile_first, const tile_sums<NT> &sums) {
    for_gradient<NT>(
        p, at, grad, tile_first, sums, [](float *to, float x) { *to = x; },
        [](float2 *to, float x, float y) { *to = make_float2(x, y); });
}

/* block: NULL, or the only columns. */
static inline gradient_arguments gradient_arguments_of(const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                                       const ec_supcon_block *block, const float *weight,
                                                       const float *shift, float *const grad[2]) {
    const ec_supcon_copies *own = &plan->own, *other = &plan->other;
    const auto wanted = [&](int a, int b) {
        return (a == b ? problem->intra[a] : problem->cross) && (!block || block->modality == b);
    };
    return {{ec__supcon_cuda_row0(plan, own, own->rows[0]), ec__supcon_cuda_row0(plan, own, own->rows[1])},
            {ec__supcon_cuda_row0(plan, other, other->rows[0]), ec__supcon_cuda_row0(plan, other, other->rows[1])},
            plan->pitch,
            (int32_t)(plan->pitch / ROW_BYTES),
            plan->global_rows,
            plan->first,
            plan->rows,
            plan->dim,
            own->end,
            block ? block->begin : 0,
            block ? block->begin + block->rows : plan->global_rows,
            {{wanted(0, 0), wanted(0, 1)}, {wanted(1, 0), wanted(1, 1)}},
            problem->scale,
            problem->shared_shift,
            weight,
            shift,
            {grad[0], grad[1]}};
}

#endif
