/* ranks: 1 2 3 4 */
/* The loss over several ranks gives the bits of the loss on one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "loss/supcon.h"
#include "support.h"

static ec_comm *world, *self;

/* Inputs of the whole batch, and gradients of it. */
typedef struct batch {
    int64_t rows;
    int32_t dim;
    float *z[2], *grad[2];
    int32_t *label[2];
    double losses[EC_DIRECTIONS];
} batch;

static batch batch_new(int64_t rows, int32_t dim) {
    batch b = {.rows = rows, .dim = dim};
    const int64_t count = rows * dim;
    for (int m = 0; m < 2; m++) {
        b.z[m] = malloc((size_t)count * sizeof(float));
        b.grad[m] = malloc((size_t)count * sizeof(float));
        b.label[m] = malloc((size_t)rows * sizeof(int32_t));
        assert_true(b.z[m] && b.grad[m] && b.label[m]);
        test_fill(b.z[m], count, (uint64_t)(rows * 2 + m));
        for (int64_t i = 0; i < rows; i++) {
            double norm = 0;
            for (int32_t k = 0; k < dim; k++) norm += (double)b.z[m][i * dim + k] * (double)b.z[m][i * dim + k];
            for (int32_t k = 0; k < dim; k++) b.z[m][i * dim + k] /= (float)sqrt(norm);
            ec_rng rng = ec__rng_at(3, EC_RNG_TEST, (uint32_t)m, (uint64_t)i);
            b.label[m][i] = (int32_t)ec__rng_below(&rng, 5) * 1000 - 2000;
        }
    }
    return b;
}

static void batch_release(batch *b) {
    for (int m = 0; m < 2; m++) free(b->z[m]), free(b->grad[m]), free(b->label[m]);
}

/* This rank's rows of b through comm; the other rows of the gradients stay as they are. */
static void run_part(ec_comm *comm, int32_t threads, const ec_supcon_config *config, batch *b) {
    ec_backend *be = NULL;
    ec_supcon *loss = NULL;
    const ptrdiff_t first = (ptrdiff_t)(comm->rank * (b->rows / comm->size)), at = first * b->dim;
    CHECK_OK(ec__backend_open("cpu", threads, &be));
    CHECK_OK(ec__supcon_new(be, comm, config, &loss));
    CHECK_OK(ec__supcon_run(loss, b->z[0] + at, b->z[1] + at, b->label[0] + first, b->label[1] + first, b->grad[0] + at,
                            b->grad[1] + at, b->losses));
    ec__supcon_free(loss);
    be->close(be);
}

static void check_bits(int64_t rows, int32_t dim, float temperature, const float weight[EC_DIRECTIONS]) {
    if (rows % world->size != 0) return;
    ec_supcon_config config = {.global_rows = rows, .dim = dim, .temperature = temperature};
    memcpy(config.weight, weight, sizeof config.weight);
    batch one = batch_new(rows, dim), all = batch_new(rows, dim);
    run_part(self, 1, &config, &one);
    run_part(world, 1 + world->rank % 2, &config, &all);
    assert_memory_equal(one.losses, all.losses, sizeof one.losses);
    const size_t count = (size_t)(rows / world->size * dim), at = count * (size_t)world->rank;
    for (int m = 0; m < 2; m++) assert_memory_equal(one.grad[m] + at, all.grad[m] + at, count * sizeof(float));
    batch_release(&one);
    batch_release(&all);
}

static const float ALL_FOUR[EC_DIRECTIONS] = {0.3f, 0.2f, 0.4f, 0.1f};

static void test_all_directions(void **state) {
    (void)state;
    static const int64_t rows[] = {4, 6, 12, 64, 100, 255, 256, 1020, 1536};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        check_bits(rows[r], 40, 0.07f, ALL_FOUR);
        check_bits(rows[r], 40, 0.01f, ALL_FOUR);
    }
    check_bits(512, 128, 0.1f, ALL_FOUR);
    check_bits(96, 768, 0.1f, ALL_FOUR);
}

static void test_some_directions(void **state) {
    (void)state;
    static const float intra[EC_DIRECTIONS] = {0.5f, 0.5f, 0, 0}, cross[EC_DIRECTIONS] = {0, 0, 0.5f, 0.5f};
    static const float one[EC_DIRECTIONS] = {0, 0, 0, 1};
    check_bits(200, 33, 0.07f, intra);
    check_bits(200, 33, 0.07f, cross);
    check_bits(200, 33, 0.07f, one);
    check_bits(200, 33, 0.01f, one);
}

/* All ranks learn of the bad row and where it is. */
static void test_bad_row(void **state) {
    (void)state;
    ec_backend *be = NULL;
    ec_supcon *loss = NULL;
    ec_supcon_config config = {.global_rows = 12, .dim = 8, .temperature = 0.07f, .weight = {1, 1, 1, 1}};
    batch b = batch_new(12, 8);
    b.z[1][11 * 8 + 3] = NAN;
    const ptrdiff_t first = world->rank * (12 / world->size), at = first * 8;
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__supcon_new(be, world, &config, &loss));
    CHECK_ERROR(ec__supcon_run(loss, b.z[0] + at, b.z[1] + at, b.label[0] + first, b.label[1] + first, b.grad[0] + at,
                               b.grad[1] + at, b.losses),
                EC_ERR_DATA, "music embedding in row 11 of the global batch");
    ec__supcon_free(loss);
    be->close(be);
    batch_release(&b);
}

static void test_uneven(void **state) {
    (void)state;
    ec_backend *be = NULL;
    ec_supcon *loss = NULL;
    ec_supcon_config config = {.global_rows = 13, .dim = 8, .temperature = 0.07f, .weight = {1, 1, 1, 1}};
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    if (13 % world->size != 0) CHECK_ERROR(ec__supcon_new(be, world, &config, &loss), EC_ERR_CONFIG, "evenly");
    else CHECK_OK(ec__supcon_new(be, world, &config, &loss));
    ec__supcon_free(loss);
    be->close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_directions),
        cmocka_unit_test(test_some_directions),
        cmocka_unit_test(test_bad_row),
        cmocka_unit_test(test_uneven),
    };
    CHECK_OK(ec__comm_open("auto", &world));
    CHECK_OK(ec__comm_open("self", &self));
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ec__comm_close(self);
    ec__comm_close(world);
    return failed;
}
