/* Twenty optimizer steps of the projection heads against the run_* groups of heads.h5: losses, parameters, moments and
 * running statistics after every step, and the evaluation of the whole pools at the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heads_support.h"

typedef struct run {
    hid_t at;
    ec_backend *be;
    ec_comm *comm;
    ec_heads *heads;
    ec_trainer_core *core;
    test_array pool[EC_MODALITIES], label[EC_MODALITIES], index[EC_MODALITIES];
    int64_t steps, batch;
} run;

static void open_run(run *r, hid_t file, const char *name, bool reproducible, int32_t shards) {
    static const char *const who[] = {"image", "audio"};
    char what[64];
    memset(r, 0, sizeof *r);
    r->at = H5Gopen2(file, name, H5P_DEFAULT);
    for (int m = 0; m < EC_MODALITIES; m++) {
        snprintf(what, sizeof what, "%s_features", who[m]);
        r->pool[m] = test_h5_f32(r->at, what);
        snprintf(what, sizeof what, "%s_labels", who[m]);
        r->label[m] = test_h5_i32(r->at, what);
        snprintf(what, sizeof what, "%s_index", who[m]);
        r->index[m] = test_h5_i32(r->at, what);
    }
    r->steps = r->index[0].dim[0];
    r->batch = r->index[0].dim[1];
    CHECK_OK(ec__backend_open("cpu", 2, &r->be));
    CHECK_OK(ec__comm_open("self", &r->comm));
    ec_heads_config heads = test_heads_config(r->at);
    ec_train_config train = test_train_config(r->at, r->batch);
    train.plan.reproducible = reproducible;
    train.plan.shards = shards;
    CHECK_OK(ec__heads_new(r->be, &heads, 1, &r->heads));
    CHECK_OK(ec__trainer_core_new(r->heads, r->comm, &train, &r->core));
    hid_t params = H5Gopen2(r->at, "params", H5P_DEFAULT);
    test_heads_load(r->heads, params);
    H5Gclose(params);
}

static void close_run(run *r) {
    for (int m = 0; m < EC_MODALITIES; m++) {
        test_array_release(&r->pool[m]);
        test_array_release(&r->label[m]);
        test_array_release(&r->index[m]);
    }
    ec__trainer_core_free(r->core);
    ec__heads_free(r->heads);
    ec__comm_close(r->comm);
    r->be->close(r->be);
    H5Gclose(r->at);
}

static void train(run *r, int64_t step, ec_step_result *result) {
    float *x[EC_MODALITIES];
    int32_t *label[EC_MODALITIES];
    for (int m = 0; m < EC_MODALITIES; m++) {
        const int32_t *index = r->index[m].i32 + step * r->batch;
        x[m] = test_gather_rows(r->pool[m].f32, r->pool[m].dim[1], index, r->batch);
        label[m] = calloc((size_t)r->batch, sizeof **label);
        for (int64_t i = 0; i < r->batch; i++) label[m][i] = r->label[m].i32[index[i]];
    }
    CHECK_OK(ec__train_step(r->core, step, (const float *const *)x, (const int32_t *const *)label, result));
    for (int m = 0; m < EC_MODALITIES; m++) free(x[m]), free(label[m]);
}

/* Reference values of one tensor, all steps. */
static test_array all_steps(const run *r, const char *folder, const ec_param *p) {
    char what[256];
    snprintf(what, sizeof what, "steps/%s/%s", folder, p->name);
    test_array ref = test_h5_f64(r->at, what);
    assert_int_equal(ref.count, r->steps * p->count);
    return ref;
}

static void compare_params(const run *r, int64_t step) {
    const ec_heads *heads = r->heads;
    for (int32_t i = 0; i < heads->params.count; i++) {
        const ec_param *p = &heads->params.items[i];
        float *state = calloc((size_t)p->count, sizeof *state);
        test_array ref = all_steps(r, "params", p), m = all_steps(r, "exp_avg", p), v = all_steps(r, "exp_avg_sq", p);
        int64_t at = step * p->count;
        ec__param_export(p, heads->param, state);
        test_limit(p->name, test_compare(state, ref.f64 + at, p->count).abs, p->zero_gradient ? 5e-5 : 2e-5);
        ec__param_export(p, r->core->optimizer->exp_avg, state);
        test_limit(p->name, test_compare(state, m.f64 + at, p->count).rel_l2, 1e-4);
        ec__param_export(p, r->core->optimizer->exp_avg_sq, state);
        test_limit(p->name, test_compare(state, v.f64 + at, p->count).rel_l2, 1e-4);
        test_array_release(&ref), test_array_release(&m), test_array_release(&v);
        free(state);
    }
}

static void compare_buffers(const run *r, int64_t step) {
    for (int32_t i = 0; i < r->heads->buffers.count; i++) {
        const ec_param *p = &r->heads->buffers.items[i];
        float *state = calloc((size_t)p->count, sizeof *state);
        test_array ref = all_steps(r, "buffers", p);
        CHECK_OK(ec__heads_export_buffer(r->heads, i, state));
        test_error e = test_compare(state, ref.f64 + step * p->count, p->count);
        if (strstr(p->name, "running_var")) test_limit(p->name, e.rel_max, 5e-5);
        else test_limit(p->name, e.abs, 5e-5);
        test_array_release(&ref);
        free(state);
    }
    for (int32_t i = 0; i < r->heads->counters.count; i++) {
        test_array ref = all_steps(r, "buffers", &r->heads->counters.items[i]);
        assert_int_equal(r->heads->counter[i], (int64_t)ref.f64[step]);
        test_array_release(&ref);
    }
}

/* Change from the first step's start to the end, per tensor. */
static void compare_changes(const run *r) {
    char what[256];
    for (int32_t i = 0; i < r->heads->params.count; i++) {
        const ec_param *p = &r->heads->params.items[i];
        if (p->zero_gradient) continue;
        float *state = calloc((size_t)p->count, sizeof *state);
        snprintf(what, sizeof what, "params/%s", p->name);
        test_array start = test_h5_f64(r->at, what), ref = all_steps(r, "params", p);
        double *change = ref.f64 + (r->steps - 1) * p->count;
        ec__param_export(p, r->heads->param, state);
        for (int64_t j = 0; j < p->count; j++) {
            state[j] = (float)(state[j] - start.f64[j]);
            change[j] -= start.f64[j];
        }
        test_limit(p->name, test_compare(state, change, p->count).rel_l2, 1e-3);
        test_array_release(&start), test_array_release(&ref);
        free(state);
    }
}

static void compare_final(run *r) {
    char what[256];
    for (ec_modality m = 0; m < EC_MODALITIES; m++) {
        int64_t rows = r->pool[m].dim[0], count = rows * r->heads->config.output_dim;
        float *z[EC_EMBEDDINGS] = {calloc((size_t)count, sizeof(float)), calloc((size_t)count, sizeof(float))};
        CHECK_OK(ec__heads_embed(r->heads, m, r->pool[m].f32, rows, z));
        for (int32_t e = 0; e < ec__heads_embeddings(&r->heads->config); e++) {
            snprintf(what, sizeof what, "final_eval/embed_%s",
                     ec__heads_embedding_name(&r->heads->config, m, (ec_embedding)e));
            test_array ref = test_h5_f64(r->at, what);
            assert_int_equal(ref.count, count);
            test_limit(what, test_compare(z[e], ref.f64, count).abs, 5e-5);
            test_array_release(&ref);
        }
        free(z[0]), free(z[1]);
    }
}

static void compare_losses(const run *r, int64_t step, const ec_step_result *result) {
    char what[64];
    for (int d = 0; d <= EC_DIRECTIONS; d++) {
        snprintf(what, sizeof what, "steps/%s", d < EC_DIRECTIONS ? test_loss_name[d] : "loss_total");
        test_array ref = test_h5_f64(r->at, what);
        double got = d < EC_DIRECTIONS ? result->losses[d] : result->total;
        if (d == EC_DIRECTIONS || r->core->config.weight[d] > 0) test_limit(what, fabs(got - ref.f64[step]), 5e-5);
        test_array_release(&ref);
    }
}

static const struct {
    bool reproducible;
    int32_t shards;
} plans[] = {{true, 8}, {false, 0}};

static void visit(hid_t file, const char *name, void *arg) {
    if (strncmp(name, "run_", 4) != 0) return;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        run r;
        open_run(&r, file, name, plans[i].reproducible, plans[i].shards);
        assert_true(r.steps > 0);
        for (int64_t step = 0; step < r.steps; step++) {
            ec_step_result result;
            train(&r, step, &result);
            compare_losses(&r, step, &result);
            compare_params(&r, step);
            compare_buffers(&r, step);
        }
        compare_changes(&r);
        compare_final(&r);
        close_run(&r);
    }
    ++*(int *)arg;
}

static void test_runs(void **state) {
    (void)state;
    int seen = 0;
    hid_t file = test_h5_open(test_golden_path("heads.h5"));
    test_h5_each(file, visit, &seen);
    assert_true(seen > 0);
    H5Fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
