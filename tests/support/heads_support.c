#include "heads_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sha256.h"

const char *const test_loss_name[EC_DIRECTIONS] = {"loss_image2image", "loss_audio2audio", "loss_image2audio",
                                                   "loss_audio2image"};

ec_heads_config test_heads_config(hid_t at) {
    bool multi = test_h5_attr(at, "multi_task") != 0;
    return (ec_heads_config){
        .multi_task = multi,
        .image_dim = (int32_t)test_h5_attr(at, "image_dim"),
        .audio_dim = (int32_t)test_h5_attr(at, "audio_dim"),
        .hidden_dim = (int32_t)test_h5_attr(at, "hidden_dim"),
        .base_output_dim = multi ? (int32_t)test_h5_attr(at, "base_output_dim") : 0,
        .output_dim = (int32_t)test_h5_attr(at, "output_dim"),
        .dropout = (float)test_h5_attr(at, "dropout"),
        .normalize_inputs = test_h5_attr(at, "normalize_inputs") != 0,
    };
}

ec_train_config test_train_config(hid_t at, int64_t global_rows) {
    ec_train_config c = {
        .plan = {.global_rows = global_rows, .reproducible = true, .shards = 1, .accumulate = 1},
        .optimizer = ec__optimizer_defaults(),
        .temperature = (float)test_h5_attr(at, "temperature"),
        .weight = {[EC_IMAGE_TO_IMAGE] = (float)test_h5_attr(at, "weight_image2image"),
                   [EC_MUSIC_TO_MUSIC] = (float)test_h5_attr(at, "weight_audio2audio"),
                   [EC_IMAGE_TO_MUSIC] = (float)test_h5_attr(at, "weight_image2audio"),
                   [EC_MUSIC_TO_IMAGE] = (float)test_h5_attr(at, "weight_audio2image")},
    };
    if (test_h5_has_attr(at, "optimizer")) {
        char name[32];
        test_h5_attr_text(at, "optimizer", name, sizeof name);
        assert_true(strcmp(name, "adam") == 0 || strcmp(name, "adamw") == 0 || strcmp(name, "Adam") == 0 ||
                    strcmp(name, "AdamW") == 0);
        c.optimizer.kind = strlen(name) == 5 ? EC_ADAMW : EC_ADAM;
        c.optimizer.learning_rate = test_h5_attr(at, "learning_rate");
        c.optimizer.beta1 = test_h5_attr(at, "beta1");
        c.optimizer.beta2 = test_h5_attr(at, "beta2");
        c.optimizer.eps = test_h5_attr(at, "eps");
        c.optimizer.weight_decay = test_h5_attr(at, "weight_decay");
    }
    return c;
}

static test_array tensor_of(hid_t group, const ec_param *p) {
    test_array a = test_h5_f32(group, p->name);
    assert_int_equal(a.count, p->count);
    assert_int_equal(a.rank, p->dims);
    for (int i = 0; i < a.rank; i++) assert_int_equal(a.dim[i], p->shape[i]);
    return a;
}

void test_heads_load(ec_heads *heads, hid_t group) {
    for (int32_t i = 0; i < heads->params.count; i++) {
        test_array a = tensor_of(group, &heads->params.items[i]);
        CHECK_OK(ec__heads_import_param(heads, i, a.f32));
        test_array_release(&a);
    }
    for (int32_t i = 0; i < heads->buffers.count; i++) {
        if (!test_h5_has(group, heads->buffers.items[i].name)) continue;
        test_array a = tensor_of(group, &heads->buffers.items[i]);
        CHECK_OK(ec__heads_import_buffer(heads, i, a.f32));
        test_array_release(&a);
    }
    for (int32_t i = 0; i < heads->counters.count; i++)
        if (test_h5_has(group, heads->counters.items[i].name))
            heads->counter[i] = (int64_t)test_h5_scalar(group, heads->counters.items[i].name);
}

float *test_gather_rows(const float *x, int64_t width, const int32_t *index, int64_t count) {
    float *rows = calloc((size_t)(width * count) + 1, sizeof *rows);
    assert_non_null(rows);
    for (int64_t i = 0; i < count; i++)
        memcpy(rows + i * width, x + index[i] * width, (size_t)width * sizeof *rows);
    return rows;
}

void test_state_digest(const ec_trainer_core *core, char hex[65]) {
    const ec_heads *heads = core->heads;
    size_t params = (size_t)heads->params.total * sizeof(float);
    ec_sha256 *hash = NULL;
    CHECK_OK(ec__sha256_new(&hash));
    CHECK_OK(ec__sha256_update(hash, heads->param, params));
    CHECK_OK(ec__sha256_update(hash, core->optimizer->exp_avg, params));
    CHECK_OK(ec__sha256_update(hash, core->optimizer->exp_avg_sq, params));
    CHECK_OK(ec__sha256_update(hash, heads->buffer, (size_t)heads->buffers.total * sizeof(float)));
    CHECK_OK(ec__sha256_update(hash, heads->counter, (size_t)heads->counters.count * sizeof *heads->counter));
    CHECK_OK(ec__sha256_hex(hash, hex));
    ec__sha256_free(hash);
}
