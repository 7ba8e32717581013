/* The loops behind ops_optim.h, written once and compiled for several instruction sets: the including file defines
 * ADAM_LOOP, the name of the function. */
#include <math.h>

#include "compute/cpu/optim_loops.h"

void ADAM_LOOP(const ec_adam *adam, int64_t count, const float *restrict grad, float *restrict m, float *restrict v,
               float *restrict param) {
    const ec_adam a = *adam;
    for (int64_t i = 0; i < count; i++) {
        float p = param[i], g = grad[i] * a.grad_scale + a.l2 * p;
        m[i] = a.beta1 * m[i] + a.one_minus_beta1 * g;
        v[i] = a.beta2 * v[i] + a.one_minus_beta2 * (g * g);
        param[i] = p * a.decay - a.rate * m[i] / (sqrtf(v[i]) * a.inv_bias2 + a.eps);
    }
}
