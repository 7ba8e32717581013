/* Head loops for AVX2. */
#if defined(__x86_64__)
#define HEAD_TABLE ec__cpu_head_avx2
#include "compute/cpu/head_kernels.h"
#endif
