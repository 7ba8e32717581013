/* The loops behind ops_head.h as function pointers, one table an instruction set. Arguments as there. */
#ifndef EC_COMPUTE_CPU_HEAD_TABLE_H
#define EC_COMPUTE_CPU_HEAD_TABLE_H

#include "compute/ops_head.h"

typedef struct ec_cpu_head_table {
    void (*row_scales)(int32_t rows, int32_t width, const float *x, float *scale);
    void (*scale_rows)(int32_t rows, int32_t width, float *h, const float *scale, const float *bias);
    void (*bn_leaf)(int32_t rows, int32_t width, float *h, const float *scale, const float *bias, int32_t before,
                    float *mean, float *m2);
    void (*bn_forward)(int32_t rows, int32_t width, const ec_bn *bn, const ec_dropout *dropout, int64_t first,
                       const float *h, float *a);
    void (*bn_backward_leaf)(int32_t rows, int32_t width, const ec_bn *bn, float dropout_scale, const float *h,
                             const float *a, float *d, int32_t before, float *sum_d, float *sum_dx);
    void (*bn_backward)(int32_t rows, int32_t width, const ec_bn *bn, int64_t n, const float *sum_d,
                        const float *sum_dx, const float *scale, const float *h, float *d);
    void (*l2_forward)(int32_t rows, int32_t width, const float *y, float *z, float *inv_norm);
    void (*l2_backward)(int32_t rows, int32_t width, const float *z, const float *inv_norm, const float *dz, float *dy,
                        int32_t before, float *sum);
    void (*add)(int64_t count, const float *from, float *to);
} ec_cpu_head_table;

extern const ec_cpu_head_table ec__cpu_head_base;
#if defined(__x86_64__)
extern const ec_cpu_head_table ec__cpu_head_avx2, ec__cpu_head_avx512;
#endif

#endif
