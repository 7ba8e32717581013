/* Tagging metrics against tagging.h5. */
#include <math.h>

#include "eval/tagging.h"
#include "support.h"

static void check(const char *what, double got, double expected) {
    if (isnan(expected)) {
        if (!isnan(got)) fail_msg("%s: %g where it is undefined", what, got);
    } else {
        test_limit(what, fabs(got - expected), 1e-9);
    }
}

static void check_case(hid_t file, const char *name, void *arg) {
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    test_array truth = test_h5_i32(group, "y_true"), score = test_h5_f32(group, "y_score");
    test_array roc = test_h5_f64(group, "roc_auc"), pr = test_h5_f64(group, "pr_auc");
    ec_tagging_result r;
    CHECK_OK(ec__tagging_evaluate(truth.i32, score.f32, truth.dim[0], (int32_t)truth.dim[1], &r));
    for (int32_t t = 0; t < r.tags; t++) {
        check("roc_auc", r.roc_auc[t], roc.f64[t]);
        check("pr_auc", r.pr_auc[t], pr.f64[t]);
    }
    check("macro roc_auc", r.macro_roc_auc, test_h5_scalar(group, "macro_roc_auc_defined_tags"));
    check("macro pr_auc", r.macro_pr_auc, test_h5_scalar(group, "macro_pr_auc_defined_tags"));
    ec__tagging_release(&r);
    test_array_release(&truth);
    test_array_release(&score);
    test_array_release(&roc);
    test_array_release(&pr);
    H5Gclose(group);
    ++*(int *)arg;
}

static void test_golden(void **state) {
    (void)state;
    int cases = 0;
    hid_t file = test_h5_open(test_golden_path("tagging.h5"));
    test_h5_each(file, check_case, &cases);
    H5Fclose(file);
    assert_true(cases > 0);
}

static void test_bad_input(void **state) {
    (void)state;
    ec_tagging_result r;
    CHECK_ERROR(ec__tagging_evaluate((int32_t[]){0, 2}, (float[]){0, 1}, 2, 1, &r), EC_ERR_DATA, "row 1, tag 0 is 2");
    CHECK_ERROR(ec__tagging_evaluate((int32_t[]){0, 1}, (float[]){NAN, 1}, 2, 1, &r), EC_ERR_DATA, "row 0, tag 0");
    CHECK_ERROR(ec__tagging_evaluate(NULL, NULL, 0, 1, &r), EC_ERR_DATA, "at least one");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_bad_input)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
