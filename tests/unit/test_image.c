/* Decoders against files written here, and against damaged ones: cut, flipped, lying about their size, empty. */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/rng.h"
#include "media/clip_preprocess.h"
#include "media/image.h"
#include "support.h"

/* ---- every kind of PNG ---- */

typedef struct memory_file {
    uint8_t bytes[1 << 16];
    size_t count;
} memory_file;

static void append(png_structp png, png_bytep bytes, size_t n) {
    memory_file *f = png_get_io_ptr(png);
    assert_true(f->count + n <= sizeof f->bytes);
    memcpy(f->bytes + f->count, bytes, n);
    f->count += n;
}
static void no_flush(png_structp png) { (void)png; }

enum { W = 37, H = 29 };

/* Sample c of pixel (x, y), of depth bits. */
static unsigned sample(int x, int y, int c, int depth) {
    return (unsigned)(x * 2654435 + y * 40503 + c * 977 + x * y * 131) >> 3 & ((1u << depth) - 1);
}

static void write_png(memory_file *f, int color, int depth, bool interlaced) {
    f->count = 0;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    if (setjmp(png_jmpbuf(png))) fail_msg("libpng cannot write");
    png_set_write_fn(png, f, append, no_flush);
    png_set_IHDR(png, info, W, H, depth, color, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_color palette[256];
    png_byte transparent[2] = {0, 100};
    for (int i = 0; i < 256; i++) palette[i] = (png_color){(png_byte)(i * 7), (png_byte)(255 - i), (png_byte)(i ^ 90)};
    png_color_16 key = {.gray = 1, .red = 1, .green = 2, .blue = 3};
    if (color == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, palette, 1 << depth);
        png_set_tRNS(png, info, transparent, 2, NULL);
    } else if (!(color & PNG_COLOR_MASK_ALPHA)) png_set_tRNS(png, info, NULL, 0, &key);
    png_write_info(png, info);
    int channels = png_get_channels(png, info), passes = png_set_interlace_handling(png);
    if (depth < 8) png_set_packing(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < H; y++) {
            png_byte row[W * 8], *p = row;
            for (int x = 0; x < W; x++)
                for (int c = 0; c < channels; c++) {
                    unsigned v = sample(x, y, c, depth);
                    if (depth == 16) *p++ = (png_byte)(v >> 8);
                    *p++ = (png_byte)v;
                }
            png_write_row(png, row);
        }
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
}

/* What Pillow makes of a sample: full range for gray of few bits, the upper byte of 16 bits except in plain gray. */
static void check_png(int color, int depth, bool interlaced, ec_image_mode mode) {
    static memory_file f;
    ec_image *image = NULL;
    write_png(&f, color, depth, interlaced);
    CHECK_OK(ec__image_decode(f.bytes, f.count, "made.png", &image));
    assert_int_equal(image->mode, mode);
    assert_int_equal(image->width, W);
    assert_int_equal(image->height, H);
    int channels = mode == EC_IMAGE_GRAY16 ? 1 : image->bytes_per_pixel;
    for (int i = 0; i < W * H * channels; i++) {
        int x = i / channels % W, y = i / channels / W, c = i % channels;
        unsigned v = sample(x, y, c, depth), got = image->pixels[i];
        if (mode == EC_IMAGE_GRAY16) got = ((const uint16_t *)(const void *)image->pixels)[i];
        else if (depth == 16) v >>= 8;
        else if (mode != EC_IMAGE_PALETTE) v = v * 255 / ((1u << depth) - 1);
        if (got != v) fail_msg("color %d depth %d interlaced %d: sample %d is %u, not %u", color, depth, interlaced, i, got, v);
    }
    if (mode == EC_IMAGE_PALETTE) {
        assert_int_equal(image->palette_count, 1 << depth);
        for (int i = 0; i < 256; i++) assert_int_equal(image->palette[i][1], i < 1 << depth ? 255 - i : i);
    }
    ec__image_free(image);
}

static void test_png_kinds(void **state) {
    (void)state;
    const struct {
        int color, depth;
        ec_image_mode mode;
    } kinds[] = {
        {PNG_COLOR_TYPE_GRAY, 1, EC_IMAGE_BIT},          {PNG_COLOR_TYPE_GRAY, 2, EC_IMAGE_GRAY},
        {PNG_COLOR_TYPE_GRAY, 4, EC_IMAGE_GRAY},         {PNG_COLOR_TYPE_GRAY, 8, EC_IMAGE_GRAY},
        {PNG_COLOR_TYPE_GRAY, 16, EC_IMAGE_GRAY16},      {PNG_COLOR_TYPE_PALETTE, 1, EC_IMAGE_PALETTE},
        {PNG_COLOR_TYPE_PALETTE, 2, EC_IMAGE_PALETTE},   {PNG_COLOR_TYPE_PALETTE, 4, EC_IMAGE_PALETTE},
        {PNG_COLOR_TYPE_PALETTE, 8, EC_IMAGE_PALETTE},   {PNG_COLOR_TYPE_RGB, 8, EC_IMAGE_RGB},
        {PNG_COLOR_TYPE_RGB, 16, EC_IMAGE_RGB},          {PNG_COLOR_TYPE_GRAY_ALPHA, 8, EC_IMAGE_GRAY_ALPHA},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 16, EC_IMAGE_GRAY_ALPHA}, {PNG_COLOR_TYPE_RGB_ALPHA, 8, EC_IMAGE_RGBA},
        {PNG_COLOR_TYPE_RGB_ALPHA, 16, EC_IMAGE_RGBA},
    };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int lace = 0; lace < 2; lace++) check_png(kinds[k].color, kinds[k].depth, lace, kinds[k].mode);
}

/* ---- resizes whose result was taken from Pillow 9.4 ---- */

/* Where (o + 0.5) * 640 / 224 is an integer, Pillow's running sum sometimes falls just short of it. */
static void test_nearest_is_a_running_sum(void **state) {
    (void)state;
    const int short_of[] = {17, 24, 101, 108, 115, 122, 129, 136, 143, 150, 157, 164, 171, 178, 185, 192, 199, 206, 213, 220};
    static uint8_t crop[224 * 224 * 3];
    ec_image *image = NULL;
    CHECK_OK(ec__image_new(EC_IMAGE_PALETTE, 640, 640, "made", &image));
    for (int i = 0; i < 640 * 640; i++) image->pixels[i] = (uint8_t)(i % 640);
    CHECK_OK(ec__clip_crop(image, 224, crop));
    for (int o = 0, next = 0; o < 224; o++) {
        int source = (2 * o + 1) * 640 / 448;
        if (next < 20 && short_of[next] == o) source--, next++;
        assert_int_equal(crop[3 * o], (uint8_t)source);
    }
    ec__image_free(image);
}

static void test_gray16_is_clipped(void **state) {
    (void)state;
    const uint8_t expected[16] = {18, 82, 150, 231, 68, 136, 215, 191, 168, 202, 141, 107, 132, 117, 191, 146};
    uint8_t crop[48];
    ec_image *image = NULL;
    CHECK_OK(ec__image_new(EC_IMAGE_GRAY16, 9, 7, "made", &image));
    for (int i = 0; i < 63; i++) {
        uint16_t v = (uint16_t)((i % 9 * 37 + i / 9 * (i / 9) * 11) % 300);
        memcpy(image->pixels + 2 * i, &v, 2);
    }
    CHECK_OK(ec__clip_crop(image, 4, crop));
    for (int i = 0; i < 48; i++) assert_int_equal(crop[i], expected[i / 3]);
    ec__image_free(image);
}

static void test_alpha_is_premultiplied(void **state) {
    (void)state;
    const uint8_t expected[48] = {15,  88,  166, 167, 174, 83,  150, 66, 119, 33,  117, 161, 68,  170, 182, 194,
                                  102, 82,  111, 62,  148, 104, 196, 91, 163, 185, 44,  174, 64,  117, 74,  129,
                                  160, 176, 163, 65,  188, 118, 81,  132, 68, 153, 127, 247, 71,  165, 100, 107};
    uint8_t crop[48];
    ec_image *image = NULL;
    CHECK_OK(ec__image_new(EC_IMAGE_RGBA, 9, 7, "made", &image));
    for (int i = 0; i < 63 * 4; i++) image->pixels[i] = (uint8_t)(i / 4 % 9 * 53 + i / 36 * 29 + i % 4 * 71);
    CHECK_OK(ec__clip_crop(image, 4, crop));
    assert_memory_equal(crop, expected, sizeof crop);
    ec__image_free(image);
}

/* Shapes that would make a result of gigabytes where the whole of it were computed. */
static void test_extreme_shapes(void **state) {
    (void)state;
    const int64_t shapes[][2] = {{1, 3000000}, {3000000, 1}, {1, 1}, {2, 100000}};
    const ec_image_mode kinds[] = {EC_IMAGE_BIT, EC_IMAGE_GRAY, EC_IMAGE_GRAY16, EC_IMAGE_RGBA};
    static uint8_t crop[224 * 224 * 3];
    for (int s = 0; s < 4; s++)
        for (int k = 0; k < 4; k++) {
            ec_image *image = NULL;
            CHECK_OK(ec__image_new(kinds[k], shapes[s][0], shapes[s][1], "made", &image));
            memset(image->pixels, 255, (size_t)(shapes[s][0] * shapes[s][1] * image->bytes_per_pixel));
            CHECK_OK(ec__clip_crop(image, 224, crop));
            for (size_t i = 0; i < sizeof crop; i++) assert_int_equal(crop[i], 255);
            ec__image_free(image);
        }
    ec_image *image = NULL;
    CHECK_OK(ec__image_new(EC_IMAGE_RGB, 5, 5, "made", &image));
    CHECK_ERROR(ec__clip_crop(image, 0, crop), EC_ERR_USAGE, "image size 0");
    CHECK_ERROR(ec__clip_preprocess(image, 1 << 20, NULL), EC_ERR_USAGE, "image size 1048576");
    ec__image_free(image);
    CHECK_ERROR(ec__image_new(EC_IMAGE_BIT, 1 << 15, 1 << 14, "big", &image), EC_ERR_DATA, "big: a picture of 32768 x 16384");
    CHECK_ERROR(ec__image_new(EC_IMAGE_BIT, 0, 4, "flat", &image), EC_ERR_DATA, "flat: an empty picture");
}

/* ---- damaged files ---- */

/* Exact-size copy, so that the address sanitizer sees a read past the end. */
static ec_status decode_copy(const uint8_t *bytes, size_t count, const char *name) {
    ec_image *image = NULL;
    uint8_t *copy = malloc(count + (count == 0));
    assert_non_null(copy);
    if (count) memcpy(copy, bytes, count);
    ec_status status = ec__image_decode(copy, count, name, &image);
    free(copy);
    if (status == EC_OK) {
        uint8_t crop[32 * 32 * 3];
        CHECK_OK(ec__clip_crop(image, 32, crop));
        ec__image_free(image);
    } else assert_null(image);
    return status;
}

static void damage(hid_t root, const char *name, void *arg) {
    (void)arg;
    if (strncmp(name, "image_", 6) != 0) return;
    hid_t group = H5Gopen2(root, name, H5P_DEFAULT);
    test_array file = test_h5_u8(group, "file");
    size_t n = (size_t)file.count;
    for (size_t i = 0; i < 24; i++) CHECK_ERROR(decode_copy(file.u8, n * i / 24, name), EC_ERR_DATA, name);
    CHECK_ERROR(decode_copy(file.u8, n - 1, name), EC_ERR_DATA, name);
    ec_rng rng = ec__rng_at(11, EC_RNG_TEST, 0, n);
    for (int i = 0; i < 40; i++) { /* some flips leave a valid file; none may do worse than an error */
        size_t at = (size_t)ec__rng_below(&rng, i < 20 && n > 700 ? 700 : (uint32_t)n);
        uint8_t kept = file.u8[at];
        file.u8[at] ^= (uint8_t)(1 + ec__rng_below(&rng, 255));
        ec_status status = decode_copy(file.u8, n, name);
        if (status != EC_OK && status != EC_ERR_ENV) CHECK_ERROR(status, EC_ERR_DATA, name);
        file.u8[at] = kept;
    }
    test_array_release(&file);
    H5Gclose(group);
}

static void test_damage(void **state) {
    (void)state;
    hid_t root = test_h5_open(test_golden_path("preprocess.h5"));
    test_h5_each(root, damage, NULL);
    H5Fclose(root);
}

static void put32(uint8_t *at, uint32_t v) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* The checksum of PNG chunks (CRC-32, reflected polynomial). */
static uint32_t crc(const uint8_t *bytes, size_t n) {
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
    }
    return ~c;
}

static void test_lying_png(void **state) {
    (void)state;
    static memory_file f;
    const struct {
        uint32_t width, height;
        const char *message;
    } lies[] = {
        {0, H, "lie.png: damaged PNG file: Invalid IHDR data"},
        {0x7fffffff, 0x7fffffff, "lie.png: damaged PNG file"},
        {1 << 15, 1 << 14, "lie.png: a picture of 32768 x 16384 pixels; at most 268435456"},
        {W, 2 * H, "lie.png: damaged PNG file"},
        {W, 1 << 20, "lie.png: damaged PNG file"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        write_png(&f, PNG_COLOR_TYPE_RGB, 8, false);
        put32(f.bytes + 16, lies[i].width);
        put32(f.bytes + 20, lies[i].height);
        put32(f.bytes + 29, crc(f.bytes + 12, 17));
        CHECK_ERROR(decode_copy(f.bytes, f.count, "lie.png"), EC_ERR_DATA, lies[i].message);
    }
}

/* Puts another size into the frame header of a JPEG file. */
static void set_jpeg_size(uint8_t *bytes, size_t n, unsigned width, unsigned height) {
    for (size_t at = 2; at + 9 < n && bytes[at] == 0xff; at += 2u + (size_t)(bytes[at + 2] << 8 | bytes[at + 3])) {
        if (bytes[at + 1] != 0xc0 && bytes[at + 1] != 0xc2) continue;
        bytes[at + 5] = (uint8_t)(height >> 8), bytes[at + 6] = (uint8_t)height;
        bytes[at + 7] = (uint8_t)(width >> 8), bytes[at + 8] = (uint8_t)width;
        return;
    }
    fail_msg("no frame header");
}

static void lie_jpeg(hid_t root, const char *name, void *arg) {
    char format[16];
    if (strncmp(name, "image_", 6) != 0) return;
    hid_t group = H5Gopen2(root, name, H5P_DEFAULT);
    test_h5_attr_text(group, "format", format, sizeof format);
    if (strcmp(format, "JPEG") == 0) {
        test_array file = test_h5_u8(group, "file");
        unsigned width = (unsigned)test_h5_attr(group, "width"), height = (unsigned)test_h5_attr(group, "height");
        const unsigned sizes[][2] = {{0, height}, {width, 0}, {65000, 65000}, {65535, 65535}, {width, 3 * height}};
        for (int i = 0; i < 5; i++) {
            set_jpeg_size(file.u8, (size_t)file.count, sizes[i][0], sizes[i][1]);
            CHECK_ERROR(decode_copy(file.u8, (size_t)file.count, name), EC_ERR_DATA, name);
        }
        ++*(int *)arg;
        test_array_release(&file);
    }
    H5Gclose(group);
}

static void test_lying_jpeg(void **state) {
    (void)state;
    int files = 0;
    hid_t root = test_h5_open(test_golden_path("preprocess.h5"));
    test_h5_each(root, lie_jpeg, &files);
    assert_true(files > 0);
    H5Fclose(root);
}

static void test_no_picture(void **state) {
    (void)state;
    char path[4200];
    ec_image *image = NULL;
    CHECK_ERROR(decode_copy(NULL, 0, "empty"), EC_ERR_DATA, "empty: 0 bytes are too few");
    CHECK_ERROR(decode_copy((const uint8_t *)"path,label\na.png,joy\n", 21, "m.csv"), EC_ERR_DATA,
                "m.csv: not a picture of a known format (it begins with the bytes 70 61 74 68)");
    CHECK_ERROR(ec__image_read("/nonexistent/a.png", &image), EC_ERR_DATA, "/nonexistent/a.png");
    CHECK_ERROR(ec__image_read(test_folder(), &image), EC_ERR_DATA, "is not a regular file");
    snprintf(path, sizeof path, "%s/named.jpg", test_folder()); /* a PNG: the name does not count */
    static memory_file f;
    write_png(&f, PNG_COLOR_TYPE_GRAY, 8, false);
    CHECK_OK(ec__file_write(path, f.bytes, f.count));
    CHECK_OK(ec__image_read(path, &image));
    assert_int_equal(image->mode, EC_IMAGE_GRAY);
    ec__image_free(image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_kinds),         cmocka_unit_test(test_nearest_is_a_running_sum),
        cmocka_unit_test(test_gray16_is_clipped), cmocka_unit_test(test_alpha_is_premultiplied),
        cmocka_unit_test(test_extreme_shapes),    cmocka_unit_test(test_damage),
        cmocka_unit_test(test_lying_png),         cmocka_unit_test(test_lying_jpeg),
        cmocka_unit_test(test_no_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
