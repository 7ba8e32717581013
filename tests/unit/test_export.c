/* Heads as safetensors: every tensor of the state dict and no other, bit for bit, and back into a model. Where features
 * came from, as text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/feature_origin.h"
#include "nn/safetensors.h"
#include "support.h"
#include "train/export.h"
#include "train/run.h"

enum { MOST = 128 };

/* Heads as arrays of a checkpoint, with random buffers. */
typedef struct snapshot {
    ec_checkpoint_array array[MOST];
    char name[MOST][EC_PARAM_NAME + 32];
    int32_t count;
} snapshot;

static float *add(snapshot *s, const char *section, const ec_param *p) {
    float *x = calloc((size_t)p->count, sizeof *x);
    ec_checkpoint_array *a = &s->array[s->count];
    snprintf(s->name[s->count], sizeof s->name[0], "%s/%s", section, p->name);
    *a = (ec_checkpoint_array){.name = s->name[s->count++], .type = EC_H5_F32, .rank = p->dims, .data = x};
    memcpy(a->dim, p->shape, sizeof *a->dim * (size_t)p->dims);
    return x;
}

static void take(snapshot *s, ec_heads *heads) {
    static const int64_t batches = 77;
    *s = (snapshot){0};
    for (int32_t i = 0; i < heads->params.count; i++) {
        CHECK_OK(ec__heads_export_param(heads, i, add(s, "params", &heads->params.items[i])));
        test_fill(add(s, "optimizer/exp_avg", &heads->params.items[i]), heads->params.items[i].count, 9);
    }
    for (int32_t i = 0; i < heads->buffers.count; i++)
        test_fill(add(s, "buffers", &heads->buffers.items[i]), heads->buffers.items[i].count, 100 + (uint64_t)i);
    for (int32_t i = 0; i < heads->counters.count; i++) {
        ec_checkpoint_array *a = &s->array[s->count];
        snprintf(s->name[s->count], sizeof s->name[0], "buffers/%s", heads->counters.items[i].name);
        *a = (ec_checkpoint_array){.name = s->name[s->count++], .type = EC_H5_I64, .data = malloc(sizeof batches)};
        memcpy(a->data, &batches, sizeof batches);
    }
}

static void check_file(const char *path, const snapshot *s, ec_heads *heads, const char *digest) {
    ec_safetensors *file = NULL;
    CHECK_OK(ec__safetensors_open(path, &file));
    assert_int_equal(ec__safetensors_count(file), heads->params.count + heads->buffers.count + heads->counters.count);
    for (int32_t k = 0; k < s->count; k++) {
        const ec_checkpoint_array *a = &s->array[k];
        if (strncmp(a->name, "optimizer/", 10) == 0) continue;
        int32_t at = ec__safetensors_find(file, strchr(a->name, '/') + 1);
        assert_true(at >= 0);
        const ec_tensor_info *info = ec__safetensors_info(file, at);
        assert_int_equal(info->rank, a->rank);
        assert_memory_equal(info->dim, a->dim, sizeof *a->dim * (size_t)a->rank);
        assert_int_equal(ec__safetensors_dtype(file, at), a->type == EC_H5_I64 ? EC_DTYPE_I64 : EC_DTYPE_F32);
        float *x = malloc(sizeof *x * (size_t)ec__tensor_elements(info));
        CHECK_OK(ec__safetensors_read(file, at, x));
        if (a->type == EC_H5_I64) assert_true(*x == 77);
        else assert_memory_equal(x, a->data, ec__checkpoint_array_bytes(a));
        free(x);
    }
    assert_string_equal(ec__safetensors_metadata(file, "format"), "pt");
    assert_string_equal(ec__safetensors_metadata(file, "emoclim_version"), "1");
    assert_string_equal(ec__safetensors_metadata(file, "checkpoint_digest"), digest);
    assert_string_equal(ec__safetensors_metadata(file, "step"), "12");
    assert_string_equal(ec__safetensors_metadata(file, "image_features"), "{\"encoder\":\"x\"}");
    assert_null(ec__safetensors_metadata(file, "music_features"));
    /* SHA-256 of "a: 1\n" */
    assert_string_equal(ec__safetensors_metadata(file, "config_sha256"),
                        "37b128c59f1f5097f73f82691cb519f1f568667faab5ced1b4ab979d36837eae");
    ec__safetensors_close(file);
}

/* The heads that a file gives to a model of another seed. */
static void check_load(ec_backend *be, const ec_heads_config *config, const char *path, const snapshot *s) {
    ec_heads *heads = NULL;
    snapshot got;
    CHECK_OK(ec__heads_new(be, config, 99, &heads));
    CHECK_OK(ec__heads_load(heads, path));
    take(&got, heads);
    for (int32_t i = 0; i < heads->buffers.count; i++) {
        float *x = malloc(sizeof *x * (size_t)heads->buffers.items[i].count);
        CHECK_OK(ec__heads_export_buffer(heads, i, x));
        assert_memory_equal(x, s->array[2 * heads->params.count + i].data,
                            sizeof *x * (size_t)heads->buffers.items[i].count);
        free(x);
    }
    for (int32_t k = 0; k < 2 * heads->params.count; k++)
        assert_memory_equal(got.array[k].data, s->array[k].data, ec__checkpoint_array_bytes(&s->array[k]));
    for (int32_t k = 0; k < got.count; k++) free(got.array[k].data);
    ec__heads_free(heads);
}

static void test_heads(void **state) {
    (void)state;
    ec_backend *be = NULL;
    char from[600], to[600], digest[EC_SHA256_HEX];
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    for (int multi = 0; multi < 2; multi++) {
        const ec_heads_config config = {.multi_task = multi, .image_dim = 10, .audio_dim = 7, .hidden_dim = 6,
                                        .base_output_dim = 5, .output_dim = 4};
        ec_heads *heads = NULL;
        ec_checkpoint *checkpoint = NULL;
        snapshot s;
        int32_t arrays = 0;
        CHECK_OK(ec__heads_new(be, &config, 3, &heads));
        take(&s, heads);
        snprintf(from, sizeof from, "%s/%d.h5", test_folder(), multi);
        snprintf(to, sizeof to, "%s/%d.safetensors", test_folder(), multi);
        const ec_checkpoint_meta meta = {.step = 12, .ranks = 1, .shards = 8, .config = "a: 1\n",
                                         .features = {"{\"encoder\":\"x\"}", NULL}};
        CHECK_OK(ec__checkpoint_save(from, &meta, s.array, s.count));
        CHECK_OK(ec__checkpoint_load(from, &checkpoint));
        assert_string_equal(checkpoint->meta.features[0], meta.features[0]);
        assert_null(checkpoint->meta.features[1]);
        CHECK_OK(ec__checkpoint_digest(checkpoint, digest));
        CHECK_OK(ec__export_heads(checkpoint, to, &arrays));
        assert_int_equal(arrays, multi ? 54 : 18);
        check_file(to, &s, heads, digest);
        check_load(be, &config, to, &s);
        check_load(be, &config, from, &s);
        CHECK_ERROR(ec__export_heads(checkpoint, "/proc/x.safetensors", NULL), EC_ERR_IO, "/proc");
        /* Fewer bytes than the model would read. */
        s.array[0].type = EC_H5_U8;
        CHECK_OK(ec__checkpoint_save(from, &meta, s.array, s.count));
        CHECK_ERROR(ec__heads_load(heads, from), EC_ERR_DATA, "is of type uint8, float32 expected");
        for (int32_t k = 0; k < s.count; k++) free(s.array[k].data);
        ec__checkpoint_free(checkpoint);
        ec__heads_free(heads);
    }
    be->close(be);
}

static void test_origin(void **state) {
    (void)state;
    static const char sum[] = "00000000000000000000000000000000000000000000000000000000000000aa";
    static const char other_sum[] = "00000000000000000000000000000000000000000000000000000000000000bb";
    const ec_cache_identity made = {.modality = "music", .encoder = "shortchunk", .encoder_sha256 = sum,
                                    .dtype = EC_H5_F16,
                                    .preprocessing = "{\"n_fft\":512,\"crop\":\"random\",\"crop_seed\":1}",
                                    .manifest_sha256 = sum, .views = 1, .width = 512};
    char *text = NULL, *again = NULL;
    CHECK_OK(ec__feature_origin(&made, &text));
    /* dtype, views and manifest are nobody's business. */
    ec_cache_identity other = made;
    other.dtype = EC_H5_F32;
    other.views = 4;
    other.manifest_sha256 = NULL;
    CHECK_OK(ec__feature_origin(&other, &again));
    assert_string_equal(text, again);
    CHECK_OK(ec__feature_origin_check("run.h5", text, "m.h5", &other, false));
    /* Other clips: for use, not for going on. */
    other.preprocessing = "{\"n_fft\":512,\"crop\":\"all\",\"overlap\":0.5}";
    CHECK_OK(ec__feature_origin_check("run.h5", text, "m.h5", &other, true));
    CHECK_ERROR(ec__feature_origin_check("run.h5", text, "m.h5", &other, false), EC_ERR_DATA,
                "preprocessing.crop is \"all\", expected \"random\"");
    other.preprocessing = "{\"n_fft\":1024,\"crop\":\"random\",\"crop_seed\":1}";
    CHECK_ERROR(ec__feature_origin_check("run.h5", text, "m.h5", &other, true), EC_ERR_DATA,
                "m.h5 does not fit the features that run.h5 was trained on: preprocessing.n_fft is 1024, expected 512");
    other = made;
    other.encoder_sha256 = other_sum;
    CHECK_ERROR(ec__feature_origin_check("run.h5", text, "m.h5", &other, true), EC_ERR_DATA, "encoder_sha256 is");
    other = made;
    other.modality = "image";
    CHECK_ERROR(ec__feature_origin_check("run.h5", text, "m.h5", &other, true), EC_ERR_DATA, "modality is \"image\"");
    CHECK_ERROR(ec__feature_origin_check("run.h5", "[]", "m.h5", &made, true), EC_ERR_DATA, "run.h5");
    CHECK_ERROR(ec__feature_origin_check("run.h5", "{", "m.h5", &made, true), EC_ERR_DATA, "run.h5");
    free(text);
    free(again);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_heads), cmocka_unit_test(test_origin)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
