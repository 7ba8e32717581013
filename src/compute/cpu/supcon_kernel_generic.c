/* The SupCon tiles in plain C: one lane, a multiply and an add in place of a fused one (fmaf is a slow library call on
 * processors without it). The micro tile's inner loops are left to the compiler's own vectoriser. */
#include <stdint.h>
#include <string.h>

#include "compute/cpu/supcon_exp2.h"

typedef float vec;
enum { LANES = 1, MR = 4, NV = 8 };
#define KERNEL ec__supcon_kernel_generic
#define KERNEL_NAME "generic"

static inline vec vload(const float *p) { return *p; }
static inline void vstore(float *p, vec x) { *p = x; }
static inline vec vset(float x) { return x; }
static inline vec vadd(vec a, vec b) { return a + b; }
static inline vec vsub(vec a, vec b) { return a - b; }
static inline vec vmul(vec a, vec b) { return a * b; }
static inline vec vmax(vec a, vec b) { return a > b ? a : b; }
static inline vec vfma(vec a, vec b, vec c) { return a * b + c; }
static inline float vsum(vec a) { return a; }
static inline vec vkeep(vec a, unsigned long long bits) { return bits & 1 ? a : 0.f; }
static inline void transpose(const float *from, long ld, float *to, long to_ld) {
    (void)ld, (void)to_ld;
    *to = *from;
}

static inline vec vexp2(vec y) {
    const float round = 0x1.8p23f; /* adding it leaves no fraction bits */
    const float x = y > -126.f ? y : -126.f;
    const float n = (x + round) - round, f = x - n;
    const uint32_t exponent = (uint32_t)((int32_t)n + 127) << 23;
    float p = EC_EXP2_6, power;
    p = p * f + EC_EXP2_5;
    p = p * f + EC_EXP2_4;
    p = p * f + EC_EXP2_3;
    p = p * f + EC_EXP2_2;
    p = p * f + EC_EXP2_1;
    p = p * f + 1.f;
    memcpy(&power, &exponent, sizeof power);
    return p * power;
}

#include "compute/cpu/supcon_kernel.inc.h"
