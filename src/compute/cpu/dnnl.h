/* oneDNN as one worker uses it: an engine, a stream and the primitives made so far.
 *
 * oneDNN cuts a primitive's work by the number of OpenMP threads at its creation, and its sums with it. Every worker of
 * the pool therefore runs oneDNN on one thread, and bits do not depend on how many workers there are. Making a
 * primitive costs 100 us and more; finding one here costs a hash. */
#ifndef EC_COMPUTE_CPU_DNNL_H
#define EC_COMPUTE_CPU_DNNL_H

#include <dnnl.h>

#include "compute/cpu/cpu.h"
#include "compute/ops_dense.h"

enum { EC_DNNL_ARGS = 6 };

/* A primitive with its memory objects; data handles are set anew at each execution. */
typedef struct ec_dnnl_op {
    dnnl_primitive_t primitive;
    int32_t arg_count;
    dnnl_exec_arg_t args[EC_DNNL_ARGS];
    size_t scratch_bytes;
} ec_dnnl_op;

/* Makes the op that key describes; called at most once a key and worker. The key's bytes are compared, so it must have
 * no undefined padding (memset it first). */
typedef ec_status (*ec_dnnl_make_fn)(ec_cpu_dnnl *dnnl, const void *key, ec_dnnl_op *op);

ec_status ec__cpu_dnnl_new(ec_cpu_dnnl **out);
void ec__cpu_dnnl_free(ec_cpu_dnnl *dnnl);
dnnl_engine_t ec__cpu_dnnl_engine(const ec_cpu_dnnl *dnnl);

/* The op for key (of key_bytes, at most 256), from the cache or made by make. Owned by the cache. make tells kinds of
 * operation apart. */
ec_status ec__cpu_dnnl_get(ec_cpu_dnnl *dnnl, ec_dnnl_make_fn make, const void *key, size_t key_bytes,
                           ec_dnnl_op **out);

/* Adds an argument (for make functions): arg is DNNL_ARG_*, described by md. */
ec_status ec__cpu_dnnl_arg(ec_cpu_dnnl *dnnl, ec_dnnl_op *op, int arg, const dnnl_memory_desc_t *md);

/* Makes op from a primitive descriptor: the primitive, its scratch, and count arguments in the order of args. */
ec_status ec__cpu_dnnl_make(ec_cpu_dnnl *dnnl, ec_dnnl_op *op, const_dnnl_primitive_desc_t pd, const int args[],
                            int32_t count);
void ec__cpu_dnnl_release(ec_dnnl_op *op);

/* Brings an array into another layout or type, outside the cache: for what happens once (weights). */
ec_status ec__cpu_dnnl_reorder(ec_cpu_dnnl *dnnl, const dnnl_memory_desc_t *from_md, const void *from,
                               const dnnl_memory_desc_t *to_md, void *to);

ec_status ec__cpu_dnnl_append_activation(dnnl_post_ops_t post, ec_activation activation);

/* Executes op with data[i] behind its i-th argument. */
ec_status ec__cpu_dnnl_run(ec_cpu_dnnl *dnnl, ec_dnnl_op *op, void *const data[]);

/* Turns a oneDNN status into ours. */
ec_status ec__cpu_dnnl_status(dnnl_status_t code, const char *what);

#define EC_DNNL(call) EC_TRY(ec__cpu_dnnl_status((call), #call))

#endif
