/* Sums of powers on compute capability 9.0, as supcon_sums.cu makes them: a block takes a strip of rows against a strip
 * of columns. Here it takes two tiles of rows at a time, so that a tile of columns is fetched half as often; a
 * warpgroup has 64 rows of either. Sums of a tile's columns go to two warps of the helpers, which put those of all
 * warps together, in their order, and add them in double to what earlier rows left: no warpgroup waits for the
 * other. */
#include "compute/cuda/supcon_hopper.cuh"
#include "compute/cuda/supcon_sums.cuh"

namespace {

constexpr int GROUPS = 2, THREADS = (1 + GROUPS) * GROUP_THREADS, WARPS = GROUPS * GROUP_WARPS;
constexpr int NARROW_PANELS = 2; /* rows up to this wide stay in shared memory for a strip of columns */
constexpr int PARTS = 2;         /* tiles whose column sums are under way */
constexpr int ADDING_WARPS = 2, ADDING_THREADS = ADDING_WARPS * EC_WARP;

struct arguments {
    const char *z[2]; /* panels: rows of the matrix, its columns, from where row 0 would be */
    int32_t panels, global_rows, strip, first, rows;
    ec_supcon_range range;
    bool same; /* rows and columns are of one modality: only tiles from the diagonal on are visited */
    float scale, shift;
    sums_place to[2]; /* of rows, of columns */
};

/* A stage is a panel of columns, and where rows do not stay, one of each of their two tiles. */
template <bool NARROW> struct shape {
    static constexpr int STAGES = NARROW ? 8 : 4;
    static constexpr int STAGE_BYTES = (NARROW ? 1 : 3) * PANEL_BYTES;
    static constexpr int ROWS_BYTES = NARROW ? NARROW_PANELS * PANEL_BYTES : ALIGN; /* of a tile */
};

/* Sums over the rows of a warp. */
struct column_parts {
    float sum[WARPS][TILE], shift[WARPS][TILE];
};

/* Each thread's sums of its rows over a strip of columns: rows 2 h and 2 h + 1 are those of tile h. Here, because they
 * are wanted once a tile, and registers are short. */
struct row_sums {
    double sum[4][GROUPS * GROUP_THREADS];
    float shift[4][GROUPS * GROUP_THREADS];
};

__device__ __forceinline__ int own_slot() { return (int)threadIdx.x - GROUP_THREADS; }

template <bool NARROW> struct shared_memory {
    char stage[shape<NARROW>::STAGES][shape<NARROW>::STAGE_BYTES];
    char rows[2][shape<NARROW>::ROWS_BYTES];
    column_parts parts[PARTS];
    row_sums sums;
    ring_of<shape<NARROW>::STAGES> stages;
    ring_of<1> rows_ring;
    ring_of<PARTS> parts_ring;
};

/* One or two tiles of rows, from row on, against columns begin .. end - 1. */
struct row_pair {
    int row, tiles, begin, end;
    bool for_rows;
};

__device__ __forceinline__ bool is_owned(const arguments &p, int begin, int end) {
    return begin < p.first + p.rows && p.first < end;
}

/* Are the sums of a tile's columns over these rows of use? On the diagonal and below it they are those of rows. */
__device__ __forceinline__ bool is_for_columns(const arguments &p, const row_pair &pair, int column) {
    return p.range.side[1] && is_owned(p, column, column + TILE) && !(p.same && column <= pair.row);
}

template <class F> __device__ __forceinline__ void for_each_pair(const arguments &p, const F &f) {
    const int row_begin = p.range.begin[0] + (int)blockIdx.y * p.range.step[0];
    const int row_end = min(p.range.end[0], row_begin + p.range.step[0]);
    const int column_begin = p.range.begin[1] + (int)blockIdx.x * p.range.step[1];
    const int column_end = min(p.range.end[1], column_begin + p.range.step[1]);
    for (int row = row_begin, tiles; row < row_end; row += tiles * TILE) {
        tiles = row + TILE < min(row_end, (row / p.strip + 1) * p.strip) ? 2 : 1; /* of one strip */
        row_pair pair = {row, tiles, p.same ? max(row, column_begin) : column_begin, column_end,
                         p.range.side[0] && is_owned(p, row, row + tiles * TILE)};
        if (!pair.for_rows) { /* then only tiles with own columns are of use */
            if (!p.range.side[1]) continue;
            pair.begin = max(pair.begin, p.first / TILE * TILE);
            pair.end = min(pair.end, p.first + p.rows);
        }
        if (pair.begin < pair.end) f(pair);
    }
}

/* The copying thread. */
template <bool NARROW> __device__ __forceinline__ void copy(const arguments &p, shared_memory<NARROW> *shared) {
    const int64_t tile_bytes = (int64_t)p.panels * PANEL_BYTES;
    turn<shape<NARROW>::STAGES> stage = {0};
    turn<1> rows = {0};
    for_each_pair(p, [&](const row_pair &pair) {
        const char *row_from = p.z[0] + pair.row / TILE * tile_bytes;
        if (NARROW) {
            shared->rows_ring.wait_empty(rows);
            ec__arrival_expect(&shared->rows_ring.full[0], (uint32_t)(pair.tiles * tile_bytes));
            for (int h = 0; h < pair.tiles; h++)
                ec__bulk_copy(shared->rows[h], row_from + h * tile_bytes, (uint32_t)tile_bytes,
                              &shared->rows_ring.full[0]);
            ec__arrive(&shared->rows_ring.full[0]);
            rows.count++;
        }
        for (int column = pair.begin; column < pair.end; column += TILE)
            for (int k = 0; k < p.panels; k++, stage.count++) {
                uint64_t *full = &shared->stages.full[stage.slot()];
                char *to = shared->stage[stage.slot()];
                shared->stages.wait_empty(stage);
                ec__arrival_expect(full, (uint32_t)((NARROW ? 1 : 1 + pair.tiles) * PANEL_BYTES));
                ec__bulk_copy(to, p.z[1] + column / TILE * tile_bytes + k * PANEL_BYTES, PANEL_BYTES, full);
                if (!NARROW)
                    for (int h = 0; h < pair.tiles; h++)
                        ec__bulk_copy(to + (1 + h) * PANEL_BYTES, row_from + h * tile_bytes + k * PANEL_BYTES,
                                      PANEL_BYTES, full);
                ec__arrive(full);
            }
    });
}

/* The adding warps: sums of own columns over strips of rows. */
template <bool NARROW, bool ROW_SHIFT>
__device__ __forceinline__ void add_columns(const arguments &p, shared_memory<NARROW> *shared) {
    const int thread = (int)threadIdx.x - EC_WARP;
    turn<PARTS> part = {0};
    for_each_pair(p, [&](const row_pair &pair) {
        for (int column = pair.begin; column < pair.end; column += TILE) {
            if (!is_for_columns(p, pair, column)) continue;
            const column_parts &parts = shared->parts[part.slot()];
            shared->parts_ring.wait_full(part);
            for (int c = thread; c < TILE; c += ADDING_THREADS) {
                const int own = column + c - p.first;
                if (own < 0 || own >= p.rows || column + c >= p.global_rows) continue;
                shifted total;
                if (!ROW_SHIFT) {
                    float sum = parts.sum[0][c];
                    for (int w = 1; w < WARPS; w++) sum += parts.sum[w][c];
                    total.sum = (double)sum;
                } else {
                    total = {(double)parts.sum[0][c], parts.shift[0][c]};
                    for (int w = 1; w < WARPS; w++) total = merged(total, {(double)parts.sum[w][c], parts.shift[w][c]});
                }
                keep_sum<ROW_SHIFT>(p.to[1], pair.row / p.strip, p.rows, own, pair.row % p.strip == 0, total);
            }
            warp_arrives(&shared->parts_ring.empty[part.slot()]);
            part.count++;
        }
    });
}

/* Where a tile lies towards the diagonal: its values count for rows unless it is below, for columns where it is
 * above. */
enum side { BELOW, ON, ABOVE };

__device__ __forceinline__ side side_of(const arguments &p, int row, int column) {
    return !p.same || column > row ? ABOVE : column == row ? ON : BELOW;
}

/* Values that do not count: past the last row of Z, and rows with themselves. row: the warpgroup's first. */
__device__ __forceinline__ void exclude(const arguments &p, const place &at, int row, int column, side lies,
                                        float (&y)[WIDE]) {
    const int rows = p.global_rows - row, columns = p.global_rows - column;
    if (rows >= GROUP_ROWS && columns >= TILE && lies != ON) return;
#pragma unroll
    for (int r = 0; r < 2; r++) { /* columns from here on, counted from the thread's first */
        const int of_group = value_row(at, 2 * r), limit = (of_group < rows ? columns : 0) - value_column(at, 0, 0);
        const int self = lies == ON ? row + of_group - column - value_column(at, 0, 0) : -1;
#pragma unroll
        for (int i = 0; i < WIDE / 2; i++)
            if (i / 2 * 8 + i % 2 >= limit || i / 2 * 8 + i % 2 == self)
                y[i / 2 * 4 + 2 * r + i % 2] = EC_SUPCON_CUDA_NO_SCORE;
    }
}

/* Value of row r of the two and column c of 16, those from part q of the tile on. */
__device__ __forceinline__ constexpr int value_at(int q, int r, int c) { return 4 * (8 * q + c / 2) + 2 * r + c % 2; }

__device__ __forceinline__ void store_columns(const place &at, int q, const float column[COLUMNS],
                                              float (&to)[WARPS][TILE]) {
    const int c = value_column(at, 8 * q + eight_of_g(at.g), 0);
    *(float2 *)&to[at.warp][c] = make_float2(column[0], column[1]);
}

/* One shift for all. */
template <int TILES>
__device__ __forceinline__ void sum_shared(const arguments &p, const place &at, const side (&lies)[TILES],
                                           const float (&y)[TILES][WIDE], row_sums &rows, column_parts *parts) {
    float total[2 * TILES] = {};
#pragma unroll
    for (int q = 0; q < TILE / 8 / 8; q++) {
        float column[COLUMNS] = {};
#pragma unroll
        for (int h = 0; h < TILES; h++) {
            if (lies[h] == BELOW) continue;
            const float counts = lies[h] == ABOVE ? 1.f : 0.f;
#pragma unroll
            for (int r = 0; r < 2; r++)
#pragma unroll
                for (int c = 0; c < COLUMNS; c++) {
                    const float e = ec__exp2(fmaf(y[h][value_at(q, r, c)], p.scale, -p.shift));
                    total[2 * h + r] += e;
                    column[c] = fmaf(e, counts, column[c]);
                }
        }
        if (!parts) continue;
        add_over_g(column, at.g);
        store_columns(at, q, column, parts->sum);
    }
#pragma unroll
    for (int r = 0; r < 2 * TILES; r++) rows.sum[r][own_slot()] += (double)total[r];
}

/* A shift for every row and column; y has scores times scale. */
template <int TILES>
__device__ __forceinline__ void sum_rows_shifted(const side (&lies)[TILES], const float (&y)[TILES][WIDE],
                                                 row_sums &rows) {
#pragma unroll
    for (int r = 0; r < 2 * TILES; r++) {
        if (lies[r / 2] == BELOW) continue;
        const float before = rows.shift[r][own_slot()];
        float top = before, total = 0;
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
            top = fmaxf(top, fmaxf(y[r / 2][4 * n + r % 2 * 2], y[r / 2][4 * n + r % 2 * 2 + 1]));
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
            total += ec__exp2(y[r / 2][4 * n + r % 2 * 2] - top) + ec__exp2(y[r / 2][4 * n + r % 2 * 2 + 1] - top);
        rows.sum[r][own_slot()] = rows.sum[r][own_slot()] * (double)ec__exp2(before - top) + (double)total;
        rows.shift[r][own_slot()] = top;
    }
}

template <int TILES>
__device__ __forceinline__ void sum_columns_shifted(const place &at, const side (&lies)[TILES],
                                                    const float (&y)[TILES][WIDE], column_parts *parts) {
#pragma unroll
    for (int q = 0; q < TILE / 8 / 8; q++) {
        float column[COLUMNS] = {}, top[COLUMNS];
#pragma unroll
        for (int c = 0; c < COLUMNS; c++) {
            top[c] = EC_SUPCON_CUDA_NO_SCORE;
#pragma unroll
            for (int h = 0; h < TILES; h++)
                if (lies[h] == ABOVE) top[c] = fmaxf(top[c], fmaxf(y[h][value_at(q, 0, c)], y[h][value_at(q, 1, c)]));
#pragma unroll
            for (int bit = 4; bit < EC_WARP; bit *= 2)
                top[c] = fmaxf(top[c], __shfl_xor_sync(0xffffffffu, top[c], bit));
#pragma unroll
            for (int h = 0; h < TILES; h++)
                if (lies[h] == ABOVE)
                    column[c] +=
                        ec__exp2(y[h][value_at(q, 0, c)] - top[c]) + ec__exp2(y[h][value_at(q, 1, c)] - top[c]);
        }
        add_over_g(column, at.g);
        pick_of_g(top, at.g);
        store_columns(at, q, column, parts->sum);
        store_columns(at, q, top, parts->shift);
    }
}

/* The sums of own rows over columns from begin on, which lie in one strip: four lanes have parts of a row. */
template <bool ROW_SHIFT, int TILES>
__device__ __forceinline__ void keep_rows(const arguments &p, const place &at, int row, int begin,
                                          const row_sums &rows) {
#pragma unroll 1
    for (int r = 0; r < 2 * TILES; r++) {
        shifted total = {rows.sum[r][own_slot()], rows.shift[r][own_slot()]};
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
        const int of_all = row + r / 2 * TILE + at.group * GROUP_ROWS + value_row(at, r % 2 * 2),
                  own = of_all - p.first;
        if (at.t != 0 || own < 0 || own >= p.rows || of_all >= p.global_rows) continue;
        keep_sum<ROW_SHIFT>(p.to[0], begin / p.strip, p.rows, own, begins_strip(begin, row, p.same, p.strip), total);
    }
}

__device__ __forceinline__ void begin_rows(row_sums &rows, int count) {
    for (int r = 0; r < count; r++) {
        rows.sum[r][own_slot()] = 0;
        rows.shift[r][own_slot()] = EC_SUPCON_CUDA_NO_SCORE;
    }
}

/* Scores of a tile of columns, panel by panel. A stage is given back when the products after it are under way. */
template <bool NARROW, int TILES>
__device__ __forceinline__ void score(const arguments &p, const place &at, turn<shape<NARROW>::STAGES> *stage,
                                      shared_memory<NARROW> *shared, float (&y)[TILES][WIDE]) {
    for (int k = 0; k < p.panels; k++) {
        const char *columns = shared->stage[stage->slot()];
        shared->stages.wait_full(*stage);
        ec__wgmma_fence();
#pragma unroll
        for (int h = 0; h < TILES; h++) {
            const char *rows = NARROW ? shared->rows[h] + k * PANEL_BYTES : columns + (1 + h) * PANEL_BYTES;
            enqueue_scores(y[h], rows + at.group * GROUP_BYTES, columns, k == 0);
        }
        ec__wgmma_commit();
        if (k > 0) {
            ec__wgmma_wait<1>();
            warp_arrives(&shared->stages.empty[stage->slot_before()]);
        }
        stage->count++;
    }
    ec__wgmma_wait<0>();
    warp_arrives(&shared->stages.empty[stage->slot_before()]);
#pragma unroll
    for (int h = 0; h < TILES; h++) ec__wgmma_hold(y[h]);
}

template <bool NARROW, bool ROW_SHIFT, int TILES>
__device__ __forceinline__ void sum_pair(const arguments &p, const row_pair &pair,
                                         turn<shape<NARROW>::STAGES> *stage, turn<PARTS> *part,
                                         shared_memory<NARROW> *shared) {
    float y[TILES][WIDE];
    row_sums &rows = shared->sums;
    begin_rows(rows, 2 * TILES);
    for (int column = pair.begin; column < pair.end; column += TILE) {
        const bool for_columns = is_for_columns(p, pair, column);
        side lies[TILES];
        score<NARROW>(p, here(), stage, shared, y);
        const place at = here(); /* asked for anew: the products leave few registers to keep it in */
#pragma unroll
        for (int h = 0; h < TILES; h++) {
            const int row = pair.row + h * TILE;
            lies[h] = side_of(p, row, column);
            if (ROW_SHIFT) {
#pragma unroll
                for (int i = 0; i < WIDE; i++) y[h][i] *= p.scale;
            }
            exclude(p, at, row + at.group * GROUP_ROWS, column, lies[h], y[h]);
        }
        if (for_columns) shared->parts_ring.wait_empty(*part);
        column_parts *parts = for_columns ? &shared->parts[part->slot()] : NULL;
        if (ROW_SHIFT) {
            sum_rows_shifted(lies, y, rows);
            if (for_columns) sum_columns_shifted(at, lies, y, parts);
        } else {
            sum_shared(p, at, lies, y, rows, parts);
        }
        if (for_columns) {
            warp_arrives(&shared->parts_ring.full[part->slot()]);
            part->count++;
        }
        if (!pair.for_rows || column + TILE < min(pair.end, part_end(column, p.strip))) continue;
        keep_rows<ROW_SHIFT, TILES>(p, here(), pair.row, max(pair.begin, part_begin(column, p.strip)), rows);
        begin_rows(rows, 2 * TILES);
    }
}

/* A multiplying warpgroup. */
template <bool NARROW, bool ROW_SHIFT>
__device__ __forceinline__ void sum(const arguments &p, shared_memory<NARROW> *shared) {
    turn<shape<NARROW>::STAGES> stage = {0};
    turn<PARTS> part = {0};
    turn<1> rows = {0};
    for_each_pair(p, [&](const row_pair &pair) {
        if (NARROW) shared->rows_ring.wait_full(rows);
        if (pair.tiles == 2)
            sum_pair<NARROW, ROW_SHIFT, 2>(p, pair, &stage, &part, shared);
        else
            sum_pair<NARROW, ROW_SHIFT, 1>(p, pair, &stage, &part, shared);
        if (!NARROW) return;
        warp_arrives(&shared->rows_ring.empty[0]);
        rows.count++;
    });
}

template <bool NARROW, bool ROW_SHIFT>
__global__ void __launch_bounds__(THREADS, 1) hopper_sums_kernel(const __grid_constant__ arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    auto *shared = (shared_memory<NARROW> *)aligned(memory);
    if (threadIdx.x == 0) {
        shared->stages.init(1, WARPS);
        shared->rows_ring.init(1, WARPS);
        shared->parts_ring.init(WARPS, ADDING_WARPS);
        ec__fence_async();
    }
    __syncthreads();
    if (threadIdx.x < GROUP_THREADS) {
        ec__fewer_registers<HELPER_REGISTERS>();
        if (threadIdx.x == 0) copy(p, shared);
        if (threadIdx.x >= EC_WARP && threadIdx.x < EC_WARP + ADDING_THREADS) add_columns<NARROW, ROW_SHIFT>(p, shared);
    } else {
        ec__more_registers<PRODUCT_REGISTERS>();
        sum<NARROW, ROW_SHIFT>(p, shared);
    }
}

template <bool NARROW, bool ROW_SHIFT> ec_status launch(ec_stream *stream, const arguments &p) {
    constexpr int BYTES = sizeof(shared_memory<NARROW>) + ALIGN;
    const auto count = [&](int side) {
        return (unsigned)((p.range.end[side] - p.range.begin[side] + p.range.step[side] - 1) / p.range.step[side]);
    };
    EC_RETURN_IF(EC_SHARED_BYTES((hopper_sums_kernel<NARROW, ROW_SHIFT>), BYTES));
    return EC_LAUNCH((hopper_sums_kernel<NARROW, ROW_SHIFT>), dim3(count(1), count(0)), THREADS, BYTES, stream, p);
}

template <bool NARROW> ec_status launch_shift(ec_stream *stream, const arguments &p, bool row_shift) {
    return row_shift ? launch<NARROW, true>(stream, p) : launch<NARROW, false>(stream, p);
}

} // namespace

ec_status ec__supcon_hopper_strip_sums(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                       int32_t a, int32_t b, const ec_supcon_range *range) {
    const ec_supcon_copies *rows = range->side[0] ? &plan->own : &plan->other;
    const ec_supcon_copies *columns = range->side[1] ? &plan->own : &plan->other;
    const arguments p = {{ec__supcon_cuda_row0(plan, rows, rows->panels[a]),
                          ec__supcon_cuda_row0(plan, columns, columns->panels[b])},
                         (int32_t)(plan->pitch / ROW_BYTES),
                         plan->global_rows,
                         plan->strip,
                         plan->first,
                         plan->rows,
                         *range,
                         a == b,
                         problem->scale,
                         problem->shared_shift,
                         {sums_place_of(plan, 0, ec__supcon_direction(a, b)),
                          sums_place_of(plan, 1, ec__supcon_direction(b, a))}};
    return p.panels <= NARROW_PANELS ? launch_shift<true>(stream, p, problem->row_shift)
                                     : launch_shift<false>(stream, p, problem->row_shift);
}
