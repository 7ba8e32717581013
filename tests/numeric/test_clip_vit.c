/* CLIP's image encoder against the reference: inner layers, embeddings, other names and formats of the same weights;
 * and the promise that a row's bits depend on nothing but the row. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/encoder.h"
#include "encoder_support.h"
#include "nn/encoder.h"
#include "nn/safetensors.h"
#include "state_dict.h"
#include "support.h"

typedef struct seen {
    hid_t output; /* group of references */
    int32_t layers;
} seen;

static void check_layer(void *arg, const char *layer, int32_t first, int32_t count, const float *values,
                        int64_t per_sample) {
    seen *s = arg;
    if (!test_h5_has(s->output, layer)) return;
    test_array reference = test_h5_f64(s->output, layer);
    if (strcmp(layer, "conv1") == 0) test_turn_maps(&reference);
    assert_int_equal(reference.count / reference.dim[0], per_sample);
    test_limit(layer, test_compare(values, reference.f64 + first * per_sample, count * per_sample).rel_max, 3e-5);
    s->layers++;
    test_array_release(&reference);
}

static void embed(ec_backend *be, const ec_encoder_options *options, const test_array *image, float *out, char *hash) {
    ec_encoder *encoder = NULL;
    CHECK_OK(ec__encoder_open(be, options, &encoder));
    CHECK_OK(ec__encoder_forward(encoder, (int32_t)image->dim[0], image->f32, out));
    if (hash) strcpy(hash, ec__encoder_info(encoder)->sha256);
    ec__encoder_free(encoder);
}

static void test_golden(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("clip_vit.h5")), group = H5Gopen2(file, "state_dict", H5P_DEFAULT);
    test_state_dict dict = test_state_dict_read(group);
    test_array image = test_h5_f32(file, "image"), reference = test_h5_f64(file, "output/embedding");
    seen s = {.output = H5Gopen2(file, "output", H5P_DEFAULT)};
    ec_backend *be = NULL;
    float *out = malloc(sizeof(float) * (size_t)reference.count);
    float *plain = malloc(sizeof(float) * (size_t)reference.count);
    ec_encoder_options options = {.source = &dict.source, .heads = (int32_t)test_h5_attr(file, "heads"),
                                  .probe = check_layer, .probe_arg = &s};
    CHECK_OK(ec__backend_open("cpu", 1, &be)); /* one thread: the probe counts */
    embed(be, &options, &image, out, NULL);
    test_limit("embedding", test_compare(out, reference.f64, reference.count).rel_max, 2e-5);
    assert_true(s.layers >= (int32_t)test_h5_attr(file, "layers") + 2);
    options.probe = NULL; /* the shortcut of the last block gives the same bits */
    embed(be, &options, &image, plain, NULL);
    assert_memory_equal(out, plain, sizeof(float) * (size_t)reference.count);
    be->close(be);
    free(out), free(plain);
    test_array_release(&image), test_array_release(&reference);
    test_state_dict_release(&dict);
    H5Gclose(s.output), H5Gclose(group), H5Fclose(file);
}

/* Writes the OpenAI-named weights under Hugging Face's names, as dtype F32 or F16. */
static void write_hugging_face(const test_state_dict *dict, const char *path, bool half);

/* Renames for blocks: {ours, theirs}. */
static const char *const in_block[][2] = {
    {"ln_1", "layer_norm1"}, {"ln_2", "layer_norm2"}, {"attn.out_proj", "self_attn.out_proj"},
    {"mlp.c_fc", "mlp.fc1"}, {"mlp.c_proj", "mlp.fc2"},
};
static const char *const outside[][2] = {
    {"visual.class_embedding", "vision_model.embeddings.class_embedding"},
    {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"},
    {"visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"}, {"visual.ln_pre.bias",
                                                                   "vision_model.pre_layrnorm.bias"},
    {"visual.ln_post.weight", "vision_model.post_layernorm.weight"}, {"visual.ln_post.bias",
                                                                      "vision_model.post_layernorm.bias"},
};

enum { ITEMS = 4000 };

typedef struct writing {
    ec_safetensors_item item[ITEMS];
    char name[ITEMS][200];
    void *data[ITEMS];
    int32_t count;
    bool half;
} writing;

static uint16_t half_of(float x) { /* of normal numbers in range and of 0, rounded to nearest even */
    _Float16 h = (_Float16)x;
    uint16_t bits;
    memcpy(&bits, &h, sizeof bits);
    return bits;
}

static void add(writing *w, const char *name, int32_t rank, const int64_t *dim, const float *data) {
    int64_t count = 1;
    const int32_t i = w->count++;
    assert_true(i < ITEMS);
    snprintf(w->name[i], sizeof w->name[i], "%s", name);
    w->item[i] = (ec_safetensors_item){.name = w->name[i], .dtype = w->half ? EC_DTYPE_F16 : EC_DTYPE_F32,
                                       .rank = rank};
    for (int32_t d = 0; d < rank; d++) count *= w->item[i].dim[d] = dim[d];
    w->data[i] = malloc((size_t)count * 4);
    if (w->half) for (int64_t j = 0; j < count; j++) ((uint16_t *)w->data[i])[j] = half_of(data[j]);
    else memcpy(w->data[i], data, (size_t)count * 4);
    w->item[i].data = w->data[i];
}

static void add_block_tensor(writing *w, const char *block, const char *rest, const test_array *a) {
    char name[200];
    const int number = atoi(block);
    if (strncmp(rest, "attn.in_proj_", 13) == 0) {
        int64_t dim[2] = {a->dim[0] / 3, a->dim[1]};
        for (int third = 0; third < 3; third++) {
            snprintf(name, sizeof name, "vision_model.encoder.layers.%d.self_attn.%c_proj.%s", number, "qkv"[third],
                     rest + 13);
            add(w, name, a->rank, dim, a->f32 + a->count / 3 * third);
        }
        return;
    }
    for (size_t i = 0; i < sizeof in_block / sizeof in_block[0]; i++) {
        const size_t length = strlen(in_block[i][0]);
        if (strncmp(rest, in_block[i][0], length) != 0) continue;
        snprintf(name, sizeof name, "vision_model.encoder.layers.%d.%s%s", number, in_block[i][1], rest + length);
        add(w, name, a->rank, a->dim, a->f32);
        return;
    }
    fail_msg("%s", rest);
}

static void add_tensor(writing *w, const char *name, const test_array *a) {
    static const char prefix[] = "visual.transformer.resblocks.";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) {
        add_block_tensor(w, name + sizeof prefix - 1, strchr(name + sizeof prefix - 1, '.') + 1, a);
    } else if (strcmp(name, "visual.proj") == 0) {
        float *turned = malloc(sizeof(float) * (size_t)a->count);
        int64_t dim[2] = {a->dim[1], a->dim[0]};
        for (int64_t i = 0; i < dim[0]; i++)
            for (int64_t j = 0; j < dim[1]; j++) turned[i * dim[1] + j] = a->f32[j * dim[0] + i];
        add(w, "visual_projection.weight", 2, dim, turned);
        free(turned);
    } else {
        for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
            if (strcmp(outside[i][0], name) == 0) add(w, outside[i][1], a->rank, a->dim, a->f32);
    }
}

static void write_hugging_face(const test_state_dict *dict, const char *path, bool half) {
    writing *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->half = half;
    for (int32_t i = 0; i < dict->source.count; i++) add_tensor(w, dict->name[i], &dict->array[i]);
    /* What else a full CLIPModel file holds is ignored. */
    add(w, "text_model.final_layer_norm.weight", 1, (int64_t[]){2}, (float[]){1, 2});
    add(w, "logit_scale", 0, NULL, (float[]){4.6f});
    add(w, "vision_model.embeddings.position_ids", 2, (int64_t[]){1, 2}, (float[]){0, 1});
    CHECK_OK(ec__safetensors_write(path, w->item, w->count, (const char *const[][2]){{"format", "pt"}}, 1));
    for (int32_t i = 0; i < w->count; i++) free(w->data[i]);
    free(w);
}

static void test_formats(void **state) {
    (void)state;
    char path[512], hash[2][EC_SHA256_HEX];
    hid_t file = test_h5_open(test_golden_path("clip_vit.h5")), group = H5Gopen2(file, "state_dict", H5P_DEFAULT);
    test_state_dict dict = test_state_dict_read(group);
    test_array image = test_h5_f32(file, "image"), reference = test_h5_f64(file, "output/embedding");
    ec_backend *be = NULL;
    const size_t bytes = sizeof(float) * (size_t)reference.count;
    float *openai = malloc(bytes), *other = malloc(bytes);
    ec_encoder_options options = {.source = &dict.source, .heads = (int32_t)test_h5_attr(file, "heads")};
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    embed(be, &options, &image, openai, hash[0]);
    options.source = NULL;
    snprintf(path, sizeof path, "%s/hf.safetensors", test_folder());
    options.path = path;
    write_hugging_face(&dict, path, false);
    embed(be, &options, &image, other, hash[1]);
    assert_memory_equal(openai, other, bytes);
    assert_string_equal(hash[0], hash[1]);
    write_hugging_face(&dict, path, true);
    embed(be, &options, &image, other, hash[1]);
    assert_string_not_equal(hash[0], hash[1]); /* half precision: near, not the same */
    test_limit("half precision", test_compare(other, reference.f64, reference.count).rel_l2, 5e-3);
    be->close(be);
    free(openai), free(other);
    test_array_release(&image), test_array_release(&reference);
    test_state_dict_release(&dict);
    H5Gclose(group), H5Fclose(file);
}

/* An Emo-CLIM checkpoint's prefix, and what is wrong with damaged sets of weights. */
static void test_names(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("clip_vit.h5")), group = H5Gopen2(file, "state_dict", H5P_DEFAULT);
    test_state_dict dict = test_state_dict_read(group);
    ec_encoder_options options = {.source = &dict.source, .heads = (int32_t)test_h5_attr(file, "heads")};
    ec_encoder *encoder = NULL;
    ec_backend *be = NULL;
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    test_state_dict_prefix(&dict, "image_backbone.model.");
    CHECK_OK(ec__encoder_open(be, &options, &encoder));
    ec__encoder_free(encoder);
    const int32_t bias = test_state_dict_find(&dict, "image_backbone.model.visual.ln_post.bias");
    dict.array[bias].dim[0]++;
    CHECK_ERROR(ec__encoder_open(be, &options, &encoder), EC_ERR_DATA, "visual.ln_post.bias has shape");
    dict.array[bias].dim[0]--;
    char *kept = dict.name[bias];
    dict.name[bias] = "image_backbone.model.visual.extra.bias";
    CHECK_ERROR(ec__encoder_open(be, &options, &encoder), EC_ERR_DATA, "visual.extra.bias is no weight");
    dict.name[bias] = "audio_backbone.something";
    CHECK_ERROR(ec__encoder_open(be, &options, &encoder), EC_ERR_DATA,
                "visual.ln_post.bias is missing; expected shape (");
    dict.name[bias] = kept;
    const int32_t proj = test_state_dict_find(&dict, "image_backbone.model.visual.proj");
    kept = dict.name[proj];
    dict.name[proj] = "logit_scale";
    CHECK_ERROR(ec__encoder_open(be, &options, &encoder), EC_ERR_DATA, "visual.proj is missing");
    dict.name[proj] = kept;
    options.heads = 1000003;
    CHECK_ERROR(ec__encoder_open(be, &options, &encoder), EC_ERR_DATA, "1000003 heads");
    be->close(be);
    test_state_dict_release(&dict);
    H5Gclose(group), H5Fclose(file);
}

enum { BATCH = 13 };

static float *forward_all(int32_t threads, const ec_encoder_options *options, const float *images, int32_t batch,
                          int32_t *d) {
    ec_backend *be = NULL;
    ec_encoder *encoder = NULL;
    CHECK_OK(ec__backend_open("cpu", threads, &be));
    CHECK_OK(ec__encoder_open(be, options, &encoder));
    const ec_encoder_info *info = ec__encoder_info(encoder);
    assert_true(info->random);
    *d = info->embedding;
    float *out = malloc(sizeof(float) * (size_t)batch * (size_t)info->embedding);
    CHECK_OK(ec__encoder_forward(encoder, batch, images, out));
    ec__encoder_free(encoder);
    be->close(be);
    return out;
}

static void check_rows(ec_precision precision) {
    const ec_encoder_options options = {.seed = 5, .width = 192, .layers = 3, .patch = 16, .resolution = 112,
                                        .output = 80, .precision = precision};
    const size_t size = 3 * 112 * 112;
    float *images = malloc(sizeof(float) * BATCH * size);
    int32_t d = 0;
    test_fill(images, (int64_t)(BATCH * size), 77);
    float *two = forward_all(2, &options, images, BATCH, &d), *three = forward_all(3, &options, images, BATCH, &d);
    assert_memory_equal(two, three, sizeof(float) * BATCH * (size_t)d);
    for (int i = 0; i < BATCH; i++) {
        float *one = forward_all(1, &options, images + (size_t)i * size, 1, &d);
        assert_memory_equal(one, two + (size_t)i * (size_t)d, sizeof(float) * (size_t)d);
        free(one);
    }
    free(images), free(two), free(three);
}

static void test_row_bits(void **state) {
    (void)state;
    check_rows(EC_PRECISION_FLOAT32);
}

/* Products in bf16 (8 bits), all else in float32: about 1 % from the reference, and as independent of the batch; or an
 * error on a processor without the instructions. */
static void test_bf16(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("clip_vit.h5")), group = H5Gopen2(file, "state_dict", H5P_DEFAULT);
    test_state_dict dict = test_state_dict_read(group);
    test_array image = test_h5_f32(file, "image"), reference = test_h5_f64(file, "output/embedding");
    const ec_encoder_options options = {.source = &dict.source, .heads = (int32_t)test_h5_attr(file, "heads"),
                                        .precision = EC_PRECISION_BF16};
    ec_backend *be = NULL;
    ec_encoder *encoder = NULL;
    float *out = malloc(sizeof(float) * (size_t)reference.count);
    CHECK_OK(ec__backend_open("cpu", 2, &be));
    if (ec__cpu_has_bf16()) {
        embed(be, &options, &image, out, NULL);
        test_limit("bf16 embedding rel_l2", test_compare(out, reference.f64, reference.count).rel_l2, 1e-2);
        check_rows(EC_PRECISION_BF16);
    } else {
        CHECK_ERROR(ec__encoder_open(be, &options, &encoder), EC_ERR_ENV, "bf16");
    }
    be->close(be);
    free(out);
    test_array_release(&image), test_array_release(&reference);
    test_state_dict_release(&dict);
    H5Gclose(group), H5Fclose(file);
}

/* Random weights of the real size tell different images apart. */
static void test_random_weights(void **state) {
    (void)state;
    const ec_encoder_options options = {.seed = 1};
    const size_t size = 3 * 224 * 224;
    float *images = malloc(sizeof(float) * 3 * size);
    int32_t d = 0;
    test_fill(images, (int64_t)(2 * size), 3);
    for (size_t i = 0; i < size; i++)
        images[2 * size + i] = sinf((float)(i % 224) * 0.05f) + cosf((float)(i / 224) * 0.02f);
    float *out = forward_all(2, &options, images, 3, &d);
    assert_int_equal(d, 512);
    test_differ("cosine of different images", out, 3, d);
    free(images), free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),   cmocka_unit_test(test_formats),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_row_bits), cmocka_unit_test(test_bf16),           cmocka_unit_test(test_random_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
