/* The gradient for D above 128, where the accumulators of 128 rows do not fit into registers. A block of threads owns 128
 * rows of one modality and walks through Z in groups of rows: first it makes the weights of its rows towards the whole
 * group, which stay in shared memory, streaming its own rows and the group's by panels of their width; then, for 128
 * columns of the gradient at a time, their product with the group's rows is made from 0 and added to the gradient in
 * memory. Scores are made once however wide the rows are: 4 D flops a pair of rows, as for narrow rows. */
#include "compute/cuda/supcon_weigh.cuh"

namespace {

constexpr int STAGES = 3, STAGE_BYTES = 2 * PANEL_BYTES;
constexpr int WIDTH = 128; /* columns of the gradient at a time */

template <class M> struct shape {
    static constexpr int GROUP = M::BYTES == 2 ? 256 : 128;         /* rows of Z */
    static constexpr int PANELS = WIDTH / M::DEPTH;                 /* of WIDTH columns */
    static constexpr int ROWS = STAGE_BYTES / (PANELS * ROW_BYTES); /* rows of Z in a stage of the second product */
    static constexpr int STEPS = ROWS * M::BYTES / STEP_BYTES;      /* matrix instructions deep */
    static constexpr int WEIGHTS = STAGES * STAGE_BYTES;
    static constexpr int TOTAL = WEIGHTS + GROUP * M::BYTES * TILE;
};

/* Weights of the own rows towards count rows of Z from tile.column on. */
template <class M, bool ROW_SHIFT>
__device__ __forceinline__ void weigh_group(const gradient_arguments &p, const place &at, gradient_tile tile, int count,
                                            char *memory, column_weights *columns) {
    const int panels = p.panels, group = tile.column;
    const int64_t own = p.first + tile.row;
    const row_weights rows = load_row_weights<ROW_SHIFT>(p, at, tile);
    const auto load = [&](int step, int stage) {
        const int part = step / panels, k = step - part * panels;
        gradient_tile next = tile;
        next.column = group + part * TILE;
        char *to = memory + stage * STAGE_BYTES;
        load_own_panel<TILE>(to, p.z[tile.a] + own * p.pitch + k * ROW_BYTES, p.pitch, p.padded_rows - (int)own);
        load_panel<TILE>(to + PANEL_BYTES, p.z[tile.b] + next.column * p.pitch + k * ROW_BYTES, p.pitch);
        if (k == panels - 1) load_column_weights<ROW_SHIFT, TILE>(p, next, &columns[stage]);
    };
    tile_sums<8> dots;
    int k = 0;
    const auto compute = [&](int, int stage) {
        const char *from = memory + stage * STAGE_BYTES;
        if (k == 0) dots.zero();
        add_scores<M>(at, from, from + PANEL_BYTES, dots);
        if (++k < panels) return;
        weigh<M, ROW_SHIFT, TILE, TILE>(p, at, tile, rows, columns[stage], dots, memory + shape<M>::WEIGHTS, tile.column - group);
        k = 0;
        tile.column += TILE;
    };
    pipeline<STAGES>(count / TILE * panels, load, compute);
}

/* Adds the weights' product with the group's rows to the gradient. */
template <class M>
__device__ __forceinline__ void multiply_group(const gradient_arguments &p, const place &at, const gradient_tile &tile,
                                               int count, char *memory) {
    using S = shape<M>;
    const int parts = count / S::ROWS, chunks = (p.dim + WIDTH - 1) / WIDTH;
    const auto load = [&](int step, int stage) {
        const int chunk = step / parts, part = step - chunk * parts, first = chunk * S::PANELS;
        const char *from = p.z[tile.b] + (int64_t)(tile.column + part * S::ROWS) * p.pitch;
#pragma unroll
        for (int k = 0; k < S::PANELS; k++)
            if (first + k < p.panels)
                load_panel<S::ROWS>(memory + stage * STAGE_BYTES + k * (S::ROWS * ROW_BYTES),
                                    from + (first + k) * ROW_BYTES, p.pitch);
    };
    tile_sums<8> sums;
    int part = 0, chunk = 0;
    const auto compute = [&](int, int stage) {
        if (part == 0) sums.zero();
        add_product<S::ROWS, TILE>(M(), at, memory + S::WEIGHTS, part * S::STEPS, memory + stage * STAGE_BYTES,
                             p.panels - chunk * S::PANELS, sums);
        if (++part < parts) return;
        add_to_gradient(p, at, p.grad[tile.a], tile.row, chunk * WIDTH, sums);
        part = 0;
        chunk++;
    };
    pipeline<STAGES>(chunks * parts, load, compute);
}

template <class M, bool ROW_SHIFT>
__global__ void __launch_bounds__(THREADS, 1)
    wide_gradient_kernel(const __grid_constant__ gradient_arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    __shared__ column_weights columns[STAGES];
    const place at = here<TILE>();
    gradient_tile tile = {(int)blockIdx.y, 0, (int)blockIdx.x * TILE, 0};
    for (tile.b = 0; tile.b < 2; tile.b++) {
        if (!p.wanted[tile.a][tile.b]) continue;
        for (tile.column = 0; tile.column < p.padded_rows; tile.column += shape<M>::GROUP) {
            const int count = min((int)shape<M>::GROUP, p.padded_rows - tile.column);
            weigh_group<M, ROW_SHIFT>(p, at, tile, count, memory, columns);
            multiply_group<M>(p, at, tile, count, memory);
        }
    }
}

template <class M, bool ROW_SHIFT> ec_status launch(ec_stream *stream, const gradient_arguments &p) {
    EC_RETURN_IF(EC_SHARED_BYTES((wide_gradient_kernel<M, ROW_SHIFT>), shape<M>::TOTAL));
    return EC_LAUNCH((wide_gradient_kernel<M, ROW_SHIFT>), dim3((unsigned)(p.rows + TILE - 1) / TILE, 2), THREADS,
                     shape<M>::TOTAL, stream, p);
}

template <class M> ec_status launch_math(ec_stream *stream, const gradient_arguments &p, bool row_shift) {
    return row_shift ? launch<M, true>(stream, p) : launch<M, false>(stream, p);
}

} // namespace

ec_status ec__supcon_cuda_gradient_wide(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                        const float *weight, const float *shift, float *const grad[2]) {
    const gradient_arguments p = gradient_arguments_of(plan, problem, weight, shift, grad);
    switch (plan->math) {
        case EC_MATH_BF16: return launch_math<bf16_math>(stream, p, problem->row_shift);
        case EC_MATH_TF32: return launch_math<tf32_math>(stream, p, problem->row_shift);
        default: return launch_math<float32_math>(stream, p, problem->row_shift);
    }
}
