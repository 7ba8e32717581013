/* One training step of the projection heads in detail, against heads.h5: embeddings, losses, gradients, statistics.
 * Each group runs with several cuts into shards and groups, and in fast mode. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heads_support.h"

typedef struct fixture {
    ec_backend *be;
    ec_comm *comm;
    hid_t at;
    const char *name;
    ec_heads *heads;
    ec_trainer_core *core;
    test_array x[EC_MODALITIES], label[EC_MODALITIES];
    int64_t rows;
} fixture;

static void open_step(fixture *f, hid_t file, const char *name, bool reproducible, int32_t shards, int32_t accumulate) {
    memset(f, 0, sizeof *f);
    f->name = name;
    f->at = H5Gopen2(file, name, H5P_DEFAULT);
    CHECK_OK(ec__backend_open("cpu", 2, &f->be));
    CHECK_OK(ec__comm_open("self", &f->comm));
    f->x[EC_IMAGE] = test_h5_f32(f->at, "x_image");
    f->x[EC_MUSIC] = test_h5_f32(f->at, "x_audio");
    f->label[EC_IMAGE] = test_h5_i32(f->at, "labels_image");
    f->label[EC_MUSIC] = test_h5_i32(f->at, "labels_music");
    f->rows = f->x[0].dim[0];
    ec_heads_config heads = test_heads_config(f->at);
    ec_train_config train = test_train_config(f->at, f->rows);
    train.plan.reproducible = reproducible;
    train.plan.shards = shards;
    train.plan.accumulate = accumulate;
    CHECK_OK(ec__heads_new(f->be, &heads, 1, &f->heads));
    CHECK_OK(ec__trainer_core_new(f->heads, f->comm, &train, &f->core));
    hid_t params = H5Gopen2(f->at, "params", H5P_DEFAULT);
    test_heads_load(f->heads, params);
    H5Gclose(params);
}

static void close_step(fixture *f) {
    for (int m = 0; m < EC_MODALITIES; m++) test_array_release(&f->x[m]), test_array_release(&f->label[m]);
    ec__trainer_core_free(f->core);
    ec__heads_free(f->heads);
    ec__comm_close(f->comm);
    f->be->close(f->be);
    H5Gclose(f->at);
}

static void check_embeddings(const fixture *f, const char *kind, ec_modality m, int32_t e, const float *z) {
    char what[256];
    snprintf(what, sizeof what, "%s/embed_%s", kind, ec__heads_embedding_name(&f->heads->config, m, (ec_embedding)e));
    test_array ref = test_h5_f64(f->at, what);
    assert_int_equal(ref.count, f->rows * f->heads->config.output_dim);
    test_limit(what, test_compare(z, ref.f64, ref.count).abs, 1e-5);
    test_array_release(&ref);
}

static void check_eval(fixture *f) {
    size_t count = (size_t)f->rows * (size_t)f->heads->config.output_dim;
    float *z[EC_EMBEDDINGS] = {calloc(count, sizeof(float)), calloc(count, sizeof(float))};
    for (ec_modality m = 0; m < EC_MODALITIES; m++) {
        CHECK_OK(ec__heads_embed(f->heads, m, f->x[m].f32, f->rows, z));
        for (int32_t e = 0; e < ec__heads_embeddings(&f->heads->config); e++) check_embeddings(f, "eval", m, e, z[e]);
        /* A row alone has the bits that it has among others. */
        float *row = calloc((size_t)f->heads->config.output_dim, sizeof(float)), *one[EC_EMBEDDINGS] = {row, NULL};
        int64_t last = f->rows - 1, out = f->heads->config.output_dim;
        CHECK_OK(ec__heads_embed(f->heads, m, f->x[m].f32 + last * f->x[m].dim[1], 1, one));
        assert_memory_equal(row, z[0] + last * out, (size_t)out * sizeof *row);
        free(row);
    }
    free(z[0]), free(z[1]);
}

static void check_gradients(const fixture *f) {
    char what[256];
    for (int32_t i = 0; i < f->heads->params.count; i++) {
        const ec_param *p = &f->heads->params.items[i];
        float *state = calloc((size_t)p->count, sizeof *state);
        ec__param_export(p, f->core->grad, state);
        snprintf(what, sizeof what, "train/grad/%s", p->name);
        test_array ref = test_h5_f64(f->at, what);
        assert_int_equal(ref.count, p->count);
        test_error e = test_compare(state, ref.f64, ref.count);
        if (p->zero_gradient) assert_true(e.abs == 0 && e.ref_max == 0);
        else test_limit(what, e.rel_l2, 3e-5);
        test_array_release(&ref);
        free(state);
    }
}

static void check_buffers(const fixture *f) {
    char what[256];
    for (int32_t i = 0; i < f->heads->buffers.count; i++) {
        const ec_param *p = &f->heads->buffers.items[i];
        float *state = calloc((size_t)p->count, sizeof *state);
        CHECK_OK(ec__heads_export_buffer(f->heads, i, state));
        snprintf(what, sizeof what, "train/bn_after/%s", p->name);
        test_array ref = test_h5_f64(f->at, what);
        test_limit(what, test_compare(state, ref.f64, ref.count).rel_max, 5e-6);
        test_array_release(&ref);
        free(state);
    }
    for (int32_t i = 0; i < f->heads->counters.count; i++) {
        snprintf(what, sizeof what, "train/bn_after/%s", f->heads->counters.items[i].name);
        assert_int_equal(f->heads->counter[i], (int64_t)test_h5_scalar(f->at, what));
    }
}

static void check_train(fixture *f) {
    ec_step_result result;
    char what[64];
    CHECK_OK(ec__train_step(f->core, 0, (const float *const[]){f->x[0].f32, f->x[1].f32},
                            (const int32_t *const[]){f->label[0].i32, f->label[1].i32}, &result));
    for (ec_modality m = 0; m < EC_MODALITIES; m++)
        for (int32_t e = 0; e < ec__heads_embeddings(&f->heads->config); e++)
            check_embeddings(f, "train", m, e, ec__heads_z(f->core->pass, m, e));
    for (ec_direction d = 0; d < EC_DIRECTIONS; d++) {
        snprintf(what, sizeof what, "train/%s", test_loss_name[d]);
        if (f->core->config.weight[d] > 0)
            test_limit(what, fabs(result.losses[d] - test_h5_scalar(f->at, what)), 2e-5);
    }
    test_limit("train/loss_total", fabs(result.total - test_h5_scalar(f->at, "train/loss_total")), 2e-5);
    check_gradients(f);
    check_buffers(f);
}

static const struct {
    bool reproducible;
    int32_t shards, accumulate;
} plans[] = {{true, 1, 1}, {true, 3, 1}, {true, 8, 1}, {true, 4, 2}, {true, 5, 5}, {false, 0, 1}, {false, 0, 3}};

static void visit(hid_t file, const char *name, void *arg) {
    int *seen = arg;
    fixture f;
    if (strncmp(name, "step_", 5) != 0) return;
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        open_step(&f, file, name, plans[i].reproducible, plans[i].shards, plans[i].accumulate);
        if (i == 0) check_eval(&f);
        check_train(&f);
        close_step(&f);
    }
    ++*seen;
}

static void test_steps(void **state) {
    (void)state;
    int seen = 0;
    hid_t file = test_h5_open(test_golden_path("heads.h5"));
    test_h5_each(file, visit, &seen);
    assert_true(seen > 0);
    H5Fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
