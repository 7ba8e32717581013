/* ops_head.h, CUDA against the CPU: the sums over rows. They are also cut in pieces, which must not show in the
 * bits. */
#include "compute/ops_head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_support.h"

static const int32_t widths[] = {1, 3, 128, 256, 512}, row_counts[] = {1, 31, 32, 33, 257};
enum { SIZES = 5 };

static ec_stream *stream_of(ec_backend *be) { return be->main_stream(be); }

static test_pair matrix(int32_t rows, int32_t width, uint64_t seed) {
    return test_pair_new((int64_t)rows * width, seed);
}

/* Everything that the three operations read and write; x, y, z are matrices. */
typedef struct leaf_case {
    int32_t rows, width;
    test_pair x, y, z, column[3], row, leaf; /* leaf: two rows of width */
} leaf_case;

static leaf_case case_new(int32_t rows, int32_t width) {
    leaf_case c = {.rows = rows, .width = width, .x = matrix(rows, width, 21), .y = matrix(rows, width, 22)};
    c.z = matrix(rows, width, 23);
    for (int i = 0; i < 3; i++) c.column[i] = test_pair_new(width, 24 + (uint64_t)i);
    c.row = test_pair_new(rows, 27);
    c.leaf = test_pair_new(2 * width, 0);
    return c;
}

static void case_free(leaf_case *c) {
    test_pair_free(&c->x), test_pair_free(&c->y), test_pair_free(&c->z), test_pair_free(&c->row);
    for (int i = 0; i < 3; i++) test_pair_free(&c->column[i]);
    test_pair_free(&c->leaf);
}

/* One of the operations over rows [row, row + rows) of the case. */
typedef void (*leaf_fn)(leaf_case *c, ec_backend *be, int32_t row, int32_t rows);

/* Runs op on CUDA in pieces of one, two and three blocks, then over all rows on both; the leaf must always have the
 * same bits. undo brings what op changed back to what it was. */
static void run(leaf_case *c, leaf_fn op, void (*undo)(leaf_case *c)) {
    const size_t bytes = sizeof(float) * 2 * (size_t)c->width;
    float *whole = malloc(bytes), *pieces = malloc(bytes);
    for (int32_t blocks = 1; blocks <= 3; blocks++) {
        undo(c);
        for (int32_t row = 0, n; row < c->rows; row += n) {
            n = c->rows - row < blocks * EC_HEAD_BLOCK ? c->rows - row : blocks * EC_HEAD_BLOCK;
            op(c, test_cuda, row, n);
        }
        test_cuda_download(blocks == 1 ? whole : pieces, c->leaf.cuda, bytes);
        if (blocks > 1) assert_memory_equal(pieces, whole, bytes);
    }
    undo(c);
    for TEST_EACH(be) op(c, be, 0, c->rows);
    test_cuda_download(pieces, c->leaf.cuda, bytes);
    assert_memory_equal(pieces, whole, bytes);
    free(whole);
    free(pieces);
}

static float *rows_in(const leaf_case *c, const test_pair *x, const ec_backend *be, int32_t row) {
    return test_pair_in(x, be) + (int64_t)row * c->width;
}

static void op_bn_leaf(leaf_case *c, ec_backend *be, int32_t row, int32_t rows) {
    float *mean = test_pair_in(&c->leaf, be);
    CHECK_OK(be->head->bn_leaf(be, stream_of(be), rows, c->width, rows_in(c, &c->x, be, row),
                               test_pair_in(&c->row, be) + row, test_pair_in(&c->column[0], be), row, mean,
                               mean + c->width));
}

/* Every third column is constant: its rows are the same before they are scaled, and scaled alike. */
static void fill_bn_leaf(leaf_case *c) {
    test_fill(c->x.cpu, c->x.count, 21);
    for (int32_t i = 0; i < c->rows; i++) {
        c->row.cpu[i] = 0.7f;
        for (int32_t j = 0; j < c->width; j += 3) c->x.cpu[(int64_t)i * c->width + j] = 0.3f + (float)j;
    }
    test_pair_upload(&c->row);
    test_pair_upload(&c->x);
}

/* The sums of squares of constant columns are rounding errors. */
static void check_m2(const leaf_case *c) {
    float *copy = malloc(sizeof(float) * 2 * (size_t)c->width);
    test_cuda_download(copy, c->leaf.cuda, sizeof(float) * 2 * (size_t)c->width);
    for (int32_t j = 0; j < c->width; j++) {
        const double mean = c->leaf.cpu[j], m2 = c->leaf.cpu[c->width + j];
        const double noise = 1e-6 * (1 + fabs(mean));
        if (!(fabs(copy[c->width + j] - m2) <= 2e-5 * m2 + c->rows * noise * noise))
            fail_msg("m2 of column %d of %d, %d rows: %g, not %g", j, c->width, c->rows, (double)copy[c->width + j],
                     m2);
    }
    free(copy);
}

static void check_bn_leaf(int32_t rows, int32_t width) {
    leaf_case c = case_new(rows, width);
    run(&c, op_bn_leaf, fill_bn_leaf);
    test_pair_check("bn_leaf: scaled rows", &c.x, 2.5e-7);
    check_m2(&c);
    c.leaf.count = width;
    test_pair_check("bn_leaf: means", &c.leaf, 1e-6);
    case_free(&c);
}

static void op_backward_leaf(leaf_case *c, ec_backend *be, int32_t row, int32_t rows) {
    const ec_bn bn = {.mean = test_pair_in(&c->column[0], be), .inv_std = test_pair_in(&c->column[1], be)};
    float *sum = test_pair_in(&c->leaf, be);
    CHECK_OK(be->head->bn_backward_leaf(be, stream_of(be), rows, c->width, &bn, 1.25f, rows_in(c, &c->x, be, row),
                                        rows_in(c, &c->y, be, row), rows_in(c, &c->z, be, row), row, sum,
                                        sum + c->width));
}

static void fill_backward_leaf(leaf_case *c) {
    test_fill(c->y.cpu, c->y.count, 22);
    test_fill(c->z.cpu, c->z.count, 23);
    for (int64_t i = 0; i < c->y.count; i++)
        if (c->y.cpu[i] < 0.f) c->y.cpu[i] = 0.f;
    test_pair_upload(&c->y);
    test_pair_upload(&c->z);
}

static void check_backward_leaf(int32_t rows, int32_t width) {
    leaf_case c = case_new(rows, width);
    run(&c, op_backward_leaf, fill_backward_leaf);
    test_pair_check_bits("bn_backward_leaf: gradient", &c.z);
    test_pair_check("bn_backward_leaf: sums", &c.leaf, 2e-6);
    case_free(&c);
}

static void op_l2_backward(leaf_case *c, ec_backend *be, int32_t row, int32_t rows) {
    CHECK_OK(be->head->l2_backward(be, stream_of(be), rows, c->width, rows_in(c, &c->x, be, row),
                                   test_pair_in(&c->row, be) + row, rows_in(c, &c->y, be, row),
                                   rows_in(c, &c->z, be, row), row, test_pair_in(&c->leaf, be)));
}

static void fill_l2_backward(leaf_case *c) {
    const float clamped = 1.f / 1e-12f;
    test_fill(c->x.cpu, c->x.count, 21);
    for (int32_t i = 0; i < c->rows; i++) c->row.cpu[i] = i % 7 == 3 ? clamped : 0.5f + (float)(i % 5);
    for (int64_t i = 0; i < c->x.count; i++) c->x.cpu[i] /= sqrtf((float)c->width);
    for (int64_t i = 0; i < c->leaf.count; i++) c->leaf.cpu[i] = 0.f;
    test_pair_upload(&c->row);
    test_pair_upload(&c->x);
    test_pair_upload(&c->leaf);
}

/* Rows differ by twelve orders of magnitude, and a row of z that has length 1 leaves only differences: the measure is
 * the factor of the row. */
static void check_l2_rows(const leaf_case *c) {
    float *copy = malloc(sizeof(float) * (size_t)c->z.count);
    test_cuda_download(copy, c->z.cuda, sizeof(float) * (size_t)c->z.count);
    for (int64_t i = 0; i < c->z.count; i++)
        if (!(fabs((double)copy[i] - c->z.cpu[i]) <= 5e-7 * c->row.cpu[i / c->width]))
            fail_msg("l2_backward: row %lld: %g, not %g", (long long)(i / c->width), (double)copy[i],
                     (double)c->z.cpu[i]);
    free(copy);
}

static void check_l2_backward(int32_t rows, int32_t width) {
    leaf_case c = case_new(rows, width);
    run(&c, op_l2_backward, fill_l2_backward);
    check_l2_rows(&c);
    test_pair_check("l2_backward: sums", &c.leaf, 2e-6);
    case_free(&c);
}

static void each_size(void (*check)(int32_t rows, int32_t width)) {
    for (int w = 0; w < SIZES; w++)
        for (int r = 0; r < SIZES; r++)
            if (widths[w] < 256 || r % 3 == 1) check(row_counts[r], widths[w]);
}

static void test_bn_leaf(void **state) {
    (void)state;
    each_size(check_bn_leaf);
}

static void test_backward_leaf(void **state) {
    (void)state;
    each_size(check_backward_leaf);
}

static void test_l2_backward(void **state) {
    (void)state;
    each_size(check_l2_backward);
}

/* More rows than one launch has room for, and widths beyond what there is. */
static void test_limits(void **state) {
    (void)state;
    leaf_case c = case_new(600, 8192);
    for TEST_EACH(be) op_bn_leaf(&c, be, 0, c.rows);
    c.leaf.count = c.width;
    test_pair_check("bn_leaf in two launches: means", &c.leaf, 1e-6);
    case_free(&c);
    test_pair x = test_pair_new(1, 1);
    CHECK_ERROR(test_cuda->head->bn_leaf(test_cuda, stream_of(test_cuda), 1, 1 << 20, x.cuda, NULL, x.cuda, 0, x.cuda,
                                         x.cuda),
                EC_ERR_CONFIG, "a projection head of width 1048576; at most 8192");
    test_pair_free(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bn_leaf), cmocka_unit_test(test_backward_leaf),
                                       cmocka_unit_test(test_l2_backward), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
