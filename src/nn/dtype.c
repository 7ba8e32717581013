/* Element types of safetensors files, and their conversion to float32. */
#include <string.h>

#include "nn/safetensors.h"

static const struct {
    const char *name;
    size_t size;
} types[EC_DTYPES] = {
    [EC_DTYPE_F64] = {"F64", 8},   [EC_DTYPE_F32] = {"F32", 4}, [EC_DTYPE_F16] = {"F16", 2},
    [EC_DTYPE_BF16] = {"BF16", 2}, [EC_DTYPE_I64] = {"I64", 8}, [EC_DTYPE_I32] = {"I32", 4},
    [EC_DTYPE_I16] = {"I16", 2},   [EC_DTYPE_I8] = {"I8", 1},   [EC_DTYPE_U8] = {"U8", 1},
    [EC_DTYPE_BOOL] = {"BOOL", 1},
};

size_t ec__dtype_size(ec_dtype dtype) { return types[dtype].size; }
const char *ec__dtype_name(ec_dtype dtype) { return types[dtype].name; }

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 half precision; every half is exactly representable in single. */
static float half_to_float(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    const float magnitude = (float)fraction * 0x1p-24f; /* subnormal or zero */
    return sign ? -magnitude : magnitude;
}

/* One loop a type: loads go through memcpy because arrays may begin at any byte. */
#define CONVERT(type, expression)                                \
    for (int64_t i = 0; i < count; i++) {                        \
        type x;                                                  \
        memcpy(&x, bytes + (size_t)i * sizeof x, sizeof x);      \
        to[i] = (expression);                                    \
    }                                                            \
    break

void ec__dtype_to_float(ec_dtype dtype, const void *from, int64_t count, float *to) {
    const char *bytes = from;
    switch (dtype) {
    case EC_DTYPE_F64: CONVERT(double, (float)x);
    case EC_DTYPE_F32: CONVERT(float, x);
    case EC_DTYPE_F16: CONVERT(uint16_t, half_to_float(x));
    case EC_DTYPE_BF16: CONVERT(uint16_t, float_of_bits((uint32_t)x << 16));
    case EC_DTYPE_I64: CONVERT(int64_t, (float)x);
    case EC_DTYPE_I32: CONVERT(int32_t, (float)x);
    case EC_DTYPE_I16: CONVERT(int16_t, (float)x);
    case EC_DTYPE_I8: CONVERT(int8_t, (float)x);
    case EC_DTYPE_U8:
    case EC_DTYPE_BOOL: CONVERT(uint8_t, (float)x);
    case EC_DTYPES: break;
    }
}
