/* Turns the reference run trace.h5 into what the program trains from: trace_data FOLDER writes
 * images.h5, music.h5 (all rows of the file; those that are drawn are for training, the others for tests),
 * initial.safetensors, and trace.yaml with the settings of the file's attributes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_format.h"
#include "cache_files.h"
#include "heads_support.h"
#include "nn/safetensors.h"
#include "state_dict.h"

enum { LARGEST_SHARDS = 8 };

static const char *folder;

static const char *path_of(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_modality(hid_t file, const char *prefix, const char *modality, const char *cache_name,
                           int32_t classes) {
    char name[64];
    snprintf(name, sizeof name, "%s_features", prefix);
    test_array x = test_h5_f32(file, name);
    snprintf(name, sizeof name, "%s_labels", prefix);
    test_array label = test_h5_i32(file, name);
    snprintf(name, sizeof name, "%s_index", prefix);
    test_array index = test_h5_i32(file, name);
    uint8_t *split = malloc((size_t)x.dim[0]);
    assert_non_null(split);
    memset(split, EC_SPLIT_TEST, (size_t)x.dim[0]);
    for (int64_t i = 0; i < index.count; i++) split[index.i32[i]] = EC_SPLIT_TRAIN;
    const test_cache cache = {.modality = modality, .rows = x.dim[0], .width = x.dim[1], .classes = classes,
                              .features = x.f32, .label = label.i32, .split = split};
    test_write_cache(path_of(cache_name), &cache);
    free(split);
    test_array_release(&x), test_array_release(&label), test_array_release(&index);
}

/* Labels of both modalities are below this. */
static int32_t count_classes(hid_t file) {
    static const char *const names[] = {"image_labels", "audio_labels"};
    int32_t classes = 0;
    for (int m = 0; m < 2; m++) {
        test_array label = test_h5_i32(file, names[m]);
        for (int64_t i = 0; i < label.count; i++)
            if (label.i32[i] >= classes) classes = label.i32[i] + 1;
        test_array_release(&label);
    }
    return classes;
}

static void write_initial(hid_t file) {
    hid_t group = H5Gopen2(file, "initial", H5P_DEFAULT);
    test_state_dict dict = test_state_dict_read(group);
    ec_safetensors_item *item = calloc((size_t)dict.source.count, sizeof *item);
    assert_non_null(item);
    for (int32_t i = 0; i < dict.source.count; i++) {
        item[i] = (ec_safetensors_item){.name = dict.name[i], .dtype = EC_DTYPE_F32, .rank = dict.array[i].rank,
                                        .data = dict.array[i].f32};
        for (int d = 0; d < dict.array[i].rank; d++) item[i].dim[d] = dict.array[i].dim[d];
    }
    CHECK_OK(ec__safetensors_write(path_of("initial.safetensors"), item, dict.source.count, NULL, 0));
    free(item);
    test_state_dict_release(&dict);
    H5Gclose(group);
}

static void write_config(hid_t file) {
    const ec_heads_config h = test_heads_config(file);
    const int64_t batch = (int64_t)test_h5_attr(file, "batch_size");
    const ec_train_config t = test_train_config(file, batch);
    int shards = LARGEST_SHARDS;
    while (batch % shards != 0) shards /= 2;
    FILE *out = fopen(path_of("trace.yaml"), "w");
    assert_non_null(out);
    fprintf(out, "dataset: {image_cache: images.h5, audio_cache: music.h5}\n");
    fprintf(out, "full_model:\n  multi_task: %s\n  hidden_dim: %d\n  output_dim: %d\n", h.multi_task ? "true" : "false",
            h.hidden_dim, h.output_dim);
    if (h.multi_task) fprintf(out, "  base_output_dim: %d\n", h.base_output_dim);
    fprintf(out, "  dropout: %.9g\n  normalize_inputs: %s\n", h.dropout, h.normalize_inputs ? "true" : "false");
    fprintf(out, "training:\n  init: initial.safetensors\n  indices: %s\n  max_steps: %d\n  batch_size: %lld\n",
            test_golden_path("trace.h5"), (int)test_h5_attr(file, "n_steps"), (long long)batch);
    fprintf(out, "  loss_temperature: %.9g\n  validate_every: 0\n", t.temperature);
    fprintf(out, "  loss_weights: {image2image: %.9g, audio2audio: %.9g, image2audio: %.9g, audio2image: %.9g}\n",
            t.weight[EC_IMAGE_TO_IMAGE], t.weight[EC_MUSIC_TO_MUSIC], t.weight[EC_IMAGE_TO_MUSIC],
            t.weight[EC_MUSIC_TO_IMAGE]);
    fprintf(out, "  optimizer: %s\n  learning_rate: %.17g\n  beta1: %.17g\n  beta2: %.17g\n  eps: %.17g\n  weight_decay: %.17g\n",
            t.optimizer.kind == EC_ADAM ? "adam" : "adamw", t.optimizer.learning_rate, t.optimizer.beta1,
            t.optimizer.beta2, t.optimizer.eps, t.optimizer.weight_decay);
    fprintf(out, "distributed: {shards: %d}\nlogging: {every: 1}\n", shards);
    assert_int_equal(fclose(out), 0);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: trace_data FOLDER\n");
        return 2;
    }
    folder = argv[1];
    hid_t file = test_h5_open(test_golden_path("trace.h5"));
    int32_t classes = count_classes(file);
    write_modality(file, "image", "image", "images.h5", classes);
    write_modality(file, "audio", "music", "music.h5", classes);
    write_initial(file);
    write_config(file);
    H5Fclose(file);
    return 0;
}
