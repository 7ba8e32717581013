/* Sums of powers over the rows and the columns of one block of the matrix. A grid block of threads takes a strip of
 * rows against a strip of columns, tile by tile; a tile serves its rows and its columns where this rank owns them. Sums
 * of a tile are float32, everything above it is double; then each row's sums over strips are put together in their
 * order. Tiles and strips begin at fixed rows of the global batch, so nothing depends on who owns which of them.
 *
 * In a stream a grid block takes a tile of own rows against the block of columns that is there, or the block's rows
 * against a tile of own columns; a row's terms are put together in the same parts and order. */
#include "compute/cuda/supcon_sums.cuh"
#include "compute/cuda/supcon_tile.cuh"

namespace {

constexpr int STAGES = 2, NT = 8;
constexpr int RESIDENT_BYTES = 2 * PANEL_BYTES; /* rows up to this wide stay in shared memory for a strip of columns */
constexpr int ROW_SETS = 4;                     /* rows that a thread has values of; columns are COLUMNS */
static_assert(COLUMNS == 2 * NT);

struct sums_arguments {
    const char *z[2]; /* copies: rows of the matrix, its columns, from where row 0 would be */
    int64_t pitch;
    int32_t panels, global_rows, strip, first, rows;
    ec_supcon_range range;
    bool same; /* rows and columns are of one modality: only columns from a row's own tile on are visited */
    bool resident;
    float scale, shift;
    sums_place to[2]; /* of rows, of columns */
};

__device__ __forceinline__ bool is_owned(const sums_arguments &p, int begin, int end) {
    return begin < p.first + p.rows && p.first < end;
}

__device__ __forceinline__ int first_column_of_g(const place &p) { return tile_column<NT>(p, eight_of_g(p.g), 0); }

struct shared_memory {
    float sum[4][TILE], shift[4][TILE]; /* of columns, by the warps' row */
    double row_sum[2][TILE];            /* by the warps' column */
    float row_shift[2][TILE];
};

/* A thread's sums of its rows over all tiles of a strip. */
struct row_sums {
    double sum[ROW_SETS];
    float shift[ROW_SETS];

    __device__ __forceinline__ void begin() {
#pragma unroll
        for (int r = 0; r < ROW_SETS; r++) {
            sum[r] = 0;
            shift[r] = EC_SUPCON_CUDA_NO_SCORE;
        }
    }
};

/* One shift for all. It is not used with scales that could make infinity of EC_SUPCON_CUDA_NO_SCORE. */
__device__ __forceinline__ void sum_shared(const sums_arguments &p, const place &at, const tile_edge &edge,
                                           tile_sums<NT> &y, row_sums &rows, bool for_columns, shared_memory *shared) {
    float column[COLUMNS];
    exclude(at, edge, y);
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) column[c] = 0;
#pragma unroll
    for (int r = 0; r < ROW_SETS; r++) {
        float total = 0;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            const int i = r % 2 * 2 + c % 2;
            const float e = ec__exp2(fmaf(y.at[r / 2][c / 2][i], p.scale, -p.shift));
            total += e;
            column[c] += e;
        }
        rows.sum[r] += (double)total;
    }
    if (!for_columns) return;
    add_over_g(column, at.g);
    for (int c = 0; c < 2; c++) shared->sum[at.warp_row][first_column_of_g(at) + c] = column[c];
}

__device__ __forceinline__ void sum_rows_shifted(const tile_sums<NT> &y, row_sums &rows) {
#pragma unroll
    for (int r = 0; r < ROW_SETS; r++) {
        float top = rows.shift[r], total = 0;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) top = fmaxf(top, y.at[r / 2][c / 2][r % 2 * 2 + c % 2]);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) total += ec__exp2(y.at[r / 2][c / 2][r % 2 * 2 + c % 2] - top);
        rows.sum[r] = rows.sum[r] * (double)ec__exp2(rows.shift[r] - top) + (double)total;
        rows.shift[r] = top;
    }
}

__device__ __forceinline__ void sum_columns_shifted(const place &at, const tile_sums<NT> &y, shared_memory *shared) {
    float column[COLUMNS], top[COLUMNS];
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        const int i = c % 2;
        top[c] =
            fmaxf(fmaxf(y.at[0][c / 2][i], y.at[0][c / 2][i + 2]), fmaxf(y.at[1][c / 2][i], y.at[1][c / 2][i + 2]));
#pragma unroll
        for (int bit = 4; bit < EC_WARP; bit *= 2) top[c] = fmaxf(top[c], __shfl_xor_sync(0xffffffffu, top[c], bit));
        column[c] = 0;
#pragma unroll
        for (int r = 0; r < ROW_SETS; r++) column[c] += ec__exp2(y.at[r / 2][c / 2][r % 2 * 2 + i] - top[c]);
    }
    add_over_g(column, at.g);
    pick_of_g(top, at.g);
    for (int c = 0; c < 2; c++) {
        shared->sum[at.warp_row][first_column_of_g(at) + c] = column[c];
        shared->shift[at.warp_row][first_column_of_g(at) + c] = top[c];
    }
}

/* A shift for every row and column: scores become y. */
__device__ __forceinline__ void sum_shifted(const sums_arguments &p, const place &at, const tile_edge &edge,
                                            tile_sums<NT> &y, row_sums &rows, bool for_rows, bool for_columns,
                                            shared_memory *shared) {
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) y.at[m][n][i] *= p.scale;
    exclude(at, edge, y);
    if (for_rows) sum_rows_shifted(y, rows);
    if (for_columns) sum_columns_shifted(at, y, shared);
}

/* Adds what the warps left in shared memory to the sums of own columns over the strip of this row of tiles. */
template <bool ROW_SHIFT>
__device__ __forceinline__ void keep_columns(const sums_arguments &p, int row, int column,
                                             const shared_memory *shared) {
    const int c = (int)threadIdx.x, own = column + c - p.first;
    if (c >= TILE || own < 0 || own >= p.rows || column + c >= p.global_rows) return;
    shifted total;
    if (!ROW_SHIFT) {
        total.sum = (double)((shared->sum[0][c] + shared->sum[1][c]) + (shared->sum[2][c] + shared->sum[3][c]));
    } else {
        total = {(double)shared->sum[0][c], shared->shift[0][c]};
        for (int w = 1; w < 4; w++) total = merged(total, {(double)shared->sum[w][c], shared->shift[w][c]});
    }
    keep_sum<ROW_SHIFT>(p.to[1], row / p.strip, p.rows, own, row % p.strip == 0, total);
}

/* The sums of own rows over columns from begin on, which lie in one strip. */
template <bool ROW_SHIFT>
__device__ __forceinline__ void keep_rows(const sums_arguments &p, const place &at, int row, int begin,
                                          const row_sums &rows, shared_memory *shared) {
#pragma unroll
    for (int r = 0; r < ROW_SETS; r++) {
        shifted total = {rows.sum[r], rows.shift[r]};
#pragma unroll
        for (int bit = 1; bit < 4; bit *= 2) {
            const double sum = __shfl_xor_sync(0xffffffffu, total.sum, bit);
            if (!ROW_SHIFT) {
                total.sum += sum;
                continue;
            }
            const float shift = __shfl_xor_sync(0xffffffffu, total.shift, bit);
            total = merged(total, {sum, shift});
        }
        if (at.t != 0) continue;
        shared->row_sum[at.warp_column][tile_row(at, r / 2, r % 2 * 2)] = total.sum;
        shared->row_shift[at.warp_column][tile_row(at, r / 2, r % 2 * 2)] = total.shift;
    }
    __syncthreads();
    const int r = (int)threadIdx.x, own = row + r - p.first;
    if (r >= TILE || own < 0 || own >= p.rows || row + r >= p.global_rows) return;
    shifted total;
    if (!ROW_SHIFT)
        total.sum = shared->row_sum[0][r] + shared->row_sum[1][r];
    else
        total = merged({shared->row_sum[0][r], shared->row_shift[0][r]},
                       {shared->row_sum[1][r], shared->row_shift[1][r]});
    keep_sum<ROW_SHIFT>(p.to[0], begin / p.strip, p.rows, own, begins_strip(begin, row, p.same, p.strip), total);
}

/* One row of tiles: columns [begin, end), begin a multiple of a tile. */
template <class M, bool ROW_SHIFT>
__device__ __forceinline__ void sum_tiles(const sums_arguments &p, int row, int begin, int end, bool for_rows,
                                          char *stages, char *resident, shared_memory *shared) {
    const place at = here<TILE>();
    const int panels = p.panels, tiles = (end - begin + TILE - 1) / TILE;
    const char *rows_from = p.z[0] + row * p.pitch;
    row_sums rows;
    tile_sums<NT> y;
    rows.begin();
    if (p.resident)
        for (int k = 0; k < panels; k++)
            load_panel<TILE>(resident + k * PANEL_BYTES, rows_from + k * ROW_BYTES, p.pitch);
    const auto load = [&](int step, int stage) {
        const int tile = step / panels, k = step - tile * panels;
        char *to = stages + stage * (p.resident ? PANEL_BYTES : 2 * PANEL_BYTES);
        load_panel<TILE>(to, p.z[1] + (begin + tile * TILE) * p.pitch + k * ROW_BYTES, p.pitch);
        if (!p.resident) load_panel<TILE>(to + PANEL_BYTES, rows_from + k * ROW_BYTES, p.pitch);
    };
    int k = 0, column = begin;
    const auto compute = [&](int, int stage) {
        const char *columns = stages + stage * (p.resident ? PANEL_BYTES : 2 * PANEL_BYTES);
        if (k == 0) y.zero();
        add_scores<M>(at, p.resident ? resident + k * PANEL_BYTES : columns + PANEL_BYTES, columns, y);
        if (++k < panels) return;
        const bool diagonal = p.same && row == column;
        const bool for_columns = p.range.side[1] && !diagonal && is_owned(p, column, column + TILE);
        const tile_edge edge = {TILE, p.global_rows - row, p.global_rows - column, diagonal ? 0 : NO_DIAGONAL};
        if (ROW_SHIFT)
            sum_shifted(p, at, edge, y, rows, for_rows, for_columns, shared);
        else
            sum_shared(p, at, edge, y, rows, for_columns, shared);
        if (for_columns) {
            __syncthreads();
            keep_columns<ROW_SHIFT>(p, row, column, shared);
        }
        if (for_rows && column + TILE >= min(end, part_end(column, p.strip))) {
            keep_rows<ROW_SHIFT>(p, at, row, max(begin, part_begin(column, p.strip)), rows, shared);
            rows.begin();
        }
        k = 0;
        column += TILE;
    };
    pipeline<STAGES>(tiles * panels, load, compute);
}

template <class M, bool ROW_SHIFT>
__global__ void __launch_bounds__(THREADS, M::BLOCKS)
    sums_kernel(const __grid_constant__ sums_arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    __shared__ shared_memory shared;
    const int row_begin = p.range.begin[0] + (int)blockIdx.y * p.range.step[0];
    const int row_end = min(p.range.end[0], row_begin + p.range.step[0]);
    const int column_begin = p.range.begin[1] + (int)blockIdx.x * p.range.step[1];
    const int column_end = min(p.range.end[1], column_begin + p.range.step[1]);
    const bool any_columns = p.range.side[1] && is_owned(p, column_begin, column_end);
    for (int row = row_begin; row < row_end; row += TILE) {
        const bool for_rows = p.range.side[0] && is_owned(p, row, row + TILE);
        int begin = p.same ? max(row, column_begin) : column_begin, end = column_end;
        if (!for_rows) { /* then only tiles with own columns are of use */
            if (!any_columns) continue;
            begin = max(begin, p.first / TILE * TILE);
            end = min(end, p.first + p.rows);
        }
        if (begin < end)
            sum_tiles<M, ROW_SHIFT>(p, row, begin, end, for_rows, memory, memory + STAGES * PANEL_BYTES, &shared);
    }
}

/* Puts the sums over strips together. side 0: rows of the block of the matrix, which lie in strip_sum[0]; side 1: its
 * columns; a modality with itself uses both, its rows' tiles being visited from one side or the other. */
struct merge_arguments {
    const double *sum[2];
    const float *shift[2];
    int32_t strips, strip, first, rows, side;
    bool same;
    double *out;
    float *out_shift; /* NULL: one shift for all */
};

__global__ void merge_kernel(const __grid_constant__ merge_arguments p) {
    const int own = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (own >= p.rows) return;
    const int row = p.first + own, home = row / p.strip;
    const bool has_tiles_above = row % p.strip >= TILE;
    shifted total = {0, EC_SUPCON_CUDA_NO_SCORE};
    for (int s = 0; s < p.strips; s++)
        for (int side = 0; side < 2; side++) {
            const bool from_columns = p.same && (s < home || (s == home && has_tiles_above));
            const bool from_rows = p.same && s >= home;
            const bool counts = p.same ? (side == 0 ? from_columns : from_rows) : side == 0;
            if (!counts) continue;
            const int array = p.same ? 1 - side : p.side;
            const int64_t at = (int64_t)s * p.rows + own;
            if (p.out_shift)
                total = merged(total, {p.sum[array][at], p.shift[array][at]});
            else
                total.sum += p.sum[array][at];
        }
    p.out[own] = total.sum;
    if (p.out_shift) p.out_shift[own] = total.shift;
}

/* A stream's sums: over its last strip, and over all others. */
struct end_arguments {
    sums_place from;
    int32_t rows;
    double *out;
    float *out_shift;
};

__global__ void end_kernel(const __grid_constant__ end_arguments p) {
    const int own = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (own >= p.rows) return;
    if (!p.out_shift) {
        p.out[own] = p.from.total[own] + p.from.sum[own];
        return;
    }
    const shifted total = merged({p.from.total[own], p.from.total_shift[own]}, {p.from.sum[own], p.from.shift[own]});
    p.out[own] = total.sum;
    p.out_shift[own] = total.shift;
}

__global__ void begin_kernel(sums_place to, int32_t count) {
    const int at = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= count) return;
    to.sum[at] = to.total[at] = 0;
    to.shift[at] = to.total_shift[at] = EC_SUPCON_CUDA_NO_SCORE;
}

dim3 grid_of(const ec_supcon_range &range) {
    const auto count = [&](int side) {
        return (unsigned)((range.end[side] - range.begin[side] + range.step[side] - 1) / range.step[side]);
    };
    return dim3(count(1), count(0));
}

template <class M, bool ROW_SHIFT> ec_status launch_sums(ec_stream *stream, const sums_arguments &p) {
    const size_t bytes =
        (p.resident ? STAGES * (size_t)PANEL_BYTES + RESIDENT_BYTES : STAGES * 2 * (size_t)PANEL_BYTES);
    EC_RETURN_IF(EC_SHARED_BYTES((sums_kernel<M, ROW_SHIFT>), bytes));
    return EC_LAUNCH((sums_kernel<M, ROW_SHIFT>), grid_of(p.range), THREADS, bytes, stream, p);
}

template <class M> ec_status launch_math(ec_stream *stream, sums_arguments p, bool row_shift) {
    p.resident = p.panels * PANEL_BYTES <= RESIDENT_BYTES;
    return row_shift ? launch_sums<M, true>(stream, p) : launch_sums<M, false>(stream, p);
}

ec_status merge(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem, int32_t side,
                bool same, int32_t direction, const ec_supcon_rows *own) {
    const int64_t to = (int64_t)direction * plan->rows;
    const merge_arguments p = {{plan->strip_sum[0], plan->strip_sum[1]},
                               {plan->strip_shift[0], plan->strip_shift[1]},
                               plan->strips,
                               plan->strip,
                               plan->first,
                               plan->rows,
                               side,
                               same,
                               own->sum + to,
                               problem->row_shift ? own->shift + to : NULL};
    return EC_LAUNCH(merge_kernel, (unsigned)(plan->rows + 127) / 128, 128, 0, stream, p);
}

ec_status strip_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem, int32_t a,
                     int32_t b, const ec_supcon_range *range) {
    if (plan->own.panels[0]) return ec__supcon_hopper_strip_sums(stream, plan, problem, a, b, range);
    const ec_supcon_copies *rows = range->side[0] ? &plan->own : &plan->other;
    const ec_supcon_copies *columns = range->side[1] ? &plan->own : &plan->other;
    const sums_arguments p = {{ec__supcon_cuda_row0(plan, rows, rows->rows[a]),
                               ec__supcon_cuda_row0(plan, columns, columns->rows[b])},
                              plan->pitch,
                              (int32_t)(plan->pitch / ROW_BYTES),
                              plan->global_rows,
                              plan->strip,
                              plan->first,
                              plan->rows,
                              *range,
                              a == b,
                              false,
                              problem->scale,
                              problem->shared_shift,
                              {sums_place_of(plan, 0, ec__supcon_direction(a, b)),
                               sums_place_of(plan, 1, ec__supcon_direction(b, a))}};
    switch (plan->math) {
        case EC_MATH_BF16: return launch_math<bf16_math>(stream, p, problem->row_shift);
        case EC_MATH_TF32: return launch_math<tf32_math>(stream, p, problem->row_shift);
        default: return launch_math<float32_math>(stream, p, problem->row_shift);
    }
}

} // namespace

ec_status ec__supcon_cuda_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                               int32_t a, int32_t b, const ec_supcon_rows *own) {
    const ec_supcon_range all = {
        {0, 0}, {plan->global_rows, plan->global_rows}, {plan->strip, plan->strip}, {true, true}};
    EC_RETURN_IF(strip_sums(stream, plan, problem, a, b, &all));
    EC_RETURN_IF(merge(stream, plan, problem, 0, a == b, ec__supcon_direction(a, b), own));
    return a == b ? EC_OK : merge(stream, plan, problem, 1, false, ec__supcon_direction(b, a), own);
}

ec_status ec__supcon_cuda_sums_begin(ec_stream *stream, const ec_supcon_cuda *plan) {
    const int32_t count = EC_SUPCON_DIRECTIONS * plan->rows;
    return EC_LAUNCH(begin_kernel, (unsigned)(count + 127) / 128, 128, 0, stream, sums_place_of(plan, 0, 0), count);
}

/* Own rows of modality m towards the rows of a block: where these come first in the matrix, own ones are its columns.
 * Of a modality with itself only tiles from the diagonal on are made, and those above an own row come before those
 * behind it. */
ec_status ec__supcon_cuda_sums_add(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   const ec_supcon_block *block, int32_t m) {
    enum { MANY = 1 << 16 }; /* own rows: from here on two tiles of them a block are enough blocks for a device */
    const int32_t b = block->modality, end = block->begin + block->rows, own_end = plan->first + plan->rows;
    const int32_t own_begin = plan->own.begin, tiles = plan->rows < MANY ? TILE : 2 * TILE;
    const ec_supcon_range columns = {
        {block->begin, own_begin}, {end, own_end}, {plan->block, TILE}, {false, true}};
    const ec_supcon_range rows = {{own_begin, block->begin}, {own_end, end}, {tiles, plan->block}, {true, false}};
    if (b < m || (b == m && block->begin < own_end))
        EC_RETURN_IF(strip_sums(stream, plan, problem, b, m, &columns));
    if (m < b || (b == m && end > own_begin)) EC_RETURN_IF(strip_sums(stream, plan, problem, m, b, &rows));
    return EC_OK;
}

ec_status ec__supcon_cuda_sums_end(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                   const ec_supcon_rows *own) {
    for (int32_t d = 0; d < EC_SUPCON_DIRECTIONS; d++) {
        if (!(d < 2 ? problem->intra[d] : problem->cross)) continue;
        const int64_t at = (int64_t)d * plan->rows;
        const end_arguments p = {sums_place_of(plan, 0, d), plan->rows, own->sum + at,
                                 problem->row_shift ? own->shift + at : NULL};
        EC_RETURN_IF(EC_LAUNCH(end_kernel, (unsigned)(plan->rows + 127) / 128, 128, 0, stream, p));
    }
    return EC_OK;
}
