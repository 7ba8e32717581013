/* Head loops for AVX-512. */
#if defined(__x86_64__)
#define HEAD_TABLE ec__cpu_head_avx512
#include "compute/cpu/head_kernels.h"
#endif
