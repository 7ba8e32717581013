/* A whole training run, 200 steps of the default heads, against trace.h5. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heads_support.h"

typedef struct trace {
    hid_t file;
    ec_backend *be;
    ec_comm *comm;
    ec_heads *heads;
    ec_trainer_core *core;
    test_array pool[EC_MODALITIES], label[EC_MODALITIES], index[EC_MODALITIES], loss[EC_DIRECTIONS + 1];
} trace;

static void open_trace(trace *t, bool reproducible) {
    static const char *const names[][EC_MODALITIES] = {
        {"image_features", "audio_features"}, {"image_labels", "audio_labels"}, {"image_index", "audio_index"}};
    char what[64];
    memset(t, 0, sizeof *t);
    t->file = test_h5_open(test_golden_path("trace.h5"));
    for (int m = 0; m < EC_MODALITIES; m++) {
        t->pool[m] = test_h5_f32(t->file, names[0][m]);
        t->label[m] = test_h5_i32(t->file, names[1][m]);
        t->index[m] = test_h5_i32(t->file, names[2][m]);
    }
    for (int d = 0; d <= EC_DIRECTIONS; d++) {
        snprintf(what, sizeof what, "steps/%s", d < EC_DIRECTIONS ? test_loss_name[d] : "loss_total");
        t->loss[d] = test_h5_f64(t->file, what);
        assert_int_equal(t->loss[d].count, t->index[0].dim[0]);
    }
    CHECK_OK(ec__backend_open("cpu", 2, &t->be));
    CHECK_OK(ec__comm_open("self", &t->comm));
    ec_heads_config heads = test_heads_config(t->file);
    ec_train_config train = test_train_config(t->file, t->index[0].dim[1]);
    train.plan.reproducible = reproducible;
    train.plan.shards = 8;
    CHECK_OK(ec__heads_new(t->be, &heads, 1, &t->heads));
    CHECK_OK(ec__trainer_core_new(t->heads, t->comm, &train, &t->core));
    hid_t initial = H5Gopen2(t->file, "initial", H5P_DEFAULT);
    test_heads_load(t->heads, initial);
    H5Gclose(initial);
}

static void close_trace(trace *t) {
    for (int m = 0; m < EC_MODALITIES; m++) {
        test_array_release(&t->pool[m]);
        test_array_release(&t->label[m]);
        test_array_release(&t->index[m]);
    }
    for (int d = 0; d <= EC_DIRECTIONS; d++) test_array_release(&t->loss[d]);
    ec__trainer_core_free(t->core);
    ec__heads_free(t->heads);
    ec__comm_close(t->comm);
    t->be->close(t->be);
    H5Fclose(t->file);
}

static void run_steps(trace *t) {
    int64_t batch = t->index[0].dim[1];
    for (int64_t step = 0; step < t->index[0].dim[0]; step++) {
        ec_step_result r;
        float *x[EC_MODALITIES];
        int32_t *label[EC_MODALITIES];
        for (int m = 0; m < EC_MODALITIES; m++) {
            const int32_t *index = t->index[m].i32 + step * batch;
            x[m] = test_gather_rows(t->pool[m].f32, t->pool[m].dim[1], index, batch);
            label[m] = calloc((size_t)batch, sizeof **label);
            for (int64_t i = 0; i < batch; i++) label[m][i] = t->label[m].i32[index[i]];
        }
        CHECK_OK(ec__train_step(t->core, step, (const float *const *)x, (const int32_t *const *)label, &r));
        double limit = step < 20 ? 2e-5 : 1e-4;
        for (int d = 0; d < EC_DIRECTIONS; d++)
            if (t->core->config.weight[d] > 0)
                test_limit(test_loss_name[d], fabs(r.losses[d] - t->loss[d].f64[step]), limit);
        test_limit("loss_total", fabs(r.total - t->loss[EC_DIRECTIONS].f64[step]), limit);
        for (int m = 0; m < EC_MODALITIES; m++) free(x[m]), free(label[m]);
    }
}

static void compare_weights(trace *t) {
    char what[256];
    for (int32_t i = 0; i < t->heads->params.count; i++) {
        const ec_param *p = &t->heads->params.items[i];
        float *state = calloc((size_t)p->count, sizeof *state);
        snprintf(what, sizeof what, "initial/%s", p->name);
        test_array start = test_h5_f64(t->file, what);
        snprintf(what, sizeof what, "final/%s", p->name);
        test_array ref = test_h5_f64(t->file, what);
        CHECK_OK(ec__heads_export_param(t->heads, i, state));
        if (p->dims == 2) {
            for (int64_t j = 0; j < p->count; j++) {
                state[j] = (float)(state[j] - start.f64[j]);
                ref.f64[j] -= start.f64[j];
            }
            test_limit(what, test_compare(state, ref.f64, p->count).rel_l2, 1e-2);
        } else if (!p->zero_gradient) {
            test_limit(what, test_compare(state, ref.f64, p->count).rel_l2, 5e-3);
        }
        test_array_release(&start), test_array_release(&ref);
        free(state);
    }
    for (int32_t i = 0; i < t->heads->buffers.count; i++) {
        const ec_param *p = &t->heads->buffers.items[i];
        if (!strstr(p->name, "running_var")) continue;
        float *state = calloc((size_t)p->count, sizeof *state);
        snprintf(what, sizeof what, "final/%s", p->name);
        test_array ref = test_h5_f64(t->file, what);
        CHECK_OK(ec__heads_export_buffer(t->heads, i, state));
        test_limit(what, test_compare(state, ref.f64, p->count).rel_l2, 5e-3);
        test_array_release(&ref);
        free(state);
    }
}

static void compare_final(trace *t) {
    char what[64];
    for (ec_modality m = 0; m < EC_MODALITIES; m++) {
        for (int32_t e = 0; e < ec__heads_embeddings(&t->heads->config); e++) {
            int64_t rows = t->pool[m].dim[0], count = rows * t->heads->config.output_dim;
            float *z = calloc((size_t)count, sizeof *z), *at[EC_EMBEDDINGS] = {NULL};
            at[e] = z;
            CHECK_OK(ec__heads_embed(t->heads, m, t->pool[m].f32, rows, at));
            snprintf(what, sizeof what, "final_eval/embed_%s",
                     ec__heads_embedding_name(&t->heads->config, m, (ec_embedding)e));
            test_array ref = test_h5_f64(t->file, what);
            assert_int_equal(ref.count, count);
            test_limit(what, test_compare(z, ref.f64, count).abs, 1e-3);
            test_array_release(&ref);
            free(z);
        }
    }
}

static void test_trace(void **state) {
    (void)state;
    for (int reproducible = 0; reproducible < 2; reproducible++) {
        trace t;
        open_trace(&t, reproducible);
        run_steps(&t);
        compare_weights(&t);
        compare_final(&t);
        close_trace(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
