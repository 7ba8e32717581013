/* Instruction sets that the compiler's own test does not know everywhere. */
#ifndef EC_CORE_CPU_FEATURE_H
#define EC_CORE_CPU_FEATURE_H

#include <stdbool.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* AVX2 with the half-precision conversions, in processor and system (clang 14 rejects "f16c" in __builtin_cpu_supports;
 * the system's part of F16C is that of AVX2). */
static inline bool ec__cpu_has_avx2_f16c(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
#else
    return false;
#endif
}

#endif
