/* Kernels of a transformer block in variants (isa.h). Arguments have been checked; see ops_encoder.h for their
 * meaning. */
#ifndef EC_COMPUTE_CPU_TRANSFORMER_H
#define EC_COMPUTE_CPU_TRANSFORMER_H

#include "compute/cpu/isa.h"
#include "compute/ops_encoder.h"

typedef struct ec_transformer_kernels {
    /* w is a multiple of 16. */
    void (*layernorm)(int32_t m, int32_t w, int32_t ldx, float eps, const float *x, const float *gain,
                      const float *offset, ec_precision y_precision, void *y);
    /* scratch: ec__attention_scratch floats, aligned to a cache line. */
    void (*attention)(const ec_attention *desc, const float *qkv, void *y, float *scratch);
    void (*to_bf16)(int64_t count, const float *x, uint16_t *y); /* count is a multiple of 16 */
} ec_transformer_kernels;

enum { EC_ATTENTION_ROWS = 4 }; /* queries at a time */

static inline int32_t ec__attention_padded(int32_t tokens) { return (tokens + 15) / 16 * 16; }

/* Keys of one head transposed, and the weights of EC_ATTENTION_ROWS queries. */
static inline size_t ec__attention_scratch(const ec_attention *desc) {
    return (size_t)(desc->head_width + EC_ATTENTION_ROWS) * (size_t)ec__attention_padded(desc->tokens);
}

extern const ec_transformer_kernels ec__transformer_base, ec__transformer_avx2, ec__transformer_avx512;

#endif
