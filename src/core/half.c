#include "core/half.h"

#include <string.h>

#include "core/cpu_feature.h"

static float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff, bits;
    if (rest >= 0x7c00) { /* infinite or NaN; a NaN becomes quiet, as the processor's instruction does */
        bits = sign | 0x7f800000u | (rest & 0x3ff) << 13 | (rest > 0x7c00 ? 0x400000u : 0);
    } else if (rest >= 0x400) {
        bits = sign | ((rest << 13) + ((127u - 15u) << 23));
    } else { /* subnormal: an integer multiple of 2^-24 */
        float value = (float)rest * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static uint16_t float_to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff));
    if (rest >= 0x477ff000) return sign | 0x7c00; /* 65520 and above round to infinity */
    uint32_t mantissa, drop;
    if (rest >= 0x38800000) { /* at least 2^-14: a normal number */
        mantissa = rest - ((127u - 15u) << 23);
        drop = 13;
    } else {
        uint32_t exponent = rest >> 23;
        if (exponent < 102) return sign; /* below 2^-25 */
        mantissa = (rest & 0x7fffff) | 0x800000;
        drop = 126 - exponent;
    }
    uint32_t half = mantissa >> drop, remainder = mantissa & ((1u << drop) - 1), middle = 1u << (drop - 1);
    half += remainder > middle || (remainder == middle && (half & 1));
    return (uint16_t)(sign | half);
}

void ec__half_to_float_portable(const uint16_t *in, float *out, int64_t count) {
    for (int64_t i = 0; i < count; i++) out[i] = half_to_float(in[i]);
}

void ec__float_to_half_portable(const float *in, uint16_t *out, int64_t count) {
    for (int64_t i = 0; i < count; i++) out[i] = float_to_half(in[i]);
}

void ec__half_to_float(const uint16_t *in, float *out, int64_t count) {
    if (ec__cpu_has_avx2_f16c()) ec__half_to_float_avx2(in, out, count);
    else ec__half_to_float_portable(in, out, count);
}

void ec__float_to_half(const float *in, uint16_t *out, int64_t count) {
    if (ec__cpu_has_avx2_f16c()) ec__float_to_half_avx2(in, out, count);
    else ec__float_to_half_portable(in, out, count);
}
