/* ops_head.h, CUDA against the CPU. */
#include "compute/ops_head.h"
#include "cuda_support.h"

static void test_add(void **state) {
    (void)state;
    const int64_t counts[] = {1, 31, 256, 1000, 70001};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        test_pair from = test_pair_new(counts[c], 1), to = test_pair_new(counts[c], 2);
        CHECK_OK(test_cpu->head->add(test_cpu, test_cpu->main_stream(test_cpu), counts[c], from.cpu, to.cpu));
        CHECK_OK(test_cuda->head->add(test_cuda, test_cuda->main_stream(test_cuda), counts[c], from.cuda, to.cuda));
        test_pair_check_bits("add", &to);
        test_pair_check_bits("what was added", &from);
        test_pair_free(&from);
        test_pair_free(&to);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_add)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
