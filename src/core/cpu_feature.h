/* Instruction sets that the compiler's own test does not know everywhere. */
#ifndef EC_CORE_CPU_FEATURE_H
#define EC_CORE_CPU_FEATURE_H

#include <stdbool.h>

/* AVX2 with the half-precision conversions, in processor and system. Costs nothing after the first call: it may be
 * asked for every row. Any number of threads at once. */
bool ec__cpu_has_avx2_f16c(void);

#endif
