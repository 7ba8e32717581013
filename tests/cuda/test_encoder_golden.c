/* The encoders and evaluation on CUDA: CLIP and ShortChunkCNN against the reference, rows that do not depend on each
 * other, retrieval as the CPU ranks it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_support.h"
#include "dist/comm.h"
#include "encoder_support.h"
#include "eval/retrieval.h"
#include "nn/encoder.h"
#include "state_dict.h"

typedef struct seen {
    hid_t references;
    const char *suffix; /* of their names */
    double limit;
    int32_t layers;
} seen;

static void check_layer(void *arg, const char *layer, int32_t first, int32_t count, const float *values,
                        int64_t per_sample) {
    seen *s = arg;
    char name[64];
    snprintf(name, sizeof name, "%s%s", layer, s->suffix);
    if (!test_h5_has(s->references, name)) return;
    test_array reference = test_h5_f64(s->references, name);
    if (strcmp(layer, "conv1") == 0) test_turn_maps(&reference);
    const int64_t there = reference.count - first * per_sample, most = count * per_sample;
    if (there > 0)
        test_limit(layer, test_compare(values, reference.f64 + first * per_sample, there < most ? there : most).rel_max,
                   s->limit);
    s->layers++;
    test_array_release(&reference);
}

static test_error embed(const ec_encoder_options *options, const test_array *input, const test_array *reference) {
    ec_encoder *encoder = NULL;
    float *out = malloc(sizeof(float) * (size_t)reference->count);
    CHECK_OK(ec__encoder_open(test_cuda, options, &encoder));
    CHECK_OK(ec__encoder_forward(encoder, (int32_t)input->dim[0], input->f32, out));
    const test_error error = test_compare(out, reference->f64, reference->count);
    ec__encoder_free(encoder);
    free(out);
    return error;
}

static void test_clip(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("clip_vit.h5")), group = H5Gopen2(file, "state_dict", H5P_DEFAULT);
    test_state_dict dict = test_state_dict_read(group);
    test_array image = test_h5_f32(file, "image"), reference = test_h5_f64(file, "output/embedding");
    seen s = {.references = H5Gopen2(file, "output", H5P_DEFAULT), .suffix = "", .limit = 3e-5};
    ec_encoder_options options = {.source = &dict.source, .heads = (int32_t)test_h5_attr(file, "heads"),
                                  .probe = check_layer, .probe_arg = &s};
    test_limit("embedding", embed(&options, &image, &reference).rel_max, 2e-5);
    assert_true(s.layers >= (int32_t)test_h5_attr(file, "layers") + 2);
    options.probe = NULL;
    test_limit("embedding, unseen", embed(&options, &image, &reference).rel_max, 2e-5);
    options.precision = EC_PRECISION_BF16;
    test_limit("bf16 embedding", embed(&options, &image, &reference).rel_l2, 1e-2);
    test_array_release(&image), test_array_release(&reference);
    test_state_dict_release(&dict);
    H5Gclose(s.references), H5Gclose(group), H5Fclose(file);
}

/* One of the reference's networks is enough: the one whose inner layers are there. */
static void pick_group(hid_t file, const char *name, void *arg) {
    char path[96];
    snprintf(path, sizeof path, "%s/eval", name);
    if (!test_h5_has(file, path)) return;
    snprintf(path, sizeof path, "%s/eval/layer7_first_waveform", name);
    if (test_h5_has(file, path)) snprintf(arg, 64, "%s", name);
}

static void test_shortchunk(void **state) {
    (void)state;
    char name[64] = "", path[96];
    hid_t file = test_h5_open(test_golden_path("shortchunk.h5"));
    test_h5_each(file, pick_group, name);
    snprintf(path, sizeof path, "%s/state_dict", name);
    hid_t weights = H5Gopen2(file, path, H5P_DEFAULT);
    snprintf(path, sizeof path, "%s/eval", name);
    seen s = {.references = H5Gopen2(file, path, H5P_DEFAULT), .suffix = "_first_waveform", .limit = 1e-4};
    test_state_dict dict = test_state_dict_read(weights);
    test_array wave = test_h5_f32(file, "waveform"), largest = test_h5_f64(s.references, "embedding_max");
    test_array mean = test_h5_f64(s.references, "embedding_average");
    ec_encoder_options options = {.kind = EC_ENCODER_SHORTCHUNK, .source = &dict.source, .pooling = EC_POOL_MAX,
                                  .samples = (int32_t)wave.dim[1], .probe = check_layer, .probe_arg = &s};
    test_cuda->grain.clips = 4; /* of real length: a larger batch takes the emulation long */
    test_limit("embedding by maximum", embed(&options, &wave, &largest).rel_max, 1e-4);
    assert_true(s.layers >= 6);
    options.probe = NULL;
    options.pooling = EC_POOL_AVERAGE;
    test_limit("embedding by mean", embed(&options, &wave, &mean).rel_max, 1e-4);
    test_array_release(&wave), test_array_release(&largest), test_array_release(&mean);
    test_state_dict_release(&dict);
    H5Gclose(s.references), H5Gclose(weights), H5Fclose(file);
}

/* Embeddings (count, D) of inputs, by an encoder of its own; D. */
static int32_t embed_inputs(const ec_encoder_options *options, const float *inputs, int32_t count, float **out) {
    ec_encoder *encoder = NULL;
    CHECK_OK(ec__encoder_open(test_cuda, options, &encoder));
    const int32_t d = ec__encoder_info(encoder)->embedding;
    *out = malloc(sizeof(float) * (size_t)count * (size_t)d);
    CHECK_OK(ec__encoder_forward(encoder, count, inputs, *out));
    ec__encoder_free(encoder);
    return d;
}

/* All at once, some alone, more tasks than there are at a time, and in the smallest workspace: the same bits, but for
 * convolutions, whose algorithm a card chooses by the batch. */
static void check_rows(const ec_encoder_options *options, int32_t count, int64_t input_count) {
    const ec_grain grain = test_cuda->grain;
    float *inputs = malloc(sizeof(float) * (size_t)(count * input_count)), *all = NULL, *some = NULL;
    test_fill(inputs, count * input_count, 77);
    const size_t row = sizeof(float) * (size_t)embed_inputs(options, inputs, count, &all);
    for (int32_t i = 0; i < count; i += 1 + count / 4) {
        embed_inputs(options, inputs + i * input_count, 1, &some);
        assert_memory_equal(some, (char *)all + (size_t)i * row, row);
        free(some);
    }
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 0) test_cuda->grain.images = test_cuda->grain.clips = 2;
        else test_cuda->grain.task_bytes = 1;
        embed_inputs(options, inputs, count, &some);
        if (options->kind == EC_ENCODER_CLIP_VIT) assert_memory_equal(some, all, row * (size_t)count);
        for (size_t i = 0; i < row / sizeof *all * (size_t)count; i++)
            test_limit("embedding in smaller tasks", fabs((double)some[i] - all[i]), 1e-4 * fmax(1, fabs(all[i])));
        free(some);
        test_cuda->grain = grain;
    }
    free(inputs), free(all);
}

static void test_rows(void **state) {
    (void)state;
    const ec_encoder_options images = {.seed = 5, .width = 64, .layers = 2, .patch = 16, .resolution = 48,
                                       .output = 32};
    check_rows(&images, 19, 3 * 48 * 48);
    const ec_encoder_options clips = {.kind = EC_ENCODER_SHORTCHUNK, .seed = 5, .width = 2, .samples = 1700};
    check_rows(&clips, 37, 1700);
}

static void test_retrieval(void **state) {
    (void)state;
    enum { QUERIES = 70, ITEMS = 90, DIM = 16, CLASSES = 6 };
    float *query = malloc(sizeof(float) * QUERIES * DIM), *item = malloc(sizeof(float) * ITEMS * DIM);
    int32_t query_label[QUERIES], item_label[ITEMS];
    ec_comm *comm = NULL;
    ec_retrieval_result cpu = {0}, cuda = {0};
    test_fill(query, QUERIES * DIM, 41);
    test_fill(item, ITEMS * DIM, 42);
    for (int i = 0; i < QUERIES; i++) query_label[i] = i % CLASSES;
    for (int i = 0; i < ITEMS; i++) item_label[i] = i * 5 % CLASSES;
    const ec_retrieval_side q = {.embedding = query, .label = query_label, .count = QUERIES};
    const ec_retrieval_side it = {.embedding = item, .label = item_label, .count = ITEMS};
    CHECK_OK(ec__comm_open("self", &comm));
    CHECK_OK(ec__retrieval_evaluate(test_cpu, comm, &q, &it, DIM, false, &cpu));
    CHECK_OK(ec__retrieval_evaluate(test_cuda, comm, &q, &it, DIM, false, &cuda));
    assert_int_equal(cpu.classes, cuda.classes);
    for (int m = 0; m < EC_METRICS; m++) {
        assert_true(cpu.macro[m] > 0.05);
        test_limit("retrieval metric", fabs(cpu.macro[m] - cuda.macro[m]), 1e-3);
    }
    ec__retrieval_release(&cpu);
    ec__retrieval_release(&cuda);
    ec__comm_close(comm);
    free(query), free(item);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clip), cmocka_unit_test(test_shortchunk),
                                       cmocka_unit_test(test_rows), cmocka_unit_test(test_retrieval)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
