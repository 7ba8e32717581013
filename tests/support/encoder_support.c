#include "encoder_support.h"

#include <math.h>
#include <stdlib.h>

void test_turn_maps(test_array *reference) {
    const int64_t w = reference->dim[1], area = reference->dim[2] * reference->dim[3];
    double *turned = malloc(sizeof(double) * (size_t)reference->count);
    for (int64_t n = 0; n < reference->dim[0]; n++)
        for (int64_t c = 0; c < w; c++)
            for (int64_t i = 0; i < area; i++) turned[(n * area + i) * w + c] = reference->f64[(n * w + c) * area + i];
    free(reference->f64);
    reference->f64 = turned;
}

void test_differ(const char *what, const float *rows, int32_t count, int32_t width) {
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = 0; j < i; j++) {
            double dot = 0, a = 0, b = 0;
            for (int32_t k = 0; k < width; k++) {
                dot += rows[i * width + k] * rows[j * width + k];
                a += rows[i * width + k] * rows[i * width + k];
                b += rows[j * width + k] * rows[j * width + k];
            }
            test_limit(what, dot / sqrt(a * b), 0.99);
        }
}
