/* The CPU's table of ops_encoder.h, and the operations of a vision transformer around its products. */
#include <dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/encoder.h"
#include "compute/cpu/transformer.h"
#include "core/arena.h"

static const ec_transformer_kernels *kernels(void) {
    switch (ec__cpu_isa()) {
    case EC_ISA_AVX512: return &ec__transformer_avx512;
    case EC_ISA_AVX2: return &ec__transformer_avx2;
    default: return &ec__transformer_base;
    }
}

bool ec__cpu_has_bf16(void) {
    return ec__cpu_isa() == EC_ISA_AVX512 &&
           ((unsigned)dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

static ec_status patches(ec_backend *be, ec_stream *stream, int32_t batch, int32_t channels, int32_t height,
                         int32_t width, int32_t patch, ec_precision y_precision, const float *images, void *y) {
    (void)be, (void)stream;
    const size_t area = (size_t)patch * (size_t)patch, row = (size_t)channels * area;
    const int32_t down = height / patch, across = width / patch;
    if (y_precision == EC_PRECISION_BF16 && area % 16 != 0)
        return EC_ERROR(EC_ERR_USAGE, "bf16 needs patches of a multiple of 16 pixels; %d x %d is none", patch, patch);
    float *line = malloc(sizeof(float) * area); /* one channel of one patch */
    if (!line) return EC_ERROR(EC_ERR_MEMORY, "no memory for a patch");
    for (int32_t n = 0; n < batch; n++)
        for (int32_t p = 0; p < down * across; p++)
            for (int32_t c = 0; c < channels; c++) {
                const size_t map = (size_t)n * (size_t)channels + (size_t)c;
                const size_t top = (size_t)(p / across * patch), left = (size_t)(p % across * patch);
                const float *from = images + (map * (size_t)height + top) * (size_t)width + left;
                const size_t to = ((size_t)n * (size_t)(down * across) + (size_t)p) * row + (size_t)c * area;
                for (int32_t i = 0; i < patch; i++)
                    memcpy(line + i * patch, from + (size_t)i * (size_t)width, sizeof(float) * (size_t)patch);
                if (y_precision == EC_PRECISION_BF16) kernels()->to_bf16((int64_t)area, line, (uint16_t *)y + to);
                else memcpy((float *)y + to, line, sizeof(float) * area);
            }
    free(line);
    return EC_OK;
}

static ec_status tokens(ec_backend *be, ec_stream *stream, int32_t batch, int32_t t, int32_t w, const float *patch,
                        const float *first, const float *position, float *y) {
    (void)be, (void)stream;
    for (int32_t n = 0; n < batch; n++)
        for (int32_t i = 0; i < t; i++, position += w, y += w) {
            const float *x = i == 0 ? first : patch;
            for (int32_t j = 0; j < w; j++) y[j] = x[j] + position[j];
            if (i > 0) patch += w;
            if (i == t - 1) position -= (size_t)t * (size_t)w;
        }
    return EC_OK;
}

static ec_status layernorm(ec_backend *be, ec_stream *stream, int32_t m, int32_t w, int32_t ldx, float eps,
                           const float *x, const float *gain, const float *offset, ec_precision y_precision, void *y) {
    (void)be, (void)stream;
    if (w % 16 != 0) return EC_ERROR(EC_ERR_USAGE, "rows of %d numbers; LayerNorm takes multiples of 16", w);
    kernels()->layernorm(m, w, ldx, eps, x, gain, offset, y_precision, y);
    return EC_OK;
}

static ec_status attention(ec_backend *be, ec_stream *stream, const ec_attention *desc, const float *qkv, void *y) {
    (void)be, (void)stream;
    if (desc->head_width % 16 != 0 || desc->head_width > 256)
        return EC_ERROR(EC_ERR_USAGE, "attention heads of width %d; a multiple of 16 up to 256 is needed",
                        desc->head_width);
    size_t bytes = sizeof(float) * ec__attention_scratch(desc);
    float *scratch = aligned_alloc(EC_ARENA_ALIGN, (bytes + EC_ARENA_ALIGN - 1) / EC_ARENA_ALIGN * EC_ARENA_ALIGN);
    if (!scratch) return EC_ERROR(EC_ERR_MEMORY, "no memory for %zu bytes of attention scratch", bytes);
    kernels()->attention(desc, qkv, y, scratch);
    free(scratch);
    return EC_OK;
}

const ec_encoder_ops ec__cpu_encoder_ops = {
    .linear_new = ec__cpu_linear_new,
    .linear_free = ec__cpu_linear_free,
    .linear = ec__cpu_linear,
    .patches = patches,
    .tokens = tokens,
    .layernorm = layernorm,
    .attention = attention,
    .conv_new = ec__cpu_conv_new,
    .conv_free = ec__cpu_conv_free,
    .conv = ec__cpu_conv,
    .maps_bytes = ec__cpu_maps_bytes,
    .maps_load = ec__cpu_maps_load,
    .maps_store = ec__cpu_maps_store,
    .pool = ec__cpu_pool,
    .spectra_new = ec__cpu_spectra_new,
    .spectra_free = ec__cpu_spectra_free,
    .spectra_bytes = ec__cpu_spectra_bytes,
    .spectra = ec__cpu_spectra,
};
