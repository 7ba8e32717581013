#include <stdlib.h>
#include <string.h>

#include "compute/cpu/supcon_kernel.h"

const ec_supcon_kernel *ec__supcon_kernel_pick(void) {
    const char *wanted = getenv("EMOCLIM_SUPCON_KERNEL");
    const bool generic = wanted && strcmp(wanted, "generic") == 0, avx2 = wanted && strcmp(wanted, "avx2") == 0;
#if defined(__x86_64__)
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (has_avx512 && !generic && !avx2) return &ec__supcon_kernel_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !generic) return &ec__supcon_kernel_avx2;
#endif
    return &ec__supcon_kernel_generic;
}
