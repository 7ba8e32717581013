/* ShortChunkCNN_Res in evaluation mode against the reference: inner layers, both poolings, names of a trained
 * checkpoint; and the promise that a clip's bits depend on nothing but the clip. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encoder_support.h"
#include "nn/encoder.h"
#include "state_dict.h"
#include "support.h"

typedef struct seen {
    hid_t eval;
    int32_t layers;
} seen;

static void check_layer(void *arg, const char *layer, int32_t first, int32_t count, const float *values,
                        int64_t per_sample) {
    seen *s = arg;
    char name[64];
    snprintf(name, sizeof name, "%s_first_waveform", layer);
    if (first != 0 || count < 1 || !test_h5_has(s->eval, name)) return;
    test_array reference = test_h5_f64(s->eval, name);
    assert_int_equal(reference.count, per_sample);
    test_limit(layer, test_compare(values, reference.f64, per_sample).rel_max, 1e-4);
    s->layers++;
    test_array_release(&reference);
}

static void check_embedding(ec_backend *be, const ec_encoder_options *options, const test_array *waveform, hid_t eval,
                            const char *name) {
    ec_encoder *encoder = NULL;
    test_array reference = test_h5_f64(eval, name);
    float *out = malloc(sizeof(float) * (size_t)reference.count);
    CHECK_OK(ec__encoder_open(be, options, &encoder));
    assert_int_equal(ec__encoder_info(encoder)->embedding, reference.dim[1]);
    CHECK_OK(ec__encoder_forward(encoder, (int32_t)waveform->dim[0], waveform->f32, out));
    test_limit(name, test_compare(out, reference.f64, reference.count).rel_max, 1e-4);
    ec__encoder_free(encoder);
    test_array_release(&reference);
    free(out);
}

typedef struct golden {
    test_array waveform;
    int32_t groups, layers;
} golden;

static void check_group(hid_t file, const char *name, void *arg) {
    golden *g = arg;
    char path[64];
    snprintf(path, sizeof path, "%s/state_dict", name);
    if (!test_h5_has(file, path)) return; /* the waveform */
    hid_t weights = H5Gopen2(file, path, H5P_DEFAULT);
    snprintf(path, sizeof path, "%s/eval", name);
    seen s = {.eval = H5Gopen2(file, path, H5P_DEFAULT)};
    test_state_dict dict = test_state_dict_read(weights);
    ec_backend *be = NULL;
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    ec_encoder_options options = {.kind = EC_ENCODER_SHORTCHUNK, .source = &dict.source, .pooling = EC_POOL_MAX,
                                  .samples = (int32_t)g->waveform.dim[1], .probe = check_layer, .probe_arg = &s};
    check_embedding(be, &options, &g->waveform, s.eval, "embedding_max");
    options.probe = NULL;
    options.pooling = EC_POOL_AVERAGE;
    check_embedding(be, &options, &g->waveform, s.eval, "embedding_average");
    g->groups++;
    g->layers += s.layers;
    be->close(be);
    test_state_dict_release(&dict);
    H5Gclose(s.eval), H5Gclose(weights);
}

static void test_golden(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("shortchunk.h5"));
    golden g = {.waveform = test_h5_f32(file, "waveform")};
    test_h5_each(file, check_group, &g);
    assert_true(g.groups >= 1 && g.layers >= 1);
    test_array_release(&g.waveform);
    H5Fclose(file);
}

static void first_group(hid_t file, const char *name, void *arg) {
    char path[64];
    snprintf(path, sizeof path, "%s/state_dict", name);
    if (test_h5_has(file, path)) snprintf(arg, 64, "%s", path);
}

/* Renames the model's own tensors as the Emo-CLIM wrapper does; tagging layers go to a name outside. */
static void wrap_names(test_state_dict *dict, char (*text)[128]) {
    for (int32_t i = 0; i < dict->source.count; i++) {
        const char *name = dict->name[i];
        if (strncmp(name, "spec.", 5) == 0) snprintf(text[i], 128, "audio_backbone.spec_layers.0.%s", name + 5);
        else if (strncmp(name, "spec_bn.", 8) == 0) snprintf(text[i], 128, "audio_backbone.spec_batchnorm.%s",
                                                             name + 8);
        else if (strncmp(name, "layer", 5) == 0)
            snprintf(text[i], 128, "audio_backbone.cnn_layers.%d%s", name[5] - '1', name + 6);
        else snprintf(text[i], 128, "audio_projector.%s", name);
        dict->name[i] = text[i];
    }
}

static void test_names(void **state) {
    (void)state;
    char path[64] = "";
    hid_t file = test_h5_open(test_golden_path("shortchunk.h5"));
    test_h5_each(file, first_group, path);
    hid_t weights = H5Gopen2(file, path, H5P_DEFAULT);
    test_state_dict dict = test_state_dict_read(weights);
    ec_encoder_options options = {.kind = EC_ENCODER_SHORTCHUNK, .source = &dict.source};
    ec_encoder *own = NULL, *wrapped = NULL;
    ec_backend *be = NULL;
    char (*text)[128] = calloc((size_t)dict.source.count, sizeof *text);
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__encoder_open(be, &options, &own));
    wrap_names(&dict, text);
    CHECK_OK(ec__encoder_open(be, &options, &wrapped));
    assert_string_equal(ec__encoder_info(own)->sha256, ec__encoder_info(wrapped)->sha256);
    ec__encoder_free(own);
    ec__encoder_free(wrapped);
    const int32_t at = test_state_dict_find(&dict, "audio_backbone.cnn_layers.3.conv_2.weight");
    dict.array[at].dim[2] = 5;
    CHECK_ERROR(ec__encoder_open(be, &options, &own), EC_ERR_DATA, "cnn_layers.3.conv_2.weight has shape");
    dict.array[at].dim[2] = 3;
    dict.name[at] = "audio_backbone.model.0.something";
    CHECK_ERROR(ec__encoder_open(be, &options, &own), EC_ERR_DATA, "model.0.something is no weight");
    dict.name[at] = "other";
    CHECK_ERROR(ec__encoder_open(be, &options, &own), EC_ERR_DATA, "layer4.conv_2.weight is missing; expected shape (");
    /* Without the stored filterbank the computed one serves; it is another set of constants. */
    dict.name[at] = text[at];
    dict.name[test_state_dict_find(&dict, "audio_backbone.spec_layers.0.mel_scale.fb")] = "another";
    CHECK_OK(ec__encoder_open(be, &options, &own));
    assert_non_null(strstr(ec__encoder_info(own)->preprocess, "computed"));
    ec__encoder_free(own);
    be->close(be);
    free(text);
    test_state_dict_release(&dict);
    H5Gclose(weights), H5Fclose(file);
}

enum { CLIPS = 13, SAMPLES = 59049 };

static float *forward_all(int32_t threads, const ec_encoder_options *options, const float *clips, int32_t count,
                          int32_t *d) {
    ec_backend *be = NULL;
    ec_encoder *encoder = NULL;
    CHECK_OK(ec__backend_open("cpu", threads, &be));
    CHECK_OK(ec__encoder_open(be, options, &encoder));
    *d = ec__encoder_info(encoder)->embedding;
    float *out = malloc(sizeof(float) * (size_t)count * (size_t)*d);
    CHECK_OK(ec__encoder_forward(encoder, count, clips, out));
    ec__encoder_free(encoder);
    be->close(be);
    return out;
}

/* Clips of noise, tones and clicks at different loudness. */
static float *make_clips(void) {
    float *clips = malloc(sizeof(float) * CLIPS * SAMPLES);
    test_fill(clips, CLIPS * SAMPLES, 12);
    for (int c = 0; c < CLIPS; c++)
        for (int i = 0; i < SAMPLES; i++) {
            float *x = &clips[c * SAMPLES + i];
            if (c % 3 == 0) *x *= 0.5f;
            if (c % 3 == 1) *x = 0.001f * *x + 0.3f * sinf((float)i * 0.02f * (float)(c + 1));
            if (c % 3 == 2) *x = i % (1000 + 700 * c) == 0 ? 1 : 0;
        }
    return clips;
}

/* One clip alone, in a batch, on any number of threads: the same bits. Widths with and without Winograd's transform. */
static void test_row_bits(void **state) {
    (void)state;
    float *clips = make_clips();
    const int32_t widths[] = {10, 32};
    for (int w = 0; w < 2; w++) {
        const ec_encoder_options options = {.kind = EC_ENCODER_SHORTCHUNK, .seed = 9, .width = widths[w]};
        int32_t d = 0;
        float *two = forward_all(2, &options, clips, CLIPS, &d), *three = forward_all(3, &options, clips, CLIPS, &d);
        assert_memory_equal(two, three, sizeof(float) * CLIPS * (size_t)d);
        for (int i = 0; i < CLIPS; i++) {
            float *one = forward_all(1, &options, clips + (size_t)i * SAMPLES, 1, &d);
            assert_memory_equal(one, two + (size_t)i * (size_t)d, sizeof(float) * (size_t)d);
            free(one);
        }
        free(two), free(three);
    }
    free(clips);
}

/* Random weights of the real size tell different clips apart. */
static void test_random_weights(void **state) {
    (void)state;
    const ec_encoder_options options = {.kind = EC_ENCODER_SHORTCHUNK, .seed = 1};
    int32_t d = 0;
    float *clips = make_clips(), *out = forward_all(2, &options, clips, 3, &d);
    assert_int_equal(d, 512);
    test_differ("cosine of different clips", out, 3, d);
    free(clips), free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_names), cmocka_unit_test(test_row_bits),
        cmocka_unit_test(test_random_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
