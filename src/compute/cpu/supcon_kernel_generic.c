/* The SupCon tiles for any processor: four lanes in the vector extension of GNU C, which gcc and clang turn into
 * whatever the target has; a multiply and an add in place of a fused one, which not every target has. */
#include <stdint.h>
#include <string.h>

#include "compute/cpu/supcon_exp2.h"

typedef float vec __attribute__((vector_size(16)));
typedef int32_t bits __attribute__((vector_size(16)));
enum { LANES = 4, MR = 4, NV = 2 };
#define KERNEL ec__supcon_kernel_generic
#define KERNEL_NAME "generic"

static inline vec vload(const float *p) {
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void vstore(float *p, vec x) { memcpy(p, &x, sizeof x); }
static inline vec vset(float x) { return (vec){x, x, x, x}; }
static inline vec vadd(vec a, vec b) { return a + b; }
static inline vec vsub(vec a, vec b) { return a - b; }
static inline vec vmul(vec a, vec b) { return a * b; }
static inline vec vfma(vec a, vec b, vec c) { return a * b + c; }
static inline float vsum(vec a) { return (a[0] + a[2]) + (a[1] + a[3]); }
static inline vec select(bits mask, vec a, vec b) { return (vec)((mask & (bits)a) | (~mask & (bits)b)); }
static inline vec vmax(vec a, vec b) { return select(a > b, a, b); }

static inline vec vkeep(vec a, unsigned long long mask) {
    const int32_t m = (int32_t)(mask & 15);
    return select((bits){-(m & 1), -(m >> 1 & 1), -(m >> 2 & 1), -(m >> 3 & 1)}, a, vset(0.f));
}

static inline vec vexp2(vec y) {
    const vec round = vset(0x1.8p23f); /* adding it leaves no fraction bits */
    const vec x = vmax(y, vset(-126.f)); /* the exponent is built from bits: keep it that of a normal number */
    const vec n = (x + round) - round, f = x - n;
    const bits exponent = (__builtin_convertvector(n, bits) + 127) << 23;
    vec p = vset(EC_EXP2_6);
    p = p * f + EC_EXP2_5;
    p = p * f + EC_EXP2_4;
    p = p * f + EC_EXP2_3;
    p = p * f + EC_EXP2_2;
    p = p * f + EC_EXP2_1;
    p = p * f + 1.f;
    return p * (vec)exponent;
}

static inline void transpose(const float *from, long ld, float *to, long to_ld) {
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) to[i * to_ld + j] = from[j * ld + i];
}

#include "compute/cpu/supcon_kernel.inc.h"
