/* The CUDA back end: a pool of streams, sections that fork to them and join again by events, recordings as graphs. */
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/matmul.h"
#include "compute/cuda/supcon.h"

/* Tasks large enough to fill a device alone: what a CPU's cache wants cut is one launch here. */
enum { ROW_BLOCK = 8192, SHARD_ROWS = 8192, GRADIENT_ROWS = 4096, ELEMENTS = 1 << 22 };

/* 4 MiB: long enough on the way between GPUs to be worth an exchange's latency, and short enough to be waited for. */
enum { BUCKET = 1 << 20 };

/* Encoders: a few large tasks, of which some upload while others compute. */
enum { IMAGES = 256, CLIPS = 32, ENCODER_TASKS = 4, TASK_BYTES = 768 << 20, INPUTS = 512 };

/* graph NULL: without graphs, replaying enqueues anew. */
struct ec_recording {
    cudaGraphExec_t graph;
    ec_record_fn fn;
    void *arg;
};

static ec_stream *cuda_main_stream(ec_backend *be) { return &ec__cuda(be)->stream[0]; }

static int32_t cuda_stream_index(const ec_stream *stream) { return stream->index; }

static int32_t cuda_width(const ec_backend *be) {
    (void)be;
    return EC_CUDA_STREAMS;
}

static void *cuda_native_queue(ec_backend *be) { return ec__cuda(be)->stream[0].queue; }

/* All tasks are enqueued even when one fails, as on the CPU; the first one's error counts. */
static ec_status run_tasks(ec_cuda_backend *be, int32_t tasks, int32_t streams, ec_stream_task_fn fn, void *arg) {
    ec_status first = EC_OK;
    ec_error record;
    for (int32_t t = 0; t < tasks; t++) {
        be->inside = &be->stream[t % streams];
        ec_status status = fn(arg, t, be->inside);
        if (status == EC_OK || first != EC_OK) continue;
        first = status;
        record = *ec_error_last();
    }
    be->inside = NULL;
    return first == EC_OK ? EC_OK : ec__error_adopt(&record);
}

static ec_status cuda_for_each(ec_backend *base, int32_t tasks, ec_stream_task_fn fn, void *arg) {
    ec_status status = EC_OK;
    ec_cuda_backend *be = ec__cuda(base);
    if (be->inside) { /* a section within a task stays on the task's stream */
        for (int32_t t = 0; t < tasks; t++) EC_RETURN_IF(fn(arg, t, be->inside));
        return EC_OK;
    }
    const int32_t streams = tasks < EC_CUDA_STREAMS ? tasks : EC_CUDA_STREAMS;
    if (streams > 1) EC_RETURN_IF(EC_CUDA(cudaEventRecord(be->forked, be->stream[0].queue)));
    for (int32_t s = 1; s < streams; s++)
        EC_RETURN_IF(EC_CUDA(cudaStreamWaitEvent(be->stream[s].queue, be->forked, 0)));
    status = run_tasks(be, tasks, streams, fn, arg);
    /* Joined also after an error: a recording must not end with loose streams. */
    for (int32_t s = 1; s < streams; s++) {
        ec_stream *stream = &be->stream[s];
        if (cudaEventRecord(stream->joined, stream->queue) != cudaSuccess ||
            cudaStreamWaitEvent(be->stream[0].queue, stream->joined, 0) != cudaSuccess)
            if (status == EC_OK) status = EC_CUDA(cudaGetLastError());
    }
    return status == EC_OK ? EC_OK : ec__error_pass(status, __FILE__, __LINE__, __func__);
}

static ec_status cuda_synchronize(ec_backend *be) {
    /* Sections have joined, so the main stream is behind all others. */
    return EC_CUDA(cudaStreamSynchronize(ec__cuda(be)->stream[0].queue));
}

static void cuda_recording_free(ec_backend *be, ec_recording *recording) {
    (void)be;
    if (!recording) return;
    if (recording->graph && cudaGraphExecDestroy(recording->graph) != cudaSuccess) (void)cudaGetLastError();
    free(recording);
}

static ec_status capture(ec_cuda_backend *be, ec_recording *recording) {
    ec_status status = EC_OK;
    cudaGraph_t graph = NULL;
    /* Thread-local: what other threads do meanwhile (a loader that allocates) is allowed and not recorded. */
    EC_TRY(EC_CUDA(cudaStreamBeginCapture(be->stream[0].queue, cudaStreamCaptureModeThreadLocal)));
    status = recording->fn(recording->arg);
    const cudaError_t ended = cudaStreamEndCapture(be->stream[0].queue, &graph);
    if (ended != cudaSuccess) (void)cudaGetLastError();
    EC_TRY(status); /* its reason comes before that of a recording cut short */
    EC_TRY(ec__cuda_status(ended, "cudaStreamEndCapture", __FILE__, __LINE__, __func__));
    EC_TRY(EC_CUDA(cudaGraphInstantiate(&recording->graph, graph, 0)));
done:
    if (graph && cudaGraphDestroy(graph) != cudaSuccess) (void)cudaGetLastError();
    return status;
}

/* EMOCLIM_CUDA_GRAPH=0 does without graphs, where a driver or a library cannot be recorded: same bits, more
 * launches. */
static bool makes_graphs(void) {
    const char *asked = getenv("EMOCLIM_CUDA_GRAPH");
    return !asked || strcmp(asked, "0") != 0;
}

static ec_status cuda_record(ec_backend *base, ec_record_fn fn, void *arg, ec_recording **out) {
    ec_status status = EC_OK;
    ec_recording *recording = calloc(1, sizeof *recording);
    if (!recording) EC_FAIL(EC_ERR_MEMORY, "no memory for a recording");
    *recording = (ec_recording){.fn = fn, .arg = arg};
    if (makes_graphs()) EC_TRY(capture(ec__cuda(base), recording));
    *out = recording;
    recording = NULL;
done:
    cuda_recording_free(base, recording);
    return status;
}

static ec_status cuda_replay(ec_backend *be, const ec_recording *recording) {
    if (!recording->graph) return recording->fn(recording->arg);
    return EC_CUDA(cudaGraphLaunch(recording->graph, ec__cuda(be)->stream[0].queue));
}

static void close_stream(ec_backend *be, ec_stream *stream) {
    if (stream->queue) {
        (void)cudaStreamSynchronize(stream->queue);
        (void)cudaStreamDestroy(stream->queue);
    }
    if (stream->joined) (void)cudaEventDestroy(stream->joined);
    be->memory->free(be, stream->scratch);
}

static void cuda_close(ec_backend *base) {
    ec_cuda_backend *be = ec__cuda(base);
    if (!be) return;
    if (be->dnn) (void)cudaStreamSynchronize(be->stream[0].queue);
    ec__cuda_dnn_close(be); /* its handles know the streams */
    for (int32_t s = 0; s < EC_CUDA_STREAMS; s++) close_stream(base, &be->stream[s]);
    close_stream(base, &be->ahead);
    if (be->base.host) be->base.host->close(be->base.host);
    if (be->forked) (void)cudaEventDestroy(be->forked);
    ec__cuda_matmul_close(be);
    (void)cudaGetLastError();
    free(be);
}

static ec_status open_stream(ec_stream *stream) {
    EC_RETURN_IF(EC_CUDA(cudaStreamCreateWithFlags(&stream->queue, cudaStreamNonBlocking)));
    return EC_CUDA(cudaEventCreateWithFlags(&stream->joined, cudaEventDisableTiming));
}

static ec_status open_streams(ec_cuda_backend *be) {
    const size_t ticket_bytes = EC_CUDA_TICKETS * sizeof(unsigned);
    EC_RETURN_IF(EC_CUDA(cudaEventCreateWithFlags(&be->forked, cudaEventDisableTiming)));
    for (int32_t s = 0; s < EC_CUDA_STREAMS; s++) {
        ec_stream *stream = &be->stream[s];
        stream->index = s;
        EC_RETURN_IF(open_stream(stream));
        EC_RETURN_IF(be->base.memory->alloc(&be->base, EC_CUDA_SCRATCH_BYTES + ticket_bytes, &stream->scratch));
        stream->ticket = (unsigned *)((char *)stream->scratch + EC_CUDA_SCRATCH_BYTES);
        EC_RETURN_IF(EC_CUDA(cudaMemsetAsync(stream->ticket, 0, ticket_bytes, stream->queue)));
    }
    return open_stream(&be->ahead);
}

static ec_status new_backend(const char *name, const ec_backend_options *options, ec_cuda_backend **out) {
    ec_cuda_backend *be = calloc(1, sizeof *be);
    if (!be) return EC_ERROR(EC_ERR_MEMORY, "no memory for the CUDA back end");
    be->base = (ec_backend){
        .name = name,
        .math = options->math,
        .grain = {.row_block = ROW_BLOCK, .shard_rows = SHARD_ROWS, .gradient_rows = GRADIENT_ROWS,
                  .bucket = BUCKET, .elements = ELEMENTS, .images = IMAGES, .clips = CLIPS, .task_bytes = TASK_BYTES,
                  .encoder_tasks = ENCODER_TASKS, .inputs = INPUTS},
        .memory = &ec__cuda_memory_ops,
        .dense = &ec__cuda_dense_ops,
        .head = &ec__cuda_head_ops,
        .supcon = &ec__cuda_supcon_ops,
        .optim = &ec__cuda_optim_ops,
        .encoder = &ec__cuda_encoder_ops,
        .main_stream = cuda_main_stream,
        .for_each = cuda_for_each,
        .stream_index = cuda_stream_index,
        .synchronize = cuda_synchronize,
        .record = cuda_record,
        .replay = cuda_replay,
        .recording_free = cuda_recording_free,
        .native_queue = cuda_native_queue,
        .width = cuda_width,
        .close = cuda_close,
    };
    be->deterministic = options->deterministic;
    be->device = options->device;
    *out = be;
    return EC_OK;
}

ec_status ec__cuda_backend_open(const ec_backend_options *options, ec_backend **out) {
    ec_status status = EC_OK;
    int multiprocessors = 0;
    ec_cuda_backend *be = NULL;
    EC_TRY(new_backend("cuda", options, &be));
    EC_TRY(EC_CUDA(cudaSetDevice(options->device)));
    EC_TRY(EC_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, options->device)));
    be->multiprocessors = multiprocessors;
    EC_TRY(open_streams(be));
    EC_TRY(ec__cuda_matmul_open(be));
    EC_TRY(ec__supcon_choose(be));
    *out = &be->base;
    be = NULL;
done:
    cuda_close(be ? &be->base : NULL);
    return status;
}

/* An address that is not NULL, which is all that may be asked of it. */
static void *no_queue(ec_backend *be) { return cuda_main_stream(be); }

ec_status ec__cuda_backend_open_sizes(const ec_backend_options *options, ec_backend **out) {
    ec_cuda_backend *be = NULL;
    EC_RETURN_IF(new_backend("cuda, no device", options, &be));
    be->base.native_queue = no_queue;
    be->hopper = ec__supcon_hopper_expected(options->math);
    *out = &be->base;
    return EC_OK;
}
