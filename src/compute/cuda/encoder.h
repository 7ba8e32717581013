/* What the files of ops_encoder.h share on a GPU: encoder.cu has the table and the small operations, attention.cu,
 * linear.c (cuBLASLt), conv.c (cuDNN) and spectra.c (cuFFT) the large ones. Arguments as in ops_encoder.h. */
#ifndef EC_COMPUTE_CUDA_ENCODER_H
#define EC_COMPUTE_CUDA_ENCODER_H

#include "compute/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* attention.cu */
ec_status ec__cuda_attention(ec_backend *be, ec_stream *stream, const ec_attention *desc, const float *qkv, void *y);
/* attention_bf16.cu, for a result in bf16; arguments have been checked */
ec_status ec__cuda_attention_bf16(ec_stream *stream, const ec_attention *desc, const float *qkv, void *y);

/* linear.c */
ec_status ec__cuda_linear_new(ec_backend *be, ec_precision precision, int32_t n, int32_t k, const float *weight,
                              const float *bias, ec_linear **out);
void ec__cuda_linear_free(ec_backend *be, ec_linear *layer);
ec_status ec__cuda_linear(ec_backend *be, ec_stream *stream, const ec_linear *layer, const ec_linear_call *call,
                          const void *x, void *y);

/* conv.c; maps are stored as they are written: (batch, channels, height, width). */
ec_status ec__cuda_conv_new(ec_backend *be, const ec_conv_desc *desc, const float *weight, const float *bias,
                            ec_conv **out);
void ec__cuda_conv_free(ec_backend *be, ec_conv *layer);
ec_status ec__cuda_conv(ec_backend *be, ec_stream *stream, const ec_conv *layer, const float *x, float *y);

/* spectra.c */
ec_status ec__cuda_spectra_new(ec_backend *be, const ec_spectra_desc *desc, ec_spectra **out);
void ec__cuda_spectra_free(ec_backend *be, ec_spectra *spectra);
size_t ec__cuda_spectra_bytes(ec_backend *be, const ec_spectra *spectra);
ec_status ec__cuda_spectra(ec_backend *be, ec_stream *stream, const ec_spectra *spectra, int32_t count,
                           const float *waveforms, void *work, float *y);

/* encoder.cu, for the others */

/* In place y = act(y + bias) of m rows of n, ldy apart; bias is float32, or NULL. */
ec_status ec__cuda_bias_activation(ec_stream *stream, int32_t m, int32_t n, int32_t ldy, const float *bias,
                                   ec_activation activation, ec_precision y_precision, void *y);
/* In place y = y + bias, or the larger of it and 0, of maps with bias[channel]. */
ec_status ec__cuda_bias_maps(ec_stream *stream, const ec_maps *maps, const float *bias, bool relu, float *y);
ec_status ec__cuda_to_bf16(ec_stream *stream, int64_t count, const float *x, void *y);

#ifdef __cplusplus
}
#endif

#endif
