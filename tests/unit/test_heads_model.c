/* The heads as a model: names, shapes and initial values of tensors, state-dict layout, refusals, and features that are
 * not numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "train/step.h"

static const ec_heads_config small = {.image_dim = 50, .audio_dim = 30, .hidden_dim = 20, .base_output_dim = 12,
                                      .output_dim = 8, .dropout = 0.1f, .normalize_inputs = true};

static void test_names(void **state) {
    (void)state;
    ec_backend *be = NULL;
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    for (int multi = 0; multi < 2; multi++) {
        ec_heads *heads = NULL;
        ec_heads_config config = small;
        config.multi_task = multi;
        CHECK_OK(ec__heads_new(be, &config, 7, &heads));
        assert_int_equal(heads->params.count, multi ? 36 : 12);
        assert_int_equal(heads->buffers.count, multi ? 12 : 4);
        assert_int_equal(heads->counters.count, multi ? 6 : 2);
        const ec_param *w = ec__param_find(&heads->params, multi ? "audio_base_projector.0.weight" : "audio_projector.0.weight");
        assert_non_null(w);
        assert_true(w->dims == 2 && w->shape[0] == 20 && w->shape[1] == 30 && w->transposed);
        int cancelled = 0;
        for (int32_t i = 0; i < heads->params.count; i++) {
            cancelled += heads->params.items[i].zero_gradient;
            assert_int_equal(heads->params.items[i].offset % EC_PARAM_ALIGN, 0);
        }
        assert_int_equal(cancelled, multi ? 8 : 2);
        assert_null(ec__param_find(&heads->params, multi ? "audio_projector.0.weight" : "audio_base_projector.0.weight"));
        ec__heads_free(heads);
    }
    be->close(be);
}

/* Largest absolute value, and mean, of a tensor. */
static void survey(ec_heads *heads, const char *name, double *largest, double *mean) {
    const ec_param *p = ec__param_find(&heads->params, name);
    float *x = malloc((size_t)p->count * sizeof *x);
    CHECK_OK(ec__heads_export_param(heads, (int32_t)(p - heads->params.items), x));
    *largest = *mean = 0;
    for (int64_t i = 0; i < p->count; i++) {
        if (fabs(x[i]) > *largest) *largest = fabs(x[i]);
        *mean += x[i] / (double)p->count;
    }
    free(x);
}

static void test_initial_values(void **state) {
    (void)state;
    ec_backend *be = NULL;
    ec_heads *a = NULL, *b = NULL, *c = NULL;
    double largest, mean, bound = 1 / sqrt(50.0);
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__heads_new(be, &small, 7, &a));
    CHECK_OK(ec__heads_new(be, &small, 7, &b));
    CHECK_OK(ec__heads_new(be, &small, 8, &c));
    survey(a, "image_projector.0.weight", &largest, &mean);
    assert_true(largest <= bound && largest > 0.98 * bound && fabs(mean) < 0.08 * bound);
    survey(a, "image_projector.0.bias", &largest, &mean);
    assert_true(largest <= bound && largest > 0.7 * bound);
    survey(a, "image_projector.4.weight", &largest, &mean);
    assert_true(largest <= 1 / sqrt(20.0) && largest > 0.9 / sqrt(20.0));
    survey(a, "image_projector.1.weight", &largest, &mean);
    assert_true(largest == 1 && fabs(mean - 1) < 1e-12);
    survey(a, "image_projector.1.bias", &largest, &mean);
    assert_true(largest == 0);
    size_t bytes = (size_t)a->params.total * sizeof(float);
    assert_memory_equal(a->param, b->param, bytes);
    assert_memory_not_equal(a->param, c->param, bytes);
    ec__heads_free(a), ec__heads_free(b), ec__heads_free(c);
    be->close(be);
}

static void test_state_dict_layout(void **state) {
    (void)state;
    const ec_param p = {.dims = 2, .shape = {2, 3}, .offset = 1, .count = 6, .transposed = true};
    const float in[] = {1, 2, 3, 4, 5, 6}, stored[] = {9, 1, 4, 2, 5, 3, 6, 9};
    float flat[] = {9, 0, 0, 0, 0, 0, 0, 9}, out[6];
    ec__param_import(&p, in, flat);
    assert_memory_equal(flat, stored, sizeof stored);
    ec__param_export(&p, flat, out);
    assert_memory_equal(out, in, sizeof in);
}

static void test_refusals(void **state) {
    (void)state;
    ec_backend *be = NULL;
    ec_comm *comm = NULL;
    ec_heads *heads = NULL;
    ec_heads_pass *pass = NULL;
    ec_heads_config bad = small;
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__comm_open("self", &comm));
    bad.hidden_dim = 0;
    CHECK_ERROR(ec__heads_new(be, &bad, 1, &heads), EC_ERR_CONFIG, "hidden_dim");
    bad = small;
    bad.dropout = 1;
    CHECK_ERROR(ec__heads_new(be, &bad, 1, &heads), EC_ERR_CONFIG, "dropout");
    CHECK_OK(ec__heads_new(be, &small, 1, &heads));
    const struct {
        ec_heads_plan plan;
        const char *text;
    } plans[] = {
        {{.global_rows = 1, .reproducible = true, .shards = 1, .accumulate = 1}, "global batch of 1"},
        {{.global_rows = 8, .reproducible = true, .shards = 9, .accumulate = 1}, "9 virtual shards"},
        {{.global_rows = 8, .reproducible = true, .shards = 0, .accumulate = 1}, "0 virtual shards"},
        {{.global_rows = 8, .reproducible = true, .shards = 4, .accumulate = 5}, "accumulate is 5"},
        {{.global_rows = 8, .accumulate = 0}, "accumulate is 0"},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++)
        CHECK_ERROR(ec__heads_pass_new(heads, comm, &plans[i].plan, &pass), EC_ERR_CONFIG, plans[i].text);
    assert_null(pass);
    ec__heads_free(heads);
    ec__comm_close(comm);
    be->close(be);
}

/* A feature that is not a number is an error, not a model that learns from noise. */
static void test_not_a_number(void **state) {
    (void)state;
    enum { ROWS = 16 };
    ec_backend *be = NULL;
    ec_comm *comm = NULL;
    ec_heads *heads = NULL;
    ec_trainer_core *core = NULL;
    ec_step_result r;
    float x[ROWS * 50], y[ROWS * 30];
    int32_t label[ROWS] = {0};
    const ec_train_config config = {.plan = {.global_rows = ROWS, .reproducible = true, .shards = 4, .accumulate = 1},
                                    .optimizer = ec__optimizer_defaults(), .temperature = 0.1f, .weight = {1, 1, 1, 1}};
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    CHECK_OK(ec__comm_open("self", &comm));
    CHECK_OK(ec__heads_new(be, &small, 1, &heads));
    CHECK_OK(ec__trainer_core_new(heads, comm, &config, &core));
    test_fill(x, ROWS * 50, 1);
    test_fill(y, ROWS * 30, 2);
    CHECK_OK(ec__train_step(core, 0, (const float *const[]){x, y}, (const int32_t *const[]){label, label}, &r));
    y[77] = NAN;
    CHECK_ERROR(ec__train_step(core, 1, (const float *const[]){x, y}, (const int32_t *const[]){label, label}, &r),
                EC_ERR_DATA, "finite");
    ec__trainer_core_free(core);
    ec__heads_free(heads);
    ec__comm_close(comm);
    be->close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_initial_values),
                                       cmocka_unit_test(test_state_dict_layout), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_not_a_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
