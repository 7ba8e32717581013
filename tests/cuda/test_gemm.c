/* ops_dense.h, CUDA against the CPU. */
#include <stdlib.h>

#include "compute/ops_dense.h"
#include "cuda_support.h"

typedef struct shape {
    int32_t m, n, k, pad; /* pad: how much longer than needed rows are */
} shape;

static const shape shapes[] = {{1, 1, 1, 0},     {8, 64, 128, 0}, {13, 17, 19, 0},
                               {13, 20, 32, 4},  {64, 24, 7, 3},  {32, 48, 600, 0}};

static ec_gemm describe(const shape *s, int flags) {
    ec_gemm g = {.m = s->m, .n = s->n, .k = s->k, .transpose_a = flags & 1, .transpose_b = flags & 2};
    g.lda = (g.transpose_a ? s->m : s->k) + s->pad;
    g.ldb = (g.transpose_b ? s->k : s->n) + s->pad;
    g.ldc = s->n + s->pad;
    g.bias = flags & 4;
    return g;
}

/* Runs desc on both with the same input, offset floats behind the beginning of each allocation; c has room before. */
static void check(ec_backend *cuda, const ec_gemm *g, int32_t offset, double limit) {
    const int64_t rows_a = g->transpose_a ? g->k : g->m, rows_b = g->transpose_b ? g->n : g->k;
    test_pair a = test_pair_new(offset + rows_a * g->lda, 1), b = test_pair_new(offset + rows_b * g->ldb, 2);
    test_pair bias = test_pair_new(offset + g->n, 3), c = test_pair_new(offset + (int64_t)g->m * g->ldc, 4);
    ec_stream *stream = cuda->main_stream(cuda);
    CHECK_OK(test_cpu->dense->gemm(test_cpu, test_cpu->main_stream(test_cpu), g, a.cpu + offset, b.cpu + offset,
                                   bias.cpu + offset, c.cpu + offset));
    CHECK_OK(cuda->dense->gemm(cuda, stream, g, a.cuda + offset, b.cuda + offset, bias.cuda + offset, c.cuda + offset));
    CHECK_OK(cuda->synchronize(cuda));
    test_pair_check("product", &c, limit);
    test_pair_free(&a), test_pair_free(&b), test_pair_free(&bias), test_pair_free(&c);
}

/* A sum of k products of numbers up to 1, of which float32 keeps 24 bits: errors grow with the root of k. */
static const double limit_float32 = 2e-6;

static void test_shapes(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int flags = 0; flags < 8; flags++) {
            ec_gemm g = describe(&shapes[s], flags);
            CHECK_OK(test_cuda->dense->prepare(test_cuda, &g));
            check(test_cuda, &g, 0, limit_float32);
            check(test_cuda, &g, 1, limit_float32); /* rows that begin at odd places */
        }
}

static void test_options(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        ec_gemm g = describe(&shapes[s], 4);
        g.activation = EC_ACT_RELU;
        check(test_cuda, &g, 0, limit_float32);
        g.bias = false;
        check(test_cuda, &g, 0, limit_float32);
        g.activation = EC_ACT_GELU;
        check(test_cuda, &g, 0, limit_float32);
        g.bias = true;
        check(test_cuda, &g, 0, limit_float32);
        g.activation = EC_ACT_QUICK_GELU;
        check(test_cuda, &g, 0, limit_float32);
        g.bias = false;
        g.activation = EC_ACT_NONE;
        g.accumulate = true;
        check(test_cuda, &g, 0, limit_float32);
        g.bias = true;
        check(test_cuda, &g, 0, limit_float32);
    }
}

/* Products on all streams at once, each in its own workspace; recorded, so that preparing must have been enough. */
typedef struct many {
    ec_backend *be;
    ec_gemm gemm;
    float *a, *b, *c;
} many;

static ec_status one_of_many(void *arg, int32_t task, ec_stream *stream) {
    const many *x = arg;
    const ec_gemm *g = &x->gemm;
    return x->be->dense->gemm(x->be, stream, g, x->a + (int64_t)task * g->m * g->lda, x->b, NULL,
                              x->c + (int64_t)task * g->m * g->ldc);
}

static ec_status enqueue_many(void *arg) {
    const many *x = arg;
    return x->be->for_each(x->be, 11, one_of_many, arg);
}

static void check_many(bool deterministic, ec_math math, double limit) {
    ec_backend_options options = {.threads = 2, .deterministic = deterministic, .math = math};
    ec_backend *be = NULL;
    ec_recording *recording = NULL;
    CHECK_OK(ec__backend_open_with("cuda", &options, &be));
    ec_gemm g = {.m = 16, .n = 32, .k = 512, .lda = 512, .ldb = 32, .ldc = 32};
    test_pair a = test_pair_new(11 * g.m * g.lda, 1), b = test_pair_new(g.k * g.ldb, 2), c = test_pair_new(11 * g.m * g.n, 3);
    many x = {.be = test_cpu, .gemm = g, .a = a.cpu, .b = b.cpu, .c = c.cpu};
    CHECK_OK(enqueue_many(&x));
    x = (many){.be = be, .gemm = g, .a = a.cuda, .b = b.cuda, .c = c.cuda};
    CHECK_OK(be->dense->prepare(be, &g));
    CHECK_OK(be->record(be, enqueue_many, &x, &recording));
    CHECK_OK(be->replay(be, recording));
    CHECK_OK(be->synchronize(be));
    test_pair_check("products of many streams", &c, limit);
    if (math != EC_MATH_FLOAT32) { /* and it does round */
        float first;
        test_cuda_download(&first, c.cuda, sizeof first);
        assert_true(first != c.cpu[0]);
    }
    be->recording_free(be, recording);
    be->close(be);
    test_pair_free(&a), test_pair_free(&b), test_pair_free(&c);
}

static void test_streams(void **state) {
    (void)state;
    check_many(true, EC_MATH_FLOAT32, limit_float32);
    check_many(false, EC_MATH_FLOAT32, limit_float32);
}

/* Factors have 11 and 8 bits; the errors of 512 products partly cancel. */
static void test_math(void **state) {
    (void)state;
    check_many(true, EC_MATH_TF32, 1e-3);
    check_many(true, EC_MATH_BF16, 6e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_options),
                                       cmocka_unit_test(test_streams), cmocka_unit_test(test_math)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
