/* The CPU's operations of compute/ops_supcon.h: which tiles of a pair of blocks are made, and where their sums go. */
#include "compute/cpu/supcon.h"

#include <math.h>
#include <string.h>

typedef struct job {
    ec_supcon_plan plan;
    const ec_supcon_problem *problem;
    double *sum;         /* (4, B) */
    float *own_shift;    /* (4, B) */
    const float *weight; /* (4, G) */
    const float *shift;  /* (4, G) */
    float *grad[2];
} job;

static bool is_whole(const ec_supcon_span *s) { return s->own_begin == 0 && s->own_end == s->rows; }
static bool is_owned(const ec_supcon_span *s) { return s->own_begin < s->own_end; }
static const float *row_of(const job *j, const ec_supcon_span *s) {
    return j->problem->z[s->modality] + s->row * j->problem->dim;
}

/* The tile that gives the rows of a (all columns), the columns of b (all rows), or both. */
static ec_supcon_tile tile_of(const job *j, const float *panels, const ec_supcon_span *a, const ec_supcon_span *b,
                              bool for_rows, bool for_columns) {
    return (ec_supcon_tile){
        .a = row_of(j, a),
        .panels = panels,
        .rows = a->rows,
        .columns = b->rows,
        .dim = j->problem->dim,
        .row_begin = for_columns ? 0 : a->own_begin,
        .row_end = for_columns ? a->rows : a->own_end,
        .column_begin = for_rows ? 0 : b->own_begin,
        .column_end = for_rows ? b->rows : b->own_end,
        .diagonal = a->modality == b->modality && a->row == b->row,
        .scale = j->problem->scale,
        .shift = j->problem->shared_shift,
    };
}

/* panels: those of b in the packed second block. */
typedef void (*part_fn)(const job *j, ec_supcon_work *work, const ec_supcon_span *a, const ec_supcon_span *b,
                        const float *panels, bool for_rows, bool for_columns);

/* Cuts a pair of blocks into tiles. A tile serves both its sides at once where this rank owns both wholly. */
static void each_tile(const job *j, ec_supcon_work *work, const ec_supcon_span *first, const ec_supcon_span *second,
                      part_fn part) {
    const bool same = first->modality == second->modality && first->row == second->row;
    const float *columns = ec__supcon_columns(&j->plan, j->problem, work, second);
    for (int32_t tb = 0; tb * EC_SUPCON_TILE < second->rows; tb++)
        for (int32_t ta = 0; ta * EC_SUPCON_TILE < first->rows && (!same || ta <= tb); ta++) {
            const int32_t at_a = ta * EC_SUPCON_TILE, at_b = tb * EC_SUPCON_TILE;
            const int32_t left_a = first->rows - at_a, left_b = second->rows - at_b;
            const ec_supcon_span a = ec__supcon_span(j->problem, first->modality, first->row + at_a,
                                                     left_a < EC_SUPCON_TILE ? left_a : EC_SUPCON_TILE);
            const ec_supcon_span b = ec__supcon_span(j->problem, second->modality, second->row + at_b,
                                                     left_b < EC_SUPCON_TILE ? left_b : EC_SUPCON_TILE);
            const float *panels = columns + (ptrdiff_t)at_b * j->problem->dim;
            const bool diagonal = same && ta == tb;
            if (!diagonal && is_whole(&a) && is_whole(&b)) {
                part(j, work, &a, &b, panels, true, true);
            } else {
                if (is_owned(&a)) part(j, work, &a, &b, panels, true, false);
                if (!diagonal && is_owned(&b)) part(j, work, &a, &b, panels, false, true);
            }
        }
}

/* Number of s's first own row in the arrays over own rows of direction s -> towards. */
static ptrdiff_t own_index(const job *j, const ec_supcon_span *s, const ec_supcon_span *towards) {
    return (ptrdiff_t)ec__supcon_direction(s->modality, towards->modality) * j->problem->rows +
           (ptrdiff_t)(s->row + s->own_begin - j->problem->first);
}

static void sums_with_row_shift(const job *j, ec_supcon_work *work, const ec_supcon_tile *tile, const ec_supcon_span *a,
                                const ec_supcon_span *b, bool for_rows, bool for_columns) {
    const ec_supcon_kernel *kernel = j->plan.kernel;
    kernel->scores(tile, work->tile);
    const ptrdiff_t at_a = own_index(j, a, b), at_b = own_index(j, b, a);
    for (int32_t r = a->own_begin; for_rows && r < a->own_end; r++) {
        const ptrdiff_t at = at_a + r - a->own_begin;
        kernel->row_sums(work->tile + (ptrdiff_t)r * EC_SUPCON_TILE_LD, b->rows, &j->sum[at], &j->own_shift[at]);
    }
    if (for_columns)
        kernel->column_sums(work->tile + b->own_begin, a->rows, &j->sum[at_b], &j->own_shift[at_b],
                            b->own_end - b->own_begin);
}

static void sums_part(const job *j, ec_supcon_work *work, const ec_supcon_span *a, const ec_supcon_span *b,
                      const float *panels, bool for_rows, bool for_columns) {
    const ec_supcon_tile tile = tile_of(j, panels, a, b, for_rows, for_columns);
    if (j->problem->row_shift) {
        sums_with_row_shift(j, work, &tile, a, b, for_rows, for_columns);
        return;
    }
    float row_sum[EC_SUPCON_TILE], column_sum[EC_SUPCON_TILE_LD];
    j->plan.kernel->sums(&tile, row_sum, column_sum);
    double *to_a = j->sum + own_index(j, a, b), *to_b = j->sum + own_index(j, b, a);
    for (int32_t r = a->own_begin; for_rows && r < a->own_end; r++) to_a[r - a->own_begin] += (double)row_sum[r];
    for (int32_t c = b->own_begin; for_columns && c < b->own_end; c++) to_b[c - b->own_begin] += (double)column_sum[c];
}

static void sums_pair(void *arg, ec_supcon_work *work, const ec_supcon_span *first, const ec_supcon_span *second) {
    const job *j = arg;
    each_tile(j, work, first, second, sums_part);
}

/* count values of a direction's array over all rows, filled up with zeros to a whole tile. */
static const float *padded(const float *from, const ec_supcon_span *s, float to[EC_SUPCON_TILE_LD]) {
    memcpy(to, from + s->row, (size_t)s->rows * sizeof *to);
    memset(to + s->rows, 0, (size_t)(EC_SUPCON_TILE_LD - s->rows) * sizeof *to);
    return to;
}

static void make_weights(const job *j, const ec_supcon_tile *tile, const ec_supcon_span *a, const ec_supcon_span *b,
                         float *w) {
    const ec_supcon_kernel *kernel = j->plan.kernel;
    const int64_t rows = j->problem->global_rows;
    const ptrdiff_t of_a = ec__supcon_direction(a->modality, b->modality) * rows;
    const ptrdiff_t of_b = ec__supcon_direction(b->modality, a->modality) * rows;
    float column_weight[EC_SUPCON_TILE_LD], column_shift[EC_SUPCON_TILE_LD];
    padded(j->weight + of_b, b, column_weight);
    const float *row_weight = j->weight + of_a + a->row;
    if (!j->problem->row_shift) {
        kernel->weights(tile, row_weight, column_weight, w);
        return;
    }
    padded(j->shift + of_b, b, column_shift);
    kernel->scores(tile, w);
    for (int32_t r = tile->row_begin; r < tile->row_end; r++)
        kernel->row_weights(w + (ptrdiff_t)r * EC_SUPCON_TILE_LD, b->rows, row_weight[r], j->shift[of_a + a->row + r],
                            column_weight, column_shift);
}

/* Own rows of s += w times the rows of other. */
static void add_product(const job *j, ec_supcon_work *work, const float *w, ptrdiff_t row_step, ptrdiff_t k_step,
                        const ec_supcon_span *s, const ec_supcon_span *other) {
    const ec_supcon_kernel *kernel = j->plan.kernel;
    const int32_t dim = j->problem->dim;
    float *grad = j->grad[s->modality] + (s->row + s->own_begin - j->problem->first) * dim;
    kernel->pack_tail(row_of(j, other), other->rows, dim, work->tail);
    kernel->product(w + s->own_begin * row_step, row_step, k_step, s->own_end - s->own_begin, other->rows,
                    row_of(j, other), work->tail, dim, grad);
}

static void gradient_part(const job *j, ec_supcon_work *work, const ec_supcon_span *a, const ec_supcon_span *b,
                          const float *panels, bool for_rows, bool for_columns) {
    const ec_supcon_tile tile = tile_of(j, panels, a, b, for_rows, for_columns);
    make_weights(j, &tile, a, b, work->tile);
    if (for_rows) add_product(j, work, work->tile, EC_SUPCON_TILE_LD, 1, a, b);
    if (for_columns) add_product(j, work, work->tile, 1, EC_SUPCON_TILE_LD, b, a);
}

static void gradient_pair(void *arg, ec_supcon_work *work, const ec_supcon_span *first, const ec_supcon_span *second) {
    const job *j = arg;
    each_tile(j, work, first, second, gradient_part);
}

static job job_of(ec_backend *be, const ec_supcon_problem *problem) {
    return (job){.plan = ec__supcon_plan_of(be, problem), .problem = problem};
}

static size_t scratch_bytes(ec_backend *be, const ec_supcon_problem *problem, int32_t classes) {
    (void)classes;
    ec_arena arena = ec__arena_counting();
    ec__supcon_plan(be, problem->global_rows, problem->dim, &arena);
    return ec__arena_used(&arena);
}

static ec_status prepare(ec_backend *be, const ec_supcon_problem *problem) {
    const job j = job_of(be, problem);
    EC_RETURN_IF(ec__supcon_pack(be, &j.plan, problem));
    return EC_OK;
}

static ec_status sums(ec_backend *be, const ec_supcon_problem *problem, const ec_supcon_rows *own) {
    job j = job_of(be, problem);
    j.sum = own->sum;
    j.own_shift = own->shift;
    const int64_t count = (int64_t)EC_SUPCON_DIRECTIONS * problem->rows;
    for (int64_t i = 0; i < count; i++) own->sum[i] = 0;
    for (int64_t i = 0; problem->row_shift && i < count; i++) own->shift[i] = EC_SUPCON_NO_SCORE;
    EC_RETURN_IF(ec__supcon_walk(be, &j.plan, problem, sums_pair, &j));
    return EC_OK;
}

static ec_status gradient(ec_backend *be, const ec_supcon_problem *problem, const float *weight, const float *shift,
                          float *const grad[2]) {
    job j = job_of(be, problem);
    j.weight = weight;
    j.shift = shift;
    j.grad[0] = grad[0];
    j.grad[1] = grad[1];
    EC_RETURN_IF(ec__supcon_walk(be, &j.plan, problem, gradient_pair, &j));
    return EC_OK;
}

static ec_status reserve(ec_backend *be, const ec_supcon_problem *problem) {
    (void)be, (void)problem;
    return EC_OK;
}

/* A pair of rows costs 2 D for its score, in each of two passes, and 2 D for each side that this rank owns. */
static double flops(ec_backend *be, const ec_supcon_problem *p) {
    (void)be;
    const double own = p->rows, others = (double)(p->global_rows - p->rows), dim = p->dim;
    const double both = 8 * dim * own * own, one = 6 * dim * own * others;
    double sum = p->cross ? both + 2 * one : 0;
    for (int m = 0; m < 2; m++) sum += p->intra[m] ? both / 2 + one : 0;
    return sum;
}

enum { INSPECT_ROWS = 512 };

typedef struct inspection {
    const ec_supcon_kernel *kernel;
    const float *z;
    int32_t rows, dim;
    float most;
    atomic_int bad; /* first bad row, or rows */
} inspection;

static ec_status inspect_task(void *arg, int32_t task, ec_stream *stream) {
    inspection *s = arg;
    (void)stream;
    const int32_t begin = task * INSPECT_ROWS, end = s->rows - begin < INSPECT_ROWS ? s->rows : begin + INSPECT_ROWS;
    for (int32_t r = begin; r < end; r++) {
        if (s->kernel->norm2(s->z + (ptrdiff_t)r * s->dim, s->dim) <= s->most) continue; /* not for NaN */
        int known = atomic_load(&s->bad);
        while (r < known && !atomic_compare_exchange_weak(&s->bad, &known, r)) continue;
        break;
    }
    return EC_OK;
}

static ec_status inspect(ec_backend *be, const float *z, int32_t rows, int32_t dim, float most,
                         ec_supcon_finding *finding) {
    inspection s = {.kernel = ec__supcon_kernel_pick(), .z = z, .rows = rows, .dim = dim, .most = most};
    atomic_init(&s.bad, rows);
    EC_RETURN_IF(be->for_each(be, (rows + INSPECT_ROWS - 1) / INSPECT_ROWS, inspect_task, &s));
    const int bad = atomic_load(&s.bad);
    *finding = (ec_supcon_finding){.bad = bad < rows ? bad : -1,
                                   .norm2 = bad < rows ? s.kernel->norm2(z + (ptrdiff_t)bad * dim, dim) : 0};
    return EC_OK;
}

/* What a processor can do is not asked again: its kernels are those of its kind. */
static bool special(const ec_backend *be) {
    (void)be;
    return false;
}

static void use_portable(ec_backend *be) { (void)be; }

const ec_supcon_ops ec__cpu_supcon_ops = {
    .special = special,
    .use_portable = use_portable,
    .scratch_bytes = scratch_bytes,
    .reserve = reserve,
    .flops = flops,
    .inspect = inspect,
    .prepare = prepare,
    .sums = sums,
    .positives = ec__cpu_supcon_positives,
    .weights = ec__cpu_supcon_weights,
    .gradient = gradient,
};
