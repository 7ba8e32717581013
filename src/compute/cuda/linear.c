/* Linear layers whose weights never change: cuBLASLt over weights as they are written, (N,K).
 *
 * Rows have the same bits however many there are (rows_alike in ops_dense.h). In float32 cuBLASLt adds the bias; for
 * layers in bf16, and for activations that it lacks, a small kernel does in place. Results in bf16 are therefore
 * rounded before bias and activation as well as behind them. */
#include "compute/cuda/encoder.h"

#include <stdlib.h>

#include "compute/cuda/matmul.h"

struct ec_linear {
    ec_precision precision;
    int32_t n, k;
    void *weight;
    float *bias; /* NULL: none */
};

ec_status ec__cuda_linear(ec_backend *be, ec_stream *stream, const ec_linear *layer, const ec_linear_call *call,
                          const void *x, void *y) {
    const bool whole = layer->precision == EC_PRECISION_FLOAT32 && call->y_precision == EC_PRECISION_FLOAT32;
    const bool bias = layer->bias != NULL, finish = !whole && (bias || call->activation != EC_ACT_NONE);
    const ec_cuda_matmul product = {
        .gemm = {.m = call->m, .n = layer->n, .k = layer->k, .lda = call->ldx, .ldb = layer->k, .ldc = call->ldy,
                 .transpose_b = true, .accumulate = call->accumulate, .bias = whole && bias, .rows_alike = true,
                 .activation = whole ? call->activation : EC_ACT_NONE},
        .input = layer->precision,
        .output = call->y_precision,
    };
    if (call->m == 0) return EC_OK;
    EC_RETURN_IF(ec__cuda_matmul(ec__cuda(be), stream, &product, x, layer->weight, whole ? layer->bias : NULL, y));
    if (!finish) return EC_OK;
    return ec__cuda_bias_activation(stream, call->m, layer->n, call->ldy, layer->bias, call->activation,
                                    call->y_precision, y);
}

void ec__cuda_linear_free(ec_backend *be, ec_linear *layer) {
    if (!layer) return;
    be->memory->free(be, layer->weight);
    be->memory->free(be, layer->bias);
    free(layer);
}

/* A copy in the memory of the device, rounded on the way where bf16 is wanted. The host's array is not needed any more
 * when this returns. */
static ec_status place(ec_backend *be, ec_precision precision, const float *from, size_t count, void **out) {
    ec_status status = EC_OK;
    void *wide = NULL;
    ec_stream *stream = be->main_stream(be);
    EC_TRY(be->memory->alloc(be, count * ec__precision_size(precision), out));
    if (precision == EC_PRECISION_FLOAT32) {
        EC_TRY(be->memory->upload(be, stream, *out, from, count * sizeof(float)));
    } else {
        EC_TRY(be->memory->alloc(be, count * sizeof(float), &wide));
        EC_TRY(be->memory->upload(be, stream, wide, from, count * sizeof(float)));
        EC_TRY(ec__cuda_to_bf16(stream, (int64_t)count, wide, *out));
    }
    EC_TRY(be->synchronize(be));
done:
    be->memory->free(be, wide);
    return status;
}

ec_status ec__cuda_linear_new(ec_backend *be, ec_precision precision, int32_t n, int32_t k, const float *weight,
                              const float *bias, ec_linear **out) {
    ec_status status = EC_OK;
    void *memory = NULL;
    ec_linear *layer = calloc(1, sizeof *layer);
    if (!layer) EC_FAIL(EC_ERR_MEMORY, "no memory for a linear layer");
    *layer = (ec_linear){.precision = precision, .n = n, .k = k};
    EC_TRY(place(be, precision, weight, (size_t)n * (size_t)k, &layer->weight));
    if (bias) EC_TRY(place(be, EC_PRECISION_FLOAT32, bias, (size_t)n, &memory));
    layer->bias = memory;
    *out = layer;
    layer = NULL;
done:
    ec__cuda_linear_free(be, layer);
    return status;
}
