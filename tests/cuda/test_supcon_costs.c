/* What the loss costs on a GPU: the operations that it counts, and its memory. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>

#include "compute/count/count.h"
#include "compute/ops_supcon.h"
#include "cuda_support.h"
#include "dist/comm_count.h"
#include "loss/supcon.h"

/* On one rank 10 G^2 D of narrow rows for the cross-modal pair and 20 for all, 8 and 16 of wide ones and where pieces
 * are asked for; the diagonal's pieces have both their halves made; what crosses two ranks is made by both. */
static void test_flops(void **state) {
    (void)state;
    ec_supcon_problem p = {.global_rows = 1000, .dim = 10, .rows = 1000, .cross = true};
    assert_true(test_cuda->supcon->flops(test_cuda, &p) == 10e7);
    p.intra[0] = p.intra[1] = true;
    assert_true(test_cuda->supcon->flops(test_cuda, &p) == 20e7);
    p.rows = 500;
    assert_true(2 * test_cuda->supcon->flops(test_cuda, &p) == 22e7);
    p = (ec_supcon_problem){.global_rows = 1000, .dim = 10, .rows = 1000, .cross = true};
    setenv("EMOCLIM_SUPCON_GRADIENT", "pieces", 1);
    assert_true(test_cuda->supcon->flops(test_cuda, &p) == 8e7);
    unsetenv("EMOCLIM_SUPCON_GRADIENT");

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

/* A loss that is only counted, on one of many GPUs. */
typedef struct counted {
    size_t bytes, passed; /* held; received in a step */
    bool streams;
} counted;

static counted count_loss(ec_math math, int64_t rows, int32_t dim, int32_t ranks, ec_supcon_gather gather) {
    const ec_backend_options options = {.math = math};
    ec_tally tally = {0};
    ec_exchange exchange = {0};
    ec_backend *sizes = NULL, *be = NULL;
    ec_comm *comm = NULL;
    ec_supcon *loss = NULL;
    const ec_supcon_config config = {.global_rows = rows, .dim = dim, .temperature = 0.07f, .weight = {1, 1, 1, 1},
                                     .classes = 100, .gather = gather};
    CHECK_OK(ec__backend_open_sizes(&options, &sizes));
    CHECK_OK(ec__backend_open_count(sizes, &tally, &be));
    CHECK_OK(ec__comm_open_count(ranks, true, &exchange, &comm));
    CHECK_OK(ec__supcon_new(be, comm, &config, &loss));
    counted c = {.bytes = ec__supcon_bytes(loss), .streams = ec__supcon_streams(loss)};
    const float *const z[2] = {NULL, NULL};
    float *const grad[2] = {NULL, NULL};
    for (int m = 0; m < 2; m++) CHECK_OK(ec__supcon_gather(loss, m, NULL));
    CHECK_OK(ec__supcon_enqueue(loss, z, grad));
    c.passed = (size_t)exchange.bytes;
    ec__supcon_free(loss);
    ec__comm_close(comm);
    be->close(be);
    sizes->close(sizes);
    return c;
}

/* A million rows on 64 GPUs: with embeddings and gradients at most 8 b D floats, and what does not grow with b D.
 * Floats: of an own row 24 of sums, of a row of all 20 of what ranks tell each other, 8 of weights and shifts, 12 of
 * the sorted labels on either side; 20 C D of class sums. */
static void test_stream(void **state) {
    (void)state;
    enum { RANKS = 64, CLASSES = 100 };
    const int64_t rows = 1 << 20, own = rows / RANKS;
    static const int32_t dims[] = {128, 768};
    static const ec_math maths[] = {EC_MATH_FLOAT32, EC_MATH_TF32, EC_MATH_BF16};
    for (int i = 0; i < 6; i++) {
        const int32_t dim = dims[i % 2];
        const counted c = count_loss(maths[i / 2], rows, dim, RANKS, EC_SUPCON_AUTO);
        const counted whole = count_loss(maths[i / 2], rows, dim, RANKS, EC_SUPCON_WHOLE);
        const double held = (double)c.bytes / sizeof(float) + 4.0 * (double)own * dim;
        const double most = 8.0 * (double)own * dim + 25.0 * (double)own + 40.2 * (double)rows + 20.0 * CLASSES * dim;
        assert_true(c.streams && !whole.streams);
        if (!(held <= most)) fail_msg("D %d, math %d: %g floats, expected at most %g", dim, maths[i / 2], held, most);
        assert_true((double)whole.bytes > 3 * (double)c.bytes);
        /* Each pass brings what is not its own, and the gather brings it once. */
        const double others = 2.0 * (double)(rows - own) * dim * sizeof(float);
        assert_true((double)(c.passed - whole.passed) == others);
    }
}

/* auto: up to 1 GiB all is gathered. On one rank there is nothing to gather. */
static void test_auto(void **state) {
    (void)state;
    assert_false(count_loss(EC_MATH_BF16, 1 << 15, 768, 64, EC_SUPCON_AUTO).streams);
    assert_true(count_loss(EC_MATH_BF16, 1 << 18, 768, 64, EC_SUPCON_AUTO).streams);
    assert_true(count_loss(EC_MATH_BF16, 1 << 15, 768, 64, EC_SUPCON_STREAMED).streams);
    assert_true(count_loss(EC_MATH_BF16, 1 << 20, 128, 2, EC_SUPCON_AUTO).streams);
    assert_false(count_loss(EC_MATH_BF16, 1 << 20, 128, 1, EC_SUPCON_STREAMED).streams);
}

static void test_refusal(void **state) {
    (void)state;
    ec_comm *comm = NULL;
    ec_supcon *loss = NULL;
    const ec_supcon_config config = {.global_rows = 8, .dim = 4, .temperature = 1, .weight = {1, 1, 1, 1},
                                     .gather = EC_SUPCON_STREAMED};
    CHECK_OK(ec__comm_open("self", &comm));
    CHECK_ERROR(ec__supcon_new(test_cpu, comm, &config, &loss), EC_ERR_CONFIG, "needs a GPU");
    ec__comm_close(comm);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_flops),  cmocka_unit_test(test_scratch),
                                       cmocka_unit_test(test_stream), cmocka_unit_test(test_auto),
                                       cmocka_unit_test(test_refusal)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
