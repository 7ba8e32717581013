/* The gradient for D up to 128. A block of threads owns 128 rows of one modality, or 64 where that gives too few blocks
 * for the device (the bits are the same: a row does not see its tile), and walks through all rows of Z in order;
 * a stage of shared memory holds some of them in full width, and serves both products: scores, and weights times rows.
 * Each of these second products is made from 0 and then added to the gradient, which is in registers meanwhile, so a
 * row's sum is a chain in the order of Z, however many launches the walk takes. */
#include "compute/cuda/supcon_weigh.cuh"

namespace {

constexpr int STAGES = 2, WIDTH = 128; /* columns of the gradient */

/* COLUMNS: rows of Z in a stage. NT, WIDE: a warp's share of them and of the gradient's columns, in eights. */
template <class M, int OWN> struct shape {
    static constexpr int COLUMNS = M::BYTES == 2 ? 128 : 64;
    static constexpr int ACROSS = WARPS * WARP_ROWS / OWN;
    static constexpr int NT = COLUMNS / 8 / ACROSS, WIDE = WIDTH / 8 / ACROSS;
    static constexpr int OWN_PANEL = OWN * ROW_BYTES;
    static constexpr int PANELS = WIDTH / M::DEPTH;
    static constexpr int COLUMN_PANEL = COLUMNS * ROW_BYTES;
    static constexpr int STAGE = PANELS * OWN_PANEL;
    static constexpr int STAGE_BYTES = PANELS * COLUMN_PANEL;
    static constexpr int WEIGHTS = STAGE + STAGES * STAGE_BYTES;
    static constexpr int TOTAL = WEIGHTS + COLUMNS * M::BYTES * OWN;
};

template <class M, bool ROW_SHIFT, int OWN>
__device__ __forceinline__ void walk(const gradient_arguments &p, const place &at, gradient_tile tile, char *memory,
                                     column_weights *columns, tile_sums<shape<M, OWN>::WIDE> &total) {
    using S = shape<M, OWN>;
    const row_weights rows = load_row_weights<ROW_SHIFT>(p, at, tile);
    const auto load = [&](int step, int stage) {
        gradient_tile next = tile;
        next.column = p.begin + step * S::COLUMNS;
        const char *from = p.z[tile.b] + next.column * p.pitch;
        for (int k = 0; k < p.panels; k++)
            load_panel<S::COLUMNS>(memory + S::STAGE + stage * S::STAGE_BYTES + k * S::COLUMN_PANEL,
                                   from + k * ROW_BYTES, p.pitch);
        load_column_weights<ROW_SHIFT, S::COLUMNS>(p, next, &columns[stage]);
    };
    const auto compute = [&](int step, int stage) {
        const char *z = memory + S::STAGE + stage * S::STAGE_BYTES;
        tile.column = p.begin + step * S::COLUMNS;
        {
            tile_sums<S::NT> dots;
            dots.zero();
            for (int k = 0; k < p.panels; k++)
                add_scores<M>(at, memory + k * S::OWN_PANEL, z + k * S::COLUMN_PANEL, dots);
            weigh<M, ROW_SHIFT, S::COLUMNS>(p, at, tile, rows, columns[stage], dots,
                                            [&](int row, int c, float w0, float w1) {
                                                store_weights<OWN>(M(), memory + S::WEIGHTS, row, c, w0, w1);
                                            });
        }
        __syncthreads();
        tile_sums<S::WIDE> sums;
        sums.zero();
        add_product<S::COLUMNS, OWN>(M(), at, memory + S::WEIGHTS, 0, z, p.panels, sums);
        total.add(sums);
    };
    pipeline<STAGES>((p.end - p.begin + S::COLUMNS - 1) / S::COLUMNS, load, compute);
}

template <class M, bool ROW_SHIFT, int OWN>
__global__ void __launch_bounds__(THREADS, OWN == TILE ? 1 : M::BLOCKS)
    gradient_kernel(const __grid_constant__ gradient_arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    __shared__ column_weights columns[STAGES];
    using S = shape<M, OWN>;
    const place at = here<OWN>();
    gradient_tile tile = {(int)blockIdx.y, 0, (int)blockIdx.x * OWN, 0};
    if (!p.wanted[tile.a][0] && !p.wanted[tile.a][1]) return;
    const char *own = p.own[tile.a] + (int64_t)(p.first + tile.row) * p.pitch;
    for (int k = 0; k < p.panels; k++)
        load_own_panel<OWN>(memory + k * S::OWN_PANEL, own + k * ROW_BYTES, p.pitch,
                            p.own_end - p.first - tile.row);
    tile_sums<S::WIDE> total;
    load_gradient(p, at, p.grad[tile.a], tile.row, total);
    for (int b = 0; b < 2; b++)
        if (p.wanted[tile.a][b]) {
            tile.b = b;
            walk<M, ROW_SHIFT, OWN>(p, at, tile, memory, columns, total);
        }
    store_gradient(p, at, p.grad[tile.a], tile.row, total);
}

template <class M, bool ROW_SHIFT, int OWN> ec_status launch(ec_stream *stream, const gradient_arguments &p) {
    constexpr int BYTES = shape<M, OWN>::TOTAL;
    EC_RETURN_IF(EC_SHARED_BYTES((gradient_kernel<M, ROW_SHIFT, OWN>), BYTES));
    return EC_LAUNCH((gradient_kernel<M, ROW_SHIFT, OWN>), dim3((unsigned)((p.rows + OWN - 1) / OWN), 2), THREADS,
                     BYTES, stream, p);
}

template <class M>
ec_status launch_math(ec_stream *stream, const gradient_arguments &p, bool row_shift, int32_t own_rows) {
    if (own_rows == TILE) return row_shift ? launch<M, true, TILE>(stream, p) : launch<M, false, TILE>(stream, p);
    return row_shift ? launch<M, true, TILE / 2>(stream, p) : launch<M, false, TILE / 2>(stream, p);
}

} // namespace

ec_status ec__supcon_cuda_gradient(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   const ec_supcon_block *block, int32_t own_rows, const float *weight,
                                   const float *shift, float *const grad[2]) {
    const gradient_arguments p = gradient_arguments_of(plan, problem, block, weight, shift, grad);
    switch (plan->math) {
        case EC_MATH_BF16: return launch_math<bf16_math>(stream, p, problem->row_shift, own_rows);
        case EC_MATH_TF32: return launch_math<tf32_math>(stream, p, problem->row_shift, own_rows);
        default: return launch_math<float32_math>(stream, p, problem->row_shift, own_rows);
    }
}
