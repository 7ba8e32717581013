#include "media/clip_preprocess.h"

#include <stdlib.h>
#include <string.h>

#include "media/image_resize.h"

static const double mean[3] = {0.48145466, 0.4578275, 0.40821073};
static const double deviation[3] = {0.26862954, 0.26130258, 0.27577711};

void ec__clip_value_table(float table[3][256]) {
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) table[c][v] = ((float)v / 255.0f - (float)mean[c]) / (float)deviation[c];
}

/* Rounds (length - size) / 2 half to even. */
static int64_t crop_offset(int64_t length, int64_t size) {
    int64_t twice = length - size, half = twice / 2;
    return twice % 2 == 0 ? half : half + half % 2;
}

static ec_resize plan(const ec_image *image, int32_t size) {
    int32_t w = image->width, h = image->height;
    ec_resize r = {.out_width = size, .out_height = size, .width = size, .height = size};
    if (w <= h) r.out_height = (int64_t)((double)((int64_t)size * h) / w);
    else r.out_width = (int64_t)((double)((int64_t)size * w) / h);
    r.left = crop_offset(r.out_width, size);
    r.top = crop_offset(r.out_height, size);
    return r;
}

/* The window of an image that has the wanted size already: no filter touches it, alpha included. */
static void copy_window(const ec_image *image, const ec_resize *r, uint8_t *to) {
    size_t bytes = (size_t)image->bytes_per_pixel, row = (size_t)r->width * bytes;
    for (int32_t y = 0; y < r->height; y++)
        memcpy(to + (size_t)y * row,
               image->pixels + ((size_t)(r->top + y) * (size_t)image->width + (size_t)r->left) * bytes, row);
}

static uint8_t clip(int32_t v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

static ec_status window_gray16(const ec_image *image, const ec_resize *r, uint8_t *to) {
    size_t pixels = (size_t)r->width * (size_t)r->height;
    int32_t *wide = malloc(pixels * sizeof *wide);
    if (!wide) return EC_ERROR(EC_ERR_MEMORY, "no memory for a resize");
    ec_status status = ec__resize_bicubic_gray16(image, r, wide);
    if (status == EC_OK)
        for (size_t i = 0; i < pixels; i++) to[i] = clip(wide[i]);
    free(wide);
    return status;
}

/* The resized window in the image's own mode, except that 16-bit gray becomes 8-bit gray. */
static ec_status window(const ec_image *image, const ec_resize *r, uint8_t *to) {
    if (image->mode == EC_IMAGE_GRAY16) EC_RETURN_IF(window_gray16(image, r, to));
    else if (image->width == r->out_width && image->height == r->out_height) copy_window(image, r, to);
    else if (image->mode == EC_IMAGE_PALETTE || image->mode == EC_IMAGE_BIT)
        EC_RETURN_IF(ec__resize_nearest(image, r, to));
    else EC_RETURN_IF(ec__resize_bicubic(image, r, to));
    return EC_OK;
}

static void to_rgb(const ec_image *image, const uint8_t *from, size_t pixels, uint8_t *to) {
    for (size_t i = 0; i < pixels; i++, to += 3) switch (image->mode) {
        case EC_IMAGE_BIT:
        case EC_IMAGE_GRAY:
        case EC_IMAGE_GRAY16: memset(to, from[i], 3); break;
        case EC_IMAGE_GRAY_ALPHA: memset(to, from[2 * i], 3); break;
        case EC_IMAGE_PALETTE: memcpy(to, image->palette[from[i]], 3); break;
        case EC_IMAGE_RGB: memcpy(to, from + 3 * i, 3); break;
        case EC_IMAGE_RGBA: memcpy(to, from + 4 * i, 3); break;
        case EC_IMAGE_CMYK: {
            uint8_t white = 255 - from[4 * i + 3];
            for (size_t c = 0; c < 3; c++) to[c] = clip(white - ec__scale255(from[4 * i + c], white));
            break;
        }
        }
}

static ec_status check_size(int32_t size) {
    if (size < 1 || size > EC_CLIP_SIZE_MAX)
        return EC_ERROR(EC_ERR_USAGE, "image size %d: 1 to %d pixels expected", size, EC_CLIP_SIZE_MAX);
    return EC_OK;
}

ec_status ec__clip_crop(const ec_image *image, int32_t size, uint8_t *crop) {
    ec_status status = EC_OK;
    uint8_t *native = NULL;
    EC_TRY(check_size(size));
    ec_resize r = plan(image, size);
    size_t pixels = (size_t)size * (size_t)size;
    native = malloc(pixels * (size_t)image->bytes_per_pixel);
    if (!native) EC_FAIL(EC_ERR_MEMORY, "no memory for a picture of %d x %d pixels", size, size);
    EC_TRY(window(image, &r, native));
    to_rgb(image, native, pixels, crop);
done:
    free(native);
    return status;
}

void ec__clip_normalize(const uint8_t *crop, int32_t size, float *tensor) {
    float table[3][256];
    size_t pixels = (size_t)size * (size_t)size;
    ec__clip_value_table(table);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++) tensor[c * pixels + i] = table[c][crop[3 * i + c]];
}

ec_status ec__clip_preprocess(const ec_image *image, int32_t size, float *tensor) {
    ec_status status = EC_OK;
    uint8_t *crop = NULL;
    EC_TRY(check_size(size));
    crop = malloc((size_t)size * (size_t)size * 3);
    if (!crop) EC_FAIL(EC_ERR_MEMORY, "no memory for a picture of %d x %d pixels", size, size);
    EC_TRY(ec__clip_crop(image, size, crop));
    ec__clip_normalize(crop, size, tensor);
done:
    free(crop);
    return status;
}
