/* The operations of ops_supcon.h for rows that come in blocks: on any number of ranks, one after the other in one
 * process, they make the bits that they make of all rows at once on one rank. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/ops_supcon.h"
#include "cuda_support.h"
#include "loss/supcon_classes.h"

enum { DIRECTIONS = EC_SUPCON_DIRECTIONS, MEMORIES = 24 };

typedef struct shape {
    int32_t rows, dim, classes; /* classes 0: every label occurs once */
    double temperature;
    bool intra[2], cross;
} shape;

/* A problem in the device's memory, on so many ranks. */
typedef struct setup {
    ec_backend *be;
    shape shape;
    int32_t ranks, rows, block; /* block 0: all rows are there */
    double coefficient[DIRECTIONS];
    ec_supcon_classes classes;
    ec_supcon_problem op; /* of the rank that is at it */
    void *memory[MEMORIES];
    int used;
    float *z[2], *grad[2], *landing, *weight, *shift;
    char *pieces;
    double *loss;
} setup;

/* What came of it, on the host and in the order of the whole batch. */
typedef struct outcome {
    size_t bytes;
    char *of; /* losses, weights, shifts, gradients; then sums and positives */
} outcome;

static bool is_thorough;

static void *take(size_t count, size_t size) {
    void *p = calloc(count + 1, size);
    assert_non_null(p);
    return p;
}

/* NULL from: undefined. */
static void *keep(setup *s, const void *from, size_t bytes) {
    void *memory = NULL;
    assert_true(s->used < MEMORIES);
    CHECK_OK(s->be->memory->alloc(s->be, bytes, &memory));
    if (from) CHECK_OK(s->be->memory->upload(s->be, s->be->main_stream(s->be), memory, from, bytes));
    CHECK_OK(s->be->synchronize(s->be));
    return s->memory[s->used++] = memory;
}

static void place_classes(setup *s) {
    const int32_t rows = s->shape.rows, most = 2 * rows;
    int32_t *label = take(2 * (size_t)rows, sizeof *label);
    for (int32_t i = 0; i < 2 * rows; i++)
        label[i] = s->shape.classes > 0 ? (i % rows * 7 + i % rows / 5 + 3 * (i / rows)) % s->shape.classes : i;
    ec_arena counting = ec__arena_counting();
    ec__class_sorter(rows, most, &counting);
    void *memory = aligned_alloc(EC_ARENA_ALIGN, ec__arena_used(&counting));
    assert_non_null(memory);
    ec_arena arena = ec__arena_over(memory, ec__arena_used(&counting));
    ec_class_sorter sorter = ec__class_sorter(rows, most, &arena);
    CHECK_OK(ec__class_sort(&sorter, label));
    const size_t count = (size_t)*sorter.count, size = sizeof(int32_t);
    s->classes.most = *sorter.count + 2;
    s->classes.count = keep(s, sorter.count, size);
    s->classes.order = keep(s, sorter.order, 2 * (size_t)rows * size);
    s->classes.start = keep(s, sorter.start, (count + 1) * size);
    s->classes.music = keep(s, sorter.music, count * size);
    free(memory), free(label);
}

static void place_rows(setup *s) {
    const int64_t rows = s->shape.rows, dim = s->shape.dim;
    for (int m = 0; m < 2; m++) {
        float *z = take((size_t)(rows * dim), sizeof *z);
        test_fill(z, rows * dim, (uint64_t)(rows + 31 * dim + m));
        for (int64_t i = 0; i < rows; i++) {
            double norm2 = 0;
            for (int64_t k = 0; k < dim; k++) norm2 += (double)z[i * dim + k] * (double)z[i * dim + k];
            for (int64_t k = 0; k < dim; k++) z[i * dim + k] /= (float)sqrt(norm2);
        }
        s->z[m] = keep(s, z, (size_t)(rows * dim) * sizeof *z);
        s->grad[m] = keep(s, z, (size_t)(rows * dim) * sizeof *z);
        free(z);
    }
}

static setup setup_new(ec_backend *be, const shape *of, int32_t ranks, bool in_blocks) {
    setup s = {.be = be, .shape = *of, .ranks = ranks, .rows = of->rows / ranks};
    const double scale = 1.4426950408889634 / of->temperature, largest = 1.01 * scale;
    const size_t all = (size_t)of->rows, piece = ec__supcon_rows_bytes(s.rows);
    assert_int_equal(of->rows % ranks, 0);
    s.op = (ec_supcon_problem){.global_rows = of->rows, .dim = of->dim, .rows = s.rows,
                               .intra = {of->intra[0], of->intra[1]}, .cross = of->cross,
                               .inverse_t = 1 / of->temperature, .scale = (float)scale,
                               .row_shift = 2 * largest > 115, .shared_shift = (float)largest};
    for (int d = 0; d < DIRECTIONS; d++) {
        const bool wanted = d < 2 ? of->intra[d] : of->cross;
        s.coefficient[d] = wanted ? (0.3 + 0.2 * d) / (of->rows * of->temperature) : 0;
    }
    if (in_blocks) s.op.block = s.block = be->supcon->stream->block_rows(be, &s.op);
    place_classes(&s);
    place_rows(&s);
    s.landing = keep(&s, NULL, (size_t)(s.block + 1) * (size_t)of->dim * sizeof(float));
    s.op.scratch = keep(&s, NULL, be->supcon->scratch_bytes(be, &s.op, s.classes.most));
    s.weight = keep(&s, NULL, DIRECTIONS * all * sizeof(float));
    s.shift = keep(&s, NULL, DIRECTIONS * all * sizeof(float));
    s.loss = keep(&s, NULL, DIRECTIONS * sizeof(double));
    s.pieces = keep(&s, NULL, (size_t)ranks * piece);
    /* As the loss does: directions without weight are never written. */
    for (int i = 0; i < 2; i++)
        CHECK_OK(be->memory->zero(be, be->main_stream(be), i ? (void *)s.shift : s.pieces,
                                  i ? DIRECTIONS * all * sizeof(float) : (size_t)ranks * piece));
    CHECK_OK(be->supcon->reserve(be, &s.op));
    return s;
}

static void setup_free(setup *s) {
    while (s->used > 0) s->be->memory->free(s->be, s->memory[--s->used]);
}

static ec_supcon_rows own_of(const setup *s, int32_t rank) {
    return ec__supcon_rows_in(s->pieces + (size_t)rank * ec__supcon_rows_bytes(s->rows), s->rows);
}

/* A rank's turn: its rows, and its part of the gradient. */
static void become(setup *s, int32_t rank, float *grad[2]) {
    s->op.first = rank * (int64_t)s->rows;
    for (int m = 0; m < 2; m++) {
        s->op.z[m] = s->z[m] + (s->block ? s->op.first * s->shape.dim : 0);
        grad[m] = s->grad[m] + s->op.first * s->shape.dim;
    }
    CHECK_OK(s->be->supcon->prepare(s->be, &s->op));
}

/* Both modalities' blocks, which land where the one before lay: for class sums and sums, or for the gradient. */
static void for_each_block(setup *s, bool is_first_pass, float *const grad[2]) {
    const ec_supcon_stream_ops *ops = s->be->supcon->stream;
    const ec_supcon_classes *classes = is_first_pass ? &s->classes : NULL;
    for (int m = 0; m < 2; m++)
        for (int32_t begin = 0; begin < s->shape.rows; begin += s->block) {
            const int32_t left = s->shape.rows - begin, rows = left < s->block ? left : s->block;
            const ec_supcon_block block = {m, begin, rows};
            const size_t row = (size_t)s->shape.dim;
            CHECK_OK(s->be->memory->copy(s->be, s->be->main_stream(s->be), s->landing, s->z[m] + (size_t)begin * row,
                                         (size_t)rows * row * sizeof(float)));
            CHECK_OK(ops->take(s->be, &s->op, classes, &block, s->landing));
            CHECK_OK(is_first_pass ? ops->sums(s->be, &s->op, &block)
                                   : ops->gradient(s->be, &s->op, &block, s->weight, s->shift, grad));
        }
}

static void first_pass(setup *s, int32_t rank) {
    const ec_supcon_ops *ops = s->be->supcon;
    const ec_supcon_rows own = own_of(s, rank);
    float *grad[2];
    become(s, rank, grad);
    if (s->block) for_each_block(s, true, grad);
    CHECK_OK(ops->sums(s->be, &s->op, &own));
    CHECK_OK(ops->positives(s->be, &s->op, &s->classes, s->coefficient, &own, grad));
}

static void second_pass(setup *s, int32_t rank) {
    const ec_supcon_ops *ops = s->be->supcon;
    float *grad[2];
    become(s, rank, grad);
    CHECK_OK(ops->weights(s->be, &s->op, &s->classes, s->coefficient, s->pieces, s->weight, s->shift, s->loss));
    if (s->block) for_each_block(s, false, grad);
    else CHECK_OK(ops->gradient(s->be, &s->op, s->weight, s->shift, grad));
}

static char *get(setup *s, char *to, const void *from, size_t bytes) {
    CHECK_OK(s->be->memory->download(s->be, s->be->main_stream(s->be), to, from, bytes));
    CHECK_OK(s->be->synchronize(s->be));
    return to + bytes;
}

static outcome outcome_of(setup *s) {
    const size_t all = (size_t)s->shape.rows, own = (size_t)s->rows, row = (size_t)s->shape.dim * sizeof(float);
    const size_t rows_bytes = 2 * DIRECTIONS * all * sizeof(double);
    const size_t first = DIRECTIONS * (sizeof(double) + 2 * all * sizeof(float)) + 2 * all * row;
    outcome o = {.bytes = first + rows_bytes, .of = take(first + rows_bytes, 1)};
    char *to = get(s, o.of, s->loss, DIRECTIONS * sizeof(double));
    to = get(s, to, s->weight, DIRECTIONS * all * sizeof(float));
    to = get(s, to, s->shift, DIRECTIONS * all * sizeof(float));
    for (int m = 0; m < 2; m++) to = get(s, to, s->grad[m], all * row);
    double *sum = (double *)(void *)to, *positive = sum + DIRECTIONS * all;
    for (int32_t r = 0; r < s->ranks; r++) {
        const ec_supcon_rows piece = own_of(s, r);
        for (size_t d = 0; d < DIRECTIONS; d++) {
            get(s, (char *)(sum + d * all + (size_t)r * own), piece.sum + d * own, own * sizeof(double));
            get(s, (char *)(positive + d * all + (size_t)r * own), piece.positive + d * own, own * sizeof(double));
        }
    }
    return o;
}

static outcome run(ec_backend *be, const shape *of, int32_t ranks, bool in_blocks) {
    setup s = setup_new(be, of, ranks, in_blocks);
    for (int32_t r = 0; r < ranks; r++) first_pass(&s, r);
    for (int32_t r = 0; r < ranks; r++) second_pass(&s, r);
    const outcome o = outcome_of(&s);
    setup_free(&s);
    return o;
}

static void check(ec_backend *be, const shape *of, int32_t ranks) {
    outcome one = run(be, of, 1, false), more = run(be, of, ranks, true);
    assert_int_equal(one.bytes, more.bytes);
    for (size_t i = 0; i < one.bytes; i++)
        if (one.of[i] != more.of[i])
            fail_msg("G %d, D %d, t %g in blocks on %d ranks: byte %zu of %zu differs", of->rows, of->dim,
                     of->temperature, ranks, i, one.bytes);
    free(one.of), free(more.of);
}

static ec_backend *open_math(ec_math math, const char *path) {
    ec_backend *be = NULL;
    const ec_backend_options options = {.math = math, .deterministic = true};
    if (path) setenv("EMOCLIM_SUPCON", path, 1);
    const ec_status status = ec__backend_open_with("cuda", &options, &be);
    unsetenv("EMOCLIM_SUPCON");
    if (status == EC_ERR_ENV && path && !getenv("EMOCLIM_CUEMU_SEED")) return NULL; /* another device */
    CHECK_OK(status);
    return be;
}

static const char *const PATHS[] = {"portable", "hopper"};

/* Two blocks; the last one is not of whole tiles, and ranks' rows begin within tiles. */
static void test_narrow(void **state) {
    (void)state;
    static const shape shapes[] = {{540, 20, 5, 0.07, {true, true}, true}, {540, 7, 140, 0.01, {true, false}, true}};
    for (int i = 0; i < 2; i++) {
        ec_backend *be = open_math(EC_MATH_BF16, PATHS[i]);
        if (!be) continue;
        check(be, &shapes[i], 4 - i);
        if (is_thorough) check(be, &shapes[1 - i], 3);
        if (is_thorough) check(be, &shapes[i], 1);
        be->close(be);
    }
    static const shape odd = {514, 24, 5, 0.07, {false, true}, true};
    if (is_thorough) check(test_cuda, &odd, 2);
}

/* Pieces of 256 rows, two a block, of which ranks own parts. Then of 128, in float32, and with a shift a row: the last
 * bits show which side of a piece is its rows. */
static void test_wide(void **state) {
    (void)state;
    static const shape shapes[] = {{540, 129, 3, 0.01, {false, true}, true}, {540, 136, 5, 0.07, {true, true}, true}};
    for (int i = 0; i < 2; i++) {
        ec_backend *be = i == 0 || is_thorough ? open_math(EC_MATH_BF16, PATHS[i]) : NULL;
        if (!be) continue;
        check(be, &shapes[i], 4);
        be->close(be);
    }
    static const shape few = {260, 129, 3, 0.01, {false, true}, true};
    check(test_cuda, &few, 2);
}

/* Strips of six tiles, longer than a step and no multiple of one: sums of a rank that begins within a tile. */
static void check_strips(ec_backend *be, const shape *of, int32_t ranks, int32_t rank) {
    double *sum[2];
    const size_t bytes = DIRECTIONS * (size_t)(of->rows / ranks) * sizeof(double);
    for (int i = 0; i < 2; i++) {
        setup s = setup_new(be, of, ranks, i == 1);
        float *grad[2];
        const ec_supcon_rows own = own_of(&s, rank);
        sum[i] = take(bytes, 1);
        become(&s, rank, grad);
        if (i == 1) for_each_block(&s, true, grad);
        CHECK_OK(be->supcon->sums(be, &s.op, &own));
        get(&s, (char *)sum[i], own.sum, bytes);
        setup_free(&s);
    }
    if (memcmp(sum[0], sum[1], bytes) != 0) fail_msg("G %d: sums of rank %d of %d differ", of->rows, rank, ranks);
    free(sum[0]), free(sum[1]);
}

static void test_strips(void **state) {
    (void)state;
    static const shape shapes[] = {{16896, 2, 5, 0.07, {false, true}, true}, {16896, 2, 5, 0.01, {true, false}, true}};
    for (int i = 0; i < 2; i++) {
        ec_backend *be = open_math(EC_MATH_BF16, PATHS[i]);
        if (!be) continue;
        check_strips(be, &shapes[i], 128, 70);
        be->close(be);
    }
}

/* With an argument, all there is. */
int main(int argc, char **argv) {
    (void)argv;
    is_thorough = argc > 1;
    setenv("EMOCLIM_SUPCON_BLOCK", "1", 1); /* the smallest blocks that there are */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_narrow), cmocka_unit_test(test_wide),
                                       cmocka_unit_test(test_strips)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
