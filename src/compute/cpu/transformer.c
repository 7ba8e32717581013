/* Transformer kernels, for any processor. */
#include "compute/cpu/transformer_impl.h"

const ec_transformer_kernels ec__transformer_base = {.layernorm = layernorm, .attention = attention,
                                                     .to_bf16 = to_bf16};
