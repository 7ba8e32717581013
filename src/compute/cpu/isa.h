/* Which of the variants of a kernel this processor can run. A kernel that exists in variants is one header of code,
 * compiled by three files: NAME.c, NAME_avx2.c, NAME_avx512.c (the build gives each its instruction set). */
#ifndef EC_COMPUTE_CPU_ISA_H
#define EC_COMPUTE_CPU_ISA_H

typedef enum ec_isa { EC_ISA_BASE, EC_ISA_AVX2, EC_ISA_AVX512, EC_ISAS } ec_isa;

static inline ec_isa ec__cpu_isa(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return EC_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return EC_ISA_AVX2;
#endif
    return EC_ISA_BASE;
}

#endif
