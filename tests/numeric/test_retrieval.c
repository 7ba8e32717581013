/* Retrieval metrics against retrieval.h5. */
#include <math.h>
#include <string.h>

#include "eval/retrieval.h"
#include "support.h"

static const double limit = 1e-6;

static void check_array(const char *what, const double *got, const test_array *ref) {
    for (int64_t i = 0; i < ref->count; i++) test_limit(what, fabs(got[i] - ref->f64[i]), limit);
}

static void check_between(const char *what, const double *got, hid_t group, const char *low_name, const char *high_name) {
    test_array low = test_h5_f64(group, low_name), high = test_h5_f64(group, high_name);
    for (int64_t i = 0; i < low.count; i++) {
        test_limit(what, got[i], high.f64[i] + limit);
        test_limit(what, low.f64[i], got[i] + limit);
    }
    test_array_release(&low);
    test_array_release(&high);
}

static ec_backend *be;
static ec_comm *comm;

static void check_case(hid_t file, const char *name, void *arg) {
    char mode[64];
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    test_h5_attr_text(group, "mode", mode, sizeof mode);
    test_array q = test_h5_f32(group, "query_embed"), ql = test_h5_i32(group, "query_label");
    test_array i = test_h5_f32(group, "item_embed"), il = test_h5_i32(group, "item_label");
    test_array per_query = test_h5_f64(group, "per_query"), per_class = test_h5_f64(group, "per_class");
    test_array macro = test_h5_f64(group, "macro"), class_label = test_h5_i32(group, "class_label");
    const ec_retrieval_side query = {q.f32, ql.i32, q.dim[0]}, item = {i.f32, il.i32, i.dim[0]};
    ec_retrieval_result r;
    CHECK_OK(ec__retrieval_evaluate(be, comm, &query, &item, (int32_t)q.dim[1], strcmp(mode, "intra-modal") == 0, &r));
    assert_int_equal(r.classes, class_label.count);
    assert_memory_equal(r.class_label, class_label.i32, sizeof(int32_t) * (size_t)r.classes);
    check_array("per_query", r.per_query[0], &per_query);
    check_array("per_class", r.per_class[0], &per_class);
    check_array("macro", r.macro, &macro);
    check_between("per_class between tie bounds", r.per_class[0], group, "per_class_tie_min", "per_class_tie_max");
    check_between("macro between tie bounds", r.macro, group, "macro_tie_min", "macro_tie_max");
    ec__retrieval_release(&r);
    test_array *arrays[] = {&q, &ql, &i, &il, &per_query, &per_class, &macro, &class_label};
    for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) test_array_release(arrays[a]);
    H5Gclose(group);
    ++*(int *)arg;
}

static void test_golden(void **state) {
    (void)state;
    int cases = 0;
    hid_t file = test_h5_open(test_golden_path("retrieval.h5"));
    test_h5_each(file, check_case, &cases);
    H5Fclose(file);
    assert_true(cases > 0);
}

static void test_bad_input(void **state) {
    (void)state;
    const float rows[] = {1, 0, 0, 0}, bad[] = {1, 0, NAN, 0};
    const int32_t label[] = {0, 1};
    const ec_retrieval_side good = {(float[]){1, 0, 0, 1}, label, 2}, zero = {rows, label, 2}, nan = {bad, label, 2};
    const ec_retrieval_side empty = {rows, label, 0};
    ec_retrieval_result r;
    CHECK_ERROR(ec__retrieval_evaluate(be, comm, &good, &zero, 2, false, &r), EC_ERR_DATA, "item row 1 is all zero");
    CHECK_ERROR(ec__retrieval_evaluate(be, comm, &nan, &good, 2, false, &r), EC_ERR_DATA, "query row 1 is not finite");
    CHECK_ERROR(ec__retrieval_evaluate(be, comm, &empty, &good, 2, false, &r), EC_ERR_DATA, "at least one");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_bad_input)};
    if (ec__backend_open("cpu", 2, &be) != EC_OK || ec__comm_open("self", &comm) != EC_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ec__comm_close(comm);
    be->close(be);
    return failed;
}
