/* The optimizer's inner loop, one function an instruction set; arguments as in ops_optim.h. */
#ifndef EC_COMPUTE_CPU_OPTIM_LOOPS_H
#define EC_COMPUTE_CPU_OPTIM_LOOPS_H

#include "compute/ops_optim.h"

typedef void (*ec_cpu_adam_loop)(const ec_adam *adam, int64_t count, const float *restrict grad, float *restrict m,
                                 float *restrict v, float *restrict param);

void ec__cpu_adam_base(const ec_adam *adam, int64_t count, const float *restrict grad, float *restrict m,
                       float *restrict v, float *restrict param);
#if defined(__x86_64__)
void ec__cpu_adam_avx2(const ec_adam *adam, int64_t count, const float *restrict grad, float *restrict m,
                       float *restrict v, float *restrict param);
void ec__cpu_adam_avx512(const ec_adam *adam, int64_t count, const float *restrict grad, float *restrict m,
                         float *restrict v, float *restrict param);
#endif

#endif
