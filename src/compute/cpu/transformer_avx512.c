/* Transformer kernels, variant avx512. */
#include "compute/cpu/transformer_impl.h"

const ec_transformer_kernels ec__transformer_avx512 = {.layernorm = layernorm, .attention = attention,
                                                       .to_bf16 = to_bf16};
