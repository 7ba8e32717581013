/* Resampling against reference outputs of torchaudio, and against the defining sum evaluated in double precision. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "media/resample.h"
#include "support.h"

static void check_case(hid_t file, const char *name, void *arg) {
    if (strncmp(name, "case_", 5) != 0) return;
    ++*(int *)arg;
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    int32_t from = (int32_t)test_h5_attr(group, "orig_freq"), to = (int32_t)test_h5_attr(group, "new_freq");
    test_array input = test_h5_f32(group, "input"), output = test_h5_f64(group, "output");
    ec_resampler *r = NULL;
    CHECK_OK(ec__resampler_new(from, to, &r));
    assert_int_equal(ec__resample_count(r, input.count), output.count);
    assert_int_equal(output.count, (int64_t)test_h5_attr(group, "n_out"));
    float *got = malloc((size_t)output.count * sizeof *got);
    ec__resample(r, input.f32, input.count, got);
    /* The reference's own taps are float32 where the ratio is not a whole number: README, "resample.h5". */
    bool whole = from % to == 0 || to % from == 0;
    test_limit(name, test_compare(got, output.f64, output.count).abs, whole ? 5e-6 : 1e-4);
    free(got);
    ec__resampler_free(r);
    test_array_release(&input), test_array_release(&output);
    H5Gclose(group);
}

static void test_reference(void **state) {
    (void)state;
    int cases = 0;
    hid_t file = test_h5_open(test_golden_path("resample.h5"));
    test_h5_each(file, check_case, &cases);
    assert_int_equal(cases, (int)test_h5_attr(file, "n_cases"));
    assert_true(cases > 0);
    H5Fclose(file);
}

static double kernel(double t) {
    const double pi = 3.14159265358979323846;
    if (t < -6) t = -6;
    if (t > 6) t = 6;
    double c = cos(pi * t / 12);
    return (t == 0 ? 1 : sin(pi * t) / (pi * t)) * c * c;
}

/* The sum as it is defined, over its whole range. */
static void check_definition(int32_t from, int32_t to, int32_t o, int32_t n, int64_t count) {
    float *x = malloc((size_t)count * sizeof *x);
    test_fill(x, count, (uint64_t)from + (uint64_t)to);
    ec_resampler *r = NULL;
    CHECK_OK(ec__resampler_new(from, to, &r));
    int64_t outputs = ec__resample_count(r, count);
    float *got = malloc((size_t)outputs * sizeof *got);
    double *want = malloc((size_t)outputs * sizeof *want), b = 0.99 * (o < n ? o : n);
    int32_t w = (int32_t)ceil(6 * o / b);
    for (int64_t i = 0; i < outputs; i++) {
        double q = (double)(i / n), p = (double)(i % n);
        want[i] = 0;
        for (int32_t j = -w; j < w + o; j++) {
            int64_t at = (int64_t)q * o + j;
            if (at >= 0 && at < count) want[i] += (double)x[at] * kernel(((double)j / o - p / n) * b) * b / o;
        }
    }
    ec__resample(r, x, count, got);
    test_limit("resample, definition", test_compare(got, want, outputs).abs, 5e-6);
    free(x), free(got), free(want);
    ec__resampler_free(r);
}

static void test_definition(void **state) {
    (void)state;
    check_definition(44100, 16000, 441, 160, 1500);
    check_definition(22050, 16000, 441, 320, 1200);
    check_definition(11025, 16000, 441, 640, 700);
    check_definition(8000, 16000, 1, 2, 300);
    check_definition(96000, 44100, 320, 147, 1000);
    check_definition(7, 5, 7, 5, 100);
}

static void test_edges(void **state) {
    (void)state;
    ec_resampler *r = NULL;
    CHECK_ERROR(ec__resampler_new(0, 16000, &r), EC_ERR_USAGE, "0 Hz");
    CHECK_ERROR(ec__resampler_new(16000, EC_RESAMPLE_MAX_RATE + 1, &r), EC_ERR_USAGE, "16000 Hz");
    /* Equal rates copy bit by bit; an output does not depend on samples out of its reach. */
    float x[4000], a[1500], b[1500];
    test_fill(x, 4000, 7);
    CHECK_OK(ec__resampler_new(16000, 16000, &r));
    assert_int_equal(ec__resample_count(r, 1500), 1500);
    ec__resample(r, x, 1500, a);
    assert_memory_equal(a, x, sizeof a);
    ec__resampler_free(r);
    CHECK_OK(ec__resampler_new(44100, 16000, &r));
    ec__resample(r, x, 4000, a);
    ec__resample(r, x, 3000, b);
    assert_memory_equal(a, b, 1080 * sizeof *a); /* 1080 * 441/160 + 17 < 3000 */
    assert_int_equal(ec__resample_count(r, 0), 0);
    ec__resample(r, x, 0, a);
    ec__resampler_free(r);
    ec__resampler_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_definition),
                                       cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
