/* The weights of a piece of the matrix (supcon_pieces.h). A block of threads makes one tile: its scores as the sums do,
 * its weights as the narrow gradient does, and writes them by way of shared memory, so that it writes whole lines. */
#include "compute/cuda/supcon_pieces.h"
#include "compute/cuda/supcon_weigh.cuh"

namespace {

constexpr int STAGES = 2, STAGE_BYTES = 2 * PANEL_BYTES, NT = 8;

struct piece_arguments {
    gradient_arguments all; /* as if all rows were own ones: weights do not depend on who has them */
    ec_supcon_piece piece;
    const char *z[2];    /* copies of its rows, of its columns */
    int32_t first, rows; /* those that are */
    char *to;
    int64_t to_pitch; /* bytes of a row of it */

    __device__ __forceinline__ bool serves(int side, int begin) const {
        return piece.side[side] && begin < first + rows && first < begin + TILE;
    }
};

template <class M> constexpr int panels_of_tile = TILE / M::DEPTH;
static_assert(panels_of_tile<float32_math> * PANEL_BYTES <= STAGES * STAGE_BYTES,
              "a tile of weights fits into the stages");

__device__ __forceinline__ void store_pair(bf16_math, char *to, float w0, float w1) {
    *(uint32_t *)to = ec__bf16_pair(w0, w1);
}

template <class M> __device__ __forceinline__ void store_pair(M, char *to, float w0, float w1) {
    *(float2 *)to = make_float2(M::rounded(w0), M::rounded(w1));
}

/* A tile of weights from panels in shared memory to its place. */
template <class M> __device__ __forceinline__ void write_tile(const char *panels, char *to, int64_t pitch) {
    const int row = (int)threadIdx.x / 8, unit = (int)threadIdx.x % 8;
#pragma unroll
    for (int k = 0; k < panels_of_tile<M>; k++)
        for (int r = row; r < TILE; r += THREADS / 8)
            *(float4 *)(to + r * pitch + k * ROW_BYTES + unit * UNIT) =
                *(const float4 *)(panels + k * PANEL_BYTES + panel_at(r, unit));
}

template <class M, bool ROW_SHIFT>
__global__ void __launch_bounds__(THREADS, M::BLOCKS) piece_weights_kernel(const __grid_constant__ piece_arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    __shared__ column_weights columns;
    const gradient_tile tile = {p.piece.a, p.piece.b, p.piece.begin[0] + (int)blockIdx.y * TILE,
                                p.piece.begin[1] + (int)blockIdx.x * TILE};
    if (!p.serves(0, tile.row) && !p.serves(1, tile.column)) return;
    const place at = here<TILE>();
    const int64_t pitch = p.all.pitch;
    const char *const from[2] = {p.z[0] + tile.row * pitch, p.z[1] + tile.column * pitch};
    const auto load = [&](int k, int stage) {
        char *to = memory + stage * STAGE_BYTES;
        load_panel<TILE>(to, from[0] + k * ROW_BYTES, pitch);
        load_panel<TILE>(to + PANEL_BYTES, from[1] + k * ROW_BYTES, pitch);
        if (k == 0) load_column_weights<ROW_SHIFT, TILE>(p.all, tile, &columns);
    };
    tile_sums<NT> dots;
    dots.zero();
    pipeline<STAGES>(p.all.panels, load, [&](int, int stage) {
        add_scores<M>(at, memory + stage * STAGE_BYTES, memory + stage * STAGE_BYTES + PANEL_BYTES, dots);
    });
    weigh<M, ROW_SHIFT, TILE>(p.all, at, tile, load_row_weights<ROW_SHIFT>(p.all, at, tile), columns, dots,
                              [&](int row, int column, float w0, float w1) {
                                  const int offset = column % M::DEPTH * M::BYTES;
                                  store_pair(M(), memory + column / M::DEPTH * PANEL_BYTES +
                                                      panel_at(row, offset / UNIT) + offset % UNIT,
                                             w0, w1);
                              });
    __syncthreads();
    write_tile<M>(memory, p.to + (int64_t)blockIdx.y * TILE * p.to_pitch + (int64_t)blockIdx.x * TILE * M::BYTES,
                  p.to_pitch);
}

template <class M, bool ROW_SHIFT> ec_status launch(ec_stream *stream, const piece_arguments &p) {
    const auto tiles = [&](int side) { return (unsigned)(p.piece.count[side] + TILE - 1) / TILE; };
    EC_RETURN_IF(EC_SHARED_BYTES((piece_weights_kernel<M, ROW_SHIFT>), STAGES * STAGE_BYTES));
    return EC_LAUNCH((piece_weights_kernel<M, ROW_SHIFT>), dim3(tiles(1), tiles(0)), THREADS, STAGES * STAGE_BYTES,
                     stream, p);
}

template <class M> ec_status launch_math(ec_stream *stream, piece_arguments p, int32_t edge, bool row_shift) {
    p.to_pitch = (int64_t)edge * M::BYTES;
    return row_shift ? launch<M, true>(stream, p) : launch<M, false>(stream, p);
}

} // namespace

ec_status ec__supcon_cuda_weigh(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                const ec_supcon_piece *piece, const float *weight, const float *shift) {
    float *const no_grad[2] = {NULL, NULL};
    const ec_supcon_copies *from[2] = {ec__supcon_piece_copies(plan, piece, 0), ec__supcon_piece_copies(plan, piece, 1)};
    piece_arguments p = {gradient_arguments_of(plan, problem, NULL, weight, shift, no_grad),
                         *piece,
                         {ec__supcon_cuda_row0(plan, from[0], from[0]->rows[piece->a]),
                          ec__supcon_cuda_row0(plan, from[1], from[1]->rows[piece->b])},
                         plan->first,
                         plan->rows,
                         (char *)plan->piece,
                         0};
    p.all.first = 0;
    p.all.rows = plan->global_rows;
    switch (plan->math) {
        case EC_MATH_BF16: return launch_math<bf16_math>(stream, p, plan->edge, problem->row_shift);
        case EC_MATH_TF32: return launch_math<tf32_math>(stream, p, plan->edge, problem->row_shift);
        default: return launch_math<float32_math>(stream, p, plan->edge, problem->row_shift);
    }
}
