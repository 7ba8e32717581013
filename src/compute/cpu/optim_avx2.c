/* Adam for AVX2. */
#if defined(__x86_64__)
#define ADAM_LOOP ec__cpu_adam_avx2
#include "compute/cpu/optim_kernels.h"
#endif
