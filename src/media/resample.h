/* Change of the sampling rate, as torchaudio.functional.resample does it with its default parameters.
 *
 * With o and n the two rates divided by their greatest common divisor, b = 0.99 min(o, n) and h(t) = sinc(t) cos^2(pi
 * t/12) for |t| < 6 (a Hann window six zero crossings wide to each side), output i = q n + p is
 *
 *     y[i] = sum_j x[q o + j] h((j/o - p/n) b) b/o,        x = 0 outside,        ceil(n count / o) outputs.
 *
 * (J. O. Smith, "Digital Audio Resampling", band-limited interpolation.) Taps are evaluated in double precision; only
 * those that differ from zero are kept: about 12 max(1, o/n) for each of the n phases. */
#ifndef EC_MEDIA_RESAMPLE_H
#define EC_MEDIA_RESAMPLE_H

#include <stdint.h>

#include "core/error.h"

/* Immutable: any number of threads may use one. */
typedef struct ec_resampler ec_resampler;

enum { EC_RESAMPLE_MAX_RATE = 1000000 };

/* Rates in Hz, 1 to EC_RESAMPLE_MAX_RATE; equal rates make a copy. EC_ERR_USAGE for others. */
ec_status ec__resampler_new(int32_t from_rate, int32_t to_rate, ec_resampler **out);
void ec__resampler_free(ec_resampler *resampler);

/* Samples that count samples become. */
int64_t ec__resample_count(const ec_resampler *resampler, int64_t count);

/* x[count] -> y[ec__resample_count(count)]; they must not overlap. Sums are made in one fixed order, so an output does
 * not depend on how many samples come before it or after its taps. */
void ec__resample(const ec_resampler *resampler, const float *x, int64_t count, float *y);

#endif
