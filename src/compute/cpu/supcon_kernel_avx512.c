/* The SupCon tiles for AVX-512: 16 accumulators, enough to fill two units of four cycles' latency; the eight rows of a
 * micro tile divide a whole tile. */
#include <immintrin.h>

#include "compute/cpu/supcon_exp2.h"

typedef __m512 vec;
enum { LANES = 16, MR = 8, NV = 2 };
#define KERNEL ec__supcon_kernel_avx512
#define KERNEL_NAME "avx512"

static inline vec vload(const float *p) { return _mm512_loadu_ps(p); }
static inline void vstore(float *p, vec x) { _mm512_storeu_ps(p, x); }
static inline vec vset(float x) { return _mm512_set1_ps(x); }
static inline vec vadd(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec vsub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec vmul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec vmax(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec vfma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline float vsum(vec a) { return _mm512_reduce_add_ps(a); }
static inline vec vkeep(vec a, unsigned long long bits) { return _mm512_maskz_mov_ps((__mmask16)(bits & 0xffff), a); }

/* Only the polynomial takes the multiply-add units; rounding and scaling have units of their own. */
static inline vec vexp2(vec y) {
    const vec n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec f = _mm512_sub_ps(y, n);
    vec p = vset(EC_EXP2_6);
    p = vfma(p, f, vset(EC_EXP2_5));
    p = vfma(p, f, vset(EC_EXP2_4));
    p = vfma(p, f, vset(EC_EXP2_3));
    p = vfma(p, f, vset(EC_EXP2_2));
    p = vfma(p, f, vset(EC_EXP2_1));
    p = vfma(p, f, vset(1.f));
    return _mm512_scalef_ps(p, n);
}

/* Four rounds that exchange halves: of rows 1, 2, 4 and 8 apart. */
static inline void transpose(const float *from, long ld, float *to, long to_ld) {
    vec r[16], s[16];
    for (int i = 0; i < 16; i++) r[i] = vload(from + i * ld);
    for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_shuffle_ps(s[i + j], s[i + j + 2], 0x44);
            r[i + 2 * j + 1] = _mm512_shuffle_ps(s[i + j], s[i + j + 2], 0xee);
        }
    /* r[4 q + j] holds, in its quarter h, column 4 h + j of rows 4 q .. 4 q + 3. */
    for (int j = 0; j < 4; j++) {
        const vec low01 = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88),
                  low23 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        const vec high01 = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd),
                  high23 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
        vstore(to + (0 + j) * to_ld, _mm512_shuffle_f32x4(low01, low23, 0x88));
        vstore(to + (8 + j) * to_ld, _mm512_shuffle_f32x4(low01, low23, 0xdd));
        vstore(to + (4 + j) * to_ld, _mm512_shuffle_f32x4(high01, high23, 0x88));
        vstore(to + (12 + j) * to_ld, _mm512_shuffle_f32x4(high01, high23, 0xdd));
    }
}

#include "compute/cpu/supcon_kernel.inc.h"
