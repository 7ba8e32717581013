/* Decoding and CLIP preprocessing against Pillow and torchvision: every picture of preprocess.h5, bit for bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "media/clip_preprocess.h"
#include "media/image.h"
#include "support.h"

static const struct {
    const char *pillow;
    ec_image_mode mode;
} modes[] = {
    {"1", EC_IMAGE_BIT},     {"L", EC_IMAGE_GRAY}, {"I", EC_IMAGE_GRAY16}, {"LA", EC_IMAGE_GRAY_ALPHA},
    {"P", EC_IMAGE_PALETTE}, {"RGB", EC_IMAGE_RGB}, {"RGBA", EC_IMAGE_RGBA}, {"CMYK", EC_IMAGE_CMYK},
    {"I;16", EC_IMAGE_GRAY16},
};
enum { MODES = sizeof modes / sizeof modes[0] };

static void check_bytes(const char *what, const uint8_t *got, const test_array *ref, int64_t count) {
    if (ref->count != count) fail_msg("%s: %lld bytes, %lld expected", what, (long long)count, (long long)ref->count);
    for (int64_t i = 0; i < count; i++)
        if (got[i] != ref->u8[i])
            fail_msg("%s: byte %lld is %d, %d expected", what, (long long)i, got[i], ref->u8[i]);
}

static void check_mode(hid_t group, const char *name, const ec_image *image) {
    char mode[16];
    test_h5_attr_text(group, "mode", mode, sizeof mode);
    for (int m = 0; m < MODES; m++) {
        if (strcmp(mode, modes[m].pillow) != 0) continue;
        if (image->mode != modes[m].mode)
            fail_msg("%s: mode %s, %s expected", name, ec__image_mode_name(image->mode), mode);
        return;
    }
    fail_msg("%s: unknown mode %s in the reference", name, mode);
}

static void check_decoded(hid_t group, const char *name, const ec_image *image) {
    check_mode(group, name, image);
    assert_int_equal(image->width, (int)test_h5_attr(group, "width"));
    assert_int_equal(image->height, (int)test_h5_attr(group, "height"));
    if (test_h5_has(group, "decoded")) {
        test_array decoded = test_h5_u8(group, "decoded");
        check_bytes(name, image->pixels, &decoded, (int64_t)image->width * image->height * image->bytes_per_pixel);
        test_array_release(&decoded);
    }
    if (test_h5_has(group, "palette")) {
        test_array palette = test_h5_u8(group, "palette");
        check_bytes(name, image->palette[0], &palette, 3 * (int64_t)image->palette_count);
        test_array_release(&palette);
    }
}

static void check_image(hid_t root, const char *name, void *arg) {
    int *images = arg;
    if (strncmp(name, "image_", 6) != 0) return;
    int32_t size = (int32_t)test_h5_attr(root, "size");
    size_t values = 3 * (size_t)size * (size_t)size;
    hid_t group = H5Gopen2(root, name, H5P_DEFAULT);
    test_array file = test_h5_u8(group, "file"), crop_ref = test_h5_u8(group, "crop_u8");
    test_array table = test_h5_f32(root, "tensor_value_table");
    ec_image *image = NULL;
    uint8_t *crop = malloc(values);
    float *tensor = malloc(values * sizeof *tensor);
    CHECK_OK(ec__image_decode(file.u8, (size_t)file.count, name, &image));
    check_decoded(group, name, image);
    CHECK_OK(ec__clip_crop(image, size, crop));
    check_bytes(name, crop, &crop_ref, (int64_t)values);
    CHECK_OK(ec__clip_preprocess(image, size, tensor));
    for (size_t i = 0; i < values; i++) {
        size_t pixel = i % ((size_t)size * (size_t)size), c = i / ((size_t)size * (size_t)size);
        if (tensor[i] != table.f32[c * 256 + crop_ref.u8[pixel * 3 + c]]) fail_msg("%s: tensor value %zu", name, i);
    }
    if (test_h5_has(group, "tensor")) {
        test_array ref = test_h5_f32(group, "tensor");
        assert_int_equal(ref.count, values);
        assert_memory_equal(tensor, ref.f32, values * sizeof *tensor);
        test_array_release(&ref);
    }
    ++*images;
    ec__image_free(image);
    free(tensor), free(crop);
    test_array_release(&table), test_array_release(&crop_ref), test_array_release(&file);
    H5Gclose(group);
}

static void test_images(void **state) {
    (void)state;
    int images = 0;
    hid_t root = test_h5_open(test_golden_path("preprocess.h5"));
    test_h5_each(root, check_image, &images);
    assert_int_equal(images, (int)test_h5_attr(root, "n_images"));
    assert_true(images > 0);
    H5Fclose(root);
}

static void test_value_table(void **state) {
    (void)state;
    float table[3][256];
    hid_t root = test_h5_open(test_golden_path("preprocess.h5"));
    test_array ref = test_h5_f32(root, "tensor_value_table");
    ec__clip_value_table(table);
    assert_int_equal(ref.count, 3 * 256);
    assert_memory_equal(table, ref.f32, sizeof table);
    test_array_release(&ref);
    H5Fclose(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_images), cmocka_unit_test(test_value_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
