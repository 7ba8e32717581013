/* Which SupCon kernels a back end takes: those for compute capability 9.0 where they do what the portable ones do, and
 * the portable ones, with a warning, where they do not. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include <stdlib.h>
#include <string.h>

#include "compute/ops_supcon.h"
#include "core/log.h"
#include "cuda_support.h"

enum { ROWS = 150, DIM = 20 };

static int warnings;
static char warning[1024];

static void sink(void *arg, ec_log_level level, int rank, const char *text) {
    (void)arg, (void)rank;
    if (level != EC_LOG_WARN) return;
    warnings++;
    snprintf(warning, sizeof warning, "%s", text);
}

static ec_status open_bf16(const char *path, ec_backend **out) {
    const ec_backend_options options = {.math = EC_MATH_BF16, .deterministic = true};
    warnings = 0;
    if (path) setenv("EMOCLIM_SUPCON", path, 1);
    const ec_status status = ec__backend_open_with("cuda", &options, out);
    unsetenv("EMOCLIM_SUPCON");
    return status;
}

typedef struct sums {
    double of[2 * ROWS];
} sums;

/* Sums of the cross-modal block: their last bits tell the two sets of kernels apart. */
static sums sums_on(ec_backend *be) {
    sums out;
    void *z, *scratch, *piece;
    float *host = malloc(2 * ROWS * DIM * sizeof(float));
    assert_non_null(host);
    test_fill(host, 2 * ROWS * DIM, 3);
    for (int i = 0; i < 2 * ROWS * DIM; i++) host[i] *= 0.3f;
    CHECK_OK(be->memory->alloc(be, 2 * ROWS * DIM * sizeof(float), &z));
    const ec_supcon_problem sizes = {.global_rows = ROWS, .dim = DIM, .rows = ROWS};
    CHECK_OK(be->memory->alloc(be, be->supcon->scratch_bytes(be, &sizes, 1), &scratch));
    CHECK_OK(be->memory->alloc(be, ec__supcon_rows_bytes(ROWS), &piece));
    CHECK_OK(be->memory->upload(be, be->main_stream(be), z, host, 2 * ROWS * DIM * sizeof(float)));
    const ec_supcon_rows own = ec__supcon_rows_in(piece, ROWS);
    const ec_supcon_problem p = {.global_rows = ROWS, .dim = DIM, .rows = ROWS, .cross = true, .scale = 10, .shared_shift = 20,
                                 .z = {z, (float *)z + ROWS * DIM}, .scratch = scratch};
    CHECK_OK(be->supcon->prepare(be, &p));
    CHECK_OK(be->supcon->sums(be, &p, &own));
    CHECK_OK(be->memory->download(be, be->main_stream(be), out.of, own.sum + 2 * ROWS, sizeof out));
    CHECK_OK(be->synchronize(be));
    be->memory->free(be, z), be->memory->free(be, scratch), be->memory->free(be, piece);
    free(host);
    return out;
}

/* NULL path: as in a run. */
static sums sums_of_path(const char *path) {
    ec_backend *be = NULL;
    CHECK_OK(open_bf16(path, &be));
    const sums s = sums_on(be);
    be->close(be);
    return s;
}

static bool is_same(const sums *a, const sums *b) { return memcmp(a, b, sizeof *a) == 0; }

static bool is_emulated(void) { return getenv("EMOCLIM_CUEMU_SEED") != NULL; }

/* EC_ERR_ENV on a device without them. */
static bool has_hopper(void) {
    ec_backend *be = NULL;
    if (open_bf16("hopper", &be) == EC_ERR_ENV && !is_emulated()) return false;
    assert_non_null(be);
    be->close(be);
    return true;
}

static void test_default(void **state) {
    (void)state;
    const sums chosen = sums_of_path(NULL), portable = sums_of_path("portable");
    if (!has_hopper()) {
        assert_true(is_same(&chosen, &portable));
        return;
    }
    const sums hopper = sums_of_path("hopper");
    assert_false(is_same(&hopper, &portable));
    if (warnings || !is_same(&chosen, &hopper)) fail_msg("the kernels for 9.0 were not taken: %s", warning);
}

/* Hardware that reads a descriptor in another way than ours. */
static void test_fault(void **state) {
    (void)state;
    ec_backend *be = NULL;
    if (!is_emulated()) skip();
    const sums portable = sums_of_path("portable");
    setenv("EMOCLIM_CUEMU_FAULT", "wgmma", 1);
    CHECK_OK(open_bf16(NULL, &be));
    const sums chosen = sums_on(be);
    be->close(be);
    unsetenv("EMOCLIM_CUEMU_FAULT");
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(warning, "the gradient by"));
    assert_non_null(strstr(warning, "the portable ones are"));
    assert_true(is_same(&chosen, &portable));
}

static void test_refusals(void **state) {
    (void)state;
    ec_backend *be = NULL;
    assert_int_equal(open_bf16("fast", &be), EC_ERR_ENV);
    assert_non_null(strstr(ec_error_last()->text, "portable or hopper"));
    if (!is_emulated()) return;
    setenv("EMOCLIM_CUEMU_MAJOR", "8", 1);
    assert_int_equal(open_bf16("hopper", &be), EC_ERR_ENV);
    assert_non_null(strstr(ec_error_last()->text, "capability 8.0"));
    const sums chosen = sums_of_path(NULL);
    assert_int_equal(warnings, 0);
    unsetenv("EMOCLIM_CUEMU_MAJOR");
    const sums portable = sums_of_path("portable");
    assert_true(is_same(&chosen, &portable));
}

int main(void) {
    ec__log_set_sink(sink, NULL, EC_LOG_WARN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_default), cmocka_unit_test(test_fault),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
