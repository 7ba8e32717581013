/* Transformer kernels, variant avx2. */
#include "compute/cpu/transformer_impl.h"

const ec_transformer_kernels ec__transformer_avx2 = {.layernorm = layernorm, .attention = attention,
                                                     .to_bf16 = to_bf16};
