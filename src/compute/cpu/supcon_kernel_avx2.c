/* The SupCon tiles for AVX2 with FMA: 12 accumulators of the 16 registers. */
#include <immintrin.h>

#include "compute/cpu/supcon_exp2.h"

typedef __m256 vec;
enum { LANES = 8, MR = 6, NV = 2 };
#define KERNEL ec__supcon_kernel_avx2
#define KERNEL_NAME "avx2"

static inline vec vload(const float *p) { return _mm256_loadu_ps(p); }
static inline void vstore(float *p, vec x) { _mm256_storeu_ps(p, x); }
static inline vec vset(float x) { return _mm256_set1_ps(x); }
static inline vec vadd(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec vsub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec vmul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec vmax(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec vfma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

static inline float vsum(vec a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

static inline vec vkeep(vec a, unsigned long long bits) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)(bits & 0xff)), bit);
    return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit)));
}

static inline vec vexp2(vec y) {
    y = _mm256_max_ps(y, _mm256_set1_ps(-126.f)); /* the exponent is built from bits: keep it that of a normal number */
    const vec n = _mm256_round_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec f = _mm256_sub_ps(y, n);
    vec p = vset(EC_EXP2_6);
    p = vfma(p, f, vset(EC_EXP2_5));
    p = vfma(p, f, vset(EC_EXP2_4));
    p = vfma(p, f, vset(EC_EXP2_3));
    p = vfma(p, f, vset(EC_EXP2_2));
    p = vfma(p, f, vset(EC_EXP2_1));
    p = vfma(p, f, vset(1.f));
    const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
}

static inline void transpose(const float *from, long ld, float *to, long to_ld) {
    vec r[8], s[8];
    for (int i = 0; i < 8; i++) r[i] = vload(from + i * ld);
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm256_shuffle_ps(s[i + j], s[i + j + 2], 0x44);
            r[i + 2 * j + 1] = _mm256_shuffle_ps(s[i + j], s[i + j + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        vstore(to + i * to_ld, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        vstore(to + (i + 4) * to_ld, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

#include "compute/cpu/supcon_kernel.inc.h"
