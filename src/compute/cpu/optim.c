/* Optimizer operations: the base loop, and the choice among the loops. */
#define ADAM_LOOP ec__cpu_adam_base
#include "compute/cpu/optim_kernels.h"

#include <math.h>

#include "compute/cpu/cpu.h"
#include "core/cpu_feature.h"

static ec_cpu_adam_loop loop(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return ec__cpu_adam_avx512;
    if (ec__cpu_has_avx2_f16c() && __builtin_cpu_supports("fma"))
        return ec__cpu_adam_avx2;
#endif
    return ec__cpu_adam_base;
}

static ec_status adam(ec_backend *be, ec_stream *stream, const ec_adam *a, int64_t count, const float *grad, float *m,
                      float *v, float *param) {
    (void)be, (void)stream;
    if (a->grad_scale != 0.f) loop()(a, count, grad, m, v, param);
    return EC_OK;
}

enum { LANES = 8 };

static ec_status square_sum(ec_backend *be, ec_stream *stream, int64_t count, const float *x, double *sum) {
    (void)be, (void)stream;
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * x[i + l];
    for (int l = 0; i + l < count; l++) lane[l] += (double)x[i + l] * x[i + l];
    *sum = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
    return EC_OK;
}

static ec_status clip(ec_backend *be, ec_stream *stream, int32_t parts, const double *part, double limit, ec_adam *a,
                      ec_gradient_norm *norm) {
    (void)be, (void)stream;
    double sum = 0;
    for (int32_t i = 0; i < parts; i++) sum += part[i];
    const double length = sqrt(sum);
    norm->norm = length;
    if (!isfinite(length)) norm->spoiled = 1;
    a->grad_scale = norm->spoiled ? 0.f : limit > 0 && length > limit ? (float)(limit / length) : 1.f;
    return EC_OK;
}

const ec_optim_ops ec__cpu_optim_ops = {.adam = adam, .square_sum = square_sum, .clip = clip};
