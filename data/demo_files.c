#include "demo_files.h"

#include <errno.h>
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

const char *demo_image_extension(demo_image_kind kind) { return kind <= DEMO_JPEG_GRAY ? "jpg" : "png"; }

const char *demo_sound_extension(demo_sound_kind kind) {
    static const char *const names[] = {"wav", "flac", "ogg", "mp3"};
    return names[kind];
}

ec_status demo_write_file(const char *path, const void *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    if (!file) return EC_ERROR(EC_ERR_IO, "cannot create %s: %s", path, strerror(errno));
    bool written = fwrite(bytes, 1, count, file) == count;
    if (fclose(file) != 0 || !written) return EC_ERROR(EC_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    return EC_OK;
}

static uint8_t to_byte(float x) { return (uint8_t)lroundf(255 * fminf(fmaxf(x, 0), 1)); }

static float gray_of(demo_color c) { return 0.299f * c.r + 0.587f * c.g + 0.114f * c.b; }

/* Row i of the palette: a 6 x 6 x 6 cube of colours, then 40 grays. */
static void palette_row(int i, uint8_t rgb[3]) {
    if (i < 216) rgb[0] = (uint8_t)(i / 36 * 51), rgb[1] = (uint8_t)(i / 6 % 6 * 51), rgb[2] = (uint8_t)(i % 6 * 51);
    else rgb[0] = rgb[1] = rgb[2] = (uint8_t)((i - 216) * 255 / 39);
}

/* The colour of the cube next below or above, by a 4 x 4 pattern of thresholds (ordered dithering, B. Bayer, 1973). */
static uint8_t palette_index(demo_color c, int32_t x, int32_t y) {
    static const uint8_t bayer[4][4] = {{0, 8, 2, 10}, {12, 4, 14, 6}, {3, 11, 1, 9}, {15, 7, 13, 5}};
    int add = bayer[y % 4][x % 4] * 50 / 15;
    return (uint8_t)((to_byte(c.r) + add) / 51 * 36 + (to_byte(c.g) + add) / 51 * 6 + (to_byte(c.b) + add) / 51);
}

/* 1 inside, falling to 0 over the outer tenth. */
static float opacity(const demo_canvas *c, int32_t x, int32_t y) {
    int32_t right = c->width - 1 - x, below = c->height - 1 - y;
    int32_t edge = x < y ? x : y, far_edge = right < below ? right : below;
    return 10 * (float)(edge < far_edge ? edge : far_edge) / c->scale;
}

static int channels_of(demo_image_kind kind) {
    return kind == DEMO_JPEG || kind == DEMO_PNG_RGB ? 3 : kind == DEMO_PNG_ALPHA ? 4 : 1;
}

static uint8_t *make_bytes(const demo_canvas *c, demo_image_kind kind) {
    int channels = channels_of(kind);
    uint8_t *bytes = malloc((size_t)c->width * (size_t)c->height * (size_t)channels), *to = bytes;
    if (!bytes) return NULL;
    for (int32_t y = 0; y < c->height; y++)
        for (int32_t x = 0; x < c->width; x++, to += channels) {
            demo_color p = c->pixels[y * c->width + x];
            if (kind == DEMO_PNG_PALETTE) to[0] = palette_index(p, x, y);
            else if (channels == 1) to[0] = to_byte(gray_of(p));
            else to[0] = to_byte(p.r), to[1] = to_byte(p.g), to[2] = to_byte(p.b);
            if (channels == 4) to[3] = to_byte(opacity(c, x, y));
        }
    return bytes;
}

static ec_status save_jpeg(const demo_canvas *c, const uint8_t *bytes, bool gray, int quality, bool fine_color,
                           const char *path) {
    ec_status status = EC_OK;
    unsigned char *file = NULL;
    unsigned long size = 0;
    tjhandle jpeg = tjInitCompress();
    if (!jpeg) EC_FAIL(EC_ERR_MEMORY, "no memory for a JPEG encoder");
    int sampling = gray ? TJSAMP_GRAY : fine_color ? TJSAMP_444 : TJSAMP_420;
    if (tjCompress2(jpeg, bytes, c->width, 0, c->height, gray ? TJPF_GRAY : TJPF_RGB, &file, &size, sampling, quality,
                    TJFLAG_ACCURATEDCT) != 0)
        EC_FAIL(EC_ERR_BUG, "%s: libjpeg-turbo: %s", path, tjGetErrorStr2(jpeg));
    EC_TRY(demo_write_file(path, file, size));
done:
    tjFree(file);
    if (jpeg) tjDestroy(jpeg);
    return status;
}

static ec_status save_png(const demo_canvas *c, const uint8_t *bytes, demo_image_kind kind, const char *path) {
    ec_status status = EC_OK;
    static const png_uint_32 formats[] = {[DEMO_PNG_RGB] = PNG_FORMAT_RGB,
                                          [DEMO_PNG_GRAY] = PNG_FORMAT_GRAY,
                                          [DEMO_PNG_PALETTE] = PNG_FORMAT_RGB_COLORMAP,
                                          [DEMO_PNG_ALPHA] = PNG_FORMAT_RGBA};
    uint8_t palette[256][3];
    for (int i = 0; i < 256; i++) palette_row(i, palette[i]);
    png_image image = {.version = PNG_IMAGE_VERSION, .width = (png_uint_32)c->width, .height = (png_uint_32)c->height,
                       .format = formats[kind], .colormap_entries = kind == DEMO_PNG_PALETTE ? 256 : 0};
    png_alloc_size_t size = 0;
    void *file = NULL;
    if (!png_image_write_to_memory(&image, NULL, &size, 0, bytes, 0, palette))
        EC_FAIL(EC_ERR_BUG, "%s: libpng: %s", path, image.message);
    file = malloc(size);
    if (!file) EC_FAIL(EC_ERR_MEMORY, "no memory for a PNG file");
    if (!png_image_write_to_memory(&image, file, &size, 0, bytes, 0, palette))
        EC_FAIL(EC_ERR_BUG, "%s: libpng: %s", path, image.message);
    EC_TRY(demo_write_file(path, file, size));
done:
    png_image_free(&image);
    free(file);
    return status;
}

ec_status demo_save_image(const demo_canvas *canvas, demo_image_kind kind, int quality, bool fine_color,
                          const char *path) {
    ec_status status = EC_OK;
    uint8_t *bytes = make_bytes(canvas, kind);
    if (!bytes) EC_FAIL(EC_ERR_MEMORY, "no memory for a picture");
    if (kind <= DEMO_JPEG_GRAY) EC_TRY(save_jpeg(canvas, bytes, kind == DEMO_JPEG_GRAY, quality, fine_color, path));
    else EC_TRY(save_png(canvas, bytes, kind, path));
done:
    free(bytes);
    return status;
}

static void put(uint8_t *to, uint32_t value, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
}

static ec_status save_wav(const float *samples, int64_t count, int channels, int rate, const char *path) {
    ec_status status = EC_OK;
    size_t data = (size_t)count * (size_t)channels * 2;
    uint8_t *file = calloc(1, 44 + data);
    if (!file) EC_FAIL(EC_ERR_MEMORY, "no memory for a WAV file");
    memcpy(file, "RIFF....WAVEfmt ", 16);
    put(file + 4, (uint32_t)(36 + data), 4);
    put(file + 16, 16, 4);
    put(file + 20, 1, 2); /* PCM */
    put(file + 22, (uint32_t)channels, 2);
    put(file + 24, (uint32_t)rate, 4);
    put(file + 28, (uint32_t)(rate * channels * 2), 4);
    put(file + 32, (uint32_t)(channels * 2), 2);
    put(file + 34, 16, 2);
    memcpy(file + 36, "data", 4);
    put(file + 40, (uint32_t)data, 4);
    for (int64_t i = 0; i < count * channels; i++)
        put(file + 44 + 2 * i, (uint32_t)(int32_t)lroundf(32767 * fminf(fmaxf(samples[i], -1), 1)), 2);
    EC_TRY(demo_write_file(path, file, 44 + data));
done:
    free(file);
    return status;
}

ec_status demo_save_sound(const demo_track *track, demo_sound_kind kind, int channels, int bit_rate, const char *path) {
    ec_status status = EC_OK;
    float *samples = malloc((size_t)track->count * (size_t)channels * sizeof *samples);
    if (!samples) EC_FAIL(EC_ERR_MEMORY, "no memory for a track");
    for (int64_t i = 0; i < track->count; i++) {
        if (channels == 1) samples[i] = .5f * (track->left[i] + track->right[i]);
        else samples[2 * i] = track->left[i], samples[2 * i + 1] = track->right[i];
    }
    if (kind == DEMO_WAV) EC_TRY(save_wav(samples, track->count, channels, track->rate, path));
    else EC_TRY(demo_encode(samples, track->count, channels, track->rate, kind, bit_rate, path));
done:
    free(samples);
    return status;
}
