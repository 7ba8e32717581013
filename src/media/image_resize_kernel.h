/* The two inner loops of the bicubic resize, compiled once for every instruction set (image_resize_rows*.c). Sums are
 * of integers, so every order of addition gives the same bits. */
#ifndef EC_MEDIA_IMAGE_RESIZE_KERNEL_H
#define EC_MEDIA_IMAGE_RESIZE_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Lanes that a horizontal sum runs over: a multiple of 1, 2, 3 and 4 bytes a pixel, so that lane l always holds channel
 * l % channels, and of the width of a register. */
enum { EC_RESIZE_LANES = 24, EC_RESIZE_BITS = 22 };

/* One horizontal pass: count outputs of a row. Output o has blocks[o] blocks of lanes from byte first[o] of row on;
 * weights (count, stride) are repeated for every channel and padded with zeros to whole blocks. */
typedef struct ec_resize_plan {
    int32_t count, channels, stride;
    const int64_t *first;
    const int32_t *blocks;
    const int32_t *weight;
} ec_resize_plan;

typedef struct ec_resize_rows {
    void (*horizontal)(const ec_resize_plan *plan, const uint8_t *row, uint8_t *to);
    /* to[i] = sum over taps of weight[t] * rows[t * stride + i] for i < width */
    void (*vertical)(const uint8_t *rows, size_t stride, const int32_t *weight, int32_t taps, int32_t width,
                     uint8_t *to);
} ec_resize_rows;

extern const ec_resize_rows ec__resize_rows_generic, ec__resize_rows_avx2;

static inline uint8_t ec__resize_round(int32_t sum) {
    sum >>= EC_RESIZE_BITS; /* half a unit was added before */
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static inline void ec__resize_horizontal(const ec_resize_plan *plan, const uint8_t *row, uint8_t *to) {
    for (int32_t o = 0; o < plan->count; o++) {
        const uint8_t *p = row + plan->first[o];
        const int32_t *w = plan->weight + (size_t)o * (size_t)plan->stride;
        int32_t sum[EC_RESIZE_LANES] = {0};
        for (int32_t b = 0; b < plan->blocks[o]; b++, p += EC_RESIZE_LANES, w += EC_RESIZE_LANES)
            for (int l = 0; l < EC_RESIZE_LANES; l++) sum[l] += p[l] * w[l];
        for (int32_t c = 0; c < plan->channels; c++) {
            int32_t total = 1 << (EC_RESIZE_BITS - 1);
            for (int32_t l = c; l < EC_RESIZE_LANES; l += plan->channels) total += sum[l];
            *to++ = ec__resize_round(total);
        }
    }
}

static inline void ec__resize_vertical(const uint8_t *rows, size_t stride, const int32_t *weight, int32_t taps,
                                       int32_t width, uint8_t *to) {
    enum { STRIP = 64 };
    for (int32_t x = 0; x < width; x += STRIP) {
        int32_t sum[STRIP], n = width - x < STRIP ? width - x : STRIP;
        for (int i = 0; i < STRIP; i++) sum[i] = 1 << (EC_RESIZE_BITS - 1);
        for (int32_t t = 0; t < taps; t++) {
            const uint8_t *p = rows + (size_t)t * stride + x;
            int32_t w = weight[t];
            if (n == STRIP) for (int i = 0; i < STRIP; i++) sum[i] += p[i] * w;
            else for (int32_t i = 0; i < n; i++) sum[i] += p[i] * w;
        }
        for (int32_t i = 0; i < n; i++) to[x + i] = ec__resize_round(sum[i]);
    }
}

#endif
