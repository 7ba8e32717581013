/* What the files of the CPU back end share. */
#ifndef EC_COMPUTE_CPU_H
#define EC_COMPUTE_CPU_H

#include "compute/backend.h"

typedef struct ec_cpu_dnnl ec_cpu_dnnl; /* one worker's oneDNN primitives: cpu/dnnl.h */

struct ec_stream {
    int32_t worker;
    ec_cpu_dnnl *dnnl;
};

typedef struct ec_cpu_backend {
    ec_backend base; /* first: an ec_backend* of this back end is an ec_cpu_backend* */
    ec_pool *pool;
    ec_stream *streams; /* one a worker */
} ec_cpu_backend;

static inline ec_cpu_backend *ec__cpu(ec_backend *be) { return (ec_cpu_backend *)be; }

extern const ec_memory_ops ec__cpu_memory_ops;
extern const ec_dense_ops ec__cpu_dense_ops;
extern const ec_supcon_ops ec__cpu_supcon_ops;
extern const ec_head_ops ec__cpu_head_ops;
extern const ec_optim_ops ec__cpu_optim_ops;

ec_status ec__cpu_backend_open(int32_t threads, ec_backend **out);

#endif
