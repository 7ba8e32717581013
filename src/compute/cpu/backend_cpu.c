/* The CPU back end: host memory, one worker of the pool a stream. */
#include "compute/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "compute/cpu/dnnl.h"
#include "compute/cpu/encoder.h"
#include "core/arena.h"
#include "core/half.h"

static ec_status cpu_alloc(ec_backend *be, size_t bytes, void **out) {
    (void)be;
    size_t rounded = (bytes + EC_ARENA_ALIGN - 1) / EC_ARENA_ALIGN * EC_ARENA_ALIGN;
    void *memory = aligned_alloc(EC_ARENA_ALIGN, rounded ? rounded : EC_ARENA_ALIGN);
    if (!memory) return EC_ERROR(EC_ERR_MEMORY, "no memory for %zu bytes", bytes);
    *out = memory;
    return EC_OK;
}

static void cpu_free(ec_backend *be, void *memory) {
    (void)be;
    free(memory);
}

static ec_status cpu_zero(ec_backend *be, ec_stream *stream, void *to, size_t bytes) {
    (void)be, (void)stream;
    memset(to, 0, bytes);
    return EC_OK;
}

static ec_status cpu_copy(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t bytes) {
    (void)be, (void)stream;
    memcpy(to, from, bytes);
    return EC_OK;
}

static ec_status cpu_upload_ahead(ec_backend *be, void *to, const void *from_host, size_t bytes) {
    return cpu_copy(be, NULL, to, from_host, bytes);
}

static ec_status cpu_upload_half_ahead(ec_backend *be, float *to, const uint16_t *from_host, size_t count,
                                       void *scratch) {
    (void)be, (void)scratch;
    ec__half_to_float(from_host, to, (int64_t)count);
    return EC_OK;
}

static ec_status cpu_copy_rows(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t rows, size_t bytes,
                               size_t step) {
    (void)be, (void)stream;
    for (size_t i = 0; i < rows; i++) memcpy((char *)to + i * bytes, (const char *)from + i * step, bytes);
    return EC_OK;
}

const ec_memory_ops ec__cpu_memory_ops = {
    .alloc = cpu_alloc,
    .free = cpu_free,
    .zero = cpu_zero,
    .copy = cpu_copy,
    .copy_rows = cpu_copy_rows,
    .upload = cpu_copy,
    .download = cpu_copy,
    .upload_ahead = cpu_upload_ahead,
    .upload_half_ahead = cpu_upload_half_ahead,
    .alloc_host = cpu_alloc,
    .free_host = cpu_free,
};

static ec_stream *cpu_main_stream(ec_backend *be) { return &ec__cpu(be)->streams[0]; }

typedef struct section {
    ec_cpu_backend *be;
    ec_stream_task_fn fn;
    void *arg;
} section;

static ec_status run_section_task(void *arg, int32_t task, int32_t worker) {
    section *s = arg;
    return s->fn(s->arg, task, &s->be->streams[worker]);
}

static ec_status cpu_for_each(ec_backend *be, int32_t tasks, ec_stream_task_fn fn, void *arg) {
    section s = {.be = ec__cpu(be), .fn = fn, .arg = arg};
    return ec__pool_run(s.be->pool, tasks, run_section_task, &s);
}

static int32_t cpu_stream_index(const ec_stream *stream) { return stream->worker; }

static ec_status cpu_synchronize(ec_backend *be) {
    (void)be;
    return EC_OK;
}

/* Nothing is gained by more than calling it again. */
struct ec_recording {
    ec_record_fn fn;
    void *arg;
};

static ec_status cpu_record(ec_backend *be, ec_record_fn fn, void *arg, ec_recording **out) {
    (void)be;
    ec_recording *r = malloc(sizeof *r);
    if (!r) return EC_ERROR(EC_ERR_MEMORY, "no memory for a recording");
    *r = (ec_recording){fn, arg};
    *out = r;
    return EC_OK;
}

static ec_status cpu_replay(ec_backend *be, const ec_recording *recording) {
    (void)be;
    return recording->fn(recording->arg);
}

static void cpu_recording_free(ec_backend *be, ec_recording *recording) {
    (void)be;
    free(recording);
}

static void *cpu_native_queue(ec_backend *be) {
    (void)be;
    return NULL;
}

static int32_t cpu_width(const ec_backend *be) { return ec__pool_threads(((const ec_cpu_backend *)be)->pool); }

static ec_status open_stream(void *arg, int32_t task, int32_t worker) {
    ec_cpu_backend *be = arg;
    (void)task;
    be->streams[worker].worker = worker;
    return ec__cpu_dnnl_new(&be->streams[worker].dnnl);
}

static void cpu_close(ec_backend *base) {
    ec_cpu_backend *be = ec__cpu(base);
    if (!be) return;
    for (int32_t i = 0; be->streams && i < ec__pool_threads(be->pool); i++) ec__cpu_dnnl_free(be->streams[i].dnnl);
    free(be->streams);
    ec__pool_free(be->pool);
    free(be);
}

ec_status ec__cpu_backend_open(int32_t threads, ec_backend **out) {
    ec_status status = EC_OK;
    ec_cpu_backend *be = calloc(1, sizeof *be);
    if (!be) EC_FAIL(EC_ERR_MEMORY, "no memory for the CPU back end");
    be->base = (ec_backend){
        .name = "cpu",
        .grain = {.row_block = 128, .shard_rows = 256, .gradient_rows = 128, .bucket = 1 << 20, .elements = 16384,
                  .images = 16, .clips = 4, .task_bytes = SIZE_MAX},
        .memory = &ec__cpu_memory_ops,
        .dense = &ec__cpu_dense_ops,
        .supcon = &ec__cpu_supcon_ops,
        .encoder = &ec__cpu_encoder_ops,
        .head = &ec__cpu_head_ops,
        .optim = &ec__cpu_optim_ops,
        .main_stream = cpu_main_stream,
        .for_each = cpu_for_each,
        .stream_index = cpu_stream_index,
        .synchronize = cpu_synchronize,
        .record = cpu_record,
        .replay = cpu_replay,
        .recording_free = cpu_recording_free,
        .native_queue = cpu_native_queue,
        .width = cpu_width,
        .close = cpu_close,
    };
    be->base.host = &be->base;
    EC_TRY(ec__pool_new(threads, &be->pool));
    be->base.pool = be->pool;
    be->base.grain.encoder_tasks = ec__pool_threads(be->pool);
    be->streams = calloc((size_t)ec__pool_threads(be->pool), sizeof *be->streams);
    if (!be->streams) EC_FAIL(EC_ERR_MEMORY, "no memory for the CPU back end");
    EC_TRY(ec__pool_run_on_each(be->pool, open_stream, be));
    *out = &be->base;
    be = NULL;
done:
    cpu_close(be ? &be->base : NULL);
    return status;
}
