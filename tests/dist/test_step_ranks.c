/* ranks: 1 2 3 4 6 8 */
/* Training steps have the same bits on any number of ranks, for any accumulate and any number of threads: the state
 * after 30 steps with dropout, on all ranks, equals that of rank 0 training the whole batch alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "heads_support.h"

enum { STEPS = 30, CLASSES = 4 };

typedef struct plan {
    bool multi_task;
    int64_t rows;
    int32_t shards;
    uint64_t seed; /* of dropout */
} plan;

/* Batch of the step, rows [first, first + rows) of it. */
static void make_batch(const ec_heads_config *heads, int64_t step, int64_t first, int64_t rows, float *x[],
                       int32_t *label[]) {
    for (int m = 0; m < EC_MODALITIES; m++) {
        int32_t width = ec__heads_input_dim(heads, (ec_modality)m);
        for (int64_t i = 0; i < rows; i++) {
            ec_rng rng = ec__rng_at(3, EC_RNG_TEST, (uint32_t)(2 * step + m), (uint64_t)(first + i));
            label[m][i] = (int32_t)ec__rng_below(&rng, CLASSES);
            for (int32_t j = 0; j < width; j++) x[m][i * width + j] = (float)ec__rng_normal(&rng) + (float)label[m][i];
        }
    }
}

/* Trains and returns the digest of the state. */
static void train(ec_comm *comm, int32_t threads, const plan *p, int32_t accumulate, char hex[65]) {
    ec_backend *be = NULL;
    ec_heads *heads = NULL;
    ec_trainer_core *core = NULL;
    float *x[EC_MODALITIES];
    int32_t *label[EC_MODALITIES];
    const ec_heads_config shape = {.multi_task = p->multi_task, .image_dim = 40, .audio_dim = 24, .hidden_dim = 20,
                                   .base_output_dim = 18, .output_dim = 12, .dropout = 0.25f, .normalize_inputs = true};
    ec_train_config config = {
        .plan = {.global_rows = p->rows, .reproducible = true, .shards = p->shards, .accumulate = accumulate, .seed = p->seed},
        .optimizer = ec__optimizer_defaults(),
        .temperature = 0.1f,
        .weight = {0.2f, 0.3f, 0.4f, 0.1f},
    };
    int64_t rows = p->rows / comm->size;
    config.optimizer.clip_norm = 0.5;
    CHECK_OK(ec__backend_open("cpu", threads, &be));
    CHECK_OK(ec__heads_new(be, &shape, 5, &heads));
    CHECK_OK(ec__trainer_core_new(heads, comm, &config, &core));
    for (int m = 0; m < EC_MODALITIES; m++) {
        x[m] = calloc((size_t)(rows * ec__heads_input_dim(&shape, (ec_modality)m)), sizeof(float));
        label[m] = calloc((size_t)rows, sizeof(int32_t));
    }
    for (int64_t step = 0; step < STEPS; step++) {
        ec_step_result r;
        make_batch(&shape, step, rows * comm->rank, rows, x, label);
        CHECK_OK(ec__train_step(core, step, (const float *const *)x, (const int32_t *const *)label, &r));
    }
    test_state_digest(core, hex);
    for (int m = 0; m < EC_MODALITIES; m++) free(x[m]), free(label[m]);
    ec__trainer_core_free(core);
    ec__heads_free(heads);
    be->close(be);
}

/* Everywhere the same as alone, for every accumulate that divides the rank's shards unevenly or not. */
static void check_plan(ec_comm *world, const plan *p) {
    char alone[65] = {0}, together[65];
    if (p->shards % world->size != 0 || p->rows % world->size != 0) return;
    if (world->rank == 0) {
        ec_comm *self = NULL;
        CHECK_OK(ec__comm_open("self", &self));
        train(self, 2, p, 1, alone);
        ec__comm_close(self);
    }
    CHECK_OK(ec__comm_broadcast(world, alone, sizeof alone, 0));
    for (int32_t accumulate = 1; accumulate <= 3 && accumulate <= p->shards / world->size; accumulate++) {
        train(world, accumulate, p, accumulate, together);
        if (strcmp(alone, together) != 0)
            fail_msg("%s, %d shards, %d ranks, accumulate %d: state %.12s, alone %.12s", p->multi_task ? "multi" : "single",
                     p->shards, world->size, accumulate, together, alone);
    }
}

static ec_comm *world;

static void test_same_bits(void **state) {
    (void)state;
    /* Six shards have no tree that 2 or 6 ranks could share; 100 rows make shards of 12 and 13. */
    const plan plans[] = {{false, 48, 8, 9},  {true, 48, 8, 9},   {false, 48, 6, 9},
                          {true, 48, 12, 9}, {false, 100, 8, 9}, {false, 60, 5, 9}};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) check_plan(world, &plans[i]);
}

/* The digest is not blind: it notices another seed of dropout. */
static void test_digest_tells_apart(void **state) {
    (void)state;
    char a[65], b[65];
    const plan one = {false, 48, 24, 9}, other = {false, 48, 24, 10};
    train(world, 1, &one, 1, a);
    train(world, 1, &other, 1, b);
    assert_string_not_equal(a, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits), cmocka_unit_test(test_digest_tells_apart)};
    CHECK_OK(ec__comm_open("auto", &world));
    ec__comm_set_deadline(world, 110, 110);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ec__comm_close(world);
    return failed;
}
