/* The CUDA back end as such: copies, sections, recordings. */
#include <stdlib.h>
#include <string.h>

#include "compute/ops_dense.h"
#include "compute/ops_encoder.h"
#include "compute/ops_head.h"
#include "compute/ops_optim.h"
#include "compute/ops_supcon.h"
#include "cuda_support.h"

enum { COUNT = 5000, TASKS = 37 };

static void test_copies(void **state) {
    (void)state;
    ec_backend *be = test_cuda;
    ec_stream *stream = be->main_stream(be);
    void *host = NULL, *a = NULL, *b = NULL;
    float back[COUNT];
    CHECK_OK(be->memory->alloc_host(be, sizeof back, &host));
    CHECK_OK(be->memory->alloc(be, sizeof back, &a));
    CHECK_OK(be->memory->alloc(be, sizeof back, &b));
    test_fill(host, COUNT, 3);
    CHECK_OK(be->memory->upload(be, stream, a, host, sizeof back));
    CHECK_OK(be->memory->copy(be, stream, b, a, sizeof back));
    CHECK_OK(be->memory->zero(be, stream, a, sizeof back));
    CHECK_OK(be->memory->download(be, stream, back, b, sizeof back));
    CHECK_OK(be->synchronize(be));
    assert_memory_equal(back, host, sizeof back);
    test_cuda_download(back, a, sizeof back);
    for (int i = 0; i < COUNT; i++) assert_true(back[i] == 0.f);
    enum { ROWS = 7, WIDTH = 3, STEP = 11 };
    CHECK_OK(be->memory->copy_rows(be, stream, a, b, ROWS, WIDTH * sizeof *back, STEP * sizeof *back));
    CHECK_OK(be->memory->copy_rows(be, stream, a, b, 0, sizeof *back, sizeof *back));
    test_cuda_download(back, a, sizeof back);
    for (int i = 0; i < COUNT; i++)
        assert_true(back[i] == (i < ROWS * WIDTH ? ((float *)host)[i / WIDTH * STEP + i % WIDTH] : 0.f));
    be->memory->free_host(be, host);
    be->memory->free(be, a);
    be->memory->free(be, b);
}

/* All float16 numbers but NaNs become the same float32 in both back ends, at any alignment; and what comes later on
 * the main stream sees them, though both uploads go through the same scratch. */
static void test_half(void **state) {
    (void)state;
    enum { ALL = 1 << 16 };
    const size_t begins[] = {0, 1, 4, ALL - 3};
    test_pair x = test_pair_new(2 * ALL, 6);
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        const size_t begin = begins[i], count = ALL - begin;
        for TEST_EACH(be) {
            void *host = NULL, *scratch = NULL;
            float *to = test_pair_in(&x, be);
            CHECK_OK(be->memory->alloc_host(be, ALL * sizeof(uint16_t), &host));
            CHECK_OK(be->memory->alloc(be, ALL * sizeof(uint16_t), &scratch));
            for (int k = 0; k < ALL; k++) ((uint16_t *)host)[k] = (k & 0x7fff) > 0x7c00 ? 0x3c00 : (uint16_t)k;
            for (int half = 0; half < 2; half++)
                CHECK_OK(be->memory->upload_half_ahead(be, to + half * ALL + begin, (uint16_t *)host + begin * half,
                                                       count, scratch));
            CHECK_OK(be->memory->upload_half_ahead(be, to, host, 0, scratch));
            CHECK_OK(be->head->add(be, be->main_stream(be), ALL, to, to + ALL));
            CHECK_OK(be->synchronize(be));
            be->memory->free_host(be, host);
            be->memory->free(be, scratch);
        }
        test_pair_check_bits("float16 uploaded", &x);
        if (begin == 0) assert_true(x.cpu[0] == 0 && x.cpu[1] == 0x1p-24f && x.cpu[0x3c00] == 1);
    }
    test_pair_free(&x);
}

typedef struct chain {
    float *x; /* (TASKS, COUNT) */
    int32_t fails; /* task that fails; -1: none */
} chain;

/* Doubles a row, thrice. */
static ec_status double_row(void *arg, int32_t task, ec_stream *stream) {
    const chain *c = arg;
    float *row = c->x + (int64_t)task * COUNT;
    if (task == c->fails) return EC_ERROR(EC_ERR_DATA, "task %d fails", task);
    for (int i = 0; i < 3; i++) EC_RETURN_IF(test_cuda->head->add(test_cuda, stream, COUNT, row, row));
    return EC_OK;
}

/* Row 0 becomes the sum of all rows, before and after which rows are doubled in a section. */
static ec_status enqueue_chain(void *arg) {
    const chain *c = arg;
    ec_backend *be = test_cuda;
    EC_RETURN_IF(be->for_each(be, TASKS, double_row, arg));
    for (int32_t t = 1; t < TASKS; t++)
        EC_RETURN_IF(be->head->add(be, be->main_stream(be), COUNT, c->x + (int64_t)t * COUNT, c->x));
    EC_RETURN_IF(be->for_each(be, TASKS, double_row, arg));
    return EC_OK;
}

static void chain_on_cpu(float *x) {
    for (int i = 0; i < TASKS * COUNT; i++) x[i] *= 8;
    for (int t = 1; t < TASKS; t++)
        for (int i = 0; i < COUNT; i++) x[i] += x[t * COUNT + i];
    for (int i = 0; i < TASKS * COUNT; i++) x[i] *= 8;
}

static void test_sections(void **state) {
    (void)state;
    test_pair x = test_pair_new(TASKS * COUNT, 4);
    chain c = {.x = x.cuda, .fails = -1};
    CHECK_OK(enqueue_chain(&c));
    chain_on_cpu(x.cpu);
    test_pair_check_bits("sections", &x);
    c.fails = 2;
    CHECK_ERROR(test_cuda->for_each(test_cuda, TASKS, double_row, &c), EC_ERR_DATA, "task 2 fails");
    c.fails = -1; /* and nothing is broken by that */
    test_pair_upload(&x);
    CHECK_OK(enqueue_chain(&c));
    chain_on_cpu(x.cpu);
    test_pair_check_bits("sections after an error", &x);
    test_pair_free(&x);
}

static void test_recording(void **state) {
    (void)state;
    ec_backend *be = test_cuda;
    ec_recording *recording = NULL;
    test_pair x = test_pair_new(TASKS * COUNT, 5);
    chain c = {.x = x.cuda, .fails = -1};
    CHECK_OK(be->record(be, enqueue_chain, &c, &recording));
    test_pair_check_bits("recording runs nothing", &x);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(be->replay(be, recording));
        chain_on_cpu(x.cpu);
    }
    test_pair_check_bits("replayed twice", &x);
    be->recording_free(be, recording);
    recording = NULL;
    c.fails = 3;
    CHECK_ERROR(be->record(be, enqueue_chain, &c, &recording), EC_ERR_DATA, "task 3 fails");
    assert_null(recording);
    c.fails = -1;
    CHECK_OK(enqueue_chain(&c)); /* the streams record no more */
    chain_on_cpu(x.cpu);
    test_pair_check_bits("after a recording that failed", &x);
    test_pair_free(&x);
}

static ec_status allocate(void *arg) {
    void *memory = NULL;
    (void)arg;
    return test_cuda->memory->alloc(test_cuda, 64, &memory);
}

static void test_refusals(void **state) {
    (void)state;
    ec_backend *be = test_cuda, *other = NULL;
    ec_recording *recording = NULL;
    void *memory = NULL;
    assert_int_not_equal(be->record(be, allocate, NULL, &recording), EC_OK);
    CHECK_ERROR(be->memory->alloc(be, (size_t)1 << 50, &memory), EC_ERR_MEMORY, "the GPU has no");
    assert_null(memory);
    ec_backend_options options = {.device = 1000};
    CHECK_ERROR(ec__backend_open_with("cuda", &options, &other), EC_ERR_ENV, "there is no GPU 1000");
}

/* No slot of any table is NULL: tables are nothing but pointers to functions. */
static void check_slots(const char *name, const void *table, size_t bytes) {
    void (*const *slot)(void) = (void (*const *)(void))table;
    for (size_t i = 0; i < bytes / sizeof *slot; i++)
        if (!slot[i]) fail_msg("slot %zu of the %s operations is NULL", i, name);
}

static void test_slots(void **state) {
    (void)state;
    const ec_backend *be = test_cuda;
    check_slots("memory", be->memory, sizeof *be->memory);
    check_slots("dense", be->dense, sizeof *be->dense);
    check_slots("head", be->head, sizeof *be->head);
    check_slots("optimizer", be->optim, sizeof *be->optim);
    check_slots("loss", be->supcon, sizeof *be->supcon);
    check_slots("encoder", be->encoder, sizeof *be->encoder);
    assert_string_equal(be->host->name, "cpu");
    assert_ptr_equal(be->pool, be->host->pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_copies),    cmocka_unit_test(test_half),
                                       cmocka_unit_test(test_sections),  cmocka_unit_test(test_recording),
                                       cmocka_unit_test(test_refusals),  cmocka_unit_test(test_slots)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
