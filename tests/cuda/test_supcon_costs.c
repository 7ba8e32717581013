/* What the loss costs on a GPU: the operations that it counts, and its memory. */
#include "compute/ops_supcon.h"
#include "cuda_support.h"

/* On one rank 10 G^2 D of narrow rows for the cross-modal pair and 20 for all, 8 and 16 of wide ones, where the
 * diagonal's pieces have both their halves made; what crosses two ranks is made by both. */
static void test_flops(void **state) {
    (void)state;
    ec_supcon_problem p = {.global_rows = 1000, .dim = 10, .rows = 1000, .cross = true};
    assert_true(test_cuda->supcon->flops(test_cuda, &p) == 10e7);
    p.intra[0] = p.intra[1] = true;
    assert_true(test_cuda->supcon->flops(test_cuda, &p) == 20e7);
    p.rows = 500;
    assert_true(2 * test_cuda->supcon->flops(test_cuda, &p) == 22e7);

    ec_supcon_problem wide = {.global_rows = 1000, .dim = 200, .rows = 1000, .cross = true};
    const double square = 1e6 * 200, piece = 2.0 * 256 * 256 * 200, last = 2.0 * 232 * 232 * 200;
    assert_true(test_cuda->supcon->flops(test_cuda, &wide) == 8 * square);
    wide.intra[0] = wide.intra[1] = true;
    assert_true(test_cuda->supcon->flops(test_cuda, &wide) == 16 * square + 3 * piece + last);
    /* Two of four rows of pieces: everything but the sums of own pairs, and the pieces of own rows and columns, is made
     * twice. */
    wide = (ec_supcon_problem){.global_rows = 1024, .dim = 200, .rows = 512, .cross = true};
    const double all = 1024.0 * 1024 * 200;
    assert_true(2 * test_cuda->supcon->flops(test_cuda, &wide) == 3 * all + 3 * all + 4 * all);
}

/* Beside embeddings and gradients (4 b D floats), on one rank: 2 b D floats of copies, at most b D of a piece, and what
 * does not grow with b D (rows of copies are padded to 128 bytes): so 8 b D are enough, and nothing is G x G. */
static void check_scratch(ec_backend *cuda, int32_t rows, int32_t dim) {
    const double classes = 8, pad = 128.0 * rows + 4e4, strips = 192.0 * rows, sums = (4 + 32) * classes * dim;
    const double floats = 3.0 * rows * dim + pad + strips + sums;
    const ec_supcon_problem p = {.global_rows = rows, .dim = dim, .rows = rows};
    const double held = (double)cuda->supcon->scratch_bytes(cuda, &p, (int32_t)classes) / sizeof(float);
    if (!(held <= floats)) fail_msg("G %d, D %d: %g floats of scratch, expected at most %g", rows, dim, held, floats);
}

static void test_scratch(void **state) {
    (void)state;
    static const int32_t rows[] = {100, 1000, 4096, 32768, 1 << 17, 1 << 20}, dims[] = {16, 128, 129, 768};
    const ec_backend_options options = {.math = EC_MATH_BF16};
    ec_backend *bf16 = NULL;
    CHECK_OK(ec__backend_open_with("cuda", &options, &bf16));
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
            check_scratch(test_cuda, rows[r], dims[d]);
            check_scratch(bf16, rows[r], dims[d]);
        }
    bf16->close(bf16);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_flops), cmocka_unit_test(test_scratch)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
