/* Training steps of which one is started before the result of the one before it is read: the same bits as one after the
 * other, and an error names its own step and leaves parameters as they were before it. On both back ends. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_support.h"
#include "dist/comm.h"
#include "train/step.h"

enum { ROWS = 24, STEPS = 7, IMAGE_DIM = 20, AUDIO_DIM = 12 };

/* A model and the features of its batches, in two places by turns. */
typedef struct model {
    ec_backend *be;
    ec_comm *host, *comm;
    ec_heads *heads;
    ec_trainer_core *core;
    float *x[EC_TURNS][EC_MODALITIES];    /* back end memory */
    float *told[EC_TURNS][EC_MODALITIES]; /* the host memory that they are uploaded from */
    int32_t label[EC_MODALITIES][ROWS];
} model;

static int32_t width_of(int m) { return m == EC_IMAGE ? IMAGE_DIM : AUDIO_DIM; }

static model model_open(ec_backend *be, bool multi_task) {
    model t = {.be = be};
    const ec_heads_config shape = {.multi_task = multi_task, .image_dim = IMAGE_DIM, .audio_dim = AUDIO_DIM,
                                   .hidden_dim = 16, .base_output_dim = 12, .output_dim = 8, .dropout = 0.1f,
                                   .normalize_inputs = true};
    ec_train_config config = {.plan = {.global_rows = ROWS, .reproducible = true, .shards = 4, .accumulate = 1, .seed = 3},
                              .optimizer = ec__optimizer_defaults(), .temperature = 0.1f, .weight = {1, 1, 1, 1}};
    config.optimizer.warmup_steps = STEPS;
    CHECK_OK(ec__comm_open("self", &t.host));
    CHECK_OK(ec__comm_open_over(t.host, be->native_queue(be), &t.comm));
    CHECK_OK(ec__heads_new(be, &shape, 1, &t.heads));
    CHECK_OK(ec__trainer_core_new(t.heads, t.comm, &config, &t.core));
    for (int i = 0; i < EC_TURNS; i++)
        for (int m = 0; m < EC_MODALITIES; m++) {
            const size_t bytes = sizeof(float) * ROWS * (size_t)width_of(m);
            CHECK_OK(be->memory->alloc(be, bytes, (void **)&t.x[i][m]));
            CHECK_OK(be->memory->alloc_host(be, bytes, (void **)&t.told[i][m]));
        }
    return t;
}

static void model_close(model *t) {
    for (int i = 0; i < EC_TURNS; i++)
        for (int m = 0; m < EC_MODALITIES; m++) {
            t->be->memory->free(t->be, t->x[i][m]);
            t->be->memory->free_host(t->be, t->told[i][m]);
        }
    ec__trainer_core_free(t->core);
    ec__heads_free(t->heads);
    if (t->comm != t->host) ec__comm_close(t->comm);
    ec__comm_close(t->host);
}

/* bad: of the step, whose music is then not all numbers. */
static void start(model *t, int64_t step, int64_t bad) {
    const int64_t turn = step % EC_TURNS;
    for (int m = 0; m < EC_MODALITIES; m++) {
        float *told = t->told[turn][m];
        const size_t bytes = sizeof(float) * ROWS * (size_t)width_of(m);
        test_fill(told, ROWS * width_of(m), (uint64_t)(100 + 2 * step + m));
        if (step == bad && m == EC_MUSIC) told[5 * AUDIO_DIM + 3] = NAN;
        for (int32_t b = 0; b < ROWS; b++) t->label[m][b] = (int32_t)((b * 7 + step + m) % 5);
        CHECK_OK(t->be->memory->upload_ahead(t->be, t->x[turn][m], told, bytes));
    }
    CHECK_OK(ec__train_step_start(t->core, step, (const float *const *)t->x[turn],
                                  (const int32_t *const[]){t->label[0], t->label[1]}));
    memset(t->label, 77, sizeof t->label); /* not needed any more */
}

/* Parameters and moments on the host. */
typedef struct state {
    float *array[3];
    size_t bytes;
} state;

static state state_of(const model *t) {
    state s = {.bytes = sizeof(float) * (size_t)t->heads->params.total};
    const float *from[3] = {t->heads->param, t->core->optimizer->exp_avg, t->core->optimizer->exp_avg_sq};
    for (int i = 0; i < 3; i++) {
        s.array[i] = malloc(s.bytes);
        assert_non_null(s.array[i]);
        CHECK_OK(t->be->memory->download(t->be, t->be->main_stream(t->be), s.array[i], from[i], s.bytes));
    }
    CHECK_OK(t->be->synchronize(t->be));
    return s;
}

static bool states_equal(const state *a, const state *b) {
    bool equal = true;
    for (int i = 0; i < 3; i++) equal = equal && memcmp(a->array[i], b->array[i], a->bytes) == 0;
    return equal;
}

static void state_free(state *s) {
    for (int i = 0; i < 3; i++) free(s->array[i]);
}

/* All steps one after the other: results, and the state behind `until` steps. */
static state run_plainly(model *t, int64_t until, ec_step_result *result) {
    for (int64_t step = 0; step < until; step++) {
        start(t, step, -1);
        CHECK_OK(ec__train_step_finish(t->core, step, &result[step]));
    }
    return state_of(t);
}

static void check_same(ec_backend *be, bool multi_task) {
    model plain = model_open(be, multi_task), ahead = model_open(be, multi_task);
    ec_step_result expected[STEPS], result;
    state a = run_plainly(&plain, STEPS, expected);
    start(&ahead, 0, -1);
    for (int64_t step = 0; step < STEPS; step++) {
        if (step + 1 < STEPS) start(&ahead, step + 1, -1);
        CHECK_OK(ec__train_step_finish(ahead.core, step, &result));
        assert_memory_equal(&result, &expected[step], sizeof result);
    }
    state b = state_of(&ahead);
    assert_true(states_equal(&a, &b));
    state_free(&a), state_free(&b);
    model_close(&plain), model_close(&ahead);
}

static void test_same_bits(void **unused) {
    (void)unused;
    for TEST_EACH(be) {
        check_same(be, false);
        check_same(be, true);
    }
}

/* Step 3 is bad, step 4 has been started when that is found out; then the run goes on with step 5 as if neither had
 * been. */
static void check_bad_step(ec_backend *be) {
    enum { BAD = 3 };
    model plain = model_open(be, false), ahead = model_open(be, false);
    ec_step_result expected[STEPS], result;
    state before = run_plainly(&plain, BAD, expected);
    start(&ahead, 0, -1);
    for (int64_t step = 0; step < BAD; step++) {
        start(&ahead, step + 1, BAD);
        CHECK_OK(ec__train_step_finish(ahead.core, step, &result));
        assert_memory_equal(&result, &expected[step], sizeof result);
    }
    start(&ahead, BAD + 1, BAD);
    CHECK_ERROR(ec__train_step_finish(ahead.core, BAD, &result), EC_ERR_DATA, "step 3: SupCon: the music embedding");
    state after = state_of(&ahead);
    assert_true(states_equal(&before, &after));
    start(&ahead, BAD + 2, BAD);
    CHECK_OK(ec__train_step_finish(ahead.core, BAD + 2, &result));
    state later = state_of(&ahead);
    assert_false(states_equal(&after, &later));
    state_free(&before), state_free(&after), state_free(&later);
    model_close(&plain), model_close(&ahead);
}

static void test_bad_step(void **unused) {
    (void)unused;
    for TEST_EACH(be) check_bad_step(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits), cmocka_unit_test(test_bad_step)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
