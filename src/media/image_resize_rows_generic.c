#include "media/image_resize_kernel.h"

static void horizontal(const ec_resize_plan *plan, const uint8_t *row, uint8_t *to) {
    ec__resize_horizontal(plan, row, to);
}

static void vertical(const uint8_t *rows, size_t stride, const int32_t *weight, int32_t taps, int32_t width,
                     uint8_t *to) {
    ec__resize_vertical(rows, stride, weight, taps, width, to);
}

const ec_resize_rows ec__resize_rows_generic = {horizontal, vertical};
