/* ops_supcon.h, CUDA against the CPU: every operation by itself for each of the ranks of a problem, one after the other
 * in one process; and the whole loss against the reference file. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/ops_supcon.h"
#include "cuda_support.h"
#include "dist/comm.h"
#include "loss/supcon.h"
#include "loss/supcon_classes.h"

typedef struct problem {
    int64_t rows; /* G */
    int32_t dim;
    double temperature, weight[EC_DIRECTIONS];
    float *z[2];
    int32_t *label; /* (2G) */
} problem;

/* Host copies of what the operations made. */
typedef struct outcome {
    double loss[EC_DIRECTIONS];
    float *grad[2];      /* (G, D) */
    double *sum;         /* (4, G) */
    double *positive;    /* (4, G) */
    float *weight;       /* (4, G) */
} outcome;

static const double ALL_FOUR[EC_DIRECTIONS] = {0.4, 0.7, 0.25, 1.5}, CROSS[EC_DIRECTIONS] = {0, 0, 0.5, 0.5},
                    INTRA[EC_DIRECTIONS] = {0.5, 0.5, 0, 0}, ONE_WAY[EC_DIRECTIONS] = {0, 0.3, 1, 0};

static void *take(size_t count, size_t size) {
    void *p = calloc(count + 1, size);
    assert_non_null(p);
    return p;
}

/* To 8 bits of mantissa, where bfloat16 loses nothing. */
static float coarse(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x8000u) & 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* Unit rows, but for the rounding of coarse ones. classes 0: every label occurs once. */
static problem problem_new(int64_t rows, int32_t dim, double temperature, int32_t classes,
                           const double weight[EC_DIRECTIONS], bool is_coarse) {
    problem p = {.rows = rows, .dim = dim, .temperature = temperature, .label = take(2 * (size_t)rows, sizeof(int32_t))};
    for (int d = 0; d < EC_DIRECTIONS; d++) p.weight[d] = weight[d];
    for (int m = 0; m < 2; m++) {
        p.z[m] = take((size_t)rows * (size_t)dim, sizeof(float));
        test_fill(p.z[m], rows * dim, (uint64_t)(rows + 31 * dim + m));
        for (int64_t i = 0; i < rows; i++) {
            float *row = p.z[m] + i * dim;
            double norm2 = 0;
            for (int32_t k = 0; k < dim; k++) norm2 += (double)row[k] * (double)row[k];
            for (int32_t k = 0; k < dim; k++) {
                row[k] = (float)((double)row[k] / sqrt(norm2));
                if (is_coarse) row[k] = coarse(row[k]);
            }
            p.label[m * rows + i] = classes > 0 ? (int32_t)((i * i + 5 * i + 3 * m) % classes) * 1000 - 7
                                                : (int32_t)(m * rows + i);
        }
    }
    return p;
}

static void problem_free(problem *p) {
    free(p->z[0]), free(p->z[1]), free(p->label);
}

static void outcome_free(outcome *o) {
    free(o->grad[0]), free(o->grad[1]), free(o->sum), free(o->positive), free(o->weight);
}

/* Memory of a back end, with what the host has put there or undefined contents. */
static void *put(ec_backend *be, const void *from, size_t bytes) {
    void *memory = NULL;
    CHECK_OK(be->memory->alloc(be, bytes, &memory));
    if (from) CHECK_OK(be->memory->upload(be, be->main_stream(be), memory, from, bytes));
    CHECK_OK(be->synchronize(be));
    return memory;
}

static void *get(ec_backend *be, const void *from, size_t bytes) {
    void *copy = take(bytes, 1);
    CHECK_OK(be->memory->download(be, be->main_stream(be), copy, from, bytes));
    CHECK_OK(be->synchronize(be));
    return copy;
}

/* A problem in a back end's memory. */
typedef struct setup {
    ec_backend *be;
    const problem *p;
    int32_t ranks, rows;
    double coefficient[EC_DIRECTIONS];
    ec_supcon_problem op;
    ec_supcon_classes classes;
    void *memory[16];
    int used;
    float *grad[2], *weight, *shift;
    char *pieces;
    double *loss;
} setup;

static void *keep(setup *s, const void *from, size_t bytes) { return s->memory[s->used++] = put(s->be, from, bytes); }

static void place_classes(setup *s) {
    const int32_t most = (int32_t)(2 * s->p->rows);
    ec_arena counting = ec__arena_counting();
    ec__class_sorter(s->p->rows, most, &counting);
    void *memory = aligned_alloc(EC_ARENA_ALIGN, ec__arena_used(&counting));
    assert_non_null(memory);
    ec_arena arena = ec__arena_over(memory, ec__arena_used(&counting));
    ec_class_sorter sorter = ec__class_sorter(s->p->rows, most, &arena);
    CHECK_OK(ec__class_sort(&sorter, s->p->label));
    const size_t count = (size_t)*sorter.count, size = sizeof(int32_t);
    s->classes.most = *sorter.count + 3; /* more than there are */
    s->classes.count = keep(s, sorter.count, size);
    s->classes.order = keep(s, sorter.order, 2 * (size_t)s->p->rows * size);
    s->classes.start = keep(s, sorter.start, (count + 1) * size);
    s->classes.music = keep(s, sorter.music, count * size);
    free(memory);
}

static setup setup_new(ec_backend *be, const problem *p, int32_t ranks) {
    setup s = {.be = be, .p = p, .ranks = ranks, .rows = (int32_t)(p->rows / ranks)};
    const size_t row_bytes = (size_t)p->dim * sizeof(float), all = (size_t)p->rows;
    const double *w = p->weight, scale = 1.4426950408889634 / p->temperature, largest = 1.01 * scale;
    assert_int_equal(p->rows % ranks, 0);
    for (int d = 0; d < EC_DIRECTIONS; d++) s.coefficient[d] = w[d] / ((double)p->rows * p->temperature);
    place_classes(&s);
    s.op = (ec_supcon_problem){.global_rows = p->rows, .dim = p->dim, .rows = s.rows, .intra = {w[0] > 0, w[1] > 0},
                               .cross = w[2] > 0 || w[3] > 0, .inverse_t = 1 / p->temperature, .scale = (float)scale,
                               .row_shift = 2 * largest > 115, .shared_shift = (float)largest};
    for (int m = 0; m < 2; m++) s.op.z[m] = keep(&s, p->z[m], all * row_bytes);
    CHECK_OK(be->supcon->reserve(be, &s.op));
    const size_t scratch = be->supcon->scratch_bytes(be, &s.op, s.classes.most);
    s.op.scratch = keep(&s, NULL, scratch);
    for (int m = 0; m < 2; m++) s.grad[m] = keep(&s, NULL, all * row_bytes);
    s.weight = keep(&s, NULL, EC_DIRECTIONS * all * sizeof(float));
    s.shift = keep(&s, NULL, EC_DIRECTIONS * all * sizeof(float));
    s.loss = keep(&s, NULL, EC_DIRECTIONS * sizeof(double));
    s.pieces = keep(&s, NULL, (size_t)ranks * ec__supcon_rows_bytes(s.rows));
    /* As the loss does: directions without weight are never written. */
    CHECK_OK(be->memory->zero(be, be->main_stream(be), s.pieces, (size_t)ranks * ec__supcon_rows_bytes(s.rows)));
    return s;
}

static ec_supcon_rows own_of(const setup *s, int32_t rank) {
    return ec__supcon_rows_in(s->pieces + (size_t)rank * ec__supcon_rows_bytes(s->rows), s->rows);
}

static outcome outcome_of(const setup *s) {
    const size_t all = (size_t)s->p->rows, own = (size_t)s->rows;
    outcome o = {.sum = take(EC_DIRECTIONS * all, sizeof(double)), .positive = take(EC_DIRECTIONS * all, sizeof(double))};
    for (int m = 0; m < 2; m++) o.grad[m] = get(s->be, s->grad[m], all * (size_t)s->p->dim * sizeof(float));
    o.weight = get(s->be, s->weight, EC_DIRECTIONS * all * sizeof(float));
    double *loss = get(s->be, s->loss, sizeof o.loss);
    memcpy(o.loss, loss, sizeof o.loss);
    free(loss);
    char *pieces = get(s->be, s->pieces, (size_t)s->ranks * ec__supcon_rows_bytes(s->rows));
    for (int32_t r = 0; r < s->ranks; r++) {
        const ec_supcon_rows piece = ec__supcon_rows_in(pieces + (size_t)r * ec__supcon_rows_bytes(s->rows), s->rows);
        for (size_t d = 0; d < EC_DIRECTIONS; d++) {
            memcpy(o.sum + d * all + (size_t)r * own, piece.sum + d * own, own * sizeof(double));
            memcpy(o.positive + d * all + (size_t)r * own, piece.positive + d * own, own * sizeof(double));
        }
    }
    free(pieces);
    return o;
}

static void setup_free(setup *s) {
    while (s->used > 0) s->be->memory->free(s->be, s->memory[--s->used]);
}

static ec_status enqueue_step(void *arg) {
    const setup *s = arg;
    const ec_supcon_ops *ops = s->be->supcon;
    const ec_supcon_rows own = own_of(s, 0);
    EC_RETURN_IF(ops->prepare(s->be, &s->op));
    EC_RETURN_IF(ops->positives(s->be, &s->op, &s->classes, s->coefficient, &own, s->grad));
    EC_RETURN_IF(ops->sums(s->be, &s->op, &own));
    EC_RETURN_IF(ops->weights(s->be, &s->op, &s->classes, s->coefficient, s->pieces, s->weight, s->shift, s->loss));
    return ops->gradient(s->be, &s->op, s->weight, s->shift, s->grad);
}

/* The whole step of every rank. */
static outcome run(ec_backend *be, const problem *p, int32_t ranks) {
    setup s = setup_new(be, p, ranks);
    const ec_supcon_ops *ops = be->supcon;
    for (int32_t r = 0; r < ranks; r++) {
        const ec_supcon_rows own = own_of(&s, r);
        s.op.first = r * (int64_t)s.rows;
        float *const grad[2] = {s.grad[0] + s.op.first * p->dim, s.grad[1] + s.op.first * p->dim};
        CHECK_OK(ops->prepare(be, &s.op));
        CHECK_OK(ops->positives(be, &s.op, &s.classes, s.coefficient, &own, grad));
        CHECK_OK(ops->sums(be, &s.op, &own));
    }
    for (int32_t r = 0; r < ranks; r++) {
        s.op.first = r * (int64_t)s.rows;
        float *const grad[2] = {s.grad[0] + s.op.first * p->dim, s.grad[1] + s.op.first * p->dim};
        CHECK_OK(ops->prepare(be, &s.op));
        CHECK_OK(ops->weights(be, &s.op, &s.classes, s.coefficient, s.pieces, s.weight, s.shift, s.loss));
        CHECK_OK(ops->gradient(be, &s.op, s.weight, s.shift, grad));
    }
    CHECK_OK(be->synchronize(be));
    const outcome o = outcome_of(&s);
    setup_free(&s);
    return o;
}

/* Largest |a - b| over largest |b|, which is at least least; NaN where a has one. */
static double distance(const float *a, const float *b, int64_t count, double least) {
    double worst = 0, largest = least;
    for (int64_t i = 0; i < count; i++) {
        const double off = fabs((double)a[i] - (double)b[i]);
        if (!(off <= worst)) worst = off;
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

/* exact: what is made in double precision or float32 whatever the products are rounded to. */
static void check(const char *what, const problem *p, const outcome *cuda, const outcome *cpu, double limit,
                  double exact) {
    char text[256];
    const bool row_shift = 2.02 * 1.4426950408889634 / p->temperature > 115;
    for (int d = 0; d < EC_DIRECTIONS; d++) {
        if (p->weight[d] == 0) {
            assert_true(cuda->loss[d] == 0);
            continue;
        }
        snprintf(text, sizeof text, "%s: loss %d = %.9g, CPU %.9g", what, d, cuda->loss[d], cpu->loss[d]);
        test_limit(text, fabs(cuda->loss[d] - cpu->loss[d]) / fmax(1, fabs(cpu->loss[d])), exact);
        for (int64_t i = d * p->rows; i < (d + 1) * p->rows; i++) {
            snprintf(text, sizeof text, "%s: positives of entry %lld = %.9g, CPU %.9g", what, (long long)i,
                     cuda->positive[i], cpu->positive[i]);
            test_limit(text, fabs(cuda->positive[i] - cpu->positive[i]), 1e-12);
            snprintf(text, sizeof text, "%s: sum of entry %lld = %.9g, CPU %.9g", what, (long long)i, cuda->sum[i],
                     cpu->sum[i]);
            /* With a shift a row the sums stand for different powers: the largest scores differ by their rounding. */
            test_limit(text, fabs(cuda->sum[i] / cpu->sum[i] - 1), row_shift ? 10 * exact : exact);
        }
    }
    /* A gradient may be almost nothing beside the parts it is the difference of, which are about this large. */
    double part = 0;
    for (int d = 0; d < EC_DIRECTIONS; d++) part = fmax(part, p->weight[d] / ((double)p->rows * p->temperature));
    for (int m = 0; m < 2; m++) {
        snprintf(text, sizeof text, "%s: gradient of modality %d", what, m);
        test_limit(text, distance(cuda->grad[m], cpu->grad[m], p->rows * p->dim, part), limit);
    }
}

static void check_problem(int64_t rows, int32_t dim, double temperature, int32_t classes,
                          const double weight[EC_DIRECTIONS], ec_backend *cuda, double limit, double exact) {
    char what[128];
    snprintf(what, sizeof what, "G %lld, D %d, t %g, %d classes, math %d", (long long)rows, dim, temperature, classes,
             (int)cuda->math);
    problem p = problem_new(rows, dim, temperature, classes, weight, cuda->math != EC_MATH_FLOAT32);
    outcome a = run(cuda, &p, 1), b = run(test_cpu, &p, 1);
    check(what, &p, &a, &b, limit, exact);
    outcome_free(&a), outcome_free(&b), problem_free(&p);
}

/* In float32: products keep 22 bits of each factor. The smaller the temperature, the more an error of a score
 * weighs. */
static void check_float32(int64_t rows, int32_t dim, double temperature, int32_t classes,
                          const double weight[EC_DIRECTIONS]) {
    const double limit = temperature < 0.05 ? 5e-5 : 1e-5;
    check_problem(rows, dim, temperature, classes, weight, test_cuda, limit, limit);
}

static void test_widths(void **state) {
    (void)state;
    static const struct { int32_t dim; double temperature; } shape[] = {
        {1, 0.07}, {3, 0.01}, {64, 0.07}, {128, 0.07}, {128, 0.01}, {129, 0.07}, {192, 0.01}, {768, 0.07}, {768, 0.01}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
        check_float32(37, shape[i].dim, shape[i].temperature, 4, ALL_FOUR);
}

static void test_row_counts(void **state) {
    (void)state;
    static const int64_t rows[] = {2, 128, 129};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) check_float32(rows[r], 24, r % 2 ? 0.02 : 0.07, 5, ALL_FOUR);
    check_float32(261, 24, 0.07, 5, ALL_FOUR);
    check_float32(261, 24, 0.02, 5, CROSS);
    /* Wide rows: 3 x 3 pieces of 128. */
    check_float32(261, 129, 0.07, 5, INTRA);
    check_float32(261, 129, 0.01, 5, ONE_WAY);
}

static void test_classes(void **state) {
    (void)state;
    check_float32(50, 12, 0.07, 1, ALL_FOUR);
    check_float32(50, 12, 0.07, 0, ALL_FOUR); /* nobody has a positive */
    check_float32(140, 12, 0.07, 70, CROSS);
    check_float32(140, 12, 0.07, 3, INTRA);
    check_float32(140, 12, 0.01, 3, ONE_WAY);
    check_float32(1, 12, 0.07, 1, CROSS);
    check_float32(1, 12, 0.01, 0, CROSS);
}

static ec_backend *open_cuda(ec_math math) {
    ec_backend *be = NULL;
    const ec_backend_options options = {.math = math, .deterministic = true};
    CHECK_OK(ec__backend_open_with("cuda", &options, &be));
    assert_int_equal(be->math, math);
    return be;
}

/* The order of threads that the emulation runs with; -1 on a GPU. */
static int emulation_seed(void) {
    const char *seed = getenv("EMOCLIM_CUEMU_SEED");
    return seed ? atoi(seed) : -1;
}

/* The two sets of bfloat16 kernels. */
static const char *const PATHS[] = {"portable", "hopper"};
enum { PATH_COUNT = 2 };

/* NULL where the device has no such path. */
static ec_backend *open_path(const char *path) {
    ec_backend *be = NULL;
    const ec_backend_options options = {.math = EC_MATH_BF16, .deterministic = true};
    setenv("EMOCLIM_SUPCON", path, 1);
    const ec_status status = ec__backend_open_with("cuda", &options, &be);
    unsetenv("EMOCLIM_SUPCON");
    if (status == EC_ERR_ENV && strcmp(path, "hopper") == 0 && emulation_seed() < 0) return NULL;
    CHECK_OK(status);
    return be;
}

/* Inputs that the products' type holds exactly, so that only the weights of the gradient are rounded to it. */
static void test_math(void **state) {
    (void)state;
    ec_backend *be[] = {open_cuda(EC_MATH_TF32), open_path(PATHS[0]), open_path(PATHS[1])};
    for (int i = 0; i < 3; i++) {
        const double limit = i == 0 ? 1e-3 : 8e-3;
        if (!be[i]) continue;
        check_problem(150, 96, 0.07, 5, ALL_FOUR, be[i], limit, 1e-5);
        check_problem(150, 40, 0.01, 5, ALL_FOUR, be[i], limit, 5e-5);
        check_problem(270, 150, 0.07, 5, CROSS, be[i], limit, 1e-5);
        be[i]->close(be[i]);
    }
}

/* Narrow rows in pieces, of which there are several, by every set of kernels. */
static void test_narrow_pieces(void **state) {
    (void)state;
    const ec_backend_options options = {.math = EC_MATH_FLOAT32, .deterministic = true};
    ec_backend *be[] = {open_path(PATHS[0]), open_path(PATHS[1])}, *none = NULL;
    setenv("EMOCLIM_SUPCON_GRADIENT", "piece", 1);
    CHECK_ERROR(ec__backend_open_with("cuda", &options, &none), EC_ERR_ENV, "EMOCLIM_SUPCON_GRADIENT=piece:");
    setenv("EMOCLIM_SUPCON_GRADIENT", "pieces", 1);
    check_float32(261, 24, 0.07, 5, ALL_FOUR);
    check_float32(140, 128, 0.01, 3, CROSS);
    for (int i = 0; i < 2; i++) {
        if (!be[i]) continue;
        check_problem(270, 128, 0.07, 5, CROSS, be[i], 8e-3, 1e-5);
        check_problem(140, 40, 0.01, 3, ALL_FOUR, be[i], 8e-3, 5e-5);
        be[i]->close(be[i]);
    }
    unsetenv("EMOCLIM_SUPCON_GRADIENT");
}

/* Widths around panels, with one shift and one a row; few rows, and one more than a tile. */
static void test_hopper(void **state) {
    (void)state;
    static const struct { int64_t rows; int32_t dim; double temperature; } shape[] = {
        {1, 5, 0.07}, {2, 64, 0.07}, {37, 65, 0.01}, {128, 128, 0.07}, {129, 3, 0.01}, {140, 300, 0.01}, {129, 64, 0.07}};
    ec_backend *be = open_path("hopper");
    if (!be) skip();
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
        check_problem(shape[i].rows, shape[i].dim, shape[i].temperature, 3, i % 2 ? ALL_FOUR : CROSS, be, 8e-3,
                      shape[i].temperature < 0.05 ? 5e-5 : 1e-5);
    check_problem(520, 257, 0.07, 3, ONE_WAY, be, 8e-3, 1e-5);
    check_problem(140, 12, 0.07, 3, INTRA, be, 8e-3, 1e-5);
    check_problem(140, 12, 0.01, 3, ONE_WAY, be, 8e-3, 5e-5);
    be->close(be);
}

static void check_same_bits(const char *what, const problem *p, const outcome *a, const outcome *b) {
    const size_t all = EC_DIRECTIONS * (size_t)p->rows;
    if (memcmp(a->loss, b->loss, sizeof a->loss) != 0) fail_msg("%s: losses differ", what);
    if (memcmp(a->positive, b->positive, all * sizeof(double)) != 0) fail_msg("%s: positives differ", what);
    if (memcmp(a->sum, b->sum, all * sizeof(double)) != 0) fail_msg("%s: sums differ", what);
    if (memcmp(a->weight, b->weight, all * sizeof(float)) != 0) fail_msg("%s: weights differ", what);
    for (int m = 0; m < 2; m++)
        if (memcmp(a->grad[m], b->grad[m], (size_t)p->rows * (size_t)p->dim * sizeof(float)) != 0)
            fail_msg("%s: gradients of modality %d differ", what, m);
}

/* On 1 and 4 ranks, and on 2 unless fewest is 4. */
static void check_ranks(ec_backend *cuda, int64_t rows, int32_t dim, double temperature,
                        const double weight[EC_DIRECTIONS], int32_t fewest) {
    problem p = problem_new(rows, dim, temperature, 6, weight, false);
    outcome one = run(cuda, &p, 1);
    for (int32_t ranks = fewest; ranks <= 4; ranks *= 2) {
        char what[128];
        snprintf(what, sizeof what, "G %lld, D %d, t %g on %d ranks", (long long)rows, dim, temperature, ranks);
        outcome more = run(cuda, &p, ranks);
        check_same_bits(what, &p, &one, &more);
        outcome_free(&more);
    }
    outcome_free(&one), problem_free(&p);
}

/* Own rows cut tiles, and of wide rows also pieces: 2 x 2 of 256 in bf16, and 128 in float32; with some of them ranks
 * have nothing to do. */
static void test_ranks(void **state) {
    (void)state;
    for (int i = 0; i < PATH_COUNT; i++) {
        ec_backend *be = open_path(PATHS[i]);
        if (!be) continue;
        check_ranks(be, 300, 20, 0.07, CROSS, 2);
        check_ranks(be, 300, 20, 0.01, INTRA, 4);
        check_ranks(be, 260, 140, 0.07, i == 0 ? ALL_FOUR : ONE_WAY, i == 0 ? 2 : 4);
        be->close(be);
    }
    check_ranks(test_cuda, 60, 24, 0.07, ALL_FOUR, 2);
    check_ranks(test_cuda, 132, 130, 0.01, ALL_FOUR, 4);
}

/* Blocks of 64 and of 128 own rows: the bits of a row do not tell them apart. */
static void test_block_rows(void **state) {
    (void)state;
    ec_backend *on[] = {open_cuda(EC_MATH_FLOAT32), open_cuda(EC_MATH_TF32), open_path(PATHS[0]), open_path(PATHS[1])};
    for (int i = 0; i < 4; i++) {
        ec_backend *be = on[i];
        if (!be) continue;
        problem p = problem_new(145, 70, 0.07, 6, ALL_FOUR, true);
        setenv("EMOCLIM_SUPCON_ROWS", "64", 1);
        outcome half = run(be, &p, 1);
        setenv("EMOCLIM_SUPCON_ROWS", "128", 1);
        outcome whole = run(be, &p, 1);
        unsetenv("EMOCLIM_SUPCON_ROWS");
        check_same_bits("blocks of 64 and 128 rows", &p, &half, &whole);
        outcome_free(&half), outcome_free(&whole), problem_free(&p);
        be->close(be);
    }
}

/* A step can be recorded, even before the first one has run, and every replay of it makes the same. */
static void check_recording(ec_backend *be, int64_t rows, int32_t dim) {
    problem p = problem_new(rows, dim, 0.07, 6, ALL_FOUR, true);
    ec_recording *recording = NULL;
    setup s = setup_new(be, &p, 1);
    CHECK_OK(be->record(be, enqueue_step, &s, &recording));
    for (int i = 0; i < 2; i++) CHECK_OK(be->replay(be, recording));
    CHECK_OK(be->synchronize(be));
    outcome replayed = outcome_of(&s), direct = run(be, &p, 1);
    check_same_bits("replayed", &p, &replayed, &direct);
    be->recording_free(be, recording);
    setup_free(&s);
    outcome_free(&direct), outcome_free(&replayed), problem_free(&p);
}

static void test_recording(void **state) {
    (void)state;
    for (int i = 0; i < PATH_COUNT; i++) {
        ec_backend *be = open_path(PATHS[i]);
        if (!be) continue;
        check_recording(be, 90, 40);
        be->close(be);
    }
    /* Products that may have a workspace have one here. */
    ec_backend *fast = NULL;
    const ec_backend_options options = {.math = EC_MATH_BF16};
    CHECK_OK(ec__backend_open_with("cuda", &options, &fast));
    check_recording(fast, 130, 130);
    fast->close(fast);
}

/* The sums of one rank. */
static outcome sums_of(ec_backend *be, const problem *p, int32_t ranks, int32_t rank) {
    setup s = setup_new(be, p, ranks);
    const ec_supcon_rows own = own_of(&s, rank);
    s.op.first = rank * (int64_t)s.rows;
    CHECK_OK(be->supcon->prepare(be, &s.op));
    CHECK_OK(be->supcon->sums(be, &s.op, &own));
    outcome o = outcome_of(&s);
    setup_free(&s);
    return o;
}

/* Those of a rank beside the CPU's; of all ranks beside those of one rank, where all is set. */
static void check_strips(ec_backend *be, int64_t rows, int32_t dim, int32_t ranks, int32_t rank,
                         const double weight[EC_DIRECTIONS], bool all) {
    problem p = problem_new(rows, dim, 0.07, 6, weight, true);
    const int64_t first = rank * rows / ranks, end = first + rows / ranks;
    outcome cpu = sums_of(test_cpu, &p, all ? 1 : ranks, all ? 0 : rank), own = sums_of(be, &p, ranks, rank);
    outcome one = all ? sums_of(be, &p, 1, 0) : own;
    for (int64_t at = 0; at < EC_DIRECTIONS * rows; at++) {
        const bool is_own = at % rows >= first && at % rows < end;
        if (weight[at / rows] == 0 || !(all || is_own)) continue;
        const double off = fabs(one.sum[at] / cpu.sum[at] - 1);
        if (!(off < 1e-5)) fail_msg("D %d, entry %lld: %g off", dim, (long long)at, off);
        if (is_own && one.sum[at] != own.sum[at]) fail_msg("entry %lld: another sum on several ranks", (long long)at);
    }
    outcome_free(&cpu), outcome_free(&own), problem_free(&p);
    if (all) outcome_free(&one);
}

/* So many rows that a strip has two tiles, or three, and a rank owns parts of tiles and of strips: sums of one block
 * alone, a modality with itself, where rows get their sums from both sides; and of rows too wide to stay in shared
 * memory. */
static void test_strips(void **state) {
    (void)state;
    static const double image_alone[EC_DIRECTIONS] = {1, 0, 0, 0};
    for (int i = 0; i < PATH_COUNT; i++) {
        ec_backend *be = open_path(PATHS[i]);
        if (!be) continue;
        check_strips(be, 4224, 4, 3, 1, image_alone, true);
        if (i == 1) check_strips(be, 8320, 4, 13, 4, image_alone, false);
        check_strips(be, 4224, 140, 66, 12, CROSS, false);
        be->close(be);
    }
}

static void test_inspect(void **state) {
    (void)state;
    enum { ROWS = 300, DIM = 37 };
    problem p = problem_new(ROWS, DIM, 1, 1, ALL_FOUR, false);
    static const struct { int32_t row; float value; } spoil[] = {{-1, 0}, {299, 3}, {170, NAN}, {3, -INFINITY}};
    for (size_t i = 0; i < sizeof spoil / sizeof spoil[0]; i++) {
        if (spoil[i].row >= 0) p.z[0][spoil[i].row * DIM + 36] = spoil[i].value;
        float *z = put(test_cuda, p.z[0], sizeof(float) * ROWS * DIM);
        ec_supcon_finding *finding = put(test_cuda, NULL, sizeof *finding);
        CHECK_OK(test_cuda->supcon->inspect(test_cuda, z, ROWS, DIM, 1.01f, finding));
        ec_supcon_finding *told = get(test_cuda, finding, sizeof *told);
        assert_int_equal(told->bad, spoil[i].row);
        if (i == 0) assert_true(told->norm2 == 0);
        if (i == 1) assert_true(told->norm2 > 9 && told->norm2 < 10.1f);
        if (i > 1) assert_false(isfinite(told->norm2));
        free(told);
        test_cuda->memory->free(test_cuda, z);
        test_cuda->memory->free(test_cuda, finding);
    }
    problem_free(&p);
}

static const char *const loss_name[EC_DIRECTIONS] = {"loss_image2image", "loss_audio2audio", "loss_image2audio",
                                                     "loss_audio2image"};
static const char *const weight_name[EC_DIRECTIONS] = {"weight_image2image", "weight_audio2audio", "weight_image2audio",
                                                       "weight_audio2image"};

/* Tolerances of the reference file's README, as for the CPU. The emulation would take long over the two cases of many
 * rows. */
static void check_golden_case(hid_t file, const char *name, void *arg) {
    char what[256];
    ec_comm *comm = arg;
    ec_supcon *loss = NULL;
    double losses[EC_DIRECTIONS];
    void *z[2], *grad[2];
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    test_array from[2] = {test_h5_f32(group, "z_image"), test_h5_f32(group, "z_music")};
    if (from[0].dim[0] > 100 && emulation_seed() >= 0) {
        test_array_release(&from[0]), test_array_release(&from[1]);
        H5Gclose(group);
        return;
    }
    test_array label[2] = {test_h5_i32(group, "labels_image"), test_h5_i32(group, "labels_music")};
    test_array ref[2] = {test_h5_f64(group, "grad_image"), test_h5_f64(group, "grad_music")};
    ec_supcon_config config = {.global_rows = from[0].dim[0], .dim = (int32_t)from[0].dim[1],
                               .temperature = (float)test_h5_attr(group, "temperature"),
                               .norm2_most = 1.01f};
    const size_t bytes = (size_t)from[0].count * sizeof(float);
    const bool is_cold = config.temperature < 0.07f;
    for (int d = 0; d < EC_DIRECTIONS; d++) config.weight[d] = (float)test_h5_attr(group, weight_name[d]);
    for (int m = 0; m < 2; m++) {
        z[m] = put(test_cuda, from[m].f32, bytes);
        grad[m] = put(test_cuda, NULL, bytes);
    }
    CHECK_OK(ec__supcon_new(test_cuda, comm, &config, &loss));
    CHECK_OK(ec__supcon_run(loss, z[0], z[1], label[0].i32, label[1].i32, grad[0], grad[1], losses));
    ec__supcon_free(loss);
    for (int d = 0; d < EC_DIRECTIONS; d++) {
        const double expected = config.weight[d] > 0 ? test_h5_scalar(group, loss_name[d]) : 0;
        snprintf(what, sizeof what, "%s: loss %d = %.9g, reference %.9g", name, d, losses[d], expected);
        test_limit(what, fabs(losses[d] - expected) / (is_cold && expected > 1 ? expected : 1), 1e-5);
    }
    for (int m = 0; m < 2; m++) {
        float *got = get(test_cuda, grad[m], bytes);
        const test_error e = test_compare(got, ref[m].f64, ref[m].count);
        snprintf(what, sizeof what, "%s: gradient of modality %d", name, m);
        if (e.ref_max == 0) test_limit(what, e.abs, 1e-6);
        else test_limit(what, e.rel_l2, is_cold ? 5e-5 : 2e-5);
        free(got);
        test_cuda->memory->free(test_cuda, z[m]);
        test_cuda->memory->free(test_cuda, grad[m]);
        test_array_release(&from[m]), test_array_release(&label[m]), test_array_release(&ref[m]);
    }
    H5Gclose(group);
}

static void test_golden(void **state) {
    (void)state;
    ec_comm *comm = NULL;
    if (emulation_seed() > 0) skip(); /* other orders have been tried by the tests above */
    CHECK_OK(ec__comm_open("self", &comm));
    hid_t file = test_h5_open(test_golden_path("supcon.h5"));
    assert_true(test_h5_attr(file, "n_cases") > 0);
    test_h5_each(file, check_golden_case, comm);
    H5Fclose(file);
    ec__comm_close(comm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspect), cmocka_unit_test(test_widths),    cmocka_unit_test(test_row_counts),
        cmocka_unit_test(test_classes), cmocka_unit_test(test_math),      cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_strips),  cmocka_unit_test(test_recording), cmocka_unit_test(test_block_rows),
        cmocka_unit_test(test_hopper),  cmocka_unit_test(test_golden),    cmocka_unit_test(test_narrow_pieces),
    };
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
