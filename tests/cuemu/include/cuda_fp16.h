/* Half precision for the emulation: conversions only. */
#ifndef CUEMU_CUDA_FP16_H
#define CUEMU_CUDA_FP16_H

#include "cuda_runtime.h"

#ifdef __cplusplus
struct __half {
    unsigned short bits;
    __half() = default;
    __half(float value) { /* to nearest even */
        const unsigned u = __float_as_uint(value), sign = u >> 16 & 0x8000u, magnitude = u & 0x7fffffffu;
        if (magnitude > 0x7f800000u) bits = 0x7fff;
        else if (magnitude >= 0x477ff000u) bits = (unsigned short)(sign | 0x7c00u);
        else if (magnitude < 0x38800000u) /* subnormal: the adder of the processor rounds at 2^-24 */
            bits = (unsigned short)(sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u));
        else bits = (unsigned short)(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13));
    }
    operator float() const {
        const unsigned sign = (unsigned)(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
        if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
        if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
        const float tiny = (float)fraction * 0x1p-24f;
        return sign ? -tiny : tiny;
    }
};
struct alignas(4) __half2 {
    __half x, y;
};
typedef __half half;
typedef __half2 half2;

static inline __half __float2half(float x) { return __half(x); }
static inline __half __float2half_rn(float x) { return __half(x); }
static inline float __half2float(__half x) { return (float)x; }
static inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
static inline float2 __half22float2(__half2 v) { return {(float)v.x, (float)v.y}; }
#endif

#endif
