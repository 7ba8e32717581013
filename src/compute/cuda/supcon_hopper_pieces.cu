/* The weights of a piece of the matrix (supcon_pieces.h) on compute capability 9.0, as supcon_piece_weights.cu makes
 * them. A block owns a row of tiles, or a part of one, and its two warpgroups take turns: each makes every other tile,
 * in a ring of stages of its own, so that one multiplies while the other makes powers of 2 and writes. */
#include "compute/cuda/supcon_hopper.cuh"
#include "compute/cuda/supcon_pieces.h"

namespace {

constexpr int GROUPS = 2, STAGES = 3, THREADS = (1 + GROUPS) * GROUP_THREADS;
constexpr int HALVES = TILE / GROUP_ROWS; /* products that a tile's rows take */

struct arguments {
    const char *z[2]; /* panels: of rows, of columns, from where row 0 would be */
    int32_t panels, global_rows, first, rows;
    ec_supcon_piece piece;
    int32_t strip; /* tiles of columns that a block takes */
    float scale, shared_shift;
    /* (G) of rows towards columns, of columns towards rows; shift NULL: one for all */
    const float *weight[2], *shift[2];
    char *to;
    int64_t to_pitch;

    __device__ __forceinline__ bool serves(int side, int begin) const {
        return piece.side[side] && begin < first + rows && first < begin + TILE;
    }
};

struct stage_memory {
    char rows[PANEL_BYTES], columns[PANEL_BYTES];
};

struct column_weights {
    float weight[TILE], shift[TILE];
};

struct shared_memory {
    stage_memory stage[GROUPS][STAGES];
    column_weights columns[GROUPS][STAGES]; /* with the last panel of a tile */
    ring_of<STAGES> ring[GROUPS];
};

/* A place in a ring, and the parity of the phase that it is in. */
struct step {
    int slot;
    uint32_t parity;

    __device__ __forceinline__ void advance() {
        slot = slot == STAGES - 1 ? 0 : slot + 1;
        if (slot == 0) parity ^= 1;
    }
};

/* f(number, column) for the tiles that this block makes: those that serve own rows or columns. */
template <class F> __device__ __forceinline__ void for_each_tile(const arguments &p, const F &f) {
    const int row = p.piece.begin[0] + (int)blockIdx.y * TILE, begin = p.piece.begin[1];
    const int first = begin + (int)blockIdx.x * p.strip * TILE;
    const int end = min(begin + p.piece.count[1], first + p.strip * TILE);
    int number = 0;
    for (int column = first; column < end; column += TILE)
        if (p.serves(0, row) || p.serves(1, column)) f(number++, column);
}

/* The copying warp. */
template <bool ROW_SHIFT> __device__ __forceinline__ void copy(const arguments &p, shared_memory *shared) {
    const int64_t tile_bytes = (int64_t)p.panels * PANEL_BYTES;
    const char *rows = p.z[0] + (p.piece.begin[0] / TILE + (int)blockIdx.y) * tile_bytes;
    step steps[GROUPS] = {};
    for_each_tile(p, [&](int number, int column) {
        const int g = number % GROUPS;
        step &at = steps[g];
        for (int k = 0; k < p.panels; k++, at.advance()) {
            uint64_t *full = &shared->ring[g].full[at.slot];
            ec__arrival_wait(&shared->ring[g].empty[at.slot], at.parity ^ 1);
            if (threadIdx.x == 0) {
                stage_memory *to = &shared->stage[g][at.slot];
                ec__arrival_expect(full, sizeof *to);
                ec__bulk_copy(to->rows, rows + k * PANEL_BYTES, PANEL_BYTES, full);
                ec__bulk_copy(to->columns, p.z[1] + column / TILE * tile_bytes + k * PANEL_BYTES, PANEL_BYTES, full);
            }
            for (int c = (int)threadIdx.x; k == p.panels - 1 && c < TILE; c += EC_WARP) {
                const bool is_row = column + c < p.global_rows;
                shared->columns[g][at.slot].weight[c] = is_row ? p.weight[1][column + c] : 0.f;
                if (ROW_SHIFT) shared->columns[g][at.slot].shift[c] = is_row ? p.shift[1][column + c] : 0.f;
            }
            warp_arrives(full);
        }
    });
}

/* Scores of a tile. The last stage stays with the caller. */
__device__ __forceinline__ void score(const arguments &p, const place &at, step *stage, shared_memory *shared,
                                      float (&y)[HALVES][WIDE]) {
    ring_of<STAGES> &ring = shared->ring[at.group];
    for (int k = 0; k < p.panels; k++) {
        const stage_memory &from = shared->stage[at.group][stage->slot];
        ec__arrival_wait(&ring.full[stage->slot], stage->parity);
        ec__wgmma_fence();
#pragma unroll
        for (int h = 0; h < HALVES; h++) enqueue_scores(y[h], from.rows + h * GROUP_BYTES, from.columns, k == 0);
        ec__wgmma_commit();
        if (k > 0) {
            ec__wgmma_wait<1>();
            warp_arrives(&ring.empty[stage->slot == 0 ? STAGES - 1 : stage->slot - 1]);
        }
        if (k < p.panels - 1) stage->advance();
    }
    ec__wgmma_wait<0>();
#pragma unroll
    for (int h = 0; h < HALVES; h++) ec__wgmma_hold(y[h]);
}

/* What a thread's rows are weighed with. */
struct row_weights {
    float weight[2 * HALVES], shift[2 * HALVES];
};

template <bool ROW_SHIFT>
__device__ __forceinline__ row_weights load_row_weights(const arguments &p, const place &at, int row) {
    row_weights w;
#pragma unroll
    for (int r = 0; r < 2 * HALVES; r++) {
        const int of_all = row + r / 2 * GROUP_ROWS + value_row(at, r % 2 * 2);
        w.weight[r] = of_all < p.global_rows ? p.weight[0][of_all] : 0.f;
        w.shift[r] = ROW_SHIFT && of_all < p.global_rows ? p.shift[0][of_all] : 0.f;
    }
    return w;
}

/* word[j] of lane t becomes word[t] of lane j, of the four lanes with the same g. */
__device__ __forceinline__ void transpose(const place &at, uint32_t (&word)[4]) {
#pragma unroll
    for (int bit = 1; bit < 4; bit *= 2)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & bit) continue;
            const bool upper = at.t & bit;
            const uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? word[i] : word[i | bit], bit);
            if (upper) word[i] = other;
            else word[i | bit] = other;
        }
}

/* The weight of a score, 0 where it does not count. */
template <bool ROW_SHIFT>
__device__ __forceinline__ float weight_of(const arguments &p, float dot, float row_weight, float row_shift,
                                           float column_weight, float column_shift, bool counts) {
    float w;
    if (ROW_SHIFT) {
        const float y = dot * p.scale;
        w = row_weight * ec__exp2(y - row_shift) + column_weight * ec__exp2(y - column_shift);
    } else {
        w = ec__exp2(fmaf(dot, p.scale, -p.shared_shift)) * (row_weight + column_weight);
    }
    return counts ? w : 0.f;
}

/* Weights of a tile to their place, 8 neighbours of a row a lane at a time. */
template <bool ROW_SHIFT>
__device__ __forceinline__ void write_weights(const arguments &p, const place &at, int row, int column,
                                              const row_weights &rows, const column_weights &columns,
                                              const float (&y)[HALVES][WIDE]) {
    const int limit = p.global_rows - column;
    const bool has_diagonal = p.piece.a == p.piece.b && row == column;
#pragma unroll
    for (int r = 0; r < 2 * HALVES; r++) {
        const int of_tile = r / 2 * GROUP_ROWS + value_row(at, r % 2 * 2);
        char *to = p.to + (int64_t)(row - p.piece.begin[0] + of_tile) * p.to_pitch + (column - p.piece.begin[1]) * 2;
#pragma unroll
        for (int n = 0; n < TILE / 8; n += 4) {
            uint32_t word[4];
            __syncwarp(); /* what these columns are weighed with is loaded now: registers do not last for more */
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float w[2];
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const int c = value_column(at, n + j, i);
                    w[i] = weight_of<ROW_SHIFT>(p, y[r / 2][4 * (n + j) + r % 2 * 2 + i], rows.weight[r], rows.shift[r],
                                                columns.weight[c], ROW_SHIFT ? columns.shift[c] : 0.f,
                                                c < limit && !(has_diagonal && c == of_tile));
                }
                word[j] = ec__bf16_pair(w[0], w[1]);
            }
            transpose(at, word);
            *(uint4 *)(to + (n + at.t) * 16) = make_uint4(word[0], word[1], word[2], word[3]);
        }
    }
}

template <bool ROW_SHIFT> __device__ __forceinline__ void weigh(const arguments &p, shared_memory *shared) {
    const place at = here();
    const int row = p.piece.begin[0] + (int)blockIdx.y * TILE;
    const row_weights rows = load_row_weights<ROW_SHIFT>(p, at, row);
    step stage = {};
    for_each_tile(p, [&](int number, int column) {
        if (number % GROUPS != at.group) return;
        float y[HALVES][WIDE];
        score(p, at, &stage, shared, y);
        write_weights<ROW_SHIFT>(p, at, row, column, rows, shared->columns[at.group][stage.slot], y);
        warp_arrives(&shared->ring[at.group].empty[stage.slot]);
        stage.advance();
    });
}

template <bool ROW_SHIFT>
__global__ void __launch_bounds__(THREADS, 1) hopper_piece_kernel(const __grid_constant__ arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    auto *shared = (shared_memory *)aligned(memory);
    if (threadIdx.x == 0) {
        for (int g = 0; g < GROUPS; g++) shared->ring[g].init(1, GROUP_WARPS);
        ec__fence_async();
    }
    __syncthreads();
    if (threadIdx.x < GROUP_THREADS) {
        ec__fewer_registers<HELPER_REGISTERS>();
        if (threadIdx.x < EC_WARP) copy<ROW_SHIFT>(p, shared);
    } else {
        ec__more_registers<PRODUCT_REGISTERS>();
        weigh<ROW_SHIFT>(p, shared);
    }
}

template <bool ROW_SHIFT> ec_status launch(ec_stream *stream, const arguments &p) {
    constexpr int BYTES = sizeof(shared_memory) + ALIGN;
    const int tiles[2] = {(p.piece.count[0] + TILE - 1) / TILE, (p.piece.count[1] + TILE - 1) / TILE};
    EC_RETURN_IF(EC_SHARED_BYTES((hopper_piece_kernel<ROW_SHIFT>), BYTES));
    return EC_LAUNCH((hopper_piece_kernel<ROW_SHIFT>),
                     dim3((unsigned)((tiles[1] + p.strip - 1) / p.strip), (unsigned)tiles[0]), THREADS, BYTES, stream,
                     p);
}

} // namespace

ec_status ec__supcon_hopper_weigh(ec_stream *stream, int32_t blocks, const ec_supcon_cuda *plan,
                                  const ec_supcon_problem *problem, const ec_supcon_piece *piece, const float *weight,
                                  const float *shift) {
    const int64_t G = plan->global_rows,
                  tiles[2] = {(piece->count[0] + TILE - 1) / TILE, (piece->count[1] + TILE - 1) / TILE};
    const int64_t towards[2] = {ec__supcon_direction(piece->a, piece->b) * G,
                                ec__supcon_direction(piece->b, piece->a) * G};
    const bool own_shift = problem->row_shift;
    const ec_supcon_copies *from[2] = {ec__supcon_piece_copies(plan, piece, 0), ec__supcon_piece_copies(plan, piece, 1)};
    const arguments p = {{ec__supcon_cuda_row0(plan, from[0], from[0]->panels[piece->a]),
                          ec__supcon_cuda_row0(plan, from[1], from[1]->panels[piece->b])},
                         (int32_t)(plan->pitch / ROW_BYTES),
                         plan->global_rows,
                         plan->first,
                         plan->rows,
                         *piece,
                         (int32_t)((tiles[0] * tiles[1] + blocks - 1) / blocks),
                         problem->scale,
                         problem->shared_shift,
                         {weight + towards[0], weight + towards[1]},
                         {own_shift ? shift + towards[0] : NULL, own_shift ? shift + towards[1] : NULL},
                         (char *)plan->piece,
                         (int64_t)plan->edge * 2};
    return own_shift ? launch<true>(stream, p) : launch<false>(stream, p);
}
