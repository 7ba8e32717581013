/* The CPU's operations of ops_encoder.h, by file. */
#ifndef EC_COMPUTE_CPU_ENCODER_H
#define EC_COMPUTE_CPU_ENCODER_H

#include "compute/cpu/cpu.h"
#include "compute/ops_encoder.h"

/* linear.c */
ec_status ec__cpu_linear_new(ec_backend *be, ec_precision precision, int32_t n, int32_t k, const float *weight,
                             const float *bias, ec_linear **out);
void ec__cpu_linear_free(ec_backend *be, ec_linear *layer);
ec_status ec__cpu_linear(ec_backend *be, ec_stream *stream, const ec_linear *layer, const ec_linear_call *call,
                         const void *x, void *y);

/* conv.c */
ec_status ec__cpu_conv_new(ec_backend *be, const ec_conv_desc *desc, const float *weight, const float *bias,
                           ec_conv **out);
void ec__cpu_conv_free(ec_backend *be, ec_conv *layer);
ec_status ec__cpu_conv(ec_backend *be, ec_stream *stream, const ec_conv *layer, const float *x, float *y);
size_t ec__cpu_maps_bytes(ec_backend *be, const ec_maps *maps);
ec_status ec__cpu_maps_load(ec_backend *be, ec_stream *stream, const ec_maps *maps, const float *nchw, float *y);
ec_status ec__cpu_maps_store(ec_backend *be, ec_stream *stream, const ec_maps *maps, const float *x, float *nchw);
ec_status ec__cpu_pool(ec_backend *be, ec_stream *stream, const ec_maps *maps, ec_pooling pooling, const float *x,
                       float *y);

/* spectra.c */
ec_status ec__cpu_spectra_new(ec_backend *be, const ec_spectra_desc *desc, ec_spectra **out);
void ec__cpu_spectra_free(ec_backend *be, ec_spectra *spectra);
size_t ec__cpu_spectra_bytes(ec_backend *be, const ec_spectra *spectra);
ec_status ec__cpu_spectra(ec_backend *be, ec_stream *stream, const ec_spectra *spectra, int32_t count,
                          const float *waveforms, void *work, float *y);

/* encoder_ops.c: does oneDNN multiply bf16 with instructions for it? */
bool ec__cpu_has_bf16(void);

extern const ec_encoder_ops ec__cpu_encoder_ops;

#endif
