/* Resizing as Pillow does it, bit for bit, for a window of the result only: what will be cropped away is not computed.
 *
 * Source: golden/README.md, section preprocess.h5, and measurements on Pillow 9.4. The result would have out_width x
 * out_height pixels; the window is (width, height) pixels from (left, top). */
#ifndef EC_MEDIA_IMAGE_RESIZE_H
#define EC_MEDIA_IMAGE_RESIZE_H

#include <stdint.h>

#include "core/error.h"
#include "media/image.h"

/* a * b / 255, rounded, for a, b in [0, 255]. */
static inline uint8_t ec__scale255(uint32_t a, uint32_t b) {
    uint32_t x = a * b + 128;
    return (uint8_t)(((x >> 8) + x) >> 8);
}

typedef struct ec_resize {
    int64_t out_width, out_height; /* at least 1 */
    int64_t left, top;             /* window inside the result */
    int32_t width, height;
} ec_resize;

/* Bicubic (a = -0.5) with antialiasing, of the 1 to 4 bytes of every pixel independently, from image's pixels to
 * to (height, width, bytes_per_pixel). Modes with alpha are resized premultiplied and come out un-premultiplied.
 * Not for modes EC_IMAGE_BIT, EC_IMAGE_PALETTE, EC_IMAGE_GRAY16. EC_ERR_MEMORY. */
ec_status ec__resize_bicubic(const ec_image *image, const ec_resize *resize, uint8_t *to);

/* The same for EC_IMAGE_GRAY16, in double precision; to (height, width) may leave the range of 16 bits. */
ec_status ec__resize_bicubic_gray16(const ec_image *image, const ec_resize *resize, int32_t *to);

/* Nearest neighbour of images with one byte a pixel, to (height, width). EC_ERR_MEMORY. */
ec_status ec__resize_nearest(const ec_image *image, const ec_resize *resize, uint8_t *to);

/* One axis of a bicubic resize: output o of count is the sum of taps[o] inputs from first[o] on. */
typedef struct ec_resize_axis {
    int32_t count, stride; /* outputs; weights from one output to the next */
    int64_t *first;
    int32_t *taps;
    double *weight;  /* (count, stride), sum 1 for each output */
    int32_t *fixed;  /* the same times 2^22, rounded half away from 0 */
    int64_t begin, end; /* inputs that any output needs */
} ec_resize_axis;

/* Outputs offset .. offset+count-1 of in -> out. */
ec_status ec__resize_axis_init(ec_resize_axis *axis, int64_t in, int64_t out, int64_t offset, int32_t count);
void ec__resize_axis_release(ec_resize_axis *axis);

#endif
