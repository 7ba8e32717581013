/* The body of supcon_kernel.h for one instruction set. The including file defines:
 *   vec, LANES                    a vector of floats and its width
 *   MR, NV                        rows of a micro tile, vectors in each of its rows
 *   KERNEL, KERNEL_NAME           the table's symbol and name
 *   vload vstore vset vadd vsub vmul vmax, vfma (a*b + c in one step where the machine can), vsum (of the lanes)
 *   vkeep (lane l survives where bit l is set, else 0), vexp2, transpose (LANES x LANES floats) */
#include <string.h>

#include "compute/cpu/supcon_kernel.h"

enum { NR = NV * LANES };
_Static_assert(EC_SUPCON_TILE % NR == 0 && 32 % NR == 0, "tiles, and blocks of 32 rows, are whole panels");
#define INLINE static inline __attribute__((always_inline))
#define OUT_OF_LINE static __attribute__((noinline))
#define PREFETCH(address) __builtin_prefetch((address), 1)
#define UNROLL _Pragma("GCC unroll 32")

static const float SCORE_NONE = EC_SUPCON_NO_SCORE;

INLINE int32_t at_most(int32_t x, int32_t limit) { return x < limit ? x : limit; }

/* acc = MR rows of A times NR columns of B; depth steps, each one multiply-add a lane. */
INLINE void multiply(const float *const a[MR], ptrdiff_t k_step, const float *b, ptrdiff_t b_step, int32_t depth,
                     vec acc[MR][NV]) {
    UNROLL for (int r = 0; r < MR; r++) UNROLL for (int v = 0; v < NV; v++) acc[r][v] = vset(0.f);
    for (int32_t k = 0; k < depth; k++) {
        vec bk[NV];
        UNROLL for (int v = 0; v < NV; v++) bk[v] = vload(b + k * b_step + v * LANES);
        UNROLL for (int r = 0; r < MR; r++) {
            const vec ar = vset(a[r][k * k_step]);
            UNROLL for (int v = 0; v < NV; v++) acc[r][v] = vfma(ar, bk[v], acc[r][v]);
        }
    }
}

/* out = the products. A function of its own, and results through memory (they stay in the first-level cache), because
 * inlined into a loop around it the compiler keeps that loop's constants in registers and spills accumulators. */
OUT_OF_LINE void multiply_to(const float *const a[MR], ptrdiff_t k_step, const float *b, ptrdiff_t b_step,
                             int32_t depth, float out[MR][NR]) {
    vec acc[MR][NV];
    multiply(a, k_step, b, b_step, depth, acc);
    UNROLL for (int r = 0; r < MR; r++) UNROLL for (int v = 0; v < NV; v++) vstore(out[r] + v * LANES, acc[r][v]);
}

/* A whole micro tile of c (rows dim apart) += the products. */
OUT_OF_LINE void multiply_add(const float *const a[MR], ptrdiff_t k_step, const float *b, ptrdiff_t b_step,
                              int32_t depth, float *c, ptrdiff_t dim) {
    vec acc[MR][NV];
    UNROLL for (int r = 0; r < MR; r++) /* needed when the sums are done */
        for (int line = 0; line < NR; line += 16) PREFETCH(c + r * dim + line);
    multiply(a, k_step, b, b_step, depth, acc);
    UNROLL for (int r = 0; r < MR; r++) UNROLL for (int v = 0; v < NV; v++) {
        float *to = c + r * dim + v * LANES;
        vstore(to, vadd(vload(to), acc[r][v]));
    }
}

/* Addresses of the MR rows from row on; rows past the end repeat the last one, and their results are masked. */
INLINE void row_addresses(const float *a, ptrdiff_t step, int32_t row, int32_t rows, const float *out[MR]) {
    UNROLL for (int r = 0; r < MR; r++) out[r] = a + (ptrdiff_t)at_most(row + r, rows - 1) * step;
}

/* Has the micro tile at (row, column) entries that do not count? */
INLINE bool is_edge(const ec_supcon_tile *t, int32_t row, int32_t column) {
    return row + MR > t->rows || column + NR > t->columns ||
           (t->diagonal && row < column + NR && column < row + MR);
}

/* Bit c: does entry (row, column + c) count? */
INLINE uint64_t entry_mask(const ec_supcon_tile *t, int32_t row, int32_t column) {
    if (row >= t->rows) return 0;
    uint64_t mask = ~(uint64_t)0 >> (64 - NR);
    if (column + NR > t->columns) mask = ((uint64_t)1 << (t->columns - column)) - 1;
    if (t->diagonal && row >= column && row < column + NR) mask &= ~((uint64_t)1 << (row - column));
    return mask;
}

/* dots = the dot products of the micro tile at (row, column). */
INLINE void micro_dots(const ec_supcon_tile *t, int32_t row, int32_t column, float dots[MR][NR]) {
    const float *a[MR];
    row_addresses(t->a, t->dim, row, t->rows, a);
    multiply_to(a, 1, t->panels + (ptrdiff_t)column * t->dim, NR, t->dim, dots);
}

/* One row of powers 2^(scale * dot - shift). */
INLINE void power_row(const float *dots, vec scale, vec minus_shift, vec e[NV]) {
    UNROLL for (int v = 0; v < NV; v++) e[v] = vexp2(vfma(vload(dots + v * LANES), scale, minus_shift));
}

INLINE void mask_row(uint64_t mask, vec e[NV]) {
    UNROLL for (int v = 0; v < NV; v++) e[v] = vkeep(e[v], mask >> (v * LANES));
}

static void sums(const ec_supcon_tile *t, float *row_sum, float *column_sum) {
    _Alignas(64) float lane[EC_SUPCON_TILE + MR][LANES]; /* partial sums of the rows */
    _Alignas(64) float dots[MR][NR];
    const vec scale = vset(t->scale), minus_shift = vset(-t->shift);
    const int32_t first = t->row_begin / MR * MR;
    memset(lane[first], 0, (size_t)(t->row_end + MR - first) * sizeof lane[0]);
    for (int32_t column = t->column_begin / NR * NR; column < t->column_end; column += NR) {
        vec total[NV];
        UNROLL for (int v = 0; v < NV; v++) total[v] = vset(0.f);
        for (int32_t row = first; row < t->row_end; row += MR) {
            const bool edge = is_edge(t, row, column);
            micro_dots(t, row, column, dots);
            UNROLL for (int r = 0; r < MR; r++) {
                vec e[NV];
                power_row(dots[r], scale, minus_shift, e);
                if (edge) mask_row(entry_mask(t, row + r, column), e);
                vec across = e[0];
                UNROLL for (int v = 1; v < NV; v++) across = vadd(across, e[v]);
                vstore(lane[row + r], vadd(vload(lane[row + r]), across));
                UNROLL for (int v = 0; v < NV; v++) total[v] = vadd(total[v], e[v]);
            }
        }
        UNROLL for (int v = 0; v < NV; v++) vstore(column_sum + column + v * LANES, total[v]);
    }
    for (int32_t r = t->row_begin; r < t->row_end; r++) row_sum[r] = vsum(vload(lane[r]));
}

static void weights(const ec_supcon_tile *t, const float *row_weight, const float *column_weight, float *w) {
    _Alignas(64) float dots[MR][NR];
    const vec scale = vset(t->scale), minus_shift = vset(-t->shift);
    for (int32_t column = t->column_begin / NR * NR; column < t->column_end; column += NR) {
        vec u[NV];
        UNROLL for (int v = 0; v < NV; v++) u[v] = vload(column_weight + column + v * LANES);
        for (int32_t row = t->row_begin / MR * MR; row < t->row_end; row += MR) {
            const bool edge = is_edge(t, row, column);
            micro_dots(t, row, column, dots);
            UNROLL for (int r = 0; r < MR; r++) {
                vec e[NV];
                power_row(dots[r], scale, minus_shift, e);
                if (edge) mask_row(entry_mask(t, row + r, column), e);
                const vec ur = vset(row_weight[at_most(row + r, t->rows - 1)]);
                float *out = w + (ptrdiff_t)(row + r) * EC_SUPCON_TILE_LD + column;
                UNROLL for (int v = 0; v < NV; v++) vstore(out + v * LANES, vmul(e[v], vadd(ur, u[v])));
            }
        }
    }
}

static void scores(const ec_supcon_tile *t, float *w) {
    _Alignas(64) float dots[MR][NR];
    const vec scale = vset(t->scale);
    for (int32_t column = t->column_begin / NR * NR; column < t->column_end; column += NR)
        for (int32_t row = t->row_begin / MR * MR; row < t->row_end; row += MR) {
            const bool edge = is_edge(t, row, column);
            micro_dots(t, row, column, dots);
            for (int r = 0; r < MR; r++) {
                float *out = w + (ptrdiff_t)(row + r) * EC_SUPCON_TILE_LD + column;
                for (int v = 0; v < NV; v++) vstore(out + v * LANES, vmul(vload(dots[r] + v * LANES), scale));
                const uint64_t mask = edge ? entry_mask(t, row + r, column) : ~(uint64_t)0;
                for (int c = 0; edge && c < NR; c++)
                    if (!(mask >> c & 1)) out[c] = SCORE_NONE;
            }
        }
}

/* 2^x for x <= 0, for the few rescalings of running sums. */
INLINE float power(float x) {
    float lane[LANES];
    vstore(lane, vexp2(vset(x)));
    return lane[0];
}

static void row_sums(const float *y, int32_t columns, double *sum, float *shift) {
    vec largest = vset(*shift);
    for (int32_t c = 0; c < columns; c += LANES) largest = vmax(largest, vload(y + c));
    float lane[LANES], top = *shift;
    vstore(lane, largest);
    for (int l = 0; l < LANES; l++) top = lane[l] > top ? lane[l] : top;
    if (top > *shift) *sum = *sum * (double)power(*shift - top);
    *shift = top;
    const vec by = vset(top);
    vec total = vset(0.f);
    for (int32_t c = 0; c < columns; c += LANES) total = vadd(total, vexp2(vsub(vload(y + c), by)));
    *sum += (double)vsum(total);
}

static void column_sums(const float *y, int32_t rows, double sum[], float shift[], int32_t columns) {
    for (int32_t c = 0; c < columns; c += LANES) {
        const int32_t lanes = at_most(LANES, columns - c);
        float old[LANES], top[LANES], part[LANES];
        for (int l = 0; l < LANES; l++) old[l] = l < lanes ? shift[c + l] : SCORE_NONE;
        vec largest = vload(old), total = vset(0.f);
        for (int32_t r = 0; r < rows; r++) largest = vmax(largest, vload(y + (ptrdiff_t)r * EC_SUPCON_TILE_LD + c));
        for (int32_t r = 0; r < rows; r++)
            total = vadd(total, vexp2(vsub(vload(y + (ptrdiff_t)r * EC_SUPCON_TILE_LD + c), largest)));
        vstore(top, largest);
        vstore(part, total);
        for (int32_t l = 0; l < lanes; l++) {
            if (top[l] > old[l]) sum[c + l] *= (double)power(old[l] - top[l]);
            sum[c + l] += (double)part[l];
            shift[c + l] = top[l];
        }
    }
}

static void row_weights(float *y, int32_t columns, float row_weight, float row_shift, const float *column_weight,
                        const float *column_shift) {
    const vec u = vset(row_weight), by = vset(row_shift);
    for (int32_t c = 0; c < columns; c += LANES) {
        const vec score = vload(y + c);
        const vec mine = vmul(u, vexp2(vsub(score, by)));
        const vec theirs = vmul(vload(column_weight + c), vexp2(vsub(score, vload(column_shift + c))));
        vstore(y + c, vadd(mine, theirs));
    }
}

static void pack_columns(const float *z, int32_t rows, int32_t dim, float *panels) {
    for (int32_t p = 0; p < rows; p += NR, panels += (ptrdiff_t)dim * NR) {
        for (int32_t c = 0; c < NR; c += LANES) {
            const float *from = z + (ptrdiff_t)(p + c) * dim;
            int32_t k = 0;
            for (; p + c + LANES <= rows && k + LANES <= dim; k += LANES)
                transpose(from + k, dim, panels + (ptrdiff_t)k * NR + c, NR);
            for (; k < dim; k++)
                for (int32_t l = 0; l < LANES; l++)
                    panels[(ptrdiff_t)k * NR + c + l] = p + c + l < rows ? from[(ptrdiff_t)l * dim + k] : 0.f;
        }
    }
}

static void pack_tail(const float *z, int32_t rows, int32_t dim, float *tail) {
    const int32_t from = dim / NR * NR;
    for (int32_t r = 0; r < rows && from < dim; r++)
        for (int32_t c = 0; c < NR; c++) *tail++ = from + c < dim ? z[(ptrdiff_t)r * dim + from + c] : 0.f;
}

static void product(const float *a, ptrdiff_t row_step, ptrdiff_t k_step, int32_t rows, int32_t depth, const float *b,
                    const float *tail, int32_t dim, float *c) {
    _Alignas(64) float sum[MR][NR];
    for (int32_t column = 0; column < dim; column += NR) {
        const bool whole = column + NR <= dim;
        for (int32_t row = 0; row < rows; row += MR) {
            const float *address[MR];
            float *out = c + (ptrdiff_t)row * dim + column;
            row_addresses(a, row_step, row, rows, address);
            if (whole && row + MR <= rows) {
                multiply_add(address, k_step, b + column, dim, depth, out, dim);
                continue;
            }
            multiply_to(address, k_step, whole ? b + column : tail, whole ? dim : NR, depth, sum);
            for (int32_t r = 0; r < at_most(MR, rows - row); r++)
                for (int32_t i = 0; i < at_most(NR, dim - column); i++) out[(ptrdiff_t)r * dim + i] += sum[r][i];
        }
    }
}

static float norm2(const float *x, int32_t dim) {
    vec total = vset(0.f);
    int32_t k = 0;
    for (; k + LANES <= dim; k += LANES) total = vfma(vload(x + k), vload(x + k), total);
    float rest = 0;
    for (; k < dim; k++) rest += x[k] * x[k];
    return vsum(total) + rest;
}

static void add_to_sum(double *sum, const float *z, int32_t dim) {
    for (int32_t k = 0; k < dim; k++) sum[k] += (double)z[k];
}

static void class_dots(const float *z, const double *own, const double *other, int32_t dim, double dots[3]) {
    enum { CHAINS = 16 };
    double with_own[CHAINS] = {0}, with_other[CHAINS] = {0}, square[CHAINS] = {0};
    int32_t k = 0;
    for (; k + CHAINS <= dim; k += CHAINS)
        for (int i = 0; i < CHAINS; i++) {
            const double x = (double)z[k + i];
            with_own[i] += x * own[k + i];
            with_other[i] += x * other[k + i];
            square[i] += x * x;
        }
    for (int i = 0; k < dim; k++, i++) {
        const double x = (double)z[k];
        with_own[i] += x * own[k];
        with_other[i] += x * other[k];
        square[i] += x * x;
    }
    for (int n = CHAINS / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++) {
            with_own[i] += with_own[i + n];
            with_other[i] += with_other[i + n];
            square[i] += square[i + n];
        }
    dots[0] = with_own[0];
    dots[1] = with_other[0];
    dots[2] = square[0];
}

static void pull(float *grad, const float *z, float by, const float *towards, int32_t dim) {
    for (int32_t k = 0; k < dim; k++) grad[k] = by * z[k] - towards[k];
}

const ec_supcon_kernel KERNEL = {
    .name = KERNEL_NAME,
    .mr = MR,
    .nr = NR,
    .pack_columns = pack_columns,
    .pack_tail = pack_tail,
    .sums = sums,
    .weights = weights,
    .scores = scores,
    .row_sums = row_sums,
    .column_sums = column_sums,
    .row_weights = row_weights,
    .product = product,
    .norm2 = norm2,
    .add_to_sum = add_to_sum,
    .class_dots = class_dots,
    .pull = pull,
};
