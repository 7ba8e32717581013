#define _GNU_SOURCE
#include "compute/cpu/peak.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/clock.h"

enum { ROUNDS = 200000, RUNS = 8 };

/* Multiply-adds on enough independent chains to fill two units of four cycles' latency. Each returns the operations
 * done; the result goes through *sink so that it is not optimised away. */
typedef double (*burn_fn)(volatile float *sink);

static double burn_generic(volatile float *sink) {
    enum { CHAINS = 32 };
    float x[CHAINS];
    for (int i = 0; i < CHAINS; i++) x[i] = (float)i;
    for (int n = 0; n < ROUNDS; n++)
        for (int i = 0; i < CHAINS; i++) x[i] = x[i] * 0.999f + 0.001f;
    for (int i = 0; i < CHAINS; i++) *sink = x[i];
    return 2.0 * CHAINS * ROUNDS;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static double burn_avx2(volatile float *sink) {
    enum { CHAINS = 12 };
    __m256 x[CHAINS];
    const __m256 by = _mm256_set1_ps(0.999f), plus = _mm256_set1_ps(0.001f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) x[i] = _mm256_set1_ps((float)i);
    for (int n = 0; n < ROUNDS; n++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) x[i] = _mm256_fmadd_ps(x[i], by, plus);
    }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) *sink = _mm256_cvtss_f32(x[i]);
    return 2.0 * 8 * CHAINS * ROUNDS;
}

__attribute__((target("avx512f"))) static double burn_avx512(volatile float *sink) {
    enum { CHAINS = 16 };
    __m512 x[CHAINS];
    const __m512 by = _mm512_set1_ps(0.999f), plus = _mm512_set1_ps(0.001f);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) x[i] = _mm512_set1_ps((float)i);
    for (int n = 0; n < ROUNDS; n++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) x[i] = _mm512_fmadd_ps(x[i], by, plus);
    }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) *sink = _mm512_cvtss_f32(x[i]);
    return 2.0 * 16 * CHAINS * ROUNDS;
}
#endif

static burn_fn pick(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return burn_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return burn_avx2;
#endif
    return burn_generic;
}

static ec_status burn_task(void *arg, int32_t task, ec_stream *stream) {
    volatile float sink;
    (void)stream;
    const double done = pick()(&sink);
    if (task == 0) *(double *)arg = done;
    return EC_OK;
}

ec_status ec__cpu_peak_rate(ec_backend *be, double *operations_per_second) {
    double best = 0, done = 0;
    for (int run = 0; run < RUNS; run++) {
        const int64_t start = ec__now_ns();
        EC_RETURN_IF(be->for_each(be, be->width(be), burn_task, &done));
        const double rate = done * be->width(be) / ec__seconds_since(start);
        if (rate > best) best = rate;
    }
    *operations_per_second = best;
    return EC_OK;
}
