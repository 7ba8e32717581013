#include "core/cpu_feature.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>

/* clang 14 rejects "f16c" in __builtin_cpu_supports, so the processor is asked; the system's part of F16C is that of
 * AVX2. */
static bool ask(void) {
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

bool ec__cpu_has_avx2_f16c(void) {
    /* A constant of the machine, which threads may find at the same time. On a virtual machine the question leaves it
     * for the hypervisor, which takes ten microseconds and more. */
    enum { UNKNOWN, NO, YES };
    static atomic_int known;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == UNKNOWN) {
        answer = ask() ? YES : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}
#else
bool ec__cpu_has_avx2_f16c(void) { return false; }
#endif
