/* ops_head.h, CUDA against the CPU: what goes element by element or row by row, and BatchNorm's statistics. */
#include "compute/ops_head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_support.h"

static const int32_t widths[] = {1, 3, 128, 256, 512}, row_counts[] = {1, 31, 32, 33, 257};
enum { SIZES = 5 };

/* Calls test for every width and number of rows; of the large widths for two numbers each. */
static void each_size(void (*test)(int32_t rows, int32_t width)) {
    for (int w = 0; w < SIZES; w++)
        for (int r = 0; r < SIZES; r++)
            if (widths[w] < 256 || r % 3 == 1) test(row_counts[r], widths[w]);
}

static test_pair matrix(int32_t rows, int32_t width, uint64_t seed) {
    return test_pair_new((int64_t)rows * width, seed);
}

/* Every fourth row becomes zero, from the second on. */
static void clear_rows(test_pair *x, int32_t rows, int32_t width) {
    for (int32_t i = 1; i < rows; i += 4) memset(x->cpu + (int64_t)i * width, 0, sizeof(float) * (size_t)width);
    test_pair_upload(x);
}

static ec_stream *stream_of(ec_backend *be) { return be->main_stream(be); }

static void check_rows(int32_t rows, int32_t width) {
    test_pair x = matrix(rows, width, 1), scale = test_pair_new(rows, 0), z = matrix(rows, width, 0);
    test_pair factor = test_pair_new(rows, 0);
    clear_rows(&x, rows, width);
    for TEST_EACH(be) {
        float *in = test_pair_in(&x, be), *out = test_pair_in(&z, be);
        CHECK_OK(be->head->row_scales(be, stream_of(be), rows, width, in, test_pair_in(&scale, be)));
        CHECK_OK(be->head->l2_forward(be, stream_of(be), rows, width, in, out, test_pair_in(&factor, be)));
    }
    test_pair_check_each("row_scales", &scale, 1e-6);
    test_pair_check_each("the factor of l2_forward", &factor, 1e-6);
    test_pair_check_each("l2_forward", &z, 1e-6);
    for TEST_EACH(be) { /* in place, without the factors */
        float *in = test_pair_in(&x, be);
        CHECK_OK(be->head->l2_forward(be, stream_of(be), rows, width, in, in, NULL));
    }
    test_pair_check_each("l2_forward in place", &x, 1e-6);
    test_pair_free(&x), test_pair_free(&scale), test_pair_free(&z), test_pair_free(&factor);
}

static void test_rows(void **state) {
    (void)state;
    each_size(check_rows);
}

static void check_scale_rows(int32_t rows, int32_t width) {
    test_pair h = matrix(rows, width, 2), scale = test_pair_new(rows, 3), bias = test_pair_new(width, 4);
    for TEST_EACH(be) {
        float *x = test_pair_in(&h, be), *b = test_pair_in(&bias, be);
        CHECK_OK(be->head->scale_rows(be, stream_of(be), rows, width, x, test_pair_in(&scale, be), b));
        CHECK_OK(be->head->scale_rows(be, stream_of(be), rows, width, x, NULL, b));
    }
    test_pair_check("scale_rows", &h, 2.5e-7);
    test_pair_free(&h), test_pair_free(&scale), test_pair_free(&bias);
}

static void test_scale_rows(void **state) {
    (void)state;
    each_size(check_scale_rows);
}

/* A BatchNorm in both memories. */
typedef struct norm {
    test_pair mean, inv_std, gamma, beta;
} norm;

static norm norm_new(int32_t width, float shift) {
    norm n = {test_pair_new(width, 11), test_pair_new(width, 12), test_pair_new(width, 13), test_pair_new(width, 14)};
    for (int32_t j = 0; j < width; j++) {
        n.inv_std.cpu[j] = 1.5f + n.inv_std.cpu[j];
        n.beta.cpu[j] += shift;
    }
    test_pair_upload(&n.inv_std);
    test_pair_upload(&n.beta);
    return n;
}

static ec_bn norm_in(const norm *n, const ec_backend *be) {
    return (ec_bn){test_pair_in(&n->mean, be), test_pair_in(&n->inv_std, be), test_pair_in(&n->gamma, be),
                   test_pair_in(&n->beta, be)};
}

static void norm_free(norm *n) {
    test_pair_free(&n->mean), test_pair_free(&n->inv_std), test_pair_free(&n->gamma), test_pair_free(&n->beta);
}

/* The same zeros on both sides: nothing but dropout makes one. */
static void check_drops(const test_pair *a, double expected) {
    float *copy = malloc(sizeof(float) * (size_t)a->count);
    int64_t dropped = 0;
    test_cuda_download(copy, a->cuda, sizeof(float) * (size_t)a->count);
    for (int64_t i = 0; i < a->count; i++) {
        assert_int_equal(copy[i] == 0.f, a->cpu[i] == 0.f);
        dropped += copy[i] == 0.f;
    }
    if (a->count > 10000) assert_true(fabs((double)dropped / (double)a->count - expected) < 0.02);
    free(copy);
}

static void check_dropout(int32_t rows, int32_t width, int64_t first, uint32_t threshold, uint32_t step) {
    test_pair h = matrix(rows, width, 5), a = matrix(rows, width, 0);
    norm n = norm_new(width, 20.f);
    uint32_t *device_step = test_cuda_upload(&step, sizeof step);
    for TEST_EACH(be) {
        const ec_bn bn = norm_in(&n, be);
        const ec_dropout dropout = {.threshold = threshold, .scale = 65536.f / (65536.f - (float)threshold),
                                    .seed = 0x123456789abcdefull, .step = be == test_cpu ? &step : device_step,
                                    .layer = 4};
        CHECK_OK(be->head->bn_forward(be, stream_of(be), rows, width, &bn, &dropout, first, test_pair_in(&h, be),
                                      test_pair_in(&a, be)));
    }
    check_drops(&a, threshold / 65536.);
    test_pair_check_each("bn_forward with dropout", &a, 1e-6);
    test_cuda_free(device_step);
    norm_free(&n);
    test_pair_free(&h), test_pair_free(&a);
}

static void check_forward(int32_t rows, int32_t width) {
    test_pair h = matrix(rows, width, 6);
    norm n = norm_new(width, 0.f);
    h.cpu[0] = NAN; /* must come out as one */
    test_pair_upload(&h);
    for TEST_EACH(be) {
        const ec_bn bn = norm_in(&n, be);
        float *x = test_pair_in(&h, be);
        CHECK_OK(be->head->bn_forward(be, stream_of(be), rows, width, &bn, NULL, 0, x, x));
    }
    assert_true(isnan(h.cpu[0]));
    h.cpu[0] = 1.f;
    float first;
    test_cuda_download(&first, h.cuda, sizeof first);
    assert_true(isnan(first));
    CHECK_OK(test_cuda->memory->upload(test_cuda, stream_of(test_cuda), h.cuda, h.cpu, sizeof first));
    CHECK_OK(test_cuda->synchronize(test_cuda));
    test_pair_check("bn_forward in place", &h, 1e-6);
    norm_free(&n);
    test_pair_free(&h);
    check_dropout(rows, width, 0, 32768, 0);
    check_dropout(rows, width, ((int64_t)1 << 33) + 5, 6554, 4000000000u);
    if (width <= 128) check_dropout(rows, width, 77, 0, 9);
}

static void test_forward(void **state) {
    (void)state;
    each_size(check_forward);
}

static void check_backward(int32_t rows, int32_t width) {
    test_pair h = matrix(rows, width, 7), d = matrix(rows, width, 8), scale = test_pair_new(rows, 9);
    test_pair sum_d = test_pair_new(width, 10), sum_dx = test_pair_new(width, 15);
    norm n = norm_new(width, 0.f);
    for TEST_EACH(be) {
        const ec_bn bn = norm_in(&n, be);
        const float *sums[] = {test_pair_in(&sum_d, be), test_pair_in(&sum_dx, be)}, *x = test_pair_in(&h, be);
        float *g = test_pair_in(&d, be);
        CHECK_OK(be->head->bn_backward(be, stream_of(be), rows, width, &bn, 2 * rows, sums[0], sums[1],
                                       test_pair_in(&scale, be), x, g));
        CHECK_OK(be->head->bn_backward(be, stream_of(be), rows, width, &bn, 3, sums[0], sums[1], NULL, x, g));
    }
    test_pair_check("bn_backward", &d, 2e-6);
    test_pair_check_bits("the input of bn_backward", &h);
    norm_free(&n);
    test_pair_free(&h), test_pair_free(&d), test_pair_free(&scale), test_pair_free(&sum_d), test_pair_free(&sum_dx);
}

static void test_backward(void **state) {
    (void)state;
    each_size(check_backward);
}

/* Also from addresses that are not aligned. */
static void test_add(void **state) {
    (void)state;
    const int64_t counts[] = {1, 31, 256, 1000, 70001};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        test_pair from = test_pair_new(counts[c] + 1, 1), to = test_pair_new(counts[c] + 1, 2);
        for TEST_EACH(be) {
            const float *x = test_pair_in(&from, be);
            float *y = test_pair_in(&to, be);
            CHECK_OK(be->head->add(be, stream_of(be), counts[c], x, y));
            CHECK_OK(be->head->add(be, stream_of(be), counts[c], x + 1, y + 1));
        }
        test_pair_check_bits("add", &to);
        test_pair_check_bits("what was added", &from);
        test_pair_free(&from), test_pair_free(&to);
    }
}

/* Leaves lie apart; their rows differ, some have a single one. */
static void check_combine(int32_t leaves, int32_t width) {
    const int64_t stride = 2 * (int64_t)width + 5;
    int64_t *row = malloc(sizeof *row * (size_t)leaves);
    test_pair leaf = test_pair_new(leaves * stride, 16);
    for (int32_t l = 0; l < leaves; l++) {
        row[l] = 1 + l * 7 % 40;
        for (int32_t j = 0; j < width; j++) {
            float *m2 = &leaf.cpu[l * stride + width + j];
            *m2 = row[l] == 1 ? 0.f : fabsf(*m2) * (float)row[l];
        }
    }
    test_pair_upload(&leaf);
    for TEST_EACH(be)
        CHECK_OK(be->head->bn_combine(be, stream_of(be), leaves, row, width, test_pair_in(&leaf, be), stride));
    leaf.count = 2 * width; /* the others are work space now */
    test_pair_check_each("bn_combine", &leaf, 5e-7);
    test_pair_free(&leaf);
    free(row);
}

static void test_combine(void **state) {
    (void)state;
    const int32_t leaves[] = {1, 2, 3, 7, 8, 63, 64, 65, 200};
    for (size_t l = 0; l < sizeof leaves / sizeof leaves[0]; l++)
        for (int w = 0; w < 3; w++) check_combine(leaves[l], widths[w]);
}

static void test_finish(void **state) {
    (void)state;
    const int64_t rows[] = {2, 64, 5000000000};
    for (int w = 0; w < SIZES; w++)
        for (int r = 0; r < 3; r++) {
            const int32_t width = widths[w];
            test_pair leaf = test_pair_new(2 * width, 17), mean = test_pair_new(width, 0);
            test_pair inv = test_pair_new(width, 0), again = test_pair_new(width, 0);
            test_pair running = test_pair_new(width, 18), var = test_pair_new(width, 19);
            for (int32_t j = 0; j < width; j++) { /* some are constant columns */
                leaf.cpu[width + j] = j % 5 == 0 ? 0.f : fabsf(leaf.cpu[width + j]) * (float)rows[r];
                var.cpu[j] = fabsf(var.cpu[j]);
            }
            test_pair_upload(&leaf);
            test_pair_upload(&var);
            for TEST_EACH(be) {
                CHECK_OK(be->head->bn_finish(be, stream_of(be), rows[r], width, test_pair_in(&leaf, be),
                                             test_pair_in(&mean, be), test_pair_in(&inv, be),
                                             test_pair_in(&running, be), test_pair_in(&var, be)));
                CHECK_OK(be->head->bn_inv_std(be, stream_of(be), width, test_pair_in(&var, be),
                                              test_pair_in(&again, be)));
            }
            test_pair_check_bits("mean", &mean);
            test_pair_check_each("inv_std", &inv, 2e-7);
            test_pair_check("running mean", &running, 2e-7);
            test_pair_check("running variance", &var, 2e-7);
            test_pair_check_each("bn_inv_std", &again, 2e-7);
            test_pair_free(&leaf), test_pair_free(&mean), test_pair_free(&inv);
            test_pair_free(&running), test_pair_free(&var), test_pair_free(&again);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_scale_rows), cmocka_unit_test(test_forward),
        cmocka_unit_test(test_backward), cmocka_unit_test(test_add),        cmocka_unit_test(test_combine),
        cmocka_unit_test(test_finish),
    };
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
