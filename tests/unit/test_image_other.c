/* Formats that FFmpeg decodes, from files small enough to be written out here; and what a build without FFmpeg says. */
#include <stdlib.h>
#include <string.h>

#include "media/image.h"
#include "support.h"

#define LE32(v) (v) & 255, (v) >> 8 & 255, (v) >> 16 & 255, (v) >> 24 & 255
/* Headers of a BMP file whose pixels begin at "at". */
#define BMP(size, at, w, h, bits, colors)                                                                          \
    'B', 'M', LE32(size), LE32(0), LE32(at), LE32(40), LE32(w), LE32(h), 1, 0, bits, 0, LE32(0), LE32((size) - (at)), \
        LE32(0), LE32(0), LE32(colors), LE32(0)

static const uint8_t bmp_rgb[] = {BMP(78, 54, 3, 2, 24, 0), /* rows from the bottom, BGR, padded to 4 bytes */
                                  7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 1, 2, 3, 4, 5, 6, 16, 17, 18, 0, 0, 0};
static const uint8_t bmp_rgb_pixels[] = {3, 2, 1, 6, 5, 4, 18, 17, 16, 9, 8, 7, 12, 11, 10, 15, 14, 13};

static const uint8_t bmp_padded[] = {BMP(62, 54, 2, 1, 32, 0), 1, 2, 3, 77, 4, 5, 6, 88};
static const uint8_t bmp_padded_pixels[] = {3, 2, 1, 6, 5, 4};

static const uint8_t bmp_palette[] = {BMP(66, 62, 3, 1, 8, 2), 30, 20, 10, 0, 60, 50, 40, 0, 1, 0, 1, 0};
static const uint8_t bmp_palette_pixels[] = {1, 0, 1};
static const uint8_t two_colors[] = {10, 20, 30, 40, 50, 60};

static const uint8_t bmp_gray[1082] = {BMP(1082, 1078, 3, 1, 8, 256)}; /* the ramp of the grays is filled in below */
static const uint8_t bmp_gray_pixels[] = {200, 7, 99};

static const uint8_t ppm[] = "P6\n2 1\n255\nabcdef";
static const uint8_t pgm[] = "P5\n2 2\n255\nABCD";

/* One pixel of colour 0; LZW code size 2: clear, 0, end. */
static const uint8_t gif[] = {'G', 'I', 'F', '8', '9', 'a', 1,    0, 1, 0, 0x80, 0, 0, 10, 20,   30, 40, 50, 60,
                              0x2c, 0,  0,   0,   0,   1,   0,    1, 0, 0, 2,    2, 0x44, 1, 0, 0x3b};
static const uint8_t zero[] = {0};
static const uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 10, 20, 30, 0, 0, 255, 200, 100, 50, 1, 2, 3};

/* Written by Pillow from rgb, (2, 3) pixels: lossless WebP and TIFF. */
static const uint8_t webp[] = {
    0x52, 0x49, 0x46, 0x46, 0x46, 0x00, 0x00, 0x00, 0x57, 0x45, 0x42, 0x50, 0x56, 0x50, 0x38, 0x4c, 0x39, 0x00, 0x00, 0x00,
    0x2f, 0x02, 0x40, 0x00, 0x00, 0x2f, 0x40, 0x10, 0x40, 0x52, 0x23, 0x4c, 0xb6, 0xbf, 0xcc, 0x1a, 0x64, 0xd2, 0x36, 0xa5,
    0x5f, 0xfd, 0xfb, 0x99, 0xb5, 0x91, 0x09, 0x58, 0x0c, 0x15, 0x7c, 0xfa, 0xe7, 0x34, 0xff, 0x01, 0x7f, 0xc4, 0x23, 0x46,
    0x9b, 0xad, 0xa0, 0x90, 0x6d, 0x04, 0x38, 0xb5, 0x7b, 0x08, 0x8e, 0xec, 0x22, 0xfa, 0x1f, 0xeb, 0x03, 0x00};
static const uint8_t tiff[] = {
    0x49, 0x49, 0x2a, 0x00, 0x08, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x01, 0x04, 0x00, 0x01, 0x00, 0x00, 0x00, 0x03, 0x00,
    0x00, 0x00, 0x01, 0x01, 0x04, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x01, 0x03, 0x00, 0x03, 0x00,
    0x00, 0x00, 0x86, 0x00, 0x00, 0x00, 0x03, 0x01, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x06, 0x01,
    0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x11, 0x01, 0x04, 0x00, 0x01, 0x00, 0x00, 0x00, 0x8c, 0x00,
    0x00, 0x00, 0x15, 0x01, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x16, 0x01, 0x04, 0x00, 0x01, 0x00,
    0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x17, 0x01, 0x04, 0x00, 0x01, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x00, 0x1c, 0x01,
    0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x08, 0x00, 0x08, 0x00,
    0xff, 0x00, 0x00, 0x00, 0xff, 0x00, 0x0a, 0x14, 0x1e, 0x00, 0x00, 0xff, 0xc8, 0x64, 0x32, 0x01, 0x02, 0x03};

static const struct {
    const char *name;
    const uint8_t *file;
    size_t count;
    size_t needed; /* bytes without which no decoder can know the pixels */
    ec_image_mode mode;
    int32_t width, height;
    const uint8_t *pixels;
    const uint8_t *palette; /* two colours, or NULL */
} files[] = {
    {"rgb.bmp", bmp_rgb, sizeof bmp_rgb, sizeof bmp_rgb, EC_IMAGE_RGB, 3, 2, bmp_rgb_pixels, NULL},
    {"padded.bmp", bmp_padded, sizeof bmp_padded, sizeof bmp_padded, EC_IMAGE_RGB, 2, 1, bmp_padded_pixels, NULL},
    {"palette.bmp", bmp_palette, sizeof bmp_palette, sizeof bmp_palette, EC_IMAGE_PALETTE, 3, 1, bmp_palette_pixels, two_colors},
    {"gray.bmp", bmp_gray, sizeof bmp_gray, sizeof bmp_gray, EC_IMAGE_GRAY, 3, 1, bmp_gray_pixels, NULL},
    {"a.ppm", ppm, sizeof ppm - 1, sizeof ppm - 1, EC_IMAGE_RGB, 2, 1, ppm + 11, NULL},
    {"a.pgm", pgm, sizeof pgm - 1, sizeof pgm - 1, EC_IMAGE_GRAY, 2, 2, pgm + 11, NULL},
    {"a.gif", gif, sizeof gif, sizeof gif - 1, EC_IMAGE_PALETTE, 1, 1, zero, two_colors},
    {"a.webp", webp, sizeof webp, sizeof webp, EC_IMAGE_RGB, 3, 2, rgb, NULL},
    {"a.tif", tiff, sizeof tiff, sizeof tiff, EC_IMAGE_RGB, 3, 2, rgb, NULL},
};
enum { FILES = sizeof files / sizeof files[0] };

/* Decodes the first count bytes of a file, from a copy of exactly that size. */
static ec_status decode(int f, size_t count, ec_image **out) {
    uint8_t *copy = malloc(count + (count == 0));
    assert_non_null(copy);
    memcpy(copy, files[f].file, count);
    if (files[f].file == bmp_gray) {
        for (size_t i = 54; i < 1078 && i < count; i++) copy[i] = i % 4 == 1 ? 0 : (uint8_t)((i - 54) / 4);
        for (size_t i = 1078; i < 1081 && i < count; i++) copy[i] = bmp_gray_pixels[i - 1078];
    }
    ec_status status = ec__image_decode(copy, count, files[f].name, out);
    free(copy);
    return status;
}

static void test_pixels(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++) {
        ec_image *image = NULL;
        if (!EMOCLIM_HAVE_FFMPEG) {
            CHECK_ERROR(decode(f, files[f].count, &image), EC_ERR_ENV, "need FFmpeg, which this build lacks");
            continue;
        }
        CHECK_OK(decode(f, files[f].count, &image));
        if (image->mode != files[f].mode) fail_msg("%s: mode %s", files[f].name, ec__image_mode_name(image->mode));
        assert_int_equal(image->width, files[f].width);
        assert_int_equal(image->height, files[f].height);
        size_t bytes = (size_t)(image->width * image->height * image->bytes_per_pixel);
        for (size_t i = 0; i < bytes; i++)
            if (image->pixels[i] != files[f].pixels[i])
                fail_msg("%s: byte %zu is %d, not %d", files[f].name, i, image->pixels[i], files[f].pixels[i]);
        /* a GIF's colours are numbered as they appear: only the first is there */
        if (files[f].palette) assert_memory_equal(image->palette, files[f].palette, files[f].file == gif ? 3 : 6);
        ec__image_free(image);
    }
}

static void test_cuts(void **state) {
    (void)state;
    for (int f = 0; f < FILES; f++)
        for (size_t n = 0; n < files[f].needed; n++) {
            ec_image *image = NULL;
            ec_status status = decode(f, n, &image);
            if (status != EC_ERR_DATA && (EMOCLIM_HAVE_FFMPEG || status != EC_ERR_ENV))
                fail_msg("%s cut to %zu of %zu bytes: %s", files[f].name, n, files[f].count, ec_status_name(status));
            assert_non_null(strstr(ec_error_last()->text, files[f].name));
            assert_null(image);
        }
}

/* Headers that promise nothing or too much. */
static void test_lying_bmp(void **state) {
    (void)state;
    const struct {
        int32_t width, height;
        uint8_t bits;
    } lies[] = {{3, 2, 0}, {0, 2, 24}, {3, 0, 24}, {-3, 2, 24}, {3, INT32_MIN, 24}, {INT32_MAX, INT32_MAX, 24}, {3, 2, 255},
                {3, 200, 24}, {30000, 30000, 1}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t bytes[sizeof bmp_rgb];
        ec_image *image = NULL;
        memcpy(bytes, bmp_rgb, sizeof bytes);
        for (int b = 0; b < 4; b++) {
            bytes[18 + b] = (uint8_t)((uint32_t)lies[i].width >> 8 * b);
            bytes[22 + b] = (uint8_t)((uint32_t)lies[i].height >> 8 * b);
        }
        bytes[28] = lies[i].bits;
        ec_status status = ec__image_decode(bytes, sizeof bytes, "lie.bmp", &image);
        if (status != EC_ERR_DATA && (EMOCLIM_HAVE_FFMPEG || status != EC_ERR_ENV))
            fail_msg("lie %zu: %s", i, ec_status_name(status));
        assert_non_null(strstr(ec_error_last()->text, "lie.bmp: "));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pixels), cmocka_unit_test(test_cuts),
                                       cmocka_unit_test(test_lying_bmp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
