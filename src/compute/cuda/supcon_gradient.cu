/* The gradient for D up to 128. A block of threads owns 128 rows of one modality and walks through all rows of Z in order;
 * a stage of shared memory holds some of them in full width, and serves both products: scores, and weights times rows.
 * Each of these second products is made from 0 and then added, so a row's sum is a chain in the order of Z. */
#include "compute/cuda/supcon_weigh.cuh"

namespace {

constexpr int STAGES = 2, WIDTH = 128; /* columns of the gradient */

/* NT: n-tiles of a warp's scores; 16 NT rows of Z a stage. Panels of 16 NT rows each. */
template <class M> struct shape {
    static constexpr int NT = M::BYTES == 2 ? 8 : 4;
    static constexpr int COLUMNS = 16 * NT;
    static constexpr int PANELS = WIDTH / M::DEPTH;
    static constexpr int COLUMN_PANEL = COLUMNS * ROW_BYTES;
    static constexpr int STAGE = PANELS * PANEL_BYTES;
    static constexpr int STAGE_BYTES = PANELS * COLUMN_PANEL;
    static constexpr int WEIGHTS = STAGE + STAGES * STAGE_BYTES;
    static constexpr int TOTAL = WEIGHTS + COLUMNS * M::BYTES * TILE;
};

template <class M, bool ROW_SHIFT>
__device__ __forceinline__ void walk(const gradient_arguments &p, const place &at, gradient_tile tile, char *memory,
                                     column_weights *columns, tile_sums<8> &total) {
    using S = shape<M>;
    const row_weights rows = load_row_weights<ROW_SHIFT>(p, at, tile);
    const auto load = [&](int step, int stage) {
        gradient_tile next = tile;
        next.column = step * S::COLUMNS;
        const char *from = p.z[tile.b] + next.column * p.pitch;
        for (int k = 0; k < p.panels; k++)
            load_panel<S::COLUMNS>(memory + S::STAGE + stage * S::STAGE_BYTES + k * S::COLUMN_PANEL,
                                   from + k * ROW_BYTES, p.pitch);
        load_column_weights<ROW_SHIFT, S::COLUMNS>(p, next, &columns[stage]);
    };
    const auto compute = [&](int step, int stage) {
        const char *z = memory + S::STAGE + stage * S::STAGE_BYTES;
        tile.column = step * S::COLUMNS;
        {
            tile_sums<S::NT> dots;
            dots.zero();
            for (int k = 0; k < p.panels; k++)
                add_scores<M>(at, memory + k * PANEL_BYTES, z + k * S::COLUMN_PANEL, dots);
            weigh<M, ROW_SHIFT>(p, at, tile, rows, columns[stage], dots, memory + S::WEIGHTS, 0);
        }
        __syncthreads();
        tile_sums<8> sums;
        sums.zero();
        add_product<S::COLUMNS>(M(), at, memory + S::WEIGHTS, 0, z, p.panels, sums);
        total.add(sums);
    };
    pipeline<STAGES>((p.global_rows + S::COLUMNS - 1) / S::COLUMNS, load, compute);
}

template <class M, bool ROW_SHIFT>
__global__ void __launch_bounds__(THREADS, 1)
    gradient_kernel(const __grid_constant__ gradient_arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    __shared__ column_weights columns[STAGES];
    const place at = here();
    gradient_tile tile = {(int)blockIdx.y, 0, (int)blockIdx.x * TILE, 0};
    if (!p.wanted[tile.a][0] && !p.wanted[tile.a][1]) return;
    const char *own = p.z[tile.a] + (int64_t)(p.first + tile.row) * p.pitch;
    for (int k = 0; k < p.panels; k++)
        load_own_panel(memory + k * PANEL_BYTES, own + k * ROW_BYTES, p.pitch, p.padded_rows - p.first - tile.row);
    tile_sums<8> total;
    total.zero();
    for (int b = 0; b < 2; b++)
        if (p.wanted[tile.a][b]) {
            tile.b = b;
            walk<M, ROW_SHIFT>(p, at, tile, memory, columns, total);
        }
    add_to_gradient(p, at, p.grad[tile.a], tile.row, 0, total);
}

template <class M, bool ROW_SHIFT> ec_status launch(ec_stream *stream, const gradient_arguments &p) {
    EC_RETURN_IF(EC_SHARED_BYTES((gradient_kernel<M, ROW_SHIFT>), shape<M>::TOTAL));
    return EC_LAUNCH((gradient_kernel<M, ROW_SHIFT>), dim3((unsigned)(p.rows + TILE - 1) / TILE, 2), THREADS,
                     shape<M>::TOTAL, stream, p);
}

template <class M> ec_status launch_math(ec_stream *stream, const gradient_arguments &p, bool row_shift) {
    return row_shift ? launch<M, true>(stream, p) : launch<M, false>(stream, p);
}

} // namespace

ec_status ec__supcon_cuda_gradient(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   const float *weight, const float *shift, float *const grad[2]) {
    const gradient_arguments p = gradient_arguments_of(plan, problem, weight, shift, grad);
    switch (plan->math) {
        case EC_MATH_BF16: return launch_math<bf16_math>(stream, p, problem->row_shift);
        case EC_MATH_TF32: return launch_math<tf32_math>(stream, p, problem->row_shift);
        default: return launch_math<float32_math>(stream, p, problem->row_shift);
    }
}
