/* A back end: where arrays live and who does the arithmetic. cpu/ is the oracle of every other one.
 *
 * Memory. An address that a back end's alloc returned is an address in that back end's memory: only its operations may
 * look behind it. Offsets within one allocation may be computed by anybody. Arrays are float32 and row-major unless
 * said otherwise; "ld" is the distance between rows, in elements.
 *
 * Order. Operations are enqueued on a stream and run in the order of enqueuing. A stream of the CPU is a worker of the
 * rank's thread pool and an operation has ended when its call returns; on a GPU the call only enqueues. for_each opens
 * a section of independent tasks; everything inside it happens after what was enqueued before it, and before what comes
 * after it. An operation runs on one thread (one stream): parallelism comes from tasks, whose cut never depends on the
 * number of threads, so neither do the bits.
 *
 * Recordings. What a step enqueues is the same every time: numbers that change from step to step are in back end
 * memory. So it can be recorded once and replayed, which on a GPU costs one launch (a CUDA graph).
 *
 * Operations are grouped by who needs them, a table a group, each in a header of its own. No slot is NULL. */
#ifndef EC_COMPUTE_BACKEND_H
#define EC_COMPUTE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/pool.h"

typedef struct ec_backend ec_backend;
typedef struct ec_stream ec_stream;

typedef struct ec_recording ec_recording;

typedef ec_status (*ec_stream_task_fn)(void *arg, int32_t task, ec_stream *stream);
typedef ec_status (*ec_record_fn)(void *arg);

/* What the host tells a step, and what it is told, lies in two places by turns: so a step can be enqueued before the
 * result of the one before it is looked at. */
enum { EC_TURNS = 2 };

typedef struct ec_memory_ops {
    /* bytes of memory, aligned to EC_ARENA_ALIGN, contents undefined. Never called inside a training step. */
    ec_status (*alloc)(ec_backend *be, size_t bytes, void **out);
    void (*free)(ec_backend *be, void *memory); /* accepts NULL */
    ec_status (*zero)(ec_backend *be, ec_stream *stream, void *to, size_t bytes);
    ec_status (*copy)(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t bytes);
    /* rows of so many bytes, every one step bytes behind the last, to one array without gaps, which is elsewhere. */
    ec_status (*copy_rows)(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t rows, size_t bytes,
                           size_t step);
    /* The host side of both may be used again, and read, after synchronize only. From and to memory of alloc_host they
     * run beside the host; with other memory they may wait, and must not be recorded. */
    ec_status (*upload)(ec_backend *be, ec_stream *stream, void *to, const void *from_host, size_t bytes);
    ec_status (*download)(ec_backend *be, ec_stream *stream, void *to_host, const void *from, size_t bytes);
    /* An upload for the main stream that begins at once, beside what is enqueued there: nothing of that may touch `to`.
     * What is enqueued later comes after it. Not to be recorded. */
    ec_status (*upload_ahead)(ec_backend *be, void *to, const void *from_host, size_t bytes);
    /* The same for count float16 numbers, which become float32 there: half the bytes for the way. scratch: (count) of
     * them in the back end's memory, for such uploads only, which may all have the same. */
    ec_status (*upload_half_ahead)(ec_backend *be, float *to, const uint16_t *from_host, size_t count, void *scratch);
    /* Host memory, aligned and undefined like alloc's. Never called inside a training step. */
    ec_status (*alloc_host)(ec_backend *be, size_t bytes, void **out);
    void (*free_host)(ec_backend *be, void *memory); /* accepts NULL */
} ec_memory_ops;

typedef struct ec_dense_ops ec_dense_ops;     /* ops_dense.h: matrix products */
typedef struct ec_head_ops ec_head_ops;       /* ops_head.h: BatchNorm, dropout, L2 norm of the projection heads */
typedef struct ec_supcon_ops ec_supcon_ops;   /* ops_supcon.h: the streaming contrastive loss */
typedef struct ec_optim_ops ec_optim_ops;     /* ops_optim.h: optimizer updates, ordered sums */
typedef struct ec_encoder_ops ec_encoder_ops; /* ops_encoder.h: convolution, pooling, attention, spectra */

/* What a back end may round the factors of a product to. Sums are float32 always. */
typedef enum ec_math {
    EC_MATH_FLOAT32,
    EC_MATH_TF32, /* 10 bits of mantissa; a back end without such instructions computes in float32 */
    EC_MATH_BF16, /* 7 bits; likewise */
} ec_math;

/* The pieces that keep a back end busy: a CPU wants them in its cache, a GPU wants them large. Bits of the reproducible
 * mode depend on them, so they are constants of a back end. */
typedef struct ec_grain {
    int32_t row_block;     /* rows taken through the operations of a stage together; a multiple of EC_HEAD_BLOCK */
    int32_t shard_rows;    /* of a shard where nothing else decides (fast mode) */
    int32_t gradient_rows; /* rows of a weight's gradient that a task makes */
    int32_t bucket;        /* elements that it makes at most, where a row has no more, and that ranks sum in one go */
    int32_t elements;      /* of a flat array that a task updates; a multiple of 16 */
    /* Frozen encoders. */
    int32_t images, clips; /* of a task, at most */
    size_t task_bytes;     /* of a task's workspace, at most: fewer images or clips of a large network */
    int32_t encoder_tasks; /* at the same time */
    int32_t inputs;        /* that a caller who has many should bring at once; 0: some for each thread */
} ec_grain;

struct ec_backend {
    const char *name; /* "cpu", "cuda" */
    ec_backend *host; /* a CPU back end, for arithmetic on host memory: itself, or its own */
    ec_math math;
    ec_grain grain;
    const ec_memory_ops *memory;
    const ec_dense_ops *dense;
    const ec_head_ops *head;
    const ec_supcon_ops *supcon;
    const ec_optim_ops *optim;
    const ec_encoder_ops *encoder;
    /* Threads of this rank for work on host memory: decoding, ranking. A CPU's are also its streams. */
    ec_pool *pool;

    /* The stream for work outside for_each. */
    ec_stream *(*main_stream)(ec_backend *be);
    /* Runs fn for every task in [0, tasks); tasks may run at the same time, each on a stream of its own. */
    ec_status (*for_each)(ec_backend *be, int32_t tasks, ec_stream_task_fn fn, void *arg);
    /* Number of a stream, in [0, width): tasks on streams of the same number never overlap, so a workspace for each
     * number is enough. */
    int32_t (*stream_index)(const ec_stream *stream);
    /* Waits until all that was enqueued has ended. */
    ec_status (*synchronize)(ec_backend *be);
    /* Records what fn enqueues on the main stream and in for_each, without running it. fn must neither allocate nor
     * synchronize nor look at back end memory; arg is kept, and must live as long as the recording. */
    ec_status (*record)(ec_backend *be, ec_record_fn fn, void *arg, ec_recording **out);
    /* Enqueues it on the main stream. */
    ec_status (*replay)(ec_backend *be, const ec_recording *recording);
    void (*recording_free)(ec_backend *be, ec_recording *recording); /* accepts NULL */
    /* The main stream in the terms of the library behind it (a cudaStream_t), for a communicator that moves this back
     * end's memory. NULL: its memory is host memory. */
    void *(*native_queue)(ec_backend *be);
    /* How many tasks can run at the same time. */
    int32_t (*width)(const ec_backend *be);
    void (*close)(ec_backend *be); /* accepts NULL */
};

typedef struct ec_backend_options {
    int32_t threads;    /* CPU threads of this rank; 0: all that it may use */
    int32_t device;     /* number of the GPU, as the system counts them */
    ec_math math;
    bool deterministic; /* the libraries' own products must have the same bits every time, whatever it costs */
} ec_backend_options;

/* Opens a back end by name: "cpu", "cuda", or "auto", which is cuda where a GPU can be used. EC_ERR_ENV when this
 * machine or build has none of that name; the text says what is missing. The caller owns it and ends it with
 * be->close. */
ec_status ec__backend_open_with(const char *name, const ec_backend_options *options, ec_backend **out);

/* For "cuda", without a GPU: a back end that only tells cut, width and sizes of scratch, for compute/count; nothing
 * else of it may be called. Its native_queue is not NULL and leads nowhere, its name says that there is no device;
 * kernels are taken to be those of compute capability 9.0. EC_ERR_ENV without the module. */
ec_status ec__backend_open_sizes(const ec_backend_options *options, ec_backend **out);

/* The GPU that the rank of that number among those of its host is to take: one each, as far as there are enough. 0
 * where there is none. */
int32_t ec__backend_device_for(int32_t node_rank);

/* The same in float32, deterministic, on device 0. */
ec_status ec__backend_open(const char *name, int32_t threads, ec_backend **out);

#endif
