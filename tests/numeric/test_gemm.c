/* Matrix products against sums in double precision; and the promise that bits do not depend on the number of rows. */
#include <stdlib.h>
#include <string.h>

#include "compute/ops_dense.h"
#include "support.h"

static void check_gemm(ec_backend *be, int32_t m, int32_t n, int32_t k, bool ta, bool tb, bool bias) {
    float *a = malloc(sizeof(float) * (size_t)(m * k)), *b = malloc(sizeof(float) * (size_t)(k * n));
    float *c = malloc(sizeof(float) * (size_t)(m * n)), *v = malloc(sizeof(float) * (size_t)n);
    double *ref = malloc(sizeof(double) * (size_t)(m * n));
    test_fill(a, m * k, 1);
    test_fill(b, k * n, 2);
    test_fill(v, n, 3);
    ec_gemm g = {.m = m, .n = n, .k = k, .lda = ta ? m : k, .ldb = tb ? k : n, .ldc = n,
                 .transpose_a = ta, .transpose_b = tb, .bias = bias};
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = bias ? v[j] : 0;
            for (int l = 0; l < k; l++) sum += (double)(ta ? a[l * m + i] : a[i * k + l]) * (tb ? b[j * k + l] : b[l * n + j]);
            ref[i * n + j] = sum;
        }
    memset(c, 0xff, sizeof(float) * (size_t)(m * n));
    CHECK_OK(be->dense->gemm(be, be->main_stream(be), &g, a, b, v, c));
    test_limit("gemm rel_l2", test_compare(c, ref, m * n).rel_l2, 1e-6);
    if (!ta) { /* the first row alone gives the same bits */
        float *row = malloc(sizeof(float) * (size_t)n);
        g.m = 1;
        CHECK_OK(be->dense->gemm(be, be->main_stream(be), &g, a, b, v, row));
        assert_memory_equal(row, c, sizeof(float) * (size_t)n);
        free(row);
    }
    free(a), free(b), free(c), free(v), free(ref);
}

static void test_gemm(void **state) {
    (void)state;
    ec_backend *be = NULL;
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    const int32_t shapes[][3] = {{1, 1, 1}, {8, 256, 512}, {64, 128, 256}, {13, 17, 19}, {128, 256, 512}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int flags = 0; flags < 8; flags++)
            check_gemm(be, shapes[s][0], shapes[s][1], shapes[s][2], flags & 1, flags & 2, flags & 4);
    be->close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gemm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
