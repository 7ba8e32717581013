/* ops_optim.h, CUDA against the CPU. */
#include "compute/ops_optim.h"

#include <math.h>
#include <string.h>

#include "cuda_support.h"

static ec_stream *stream_of(ec_backend *be) { return be->main_stream(be); }

/* Four arrays of an update; the first element of each is left alone where they begin at 1. */
static void check_adam(int64_t count, int begin, float grad_scale) {
    test_pair grad = test_pair_new(count + begin, 31), m = test_pair_new(count + begin, 32);
    test_pair v = test_pair_new(count + begin, 33), param = test_pair_new(count + begin, 34);
    const ec_adam adam = {.grad_scale = grad_scale, .l2 = 0.01f, .decay = 0.999f, .beta1 = 0.9f, .beta2 = 0.999f,
                          .one_minus_beta1 = 0.1f, .one_minus_beta2 = 0.001f, .rate = 1e-2f, .inv_bias2 = 1.7f,
                          .eps = 1e-8f};
    ec_adam *device = test_cuda_upload(&adam, sizeof adam);
    for (int64_t i = 0; i < v.count; i++) v.cpu[i] = i % 9 == 0 ? 0.f : fabsf(v.cpu[i]);
    test_pair_upload(&v);
    for (int step = 0; step < 3; step++)
        for TEST_EACH(be)
            CHECK_OK(be->optim->adam(be, stream_of(be), be == test_cpu ? &adam : device, count,
                                     test_pair_in(&grad, be) + begin, test_pair_in(&m, be) + begin,
                                     test_pair_in(&v, be) + begin, test_pair_in(&param, be) + begin));
    test_pair_check_bits("adam: gradient", &grad);
    if (grad_scale == 0.f) {
        test_pair_check_bits("adam left out: m", &m);
        test_pair_check_bits("adam left out: v", &v);
        test_pair_check_bits("adam left out: parameters", &param);
    }
    test_pair_check("adam: m", &m, 5e-7);
    test_pair_check("adam: v", &v, 5e-7);
    test_pair_check("adam: parameters", &param, 1e-6);
    test_cuda_free(device);
    test_pair_free(&grad), test_pair_free(&m), test_pair_free(&v), test_pair_free(&param);
}

static void test_adam(void **state) {
    (void)state;
    const int64_t counts[] = {1, 3, 4, 1001, 70000};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (int begin = 0; begin < 2; begin++) {
            check_adam(counts[c], begin, 0.3f);
            check_adam(counts[c], begin, 0.f);
        }
}

static double cuda_square_sum(int64_t count, const float *x) {
    double sum = -1, *device = test_cuda_upload(&sum, sizeof sum);
    CHECK_OK(test_cuda->optim->square_sum(test_cuda, stream_of(test_cuda), count, x, device));
    test_cuda_download(&sum, device, sizeof sum);
    test_cuda_free(device);
    return sum;
}

static void test_square_sum(void **state) {
    (void)state;
    const int64_t counts[] = {0, 1, 255, 256, 4096, 4097, 100003};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        test_pair x = test_pair_new(counts[c] + 1, 35);
        double cpu = -1;
        CHECK_OK(test_cpu->optim->square_sum(test_cpu, stream_of(test_cpu), counts[c], x.cpu, &cpu));
        const double cuda = cuda_square_sum(counts[c], x.cuda), again = cuda_square_sum(counts[c], x.cuda);
        assert_true(fabs(cuda - cpu) <= 1e-13 * cpu);
        assert_memory_equal(&cuda, &again, sizeof cuda);
        test_pair_free(&x);
    }
}

/* spoiled: by a gradient before this one. */
static void check_clip(int32_t parts, const double *part, double limit, int32_t spoiled) {
    ec_adam adam = {.grad_scale = 7.f, .rate = 1.f, .eps = 2.f}, back;
    ec_gradient_norm norm = {.norm = -1, .spoiled = spoiled}, cuda_norm;
    double *part_device = test_cuda_upload(part, sizeof *part * (size_t)(parts + 1));
    ec_gradient_norm *norm_device = test_cuda_upload(&norm, sizeof norm);
    ec_adam *device = test_cuda_upload(&adam, sizeof adam);
    CHECK_OK(test_cuda->optim->clip(test_cuda, stream_of(test_cuda), parts, part_device, limit, device, norm_device));
    CHECK_OK(test_cpu->optim->clip(test_cpu, stream_of(test_cpu), parts, part, limit, &adam, &norm));
    test_cuda_download(&back, device, sizeof back);
    test_cuda_download(&cuda_norm, norm_device, sizeof cuda_norm);
    assert_memory_equal(&back, &adam, sizeof adam);
    if (!isnan(norm.norm)) assert_memory_equal(&cuda_norm.norm, &norm.norm, sizeof norm.norm);
    else assert_true(isnan(cuda_norm.norm));
    assert_int_equal(norm.spoiled, spoiled || !isfinite(norm.norm));
    assert_int_equal(cuda_norm.spoiled, norm.spoiled);
    assert_true(!norm.spoiled || adam.grad_scale == 0.f);
    test_cuda_free(part_device);
    test_cuda_free(norm_device);
    test_cuda_free(device);
}

/* The sums are added in order on both, so the bits are the same. */
static void test_clip(void **state) {
    (void)state;
    enum { MOST = 100 };
    const int32_t counts[] = {0, 1, 31, 32, 33, MOST};
    double part[MOST + 1];
    for (int i = 0; i <= MOST; i++) part[i] = 1. / (3 + i * i);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (int32_t spoiled = 0; spoiled < 2; spoiled++) {
            check_clip(counts[c], part, 0, spoiled);
            check_clip(counts[c], part, 0.3, spoiled);
            check_clip(counts[c], part, 100, spoiled);
        }
    }
    part[40] = INFINITY;
    check_clip(MOST, part, 1, 0);
    part[40] = NAN;
    check_clip(MOST, part, 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_adam), cmocka_unit_test(test_square_sum),
                                       cmocka_unit_test(test_clip)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
