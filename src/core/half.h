/* IEEE binary16 and binary32: exact one way, rounded to nearest even the other. Bits equal on every processor. */
#ifndef EC_CORE_HALF_H
#define EC_CORE_HALF_H

#include <stdint.h>

/* out[i] = in[i] for i in [0, count); in and out do not overlap. Values beyond 65504 become infinite when rounded. */
void ec__half_to_float(const uint16_t *in, float *out, int64_t count);
void ec__float_to_half(const float *in, uint16_t *out, int64_t count);

/* The two ways to do it; the functions above choose by the processor. */
void ec__half_to_float_portable(const uint16_t *in, float *out, int64_t count);
void ec__float_to_half_portable(const float *in, uint16_t *out, int64_t count);
void ec__half_to_float_avx2(const uint16_t *in, float *out, int64_t count);
void ec__float_to_half_avx2(const float *in, uint16_t *out, int64_t count);

#endif
