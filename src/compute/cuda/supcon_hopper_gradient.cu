/* The gradient for D up to 128 on compute capability 9.0, as supcon_gradient.cu makes it: a block owns rows of one
 * modality (one tile, or half of one) and walks through all rows of Z in order. A warpgroup has 64 of the rows: their
 * scores with 128 rows of Z become weights in registers, which are factor A of the second product, whose B are the same
 * rows of Z. Each of these second products is made from 0 and then added, so that a row's sum is a chain of additions
 * rounded to nearest. Two warpgroups take turns by themselves: while one makes powers of 2, the other multiplies. */
#include "compute/cuda/supcon_hopper.cuh"

namespace {

constexpr int STAGES = 4;

struct arguments {
    const char *own[2], *z[2]; /* panels: of own rows, of columns, from where row 0 would be */
    int32_t global_rows, first, rows, dim;
    int32_t begin, end; /* tiles of columns to walk through */
    bool wanted[2][2];
    float scale, shared_shift;
    const float *weight, *shift; /* (4, G); shift NULL: one for all */
    float *grad[2];              /* (B, D) */
};

/* What the columns of a stage are weighed with. */
struct column_weights {
    float weight[TILE], shift[TILE];
};

/* PANELS: that a row of Z has. GROUPS: that multiply. */
template <int PANELS, int GROUPS> struct shape {
    static constexpr int THREADS = (1 + GROUPS) * GROUP_THREADS;
    static constexpr int OWN_ROWS = GROUPS * GROUP_ROWS;
    static constexpr int OWN_BYTES = PANELS * GROUPS * GROUP_BYTES;
    static constexpr int STAGE_BYTES = PANELS * PANEL_BYTES;
    static constexpr int VALUES = PANELS * WIDE / 2; /* of the gradient, a thread */
};

template <int PANELS, int GROUPS> struct shared_memory {
    char own[shape<PANELS, GROUPS>::OWN_BYTES]; /* by panels */
    char stage[STAGES][shape<PANELS, GROUPS>::STAGE_BYTES];
    column_weights columns[STAGES];
    ring_of<STAGES> ring;
    uint64_t own_full;
};

/* Which rows a block owns: of modality a, from row on of all, which is a multiple of a warpgroup's. */
template <int OWN_ROWS> __device__ __forceinline__ int first_row(const arguments &p) {
    return (p.first / OWN_ROWS + (int)blockIdx.x) * OWN_ROWS;
}

/* Four columns a lane. Columns past the last row of Z weigh nothing. */
template <bool ROW_SHIFT>
__device__ __forceinline__ void load_column_weights(const arguments &p, int a, int b, int tile, column_weights *to) {
    const float *weight = p.weight + (int64_t)direction_of(b, a) * p.global_rows;
    for (int c = (int)threadIdx.x; c < TILE; c += EC_WARP) {
        const int row = tile * TILE + c;
        to->weight[c] = row < p.global_rows ? weight[row] : 0.f;
        if (ROW_SHIFT)
            to->shift[c] = row < p.global_rows ? p.shift[(int64_t)direction_of(b, a) * p.global_rows + row] : 0.f;
    }
}

/* The copying warp. */
template <int PANELS, int GROUPS, bool ROW_SHIFT>
__device__ __forceinline__ void copy(const arguments &p, shared_memory<PANELS, GROUPS> *shared) {
    using S = shape<PANELS, GROUPS>;
    const int a = (int)blockIdx.y, row = first_row<S::OWN_ROWS>(p);
    const bool speaks = threadIdx.x == 0;
    if (speaks) {
        const char *from = p.own[a] + (int64_t)(row / TILE) * S::STAGE_BYTES + row % TILE * ROW_BYTES;
        ec__arrival_expect(&shared->own_full, S::OWN_BYTES);
        for (int k = 0; k < PANELS; k++)
            ec__bulk_copy(shared->own + k * GROUPS * GROUP_BYTES, from + k * PANEL_BYTES, GROUPS * GROUP_BYTES,
                          &shared->own_full);
        ec__arrive(&shared->own_full);
    }
    turn<STAGES> at = {0};
    for (int b = 0; b < 2; b++) {
        if (!p.wanted[a][b]) continue;
        for (int tile = p.begin; tile < p.end; tile++, at.count++) {
            shared->ring.wait_empty(at);
            if (speaks) {
                ec__arrival_expect(&shared->ring.full[at.slot()], S::STAGE_BYTES);
                ec__bulk_copy(shared->stage[at.slot()], p.z[b] + (int64_t)tile * S::STAGE_BYTES, S::STAGE_BYTES,
                              &shared->ring.full[at.slot()]);
            }
            load_column_weights<ROW_SHIFT>(p, a, b, tile, &shared->columns[at.slot()]);
            warp_arrives(&shared->ring.full[at.slot()]);
        }
    }
}

/* A thread's two rows. */
struct row_weights {
    float weight[2], shift[2];
};

template <bool ROW_SHIFT>
__device__ __forceinline__ row_weights load_row_weights(const arguments &p, const place &at, int a, int b, int row) {
    row_weights w;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int own = row + value_row(at, 2 * r);
        const int64_t from = (int64_t)direction_of(a, b) * p.global_rows + own;
        w.weight[r] = own < p.global_rows ? p.weight[from] : 0.f;
        w.shift[r] = ROW_SHIFT && own < p.global_rows ? p.shift[from] : 0.f;
    }
    return w;
}

/* Scores into weights, two a word. diagonal: the column of the group's first row in this tile, where the tile holds the
 * similarity of rows with themselves, which weighs nothing; columns from limit on do not either. */
template <bool ROW_SHIFT>
__device__ __forceinline__ void weigh(const arguments &p, const place &at, const row_weights &rows,
                                      const column_weights &columns, int diagonal, int limit, const float (&y)[WIDE],
                                      uint32_t (&words)[WIDE / 2]) {
    const bool cuts = diagonal >= 0 || limit < TILE;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++) {
        const int c = value_column(at, n, 0);
        const float2 weight = *(const float2 *)&columns.weight[c];
        const float2 shift = ROW_SHIFT ? *(const float2 *)&columns.shift[c] : make_float2(0, 0);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float w[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float dot = y[4 * n + 2 * r + i], of_column = i ? weight.y : weight.x;
                if (ROW_SHIFT) {
                    /* Roundings spelt out: kernels of one and of two warpgroups must make the same of them. */
                    const float score = __fmul_rn(dot, p.scale);
                    w[i] = fmaf(rows.weight[r], ec__exp2(score - rows.shift[r]),
                                __fmul_rn(of_column, ec__exp2(score - (i ? shift.y : shift.x))));
                } else {
                    w[i] = ec__exp2(fmaf(dot, p.scale, -p.shared_shift)) * (rows.weight[r] + of_column);
                }
                const bool is_self = diagonal >= 0 && c + i == diagonal + value_row(at, 2 * r);
                if (cuts && (is_self || c + i >= limit)) w[i] = 0;
            }
            words[weight_word(n, 2 * r)] = ec__bf16_pair(w[0], w[1]);
        }
    }
}

template <int PANELS, int GROUPS, bool ROW_SHIFT>
__device__ __forceinline__ void walk(const arguments &p, const place &at, int a, int b, int row, turn<STAGES> *stage,
                                     shared_memory<PANELS, GROUPS> *shared,
                                     float (&total)[shape<PANELS, GROUPS>::VALUES]) {
    using S = shape<PANELS, GROUPS>;
    const row_weights rows = load_row_weights<ROW_SHIFT>(p, at, a, b, row);
    for (int tile = p.begin; tile < p.end; tile++, stage->count++) {
        const char *z = shared->stage[stage->slot()];
        uint32_t words[WIDE / 2];
        shared->ring.wait_full(*stage);
        {
            float y[WIDE];
            ec__wgmma_fence();
#pragma unroll
            for (int k = 0; k < PANELS; k++)
                enqueue_scores(y, shared->own + (k * GROUPS + at.group) * GROUP_BYTES, z + k * PANEL_BYTES, k == 0);
            ec__wgmma_commit();
            ec__wgmma_wait<0>();
            ec__wgmma_hold(y);
            const int diagonal = a == b && row / TILE == tile ? row % TILE : -1;
            weigh<ROW_SHIFT>(p, at, rows, shared->columns[stage->slot()], diagonal, p.global_rows - tile * TILE, y,
                             words);
        }
        float sums[S::VALUES];
        ec__wgmma_fence();
        enqueue_product(sums, words, z);
        ec__wgmma_commit();
        ec__wgmma_wait<0>();
        ec__wgmma_hold(sums);
        warp_arrives(&shared->ring.empty[stage->slot()]);
#pragma unroll
        for (int i = 0; i < S::VALUES; i++) total[i] += sums[i];
    }
}

/* f(to, i, both) for a thread's values i and i + 1: to is the place of the first in the gradient, both whether the
 * second has one too. row: the warpgroup's first row among all. */
template <int VALUES, class F>
__device__ __forceinline__ void for_gradient(const arguments &p, const place &at, float *grad, int row, const F &f) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int own = row + value_row(at, 2 * r) - p.first;
        if (own < 0 || own >= p.rows) continue;
        float *to = grad + (int64_t)own * p.dim;
#pragma unroll
        for (int n = 0; n < VALUES / 4; n++) {
            const int c = value_column(at, n, 0), left = p.dim - c;
            if (left > 0) f(to + c, 4 * n + 2 * r, left > 1);
        }
    }
}

/* The gradient so far, and back. Two values are moved together where rows are even. */
template <int VALUES>
__device__ __forceinline__ void load_gradient(const arguments &p, const place &at, float *grad, int row,
                                              float (&total)[VALUES]) {
    const bool pairs = p.dim % 2 == 0;
#pragma unroll
    for (int i = 0; i < VALUES; i++) total[i] = 0;
    for_gradient<VALUES>(p, at, grad, row, [&](const float *from, int i, bool both) {
        if (pairs) {
            const float2 value = *(const float2 *)from;
            total[i] = value.x;
            total[i + 1] = value.y;
        } else {
            total[i] = *from;
            if (both) total[i + 1] = from[1];
        }
    });
}

template <int VALUES>
__device__ __forceinline__ void store_gradient(const arguments &p, const place &at, float *grad, int row,
                                               const float (&total)[VALUES]) {
    const bool pairs = p.dim % 2 == 0;
    for_gradient<VALUES>(p, at, grad, row, [&](float *to, int i, bool both) {
        if (pairs) {
            *(float2 *)to = make_float2(total[i], total[i + 1]);
        } else {
            *to = total[i];
            if (both) to[1] = total[i + 1];
        }
    });
}

template <int PANELS, int GROUPS, bool ROW_SHIFT>
__device__ __forceinline__ void multiply(const arguments &p, shared_memory<PANELS, GROUPS> *shared) {
    using S = shape<PANELS, GROUPS>;
    const place at = here();
    const int a = (int)blockIdx.y, row = first_row<S::OWN_ROWS>(p) + at.group * GROUP_ROWS;
    float total[S::VALUES];
    turn<STAGES> stage = {0};
    load_gradient(p, at, p.grad[a], row, total);
    ec__arrival_wait(&shared->own_full, 0);
    for (int b = 0; b < 2; b++)
        if (p.wanted[a][b]) walk<PANELS, GROUPS, ROW_SHIFT>(p, at, a, b, row, &stage, shared, total);
    store_gradient(p, at, p.grad[a], row, total);
}

template <int PANELS, int GROUPS, bool ROW_SHIFT>
__global__ void __launch_bounds__((1 + GROUPS) * GROUP_THREADS, 1)
    hopper_gradient_kernel(const __grid_constant__ arguments p) {
    EC_DYNAMIC_SHARED(char, memory);
    auto *shared = (shared_memory<PANELS, GROUPS> *)aligned(memory);
    if (!p.wanted[blockIdx.y][0] && !p.wanted[blockIdx.y][1]) return;
    if (threadIdx.x == 0) {
        shared->ring.init(1, GROUPS * GROUP_WARPS);
        ec__arrival_init(&shared->own_full, 1);
        ec__fence_async();
    }
    __syncthreads();
    if (threadIdx.x < GROUP_THREADS) {
        if constexpr (GROUPS > 1) ec__fewer_registers<HELPER_REGISTERS>();
        if (threadIdx.x < EC_WARP) copy<PANELS, GROUPS, ROW_SHIFT>(p, shared);
    } else {
        if constexpr (GROUPS > 1) ec__more_registers<PRODUCT_REGISTERS>(); /* one alone has them from the start */
        multiply<PANELS, GROUPS, ROW_SHIFT>(p, shared);
    }
}

template <int PANELS, int GROUPS, bool ROW_SHIFT> ec_status launch(ec_stream *stream, const arguments &p) {
    using S = shape<PANELS, GROUPS>;
    constexpr int BYTES = sizeof(shared_memory<PANELS, GROUPS>) + ALIGN;
    const int blocks = (p.first + p.rows - 1) / S::OWN_ROWS - p.first / S::OWN_ROWS + 1;
    EC_RETURN_IF(EC_SHARED_BYTES((hopper_gradient_kernel<PANELS, GROUPS, ROW_SHIFT>), BYTES));
    return EC_LAUNCH((hopper_gradient_kernel<PANELS, GROUPS, ROW_SHIFT>), dim3((unsigned)blocks, 2), S::THREADS, BYTES,
                     stream, p);
}

template <int PANELS, int GROUPS> ec_status launch_shift(ec_stream *stream, const arguments &p, bool row_shift) {
    return row_shift ? launch<PANELS, GROUPS, true>(stream, p) : launch<PANELS, GROUPS, false>(stream, p);
}

} // namespace

ec_status ec__supcon_hopper_gradient(ec_stream *stream, const ec_supcon_cuda *plan, const ec_supcon_problem *problem,
                                     const ec_supcon_block *block, int32_t own_rows, const float *weight,
                                     const float *shift, float *const grad[2]) {
    const ec_supcon_copies *own = &plan->own, *other = &plan->other;
    const auto wanted = [&](int a, int b) {
        return (a == b ? problem->intra[a] : problem->cross) && (!block || block->modality == b);
    };
    const int32_t end = block ? block->begin + block->rows : plan->global_rows;
    const arguments p = {{ec__supcon_cuda_row0(plan, own, own->panels[0]), ec__supcon_cuda_row0(plan, own, own->panels[1])},
                         {ec__supcon_cuda_row0(plan, other, other->panels[0]),
                          ec__supcon_cuda_row0(plan, other, other->panels[1])},
                         plan->global_rows,
                         plan->first,
                         plan->rows,
                         plan->dim,
                         block ? block->begin / TILE : 0,
                         (end + TILE - 1) / TILE,
                         {{wanted(0, 0), wanted(0, 1)}, {wanted(1, 0), wanted(1, 1)}},
                         problem->scale,
                         problem->shared_shift,
                         weight,
                         shift,
                         {grad[0], grad[1]}};
    if (plan->pitch == ROW_BYTES)
        return own_rows == TILE ? launch_shift<1, 2>(stream, p, problem->row_shift)
                                : launch_shift<1, 1>(stream, p, problem->row_shift);
    return own_rows == TILE ? launch_shift<2, 2>(stream, p, problem->row_shift)
                            : launch_shift<2, 1>(stream, p, problem->row_shift);
}
