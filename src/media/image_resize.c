#include "media/image_resize.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "media/image_resize_kernel.h"

static void premultiply(const uint8_t *from, int32_t pixels, int32_t channels, uint8_t *to) {
    for (int32_t i = 0; i < pixels; i++, from += channels, to += channels) {
        uint8_t alpha = from[channels - 1];
        for (int32_t c = 0; c < channels - 1; c++) to[c] = ec__scale255(from[c], alpha);
        to[channels - 1] = alpha;
    }
}

static void unpremultiply(uint8_t *pixel, int32_t pixels, int32_t channels) {
    for (int32_t i = 0; i < pixels; i++, pixel += channels) {
        int32_t alpha = pixel[channels - 1];
        if (alpha == 0 || alpha == 255) continue;
        for (int32_t c = 0; c < channels - 1; c++) {
            int32_t v = 255 * pixel[c] / alpha;
            pixel[c] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

/* What a horizontal pass owns. */
typedef struct h_plan {
    ec_resize_plan plan;
    int64_t *first;
    int32_t *blocks, *weight;
} h_plan;

static void h_plan_release(h_plan *h) {
    free(h->first);
    free(h->blocks);
    free(h->weight);
}

static ec_status h_plan_init(const ec_resize_axis *axis, int32_t channels, h_plan *h) {
    size_t n = (size_t)axis->count;
    int32_t stride = (axis->stride * channels + EC_RESIZE_LANES - 1) / EC_RESIZE_LANES * EC_RESIZE_LANES;
    h->first = calloc(n, sizeof *h->first);
    h->blocks = calloc(n, sizeof *h->blocks);
    h->weight = calloc(n * (size_t)stride, sizeof *h->weight);
    if (!h->first || !h->blocks || !h->weight) return EC_ERROR(EC_ERR_MEMORY, "no memory for the weights of a resize");
    for (int32_t o = 0; o < axis->count; o++) {
        const int32_t *from = axis->fixed + (size_t)o * (size_t)axis->stride;
        int32_t *to = h->weight + (size_t)o * (size_t)stride;
        h->first[o] = axis->first[o] * channels;
        h->blocks[o] = (axis->taps[o] * channels + EC_RESIZE_LANES - 1) / EC_RESIZE_LANES;
        for (int32_t t = 0; t < axis->taps[o]; t++)
            for (int32_t c = 0; c < channels; c++) to[t * channels + c] = from[t];
    }
    h->plan = (ec_resize_plan){axis->count, channels, stride, h->first, h->blocks, h->weight};
    return EC_OK;
}

ec_status ec__resize_bicubic(const ec_image *image, const ec_resize *resize, uint8_t *to) {
    ec_status status = EC_OK;
    ec_resize_axis across = {0}, down = {0};
    h_plan h = {0};
    uint8_t *narrow = NULL, *scratch = NULL;
    bool alpha = image->mode == EC_IMAGE_GRAY_ALPHA || image->mode == EC_IMAGE_RGBA;
    int32_t channels = image->bytes_per_pixel, width = resize->width * channels;
    size_t row_bytes = (size_t)image->width * (size_t)channels;
    const ec_resize_rows *rows = __builtin_cpu_supports("avx2") ? &ec__resize_rows_avx2 : &ec__resize_rows_generic;
    EC_TRY(ec__resize_axis_init(&across, image->width, resize->out_width, resize->left, resize->width));
    EC_TRY(ec__resize_axis_init(&down, image->height, resize->out_height, resize->top, resize->height));
    EC_TRY(h_plan_init(&across, channels, &h));
    narrow = malloc((size_t)(down.end - down.begin) * (size_t)width);
    if (alpha) scratch = calloc(row_bytes + EC_IMAGE_SLACK, 1);
    if (!narrow || (alpha && !scratch)) EC_FAIL(EC_ERR_MEMORY, "no memory for a resize");
    for (int64_t y = down.begin; y < down.end; y++) {
        const uint8_t *row = image->pixels + (size_t)y * row_bytes;
        if (alpha) {
            premultiply(row, image->width, channels, scratch);
            row = scratch;
        }
        rows->horizontal(&h.plan, row, narrow + (size_t)(y - down.begin) * (size_t)width);
    }
    for (int32_t y = 0; y < resize->height; y++)
        rows->vertical(narrow + (size_t)(down.first[y] - down.begin) * (size_t)width, (size_t)width,
                       down.fixed + (size_t)y * (size_t)down.stride, down.taps[y], width,
                       to + (size_t)y * (size_t)width);
    if (alpha) unpremultiply(to, resize->width * resize->height, channels);
done:
    free(scratch);
    free(narrow);
    h_plan_release(&h);
    ec__resize_axis_release(&down);
    ec__resize_axis_release(&across);
    return status;
}

/* Halves away from 0. */
static int32_t round_away(double x) { return (int32_t)(x < 0 ? -floor(-x + 0.5) : floor(x + 0.5)); }

ec_status ec__resize_bicubic_gray16(const ec_image *image, const ec_resize *resize, int32_t *to) {
    ec_status status = EC_OK;
    ec_resize_axis across = {0}, down = {0};
    int32_t *narrow = NULL, width = resize->width;
    const uint16_t *pixels = (const uint16_t *)(const void *)image->pixels;
    EC_TRY(ec__resize_axis_init(&across, image->width, resize->out_width, resize->left, width));
    EC_TRY(ec__resize_axis_init(&down, image->height, resize->out_height, resize->top, resize->height));
    narrow = malloc((size_t)(down.end - down.begin) * (size_t)width * sizeof *narrow);
    if (!narrow) EC_FAIL(EC_ERR_MEMORY, "no memory for a resize");
    for (int64_t y = down.begin; y < down.end; y++)
        for (int32_t x = 0; x < width; x++) {
            const uint16_t *p = pixels + y * image->width + across.first[x];
            const double *w = across.weight + (size_t)x * (size_t)across.stride;
            double sum = 0;
            for (int32_t t = 0; t < across.taps[x]; t++) sum += p[t] * w[t];
            narrow[(y - down.begin) * width + x] = round_away(sum);
        }
    for (int32_t y = 0; y < resize->height; y++)
        for (int32_t x = 0; x < width; x++) {
            const int32_t *p = narrow + (down.first[y] - down.begin) * width + x;
            const double *w = down.weight + (size_t)y * (size_t)down.stride;
            double sum = 0;
            for (int32_t t = 0; t < down.taps[y]; t++) sum += p[(size_t)t * (size_t)width] * w[t];
            to[y * width + x] = round_away(sum);
        }
done:
    free(narrow);
    ec__resize_axis_release(&down);
    ec__resize_axis_release(&across);
    return status;
}

/* Source of every output of a window. Pillow adds the scale up instead of multiplying, and where (o + 0.5) * scale is
 * an integer (widths such as 640 for 224) its rounding errors decide; so the sum starts at output 0, outside the
 * window. A result so long that Pillow could not make it has no such history. */
static void nearest_axis(int64_t in, int64_t out, int64_t offset, int32_t count, int64_t *source) {
    const int64_t summed = 1 << 26;
    double scale = (double)in / (double)out, at = scale * 0.5;
    int64_t o = 0;
    if (offset > summed) o = offset, at = ((double)offset + 0.5) * scale;
    for (; o < offset + count; o++, at += scale) {
        if (o < offset) continue;
        int64_t s = (int64_t)at;
        source[o - offset] = s < in ? s : in - 1;
    }
}

ec_status ec__resize_nearest(const ec_image *image, const ec_resize *resize, uint8_t *to) {
    assert(image->bytes_per_pixel == 1);
    int64_t *columns = malloc(((size_t)resize->width + (size_t)resize->height) * sizeof *columns);
    if (!columns) return EC_ERROR(EC_ERR_MEMORY, "no memory for a resize");
    int64_t *rows = columns + resize->width;
    nearest_axis(image->width, resize->out_width, resize->left, resize->width, columns);
    nearest_axis(image->height, resize->out_height, resize->top, resize->height, rows);
    for (int32_t y = 0; y < resize->height; y++) {
        const uint8_t *row = image->pixels + rows[y] * image->width;
        for (int32_t x = 0; x < resize->width; x++) *to++ = row[columns[x]];
    }
    free(columns);
    return EC_OK;
}
