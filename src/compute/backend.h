/* A back end: where arrays live and who does the arithmetic. cpu/ is the oracle of every other one.
 *
 * Memory. An address that a back end's alloc returned is an address in that back end's memory: only its operations may
 * look behind it. Offsets within one allocation may be computed by anybody. Arrays are float32 and row-major unless said
 * otherwise; "ld" is the distance between rows, in elements.
 *
 * Order. Operations are enqueued on a stream and run in the order of enqueuing. A stream of the CPU is a worker of the
 * rank's thread pool and an operation has ended when its call returns; on a GPU the call only enqueues. for_each opens a
 * section of independent tasks; everything inside it happens after what was enqueued before it, and before what comes
 * after it. An operation runs on one thread (one stream): parallelism comes from tasks, whose cut never depends on the
 * number of threads, so neither do the bits.
 *
 * Operations are grouped by who needs them, a table a group, each in a header of its own. No slot is NULL. */
#ifndef EC_COMPUTE_BACKEND_H
#define EC_COMPUTE_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/pool.h"

typedef struct ec_backend ec_backend;
typedef struct ec_stream ec_stream;

typedef ec_status (*ec_stream_task_fn)(void *arg, int32_t task, ec_stream *stream);

typedef struct ec_memory_ops {
    /* bytes of memory, aligned to EC_ARENA_ALIGN, contents undefined. Never called inside a training step. */
    ec_status (*alloc)(ec_backend *be, size_t bytes, void **out);
    void (*free)(ec_backend *be, void *memory); /* accepts NULL */
    ec_status (*zero)(ec_backend *be, ec_stream *stream, void *to, size_t bytes);
    ec_status (*copy)(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t bytes);
    ec_status (*upload)(ec_backend *be, ec_stream *stream, void *to, const void *from_host, size_t bytes);
    ec_status (*download)(ec_backend *be, ec_stream *stream, void *to_host, const void *from, size_t bytes);
} ec_memory_ops;

typedef struct ec_dense_ops ec_dense_ops;     /* ops_dense.h: matrix products */
typedef struct ec_head_ops ec_head_ops;       /* ops_head.h: BatchNorm, dropout, L2 norm of the projection heads */
typedef struct ec_supcon_ops ec_supcon_ops;   /* ops_supcon.h: the streaming contrastive loss */
typedef struct ec_optim_ops ec_optim_ops;     /* ops_optim.h: optimizer updates, ordered sums */
typedef struct ec_encoder_ops ec_encoder_ops; /* ops_encoder.h: convolution, pooling, attention, spectra */

struct ec_backend {
    const char *name; /* "cpu" */
    const ec_memory_ops *memory;
    const ec_dense_ops *dense;
    const ec_head_ops *head;
    const ec_supcon_ops *supcon;
    const ec_optim_ops *optim;
    const ec_encoder_ops *encoder;

    /* The stream for work outside for_each. */
    ec_stream *(*main_stream)(ec_backend *be);
    /* Runs fn for every task in [0, tasks); tasks may run at the same time, each on a stream of its own. */
    ec_status (*for_each)(ec_backend *be, int32_t tasks, ec_stream_task_fn fn, void *arg);
    /* Number of a stream, in [0, width): tasks on streams of the same number never overlap, so a workspace for each number
     * is enough. */
    int32_t (*stream_index)(const ec_stream *stream);
    /* Waits until all that was enqueued has ended. */
    ec_status (*synchronize)(ec_backend *be);
    /* How many tasks can run at the same time. */
    int32_t (*width)(const ec_backend *be);
    void (*close)(ec_backend *be); /* accepts NULL */
};

/* Opens a back end by name ("cpu", "auto"); threads: CPU threads of this rank, 0 for all that it may use.
 * EC_ERR_ENV when this machine or build has none of that name. The caller owns it and ends it with be->close. */
ec_status ec__backend_open(const char *name, int32_t threads, ec_backend **out);

#endif
