/* The demo data: the same bytes for a seed whatever the threads, files of every kind that the library reads back,
 * manifests that agree with the files. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "demo.h"
#include "demo_files.h"
#include "demo_picture.h"
#include "demo_song.h"
#include "media/audio.h"
#include "media/image.h"
#include "media/manifest.h"
#include "support.h"

enum { IMAGES = 18, TRACKS = 6 };

static char folders[3][4200];

static void make(int number, uint64_t seed, int32_t threads, int32_t images, int32_t tracks) {
    ec_demo_config config = ec__demo_defaults();
    snprintf(folders[number], sizeof folders[number], "%s/set%d", test_folder(), number);
    config.folder = folders[number];
    config.images = images;
    config.tracks = tracks;
    config.seed = seed;
    config.threads = threads;
    CHECK_OK(ec__demo_write(&config, NULL));
}

static ec_manifest *read_manifest(int number, const char *name) {
    char path[4300];
    ec_manifest *manifest = NULL;
    snprintf(path, sizeof path, "%s/%s", folders[number], name);
    CHECK_OK(ec__manifest_read(path, &manifest));
    return manifest;
}

static void same_files(const char *manifest_name, int64_t count) {
    ec_manifest *a = read_manifest(0, manifest_name), *b = read_manifest(1, manifest_name);
    assert_int_equal(a->count, count);
    assert_string_equal(a->sha256, b->sha256);
    for (int64_t i = 0; i < count; i++) {
        char *x = NULL, *y = NULL;
        size_t nx = 0, ny = 0;
        CHECK_OK(ec__file_read(a->entry[i].path, 1 << 24, &x, &nx));
        CHECK_OK(ec__file_read(b->entry[i].path, 1 << 24, &y, &ny));
        assert_int_equal(nx, ny);
        assert_memory_equal(x, y, nx);
        free(x), free(y);
    }
    ec__manifest_free(a);
    ec__manifest_free(b);
}

static void test_same_bytes(void **state) {
    (void)state;
    make(0, 5, 1, IMAGES, TRACKS);
    make(1, 5, 3, IMAGES, TRACKS);
    same_files("images.csv", IMAGES);
    same_files("music.csv", TRACKS);
}

static void test_decodes(void **state) {
    (void)state;
    ec_manifest *images = read_manifest(0, "images.csv"), *music = read_manifest(0, "music.csv");
    assert_int_equal(images->classes, EC_DEMO_EMOTIONS);
    assert_int_equal(music->classes, EC_DEMO_EMOTIONS);
    for (int c = 0; c < EC_DEMO_EMOTIONS; c++) {
        assert_string_equal(images->class_name[c], ec__demo_emotion_name((ec_demo_emotion)c));
        assert_string_equal(music->class_name[c], images->class_name[c]);
    }
    for (int64_t i = 0; i < images->count; i++) {
        ec_image *image = NULL;
        CHECK_OK(ec__image_read(images->entry[i].path, &image));
        assert_in_range(image->width < image->height ? image->width : image->height, 176, 256);
        ec__image_free(image);
    }
    for (int64_t i = 0; i < music->count; i++) {
        ec_audio audio = {0};
        CHECK_OK(ec__audio_decode(music->entry[i].path, NULL, &audio));
        double seconds = (double)audio.count / audio.rate, square = 0;
        assert_true(seconds >= 7.99 && seconds <= 10.1);
        for (int64_t k = 0; k < audio.count; k++) square += audio.samples[k] * audio.samples[k];
        assert_true(sqrt(square / (double)audio.count) > 0.005); /* -46 dB: softer than any style */
        ec__audio_release(&audio);
    }
    ec__manifest_free(images);
    ec__manifest_free(music);
}

/* Another seed makes other pictures; an item does not depend on how many there are. */
static void test_seed(void **state) {
    (void)state;
    demo_canvas a = {0}, b = {0}, again = {0};
    CHECK_OK(demo_picture(EC_DEMO_HAPPY, 5, 3, &a));
    CHECK_OK(demo_picture(EC_DEMO_HAPPY, 5, 3, &again));
    CHECK_OK(demo_picture(EC_DEMO_HAPPY, 6, 3, &b));
    assert_int_equal(a.width, again.width);
    assert_memory_equal(a.pixels, again.pixels, (size_t)a.width * (size_t)a.height * sizeof *a.pixels);
    assert_true(a.width != b.width || a.height != b.height ||
                memcmp(a.pixels, b.pixels, (size_t)a.width * (size_t)a.height * sizeof *a.pixels) != 0);
    demo_canvas_free(&a), demo_canvas_free(&b), demo_canvas_free(&again);
    make(2, 5, 1, 7, 0);
    ec_manifest *few = read_manifest(2, "images.csv"), *many = read_manifest(0, "images.csv");
    for (int64_t i = 0; i < few->count; i++) {
        char *x = NULL, *y = NULL;
        size_t nx = 0, ny = 0;
        CHECK_OK(ec__file_read(few->entry[i].path, 1 << 24, &x, &nx));
        CHECK_OK(ec__file_read(many->entry[i].path, 1 << 24, &y, &ny));
        assert_int_equal(nx, ny);
        assert_memory_equal(x, y, nx);
        free(x), free(y);
    }
    ec__manifest_free(few);
    ec__manifest_free(many);
}

static void test_image_kinds(void **state) {
    (void)state;
    const ec_image_mode modes[] = {EC_IMAGE_RGB,  EC_IMAGE_GRAY,    EC_IMAGE_RGB,
                                   EC_IMAGE_GRAY, EC_IMAGE_PALETTE, EC_IMAGE_RGBA};
    demo_canvas canvas = {0};
    CHECK_OK(demo_picture(EC_DEMO_FUNNY, 1, 1, &canvas));
    for (int kind = DEMO_JPEG; kind <= DEMO_PNG_ALPHA; kind++) {
        char path[4300];
        ec_image *image = NULL;
        snprintf(path, sizeof path, "%s/kind%d.%s", test_folder(), kind, demo_image_extension((demo_image_kind)kind));
        CHECK_OK(demo_save_image(&canvas, (demo_image_kind)kind, 95, true, path));
        CHECK_OK(ec__image_read(path, &image));
        assert_int_equal(image->mode, modes[kind]);
        assert_int_equal(image->width, canvas.width);
        assert_int_equal(image->height, canvas.height);
        if (kind == DEMO_PNG_RGB) /* lossless: the canvas itself, rounded to bytes */
            for (int64_t i = 0; i < (int64_t)canvas.width * canvas.height; i++)
                test_limit("red", fabs(image->pixels[3 * i] - 255.0 * canvas.pixels[i].r), 0.51);
        ec__image_free(image);
    }
    demo_canvas_free(&canvas);
}

/* What is decoded is what was encoded, at the same place: encoder delay and padding are trimmed. */
static void check_sound(const demo_track *track, demo_sound_kind kind, int channels) {
    char path[4300];
    ec_audio audio = {0};
    snprintf(path, sizeof path, "%s/sound%d.%s", test_folder(), channels, demo_sound_extension(kind));
    CHECK_OK(demo_save_sound(track, kind, channels, 64000, path));
    CHECK_OK(ec__audio_decode(path, NULL, &audio));
    assert_int_equal(audio.rate, track->rate);
    assert_int_equal(audio.count, track->count);
    double difference = 0, power = 0;
    for (int64_t i = 0; i < track->count; i++) {
        double want = .5 * (track->left[i] + track->right[i]);
        difference += (audio.samples[i] - want) * (audio.samples[i] - want);
        power += want * want;
    }
    bool exact = kind == DEMO_WAV || kind == DEMO_FLAC;
    test_limit(path, sqrt(difference / power), exact ? 1e-3 : 0.2);
    ec__audio_release(&audio);
}

static void test_sound_kinds(void **state) {
    (void)state;
    demo_track track = {0};
    CHECK_OK(demo_song(EC_DEMO_HAPPY, 1, 0, 22050, &track));
    for (int kind = DEMO_WAV; kind <= DEMO_MP3; kind++)
        for (int channels = 1; channels <= 2; channels++) {
            if (demo_can_encode((demo_sound_kind)kind)) check_sound(&track, (demo_sound_kind)kind, channels);
            else CHECK_ERROR(demo_save_sound(&track, (demo_sound_kind)kind, channels, 64000, "x"), EC_ERR_ENV, NULL);
        }
    demo_track_free(&track);
}

static void test_splits(void **state) {
    (void)state;
    int train = 0, valid = 0, test = 0;
    for (int32_t i = 0; i < 40; i++) {
        const char *split = ec__demo_split(i);
        train += strcmp(split, "train") == 0, valid += strcmp(split, "valid") == 0, test += strcmp(split, "test") == 0;
    }
    assert_int_equal(train, 24);
    assert_int_equal(valid, 6);
    assert_int_equal(test, 10);
    assert_string_equal(ec__demo_split(0), "train"); /* even the smallest set can be trained and tested */
    assert_string_equal(ec__demo_split(1), "test");
}

static void test_errors(void **state) {
    (void)state;
    ec_demo_config config = ec__demo_defaults();
    CHECK_ERROR(ec__demo_write(&config, NULL), EC_ERR_USAGE, "folder");
    config.folder = folders[0];
    CHECK_ERROR(ec__demo_write(&config, NULL), EC_ERR_USAGE, "not empty");
    config.folder = "/dev/null/x";
    CHECK_ERROR(ec__demo_write(&config, NULL), EC_ERR_IO, "/dev/null");
    config.images = -1;
    CHECK_ERROR(ec__demo_write(&config, NULL), EC_ERR_USAGE, "-1 images");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),  cmocka_unit_test(test_decodes), cmocka_unit_test(test_seed),
        cmocka_unit_test(test_image_kinds), cmocka_unit_test(test_sound_kinds), cmocka_unit_test(test_splits),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
