/* What the SupCon kernels are made of: tiles of Z Z^T, and their products with rows of Z, on the tensor cores.
 *
 * Everything in shared memory is a panel: rows of 128 bytes (64 bfloat16 or 32 float), whose 16-byte units are permuted
 * by unit ^ (row % 8), so that neither copies nor fragment loads meet in a bank. A block has 8 warps, each with 32 rows
 * and its share of the columns: 4 along rows by 2 along columns for tiles of 128 rows, 2 by 4 for tiles of 64. A step
 * of a matrix instruction always takes 32 bytes of depth, so the same addressing serves all types.
 *
 * A tile's own rows are factor A, the columns' rows of Z are factor B of the scores. For the gradient the weights of
 * the tile become factor A of a second product, whose factor B are the same rows of Z read the other way. */
#ifndef EC_COMPUTE_CUDA_SUPCON_TILE_CUH
#define EC_COMPUTE_CUDA_SUPCON_TILE_CUH

#include "compute/cuda/launch.h"
#include "compute/cuda/mma.cuh"
#include "compute/cuda/supcon.h"

constexpr int TILE = EC_SUPCON_CUDA_TILE, THREADS = 256;
constexpr int ROW_BYTES = 128, PANEL_BYTES = TILE * ROW_BYTES;
constexpr int STEP_BYTES = 32; /* depth of one matrix instruction */
constexpr int UNIT = 16;       /* bytes that one copy moves, or one row of a matrix load has */

static __device__ __forceinline__ int panel_at(int row, int unit) {
    return row * ROW_BYTES + ((unit ^ (row & 7)) * UNIT);
}

/* panel_at(row, unit + more) from panel_at(row, unit), where the two have no bit in common. Rows that are a multiple of
 * 8 apart have equal units: their distance is added. So all addresses of a loop come from one. */
static __device__ __forceinline__ int onward(int at, int more) { return at ^ (more * UNIT); }

/* ec__supcon_direction, for the device. */
static __device__ __forceinline__ int direction_of(int anchor, int candidate) {
    return anchor == candidate ? anchor : 2 + anchor;
}

/* Where a thread stands: its warp among the block's, its lane as l = 4 g + t. */
struct place {
    int lane, g, t, warp_row, warp_column;
};

constexpr int WARP_ROWS = 32, WARPS = THREADS / EC_WARP;

/* For tiles of so many rows. */
template <int ROWS> static __device__ __forceinline__ place here() {
    constexpr int ACROSS = WARPS * WARP_ROWS / ROWS;
    const int lane = threadIdx.x % EC_WARP, warp = threadIdx.x / EC_WARP;
    return {lane, lane / 4, lane % 4, warp / ACROSS, warp % ACROSS};
}

/* The types that factors are rounded to. DEPTH: values in a row of a panel. BLOCKS: of
 * threads that a multiprocessor should hold while it makes sums. UNROLL: steps of depth that the compiler may mix, as
 * far as registers last. Fragments are made of words as loaded. */
struct bf16_math {
    static constexpr int DEPTH = ROW_BYTES / 2, BYTES = 2, BLOCKS = 2, UNROLL = 4;
    struct row_fragment {
        uint32_t word[4];
        __device__ __forceinline__ explicit row_fragment(const uint32_t w[4]) : word{w[0], w[1], w[2], w[3]} {}
    };
    struct column_fragment {
        uint32_t word[2];
        __device__ __forceinline__ column_fragment(uint32_t w0, uint32_t w1) : word{w0, w1} {}
    };
    static __device__ __forceinline__ void multiply(float c[4], const row_fragment &a, const column_fragment &b) {
        ec__mma_bf16(c, a.word, b.word[0], b.word[1]);
    }
};

struct tf32_math {
    static constexpr int DEPTH = ROW_BYTES / 4, BYTES = 4, BLOCKS = 2, UNROLL = 4;
    using row_fragment = bf16_math::row_fragment;
    using column_fragment = bf16_math::column_fragment;
    static __device__ __forceinline__ void multiply(float c[4], const row_fragment &a, const column_fragment &b) {
        ec__mma_tf32(c, a.word, b.word[0], b.word[1]);
    }
    static __device__ __forceinline__ float rounded(float x) { return __uint_as_float(ec__tf32(x)); }
};

/* x = high + low, both tf32, to 22 bits; three products keep all but 2^-22 of what float32 factors give. A step's
 * products are made from 0 and then added, so that the sum is rounded to nearest (mma.cuh says why). */
struct float32_math {
    static constexpr int DEPTH = ROW_BYTES / 4, BYTES = 4, BLOCKS = 1, UNROLL = 1;
    static __device__ __forceinline__ void split(uint32_t word, uint32_t *high, uint32_t *low) {
        const float x = __uint_as_float(word);
        *high = ec__tf32(x);
        *low = ec__tf32(x - __uint_as_float(*high));
    }
    struct row_fragment {
        uint32_t high[4], low[4];
        __device__ __forceinline__ explicit row_fragment(const uint32_t w[4]) {
#pragma unroll
            for (int i = 0; i < 4; i++) split(w[i], &high[i], &low[i]);
        }
    };
    struct column_fragment {
        uint32_t high[2], low[2];
        __device__ __forceinline__ column_fragment(uint32_t w0, uint32_t w1) {
            split(w0, &high[0], &low[0]);
            split(w1, &high[1], &low[1]);
        }
    };
    static __device__ __forceinline__ void multiply(float c[4], const row_fragment &a, const column_fragment &b) {
        float piece[4] = {0, 0, 0, 0};
        ec__mma_tf32(piece, a.low, b.high[0], b.high[1]);
        ec__mma_tf32(piece, a.high, b.low[0], b.low[1]);
        ec__mma_tf32(piece, a.high, b.high[0], b.high[1]);
#pragma unroll
        for (int i = 0; i < 4; i++) c[i] += piece[i];
    }
    static __device__ __forceinline__ float rounded(float x) { return x; }
};

/* A warp's accumulators: 32 rows by 8 NT columns. Value i of (m, n) is row 16 m + g + 8 (i / 2), column
 * 8 n + 2 t + i % 2 of the warp's part. */
template <int NT> struct tile_sums {
    float at[2][NT][4];

    __device__ __forceinline__ void zero() {
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) at[m][n][i] = 0;
    }

    __device__ __forceinline__ void add(const tile_sums &other) {
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) at[m][n][i] += other.at[m][n][i];
    }
};

static __device__ __forceinline__ int tile_row(const place &p, int m, int i) {
    return p.warp_row * WARP_ROWS + m * 16 + p.g + i / 2 * 8;
}

template <int NT> static __device__ __forceinline__ int tile_column(const place &p, int n, int i) {
    return (p.warp_column * NT + n) * 8 + 2 * p.t + i % 2;
}

/* Starts the copy of a panel. from: the first row's part of a copy of Z, rows pitch bytes apart. */
template <int ROWS> static __device__ __forceinline__ void load_panel(char *panel, const char *from, int64_t pitch) {
    constexpr int AT_ONCE = THREADS * UNIT / ROW_BYTES; /* rows */
    const int row = (int)threadIdx.x / 8, unit = (int)threadIdx.x % 8;
    char *to = panel + panel_at(row, unit);
    from += row * pitch + unit * UNIT;
#pragma unroll
    for (int i = 0; i < ROWS / AT_ONCE; i++, from += AT_ONCE * pitch) ec__copy16(to + i * AT_ONCE * ROW_BYTES, from);
}

/* The same of own rows; only the first limit may be read, others repeat the last of them. */
template <int ROWS>
static __device__ __forceinline__ void load_own_panel(char *panel, const char *from, int64_t pitch, int limit) {
#pragma unroll
    for (int i = 0; i < ROWS * ROW_BYTES / UNIT / THREADS; i++) {
        const int at = i * THREADS + (int)threadIdx.x, row = at / 8, unit = at % 8;
        ec__copy16(panel + panel_at(row, unit), from + min(row, limit - 1) * pitch + unit * UNIT);
    }
}

/* Which values of a tile of width columns do not count: rows and columns past a limit, and column - row = diagonal. */
struct tile_edge {
    int width, rows, columns, diagonal;

    __device__ __forceinline__ bool cuts() const {
        return rows < TILE || columns < width || (diagonal > -TILE && diagonal < width);
    }
};

constexpr int NO_DIAGONAL = 4 * TILE;

template <int NT>
static __device__ __forceinline__ void exclude(const place &p, const tile_edge &edge, tile_sums<NT> &y) {
    if (!edge.cuts()) return;
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = tile_row(p, m, i), column = tile_column<NT>(p, n, i);
                if (row >= edge.rows || column >= edge.columns || column - row == edge.diagonal)
                    y.at[m][n][i] = EC_SUPCON_CUDA_NO_SCORE;
            }
}

/* sums += rows panel times columns panel (16 NT rows), over the depth of one panel. */
template <class M, int NT>
static __device__ __forceinline__ void add_scores(const place &p, const char *rows, const char *columns,
                                                  tile_sums<NT> &sums) {
    const int row = panel_at(p.warp_row * WARP_ROWS + p.lane % 16, p.lane / 16);
    const int column = panel_at(p.warp_column * NT * 8 + p.lane % 8 + p.lane / 16 * 8, p.lane / 8 % 2);
#pragma unroll M::UNROLL
    for (int k = 0; k < ROW_BYTES / STEP_BYTES; k++) {
        uint32_t word[4];
        ec__load_matrices(word, rows + onward(row, 2 * k));
        const typename M::row_fragment upper(word);
        ec__load_matrices(word, rows + onward(row, 2 * k) + 16 * ROW_BYTES);
        const typename M::row_fragment lower(word);
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            ec__load_matrices(word, columns + onward(column, 2 * k) + n * 8 * ROW_BYTES);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const typename M::column_fragment b(word[2 * i], word[2 * i + 1]);
                M::multiply(sums.at[0][n + i], upper, b);
                M::multiply(sums.at[1][n + i], lower, b);
            }
        }
    }
}

/* The second product: sums += weights times z over ROWS rows of z. The block makes 128 columns, a warp 8 NT of them.
 * weights: panels of OWN rows each, from which the depth's step first on is used (a step is 16 rows of z in bfloat16, 8
 * otherwise). z: panels of ROWS rows; only the first few of them exist. */
template <int ROWS, int OWN, int NT>
static __device__ __forceinline__ void add_product(bf16_math, const place &p, const char *weights, int first,
                                                   const char *z, int panels, tile_sums<NT> &sums) {
    const int column = p.warp_column * NT * 8, at = column / bf16_math::DEPTH;
    if (at >= panels) return;
    const char *panel = z + at * (ROWS * ROW_BYTES);
    const int row = panel_at(p.warp_row * WARP_ROWS + p.lane % 16, p.lane / 16);
    const int z_row = onward(panel_at(p.lane % 16, p.lane / 16), column % bf16_math::DEPTH / 8);
#pragma unroll 4
    for (int k = 0; k < ROWS / 16; k++) {
        const char *w = weights + (first + k) / 4 * (OWN * ROW_BYTES) + onward(row, (first + k) % 4 * 2);
        uint32_t word[4];
        ec__load_matrices(word, w);
        const bf16_math::row_fragment upper(word);
        ec__load_matrices(word, w + 16 * ROW_BYTES);
        const bf16_math::row_fragment lower(word);
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            ec__load_matrices_transposed(word, panel + onward(z_row, n) + k * 16 * ROW_BYTES);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const bf16_math::column_fragment b(word[2 * i], word[2 * i + 1]);
                bf16_math::multiply(sums.at[0][n + i], upper, b);
                bf16_math::multiply(sums.at[1][n + i], lower, b);
            }
        }
    }
}

/* With 4-byte values a row of z cannot be loaded transposed, so single words are. Rows 2t and 2t + 1 of z play the
 * depth t and t + 4 of a step: the four rows of a load then lie in different banks. store_weights puts weights in that
 * order. */
template <int ROWS, int OWN, int NT, class M>
static __device__ __forceinline__ void add_product(M, const place &p, const char *weights, int first, const char *z,
                                                   int panels, tile_sums<NT> &sums) {
    const int row = panel_at(p.warp_row * WARP_ROWS + p.lane % 16, p.lane / 16);
    const int even = panel_at(2 * p.t, p.g / 4), odd = panel_at(2 * p.t + 1, p.g / 4);
    const char *columns = z + p.g % 4 * 4;
#pragma unroll 2
    for (int k = 0; k < ROWS / 8; k++) {
        const char *w = weights + (first + k) / 4 * (OWN * ROW_BYTES) + onward(row, (first + k) % 4 * 2);
        uint32_t word[4];
        ec__load_matrices(word, w);
        const typename M::row_fragment upper(word);
        ec__load_matrices(word, w + 16 * ROW_BYTES);
        const typename M::row_fragment lower(word);
#pragma unroll
        for (int n = 0; n < NT; n++) {
            const int at = (p.warp_column * NT + n) * 8 / M::DEPTH;
            if (at >= panels) break;
            const char *panel = columns + at * (ROWS * ROW_BYTES) + k * 8 * ROW_BYTES;
            const typename M::column_fragment b(*(const uint32_t *)(panel + onward(even, n % 4 * 2)),
                                                *(const uint32_t *)(panel + onward(odd, n % 4 * 2)));
            M::multiply(sums.at[0][n], upper, b);
            M::multiply(sums.at[1][n], lower, b);
        }
    }
}

/* Puts two neighbouring weights, columns column (even) and column + 1 of the whole of panels, where add_product
 * looks. */
template <int OWN>
static __device__ __forceinline__ void store_weights(bf16_math, char *weights, int row, int column, float w0,
                                                     float w1) {
    char *panel = weights + column / bf16_math::DEPTH * (OWN * ROW_BYTES);
    const int within = column % bf16_math::DEPTH;
    *(uint32_t *)(panel + panel_at(row, within / 8) + within % 8 * 2) = ec__bf16_pair(w0, w1);
}

template <int OWN, class M>
static __device__ __forceinline__ void store_weights(M, char *weights, int row, int column, float w0, float w1) {
    char *panel = weights + column / M::DEPTH * (OWN * ROW_BYTES);
    const int within = column % M::DEPTH, unit = within / 8 * 2, word = within % 8 / 2 * 4;
    *(float *)(panel + panel_at(row, unit) + word) = M::rounded(w0);
    *(float *)(panel + panel_at(row, unit + 1) + word) = M::rounded(w1);
}

/* Runs compute(step, stage) for every step, with the loads of the STAGES - 1 steps after it under way. load(step,
 * stage) starts copies. All threads of the block take part; nothing of the stages is in use any more when it
 * returns. */
template <int STAGES, class Load, class Compute>
static __device__ __forceinline__ void pipeline(int steps, const Load &load, const Compute &compute) {
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) load(s, s);
        ec__copy_commit();
    }
    int stage = 0;
    for (int s = 0; s < steps; s++) {
        ec__copy_wait<STAGES - 2>();
        __syncthreads();
        const int next = stage == 0 ? STAGES - 1 : stage - 1; /* of step s + STAGES - 1, and of step s - 1 */
        if (s + STAGES - 1 < steps) load(s + STAGES - 1, next);
        ec__copy_commit();
        compute(s, stage);
        stage = stage == STAGES - 1 ? 0 : stage + 1;
    }
    ec__copy_wait<0>();
    __syncthreads();
}

#endif
