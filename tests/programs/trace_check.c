/* Compares what the program made of the reference run with trace.h5: trace_check CHECKPOINT METRICS RETRIEVAL,
 * METRICS a metrics.jsonl with a line a step, RETRIEVAL the output of eval retrieval --split all --json.
 * Tolerances: README.md beside the reference files. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heads_support.h"
#include "train/checkpoint.h"
#include "train/trained.h"

enum { FIRST_STEPS = 20, METRICS = 5 };
static const double loss_limit_first = 2e-5, loss_limit = 1e-4, weight_limit = 1e-2, norm_limit = 5e-3,
                    embed_limit = 1e-3, macro_limit = 1e-3, per_class_limit = 5e-3;

/* Of the command line. */
static const char *checkpoint_path, *metrics_path, *retrieval_path;
static hid_t file; /* trace.h5 */

static double number_at(json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

/* One line of metrics against row `step` of the losses; a direction without weight is not computed. */
static void check_line(json_t *line, const test_array loss[], const test_array *total, int64_t step) {
    static const char *const names[EC_DIRECTIONS] = {"image2image", "audio2audio", "image2audio", "audio2image"};
    const double limit = step < FIRST_STEPS ? loss_limit_first : loss_limit;
    const ec_train_config config = test_train_config(file, 1);
    assert_int_equal((int64_t)number_at(line, "step"), step + 1);
    for (int d = 0; d < EC_DIRECTIONS; d++)
        if (config.weight[d] > 0)
            test_limit(names[d], fabs(number_at(json_object_get(line, "losses"), names[d]) - loss[d].f64[step]), limit);
    test_limit("loss", fabs(number_at(line, "loss") - total->f64[step]), limit);
}

static void test_losses(void **state) {
    (void)state;
    test_array loss[EC_DIRECTIONS], total = test_h5_f64(file, "steps/loss_total");
    char name[64], text[4096];
    int64_t step = 0;
    for (int d = 0; d < EC_DIRECTIONS; d++) {
        snprintf(name, sizeof name, "steps/%s", test_loss_name[d]);
        loss[d] = test_h5_f64(file, name);
    }
    FILE *in = fopen(metrics_path, "r");
    assert_non_null(in);
    while (fgets(text, sizeof text, in)) {
        json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(line);
        if (strcmp(json_string_value(json_object_get(line, "event")), "step") == 0) {
            assert_true(step < total.count);
            check_line(line, loss, &total, step++);
        }
        json_decref(line);
    }
    assert_int_equal(step, total.count);
    fclose(in);
    for (int d = 0; d < EC_DIRECTIONS; d++) test_array_release(&loss[d]);
    test_array_release(&total);
}

/* Linear weights are compared by how far they moved, the others as they are. */
static void check_param(const ec_checkpoint *checkpoint, const char *section, const ec_param *p) {
    char name[256];
    if (p->zero_gradient || strstr(p->name, "running_mean") || (p->dims == 1 && strstr(p->name, ".4.bias"))) return;
    snprintf(name, sizeof name, "%s/%s", section, p->name);
    const ec_checkpoint_array *found = ec__checkpoint_find(checkpoint, name);
    if (!found) fail_msg("the checkpoint has no %s", name);
    snprintf(name, sizeof name, "initial/%s", p->name);
    test_array start = test_h5_f64(file, name);
    snprintf(name, sizeof name, "final/%s", p->name);
    test_array ref = test_h5_f64(file, name);
    assert_int_equal(ref.count, p->count);
    float *moved = malloc(sizeof *moved * (size_t)p->count);
    assert_non_null(moved);
    for (int64_t i = 0; i < p->count; i++) {
        const double from = p->dims == 2 ? start.f64[i] : 0;
        moved[i] = (float)(((const float *)found->data)[i] - from);
        ref.f64[i] -= from;
    }
    test_limit(name, test_compare(moved, ref.f64, p->count).rel_l2, p->dims == 2 ? weight_limit : norm_limit);
    free(moved);
    test_array_release(&start), test_array_release(&ref);
}

static void check_embeddings(ec_trained *trained, ec_modality m) {
    char name[64];
    test_array x = test_h5_f32(file, m == EC_IMAGE ? "image_features" : "audio_features");
    int64_t count = x.dim[0] * trained->heads->config.output_dim;
    for (int32_t e = 0; e < ec__heads_embeddings(&trained->heads->config); e++) {
        float *z = malloc(sizeof *z * (size_t)count), *into[EC_EMBEDDINGS] = {NULL};
        assert_non_null(z);
        into[e] = z;
        CHECK_OK(ec__heads_embed(trained->heads, m, x.f32, x.dim[0], into));
        snprintf(name, sizeof name, "final_eval/embed_%s",
                 ec__heads_embedding_name(&trained->heads->config, m, (ec_embedding)e));
        test_array ref = test_h5_f64(file, name);
        assert_int_equal(ref.count, count);
        test_limit(name, test_compare(z, ref.f64, count).abs, embed_limit);
        test_array_release(&ref);
        free(z);
    }
    test_array_release(&x);
}

static void test_weights(void **state) {
    (void)state;
    ec_backend *be = NULL;
    ec_checkpoint *checkpoint = NULL;
    ec_trained trained;
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__checkpoint_load(checkpoint_path, &checkpoint));
    CHECK_OK(ec__trained_load(be, checkpoint_path, &trained));
    assert_int_equal(trained.step, (int64_t)test_h5_attr(file, "n_steps"));
    for (int32_t i = 0; i < trained.heads->params.count; i++)
        check_param(checkpoint, "params", &trained.heads->params.items[i]);
    for (int32_t i = 0; i < trained.heads->buffers.count; i++)
        check_param(checkpoint, "buffers", &trained.heads->buffers.items[i]);
    check_embeddings(&trained, EC_IMAGE);
    check_embeddings(&trained, EC_MUSIC);
    ec__trained_release(&trained);
    ec__checkpoint_free(checkpoint);
    be->close(be);
}

/* Metric number c of an object in the layout of eval retrieval:
 * {"precision": {"k=1": ...}, ..., "MAP": {"k=N/A": ...}}. */
static json_t *metric(json_t *root, int c) {
    static const char *const names[METRICS][2] = {
        {"precision", "k=1"}, {"precision", "k=5"}, {"precision", "k=10"}, {"MRR", "k=N/A"}, {"MAP", "k=N/A"}};
    json_t *value = json_object_get(json_object_get(root, names[c][0]), names[c][1]);
    if (!value) fail_msg("no %s, %s", names[c][0], names[c][1]);
    return value;
}

static void check_task(hid_t group, const char *task, void *arg) {
    json_t *found = json_object_get(arg, task);
    char name[64];
    if (!found) fail_msg("no task %s", task);
    hid_t at = H5Gopen2(group, task, H5P_DEFAULT);
    test_array labels = test_h5_i32(at, "labels"), per_class = test_h5_f64(at, "per_class");
    test_array macro = test_h5_f64(at, "macro");
    for (int c = 0; c < METRICS; c++) {
        json_t *by_class = metric(json_object_get(found, "per_class"), c);
        const double mean = json_number_value(metric(json_object_get(found, "macro"), c));
        test_limit(task, fabs(mean - macro.f64[c]), macro_limit);
        assert_int_equal((int64_t)json_object_size(by_class), labels.count);
        for (int64_t i = 0; i < labels.count; i++) {
            snprintf(name, sizeof name, "class-%d", labels.i32[i]);
            test_limit(task, fabs(number_at(by_class, name) - per_class.f64[i * METRICS + c]), per_class_limit);
        }
    }
    test_array_release(&labels), test_array_release(&per_class), test_array_release(&macro);
    H5Gclose(at);
}

static void test_retrieval(void **state) {
    (void)state;
    json_t *root = json_load_file(retrieval_path, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    hid_t group = H5Gopen2(file, "retrieval", H5P_DEFAULT);
    test_h5_each(group, check_task, root);
    H5Gclose(group);
    json_decref(root);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_losses), cmocka_unit_test(test_weights),
                                       cmocka_unit_test(test_retrieval)};
    if (argc != 4) {
        fprintf(stderr, "usage: trace_check CHECKPOINT METRICS RETRIEVAL\n");
        return 2;
    }
    checkpoint_path = argv[1];
    metrics_path = argv[2];
    retrieval_path = argv[3];
    file = test_h5_open(test_golden_path("trace.h5"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    H5Fclose(file);
    return failed;
}
