/* What the files of the heads share. */
#ifndef EC_NN_HEADS_INTERNAL_H
#define EC_NN_HEADS_INTERNAL_H

#include "nn/heads.h"

/* Tensors of a projector in the flat arrays. */
static inline float *ec__heads_param_at(const ec_heads *heads, int32_t number) {
    return heads->param + heads->params.items[number].offset;
}

static inline float *ec__heads_buffer_at(const ec_heads *heads, int32_t number) {
    return heads->buffer + heads->buffers.items[number].offset;
}

#endif
