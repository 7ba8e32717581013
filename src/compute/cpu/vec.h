/* Vectors of floats of the width that the including file is compiled for. Included only by kernels in variants
 * (isa.h). */
#ifndef EC_COMPUTE_CPU_VEC_H
#define EC_COMPUTE_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 16, VECS = 4 }; /* VECS x 4 sums fit into the registers */
#elif defined(__AVX2__)
#include <immintrin.h>
enum { LANES = 8, VECS = 2 };
#else
enum { LANES = 4, VECS = 2 };
#endif

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef uint32_t uvec __attribute__((vector_size(LANES * 4)));
typedef uint16_t hvec __attribute__((vector_size(LANES * 2)));

static inline vec vec_load(const float *x) {
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline void vec_store(float *x, vec v) { memcpy(x, &v, sizeof v); }
static inline vec vec_set(float x) { return x - (vec){0}; } /* x - 0 is x for every x, -0 included */

/* a*b + c, one rounding where the processor has it. */
static inline vec vec_fma(vec a, vec b, vec c) {
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline vec vec_select(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }
static inline vec vec_max(vec a, vec b) { return vec_select(a > b, a, b); }

/* Sum and maximum of the lanes, in one fixed order: halves folded. */
static inline float vec_sum(vec v) {
    float x[LANES];
    vec_store(x, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

static inline float vec_largest(vec v) {
    float x[LANES];
    vec_store(x, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}

/* exp(x) for x <= 88: x = n ln 2 + r (ln 2 in two parts, so that r is exact), Taylor polynomial of degree 7 in r (|r|
 * <= 0.35: relative error below 1e-8 before rounding), 2^n by its exponent bits. Below -87 the smallest normal
 * float. */
static inline vec vec_exp(vec x) {
    x = vec_select(x < -87.f, vec_set(-87.f), x);
    const vec magic = vec_set(0x1.8p23f); /* adding it rounds to an integer, which then stands in the low bits */
    const vec shifted = vec_fma(x, vec_set(0x1.715476p0f), magic);
    const vec n = shifted - magic;
    vec r = vec_fma(n, vec_set(-0x1.62e4p-1f), x);
    r = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), r);
    vec p = vec_set(1.f / 5040);
    p = vec_fma(p, r, vec_set(1.f / 720));
    p = vec_fma(p, r, vec_set(1.f / 120));
    p = vec_fma(p, r, vec_set(1.f / 24));
    p = vec_fma(p, r, vec_set(1.f / 6));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p, r, vec_set(1.f));
    p = vec_fma(p, r, vec_set(1.f));
    const ivec exponent = ((ivec)shifted - (ivec)magic + 127) << 23;
    return p * (vec)exponent;
}

/* Nearest bfloat16, ties to even; a NaN stays one. */
static inline void vec_store_bf16(uint16_t *y, vec v) {
    const uvec bits = (uvec)v;
    uvec rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uvec nan = (uvec)(v != v);
    rounded = (rounded & ~nan) | (nan & 0x7fc0);
    const hvec half = __builtin_convertvector(rounded, hvec);
    memcpy(y, &half, sizeof half);
}

#endif
