/* Named arrays from somewhere: a safetensors file, a checkpoint, a test's memory. What a network's weights are read
 * from. */
#ifndef EC_NN_TENSOR_SOURCE_H
#define EC_NN_TENSOR_SOURCE_H

#include <stdint.h>

#include "core/error.h"

enum { EC_TENSOR_DIMS = 8, EC_SHAPE_TEXT = 200 };

typedef struct ec_tensor_info {
    const char *name; /* borrowed from the source */
    int32_t rank;     /* 0 for a scalar */
    int64_t dim[EC_TENSOR_DIMS];
} ec_tensor_info;

typedef struct ec_tensor_source {
    const char *origin; /* where the arrays come from, for messages: a file name */
    int32_t count;
    /* index in [0, count). Names are unique. */
    ec_status (*info)(void *arg, int32_t index, ec_tensor_info *out);
    /* All elements, row-major, converted to float32. */
    ec_status (*read)(void *arg, int32_t index, float *into);
    void *arg;
} ec_tensor_source;

/* Product of the dimensions; 1 for a scalar. */
static inline int64_t ec__tensor_elements(const ec_tensor_info *info) {
    int64_t count = 1;
    for (int32_t i = 0; i < info->rank; i++) count *= info->dim[i];
    return count;
}

/* "(768, 3, 32, 32)" into text. */
void ec__shape_text(int32_t rank, const int64_t *dim, char text[EC_SHAPE_TEXT]);

#endif
