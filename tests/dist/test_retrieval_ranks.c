/* ranks: 1 2 3 4 */
/* Retrieval metrics are the same bits on any number of ranks. */
#include <stdlib.h>
#include <string.h>

#include "eval/retrieval.h"
#include "support.h"

static ec_comm *world;

static void test_same_as_alone(void **state) {
    (void)state;
    enum { QUERIES = 101, ITEMS = 67, DIM = 24, CLASSES = 5 };
    float *query = malloc(sizeof(float) * QUERIES * DIM), *item = malloc(sizeof(float) * ITEMS * DIM);
    int32_t query_label[QUERIES], item_label[ITEMS];
    test_fill(query, QUERIES * DIM, 1);
    test_fill(item, ITEMS * DIM, 2);
    for (int i = 0; i < QUERIES; i++) query_label[i] = i % CLASSES;
    for (int i = 0; i < ITEMS; i++) item_label[i] = i * 7 % CLASSES;
    const ec_retrieval_side q = {query, query_label, QUERIES}, it = {item, item_label, ITEMS};
    ec_backend *be;
    ec_comm *self;
    ec_retrieval_result together, alone;
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__comm_open("self", &self));
    CHECK_OK(ec__retrieval_evaluate(be, world, &q, &it, DIM, false, &together));
    CHECK_OK(ec__retrieval_evaluate(be, self, &q, &it, DIM, false, &alone));
    assert_memory_equal(together.per_query, alone.per_query, sizeof *alone.per_query * QUERIES);
    assert_memory_equal(together.macro, alone.macro, sizeof alone.macro);
    assert_true(alone.macro[EC_MRR] > 0 && alone.macro[EC_MRR] < 1);
    ec__retrieval_release(&together);
    ec__retrieval_release(&alone);
    /* A fault in the part of one rank is everybody's error. */
    query[(QUERIES - 1) * DIM] = 1.0f / 0.0f;
    CHECK_ERROR(ec__retrieval_evaluate(be, world, &q, &it, DIM, false, &together), EC_ERR_DATA, "query row 100");
    ec__comm_close(self);
    be->close(be);
    free(query);
    free(item);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_alone)};
    if (ec__comm_open("auto", &world) != EC_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ec__comm_close(world);
    return failed;
}
